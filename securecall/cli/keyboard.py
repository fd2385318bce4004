"""The keys of a terminal, one by one, and its whole screen; given back as it was in any case."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from securecall.cli.keys import Key, KeyParser
from securecall.errors import LocalError

_ESCAPE_SECONDS: Final = 0.05  # after which an Escape was the key and not the beginning of another
_AT_ONCE: Final = 4096
# Alternate screen, pastes marked as such, told of focus, long lines cut: and all of it back.
_ENTER: Final = "\x1b[?1049h\x1b[?2004h\x1b[?1004h\x1b[?7l"
_LEAVE: Final = "\x1b[?2026l\x1b[?7h\x1b[?1004l\x1b[?2004l\x1b[0m\x1b[?25h\x1b[?1049l"
_BEGIN_FRAME, _END_FRAME = "\x1b[?2026h", "\x1b[?2026l"  # drawn at once, where that is understood


class Keyboard:
    """A terminal in our hands while the block lasts.

    Its keys come from `next`; "resize" is told like a key, "quit" when a signal asks us to end.
    """

    def __init__(self, descriptor: int | None = None, out: int | None = None) -> None:
        """Take standard input and output, or other descriptors of a terminal."""
        self._in = sys.stdin.fileno() if descriptor is None else descriptor
        self._out = sys.stdout.fileno() if out is None else out
        self._parser = KeyParser()
        self._keys: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: asyncio.TimerHandle | None = None
        self._give_back: Callable[[], None] | None = None
        self._signals: list[signal.Signals] = []

    async def __aenter__(self) -> Self:
        """Take it over.

        Raises:
            LocalError: this system has no such terminals.
        """
        try:
            import termios
            import tty
        except ImportError as e:
            raise LocalError("this system has no terminal of that kind; use --plain") from e
        loop = asyncio.get_running_loop()
        before = termios.tcgetattr(self._in)
        self._give_back = lambda: termios.tcsetattr(self._in, termios.TCSAFLUSH, before)
        # what was typed before there was anything to type into is dropped, not sent to somebody
        tty.setraw(self._in, termios.TCSAFLUSH)
        self._write(_ENTER)
        loop.add_reader(self._in, self._read)
        for number, name in (
            (signal.SIGWINCH, "resize"), (signal.SIGTERM, "quit"), (signal.SIGHUP, "quit"),
        ):  # fmt: skip
            loop.add_signal_handler(number, self._keys.put_nowait, Key(name))
            self._signals.append(number)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back."""
        import termios

        loop = asyncio.get_running_loop()
        for number in self._signals:
            _ = loop.remove_signal_handler(number)
        _ = loop.remove_reader(self._in)
        if self._waiting is not None:
            self._waiting.cancel()
        with contextlib.suppress(OSError, termios.error):  # the terminal itself may be gone
            self._write(_LEAVE)
            if self._give_back is not None:
                self._give_back()

    async def next(self) -> Key:
        """Wait for the next key."""
        return await self._keys.get()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        with contextlib.suppress(OSError):
            found = os.get_terminal_size(self._out)
            if found.columns > 0 and found.lines > 0:
                return found.columns, found.lines
        fallback = shutil.get_terminal_size((80, 24))
        return fallback.columns, fallback.lines

    def draw(self, rows: list[str], *, row: int, column: int) -> None:
        """Draw the whole screen and put the cursor somewhere.

        Args:
            rows: From the top, each no wider than the screen.
            row: Of the cursor, from 0.
            column: From 0.
        """
        # erased first: behind a full row the cursor still stands on its last column
        drawn = "".join(f"\x1b[{n};1H\x1b[2K{text}\x1b[0m" for n, text in enumerate(rows, start=1))
        place = f"\x1b[{row + 1};{column + 1}H\x1b[?25h"
        self._write(f"{_BEGIN_FRAME}\x1b[?25l{drawn}{place}{_END_FRAME}")

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        while data:
            try:
                data = data[os.write(self._out, data) :]
            except BlockingIOError:
                continue

    def _read(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        try:
            data = os.read(self._in, _AT_ONCE)
        except OSError:
            data = b""
        if not data:  # the terminal is gone
            _ = asyncio.get_running_loop().remove_reader(self._in)
            self._keys.put_nowait(Key("quit"))
            return
        self._put(self._parser.feed(data))
        if self._parser.undecided:
            loop = asyncio.get_running_loop()
            self._waiting = loop.call_later(_ESCAPE_SECONDS, self._settle)

    def _settle(self) -> None:
        self._put(self._parser.settle())

    def _put(self, keys: list[Key]) -> None:
        for key in keys:
            self._keys.put_nowait(key)
