"""One chat from the command's side: does what is entered, and follows what happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Final

from securecall.address import Address
from securecall.chat.conversation import Conversation, Recipient
from securecall.chat.message import Activity, Delivery, DeviceTrust, Message
from securecall.cli.chat_face import Face, Standing
from securecall.cli.chat_lines import (
    Part,
    file_words,
    fingerprint_rows,
    new_device_rows,
    presence_words,
    protection_words,
)
from securecall.cli.orders import FORMS, Order, duration_words, parse_duration
from securecall.client import Client
from securecall.errors import LocalError, NetworkError, SecurecallError, UsageError
from securecall.events import (
    ChatStateChanged,
    ContactRequested,
    DevicesTrusted,
    MessageChanged,
    MessageReceived,
    NewDevice,
    PeopleChanged,
    PresenceChanged,
    TypingChanged,
)
from securecall.keys.omemo_fingerprint import curve25519_form, fingerprint
from securecall.keys.trust import How, TrustState
from securecall.xmpp.session import SessionState

Voice = Callable[[int, asyncio.Event, Path], Coroutine[object, object, tuple[Path, float]]]
"""Records at most so many seconds, or until told to stop, into a folder: the file, its length."""

_LOOKED_THROUGH: Final = 200  # messages, for the last of ours or the last file


class Chat:
    """What is entered goes in by `enter`; `follow` tells the face what happens.

    Attributes:
        conversation: With whom.
        standing: What is known of them.
        over: Set by /quit.
        face: Where it is seen; given once, before anything else.
    """

    face: Face

    def __init__(
        self,
        client: Client,
        conversation: Conversation,
        *,
        voice: Voice,
        folder: Path,
    ) -> None:
        """Begin with nothing known of the other side.

        Args:
            client: Signed in.
            conversation: With whom.
            voice: Records voice messages.
            folder: For what is recorded; removed by whoever made it.
        """
        self.conversation = conversation
        self.standing = Standing()
        self.over = asyncio.Event()
        self._client = client
        self._voice = voice
        self._folder = folder
        self._listed: list[Recipient] = []  # as they were shown: a number means what was seen
        self._shown_root = b""
        self._invited = False  # we asked them to be a contact
        self._working: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()
        self._recording: asyncio.Event | None = None  # set to end it

    @property
    def address(self) -> Address:
        """The other side's."""
        return self.conversation.address

    def protection(self, when: Callable[[float], datetime]) -> Part:
        """How what is written here is encrypted and how well they are known."""
        contact = self._client.contacts.find(self.address)
        return protection_words(
            self.standing.recipients,
            verified=contact.state is TrustState.VERIFIED,
            since=when(contact.since) if contact.since else None,
            plain=self.conversation.danger_plaintext_chat,
            first=not self._client.devices.has_written_to(self.address),
        )

    # -- what happens -----------------------------------------------------------------------------

    async def follow(self) -> None:
        """Tell the face what happens, for ever."""
        events = self._client.events()
        self._look()
        self.begin(self._first_keys())
        async for event in events:
            self._on(event)
            self._moved.set()

    def _on(self, event: object) -> None:
        match event:
            case MessageReceived(message) if message.conversation == self.address:
                if not message.own:
                    self.standing.typing = False
                self.face.arrived(message)
            case MessageReceived(message) if not message.own:
                self._say(f"{message.conversation.short} wrote to you", "dim")
            case MessageChanged(message) if message.conversation == self.address:
                self.face.changed(message)
            case ChatStateChanged(_, state, error):
                online = state is SessionState.ONLINE
                self.standing.offline = "" if online else str(error or state)
                self.face.standing()
            case ContactRequested(address, text):
                self._on_request(address, text)
            case _:
                self._on_other_side(event)

    def _on_other_side(self, event: object) -> None:
        match event:
            case TypingChanged(conversation, _, activity) if conversation == self.address:
                self.standing.typing = activity is Activity.COMPOSING
                self.face.standing()
            case PeopleChanged() | PresenceChanged():
                self._look()
            case NewDevice(address, device) if address == self.address:
                self._meet(device)
            case DevicesTrusted(address, devices) if address == self.address:
                self._trusted(devices)
            case _:
                pass

    def _on_request(self, address: Address, text: str) -> None:
        if address == self.address and self._invited:  # as we asked them, this is their yes
            self.begin(self._client.accept_contact(address))
            return
        what = "/contact says yes" if address == self.address else "see: securecall contacts"
        words = f" ({text})" if text else ""
        self._say(f"{address.short} asks to be your contact{words}; {what}", "warn")

    def _say(self, text: str, style: str = "") -> None:
        self.face.notice(((Part(text, style),),))

    def _look(self) -> None:
        """Read presence and name again."""
        for person in self._client.people():
            if person.address == self.address:
                there = person.presence
                self.standing.name = person.item.name
                self.standing.status = there.status if there is not None else ""
                sees = person.item.subscription in ("to", "both")
                self.standing.presence = presence_words(there) if sees or there is not None else ""
        self.face.standing()

    def _meet(self, device: Recipient) -> None:
        known = [r for r in self.standing.recipients if r.identity_key != device.identity_key]
        self.standing.recipients = (*known, device)
        place = self._place_of(device)
        if device.trust is DeviceTrust.UNDECIDED:
            self.face.notice(tuple(new_device_rows(place, device)))
        self.face.standing()

    def _place_of(self, device: Recipient) -> int:
        """Its number in what was listed; put behind the others if it is new."""
        for place, each in enumerate(self._listed, start=1):
            if each.identity_key == device.identity_key:
                return place
        self._listed.append(device)
        return len(self._listed)

    def _trusted(self, devices: tuple[Recipient, ...]) -> None:
        known = {d.identity_key: d for d in (*self.standing.recipients, *devices)}
        self.standing.recipients = tuple(known.values())
        words = (
            "You wrote here for the first time: their devices are trusted, but not compared yet."
        )
        self._say(words, "dim")
        self.face.standing()

    async def _first_keys(self) -> None:
        """Fetch them to say how safe it is; who only reads does not need them."""
        try:
            await self._fetch_keys()
        except NetworkError as e:
            self._say(f"their keys could not be fetched: {e}", "warn")

    async def _fetch_keys(self) -> None:
        self.standing.recipients = await self.conversation.recipients()
        self._listed = self._listed or list(self.standing.recipients)
        self.face.standing()

    # -- what is entered --------------------------------------------------------------------------

    async def enter(self, order: Order) -> None:
        """Do it; what fails is told, and the chat goes on."""
        await self._guarded(_ORDERS[order.name](self, order))

    async def _guarded(self, work: Coroutine[object, object, object]) -> None:
        try:
            _ = await work
        except SecurecallError as e:
            self.face.failed(e)

    def begin(self, work: Coroutine[object, object, object]) -> None:
        """Do what takes long beside what is typed."""
        task = asyncio.create_task(self._guarded(work))
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        task.add_done_callback(lambda _: work.close())  # of what was given up before it began

    async def settle(self, seconds: float) -> None:
        """Wait until what was begun is done and the server took what was written.

        Raises:
            NetworkError: it did not within that time; it is kept and sent at the next connection.
        """
        try:
            async with asyncio.timeout(seconds):
                if self._working:
                    _ = await asyncio.wait(self._working)
                while self._waits():
                    self._moved.clear()
                    _ = await self._moved.wait()
        except TimeoutError:
            raise NetworkError(
                "the server did not take everything yet; it is kept, and sent with the next chat"
            ) from None

    def _waits(self) -> bool:
        last = self.conversation.messages(count=_LOOKED_THROUGH)
        return any(m.own and m.delivery is Delivery.PENDING for m in last)

    async def leave(self) -> None:
        """Give up what still runs."""
        for task in tuple(self._working):
            _ = task.cancel()
        if self._working:
            _ = await asyncio.wait(self._working)

    async def _send(self, order: Order) -> None:
        if order.text.strip():
            self.face.changed(await self.conversation.send(order.text))

    async def _reply(self, order: Order) -> None:
        answered = self._message(order.number)
        self.face.changed(await self.conversation.send(order.text, reply_to=answered))

    async def _edit(self, order: Order) -> None:
        last = self._last(lambda m: m.own and m.file is None, "you wrote nothing here yet")
        self.face.changed(await self.conversation.correct(last, order.text))

    async def _react(self, order: Order) -> None:
        message = self._message(order.number)
        self.face.changed(await self.conversation.react(message, *order.text.split()))

    async def _file(self, order: Order) -> None:
        path = _path(order.text)
        if not await asyncio.to_thread(path.is_file):
            raise LocalError(f"there is no file {path}")
        self.begin(self._send_file(path))

    async def _send_file(self, path: Path) -> None:
        def progress(done: int, of: int) -> None:
            self.face.progress(path.name, done, of)

        self.face.changed(await self.conversation.send_file(path, progress=progress))

    async def _record(self, order: Order) -> None:
        if self._recording is not None:  # the second one ends the first
            self._recording.set()
            return
        self._recording = asyncio.Event()
        self.begin(self._send_voice(order.number, self._recording))
        self._say("● recording; /voice again ends and sends it", "bad")

    async def _send_voice(self, seconds: int, stop: asyncio.Event) -> None:
        try:
            path, length = await self._voice(seconds, stop, self._folder)
        finally:
            self._recording = None
        try:

            def progress(done: int, of: int) -> None:
                self.face.progress("voice message", done, of)

            self.face.changed(
                await self.conversation.send_voice(path, seconds=length, progress=progress)
            )
        finally:
            path.unlink(missing_ok=True)

    async def _save(self, order: Order) -> None:
        if order.number:
            message = self._message(order.number)
        else:
            message = self._last(lambda m: m.file is not None, "nobody sent a file here")
        if message.file is None:
            raise UsageError(f"message {message.number} has no file")
        self.begin(self._fetch(message, _path(order.text or ".")))

    async def _fetch(self, message: Message, folder: Path) -> None:
        what = file_words(message.file) if message.file else ""

        def progress(done: int, of: int) -> None:
            self.face.progress(what, done, of)

        saved = await self.conversation.save_file(message, folder, progress=progress)
        self._say(f"saved: {saved}", "good")

    async def _search(self, order: Order) -> None:
        self.face.found(self.conversation.search(order.text)[::-1])

    async def _devices(self, _order: Order) -> None:
        await self._fetch_keys()
        self._listed = list(self.standing.recipients)
        self.face.devices(self._listed)
        rows = [row for own in own_fingerprints(self._client) for row in fingerprint_rows(own)]
        head = (Part("This device, for them to compare:", "dim"),)
        self.face.notice((head, *((Part(f"   {row}", "dim"),) for row in rows)))

    async def _trust(self, order: Order) -> None:
        if order.text not in ("", "verified"):
            raise UsageError("write: /trust N, or /trust N verified once you compared the key")
        device = self._device(order.number)
        if order.text:
            _ = self._client.devices.verify_device(device.address, device.identity_key)
        else:
            _ = self._client.devices.trust_device(device.address, device.identity_key)
        await self._decided(device, "is trusted from now on")

    async def _distrust(self, order: Order) -> None:
        device = self._device(order.number)
        _ = self._client.devices.distrust_device(device.address, device.identity_key)
        await self._decided(device, "receives nothing any more")

    async def _decided(self, device: Recipient, what: str) -> None:
        self._say(f"The device {device.fingerprint[:17]}… {what}.")
        await self._fetch_keys()

    async def _verify(self, order: Order) -> None:
        contact = self._client.contacts.find(self.address)
        if not contact.root_fp:
            raise UsageError(
                f"{self.address.short} showed no key of a person yet; compare the keys of their "
                "devices instead: /devices"
            )
        if order.text == "same" and self._shown_root == contact.root_fp:
            _ = self._client.contacts.verify(self.address, How.DIGITS, root_fp=contact.root_fp)
            self._say(f"{self.address.short} is verified.", "good")
            self.face.standing()
            return
        if order.text not in ("", "same"):
            raise UsageError("write: /verify, and once you compared: /verify same")
        self._shown_root = contact.root_fp
        groups = self._client.contacts.safety_number(self.address).split()
        rows = [(Part("   " + "  ".join(groups[n : n + 4])),) for n in range(0, len(groups), 4)]
        head = (Part(f"Your safety number with {self.address.short}:", "good"),)
        self.face.notice((head, *rows, (Part("Do both of you see it? Then: /verify same", "dim"),)))

    async def _contact(self, _order: Order) -> None:
        bare = self.address.short
        if any(bare in account.people.asks for account in self._client.chat_accounts):
            await self._client.accept_contact(self.address)
            self._say(f"{bare} sees from now on when you are there.", "good")
            return
        self._invited = True
        await self._client.add_contact(self.address)
        self._say(f"{bare} was asked to be your contact.")

    async def _retention(self, order: Order) -> None:
        if order.text:
            self.conversation.retention = parse_duration(order.text)
        kept = self.conversation.retention
        text = (
            f"deleted here after {duration_words(kept)}" if kept else "kept until you delete them"
        )
        self._say(f"Messages are {text}.")

    async def _delete(self, order: Order) -> None:
        self.conversation.delete(self._message(order.number))
        self.face.changed(None)
        self._say("Deleted here; the other side keeps theirs.", "dim")

    async def _read(self, order: Order) -> None:
        await self.conversation.mark_read(self._message(order.number))

    async def _earlier(self, order: Order) -> None:
        self.face.earlier(order.number or 20)

    async def _help(self, _order: Order) -> None:
        rows = [
            (Part(f"/{name} {form.usage}".ljust(22)), Part(f" {form.does}", "dim"))
            for name, form in FORMS.items()
        ]
        self.face.notice(rows)

    async def _quit(self, _order: Order) -> None:
        self.over.set()

    def _message(self, number: int) -> Message:
        found = self.conversation.messages(count=1, before=number + 1)
        if not found or found[-1].number != number:
            raise UsageError(f"there is no message {number} here")
        return found[-1]

    def _last(self, fits: Callable[[Message], bool], otherwise: str) -> Message:
        for message in reversed(self.conversation.messages(count=_LOOKED_THROUGH)):
            if fits(message):
                return message
        raise UsageError(otherwise)

    def _device(self, number: int) -> Recipient:
        if not 0 < number <= len(self._listed):
            raise UsageError("/devices lists them with their numbers")
        return self._listed[number - 1]


