"""SIP over TLS as a signalling adapter: connections, one timer, and the legs of calls."""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from securecall.address import ANONYMOUS, Address, Scheme, parse_address
from securecall.calls.signaling import (
    Ended,
    IncomingLeg,
    Leg,
    Route,
    Signal,
    SignalBuffer,
    SignalingPath,
    SignalSink,
)
from securecall.errors import EndReason, NetworkError, ProtocolError, SecurityError, UsageError
from securecall.media.description import Description
from securecall.sip.agent import Agent, Finished, Output, Rang, Replied, Send, Told
from securecall.sip.grammar import NameAddr
from securecall.sip.message import build_message
from securecall.sip.session import Session
from securecall.sip.stream import MessageStream
from securecall.transport.tls import (
    Listener,
    PemPair,
    TlsConnection,
    client_context,
    connect,
    connect_direct,
    listen,
    listen_direct,
)

# To and Request-URI of a direct call: the connection already is the peer, so nothing is named.
DIRECT_URI: Final = "sip:key@direct.invalid"
CLOSE_SECONDS: Final = 2.0
IDLE_SECONDS: Final = 60.0  # a connection to us that has no call and says nothing is closed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SipServer:
    """The proxy or PBX of an account.

    Attributes:
        host: Where to connect.
        port: TCP port of its TLS.
        name: The name its certificate must prove.
    """

    host: str
    port: int
    name: str


class _Flow:
    """One connection and its number."""

    def __init__(self, number: int, connection: TlsConnection, *, own: bool) -> None:
        self.number = number
        self.connection = connection
        self.own = own  # made for one direct call of ours; closed with it
        self.stream = MessageStream()


class SipLeg:
    """One call over SIP; satisfies `Leg` and `IncomingLeg`.

    Attributes:
        call_id: The Call-ID.
        outgoing: We began it.
        local: Our address as signalled.
        remote: The dialled address, or the From (a claim); ANONYMOUS where that is no address.
    """

    def __init__(
        self,
        signaling: SipSignaling,
        session: Session,
        connection: TlsConnection,
        *,
        local: Address,
        remote: Address,
    ) -> None:
        """Made by `SipSignaling`."""
        self.call_id = session.invite.call_id
        self.outgoing = session.outgoing
        self.local = local
        self.remote = remote
        self._signaling = signaling
        self._session = session
        self._connection = connection
        self._buffer = SignalBuffer()
        self._closed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<SipLeg {'to' if self.outgoing else 'from'} {self._connection.remote}>"

    @property
    def offer(self) -> Description | None:
        """The first offer of an incoming call."""
        return self._session.offer

    @property
    def path(self) -> SignalingPath:
        """What is known so far of the way taken."""
        connection = self._connection
        return SignalingPath(
            protocol="SIP",
            transport=connection.transport,
            direct=connection.direct,
            verified_name=connection.verified_name,
            hops=self._session.hops,
            remote=connection.remote,
        )

    def listen(self, sink: SignalSink) -> None:
        """Deliver signals to `sink` from now on; those that came before are delivered first."""
        self._buffer.listen(sink)

    def send(self, signal: Signal) -> None:
        """Queue a signal for the peer."""
        self._signaling.perform(self._session, signal)

    async def closed(self) -> None:
        """Return when nothing is left to send or to wait for."""
        _ = await self._closed.wait()

    def uses(self, flow: int) -> bool:
        """Whether the call lives on the connection of that number."""
        return self._session.flow == flow and not self._session.idle

    def deliver(self, signal: Signal) -> None:
        """Called by the adapter."""
        try:
            self._buffer.deliver(signal)
        except Exception:  # a call that fails must not take its connection along
            log.exception("the listener of %r failed", self)

    def finish(self) -> None:
        """Called by the adapter."""
        self._closed.set()


