"""Writing for one XMPP account: kept before it is sent, and sent again until the server has it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import mimetypes
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element

from securecall.address import Address
from securecall.chat.committer import Committer
from securecall.chat.conversation import Enclosure, Progress, Recipient
from securecall.chat.file_name import shown_name
from securecall.chat.history import History, Parcel
from securecall.chat.ledger import Ledger, News
from securecall.chat.message import (
    Delivered,
    Delivery,
    DeviceTrust,
    Displayed,
    Message,
    Named,
    Protection,
    Reaction,
    Said,
    SharedFile,
    Text,
    Typing,
)
from securecall.devices import Devices
from securecall.errors import (
    ConnectFailed,
    LocalError,
    NoDevices,
    RoomClosed,
    UntrustedDevices,
    UsageError,
)
from securecall.keys.omemo import Omemo
from securecall.keys.omemo_trust import Sighting
from securecall.keys.omemo_values import WRITABLE, Device, Recipients
from securecall.logs import logger
from securecall.xmpp.envelope import MAX_PADDING
from securecall.xmpp.jid import jid_of
from securecall.xmpp.outbox import Outbox, protections, weakest, withhold
from securecall.xmpp.saying import Answered
from securecall.xmpp.session import Session
from securecall.xmpp.sharing import Sharing
from securecall.xmpp.xml import serialise

RETRY_SECONDS: Final = (1.0, 2.0, 5.0, 15.0, 30.0)  # after the disk refused; the last for ever
CLOSE_SECONDS: Final = 2.0
DOUBTED_SECONDS: Final = 10.0  # before a connection is lost; what was taken then may be lost, too
# Parcels under way at once. A server that is slow would else be given up for dead with all of them
# before it, in one session after the other, each of which sends it all of them again.
MOST_IN_FLIGHT: Final = 32
# Seconds until it is kept that the server took a message, if nothing else is kept meanwhile.
PATIENCE: Final = 0.02

log = logger(__name__)


class Messaging:
    """What carries the conversations of one account; fits `chat.conversation.Courier`."""

    def __init__(
        self,
        own: Address,
        session: Session,
        history: History,
        omemo: Omemo,
        devices: Devices,
        sharing: Sharing,
        *,
        committer: Committer,
        ledger: Ledger,
        folder: Path,
        members: Callable[[Address], tuple[Address, ...] | None],
        known: Callable[[Address], tuple[Address, ...] | None],
        outside: Callable[[Address], bool],
        closed: Callable[[Address], str],
        tell: Callable[[News], None],
        first_used: Callable[[Address, tuple[Recipient, ...]], None],
        new_device: Callable[[Recipient], None],
    ) -> None:
        """Prepare.

        Args:
            own: Our address.
            session: To our server.
            history: Where everything is kept first.
            omemo: Encrypts.
            devices: What the others' devices are to us.
            sharing: Puts files on our server, and gets those of others.
            committer: Of the history.
            ledger: Enters what is written.
            folder: A private one, for files on their way.
            members: Of a room, None for a person.
            known: Likewise, whom our user knows there, also while we are outside.
            outside: Whether this is a room that we are not in, or not yet: it would send back what
                is said there. `entered` is called once we are, or it is closed.
            closed: Why this is a room that takes nothing of ours any more, "" where it may.
            tell: Told how messages fare.
            first_used: Told whose devices became trusted because we wrote to them first.
            new_device: Told of a device that gets nothing before a person decided.
        """
        self._own = own
        self._session = session
        self._history = history
        self._omemo = omemo
        self._devices = devices
        self._sharing = sharing
        self._folder = folder
        self._committer = committer
        self._ledger = ledger
        self._outbox = Outbox(omemo)
        self._members = members
        self._known_in = known
        self._outside = outside
        self._closed = closed
        self._tell = tell
        self._first_used = first_used
        self._new_device = new_device
        self._noticed: dict[Address, tuple[Device, ...]] = {}
        self._written: set[Address] = set()  # of whom it is kept that our user wrote to them
        self._ready = False
        self._noting: set[asyncio.Task[None]] = set()
        # by number, when the server took them; never, for those that were sent again since
        self._recent: dict[int, tuple[float, Parcel]] = {}
        self._last = 0  # the number of the last parcel that was sent in this session
        self._behind = False  # some after it wait, for as many as may be are under way
        self._in_flight = 0  # parcels sent in this session that the server has not taken
        self._held: dict[Address, int] = {}  # rooms that parcels wait for: the first's number
        self._passed: set[int] = set()  # numbers of those done with since the first was held

    @property
    def own(self) -> Address:
        """Our address there."""
        return self._own

    # -- write ------------------------------------------------------------------------------------

    async def write(self, to: Address, said: Text | Reaction, *, plain: bool) -> Message:
        """Keep, encrypt and send; returns the message as kept.

        Raises:
            UntrustedDevices: nobody there can be written to before a person decided.
            NoDevices: they have no device that OMEMO reaches.
            UsageError: it corrects or answers what is not here.
            RoomClosed: it is for a room that does not want us any more.
            NetworkError: their keys have to be fetched, and cannot be now.
            LocalError: the disk refused; nothing was sent.
        """
        self._require_open(to)
        recipients = None if plain else await self._recipients(to)
        name = str(uuid.uuid4())

        def work() -> tuple[Message, Parcel]:
            now = time.time()
            protection = Protection.NONE if recipients is None else weakest(recipients)
            device = 0 if recipients is None else self._omemo.device_id
            try:
                answered = self._answered(to, said, plain=recipients is None)
                wire = self._as_named(to, said)
                message = self._ledger.compose(
                    to, said, name=name, unix=now, protection=protection, device=device
                )
            except LookupError as e:
                raise UsageError(str(e)) from e
            stanza = self._stanza(to, wire, recipients, name=name, now=now, answered=answered)
            return message, self._post(to, name, stanza)

        message, parcel = await self._committer.commit(work)
        self._ship(parcel)
        return message

    async def tell(self, to: Address, said: Typing | Displayed | Delivered) -> None:
        """Send what is not kept; without a connection it is not sent at all.

        What may be read by servers on the way goes unencrypted only to those whose OMEMO cannot
        hide it; see `Outbox.build`.

        Nothing overtakes what waits: a ratchet opens nothing that a thousand others should have
        come before (XEP-0384 4.3). A mark waits behind it; that somebody writes is old by then.
        """
        if not self._ready or self._members(to) is not None:
            return
        if self._behind and isinstance(said, Typing):
            return
        recipients = await self._willing(to)
        if recipients is None:
            return
        name = str(uuid.uuid4())

        def work() -> Parcel:
            now = time.time()
            stanza = self._stanza(to, said, recipients, name=name, now=now, answered=None)
            if self._behind:
                return self._post(to, name, stanza)
            return Parcel(id=name, conversation=to, stanza=serialise(stanza))

        made = await self._committer.commit(work)
        if made.number:
            self._ship(made)
        elif self._ready:
            self._session.send(made.stanza, again=lambda: self._again(made))

    async def carry(self, to: Address, stanza: Element) -> None:
        """Send what says nothing, and moves a ratchet on: kept, and behind all that waits.

        Raises:
            LocalError: the disk refused.
        """
        name = stanza.get("id", "")
        self._ship(await self._committer.commit(lambda: self._post(to, name, stanza)))

    def creditors(self) -> tuple[Address, ...]:
        """Who waits for receipts of ours."""
        return self._ledger.receipts.creditors()

    async def acknowledge(self, to: Address) -> None:
        """Tell somebody that we have the messages they wait to hear of, each once.

        Somebody none of whose devices is trusted is told nothing, not even that we are here.

        Raises:
            NetworkError: their keys have to be fetched, and cannot be now; it stays owed.
            LocalError: the disk refused; it stays owed.
        """
        receipts = self._ledger.receipts
        if not receipts.owed(to):
            return
        recipients = await self._willing(to)

        def work() -> list[Parcel]:
            names = receipts.owed(to)
            receipts.settle(to)
            if recipients is None:
                return []
            return [self._receipt(to, name, recipients) for name in names]

        for parcel in await self._committer.commit(work):
            self._ship(parcel)

    def _receipt(self, to: Address, name: str, recipients: Recipients) -> Parcel:
        said, own_name = Delivered(id=name), str(uuid.uuid4())
        stanza = self._stanza(to, said, recipients, name=own_name, now=time.time(), answered=None)
        return self._post(to, own_name, stanza)

    async def _willing(self, to: Address) -> Recipients | None:
        """Whom to write to without our user having asked for it: nobody new is trusted by this.

        Nor is anything asked of the server of somebody with no trusted device: it would tell them
        that we are here, and have what they sent.
        """
        known = self._known(jid_of(to).bare)
        if not any(self._devices.trust_of(device) in WRITABLE for device in known):
            return None
        try:
            return await self._omemo.prepare([jid_of(to).bare])
        except (UntrustedDevices, NoDevices):
            return None

    def _stanza(
        self,
        to: Address,
        said: Said,
        recipients: Recipients | None,
        *,
        name: str,
        now: float,
        answered: Answered | None,
    ) -> Element:
        if recipients is None:
            return self._outbox.danger_build_plain(to, said, name=name, now=now, answered=answered)
        return self._outbox.build(
            to,
            said,
            recipients,
            name=name,
            now=now,
            padding=secrets.token_urlsafe(MAX_PADDING)[: secrets.randbelow(MAX_PADDING)],
            room=self._members(to) is not None,
            answered=answered,
        )

    def _answered(self, to: Address, said: Text | Reaction, *, plain: bool) -> Answered | None:
        if isinstance(said, Reaction) or not said.reply_to:
            return None
        known = self._ledger.named(to, said.reply_to, said.answers)
        # what came encrypted is not read out to every server because our user writes in the clear
        quote = "" if plain and known.protection else known.text
        return Answered(author=jid_of(known.sender), quote=quote)

    def _as_named(self, to: Address, said: Text | Reaction) -> Text | Reaction:
        """The message that is meant by the name others know it by: in rooms by two."""
        if self._members(to) is None:
            if isinstance(said, Reaction):
                return replace(said, of=None)
            return replace(said, answers=None)
        if isinstance(said, Reaction):
            return replace(said, to=self._name_in_room(to, said.to, said.of))
        if not said.reply_to:
            return said
        return replace(said, reply_to=self._name_in_room(to, said.reply_to, said.answers))

    def _name_in_room(self, room: Address, name: str, meant: Named | None) -> str:
        known = self._ledger.named(room, name, meant)
        if not known.archive_id:
            raise UsageError("the room has no name for that message, or not yet")
        return known.archive_id

    def _post(self, to: Address, name: str, stanza: Element) -> Parcel:
        return self._history.post(Parcel(id=name, conversation=to, stanza=serialise(stanza)))

    # -- files ------------------------------------------------------------------------------------

    async def lay_up(self, to: Address, enclosure: Enclosure, *, progress: Progress) -> SharedFile:
        """Encrypt a file and put it on our server, in a form that they can read.

        A bare link has no room for the true size, so for who reads only those nothing is padded.
        """
        self._require_open(to)
        link = Protection.OMEMO_LEGACY in protections(await self._recipients(to))
        guessed = mimetypes.guess_type(enclosure.name)[0] or "application/octet-stream"
        return await self._sharing.upload(
            enclosure.path,
            self._folder,
            name=enclosure.name,
            media_type=enclosure.media_type or guessed,
            seconds=enclosure.seconds,
            expires=enclosure.expires,
            link=link,
            progress=progress,
        )

    async def fetch(self, file: SharedFile, folder: Path, *, progress: Progress) -> Path:
        """Get a file and decrypt it into a folder, under a name that is safe there."""
        return await self._sharing.download(
            file, _free_path(folder, shown_name(file.name)), progress=progress
        )

    async def changed(self) -> None:
        """Wait until something in the history changes."""
        await self._committer.changed()

    # -- send -------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether what is written goes out at once."""
        return self._ready

    def hold(self) -> None:
        """A session begins anew: what is written waits until it is ready."""
        self._ready, self._last, self._in_flight = False, 0, 0
        self._held.clear()
        self._passed.clear()

    def lost(self) -> None:
        """The connection is gone; whether the session is, too, is not known yet."""
        self._forget_recent(time.monotonic())

    def release(self) -> None:
        """The session is ready: send what waits, in the order it was written.

        First what the server took just before the connection was lost, unless it is known to have
        arrived: a server that goes down has been seen to take messages and lose them.

        Raises:
            LocalError: what waits could not be read; it is not ready, and has to be told again.
        """
        self._send_waiting()
        self._ready = True

    def entered(self, room: Address) -> None:
        """We are in this room and know who belongs to it, or it is closed: nothing waits for it."""
        first = self._held.pop(room, None)
        if first is not None:
            self._last, self._behind = min(self._last, first - 1), True
            if self._ready and self._in_flight < MOST_IN_FLIGHT:
                self._try_to_send_waiting()

    def _is_held(self, parcel: Parcel) -> bool:
        """Whether it waits until we are in its room; what follows it in others does not."""
        to = parcel.conversation
        if to not in self._held and (self._closed(to) or not self._outside(to)):
            return False
        _ = self._held.setdefault(to, parcel.number)
        self._last = parcel.number
        return True

    def _is_vain(self, parcel: Parcel, *, doubted: bool) -> bool:
        """Whether it is for a room that takes nothing any more; then our user is told."""
        why = self._closed(parcel.conversation)
        if not why:
            return False
        self._pass(parcel.number)
        if not doubted:  # else the server took it
            self._give_up(parcel, why)
        return True

    def _forget_recent(self, now: float) -> None:
        while self._recent:
            number, (taken, _) = next(iter(self._recent.items()))
            if taken >= now - DOUBTED_SECONDS:
                return
            del self._recent[number]

    def _send_waiting(self) -> None:
        self._behind = True
        while self._in_flight < MOST_IN_FLIGHT:
            batch = self._next_batch()
            if not batch:
                self._behind = False
                if not self._held:
                    self._passed.clear()
                return
            for parcel, doubted in batch:
                if self._in_flight >= MOST_IN_FLIGHT or not self._offer(parcel, doubted=doubted):
                    return

    def _offer(self, parcel: Parcel, *, doubted: bool) -> bool:
        """Send what is still to be sent; False where the session takes nothing."""
        if parcel.number in self._passed:
            self._last = parcel.number
        elif self._is_held(parcel):
            pass
        elif self._arrived(parcel, doubted=doubted):
            self._pass(parcel.number)
            self._taken(parcel, sent=False)  # only the word of that was lost
        elif self._is_vain(parcel, doubted=doubted):
            pass
        else:
            stanza, meant = self._withheld(parcel)
            if not meant:
                self._pass(parcel.number)
                self._give_up(parcel)
            elif not self._send(replace(parcel, stanza=stanza)):
                return False
            elif doubted:
                self._recent[parcel.number] = (math.inf, parcel)
        return True

    def _pass(self, number: int) -> None:
        self._last = number
        if self._held:
            self._passed.add(number)

    def _next_batch(self) -> list[tuple[Parcel, bool]]:
        """What is to go out after the last, in order, and whether the server had it once."""
        waiting = self._history.parcels(after=self._last, most=MOST_IN_FLIGHT)
        last = waiting[-1].number if len(waiting) == MOST_IN_FLIGHT else math.inf
        doubted = {
            number: parcel
            for number, (_, parcel) in self._recent.items()
            if self._last < number <= last
        }
        both = {parcel.number: parcel for parcel in waiting} | doubted
        return [(both[number], number in doubted) for number in sorted(both)]

    def _withheld(self, parcel: Parcel) -> tuple[bytes, bool]:
        """What waited without its keys for devices that lost our user's trust meanwhile.

        And whether anybody of the other side is left to read it.
        """
        own = jid_of(self._own).bare
        known = self._known_in(parcel.conversation)
        people = (parcel.conversation,) if known is None else known
        to_us = parcel.conversation == self._own
        everybody = dict.fromkeys((*(jid_of(each).bare for each in people), own))

        def barred(jid: str, number: int) -> bool | None:
            # a device is known in the best namespace it has by now, and has one key in both
            found = [
                device
                for each in ((jid,) if jid else everybody)
                if each in everybody  # else somebody who was taken out of a room
                for device in self._known(each)
                if device.id == number
            ]
            if not found or any(self._devices.trust_of(d) not in WRITABLE for d in found):
                return True
            ours = all(device.jid == own for device in found)
            return None if ours and not to_us else False

        return withhold(parcel.stanza, barred)

    def _again(self, parcel: Parcel) -> bytes | None:
        """What goes out of this over another connection of the session, None for nothing.

        Our user is told of a message that nobody may read any more; one of which that is not known
        waits for the next session.
        """
        try:
            stanza, meant = self._withheld(parcel)
        except LocalError as e:
            log.warning("who may read what waits is not known: %s", e)
        else:
            if meant:
                return stanza
            if parcel.number:
                self._give_up(parcel)
        if parcel.number:
            self._in_flight -= 1
            _ = asyncio.get_running_loop().call_soon(self._go_on)  # behind what is sent again
        return None

    def _go_on(self) -> None:
        if self._ready and self._behind and not self._in_flight:
            self._try_to_send_waiting()  # nothing else would

    def _try_to_send_waiting(self) -> None:
        try:
            self._send_waiting()
        except LocalError as e:  # it is kept, and goes out with the next
            log.warning("what waits to be sent could not be read: %s", e)

    def _give_up(self, parcel: Parcel, why: str = "") -> None:
        """Nobody may, or can, read it any more: our user is told, and may write it again."""

        def work() -> tuple[News, ...]:
            self._history.taken(parcel.number)
            return self._ledger.failed(parcel.conversation, parcel.id, why)

        self._start(work)

    def _arrived(self, parcel: Parcel, *, doubted: bool) -> bool:
        """Whether it is where it should be, as far as history knows.

        A copy in our own archive says nothing of theirs; one that came back from a room does.
        """
        known = self._history.find(parcel.conversation, self._own, parcel.id)
        if known is None or known.delivery is Delivery.PENDING:
            return False
        in_room = self._members(parcel.conversation) is not None
        return known.delivery is not Delivery.SENT or (in_room and not doubted)

    def _ship(self, parcel: Parcel) -> None:
        if not self._ready or parcel.number <= self._last or (self._behind and self._in_flight):
            return
        if not self._behind and self._in_flight < MOST_IN_FLIGHT:
            if not self._is_held(parcel) and not self._is_vain(parcel, doubted=False):
                _ = self._send(parcel)
            return
        self._behind = True
        self._go_on()

    def _send(self, parcel: Parcel) -> bool:
        """Whether it is on its way; otherwise it waits, and so does all after it."""
        try:
            self._session.send(
                parcel.stanza,
                taken=lambda: self._taken(parcel, sent=True),
                again=lambda: self._again(parcel),
            )
        except ConnectFailed as e:
            log.info("a message waits: %s", e)
            self._behind = True
            return False
        self._pass(parcel.number)
        self._in_flight += 1
        return True

    def _taken(self, parcel: Parcel, *, sent: bool) -> None:
        """The server has it; should we forget that by a crash, it gets it twice, under one name."""
        now = time.monotonic()
        _ = self._recent.pop(parcel.number, None)  # the latest last
        self._recent[parcel.number] = (now, parcel)
        self._forget_recent(now)

        def work() -> tuple[News, ...]:
            self._history.taken(parcel.number)
            return self._ledger.taken(parcel.conversation, parcel.id)

        self._start(work)
        self._in_flight -= sent
        if self._ready and self._behind and sent and self._in_flight <= MOST_IN_FLIGHT // 2:
            self._send_waiting()

    def _start(self, work: Callable[[], tuple[News, ...]]) -> None:
        task = asyncio.create_task(self._note(work))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def _note(self, work: Callable[[], tuple[News, ...]]) -> None:
        """Until the disk takes it: what is not noted is sent again in the next session."""
        for pause in itertools.chain(RETRY_SECONDS, itertools.repeat(RETRY_SECONDS[-1])):
            try:
                changes = await self._committer.commit(work, patience=PATIENCE)
            except LocalError as e:
                log.warning("that the server has a message could not be noted: %s", e)
                await asyncio.sleep(pause)
            else:
                for news in changes:
                    self._tell(news)
                return

    async def close(self) -> None:
        """Note what the server took; what the disk refuses now is sent again the next time."""
        if self._noting:
            _ = await asyncio.wait(self._noting, timeout=CLOSE_SECONDS)
        for task in self._noting:
            _ = task.cancel()
        _ = await asyncio.gather(*self._noting, return_exceptions=True)

    def _require_open(self, to: Address) -> None:
        if why := self._closed(to):
            raise RoomClosed(f"{to.short} takes nothing of ours: {why}")

    # -- for whom ---------------------------------------------------------------------------------

    async def recipients(self, to: Address) -> tuple[Recipient, ...]:
        """The devices of the other side, as their server lists them now.

        One that shows another key than before is there twice: by each.
        """
        everybody = self._everybody(to)
        with contextlib.suppress(UntrustedDevices):  # which those are is what was asked
            _ = await self._omemo.prepare([jid_of(each).bare for each in everybody])
        fresh = self._notice(everybody)  # whoever sees them may decide about them
        # those of somebody never written to will be trusted by that
        known = {self._own, *filter(self._devices.has_written_to, everybody)}
        self._tell_of([(each, device) for each, device in fresh if each in known])
        return tuple(
            self._recipient(each, device)
            for each in everybody
            for device in self._known(jid_of(each).bare)
        )

    def _known(self, jid: str) -> tuple[Device, ...]:
        return (*self._omemo.devices(jid), *self._omemo.changed(jid))

    def _everybody(self, to: Address) -> tuple[Address, ...]:
        """With whom a conversation is.

        A room is nobody: its service could publish devices under its address, and read along.
        """
        members = self._members(to)
        if members is None:
            return (to,)
        if not any(member != self._own for member in members):
            raise NoDevices(f"nobody whom you know of is a member of {to.short}")
        return members

    def _recipient(self, address: Address, device: Device) -> Recipient:
        return Recipient(
            address=address,
            id=device.id,
            identity_key=device.identity_key,
            trust=self._devices.device_trust(address, device.identity_key),
            fingerprint=device.fingerprint,
        )

    async def _recipients(self, to: Address) -> Recipients:
        """Whom a message of ours goes to; the first one to somebody trusts who is there.

        Later devices are told about and get nothing until a person decided.
        """
        everybody = tuple(each for each in self._everybody(to) if each != self._own)
        jids = [jid_of(each).bare for each in everybody]
        try:
            found = await self._omemo.prepare(jids)
        except UntrustedDevices:
            fresh = self._notice(everybody)
            used = self._use_first(everybody)
            self._tell_of(fresh)
            if not used:
                raise
            found = await self._omemo.prepare(jids)
        for each in everybody:
            if each not in self._written:
                self._devices.wrote_to(each)
                self._written.add(each)
        self._tell_of(self._notice(everybody))
        return found

    def _notice(self, everybody: tuple[Address, ...]) -> list[tuple[Address, Device]]:
        """Write down which devices there are; returns those that were not there before."""
        fresh = []
        for each in (*everybody, self._own):
            jid = jid_of(each).bare
            devices = self._known(jid)
            if self._noticed.get(each) == devices:
                continue
            for device in devices:
                sighting = self._devices.notice(
                    each, device.namespace, device.id, device.identity_key
                )
                if sighting is not Sighting.KNOWN:
                    fresh.append((each, device))
            self._noticed[each] = devices
        return fresh

    def _tell_of(self, fresh: list[tuple[Address, Device]]) -> None:
        for address, device in fresh:
            recipient = self._recipient(address, device)
            if recipient.trust is DeviceTrust.UNDECIDED:
                self._new_device(recipient)

    def _use_first(self, everybody: tuple[Address, ...]) -> bool:
        used = False
        for each in everybody:
            # not those who wrote to us without standing on the list: anybody's server can do that
            devices = self._omemo.listed(jid_of(each).bare)
            pinned = self._devices.first_use(each, [device.identity_key for device in devices])
            if pinned:
                used = True
                self._first_used(each, tuple(self._recipient(each, d) for d in devices))
        return used


def _free_path(folder: Path, name: str) -> Path:
    """A path in the folder where nothing is yet."""
    path, number = folder / name, 1
    while path.exists():
        number += 1
        path = folder / f"{Path(name).stem} ({number}){Path(name).suffix}"
    return path
