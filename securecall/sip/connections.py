"""The connections of one account: to its server, direct ones, and those that strangers make."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from securecall.clock import loop_now
from securecall.errors import NetworkError, ProtocolError, SecurecallError, UsageError
from securecall.logs import logger
from securecall.sip.frames import MessageFrames
from securecall.sip.limits import SERVER, STRANGER, Quota
from securecall.sip.message import Request, Response
from securecall.sip.stream import MessageStream
from securecall.transport.endpoint import endpoint, host_of
from securecall.transport.route import is_ours
from securecall.transport.tls import (
    Listener,
    NameProvingContext,
    PemPair,
    TlsConnection,
    connect,
    connect_direct,
    listen,
    listen_direct,
)

if TYPE_CHECKING:
    from securecall.transport.resolver import Resolver
    from securecall.transport.srv import Target
    from securecall.transport.websocket import WebSocketConnection

CLOSE_SECONDS: Final = 2.0
IDLE_SECONDS: Final = 60.0  # a connection to us that has no call and says nothing is closed
# RFC 5626 4.4.1: where the server names no time, it is to hear from us so often
_KEEP_ALIVE_SECONDS: Final = 120.0
_PONG_SECONDS: Final = 10.0
_WEBSOCKET_PORT: Final = 443
_SHUN_SECONDS: Final = 300.0  # a server that was silent or busy is tried last for so long
_MOST_WAITING: Final = 64  # messages kept while the server is being reached again
_FIRST_WAIT: Final = 0.5  # seconds between tries to reach it again, doubled each time, to at most
_LAST_WAIT: Final = 30.0

log = logger(__name__)

Connection: TypeAlias = "TlsConnection | WebSocketConnection"


@dataclass(frozen=True, slots=True, kw_only=True)
class SipServer:
    """The proxy or PBX of an account.

    Attributes:
        host: Where to connect, or the domain whose servers are to be found.
        port: TCP port of its TLS, 0 to find the servers of `host` (RFC 3263).
        name: The name its certificate must prove, wherever it is.
        path: Of its WebSocket, "" for SIP over TLS alone.
    """

    host: str
    port: int
    name: str
    path: str = field(default="", repr=False)  # some servers put a token into it

    @property
    def transport(self) -> str:
        """How Via names the way to it: "TLS" or "WSS"."""
        return "WSS" if self.path else "TLS"

    @property
    def named_port(self) -> int:
        """The port to look up `host` with; 0 to ask DNS for that, too."""
        return self.port or (_WEBSOCKET_PORT if self.path else 0)


async def connect_to(target: Target, server: SipServer, context: NameProvingContext) -> Connection:
    """Connect to one place where the server is said to be; it has to prove the server's name.

    Raises:
        ConnectFailed: nobody answers there, or does not speak what we do.
        CertificateError: it does not prove the name.
        ProtocolError, Unsupported: there can be no WebSocket.
    """
    where = target.host, target.port
    if server.path:
        from securecall.transport.websocket import connect_websocket

        return await connect_websocket(
            *where, server_name=server.name, context=context, path=server.path
        )
    return await connect(*where, server_name=server.name, context=context)


def reader_of(connection: Connection) -> MessageStream | MessageFrames:
    """What cuts its bytes into messages: a WebSocket carries each in a frame of its own."""
    return MessageStream() if isinstance(connection, TlsConnection) else MessageFrames()


class Flow:
    """One connection and its number.

    Attributes:
        number: Never used twice.
        connection: The bytes.
        own: Made for one direct call of ours; closed with it.
        quota: What its peer may hold open.
        stream: Cuts what it hears into messages.
        flooded: Its peer went beyond the quota; it is read no further.
        begun: When it was made, monotonic seconds.
        heard: When something came by it last, monotonic seconds.
        waiting: What is to be sent once another connection took its place.
    """

    def __init__(self, number: int, connection: Connection, *, own: bool, quota: Quota) -> None:
        """Made by `Connections`."""
        self.number = number
        self.connection = connection
        self.own = own
        self.quota = quota
        self.stream = reader_of(connection)
        self.flooded = False
        self.begun = loop_now()
        self.heard = 0.0
        self.waiting: list[bytes] = []

    def answered_since(self, moment: float) -> bool:
        """Whether the other end was heard after a `ping` sent at that moment."""
        if isinstance(self.connection, TlsConnection):
            return self.heard >= moment
        return not self.connection.unanswered

    def send(self, data: bytes) -> None:
        """Send a message, or keep it for the connection that takes this one's place."""
        if not self.connection.closing:
            self.connection.send(data)
        elif len(self.waiting) < _MOST_WAITING:
            self.waiting.append(data)


class Calls(Protocol):
    """Who uses the connections."""

    def receive(self, message: Request | Response, flow: Flow) -> None:
        """Take a message."""
        ...

    def busy(self, flow: int) -> bool:
        """Whether a call lives on the connection of that number."""
        ...

    def lost(self, flow: int) -> None:
        """A connection is gone for good."""
        ...

    def broken(self, flow: int) -> None:
        """The connection to the server broke; another one may take its place."""
        ...

    def moved(self, old: int, new: int) -> None:
        """A new connection to the server took the place of a broken one."""
        ...


