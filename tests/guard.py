"""A watch over everything a test run logs or prints: no secret may be in it.

Every `Secret` made while a test runs is remembered until that test has ended; each log record of
any level, and each captured line of output, is searched for it: raw, in hexadecimal, in base64,
and as Python would show it. `CANARY` is such a secret for tests that need one of their own.

What people write is watched in the same way, in log records alone: a chat has to show it.
"""

from __future__ import annotations

import base64
import logging

from securecall.chat.message import Text
from securecall.logs import danger_log
from securecall.secret import Secret

CANARY = b"canary:never-print-me:8d1f0c2b"
# Shorter or simpler ones ("pw", zeros) stand in innocent texts by chance.
LEAST_BYTES = 12
LEAST_DISTINCT = 8
# A property test makes thousands; the latest are the ones in use.
MOST_WATCHED = 256


def spellings(data: bytes) -> frozenset[str]:
    """The texts by which these bytes would give themselves away."""
    # The last base64 characters depend on what follows; the stable part is enough to know it.
    stable = base64.b64encode(data).decode()[: len(data) // 3 * 4]
    texts = {
        data.hex(),
        data.hex().upper(),
        data.hex(":"),
        stable,
        stable.translate(str.maketrans("+/", "-_")),
        repr(data)[2:-1],
    }
    if data.isascii() and data.decode().isprintable():
        texts.add(data.decode())
    return frozenset(texts)


class SecretGuard(logging.Handler):
    """Collects every leak of a watched secret until someone asks."""

    def __init__(self) -> None:
        super().__init__(level=logging.NOTSET)
        self._watched: dict[bytes, frozenset[str]] = {}
        self._written: set[str] = set()
        self._found: list[str] = []
        self._init = Secret.__init__
        self._init_text = Text.__init__

    def install(self) -> None:
        """Begin to watch."""
        guard, init, init_text = self, self._init, self._init_text

        def watched_init(secret: Secret, data: bytes | bytearray | str) -> None:
            init(secret, data)
            guard.watch(data.encode() if isinstance(data, str) else bytes(data))

        def watched_text(text: Text, *arguments: object, **more: object) -> None:
            init_text(text, *arguments, **more)
            guard.watch_text(text.body)

        Secret.__init__ = watched_init
        Text.__init__ = watched_text
        self.watch(CANARY)
        logging.getLogger().addHandler(self)
        # Ours log everything while tests run, so that neither a level nor redaction hides a leak.
        danger_log()
        logging.getLogger("securecall").setLevel(logging.DEBUG)

    def remove(self) -> None:
        """Leave everything as it was."""
        Secret.__init__ = self._init
        Text.__init__ = self._init_text
        logging.getLogger().removeHandler(self)

    def watch(self, data: bytes) -> None:
        """Remember a secret until `forget`."""
        if len(data) >= LEAST_BYTES and len(set(data)) >= LEAST_DISTINCT:
            self._watched.setdefault(data, frozenset())
            if len(self._watched) > MOST_WATCHED:
                del self._watched[next(key for key in self._watched if key != CANARY)]

    def watch_text(self, text: str) -> None:
        """Remember what somebody wrote until `forget`."""
        if len(text) >= LEAST_BYTES and len(set(text)) >= LEAST_DISTINCT:
            self._written.add(text)
            if len(self._written) > MOST_WATCHED:
                self._written.pop()

    def forget(self) -> None:
        """A test has ended: only the canary stays watched."""
        self._watched.clear()
        self._written.clear()
        self.watch(CANARY)

    def emit(self, record: logging.LogRecord) -> None:
        """Search one log record, its arguments and its traceback."""
        text = logging.Formatter().format(record)
        where = f"log {record.name} ({record.filename}:{record.lineno})"
        self.look_at(text, where=where)
        # asyncio's debug mode and hypothesis are not ours, and show what they are given
        if record.name.startswith("securecall") and any(word in text for word in self._written):
            self._found.append(f"what somebody wrote was logged: {where}")

    def look_at(self, text: str, *, where: str) -> None:
        """Search one text."""
        for data, known in self._watched.items():
            texts = known or spellings(data)
            self._watched[data] = texts
            if any(spelling in text for spelling in texts):
                self._found.append(f"a secret of {len(data)} bytes was printed: {where}")

    def found(self) -> list[str]:
        """Return the leaks since the last call."""
        found, self._found = self._found, []
        return found
