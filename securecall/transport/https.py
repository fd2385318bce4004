"""Gets and puts files over https: verified, bounded, never sent elsewhere, saying nothing of us.

A peer chooses where we get a file from. So that nobody steers us into a private network (or to
this machine), a host is resolved once, only its public addresses are tried, and of the ports only
443 and those above 1023. Servers that are our own provider's are exempt.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urljoin

from securecall.clock import loop_now
from securecall.errors import (
    ConnectFailed,
    LocalError,
    NameNotFound,
    NetworkError,
    PolicyRefused,
    ProtocolError,
    TransferFailed,
)
from securecall.transport.http import Answer, build_request
from securecall.transport.server_identity import is_address
from securecall.transport.threads import in_thread
from securecall.transport.tls import open_streams
from securecall.transport.tls_context import web_context
from securecall.transport.web_address import PORT, WebAddress, is_public, parse_web_address

PIECE: Final = 256 * 1024
MOST_REDIRECTS: Final = 3
_MOST_ADDRESSES: Final = 4
_TAKEN: Final = frozenset({200, 201, 204})
_ELSEWHERE: Final = frozenset({301, 302, 303, 307, 308})
_LOWEST_PORT: Final = 1024
_STAGGER_SECONDS: Final = 0.25
_RESOLVE_SECONDS: Final = 10.0


_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server may take.

    Attributes:
        idle: Seconds without a byte.
        grace: Seconds before the average counts.
        slowest: Bytes per second, on average.
    """

    idle: float = 30.0
    grace: float = 60.0
    slowest: int = 1024


