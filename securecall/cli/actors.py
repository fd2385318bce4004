"""Other processes of the demo, each of which tells what it does in JSON lines."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Final, Self

from securecall.cli.output import Fields
from securecall.errors import LocalError

_LIMIT: Final = 1 << 20  # bytes of one line: a report with two statements takes about 20 kB


class Actor:
    """A child process, what it told so far, and where its meters stand.

    Attributes:
        name: For people.
        events: Everything it told but the levels, in order.
        sent, received: Its meters, dBFS.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        """Use `start`."""
        self.name = name
        self.events: list[Fields] = []
        self.sent = self.received = -96.0
        self._process = process
        self._read_up_to = 0
        self._news = asyncio.Event()
        self._errors = b""
        self._tasks = (
            asyncio.ensure_future(self._read()),
            asyncio.ensure_future(self._read_errors()),
        )

    @classmethod
    async def start(cls, name: str, module: str, *arguments: object) -> Actor:
        """Run `python -m module arguments --json`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *map(str, arguments),
            "--json",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LIMIT,
        )
        return cls(name, process)

    async def wait_for(self, kind: str, accept: Callable[[Fields], bool] | None = None) -> Fields:
        """Return the next event of this kind, past those returned before.

        Raises:
            LocalError: the process ended without.
        """
        while True:
            while self._read_up_to < len(self.events):
                event = self.events[self._read_up_to]
                self._read_up_to += 1
                if event["type"] == kind and (accept is None or accept(event)):
                    return event
            if self._tasks[0].done():
                raise LocalError(f"{self.name} stopped before {kind!r}: {self._last_words()}")
            self._news.clear()
            await self._news.wait()

    def find(self, kind: str) -> Fields:
        """Return the last event of this kind, empty if there was none."""
        return next((e for e in reversed(self.events) if e["type"] == kind), {})

    def write(self, word: str) -> None:
        """Write a line to its standard input."""
        if self._process.stdin is not None:
            self._process.stdin.write(word.encode() + b"\n")

    async def finished(self) -> int:
        """Wait for its end; returns its exit code."""
        await asyncio.gather(*self._tasks)
        return await self._process.wait()

    async def stop(self) -> None:
        """End it if it still runs."""
        if self._process.returncode is None:
            self._process.terminate()
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self.finished()

    async def _read(self) -> None:
        stream = self._process.stdout
        while stream is not None and (line := await stream.readline()):
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if event.get("type") == "levels":
                self.sent = float(event.get("sent_dbfs", self.sent))
                self.received = float(event.get("received_dbfs", self.received))
                continue
            self.events.append(event)
            self._news.set()
        self._news.set()

    async def _read_errors(self) -> None:
        stream = self._process.stderr
        while stream is not None and (more := await stream.read(4096)):
            self._errors = (self._errors + more)[-4000:]

    def _last_words(self) -> str:
        error = self.find("error")
        if error:
            return str(error.get("message", ""))
        lines = self._errors.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


class Company:
    """Every process of a performance; leaving the block ends them all."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._actors: list[Actor] = []

    async def __aenter__(self) -> Self:
        """Open."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """End everybody."""
        await asyncio.gather(*(actor.stop() for actor in self._actors))

    async def start(self, name: str, module: str, *arguments: object) -> Actor:
        """Start a process."""
        actor = await Actor.start(name, module, *arguments)
        self._actors.append(actor)
        return actor