_ORDERS: Final[dict[str, Callable[[Chat, Order], Coroutine[object, object, None]]]] = {
    "say": Chat._send,  # noqa: SLF001 - the table of its own orders
    "help": Chat._help,  # noqa: SLF001
    "file": Chat._file,  # noqa: SLF001
    "voice": Chat._record,  # noqa: SLF001
    "save": Chat._save,  # noqa: SLF001
    "reply": Chat._reply,  # noqa: SLF001
    "edit": Chat._edit,  # noqa: SLF001
    "react": Chat._react,  # noqa: SLF001
    "search": Chat._search,  # noqa: SLF001
    "devices": Chat._devices,  # noqa: SLF001
    "trust": Chat._trust,  # noqa: SLF001
    "distrust": Chat._distrust,  # noqa: SLF001
    "verify": Chat._verify,  # noqa: SLF001
    "contact": Chat._contact,  # noqa: SLF001
    "retention": Chat._retention,  # noqa: SLF001
    "delete": Chat._delete,  # noqa: SLF001
    "history": Chat._earlier,  # noqa: SLF001
    "read": Chat._read,  # noqa: SLF001
    "quit": Chat._quit,  # noqa: SLF001
}


def own_fingerprints(client: Client) -> list[str]:
    """What the other side sees of this device: one key, or one for each version of OMEMO."""
    keys = {curve25519_form(key.identity_key) for key in client.contacts.omemo}
    return sorted(fingerprint(key) for key in keys)


def _path(text: str) -> Path:
    """A path as people type or paste it."""
    return Path(text.strip().strip("'\"")).expanduser()
