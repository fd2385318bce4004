"""A TCP relay on loopback that breaks connections where a test says, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Self

_HOST: Final = "127.0.0.1"
_CHUNK: Final = 65536
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


class Break(Enum):
    """How a connection breaks."""

    RESET = auto()
    """Both ends are told that it is gone; what they had not read yet may be lost."""
    CLOSE = auto()
    """Both ends read what was passed on, then the end of the stream. Who was sending much at that
    moment is told as by RESET."""
    HALF_CLOSE = auto()
    """One end reads the end of the stream and can still send; nothing more reaches it."""
    STALL = auto()
    """Nothing passes any more, and nobody is told."""


class Toward(Enum):
    """Which of the bytes that pass are counted."""

    SERVER = auto()
    CLIENT = auto()
    BOTH = auto()


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens to one connection.

    Attributes:
        how: It breaks.
        after: So many bytes have passed; 0: before any, and before the server hears of it.
        toward: The bytes that are counted; for HALF_CLOSE, the end to which the stream ends (BOTH:
            the one whose bytes were the last).
    """

    how: Break
    after: int
    toward: Toward = Toward.BOTH


@dataclass(slots=True)
class Counts:
    """What a relay did.

    Attributes:
        accepted: Connections.
        broken: Of them, by how.
        unreachable: Of them, closed since the server took none.
        to_server, to_client: Bytes passed on.
        dropped: Bytes that came after a HALF_CLOSE.
    """

    accepted: int = 0
    broken: dict[Break, int] = field(default_factory=lambda: dict.fromkeys(Break, 0))
    unreachable: int = 0
    to_server: int = 0
    to_client: int = 0
    dropped: int = 0


def in_turn(fates: Iterable[Fate | None]) -> Callable[[], Fate | None]:
    """The first connection has the first fate, and so on; those after the last live on."""
    waiting = iter(fates)
    return lambda: next(waiting, None)


def by_chance(seed: int, *, most: int, least: int = 0) -> Callable[[], Fate]:
    """Every connection breaks, somewhere; the same seed gives the same places."""
    chance = random.Random(seed)  # noqa: S311 - no secret is made of it
    kinds = (Break.RESET, Break.CLOSE)
    return lambda: Fate(chance.choice(kinds), chance.randint(least, most))


class CuttingRelay:
    """Takes connections at `port` of this machine and passes them on to another port.

    Leave the block to end it. What it did stands in `counts`.

    Args:
        target: The server's port.
        fates: Asked for each connection: its fate, or None to let it live.
    """

    def __init__(self, target: int, fates: Callable[[], Fate | None] = lambda: None) -> None:
        self.port = 0
        self.counts = Counts()
        self._target = target
        self._fates = fates
        self._server: asyncio.Server | None = None
        self._links: dict[_Link, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        """Begin."""
        await self.accept()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Refuse new connections and cut those there are."""
        self.refuse()
        self.cut()
        _ = await asyncio.gather(*self._links.values(), return_exceptions=True)

    async def accept(self) -> None:
        """Take connections (again), at the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._on_accepted, _HOST, self.port)
            self.port = int(self._server.sockets[0].getsockname()[1])

    def refuse(self) -> None:
        """Refuse new connections, as a server that is down does."""
        if self._server is not None:
            self._server.close()
            self._server = None

    @contextlib.asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        """Refuse while the block lasts."""
        self.refuse()
        try:
            yield
        finally:
            await self.accept()

    def cut(self, how: Break = Break.RESET) -> int:
        """Break all connections there are, now; returns how many."""
        links = [link for link in self._links if not link.broken]
        for link in links:
            link.break_now(how)
        return len(links)

    def release(self) -> None:
        """Let what was stalled flow again."""
        for link in self._links:
            link.release()

    def _on_accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.accepted += 1
        link = _Link(_End(reader, writer), self._fates(), self.counts)
        self._links[link] = task = asyncio.ensure_future(link.run(self._target))
        task.add_done_callback(lambda _: self._links.pop(link))