class Https:
    """Gets and puts files; one connection each, no cookies, no name of this program."""

    def __init__(
        self,
        *,
        authorities: Path | None = None,
        own: Iterable[WebAddress] = (),
        patience: Patience = Patience(),
    ) -> None:
        """Read the trusted certificates.

        Args:
            authorities: A PEM file of trusted roots in place of the system's.
            own: Servers of our provider, which may lie in a private network.
            patience: How long a server may take.

        Raises:
            LocalError: the file cannot be read.
        """
        self._context = web_context(authorities)
        self._own = {where.authority for where in own}
        self._patience = patience

    def trust(self, where: WebAddress) -> None:
        """Count this host, with this port, among our provider's servers."""
        self._own.add(where.authority)

    def trusts(self, where: WebAddress) -> bool:
        """Whether this is one of our provider's servers."""
        return where.authority in self._own

    async def put(
        self,
        where: WebAddress,
        *,
        size: int,
        read: Callable[[int], bytes],
        fields: Mapping[str, str],
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """Upload `size` bytes; cancelling closes the connection.

        Args:
            where: To.
            size: Bytes of the content.
            read: Gives the next bytes, at most so many; called in a thread.
            fields: Of the request.
            sent: Told the bytes sent so far.

        Raises:
            TransferFailed: the server refuses.
            NetworkError: it does not answer, or is too slow.
            CertificateError: it did not prove its name.
            PolicyRefused: it lies in a private network, and is not our provider's.
            ProtocolError: its answer is none.
            LocalError: `read` gave less than `size`.
        """
        async with _Exchange(await self._connect(where), self._patience) as exchange:
            head = build_request("PUT", where, fields, length=size)
            # A server that refuses says so early, and may cut the connection right after.
            answered = asyncio.create_task(exchange.head(patient=True))
            try:
                whole = await _send_all(exchange, head, size, read, sent, answered)
                async with asyncio.timeout(self._patience.idle):
                    await asyncio.shield(answered)
            except TimeoutError as e:
                raise NetworkError(f"{where.host} does not say whether it took the file") from e
            finally:
                _ = answered.cancel()
                _ = await asyncio.gather(answered, return_exceptions=True)
            if not whole or exchange.status not in _TAKEN:
                raise TransferFailed(
                    f"{where.host} does not take the file: {exchange.status}",
                    status=exchange.status,
                )

    async def get(
        self,
        where: WebAddress,
        *,
        most: int,
        take: Callable[[bytes], None],
        got: Callable[[int, int], None] | None = None,
    ) -> int:
        """Download what lies there; returns how many bytes. Cancelling closes the connection.

        Args:
            where: What.
            most: Bytes, beyond which it is refused.
            take: Given the pieces in order; called in a thread.
            got: Told the bytes so far, and of how many; 0 where the server does not say.

        Raises:
            TransferFailed: the server refuses.
            NetworkError: it does not answer, or is too slow.
            CertificateError: it did not prove its name.
            PolicyRefused: it lies in a private network, and is not our provider's.
            ProtocolError: its answer is none, leads elsewhere, or is too large.
        """
        for _ in range(MOST_REDIRECTS + 1):
            async with _Exchange(await self._connect(where), self._patience) as exchange:
                await exchange.send(build_request("GET", where, {}))
                await exchange.head()
                if exchange.status in _ELSEWHERE:
                    where = _followed(where, exchange.location)
                    continue
                if exchange.status != 200:
                    raise TransferFailed(
                        f"{where.host} does not give the file: {exchange.status}",
                        status=exchange.status,
                    )
                return await exchange.content(most, take, got)
        raise ProtocolError("an address that leads on and on", rule="RFC 9110 15.4")

    async def _connect(self, where: WebAddress) -> _Streams:
        """Try the addresses one after the other, the next a little later (RFC 8305 5)."""
        waiting = await self._addresses(where)
        trying: set[asyncio.Task[_Streams]] = set()
        failed: ConnectFailed | None = None
        try:
            while waiting or trying:
                if waiting:
                    opening = open_streams(
                        waiting.pop(0), where.port, context=self._context, server_name=where.host
                    )
                    trying.add(asyncio.create_task(opening))
                done, _ = await asyncio.wait(
                    trying,
                    timeout=_STAGGER_SECONDS if waiting else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    trying.discard(task)
                    try:
                        return task.result()
                    except ConnectFailed as e:
                        failed = e
        finally:
            await _give_up(trying)
        raise failed or NameNotFound(f"{where.host} has no address")

    async def _addresses(self, where: WebAddress) -> list[str]:
        """Resolve once; who answered differently the next time would get around what is here."""
        exempt = self.trusts(where)
        if not exempt and where.port != PORT and where.port < _LOWEST_PORT:
            raise PolicyRefused(f"the file lies behind port {where.port}, which is no web server's")
        found = [where.host] if is_address(where.host) else await resolved(where.host)
        if not exempt:
            found = [address for address in found if is_public(address)]
            if not found:
                raise PolicyRefused(
                    f"the file lies in a private network ({where.host}), and not at our server's"
                )
        return found[:_MOST_ADDRESSES]


async def _give_up(trying: set[asyncio.Task[_Streams]]) -> None:
    """Close what came about too late."""
    for task in trying:
        _ = task.cancel()
    for result in await asyncio.gather(*trying, return_exceptions=True):
        if not isinstance(result, BaseException):
            result[1].transport.abort()


async def resolved(host: str) -> list[str]:
    """The IP addresses of a name, as the system knows them, the likeliest to be reached first.

    Raises:
        ConnectFailed: nobody says in time.
        NameNotFound: there are none.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            entries = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except TimeoutError as e:
        raise ConnectFailed(f"{host} could not be looked up in time") from e
    except (OSError, UnicodeError) as e:
        raise NameNotFound(f"{host} is not known") from e
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))


async def _send_all(
    exchange: _Exchange,
    head: bytes,
    size: int,
    read: Callable[[int], bytes],
    sent: Callable[[int], None] | None,
    answered: asyncio.Task[None],
) -> bool:
    """Send until all is sent or the server has answered; whether all was."""
    done = 0
    try:
        await exchange.send(head)
        while done < size and not answered.done():
            piece = await in_thread(read, min(PIECE, size - done))
            if not piece:
                raise LocalError("the file became shorter while it was sent")
            await exchange.send(piece)
            done += len(piece)
            if sent is not None:
                sent(done)
    except _Broken:
        return False
    return done == size


def _followed(where: WebAddress, location: str) -> WebAddress:
    """Follow a redirection within the same server only: others must not learn who fetches what."""
    try:
        target = parse_web_address(urljoin(str(where), location).partition("#")[0])
    except ValueError as e:
        raise ProtocolError("a redirection to nowhere", rule="RFC 9110 10.2.2") from e
    if (target.host, target.port) != (where.host, where.port) or not location:
        raise ProtocolError(f"{where.host} leads to another server", rule="RFC 9110 15.4")
    return target


class _Broken(NetworkError):
    """What was to be sent did not leave."""


class _Exchange:
    """One request and its answer on one connection."""

    def __init__(self, streams: _Streams, patience: Patience) -> None:
        self._reader, self._writer = streams
        self._patience = patience
        self._answer = Answer()
        self._early = b""
        self._begin = loop_now()
        self._moved = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()  # at once, whatever the other end does

    @property
    def status(self) -> int:
        return self._answer.head.status if self._answer.head is not None else 408

    @property
    def location(self) -> str:
        return self._answer.head.location if self._answer.head is not None else ""

    async def send(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(self._patience.idle):
                self._writer.write(data)
                await self._writer.drain()
        except (OSError, ssl.SSLError, TimeoutError) as e:
            raise _Broken("the web server does not read on") from e
        self._keep_up(len(data))

    async def head(self, *, patient: bool = False) -> None:
        """Wait for the answer's head; a patient one is timed by its caller."""
        while self._answer.head is None:
            self._early += await self._receive(None if patient else self._patience.idle)

    async def content(
        self, most: int, take: Callable[[bytes], None], got: Callable[[int, int], None] | None
    ) -> int:
        total = self._answer.head.length if self._answer.head is not None else None
        if total is not None and total > most:
            raise ProtocolError(f"a file of {total} bytes, where {most} were allowed")
        data, count = self._early, 0
        while True:
            count += len(data)
            if count > most:
                raise ProtocolError(f"a file that does not end after {most} bytes")
            if data:
                await in_thread(take, data)
                if got is not None:
                    got(count, total or 0)
            if self._answer.done:
                return count
            data = await self._receive(self._patience.idle)

    async def _receive(self, seconds: float | None) -> bytes:
        try:
            async with asyncio.timeout(seconds):
                data = await self._reader.read(PIECE)
        except TimeoutError as e:
            raise NetworkError("the web server does not go on") from e
        except (OSError, ssl.SSLError) as e:
            raise NetworkError("the web server broke the connection") from e
        self._keep_up(len(data))
        if data:
            return self._answer.receive(data)
        self._answer.end()
        if not self._answer.done:
            raise NetworkError("the web server broke off its answer")
        return b""

    def _keep_up(self, count: int) -> None:
        self._moved += count
        spent = loop_now() - self._begin - self._patience.grace
        if spent > 0 and self._moved < spent * self._patience.slowest:
            raise NetworkError("the web server is too slow")
