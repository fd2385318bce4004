"""A user agent without I/O: requests and responses in, messages and signals out (RFC 3261 8).

The shell hands in every message with the number of the connection it came by (its flow), performs
the outputs, and calls `expire` at `deadline`. A message is matched only to what lives on the same
flow, so one connection can never touch a call of another.
"""

from __future__ import annotations

from collections.abc import Callable

from securecall.calls.signaling import Signal
from securecall.errors import LoginRefused
from securecall.media.description import Description
from securecall.sip import transaction
from securecall.sip.body import SDP
from securecall.sip.capabilities import ACCEPT, ALLOW, SESSION_FIELDS
from securecall.sip.dialog import CallName, repeat_request
from securecall.sip.digest import Authenticator
from securecall.sip.grammar import SipError
from securecall.sip.headers import Headers
from securecall.sip.ledger import Client, Ledger
from securecall.sip.limits import STRANGER, Quota
from securecall.sip.message import Request, Response
from securecall.sip.outcome import PHRASES
from securecall.sip.output import Dropped, Finished, Output, Replied, Send, Told
from securecall.sip.reply import build_response
from securecall.sip.session import Session
from securecall.sip.transaction import ClientTransaction, ServerTransaction, State
from securecall.sip.uas import UserAgentServer


class Agent:
    """Every call and transaction of one account.

    Attributes:
        deadline: When `expire` is due, None for never.
        transport: How Via names the way to the account's server: "TLS" or "WSS".
        routes: Route values for what we begin through the server (RFC 3608).
        gruu: Our address that outlives a connection, "" where the server made none (RFC 5627).
    """

    def __init__(
        self,
        *,
        random_token: Callable[[], str],
        authenticator: Authenticator | None = None,
        transport: str = "TLS",
    ) -> None:
        """Draw branches, tags, Call-IDs and CSeq numbers from `random_token`.

        Args:
            random_token: Returns at least 16 unguessable hexadecimal digits.
            authenticator: Answers the challenges of the account's server.
            transport: See the attribute.
        """
        self.transport = transport
        self.routes: tuple[str, ...] = ()
        self.gruu = ""
        self._random_token = random_token
        self._authenticator = authenticator
        self._out: list[Output] = []
        self._ledger = Ledger()
        self._uas = UserAgentServer(self, self._ledger, self._out)

    def take_texts(self) -> None:
        """Take text messages that come by the account's server, and say so."""
        self._uas.takes_texts = True

    @property
    def deadline(self) -> float | None:
        """The earliest of all deadlines."""
        return self._ledger.deadline

    # -- what we begin ----------------------------------------------------------------------------

    def invite(
        self,
        *,
        target: str,
        from_uri: str,
        offer: Description,
        flow: int,
        direct: bool,
        now: float,
        identity: str = "",
        replaces: str = "",
    ) -> tuple[Session, tuple[Output, ...]]:
        """Call somebody.

        Args:
            target: Request-URI and To.
            from_uri: Ours.
            offer: The first offer.
            flow: The connection to use.
            direct: The call lives and dies with that connection.
            now: Monotonic seconds.
            identity: Value of Identity, "" for none.
            replaces: Value of Replaces, "" for none.

        Raises:
            SipError: the offer or an address cannot be written.
        """
        request = self._fresh_request("INVITE", target, from_uri, routed=not direct)
        number = self._number()
        session = Session(self, request, flow=flow, direct=direct, session_id=number, now=now)
        headers = request.headers
        headers.add("Contact", session.contact)
        headers.add("Allow", self._allow)
        for name, value in (*SESSION_FIELDS, *session.timer.first_fields()):
            headers.add(name, value)
        if identity:
            headers.add("Identity", identity)
        if replaces:
            headers.add("Replaces", replaces)
            headers.add("Require", "replaces")
        headers.add("Content-Type", SDP)
        request.body = session.body(offer)
        self._ledger.add_session(session)
        session.invited(self.start(session, request, now))
        return session, self._drain()

    def ask(
        self,
        method: str,
        *,
        target: str,
        from_uri: str,
        flow: int,
        now: float,
        more: Headers,
        body: bytes = b"",
        routed: bool = True,
    ) -> tuple[Request, tuple[Output, ...]]:
        """Send a request outside of calls; `Replied` with the same request follows.

        Args:
            method: OPTIONS, MESSAGE.
            target: Request-URI and To.
            from_uri: Ours.
            flow: The connection to use.
            now: Monotonic seconds.
            more: Further fields.
            body: What it carries.
            routed: By the way the account's server named.
        """
        request = self._fresh_request(method, target, from_uri, routed=routed)
        for field, value in more.items():
            request.headers.add(field, value)
        request.body = body
        self._begin(request, flow, None, now)
        return request, self._drain()

    def register(
        self, *, domain: str, address: str, name: CallName, flow: int, now: float, more: Headers
    ) -> tuple[Request, tuple[Output, ...]]:
        """Tell the account's registrar where we are; `Replied` with the same request follows.

        Args:
            domain: The registrar's, the Request-URI.
            address: Ours, From and To.
            name: Of this registration; every REGISTER of it counts on.
            flow: The connection to be reached by.
            now: Monotonic seconds.
            more: Contact and what else belongs to it.
        """
        request = self._fresh_request("REGISTER", domain, address, routed=False, name=name)
        request.headers.replace("To", f"<{address}>")
        for field, value in more.items():
            request.headers.add(field, value)
        if self._authenticator is not None:
            for field, value in self._authenticator.volunteer(request, cnonce=self.token()):
                request.headers.add(field, value)
        self._begin(request, flow, None, now, name=name)
        return request, self._drain()

    def perform(self, session: Session, signal: Signal, *, now: float) -> tuple[Output, ...]:
        """Do what the call model asks of a session."""
        self._ledger.touch(session)
        session.perform(signal, now=now)
        return self._drain()

    # -- what comes in ----------------------------------------------------------------------------

    def receive(
        self,
        message: Request | Response,
        *,
        flow: int,
        direct: bool,
        now: float,
        quota: Quota = STRANGER,
    ) -> tuple[Output, ...]:
        """Take one message; invalid requests are answered, invalid responses dropped.

        Args:
            message: What came.
            flow: The connection it came by.
            direct: Calls that come by it live and die with it.
            now: Monotonic seconds.
            quota: What the peer may hold open there.
        """
        try:
            if isinstance(message, Request):
                if self._uas.full(flow, quota):
                    self._expire(now)  # what is over, but waits for its timer, does not count
                self._uas.receive(message, flow=flow, direct=direct, now=now, quota=quota)
            else:
                message.require_valid()
                self._receive_response(message, flow=flow, now=now)
        except SipError as e:
            if isinstance(message, Request) and message.method != "ACK":
                self._out.append(Send(flow, self.reply(message, e.status)))
            self._out.append(Dropped(str(e)))
        return self._drain()

    def expire(self, *, now: float) -> tuple[Output, ...]:
        """Perform everything due by now."""
        self._expire(now)
        return self._drain()

    def lost(self, flow: int, *, now: float) -> tuple[Output, ...]:
        """A connection is gone for good: what lived on it ends."""
        for item in self._ledger.pop_flow(flow):
            if isinstance(item, Session):
                item.lost()
                continue
            item.transaction.terminate()
            if isinstance(item, Client) and item.session is None:
                self._out.append(Replied(item.asked, None))
        return self._drain()

    def moved(self, old: int, new: int) -> tuple[Output, ...]:
        """A connection to the same verified server took the place of a broken one.

        Requests that nobody took notice of yet are sent again, by the same name, so that a server
        that did take them knows them.
        """
        for client in self._ledger.move(old, new):
            if client.transaction.state in (State.CALLING, State.TRYING):
                self._out.append(Send(new, client.transaction.request))
        return self._drain()

    # -- the desk of the sessions -----------------------------------------------------------------

    def token(self) -> str:
        """A fresh unguessable token."""
        return self._random_token()

    def via(self) -> str:
        """A Via with a fresh branch; it names no machine (compare RFC 7118 5)."""
        return f"SIP/2.0/{self.transport} {self.token()}.invalid;branch=z9hG4bK{self.token()}"

    def contact(self, *, direct: bool) -> str:
        """A Contact: what our registrar lets all reach us by, or one that names no machine."""
        return f"<{self.gruu}>" if self.gruu and not direct else f"<{self.flow_uri()}>"

    def flow_uri(self) -> str:
        """A fresh URI of ours that names no machine.

        It is found only by the connection it came by (RFC 5626 5). The transport of a WebSocket
        is "ws" there, secure or not (RFC 7118 5).
        """
        transport = "ws" if self.transport == "WSS" else "tls"
        return f"sip:{self.token()}@{self.token()}.invalid;transport={transport}"

    def start(self, session: Session, request: Request, now: float) -> ClientTransaction:
        """Send a request; its responses go to the session."""
        return self._begin(request, session.flow, session, now)

    def respond(self, server: ServerTransaction, response: Response, now: float) -> None:
        """Answer a request on the connection it came by."""
        for output in server.respond(response, now=now):
            if isinstance(output, transaction.Transmit):
                held = self._ledger.server_of(server)
                if held is not None:
                    self._out.append(Send(held.flow, output.message))

    def send(self, session: Session, message: Request) -> None:
        """Send an ACK, with the credentials of its INVITE (RFC 3261 22.1)."""
        for name in ("Authorization", "Proxy-Authorization"):
            for value in session.invite.headers.all(name.lower()):
                message.headers.add(name, value)
        if session.flow is not None:
            self._out.append(Send(session.flow, message))

    def signal(self, session: Session, signal: Signal) -> None:
        """Tell the call model."""
        self._out.append(Told(session, signal))

    def reply(
        self, request: Request, status: int, *, tag: str = "", more: Headers | None = None
    ) -> Response:
        """Write a response (RFC 3261 8.2.6); works for requests that are not valid, too."""
        fields: list[tuple[str, str]] = []
        if request.method == "INVITE" and 100 < status < 300:
            fields += [("Record-Route", route) for route in request.headers.all("record-route")]
        if status in (200, 405):
            fields.append(("Allow", self._allow))
        if status in (406, 415) and (more is None or "accept" not in more):
            fields.append(("Accept", ACCEPT))
        fields += more.items() if more is not None else ()
        reason = PHRASES.get(status, "Refused")
        return build_response(request, status, reason, tag=tag or self.token(), more=fields)

    # -- responses --------------------------------------------------------------------------------

    def _receive_response(self, response: Response, *, flow: int, now: float) -> None:
        client = self._ledger.client(response.via.branch, response.cseq.method)
        if client is None or client.flow != flow or len(response.vias) > 1:
            raise SipError("a response to nothing we asked", rule="RFC 3261 18.1.2")
        self._ledger.touch(client)
        for output in client.transaction.receive(response, now=now):
            if isinstance(output, transaction.Transmit):
                self._out.append(Send(flow, output.message))
            elif isinstance(output, transaction.Deliver):
                self._deliver(client, response, now=now)
            elif isinstance(output, transaction.Discard):
                self._out.append(Dropped(output.why))

    def _deliver(self, client: Client, response: Response, *, now: float) -> None:
        refused = None
        try:
            if self._proved(client, response, now=now):
                return
        except LoginRefused as e:
            refused = e
        if client.session is not None:
            client.session.receive_response(client.transaction, response, now=now)
        elif response.status >= 200:
            self._out.append(Replied(client.asked, response, refused))

    def _proved(self, client: Client, response: Response, *, now: float) -> bool:
        """Send a challenged request again with our credentials; whether that was done.

        Raises:
            LoginRefused: the password is wrong, or asked for in a way we refuse.
        """
        session, before = client.session, client.transaction
        # Whoever called us could answer our BYE in the name of our server's realm, and servers
        # seldom ask within calls: there the caller's challenge would be the first one.
        strange = session is not None and (session.direct or not session.outgoing)
        if self._authenticator is None or strange or response.status not in (401, 407):
            return False
        answer = self._authenticator.answer(
            before.request, response, answered=client.answered, cnonce=self.token()
        )
        if answer is None:
            return False
        request: Request | None
        if session is not None:
            request = session.repeat(before, (answer,))
        else:
            number = client.name.next_cseq() if client.name is not None else 0
            request = repeat_request(
                before.request, via=self.via(), number=number, fields=(answer,)
            )
        if request is None:
            return False
        fresh = self._begin(
            request,
            client.flow,
            session,
            now,
            name=client.name,
            asked=client.asked,
            answered=client.answered + 1,
        )
        if session is not None:
            session.restarted(before, fresh)
        return True

    def _unanswered(self, client: Client, now: float) -> None:
        if client.session is not None:
            client.session.receive_response(client.transaction, None, now=now)
        else:
            self._out.append(Replied(client.asked, None))

    # -- helpers of all the above -----------------------------------------------------------------

    def _begin(
        self,
        request: Request,
        flow: int | None,
        session: Session | None,
        now: float,
        *,
        name: CallName | None = None,
        asked: Request | None = None,
        answered: int = 0,
    ) -> ClientTransaction:
        client = ClientTransaction(request, now=now)
        if flow is not None:
            held = Client(client, flow, session, asked or request, name, answered)
            self._ledger.add_client(held)
            self._out.append(Send(flow, request))
        return client

    def _fresh_request(
        self,
        method: str,
        target: str,
        from_uri: str,
        *,
        routed: bool,
        name: CallName | None = None,
    ) -> Request:
        name = name or self.name()
        headers = Headers((("Via", self.via()), ("Max-Forwards", "70")))
        for route in self.routes if routed else ():
            headers.add("Route", route)
        headers.add("From", f"<{from_uri}>;tag={name.tag}")
        headers.add("To", f"<{target}>")
        headers.add("Call-ID", name.call_id)
        headers.add("CSeq", f"{name.next_cseq()} {method}")
        return Request(method, target, headers)

    def name(self) -> CallName:
        """A fresh name for something that takes more than one request."""
        return CallName(
            tag=self.token(),
            call_id=self.token() + self.token(),
            cseq=self._number() % 2**16,
        )

    @property
    def _allow(self) -> str:
        return f"{ALLOW}, MESSAGE" if self._uas.takes_texts else ALLOW

    def _number(self) -> int:
        return int(self.token()[:8], 16)

    def _expire(self, now: float) -> None:
        due = self._ledger.pop_due(now)
        for item in due:  # first the transactions: what they come to may end a session
            if isinstance(item, Session):
                continue
            for output in item.transaction.expire(now=now):
                if not isinstance(output, transaction.TimedOut):
                    continue
                if isinstance(item, Client):
                    self._unanswered(item, now)
                elif item.session is not None:
                    item.session.unacknowledged(item.transaction)
        for item in due:
            if isinstance(item, Session):
                item.expire(now=now)
        self._settle()

    def _settle(self) -> None:
        self._out.extend(Finished(session) for session in self._ledger.settle())

    def _drain(self) -> tuple[Output, ...]:
        self._settle()
        out = tuple(self._out)
        self._out.clear()
        return out