@dataclass(frozen=True, slots=True)
class _End:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def reset(self) -> None:
        opened: socket.socket | None = self.writer.get_extra_info("socket")
        if opened is not None and not self.writer.is_closing():
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.writer.transport.abort()

    def end_stream(self) -> None:
        if self.writer.can_write_eof() and not self.writer.is_closing():
            with contextlib.suppress(OSError):  # it has just been lost
                self.writer.write_eof()


class _Link:
    """One connection and its continuation."""

    def __init__(self, client: _End, fate: Fate | None, counts: Counts) -> None:
        self._client = client
        self._server: _End | None = None
        self._fate = fate
        self._counts = counts
        self._passed = dict.fromkeys(Toward, 0)
        self._deaf: set[Toward] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._ended = asyncio.Event()
        self.broken = False

    async def run(self, target: int) -> None:
        """Pass bytes on until both directions ended or it is broken."""
        if self._fate is not None and self._fate.after == 0:
            self._meet(Toward.CLIENT)
            if self.broken:
                return
        await self._unless_ended(self._flowing.wait())
        try:
            self._server = _End(*await asyncio.open_connection(_HOST, target))
        except OSError:
            self._counts.unreachable += 1
            self._client.reset()
            return
        if self._ended.is_set():  # meanwhile
            self._server.reset()
            return
        if Toward.SERVER in self._deaf:
            self._server.end_stream()
        both = (
            self._pump(self._client.reader, self._server, Toward.SERVER),
            self._pump(self._server.reader, self._client, Toward.CLIENT),
        )
        await self._unless_ended(asyncio.gather(*both))
        for end in (self._client, self._server):
            end.writer.close()
            with contextlib.suppress(OSError):
                await end.writer.wait_closed()

    async def _unless_ended(self, work: Awaitable[object]) -> None:
        going = asyncio.ensure_future(work)
        ended = asyncio.ensure_future(self._ended.wait())
        _ = await asyncio.wait((going, ended), return_when=asyncio.FIRST_COMPLETED)
        for task in (going, ended):
            _ = task.cancel()
        _ = await asyncio.gather(going, ended, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, to: _End, toward: Toward) -> None:
        with contextlib.suppress(OSError):  # an end that is lost ends its direction
            while data := await reader.read(_CHUNK):
                while data and not self.broken:
                    _ = await self._flowing.wait()
                    piece = data[: self._left(toward)]
                    data = data[len(piece) :]
                    await self._pass(piece, to, toward)
        to.end_stream()

    def _left(self, toward: Toward) -> int | None:
        """How many bytes this way until it breaks; None: any number."""
        fate = self._fate
        if fate is None or fate.toward not in (toward, Toward.BOTH):
            return None
        return fate.after - self._passed[fate.toward]

    async def _pass(self, piece: bytes, to: _End, toward: Toward) -> None:
        if toward in self._deaf:
            self._counts.dropped += len(piece)
            return
        to.writer.write(piece)
        self._passed[toward] += len(piece)
        self._passed[Toward.BOTH] += len(piece)
        if toward is Toward.SERVER:
            self._counts.to_server += len(piece)
        else:
            self._counts.to_client += len(piece)
        met = self._left(toward) == 0
        if met:
            self._meet(toward)
        if not self.broken:
            await to.writer.drain()

    def _meet(self, toward: Toward) -> None:
        """Its fate has come, by bytes in one direction."""
        fate, self._fate = self._fate, None
        if fate is not None:
            self.break_now(fate.how, toward if fate.toward is Toward.BOTH else fate.toward)

    def break_now(self, how: Break, toward: Toward = Toward.CLIENT) -> None:
        """Break it, in this direction if only one breaks."""
        self._counts.broken[how] += 1
        ends = [end for end in (self._client, self._server) if end is not None]
        match how:
            case Break.RESET:
                for end in ends:
                    end.reset()
            case Break.CLOSE:
                for end in ends:
                    end.writer.close()
            case Break.HALF_CLOSE:
                self._deaf.add(toward)
                reached = self._server if toward is Toward.SERVER else self._client
                if reached is not None:
                    reached.end_stream()
            case Break.STALL:
                self._flowing.clear()
        if how in (Break.RESET, Break.CLOSE):
            self.broken = True
            self._ended.set()

    def release(self) -> None:
        """Let it flow."""
        self._flowing.set()
