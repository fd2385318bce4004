"""Messages as rows of the history: sealed, and found by columns nobody else can read."""

from __future__ import annotations

import math
from typing import Final

from securecall.address import ANONYMOUS, Address
from securecall.chat.message import Message
from securecall.errors import HistoryCorrupt, StoreCorrupt, UsageError
from securecall.store import history_records as records
from securecall.store.history_file import HistoryFile, Row, whole
from securecall.store.history_records import Person

DAMAGED: Final = "this message was damaged where it is kept"
MOST: Final = 2**63 - 1  # what SQLite counts to
_DAY: Final = 86_400
_UNREAD: Final = 3  # its place behind number and version
_SELECT: Final = (
    "SELECT number, version, conversation, name, archive, unread, due, day, value FROM messages "
)


class MessageRows:
    """The messages of an open file, and the conversations they are in.

    Attributes:
        file: Where they are; its transactions are those of every change here.
    """

    def __init__(self, file: HistoryFile) -> None:
        """Take the file; nothing is read yet."""
        self.file = file

    # -- looking up -------------------------------------------------------------------------------

    def select(self, where: str, *values: int) -> list[Row]:
        """Return the rows that an expression of ours holds for."""
        return self.file.rows(_SELECT + where, *values)

    def row(self, number: int) -> Row | None:
        """Return the row of one message, None where there is none."""
        rows = self.select("WHERE number=?", clamped(number))
        return rows[0] if rows else None

    def unsealed(self, row: Row) -> Message:
        """Read a message.

        Raises:
            HistoryCorrupt: its row was damaged or altered.
        """
        data = self.file.unseal("messages", _place(row), row[8])
        return records.parse_message(data, number=whole(row[0]), unread=row[5] != 0)

    def shown(
        self, row: Row, conversation: Address | None = None, sender: Address | None = None
    ) -> Message:
        """Read a message; a damaged one says so, and does not hide the others.

        Args:
            row: As `select` gave it.
            conversation: Where it was looked for, if that is known.
            sender: By whom, if that is known.
        """
        try:
            return self.unsealed(row)
        except StoreCorrupt:
            where = conversation or self._address(row[2]) or ANONYMOUS
            return Message(
                number=whole(row[0]),
                conversation=where,
                sender=sender or where,
                sent=0.0,
                unread=row[5] != 0,
                unreadable=DAMAGED,
            )

    def named(self, conversation: Address, sender: Address, message_id: str) -> int:
        """Return what a message is looked up by under its sender's name for it."""
        return self.file.name("message", *_key(conversation), *_key(sender), message_id)

    def archived(self, conversation: Address, archive_id: str) -> int:
        """Return what a message is looked up by under its name in the archive."""
        return self.file.name("archive", *_key(conversation), archive_id)

    def due(self, day: int) -> int:
        """Return what messages are looked up by that expire on a day."""
        return self.file.name("due", day)

    def sent_on(self, conversation: int, day: int) -> int:
        """Return what the messages of a conversation are looked up by that were sent on a day."""
        return self.file.name("day", conversation, day)

    # -- writing ----------------------------------------------------------------------------------

    def write(self, message: Message) -> None:
        """Write a message under its number; its conversation begins with the first."""
        conversation = self.conversation(message.conversation)
        person = self.person(message.conversation)
        if person is None:
            person = Person(message.conversation, swept=day_of(message.sent))
            self.keep_person(person)
        name, archive, due = 0, 0, 0
        if message.id:
            name = self.named(message.conversation, message.sender, message.id)
        if message.archive_id:
            archive = self.archived(message.conversation, message.archive_id)
        # Into no day that was swept already: nobody would look there again.
        if message.expires:
            due = self.due(max(day_of(message.expires), self.file.head.swept))
        day = self.sent_on(conversation, max(day_of(message.sent), person.swept))
        place = (message.number, self.file.head.counter, conversation, name, archive)
        self._put(records.build_message(message), *place, int(message.unread), due, day)

    def write_read(self, row: Row) -> None:
        """Write that a message was read."""
        try:
            number, version, *places = _place(row)
            data = self.file.unseal("messages", (number, version, *places), row[8])
        except StoreCorrupt:
            # It stays what it is, damaged, and is not counted for ever.
            self.file.rows("UPDATE messages SET unread=0 WHERE number=?", whole(row[0]))
            return
        places[_UNREAD] = 0
        self._put(data, number, self.file.head.counter, *places)

    def remove(self, row: Row) -> None:
        """Delete a message, and its conversation with the last."""
        self.file.rows("DELETE FROM messages WHERE number=?", whole(row[0]))
        self.file.leave_nothing()
        self.forget_if_empty(whole(row[2]))

    # -- conversations ----------------------------------------------------------------------------

    def conversation(self, address: Address) -> int:
        """Return what a conversation is looked up by."""
        return self.file.name("conversation", *_key(address))

    def person(self, address: Address) -> Person | None:
        """Return what is kept of a conversation, None where nothing is.

        Raises:
            HistoryCorrupt: its row was altered.
        """
        data = self.file.get("people", self.conversation(address))
        if data is None:
            return None
        person = records.parse_person(data)
        if person.address != address:
            raise HistoryCorrupt("a conversation in the history has another name inside")
        return person

    def people(self) -> list[tuple[int, Person]]:
        """Return all there are, with what each is looked up by."""
        return [(name, records.parse_person(data)) for name, data in self.file.get_all("people")]

    def keep_person(self, person: Person) -> None:
        """Write what is kept of a conversation."""
        name = self.conversation(person.address)
        self.file.put("people", name, records.build_person(person))

    def forget_if_empty(self, conversation: int) -> None:
        """Forget a conversation without messages, unless something was set for it."""
        if self.file.rows("SELECT 1 FROM messages WHERE conversation=? LIMIT 1", conversation):
            return
        data = self.file.get("people", conversation)
        if data is not None and not records.parse_person(data).retention:
            self.file.drop("people", conversation)

    def _put(self, data: bytes, *place: int) -> None:
        sealed = self.file.seal("messages", place, data)
        self.file.rows(
            "INSERT OR REPLACE INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *place, sealed
        )

    def _address(self, conversation: object) -> Address | None:
        if not isinstance(conversation, int):
            return None
        data = self.file.get("people", conversation)
        return None if data is None else records.parse_person(data).address


def clamped(number: int) -> int:
    """Return the number, or the nearest that SQLite can count to."""
    return max(0, min(number, MOST))


def day_of(unix: float) -> int:
    """Return the day of a time.

    Raises:
        UsageError: it is no time.
    """
    if not math.isfinite(unix):
        raise UsageError("a time is a number")
    return max(0, min(int(unix // _DAY), 2**32))


def _key(address: Address) -> tuple[str, str, str]:
    return address.scheme.value, address.user, address.host


def _place(row: Row) -> tuple[int, ...]:
    return tuple(whole(column) for column in row[:8])
