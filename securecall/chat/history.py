"""The port to what is kept: messages, what waits to be sent, and small named values."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from securecall.address import Address
from securecall.chat.message import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A stanza that waits to be taken by the server: ciphertext, sent again until it is.

    Attributes:
        number: Its place in the row; 0 until it was kept.
        id: Of the message in it.
        conversation: Whose message it carries.
        stanza: As it goes over the wire.
    """

    number: int = 0
    id: str
    conversation: Address
    stanza: bytes = field(repr=False)


class History(Protocol):
    """What a conversation needs to be kept; every call blocks as long as the disk takes.

    Raises everywhere:
        LocalError: the disk refused; nothing of the transaction was changed.
        StoreCorrupt: a row was damaged or altered.
    """

    def transaction(self) -> AbstractContextManager[None]:
        """Make everything inside one change that is durable at the end, or never happened."""
        ...

    def opened(self, mark: bytes) -> None:
        """Remember that the stanza with this mark was opened."""
        ...

    def was_opened(self, mark: bytes) -> bool:
        """Whether it was, as far back as that is remembered."""
        ...

    def add(self, message: Message) -> Message:
        """Keep a message at the end of its conversation; returns it with its number."""
        ...

    def replace(self, message: Message) -> None:
        """Write a message over the one with its number."""
        ...

    def remove(self, number: int) -> None:
        """Delete a message and everything that search knows of it."""
        ...

    def find(self, conversation: Address, sender: Address, id: str) -> Message | None:  # noqa: A002 - the protocol's word
        """The message that `sender` named `id` there; the newest, should there be several."""
        ...

    def find_archived(self, conversation: Address, archive_id: str) -> Message | None:
        """The message with this name in the archive."""
        ...

    def messages(
        self, conversation: Address, *, count: int = 50, before: int = 0
    ) -> tuple[Message, ...]:
        """The last messages (before the number `before`, if given), oldest of them first."""
        ...

    @property
    def last_number(self) -> int:
        """The number that the newest message of all got, 0 before the first."""
        ...

    def after(
        self, number: int, *, conversation: Address | None = None, count: int = 100
    ) -> tuple[Message, ...]:
        """The first messages behind a number, there or anywhere, oldest first."""
        ...

    def search(
        self, words: str, *, conversation: Address | None = None, count: int = 50
    ) -> tuple[Message, ...]:
        """Messages that hold all the words (beginnings of words count), newest first."""
        ...

    def conversations(self) -> tuple[Address, ...]:
        """Every conversation that has messages, the one with the newest first."""
        ...

    def unread(self, conversation: Address) -> int:
        """How many messages there were not marked as read."""
        ...

    def mark_read(self, conversation: Address, up_to: int) -> None:
        """Mark every message up to this number as read."""
        ...

    def expire(self, unix: float) -> tuple[Message, ...]:
        """Delete what is past its time: its own, or its conversation's; returns what went."""
        ...

    def retention(self, conversation: Address) -> int:
        """Seconds after which messages there are deleted, 0 for never."""
        ...

    def retain(self, conversation: Address, seconds: int) -> None:
        """Set it."""
        ...

    def post(self, parcel: Parcel) -> Parcel:
        """Keep a stanza that is to be sent; returns it with its number."""
        ...

    def parcels(self, *, after: int = 0, most: int | None = None) -> tuple[Parcel, ...]:
        """What waits, in the order it was kept: after a number, and so many at most."""
        ...

    def taken(self, number: int) -> None:
        """The server has that parcel: forget it."""
        ...

    def value(self, name: str) -> bytes | None:
        """A named value (a place in an archive, a ratchet), None where there is none."""
        ...

    def values(self, prefix: str) -> dict[str, bytes]:
        """All named values whose names begin so."""
        ...

    def set_value(self, name: str, data: bytes | None) -> None:
        """Keep a named value; None forgets it."""
        ...

    def set_values(self, changes: Mapping[str, bytes | None]) -> None:
        """Keep several named values, all or none."""
        ...
