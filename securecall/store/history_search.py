"""Search over the history: pages of words first, then the messages they point to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from securecall.address import Address
from securecall.chat.message import Message
from securecall.errors import LocalError, StoreCorrupt
from securecall.store.history_file import whole
from securecall.store.message_rows import MOST, MessageRows
from securecall.store.pages import Line, amend_page, build_page, numbers_of, page_of, scan
from securecall.store.words import holds, words, words_of


class Search:
    """Finds messages by their words; keeps nothing in memory."""

    def __init__(self, rows: MessageRows) -> None:
        """Take the messages; nothing is read yet."""
        self._rows = rows

    def find(self, text: str, conversation: Address | None, count: int) -> tuple[Message, ...]:
        """Return messages that hold all the words of a text, or longer ones, newest first."""
        wanted = list(dict.fromkeys(words(text)))
        if not wanted or count <= 0:
            return ()
        made: dict[int, bytes] = {}
        found: list[Message] = []
        # No other thread may delete a message between the making and the keeping of its page.
        with self._rows.file.held():
            of = None if conversation is None else self._rows.conversation(conversation)
            for number in self._candidates(wanted, of, made):
                found += self._checked(number, wanted)
                if len(found) == count:
                    break
            self._keep(made)
        return tuple(found)

    def keep_page(self, page: int) -> None:
        """Write a page whose numbers have passed, inside a transaction."""
        self._rows.file.put("pages", page, self._build(page))

    def amend(self, changed: Mapping[int, Message | None]) -> None:
        """Let pages know of messages that were changed or deleted, inside the same transaction."""
        pages: dict[int, dict[int, Line | None]] = {}
        for number, message in changed.items():
            line = None if message is None else self._line_of(message)
            pages.setdefault(page_of(number), {})[number] = line
        for page, lines in pages.items():
            data = self._page(page)
            if data is None:  # not made yet, or damaged: the next search makes it anew
                self._rows.file.drop("pages", page)
            else:
                self._rows.file.put("pages", page, amend_page(data, lines))

    def _candidates(
        self, wanted: list[str], conversation: int | None, made: dict[int, bytes]
    ) -> Iterator[int]:
        below = MOST
        while (page := self._last_page(below)) is not None:
            data = self._page(page)
            if data is None:
                data = made[page] = self._build(page)
            yield from scan(data, wanted, conversation)
            below = numbers_of(page).start

    def _checked(self, number: int, wanted: list[str]) -> list[Message]:
        # A page put back from an earlier time must not show what was taken out since.
        row = self._rows.row(number)
        if row is None:
            return []
        message = self._rows.shown(row)
        return [message] if holds(message, wanted) else []

    def _last_page(self, below: int) -> int | None:
        found = self._rows.file.rows("SELECT max(number) FROM messages WHERE number<?", below)
        newest: object = found[0][0]
        return None if newest is None else page_of(whole(newest))

    def _page(self, page: int) -> bytes | None:
        try:
            return self._rows.file.get("pages", page)
        except StoreCorrupt:
            return None  # it held nothing that is not in the messages

    def _build(self, page: int) -> bytes:
        of = numbers_of(page)
        rows = self._rows.select("WHERE number>=? AND number<? ORDER BY number", of.start, of.stop)
        return build_page(self._line_of(self._rows.shown(row)) for row in rows)

    def _line_of(self, message: Message) -> Line:
        conversation = self._rows.conversation(message.conversation)
        return message.number, conversation, words_of(message)

    def _keep(self, made: dict[int, bytes]) -> None:
        made.pop(page_of(self._rows.file.head.message), None)  # it still grows
        if not made:
            return
        try:
            with self._rows.file.transaction():
                for page, data in made.items():
                    self._rows.file.put("pages", page, data)
        except StoreCorrupt:
            raise
        except LocalError:
            pass  # what was found is true, whether or not the next search finds it faster
