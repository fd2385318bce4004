"""SIP over TLS as a signalling adapter: one timer for all the calls of an account."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from securecall.address import ANONYMOUS, Address, Scheme
from securecall.calls.signaling import (
    Answered,
    Ended,
    IncomingLeg,
    Leg,
    Offered,
    Route,
    Signal,
)
from securecall.clock import loop_now
from securecall.errors import EndReason, MessageFailed, Reason, SecurityError, UsageError
from securecall.logs import logger
from securecall.media.description import Description
from securecall.sip.agent import Agent
from securecall.sip.connections import (
    CLOSE_SECONDS,
    Connection,
    Connections,
    Flow,
    SipServer,
)
from securecall.sip.digest import Authenticator, Login
from securecall.sip.headers import Headers
from securecall.sip.leg import SipLeg, ring
from securecall.sip.message import Request, Response, build_message
from securecall.sip.naming import DIRECT_URI, claimed_address, uri_of
from securecall.sip.output import (
    Dropped,
    Finished,
    Output,
    Overran,
    Rang,
    Replied,
    Send,
    Texted,
    Told,
)
from securecall.sip.registering import Registering, Watcher
from securecall.sip.registration import Granted, Registration, RegistrationState
from securecall.sip.session import Session
from securecall.sip.text import build_text, text_fields
from securecall.transport.tls import (
    NameProvingContext,
    PemPair,
    TlsConnection,
    client_context,
)

if TYPE_CHECKING:
    from securecall.transport.resolver import Resolver

log = logger(__name__)

TextSink = Callable[[Address, str], None]


class SipSignaling:
    """One SIP account, or none at all: direct calls need neither; satisfies `Signaling`."""

    def __init__(
        self,
        local: Address,
        server: SipServer | None,
        context: NameProvingContext | None,
        login: Login | None,
        resolver: Resolver | None,
        *,
        approved: bool = False,
    ) -> None:
        """Use `open`."""
        self._local = local
        self._agent = Agent(
            random_token=lambda: secrets.token_hex(12),
            authenticator=Authenticator(login) if login is not None else None,
            transport=server.transport if server is not None else "TLS",
        )
        self._connections = Connections(self, server, context, resolver, approved=approved)
        self._legs: dict[int, SipLeg] = {}
        self._asked: dict[int, asyncio.Future[Replied]] = {}
        self._registering: Registering | None = None
        self._registration_name = self._agent.name()
        self._keep_alive: asyncio.Task[None] | None = None
        self._sink: Callable[[IncomingLeg], None] | None = None
        self._text_sink: TextSink | None = None
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
        login: Login | None = None,
        resolver: Resolver | None = None,
        approved: bool = False,
    ) -> Self:
        """Be ready to call, and to be called where `listen` is given.

        Args:
            local: Our address; ANONYMOUS has none.
            listen: Host and port to take connections on; port 0 takes a free one.
            listen_certificate: Proves our name there; without it the listener is direct.
            server: The account's server; connected to when first needed.
            authorities: PEM file of roots that may vouch for the server, else the system's.
            login: What the server is shown where it asks for a password.
            resolver: Finds the server, None for the system's DNS.
            approved: TLS with algorithms that NIST approves alone.

        Raises:
            LocalError: the address, certificate or authorities cannot be used.
        """
        context = client_context(authorities, approved=approved) if server is not None else None
        signaling = cls(local, server, context, login, resolver, approved=approved)
        if listen is not None:
            await signaling._connections.listen(listen, listen_certificate)
        return signaling

    @property
    def listening(self) -> tuple[str, int] | None:
        """Host and port listened on, None if we do not."""
        return self._connections.listening

    def on_incoming(self, sink: Callable[[IncomingLeg], None]) -> None:
        """Deliver calls that come in to `sink`; before that they are refused with 480."""
        self._sink = sink

    async def dial(self, route: Route, offer: Description) -> Leg:
        """Begin a call.

        Raises:
            ConnectFailed: the next hop cannot be reached.
            CertificateError: the server could not prove its name.
            SecurityError: the offer has keys in it, and nobody proved a name on that connection.
            UsageError: there is no server to ask, or the address is not of SIP.
        """
        flow, target = await self._next_hop(route)
        _require_proved(flow.connection, offer)
        session, outputs = self._agent.invite(
            target=target,
            from_uri=uri_of(self._local) if not flow.connection.direct else uri_of(ANONYMOUS),
            offer=offer,
            flow=flow.number,
            direct=flow.connection.direct,
            now=loop_now(),
            identity=route.identity,
            replaces=route.replaces,
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
        request, outputs = self._agent.ask(
            "OPTIONS",
            target=target,
            from_uri=uri_of(ANONYMOUS if flow.connection.direct else self._local),
            flow=flow.number,
            now=loop_now(),
            more=Headers((("Accept", "application/sdp"),)),
            routed=not flow.connection.direct,
        )
        try:
            return (await self._reply_to(request, outputs)).status
        finally:
            if flow.own:
                flow.connection.abort()

    async def _reply_to(self, request: Request, outputs: tuple[Output, ...]) -> Replied:
        asked: asyncio.Future[Replied] = asyncio.get_running_loop().create_future()
        self._asked[id(request)] = asked
        try:
            self._carry_out(outputs)
            return await asked
        finally:
            _ = self._asked.pop(id(request), None)

    # -- texts ------------------------------------------------------------------------------------

    async def danger_send_text(self, route: Route, text: str) -> None:
        """Send a text that every server on the way can read and change (RFC 3428).

        Raises:
            ConnectFailed: the server cannot be reached.
            CertificateError: the server could not prove its name.
            LoginRefused: it does not let us in.
            MessageFailed: it did not take the text.
            UsageError: the text is empty or too long, or there is no server.
        """
        body = build_text(text)
        flow, target = await self._next_hop(route)
        if flow.connection.direct:
            raise UsageError("texts go through a server; there is none on a direct connection")
        request, outputs = self._agent.ask(
            "MESSAGE",
            target=target,
            from_uri=uri_of(self._local),
            flow=flow.number,
            now=loop_now(),
            more=text_fields(),
            body=body,
        )
        replied = await self._reply_to(request, outputs)
        if replied.refused is not None:
            raise replied.refused
        if not 200 <= replied.status < 300:
            raise MessageFailed(
                f"the server did not take the text: {replied.status}", status=replied.status
            )

    def danger_on_text(self, sink: TextSink) -> None:
        """Take texts that come by the account's server, and deliver them to `sink`."""
        self._text_sink = sink
        self._agent.take_texts()

    # -- the registration -------------------------------------------------------------------------

    async def sign_in(self, *, instance: str, watcher: Watcher) -> None:
        """Register, and stay registered until `close`.

        Args:
            instance: `urn:uuid:` of this installation; the server tells our devices apart by it.
            watcher: Told of every change of state.

        Raises:
            ConnectFailed, RegistrationFailed: not now; it is tried again until `close`.
            LoginRefused, CertificateError: not before a person acts.
            UsageError: there is no server, or this was done before.
        """
        if self._connections.server is None or self._registering is not None:
            raise UsageError("an account with a server signs in, once")
        self._connections.wanted = True
        contact = f"{self._agent.flow_uri()};ob"
        registration = Registration(contact=contact, instance=instance, now=loop_now())
        self._registering = Registering(self, registration, watcher=watcher)
        await self._registering.first()

    @property
    def registration(self) -> RegistrationState | None:
        """Where the registration stands, None without one."""
        return self._registering.state if self._registering is not None else None

    @property
    def towards(self) -> str:
        """The host that faces us: the server's address once we are connected, before its name."""
        return self._connections.server_host

    async def reach(self) -> Flow:
        """Called by the registration."""
        return await self._connections.to_server()

    def shun(self, flow: Flow) -> bool:
        """Called by the registration."""
        return self._connections.shun(flow)

    async def register(self, flow: Flow, fields: Headers) -> Replied:
        """Called by the registration."""
        request, outputs = self._agent.register(
            domain=f"sip:{self._local.host}",
            address=uri_of(self._local),
            name=self._registration_name,
            flow=flow.number,
            now=loop_now(),
            more=fields,
        )
        return await self._reply_to(request, outputs)

    def granted(self, flow: Flow, granted: Granted) -> None:
        """Called by the registration."""
        self._agent.routes = granted.routes
        # A registrar may make GRUUs that the proxies before it cannot route; one that keeps to
        # RFC 5626 as well was made with both in mind.
        self._agent.gruu = granted.gruu if granted.outbound else ""
        self._stop_keep_alive()
        work = self._connections.keep_alive(
            flow,
            seconds=granted.flow_seconds,
            answered=granted.outbound or not isinstance(flow.connection, TlsConnection),
        )
        self._keep_alive = asyncio.get_running_loop().create_task(work)

    def _stop_keep_alive(self) -> None:
        if self._keep_alive is not None:
            _ = self._keep_alive.cancel()
            self._keep_alive = None

    def network_changed(self) -> None:
        """Addresses of ours came or went."""
        self._connections.network_changed()
        if self._registering is not None:
            self._registering.hurry()

    async def close(self) -> None:
        """End every leg, close every connection."""
        if self._closed:
            return
        self._closed = True
        await self._hang_up()
        self._connections.wanted = False
        self._stop_keep_alive()
        if self._registering is not None:
            await self._registering.end()
        if self._timer is not None:
            self._timer.cancel()
        await self._connections.close()

    async def _hang_up(self) -> None:
        legs = list(self._legs.values())
        for leg in legs:
            leg.send(Ended(EndReason.HUNG_UP))
        if legs:
            waiting = [asyncio.ensure_future(leg.closed()) for leg in legs]
            _, late = await asyncio.wait(waiting, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()

    def leg_of(self, session: Session | None) -> SipLeg | None:
        """Called by legs."""
        return self._legs.get(id(session))

    def perform(self, session: Session, signal: Signal) -> None:
        """Called by legs: signals that this causes are delivered later, never from inside."""
        if isinstance(signal, (Answered, Offered)):
            flow = self._connections.flow(session.flow or 0)
            if flow is not None:
                _require_proved(flow.connection, signal.description)
        outputs = self._agent.perform(session, signal, now=loop_now())
        self._carry_out(tuple(o for o in outputs if isinstance(o, Send)))
        rest = tuple(o for o in outputs if not isinstance(o, Send))
        if rest:
            _ = asyncio.get_running_loop().call_soon(self._carry_out, rest)

    async def _next_hop(self, route: Route) -> tuple[Flow, str]:
        if self._closed:
            raise UsageError("this account is closed")
        server = self._connections.server
        if route.direct is not None:
            flow = await self._connections.to_peer(*route.direct)
            uri = DIRECT_URI if route.target.scheme is Scheme.KEY else uri_of(route.target)
        elif server is not None:
            flow, uri = await self._connections.to_server(), uri_of(route.target, server.name)
        else:
            raise UsageError("without a server only direct calls are possible; give host and port")
        if self._closed:  # while that was being made; what is closed sends nothing
            raise UsageError("this account was closed")
        return flow, uri

    # -- what the connections say -----------------------------------------------------------------

    def receive(self, message: Request | Response, flow: Flow) -> None:
        """Called by the connections."""
        outputs = self._agent.receive(
            message,
            flow=flow.number,
            direct=flow.connection.direct,
            now=loop_now(),
            quota=flow.quota,
        )
        self._carry_out(outputs)

    def busy(self, flow: int) -> bool:
        """Called by the connections: whether a call lives on that one."""
        return any(leg.uses(flow) for leg in self._legs.values())

    def lost(self, flow: int) -> None:
        """Called by the connections."""
        self._carry_out(self._agent.lost(flow, now=loop_now()))

    def broken(self, flow: int) -> None:
        """Called by the connections."""
        log.info("the connection %d to the server broke", flow)
        self._stop_keep_alive()
        if self._registering is not None:
            self._registering.lost()

    def moved(self, old: int, new: int) -> None:
        """Called by the connections."""
        self._carry_out(self._agent.moved(old, new))

    # -- outputs and time -------------------------------------------------------------------------

    def _carry_out(self, outputs: tuple[Output, ...]) -> None:
        for output in outputs:
            if isinstance(output, Send):
                flow = self._connections.flow(output.flow)
                if flow is not None:
                    flow.send(build_message(output.message))
            elif isinstance(output, Overran):
                self._connections.flooded(output.flow)
            elif isinstance(output, Replied):
                asked = self._asked.get(id(output.request))
                if asked is not None and not asked.done():
                    asked.set_result(output)
            elif isinstance(output, Dropped):
                log.info("dropped: %s", output.why)
            elif isinstance(output, Texted):
                self._texted(output)
            else:
                self._tell(output)
        self._arm()

    def _tell(self, output: Told | Rang | Finished) -> None:
        if isinstance(output, Rang):
            self._rang(output.session)
        elif isinstance(output, Finished):
            self._finished(output.session)
        else:
            leg = self._legs.get(id(output.session))
            if leg is not None:
                leg.deliver(output.signal)

    def _texted(self, output: Texted) -> None:
        if self._text_sink is None:
            return
        try:
            self._text_sink(claimed_address(output.request.from_), output.text)
        except Exception:  # one text's handler must not end the calls
            log.exception("handling a text failed")

    def _rang(self, session: Session) -> None:
        flow = self._connections.flow(session.flow or 0)
        if flow is None:  # closed by what came before on it
            gone = Ended(EndReason.UNREACHABLE)
            self._carry_out(self._agent.perform(session, gone, now=loop_now()))
            return
        remote = claimed_address(session.invite.from_)
        leg = SipLeg(self, session, flow.connection, local=self._local, remote=remote)
        self._legs[id(session)] = leg
        ring(leg, None if self._closed else self._sink)

    def _finished(self, session: Session) -> None:
        leg = self._legs.pop(id(session), None)
        if leg is None:
            return
        leg.finish()
        self._connections.release(session.flow or 0)

    def _arm(self) -> None:
        deadline = self._agent.deadline
        if self._timer is not None:
            if self._timer.when() == deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None and not self._closed:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._due)

    def _due(self) -> None:
        self._timer = None
        self._carry_out(self._agent.expire(now=loop_now()))


def _require_proved(connection: Connection, description: Description) -> None:
    """Let no media key out on a connection whose other end proved no name; the last of its guards.

    Raises:
        SecurityError: it would be.
    """
    keys = any(line.crypto for line in description.media)
    if keys and (connection.direct or not connection.verified_name):
        raise SecurityError(
            "media keys are written to a server that proved its name, and to nobody else",
            reason=Reason.NO_ENCRYPTION,
        )
