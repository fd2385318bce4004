"""The port History in plain dicts: what a history means, without a disk or a key."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from securecall.address import Address
from securecall.chat.history import Parcel
from securecall.chat.message import Message
from securecall.errors import UsageError
from securecall.store.words import holds, words


class MemoryHistory:
    """Forgets everything with the process.

    Attributes:
        commits: How many outermost transactions came to their end.
        fail_next: Raise this at the end of the next outermost transaction, as a full disk would.
    """

    def __init__(self) -> None:
        self._messages: dict[int, Message] = {}
        self._parcels: dict[int, Parcel] = {}
        self._values: dict[str, bytes] = {}
        self._retention: dict[Address, int] = {}
        self._opened: set[bytes] = set()
        self._last_message = 0
        self._last_parcel = 0
        self._depth = 0
        self.commits = 0
        self.fail_next: BaseException | None = None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        before = (
            dict(self._messages),
            dict(self._parcels),
            dict(self._values),
            dict(self._retention),
            set(self._opened),
            self._last_message,
            self._last_parcel,
        )
        self._depth += 1
        try:
            yield
            if self._depth == 1 and self.fail_next is not None:
                error, self.fail_next = self.fail_next, None
                raise error
        except BaseException:
            (
                self._messages,
                self._parcels,
                self._values,
                self._retention,
                self._opened,
                self._last_message,
                self._last_parcel,
            ) = before
            raise
        finally:
            self._depth -= 1
        if self._depth == 0:
            self.commits += 1

    def opened(self, mark: bytes) -> None:
        self._opened.add(mark)

    def was_opened(self, mark: bytes) -> bool:
        return mark in self._opened

    def add(self, message: Message) -> Message:
        with self.transaction():
            self._last_message += 1
            kept = replace(message, number=self._last_message)
            self._messages[kept.number] = kept
        return kept

    def replace(self, message: Message) -> None:
        before = self._messages.get(message.number)
        if before is None:
            raise UsageError("there is no message with this number")
        if before.conversation != message.conversation:
            raise UsageError("a message stays in its conversation")
        with self.transaction():
            self._messages[message.number] = message

    def remove(self, number: int) -> None:
        with self.transaction():
            self._messages.pop(number, None)

    def find(self, conversation: Address, sender: Address, id: str) -> Message | None:  # noqa: A002 - the port's word
        if not id:
            return None
        for message in self._newest_first(conversation):
            if (message.sender, message.id) == (sender, id):
                return message
        return None

    def find_archived(self, conversation: Address, archive_id: str) -> Message | None:
        if not archive_id:
            return None
        for message in self._newest_first(conversation):
            if message.archive_id == archive_id:
                return message
        return None

    def messages(
        self, conversation: Address, *, count: int = 50, before: int = 0
    ) -> tuple[Message, ...]:
        found = [
            message
            for message in self._newest_first(conversation)
            if not before or message.number < before
        ]
        return tuple(reversed(found[: max(0, count)]))

    @property
    def last_number(self) -> int:
        return self._last_message

    def after(
        self, number: int, *, conversation: Address | None = None, count: int = 100
    ) -> tuple[Message, ...]:
        found = [
            message
            for message in reversed(self._newest_first(conversation))
            if message.number > number
        ]
        return tuple(found[: max(0, count)])

    def search(
        self, words: str, *, conversation: Address | None = None, count: int = 50
    ) -> tuple[Message, ...]:
        wanted = _words(words)
        if not wanted:
            return ()
        found = [message for message in self._newest_first(conversation) if holds(message, wanted)]
        return tuple(found[: max(0, count)])

    def conversations(self) -> tuple[Address, ...]:
        return tuple(dict.fromkeys(message.conversation for message in self._newest_first(None)))

    def unread(self, conversation: Address) -> int:
        return sum(message.unread for message in self._newest_first(conversation))

    def mark_read(self, conversation: Address, up_to: int) -> None:
        with self.transaction():
            for message in self._newest_first(conversation):
                if message.number <= up_to and message.unread:
                    self._messages[message.number] = replace(message, unread=False)

    def expire(self, unix: float) -> tuple[Message, ...]:
        gone = []
        with self.transaction():
            for message in list(self._messages.values()):
                kept = self.retention(message.conversation)
                if (message.expires and message.expires <= unix) or (
                    kept and message.sent + kept <= unix
                ):
                    gone.append(self._messages.pop(message.number))
        return tuple(gone)

    def retention(self, conversation: Address) -> int:
        return self._retention.get(conversation, 0)

    def retain(self, conversation: Address, seconds: int) -> None:
        if seconds < 0:
            raise UsageError("a retention is a number of seconds, or 0 for ever")
        with self.transaction():
            self._retention[conversation] = seconds

    def post(self, parcel: Parcel) -> Parcel:
        with self.transaction():
            self._last_parcel += 1
            kept = replace(parcel, number=self._last_parcel)
            self._parcels[kept.number] = kept
        return kept

    def parcels(self, *, after: int = 0, most: int | None = None) -> tuple[Parcel, ...]:
        return tuple(p for number, p in self._parcels.items() if number > after)[:most]

    def taken(self, number: int) -> None:
        with self.transaction():
            self._parcels.pop(number, None)

    def value(self, name: str) -> bytes | None:
        return self._values.get(name)

    def values(self, prefix: str) -> dict[str, bytes]:
        return {
            name: data for name, data in sorted(self._values.items()) if name.startswith(prefix)
        }

    def set_value(self, name: str, data: bytes | None) -> None:
        self.set_values({name: data})

    def set_values(self, changes: Mapping[str, bytes | None]) -> None:
        with self.transaction():
            for name, data in changes.items():
                if data is None:
                    self._values.pop(name, None)
                else:
                    self._values[name] = data

    def _newest_first(self, conversation: Address | None) -> list[Message]:
        return [
            message
            for _, message in sorted(self._messages.items(), reverse=True)
            if conversation is None or message.conversation == conversation
        ]


_words = words  # the port calls an argument so
