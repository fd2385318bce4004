"""Lines that somebody enters, without blocking the event loop, and whose turn it is to get them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable


class Lines:
    """Lines from standard input, without blocking the event loop."""

    def __init__(self, descriptor: int = 0) -> None:
        """Say which descriptor; nothing is read before the first line is asked for."""
        self._descriptor = descriptor
        self._came: deque[str | None] = deque()
        self._waiting: list[asyncio.Future[str | None]] = []  # who comes last goes first
        self._loop: asyncio.AbstractEventLoop | None = None
        self._edit: Callable[[bytes], list[str]] | None = None
        self._begun = b""  # of a line

    def edit(self, edit: Callable[[bytes], list[str]] | None) -> None:
        """Have this make lines of what is read from now on; None goes by ends of lines."""
        self._edit, self._begun = edit, b""

    def forget(self) -> None:
        """Let go of what was typed before anything was asked: it answers nothing."""
        self._came = deque(line for line in self._came if line is None)
        self._begun = b""
        if os.isatty(self._descriptor) and sys.platform != "win32":
            import termios

            termios.tcflush(self._descriptor, termios.TCIFLUSH)

    async def next(self, *, patient: bool = False) -> str | None:
        """Return the next line without its end, None at the end of input.

        Whoever asked last gets it, since that is what people answer; the patient come after all.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            # A daemon on the bare descriptor: it may still wait when the process ends.
            threading.Thread(target=self._read, args=(self._loop,), daemon=True).start()
        turn: asyncio.Future[str | None] = self._loop.create_future()
        self._waiting.insert(0 if patient else len(self._waiting), turn)
        self._hand_out()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was handed out in vain
                self._came.appendleft(turn.result())
                self._hand_out()
            raise

    def _take(self, data: bytes) -> None:
        if not data:
            self._came.append(None)
        elif self._edit is not None:
            self._came.extend(line.strip() for line in self._edit(data))
        else:
            *whole, self._begun = (self._begun + data).split(b"\n")
            self._came.extend(line.decode("utf-8", "replace").strip() for line in whole)
        self._hand_out()

    def _hand_out(self) -> None:
        self._waiting = [turn for turn in self._waiting if not turn.done()]
        while self._came and self._waiting:
            line = self._came[0]
            if line is not None:  # the end of input is for everybody
                _ = self._came.popleft()
            self._waiting.pop().set_result(line)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        if hasattr(signal, "SIGTTIN"):  # in the background a terminal has ended, and stops nobody
            _ = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN})
        while True:
            try:
                data = os.read(self._descriptor, 4096)
            except OSError:
                data = b""
            try:
                loop.call_soon_threadsafe(self._take, data)
            except RuntimeError:  # the loop is closed: nobody listens any more
                return
            if not data:
                return
