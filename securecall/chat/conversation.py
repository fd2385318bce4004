"""One conversation as an application sees it: write, read, search, and be told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from securecall.address import Address
from securecall.chat.history import History
from securecall.chat.message import (
    Activity,
    DeviceTrust,
    Displayed,
    Message,
    Named,
    Reaction,
    SharedFile,
    Text,
    Typing,
)
from securecall.errors import UsageError

Progress = Callable[[int, int], None]
"""Told of bytes done, and of bytes in all; 0 where that is not known."""

MOST_TEXT = 64 * 1024  # bytes of UTF-8; longer things are files
_A_PAGE = 100


def untold(_done: int, _of: int) -> None:
    """Progress that nobody wants to know of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One device that messages are encrypted for, or would be.

    Attributes:
        address: Whose.
        id: OMEMO id.
        identity_key: 32 bytes, Ed25519 form.
        trust: What it is to us; UNDECIDED and DISTRUSTED devices receive nothing.
        fingerprint: The key in groups of eight hex digits, to compare.
    """

    address: Address
    id: int
    identity_key: bytes = field(repr=False)
    trust: DeviceTrust
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclosure:
    """A file of ours that is to be sent.

    Attributes:
        path: Of the file; at most 4 GiB and what our server takes.
        name: Shown to the other side, inside the encryption.
        media_type: "" for what its name says.
        seconds: How long it plays, 0 for what is no recording.
        expires: Unix seconds after which both ends delete it, 0 for never.
    """

    path: Path
    name: str
    media_type: str = ""
    seconds: float = 0.0
    expires: int = 0


class Courier(Protocol):
    """What carries a conversation: encrypts for every device of the other side, and sends."""

    @property
    def own(self) -> Address:
        """Our address there."""
        ...

    async def write(self, to: Address, said: Text | Reaction, *, plain: bool) -> Message:
        """Keep, encrypt and send; returns the message as kept.

        Raises:
            UntrustedDevices: nobody there can be written to before a person decided.
            DowngradeError: plaintext, to somebody reached encrypted before.
            NetworkError: their keys have to be fetched, and cannot be now.
        """
        ...

    async def tell(self, to: Address, said: Typing | Displayed) -> None:
        """Send what is not kept; without a connection it is not sent at all."""
        ...

    async def lay_up(self, to: Address, enclosure: Enclosure, *, progress: Progress) -> SharedFile:
        """Encrypt a file and put it on our server, in a form that they can read."""
        ...

    async def fetch(self, file: SharedFile, folder: Path, *, progress: Progress) -> Path:
        """Get a file and decrypt it into a folder, under a name that is safe there."""
        ...

    async def recipients(self, to: Address) -> tuple[Recipient, ...]:
        """The devices of the other side, as their server lists them now."""
        ...

    async def changed(self) -> None:
        """Wait until something in the history changes."""
        ...


class Conversation:
    """What we and one other person, or the members of one room, write to each other.

    Attributes:
        address: The person's, or the room's.
        danger_plaintext_chat: Nothing here is encrypted: every server on the way can read and
            change it. Set only by `Client.conversation`, for this one contact, never by itself.
    """

    def __init__(
        self,
        address: Address,
        courier: Courier,
        history: History,
        *,
        danger_plaintext_chat: bool = False,
    ) -> None:
        """Use `Client.conversation` or `Client.room`."""
        self.address = address
        self.danger_plaintext_chat: Final = danger_plaintext_chat
        self._courier = courier
        self._history = history

    def __repr__(self) -> str:
        return f"<Conversation with {self.address.short}>"

    # -- write ------------------------------------------------------------------------------------

    async def send(
        self,
        text: str,
        *,
        reply_to: Message | None = None,
        expires: int = 0,
    ) -> Message:
        """Write a message; it is kept before it is sent, and sent again until the server has it.

        Args:
            text: At most 64 KiB.
            reply_to: The message this answers.
            expires: Unix seconds after which both ends delete it, 0 for never.

        Raises:
            UsageError: empty or too long.
            UntrustedDevices: a person has to decide about their devices first.
            RoomClosed: it is a room that takes nothing of ours any more.
            NetworkError: their keys have to be fetched, and cannot be now.
        """
        if not text:
            raise UsageError("an empty message says nothing")
        _require_short(text)
        said = Text(
            body=text,
            reply_to=reply_to.id if reply_to else "",
            answers=Named(reply_to.sender, reply_to.id) if reply_to and reply_to.id else None,
            expires=expires,
            wants_receipt=True,
            markable=True,
        )
        return await self._write(said)

    async def correct(self, message: Message, text: str) -> Message:
        """Put another text in the place of a message of ours.

        Raises:
            UsageError: it is not ours, or the text is too long.
        """
        if not message.own:
            raise UsageError("only messages of our own can be corrected")
        if not text:
            raise UsageError("an empty message says nothing")
        _require_short(text)
        # who has deleted the message by now must not keep this one for ever
        said = Text(body=text, corrects=message.id, expires=message.expires)
        return await self._write(said)

    async def react(self, message: Message, *emojis: str) -> Message:
        """Set our reactions to a message; none takes them back."""
        said = Reaction(
            to=message.id, emojis=frozenset(emojis), of=Named(message.sender, message.id)
        )
        return await self._write(said)

    async def send_file(
        self,
        path: Path,
        *,
        name: str = "",
        media_type: str = "",
        expires: int = 0,
        progress: Progress = untold,
    ) -> Message:
        """Send a file: encrypted here, kept as ciphertext on our server, opened there.

        Args:
            path: Of the file; at most 4 GiB and what our server takes.
            name: Shown to the other side, inside the encryption; default: the file's own.
            media_type: Default: by the name.
            expires: Unix seconds after which both ends delete it, 0 for never.
            progress: Told of bytes done and bytes in all.
        """
        enclosure = Enclosure(
            path=path, name=name or path.name, media_type=media_type, expires=expires
        )
        return await self._share(enclosure, progress)

    async def send_voice(
        self, path: Path, *, seconds: float, expires: int = 0, progress: Progress = untold
    ) -> Message:
        """Send a voice message made by `securecall.chat.voice`."""
        enclosure = Enclosure(
            path=path,
            name="voice message.ogg",
            media_type="audio/ogg; codecs=opus",
            seconds=seconds,
            expires=expires,
        )
        return await self._share(enclosure, progress)

    async def _share(self, enclosure: Enclosure, progress: Progress) -> Message:
        if self.danger_plaintext_chat:
            raise UsageError("the key of a file would be sent unencrypted; share it another way")
        file = await self._courier.lay_up(self.address, enclosure, progress=progress)
        said = Text(
            body="", file=file, expires=enclosure.expires, wants_receipt=True, markable=True
        )
        try:
            return await self._write(said)
        except BaseException:
            file.key.wipe()  # what lies on the server is noise from now on
            raise

    async def save_file(
        self, message: Message, folder: Path, *, progress: Progress = untold
    ) -> Path:
        """Get the file of a message; nothing is released before all of it proved genuine.

        Returns:
            Where it is: in `folder`, under a harmless form of its name.

        Raises:
            UsageError: the message has no file.
            SecurityError: it is not the file that was sent.
        """
        if message.file is None:
            raise UsageError("this message has no file")
        return await self._courier.fetch(message.file, folder, progress=progress)

    async def typing(self, *, on: bool = True) -> None:
        """Let the other side see that we write, or that we stopped."""
        activity = Activity.COMPOSING if on else Activity.PAUSED
        await self._courier.tell(self.address, Typing(activity=activity))

    async def mark_read(self, message: Message, *, tell: bool = True) -> None:
        """Mark everything up to this message as read.

        Args:
            message: The last one read.
            tell: Let its sender know.
        """
        with self._history.transaction():
            self._history.mark_read(self.address, message.number)
        if tell and message.id and not message.own:
            await self._courier.tell(self.address, Displayed(id=message.id))

    async def _write(self, said: Text | Reaction) -> Message:
        return await self._courier.write(self.address, said, plain=self.danger_plaintext_chat)

    # -- read -------------------------------------------------------------------------------------

    def messages(self, *, count: int = 50, before: int = 0) -> tuple[Message, ...]:
        """The last messages (before a number, if given), oldest of them first."""
        return self._history.messages(self.address, count=count, before=before)

    def search(self, words: str, *, count: int = 50) -> tuple[Message, ...]:
        """Messages here that hold all these words, or words that begin so; newest first."""
        return self._history.search(words, conversation=self.address, count=count)

    @property
    def unread(self) -> int:
        """How many messages of others were not marked as read."""
        return self._history.unread(self.address)

    async def incoming(self, *, after: int | None = None) -> AsyncIterator[Message]:
        """Yield what others write here, for ever; none is left out, however slowly it is read.

        Args:
            after: Begin behind this number; default: with what comes from now on.
        """
        last = self.messages(count=1)
        place = (last[-1].number if last else 0) if after is None else after
        async for message in incoming(
            self._history, self._courier.changed, after=place, conversation=self.address
        ):
            yield message

    # -- keep -------------------------------------------------------------------------------------

    @property
    def retention(self) -> int:
        """Seconds after which messages here are deleted on this device, 0 for never."""
        return self._history.retention(self.address)

    @retention.setter
    def retention(self, seconds: int) -> None:
        with self._history.transaction():
            self._history.retain(self.address, seconds)

    def delete(self, message: Message) -> None:
        """Delete a message on this device; the other side keeps theirs."""
        with self._history.transaction():
            self._history.remove(message.number)

    async def recipients(self) -> tuple[Recipient, ...]:
        """The devices that messages here are encrypted for, and those that are left out."""
        return await self._courier.recipients(self.address)


async def incoming(
    history: History,
    changed: Callable[[], Awaitable[None]],
    *,
    after: int,
    conversation: Address | None = None,
) -> AsyncIterator[Message]:
    """Yield other people's messages behind a number as they come, for ever.

    Read from the history and not from a queue: nothing is lost by a slow reader.
    """
    while True:
        news = history.after(after, conversation=conversation, count=_A_PAGE)
        for message in news:
            after = message.number
            if not message.own:
                yield message
        if not news:
            await changed()


def _require_short(text: str) -> None:
    if len(text.encode()) > MOST_TEXT:
        raise UsageError(f"a message holds {MOST_TEXT // 1024} KiB at most; send a file")
