"""SIP over secure WebSocket (RFC 7118): always inside TLS that proved a name, never without."""

from __future__ import annotations

import asyncio
import collections
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final

from securecall.errors import ConnectFailed, NetworkError, ProtocolError, Unsupported
from securecall.logs import logger
from securecall.transport.origin import origin_of
from securecall.transport.tls import Listener, Origin, PemPair, TlsConnection, connect, listen

if TYPE_CHECKING:  # its package is an extra, so it is imported by those who need it
    from securecall.transport.websocket_frames import WebSocketEnd

HANDSHAKE_SECONDS: Final = 10.0

log = logger(__name__)


class WebSocketConnection:
    """One WebSocket, after its handshake; shaped like a `TlsConnection`, but made of messages.

    Attributes:
        verified_name: The name the peer's certificate was checked for, "" if none was.
        direct: Never; there is no WebSocket without a verified server.
        remote: "ip:port" of the other end.
        local: Our own address.
        transport: e.g. "WebSocket TLSv1.3 TLS_AES_256_GCM_SHA384".
    """

    def __init__(
        self, tls: TlsConnection, end: WebSocketEnd, messages: Iterable[bytes] = ()
    ) -> None:
        """Made by `connect_websocket` and `listen_websocket`."""
        self.verified_name = tls.verified_name
        self.direct = tls.direct
        self.remote, self.local = tls.remote, tls.local
        self.transport = f"WebSocket {tls.transport}"
        self._tls = tls
        self._end = end
        self._messages = collections.deque(messages)
        self._reading = asyncio.Lock()
        self._closed = False

    def __repr__(self) -> str:
        return f"<WebSocketConnection {self.remote} {self.verified_name or 'incoming'}>"

    async def receive(self) -> bytes:
        """Return the next message, b"" once the other end is gone; never raises for that."""
        while not self._messages and not self._end.over:
            await self._hear()
        if self._messages:
            return self._messages.popleft()
        # Both have said goodbye, or one is gone: no reason to keep the TLS connection.
        await self._tls.close()
        return b""

    def send(self, data: bytes) -> None:
        """Queue one message; never waits.

        A peer that stops reading is cut off once 256 KiB wait for it, so that `receive` ends.
        """
        self._end.send(data)
        _write(self._tls, self._end)

    def ping(self) -> None:
        """Ask the other end for a sign of life, which `receive` will notice; never waits."""
        self._end.ping()
        _write(self._tls, self._end)

    @property
    def unanswered(self) -> int:
        """Pings sent since anything was heard; above 1, the other end is likely gone."""
        return self._end.unanswered

    @property
    def failure(self) -> ProtocolError | None:
        """The rule that the peer broke, which ended the connection; None if it broke none."""
        return self._end.failure

    @property
    def closing(self) -> bool:
        """Closed by one of us, or found broken."""
        return not self._end.open or self._tls.closing

    def abort(self) -> None:
        """Cut the connection at once."""
        self._tls.abort()

    async def close(self, *, seconds: float = 2.0) -> None:
        """Send what waits, exchange goodbyes, for at most `seconds`, then cut.

        What still arrives is not delivered any more.
        """
        self._closed = True
        self._messages.clear()
        self._end.close()
        _write(self._tls, self._end)
        try:
            async with asyncio.timeout(seconds):
                while not self._end.over:
                    await self._hear()
                await self._tls.close(seconds=seconds)
        except TimeoutError:
            self.abort()

    async def _hear(self) -> None:
        """Wait for bytes; `close` may do so while a task waits in `receive`."""
        async with self._reading:
            if self._end.over:
                return
            messages = self._end.receive(await self._tls.receive())
            if not self._closed:
                self._messages += messages
        _write(self._tls, self._end)


Accept = Callable[[WebSocketConnection], Awaitable[None]]


async def connect_websocket(
    host: str,
    port: int,
    *,
    server_name: str,
    context: ssl.SSLContext,
    path: str = "/",
    origin: str = "",
) -> WebSocketConnection:
    """Connect to a SIP server over wss and verify its name; redirects are not followed.

    Args:
        host: Where to connect: a name or an IP address.
        port: TCP port.
        server_name: What the certificate must be for, as for `transport.tls.connect`.
        context: From `client_context`.
        path: Of the WebSocket, with a query if there is one.
        origin: For servers that ask for the field Origin, "" for none.

    Raises:
        ConnectFailed: nobody answers in time, or there is no WebSocket here.
        CertificateError: the certificate does not prove `server_name`; nothing was said then.
        ProtocolError: the server broke a rule in the handshake, or does not take to SIP.
        Unsupported: the extra `websocket` is not installed.
        UsageError: name, path or origin cannot stand in an HTTP request.
    """
    end = _ends().client(server_name, port, path, origin=origin)
    tls = await connect(host, port, server_name=server_name, context=context)
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            return await _shake_hands(tls, end)
    except TimeoutError as e:
        tls.abort()
        raise ConnectFailed(f"{host}:{port} did not end the WebSocket handshake in time") from e
    except BaseException:
        tls.abort()
        raise


async def listen_websocket(
    host: str, port: int, accept: Accept, *, certificate: PemPair, origin: Origin = origin_of
) -> Listener:
    """Listen for SIP over wss, on any path; port 0 takes a free one.

    Args:
        host: An IP address of ours.
        port: TCP port.
        accept: Runs for each connection, after its handshake, until it returns.
        certificate: Shown to all.
        origin: What connections are counted under.

    Raises:
        LocalError: the address or the certificate cannot be used.
        Unsupported: the extra `websocket` is not installed.
    """
    ends = _ends()

    async def upgraded(tls: TlsConnection) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                connection = await _shake_hands(tls, ends.server())
        except (NetworkError, ProtocolError, TimeoutError) as e:
            log.info("%r begins no WebSocket: %s", tls, str(e) or "it says nothing")
            return
        await accept(connection)
        await connection.close()

    return await listen(host, port, upgraded, certificate=certificate, origin=origin)


async def _shake_hands(tls: TlsConnection, end: WebSocketEnd) -> WebSocketConnection:
    messages: list[bytes] = []
    try:
        while end.connecting:
            _write(tls, end)
            messages = end.receive(await tls.receive())
    finally:
        _write(tls, end)  # the server's refusal, too
    return WebSocketConnection(tls, end, messages)


def _write(tls: TlsConnection, end: WebSocketEnd) -> None:
    data = end.output()
    if data:
        tls.send(data)


def _ends() -> type[WebSocketEnd]:
    try:
        from securecall.transport.websocket_frames import WebSocketEnd
    except ImportError as e:
        raise Unsupported('SIP over WebSocket needs: pip install "securecall[websocket]"') from e
    return WebSocketEnd