class Connections:
    """Makes them, reads them, and replaces the one to the server where it is needed.

    Attributes:
        server: The account's, None without one.
        wanted: The connection to the server is to be there always, since it registers us.
    """

    def __init__(
        self,
        calls: Calls,
        server: SipServer | None,
        context: NameProvingContext | None,
        resolver: Resolver | None = None,
        *,
        approved: bool = False,
    ) -> None:
        """Begin with none.

        Args:
            calls: Hears what comes in.
            server: The account's, None without one.
            context: Verifies the server's name; from `client_context`.
            resolver: Finds the server, None for the system's DNS.
            approved: TLS with algorithms that NIST approves alone.
        """
        self.server = server
        self.wanted = False
        self._calls = calls
        self._context = context
        self._approved = approved
        self._flows: dict[int, Flow] = {}
        self._last_flow = 0
        self._resolver = resolver
        self._server_flow: Flow | None = None
        self._server_lock = asyncio.Lock()
        self._places: tuple[str, ...] = ()  # where DNS said the server is, the last time
        self._shunned: dict[str, float] = {}  # of these, until when they are tried last
        self._hurry = asyncio.Event()  # the network changed
        self._wait = 0.0  # before the next try to replace the connection to the server
        self._listener: Listener | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def listening(self) -> tuple[str, int] | None:
        """Host and port listened on, None if we do not."""
        return self._listener.address if self._listener is not None else None

    def flow(self, number: int) -> Flow | None:
        """The connection of that number, None once it is gone."""
        return self._flows.get(number)

    async def listen(self, where: tuple[str, int], certificate: PemPair | None) -> None:
        """Take connections; without a certificate that proves our name they are direct.

        Raises:
            LocalError: the address or the certificate cannot be used.
        """
        host, port = where
        if certificate is None:
            self._listener = await listen_direct(
                host, port, self._accepted, approved=self._approved
            )
        else:
            self._listener = await listen(
                host, port, self._accepted, certificate=certificate, approved=self._approved
            )

    async def to_peer(self, host: str, port: int) -> Flow:
        """Connect straight to a peer, for one call.

        Raises:
            ConnectFailed: nobody answers there, or does not speak TLS as we do.
            UsageError: all was closed meanwhile.
        """
        connection = await connect_direct(host, port, approved=self._approved)
        self._require_open(connection)
        flow = self._add(connection, own=True, quota=STRANGER)
        self.spawn(self._read(flow))
        return flow

    async def to_server(self) -> Flow:
        """The one connection to the account's server, verified for its name.

        Raises:
            ConnectFailed: it cannot be reached.
            CertificateError: it could not prove its name.
            UsageError: there is no server, or all was closed meanwhile.
        """
        async with self._server_lock:
            flow = self._server_flow
            if flow is not None and not flow.connection.closing:
                return flow
            server = self.server
            if server is None or self._context is None:
                raise UsageError("this account has no server")
            connection = await self._connect(server, self._context)
            self._require_open(connection)
            self._server_flow = self._add(connection, own=False, quota=SERVER)
            self.spawn(self._read(self._server_flow))
            return self._server_flow

    def network_changed(self) -> None:
        """Addresses of ours came or went: leave a connection whose address is gone, and hurry.

        Without that it would be found broken only when the kernel gives up sending on it.
        """
        self._wait = 0.0
        self._hurry.set()
        flow = self._server_flow
        if flow is not None and not is_ours(flow.connection.local):
            log.info("%r has lost its address", flow.connection)
            flow.connection.abort()

    async def _pause(self, seconds: float) -> None:
        """Wait before the next try to reach the server; no longer once the network changed."""
        self._hurry.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                _ = await self._hurry.wait()

    async def _connect(self, server: SipServer, context: NameProvingContext) -> Connection:
        # imports that direct calls do without
        from securecall.transport.resolver import Resolver, failing_over

        if self._resolver is None:
            self._resolver = Resolver()
        targets = await self._resolver.sip_targets(server.host, port=server.named_port)
        now = loop_now()
        self._shunned = {place: end for place, end in self._shunned.items() if end > now}
        self._places = tuple(endpoint(target.host, target.port) for target in targets)
        order = sorted(targets, key=lambda t: endpoint(t.host, t.port) in self._shunned)
        return await failing_over(order, lambda t: connect_to(t, server, context))

    def shun(self, flow: Flow) -> bool:
        """Try the server at the other end last for a while, and leave it if there is another.

        Returns:
            Whether there is one that was not found wanting before.
        """
        place = flow.connection.remote
        again = place in self._shunned
        self._shunned[place] = loop_now() + _SHUN_SECONDS
        if again or all(place in self._shunned for place in self._places):
            return False
        log.info("%r cannot serve us now; trying another server", flow.connection)
        flow.connection.abort()
        return True

    async def keep_alive(self, flow: Flow, *, seconds: int, answered: bool) -> None:
        """Be heard by the server, and find out when it is gone (RFC 5626 4.4.1); until cancelled.

        Args:
            flow: The connection to it.
            seconds: How often it wants to hear us, 0 where it did not say.
            answered: It promised to answer; otherwise it is held to that once it did.
        """
        loop = asyncio.get_running_loop()
        every = float(seconds or _KEEP_ALIVE_SECONDS)
        while not flow.connection.closing:
            await asyncio.sleep(every * random.uniform(0.8, 1.0))  # noqa: S311 - spreads load, guards nothing
            sent = loop.time()
            flow.connection.ping()
            await asyncio.sleep(_PONG_SECONDS)
            if flow.answered_since(sent):
                answered = True
            elif answered:
                log.warning("%r does not answer any more", flow.connection)
                flow.connection.abort()

    @property
    def server_host(self) -> str:
        """Where the server is: its address if we are connected, else its name, "" without one."""
        if self._server_flow is not None:
            return host_of(self._server_flow.connection.remote)
        return self.server.host if self.server is not None else ""

    def release(self, number: int) -> None:
        """A call is over: close the connection that was made for it alone."""
        flow = self._flows.get(number)
        if flow is not None and flow.own:
            del self._flows[number]
            self.spawn(flow.connection.close(seconds=CLOSE_SECONDS))

    def flooded(self, number: int) -> None:
        """A peer holds more open than its quota allows: close its connection.

        The server's stays: it passes on what others send, and every call of ours lives there.
        """
        flow = self._flows.get(number)
        if flow is not None and flow is not self._server_flow and not flow.flooded:
            log.warning("%r floods us; closing it", flow.connection)
            flow.flooded = True

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run something until it is done, or all is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    async def close(self) -> None:
        """Close the listener and every connection."""
        self._closed = True
        if self._listener is not None:
            await self._listener.close()
        for flow in tuple(self._flows.values()):
            await flow.connection.close(seconds=0.5)
            self._gone(flow)
        for task in tuple(self._tasks):
            task.cancel()
        _ = await asyncio.gather(*self._tasks, return_exceptions=True)

    def _require_open(self, connection: Connection) -> None:
        if self._closed:
            connection.abort()
            raise UsageError("this account was closed")

    def _add(self, connection: Connection, *, own: bool, quota: Quota) -> Flow:
        self._last_flow += 1
        flow = Flow(self._last_flow, connection, own=own, quota=quota)
        self._flows[flow.number] = flow
        return flow

    async def _accepted(self, connection: TlsConnection) -> None:
        flow = self._add(connection, own=False, quota=STRANGER)
        try:
            while data := await self._heard(flow):
                if not self._feed(flow, data):
                    break
        finally:
            self._gone(flow)

    async def _heard(self, flow: Flow) -> bytes:
        """The next bytes; b"" at the end, or when a connection without a call says nothing."""
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    return await flow.connection.receive()
            except TimeoutError:
                if not self._calls.busy(flow.number):
                    return b""

    async def _read(self, flow: Flow) -> None:
        try:
            while data := await flow.connection.receive():
                if not self._feed(flow, data):
                    break
        finally:
            if not await self._replaced(flow):
                self._gone(flow)

    def _feed(self, flow: Flow, data: bytes) -> bool:
        """Take bytes; False once the connection is to be read no further."""
        flow.heard = loop_now()
        try:
            for message in flow.stream.feed(data):
                log.debug("%r from %r", message, flow.connection)
                self._calls.receive(message, flow)
                if flow.flooded or flow.number not in self._flows:
                    return False
        except ProtocolError as e:
            log.info("%r broke a rule: %s", flow.connection, e)
            return False
        if flow.stream.failure is not None:
            log.info("%r cannot be read: %s", flow.connection, flow.stream.failure)
            return False
        return True

    async def _replaced(self, flow: Flow) -> bool:
        """Put a new connection to the server in the place of a broken one, while it is needed.

        A call's sound does not go through the server, so it lives on while that is restarted.
        """
        if self._closed or flow is not self._server_flow:
            return False
        self._server_flow = None
        flow.connection.abort()
        self._calls.broken(flow.number)
        if loop_now() - flow.begun >= _LAST_WAIT:
            self._wait = 0.0  # it held for a while; one that did not was one more try
        while self.wanted or self._calls.busy(flow.number):
            if self._wait:
                await self._pause(self._wait * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, guards nothing
            self._wait = min(2 * self._wait, _LAST_WAIT) or _FIRST_WAIT
            try:
                fresh = await self.to_server()
            except (NetworkError, ProtocolError) as e:  # the latter of a WebSocket that is none
                log.info("the server of the account is not there: %s", e)
                continue
            except SecurecallError as e:
                log.warning("the server of the account is not to be trusted: %s", e)
                return False
            _ = self._flows.pop(flow.number, None)
            self._calls.moved(flow.number, fresh.number)
            for data in flow.waiting:
                fresh.send(data)
            return True
        return False

    def _gone(self, flow: Flow) -> None:
        if self._flows.pop(flow.number, None) is None:
            return
        if not flow.connection.closing:
            self.spawn(flow.connection.close(seconds=CLOSE_SECONDS))
        self._calls.lost(flow.number)

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a SIP connection failed", exc_info=error)