class SipSignaling:
    """One SIP account, or none at all: direct calls need neither; satisfies `Signaling`."""

    def __init__(
        self, local: Address, server: SipServer | None, context: ssl.SSLContext | None
    ) -> None:
        """Use `open`."""
        self._local = local
        self._server = server
        self._context = context
        self._agent = Agent(random_token=lambda: secrets.token_hex(12))
        self._flows: dict[int, _Flow] = {}
        self._last_flow = 0
        self._server_flow: _Flow | None = None
        self._server_lock = asyncio.Lock()
        self._listener: Listener | None = None
        self._legs: dict[int, SipLeg] = {}
        self._asked: dict[int, asyncio.Future[int]] = {}
        self._sink: Callable[[IncomingLeg], None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @classmethod
    async def open(
        cls,
        *,
        local: Address = ANONYMOUS,
        listen: tuple[str, int] | None = None,
        listen_certificate: PemPair | None = None,
        server: SipServer | None = None,
        authorities: Path | None = None,
    ) -> Self:
        """Be ready to call, and to be called where `listen` is given.

        Args:
            local: Our address; ANONYMOUS has none.
            listen: Host and port to take connections on; port 0 takes a free one.
            listen_certificate: Proves our name there; without it the listener is direct.
            server: The account's server; connected to when first needed.
            authorities: PEM file of roots that may vouch for the server, else the system's.

        Raises:
            LocalError: the address, certificate or authorities cannot be used.
        """
        context = client_context(authorities) if server is not None else None
        signaling = cls(local, server, context)
        if listen is not None:
            await signaling._listen(listen, listen_certificate)
        return signaling

    @property
    def listening(self) -> tuple[str, int] | None:
        """Host and port listened on, None if we do not."""
        return self._listener.address if self._listener is not None else None

    def on_incoming(self, sink: Callable[[IncomingLeg], None]) -> None:
        """Deliver calls that come in to `sink`; before that they are refused with 480."""
        self._sink = sink

    async def dial(self, route: Route, offer: Description) -> Leg:
        """Begin a call.

        Raises:
            ConnectFailed: the next hop cannot be reached.
            CertificateError: the server could not prove its name.
            UsageError: there is no server to ask, or the address is not of SIP.
        """
        flow, target = await self._next_hop(route)
        session, outputs = self._agent.invite(
            target=target,
            from_uri=_uri(self._local) if not flow.connection.direct else _uri(ANONYMOUS),
            offer=offer,
            flow=flow.number,
            direct=flow.connection.direct,
            now=self._now(),
        )
        local = ANONYMOUS if flow.connection.direct else self._local
        leg = SipLeg(self, session, flow.connection, local=local, remote=route.target)
        self._legs[id(session)] = leg
        self._carry_out(outputs)
        return leg

    async def options(self, route: Route) -> int:
        """Ask whether somebody is there; returns the final status, 408 if nobody answers.

        Raises:
            ConnectFailed: the next hop cannot be reached.
            CertificateError: the server could not prove its name.
        """
        flow, target = await self._next_hop(route)
        asked: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        request, outputs = self._agent.options(
            target=target,
            from_uri=_uri(ANONYMOUS if flow.connection.direct else self._local),
            flow=flow.number,
            now=self._now(),
        )
        self._asked[id(request)] = asked
        try:
            self._carry_out(outputs)
            return await asked
        finally:
            _ = self._asked.pop(id(request), None)
            if flow.own:
                flow.connection.abort()

    async def close(self) -> None:
        """End every leg, close every connection."""
        if self._closed:
            return
        self._closed = True
        await self._hang_up()
        if self._timer is not None:
            self._timer.cancel()
        if self._listener is not None:
            await self._listener.close()
        for flow in tuple(self._flows.values()):
            await flow.connection.close(seconds=0.5)
            self._gone(flow)
        for task in tuple(self._tasks):
            task.cancel()
        _ = await asyncio.gather(*self._tasks, return_exceptions=True)
        for asked in self._asked.values():
            if not asked.done():
                asked.set_result(503)

    async def _hang_up(self) -> None:
        legs = list(self._legs.values())
        for leg in legs:
            leg.send(Ended(EndReason.HUNG_UP))
        if legs:
            waiting = [asyncio.ensure_future(leg.closed()) for leg in legs]
            _, late = await asyncio.wait(waiting, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()

    def perform(self, session: Session, signal: Signal) -> None:
        """Called by legs: signals that this causes are delivered later, never from inside."""
        outputs = self._agent.perform(session, signal, now=self._now())
        self._carry_out(tuple(o for o in outputs if isinstance(o, Send)))
        rest = tuple(o for o in outputs if not isinstance(o, Send))
        if rest:
            _ = asyncio.get_running_loop().call_soon(self._carry_out, rest)

    # -- connections ------------------------------------------------------------------------------

    async def _listen(self, where: tuple[str, int], certificate: PemPair | None) -> None:
        host, port = where
        if certificate is None:
            self._listener = await listen_direct(host, port, self._accepted)
        else:
            self._listener = await listen(host, port, self._accepted, certificate=certificate)

    async def _next_hop(self, route: Route) -> tuple[_Flow, str]:
        if self._closed:
            raise UsageError("this account is closed")
        if route.direct is not None:
            connection = await connect_direct(*route.direct)
            flow = self._add(connection, own=True)
            self._spawn(self._read(flow))
            return flow, DIRECT_URI if route.target.scheme is Scheme.KEY else _uri(route.target)
        if self._server is None:
            raise UsageError("without a server only direct calls are possible; give host and port")
        return await self._to_server(self._server), _uri(route.target, self._server.name)

    async def _to_server(self, server: SipServer) -> _Flow:
        """The one connection to the account's server, verified for its name."""
        async with self._server_lock:
            flow = self._server_flow
            if flow is not None and not flow.connection.closing:
                return flow
            if self._context is None:
                raise UsageError("this account has no server")
            connection = await connect(
                server.host, server.port, server_name=server.name, context=self._context
            )
            self._server_flow = self._add(connection, own=False)
            self._spawn(self._read(self._server_flow))
            return self._server_flow

    def _add(self, connection: TlsConnection, *, own: bool) -> _Flow:
        self._last_flow += 1
        flow = _Flow(self._last_flow, connection, own=own)
        self._flows[flow.number] = flow
        return flow

    async def _accepted(self, connection: TlsConnection) -> None:
        flow = self._add(connection, own=False)
        try:
            while data := await self._heard(flow):
                if not self._feed(flow, data):
                    break
        finally:
            self._gone(flow)

    async def _heard(self, flow: _Flow) -> bytes:
        """The next bytes; b"" at the end, or when a connection without a call says nothing."""
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    return await flow.connection.receive()
            except TimeoutError:
                if not any(leg.uses(flow.number) for leg in self._legs.values()):
                    return b""

    async def _read(self, flow: _Flow) -> None:
        try:
            while data := await flow.connection.receive():
                if not self._feed(flow, data):
                    break
        finally:
            if not await self._replaced(flow):
                self._gone(flow)

    def _feed(self, flow: _Flow, data: bytes) -> bool:
        """Take bytes; False once the connection cannot be read further."""
        try:
            for message in flow.stream.feed(data):
                log.debug("%r from %r", message, flow.connection)
                outputs = self._agent.receive(
                    message,
                    flow=flow.number,
                    direct=flow.connection.direct,
                    now=self._now(),
                )
                self._carry_out(outputs)
        except ProtocolError as e:
            log.info("%r broke a rule: %s", flow.connection, e)
            return False
        if flow.stream.failure is not None:
            log.info("%r cannot be read: %s", flow.connection, flow.stream.failure)
            return False
        return True

    async def _replaced(self, flow: _Flow) -> bool:
        """Put a new connection to the server in the place of a broken one, if calls need it."""
        if self._closed or flow is not self._server_flow or self._server is None:
            return False
        self._server_flow = None
        needed = any(leg.uses(flow.number) for leg in self._legs.values())
        if not needed:
            return False
        try:
            fresh = await self._to_server(self._server)
        except (NetworkError, SecurityError) as e:
            log.warning("the server of the account is gone: %s", e)
            return False
        self._agent.moved(flow.number, fresh.number)
        _ = self._flows.pop(flow.number, None)
        return True

    def _gone(self, flow: _Flow) -> None:
        if self._flows.pop(flow.number, None) is None:
            return
        if not flow.connection.closing:
            self._spawn(flow.connection.close(seconds=CLOSE_SECONDS))
        self._carry_out(self._agent.lost(flow.number, now=self._now()))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a SIP connection failed", exc_info=error)

    # -- outputs and time -------------------------------------------------------------------------

    def _carry_out(self, outputs: tuple[Output, ...]) -> None:
        for output in outputs:
            if isinstance(output, Send):
                flow = self._flows.get(output.flow)
                if flow is not None:
                    flow.connection.send(build_message(output.message))
            elif isinstance(output, Told):
                leg = self._legs.get(id(output.session))
                if leg is not None:
                    leg.deliver(output.signal)
            elif isinstance(output, Rang):
                self._rang(output.session)
            elif isinstance(output, Finished):
                self._finished(output.session)
            elif isinstance(output, Replied):
                asked = self._asked.get(id(output.request))
                if asked is not None and not asked.done():
                    asked.set_result(output.status)
            else:
                log.info("dropped: %s", output.why)
        self._arm()

    def _rang(self, session: Session) -> None:
        flow = self._flows[session.flow or 0]
        remote = claimed_address(session.invite.from_)
        leg = SipLeg(self, session, flow.connection, local=self._local, remote=remote)
        self._legs[id(session)] = leg
        if self._sink is None or self._closed:
            leg.send(Ended(EndReason.UNREACHABLE))
            return
        try:
            self._sink(leg)
        except Exception:  # one call's handler must not end the others
            log.exception("handling a call failed")
            leg.send(Ended(EndReason.LOCAL))

    def _finished(self, session: Session) -> None:
        leg = self._legs.pop(id(session), None)
        if leg is None:
            return
        leg.finish()
        flow = self._flows.get(session.flow or 0)
        if flow is not None and flow.own:
            _ = self._flows.pop(flow.number)
            self._spawn(flow.connection.close(seconds=CLOSE_SECONDS))

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._agent.deadline
        if deadline is not None and not self._closed:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._due)

    def _due(self) -> None:
        self._timer = None
        self._carry_out(self._agent.expire(now=self._now()))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def claimed_address(addr: NameAddr) -> Address:
    """Read From as a person's address; IP hosts, ports and other schemes make ANONYMOUS."""
    uri = addr.uri
    if uri.scheme not in ("sip", "sips") or uri.port or not uri.user:
        return ANONYMOUS
    try:
        return parse_address(f"sip:{uri.user}@{uri.host}")
    except ProtocolError:
        return ANONYMOUS


def _uri(address: Address, server: str = "") -> str:
    if address.scheme is Scheme.SIP:
        return str(address)
    if address.scheme is Scheme.TEL and server:
        return f"sip:{address.user}@{server};user=phone"
    if address.scheme is Scheme.KEY:
        return DIRECT_URI
    raise UsageError(f"{address.short} cannot be called over SIP")
