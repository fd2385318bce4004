"""The history of conversations in one SQLite file: messages, what waits to be sent, named values.

What the file shows to who has no key: how many messages, conversations, parcels and values there
are, how many stanzas were opened, which messages share a conversation or a day, which are unread,
and about how long each is.
Not whose they are, when they were written, or a word of them. It is durable when a transaction
ends; every call blocks as long as the disk takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn, Self

from securecall.address import Address
from securecall.chat.history import Parcel
from securecall.chat.message import Message
from securecall.errors import HistoryCorrupt, UsageError
from securecall.secret import Secret
from securecall.store import expiry
from securecall.store import history_records as records
from securecall.store.history_file import HistoryFile, whole
from securecall.store.history_records import Person
from securecall.store.history_search import Search
from securecall.store.message_rows import DAMAGED, MOST, MessageRows, clamped
from securecall.store.pages import page_of
from securecall.store.sealing import Keys
from securecall.store.words import words_of

FILE: Final = "securecall.history"
MOST_OPENED: Final = 100_000  # stanzas remembered as opened; of those before, the ratchet may tell
_SWEEP: Final = 1000  # older marks are deleted that many at a time


class ChatHistory:
    """An open history; fits the port `securecall.chat.history.History`."""

    def __init__(self, file: HistoryFile) -> None:
        """Use `open`."""
        self._file = file
        self._rows = MessageRows(file)
        self._search = Search(self._rows)

    def __repr__(self) -> str:
        return "<ChatHistory>"

    @classmethod
    def open(cls, folder: Path, key: Secret) -> Self:
        """Open the history of a folder, or begin one.

        Args:
            folder: Where the key store is.
            key: Derived from what opens the key store; wiped.

        Raises:
            HistoryCorrupt: damaged, altered, or of another key store.
            LocalError: in use by another process, or the disk refuses.
        """
        return cls(HistoryFile.open(folder / FILE, Keys(key)))

    def close(self) -> None:
        """Release the file and forget the keys; may be called again."""
        self._file.close()

    @property
    def generation(self) -> int:
        """Number of the last transaction; kept elsewhere, it betrays an old file put back."""
        return self._file.head.counter

    def require_generation(self, least: int) -> None:
        """Refuse a history older than one that was open before: its ratchets would repeat keys.

        Raises:
            HistoryCorrupt: the whole file was replaced by an older one.
        """
        if self.generation < least:
            raise HistoryCorrupt("the history was replaced by an older copy of itself")

    def transaction(self) -> AbstractContextManager[None]:
        """Make everything inside one change; see `HistoryFile.transaction`."""
        return self._file.transaction()

    # -- stanzas ----------------------------------------------------------------------------------

    def opened(self, mark: bytes) -> None:
        """Remember that the stanza with this mark was opened."""
        with self._file.step():
            name = self._file.name("opened", mark.hex())
            _ = self._file.rows("INSERT INTO opened (mark) VALUES (?)", name)
            number = whole(self._file.rows("SELECT max(number) FROM opened")[0][0])
            if number % _SWEEP == 0:
                _ = self._file.rows("DELETE FROM opened WHERE number<=?", number - MOST_OPENED)

    def was_opened(self, mark: bytes) -> bool:
        """Whether it was, as far back as that is remembered."""
        name = self._file.name("opened", mark.hex())
        return bool(self._file.rows("SELECT 1 FROM opened WHERE mark=? LIMIT 1", name))

    # -- messages ---------------------------------------------------------------------------------

    def add(self, message: Message) -> Message:
        """Keep a message at the end of its conversation; returns it with its number."""
        with self._file.step():
            number = self._file.advance(message=1).message
            message = replace(message, number=number)
            self._rows.write(message)
            if page_of(number) != page_of(number - 1):
                self._search.keep_page(page_of(number - 1))
        return message

    def put_back(self, message: Message) -> None:
        """Keep a message of a backup under the number it had; the next one gets a higher number.

        Raises:
            UsageError: a message with this number, or a higher one, is there already.
        """
        with self._file.step():
            ahead = message.number - self.last_number
            if ahead < 1:
                raise UsageError("messages are put back in their order, into a new history")
            _ = self._file.advance(message=ahead)
            self._rows.write(message)

    def replace(self, message: Message) -> None:
        """Write a message over the one with its number.

        Raises:
            UsageError: there is none, or it is in another conversation.
        """
        with self._file.step():
            row = self._rows.row(message.number)
            if row is None:
                raise UsageError("there is no message with this number")
            if whole(row[2]) != self._rows.conversation(message.conversation):
                raise UsageError("a message stays in its conversation")
            before = self._rows.shown(row)
            if (before.text, before.file) != (message.text, message.file):
                if words_of(before) != words_of(message):
                    self._search.amend({message.number: message})
                self._file.leave_nothing()  # of what was said before
            self._rows.write(message)

    def remove(self, number: int) -> None:
        """Delete a message and everything that search knows of it; none there is no error."""
        with self._file.step():
            row = self._rows.row(number)
            if row is not None:
                self._rows.remove(row)
                self._search.amend({number: None})

    def find(self, conversation: Address, sender: Address, id: str) -> Message | None:  # noqa: A002 - the protocol's word
        """Return the message that `sender` named `id` there, the newest of several."""
        if not id:
            return None
        name = self._rows.named(conversation, sender, id)
        for row in self._rows.select("WHERE name=? AND name!=0 ORDER BY number DESC", name):
            message = self._rows.shown(row, conversation, sender)
            if (message.sender, message.id) == (sender, id) or message.unreadable == DAMAGED:
                return message
        return None

    def find_archived(self, conversation: Address, archive_id: str) -> Message | None:
        """Return the message with this name in the archive, the newest of several."""
        if not archive_id:
            return None
        name = self._rows.archived(conversation, archive_id)
        for row in self._rows.select("WHERE archive=? AND archive!=0 ORDER BY number DESC", name):
            message = self._rows.shown(row, conversation)
            if message.archive_id == archive_id or message.unreadable == DAMAGED:
                return message
        return None

    def messages(
        self, conversation: Address, *, count: int = 50, before: int = 0
    ) -> tuple[Message, ...]:
        """Return the last messages (before the number `before`, if given), oldest of them first.

        A message whose row was damaged is among them, with the reason in `unreadable`.
        """
        rows = self._rows.select(
            "WHERE conversation=? AND number<? ORDER BY number DESC LIMIT ?",
            self._rows.conversation(conversation),
            clamped(before) or MOST,
            clamped(count),
        )
        return tuple(self._rows.shown(row, conversation) for row in reversed(rows))

    @property
    def last_number(self) -> int:
        """The number that the newest message of all got, 0 before the first."""
        return self._file.head.message

    def after(
        self, number: int, *, conversation: Address | None = None, count: int = 100
    ) -> tuple[Message, ...]:
        """Return the first messages behind a number, there or anywhere, oldest first."""
        where, values = "WHERE number>?", [clamped(number)]
        if conversation is not None:
            where += " AND conversation=?"
            values.append(self._rows.conversation(conversation))
        rows = self._rows.select(where + " ORDER BY number LIMIT ?", *values, clamped(count))
        return tuple(self._rows.shown(row, conversation) for row in rows)

    def search(
        self, words: str, *, conversation: Address | None = None, count: int = 50
    ) -> tuple[Message, ...]:
        """Return messages that hold all the words (beginnings of words count), newest first."""
        return self._search.find(words, conversation, count)

    # -- conversations ----------------------------------------------------------------------------

    def conversations(self) -> tuple[Address, ...]:
        """Return every conversation that has messages, the one with the newest first."""
        found: list[tuple[int, Address]] = []
        with self._file.held():
            for name, person in self._rows.people():
                last = self._file.rows(
                    "SELECT max(number) FROM messages WHERE conversation=?", name
                )[0][0]
                if isinstance(last, int):
                    found.append((last, person.address))
        return tuple(address for _, address in sorted(found, key=lambda pair: -pair[0]))

    def unread(self, conversation: Address) -> int:
        """Return how many messages there were not marked as read."""
        found = self._file.rows(
            "SELECT count(*) FROM messages WHERE conversation=? AND unread!=0",
            self._rows.conversation(conversation),
        )
        return whole(found[0][0])

    def mark_read(self, conversation: Address, up_to: int) -> None:
        """Mark every message up to this number as read."""
        with self._file.step():
            for row in self._rows.select(
                "WHERE conversation=? AND unread!=0 AND number<=?",
                self._rows.conversation(conversation),
                clamped(up_to),
            ):
                self._rows.write_read(row)

    def expire(self, unix: float) -> tuple[Message, ...]:
        """Delete what is past its time: its own, or its conversation's; returns what went."""
        with self._file.step():
            gone = expiry.expire(self._rows, unix)
            self._search.amend(dict.fromkeys(message.number for message in gone))
        return gone

    def retention(self, conversation: Address) -> int:
        """Return the seconds after which messages there are deleted, 0 for never."""
        person = self._rows.person(conversation)
        return 0 if person is None else person.retention

    def retain(self, conversation: Address, seconds: int) -> None:
        """Set it.

        Raises:
            UsageError: less than nothing.
        """
        if seconds < 0:
            raise UsageError("a retention is a number of seconds, or 0 for ever")
        with self._file.step():
            person = self._rows.person(conversation) or Person(conversation)
            self._rows.keep_person(replace(person, retention=seconds))
            self._rows.forget_if_empty(self._rows.conversation(conversation))

    def retentions(self) -> dict[Address, int]:
        """Return the conversations for which a retention was set."""
        return {
            person.address: person.retention
            for _, person in self._rows.people()
            if person.retention
        }

    # -- parcels ----------------------------------------------------------------------------------

    def post(self, parcel: Parcel) -> Parcel:
        """Keep a stanza that is to be sent; returns it with its number."""
        with self._file.step():
            number = self._file.advance(parcel=1).parcel
            self._file.put("parcels", number, records.build_parcel(parcel))
        return replace(parcel, number=number)

    def parcels(self, *, after: int = 0, most: int | None = None) -> tuple[Parcel, ...]:
        """Return what waits, in the order it was kept: after a number, and so many at most."""
        return tuple(
            records.parse_parcel(data, number=number)
            for number, data in self._file.get_all("parcels", first=after + 1, most=most)
        )

    def taken(self, number: int) -> None:
        """Forget a parcel that the server has; none there is no error."""
        with self._file.step():
            self._file.drop("parcels", number)

    # -- named values -----------------------------------------------------------------------------

    def value(self, name: str) -> bytes | None:
        """Return a named value, None where there is none."""
        data = self._file.get("named", self._file.name("value", name))
        if data is None:
            return None
        stored, value = records.parse_value(data)
        if stored != name:
            raise HistoryCorrupt("a value in the history has another name inside")
        return value

    def values(self, prefix: str) -> dict[str, bytes]:
        """Return all named values whose names begin so, by name; reads every value there is."""
        found = (records.parse_value(data) for _, data in self._file.get_all("named"))
        return dict(sorted(pair for pair in found if pair[0].startswith(prefix)))

    def set_value(self, name: str, data: bytes | None) -> None:
        """Keep a named value; None forgets it."""
        self.set_values({name: data})

    def set_values(self, changes: Mapping[str, bytes | None]) -> None:
        """Keep several named values, all or none."""
        with self._file.step():
            for name, data in changes.items():
                key = self._file.name("value", name)
                if data is None:
                    self._file.drop("named", key)
                else:
                    self._file.put("named", key, records.build_value(name, data))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError("an open history is never copied or serialised")
