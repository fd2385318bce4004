"""A user agent without I/O: requests and responses in, messages and signals out (RFC 3261 8).

The shell hands in every message with the number of the connection it came by (its flow), performs
the outputs, and calls `expire` at `deadline`. A message is matched only to what lives on the same
flow, so one connection can never touch a call of another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from securecall.calls.signaling import Signal
from securecall.media.description import Description
from securecall.sip import transaction
from securecall.sip.dialog import Dialog
from securecall.sip.grammar import SipError, split_tokens
from securecall.sip.headers import Headers
from securecall.sip.message import Request, Response
from securecall.sip.outcome import PHRASES
from securecall.sip.sdp import parse_description
from securecall.sip.session import Session, message_hops
from securecall.sip.transaction import ClientTransaction, ServerTransaction, State

ALLOW: Final = "INVITE, ACK, CANCEL, BYE, OPTIONS"
MOST_CALLS: Final = 256
MOST_TRANSACTIONS: Final = 4096
# known, but not done here: 405 where an unknown method gets 501
_KNOWN: Final = frozenset(
    {"REGISTER", "INFO", "MESSAGE", "NOTIFY", "PRACK", "PUBLISH", "REFER", "SUBSCRIBE", "UPDATE"}
)
_SDP: Final = "application/sdp"


@dataclass(frozen=True, slots=True)
class Send:
    """Write this to the connection of that number."""

    flow: int
    message: Request | Response


@dataclass(frozen=True, slots=True)
class Told:
    """A signal for the leg of this session."""

    session: Session
    signal: Signal


@dataclass(frozen=True, slots=True)
class Rang:
    """A new call came in."""

    session: Session


@dataclass(frozen=True, slots=True)
class Replied:
    """The final status of an OPTIONS of ours, 408 if nobody answered."""

    request: Request
    status: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing of this session is left."""

    session: Session


@dataclass(frozen=True, slots=True)
class Dropped:
    """A message nothing here waits for; counted by the shell."""

    why: str


Output = Send | Told | Rang | Replied | Finished | Dropped


@dataclass(slots=True)
class _Client:
    transaction: ClientTransaction
    flow: int
    session: Session | None


@dataclass(slots=True)
class _Server:
    transaction: ServerTransaction
    flow: int
    session: Session | None = None


class Agent:
    """Every call and transaction of one account.

    Attributes:
        deadline: When `expire` is due, None for never.
    """

    def __init__(self, *, random_token: Callable[[], str]) -> None:
        """Draw branches, tags, Call-IDs and CSeq numbers from `random_token`.

        Args:
            random_token: Returns at least 16 unguessable hexadecimal digits.
        """
        self._random_token = random_token
        self._clients: dict[tuple[str, str], _Client] = {}
        self._servers: dict[tuple[int, str, str, str], _Server] = {}
        self._sessions: list[Session] = []
        self._out: list[Output] = []

    @property
    def deadline(self) -> float | None:
        """The earliest of all deadlines."""
        due = [c.transaction.deadline for c in self._clients.values()]
        due += [s.transaction.deadline for s in self._servers.values()]
        due += [s.deadline for s in self._sessions]
        return min((d for d in due if d is not None), default=None)

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
    ) -> tuple[Session, tuple[Output, ...]]:
        """Call somebody.

        Args:
            target: Request-URI and To.
            from_uri: Ours.
            offer: The first offer.
            flow: The connection to use.
            direct: The call lives and dies with that connection.
            now: Monotonic seconds.

        Raises:
            SipError: the offer or an address cannot be written.
        """
        request = self._fresh_request("INVITE", target, from_uri)
        number = self._number()
        session = Session(self, request, flow=flow, direct=direct, session_id=number, now=now)
        headers = request.headers
        headers.add("Contact", session.contact)
        headers.add("Allow", ALLOW)
        headers.add("Accept", _SDP)
        headers.add("Content-Type", _SDP)
        request.body = session.body(offer)
        self._sessions.append(session)
        session.invited(self.start(session, request, now))
        return session, self._drain()

    def options(
        self, *, target: str, from_uri: str, flow: int, now: float
    ) -> tuple[Request, tuple[Output, ...]]:
        """Ask whether somebody is there; `Replied` with the same request follows."""
        request = self._fresh_request("OPTIONS", target, from_uri)
        request.headers.add("Accept", _SDP)
        self._begin(request, flow, None, now)
        return request, self._drain()

    def perform(self, session: Session, signal: Signal, *, now: float) -> tuple[Output, ...]:
        """Do what the call model asks of a session."""
        session.perform(signal, now=now)
        return self._drain()

    # -- what comes in ----------------------------------------------------------------------------

    def receive(
        self, message: Request | Response, *, flow: int, direct: bool, now: float
    ) -> tuple[Output, ...]:
        """Take one message; invalid requests are answered, invalid responses dropped."""
        try:
            if isinstance(message, Request):
                self._receive_request(message, flow=flow, direct=direct, now=now)
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
        for client in tuple(self._clients.values()):
            for output in client.transaction.expire(now=now):
                if isinstance(output, transaction.TimedOut):
                    self._unanswered(client, now)
        for server in tuple(self._servers.values()):
            for output in server.transaction.expire(now=now):
                if isinstance(output, transaction.TimedOut) and server.session is not None:
                    server.session.unacknowledged(server.transaction)
        for session in tuple(self._sessions):
            session.expire(now=now)
        return self._drain()

    def lost(self, flow: int, *, now: float) -> tuple[Output, ...]:
        """A connection is gone for good: what lived on it ends."""
        for client in tuple(self._clients.values()):
            if client.flow == flow:
                client.transaction.terminate()
                if client.session is None:
                    self._out.append(Replied(client.transaction.request, 503))
        for server in self._servers.values():
            if server.flow == flow:
                server.transaction.terminate()
        for session in tuple(self._sessions):
            if session.flow == flow:
                session.lost()
        return self._drain()

    def moved(self, old: int, new: int) -> None:
        """A connection to the same verified server took the place of a broken one."""
        for client in self._clients.values():
            client.flow = new if client.flow == old else client.flow
        for session in self._sessions:
            session.flow = new if session.flow == old else session.flow
        for server in self._servers.values():
            server.flow = new if server.flow == old else server.flow
        self._servers = {(s.flow, *key[1:]): s for key, s in self._servers.items()}

    # -- the desk of the sessions -----------------------------------------------------------------

    def token(self) -> str:
        """A fresh unguessable token."""
        return self._random_token()

    def via(self) -> str:
        """A Via with a fresh branch; it names no machine (compare RFC 7118 5)."""
        return f"SIP/2.0/TLS {self.token()}.invalid;branch=z9hG4bK{self.token()}"

    def start(self, session: Session, request: Request, now: float) -> ClientTransaction:
        """Send a request; its responses go to the session."""
        return self._begin(request, session.flow, session, now)

    def respond(self, server: ServerTransaction, response: Response, now: float) -> None:
        """Answer a request on the connection it came by."""
        for output in server.respond(response, now=now):
            if isinstance(output, transaction.Transmit):
                held = self._servers.get(self._key_of(server))
                if held is not None:
                    self._out.append(Send(held.flow, output.message))

    def send(self, session: Session, message: Request) -> None:
        """Send an ACK."""
        if session.flow is not None:
            self._out.append(Send(session.flow, message))

    def signal(self, session: Session, signal: Signal) -> None:
        """Tell the call model."""
        self._out.append(Told(session, signal))

    def reply(
        self, request: Request, status: int, *, tag: str = "", more: Headers | None = None
    ) -> Response:
        """Write a response (RFC 3261 8.2.6); works for requests that are not valid, too."""
        theirs = request.headers
        headers = Headers()
        for via in theirs.all("via"):
            headers.add("Via", via)
        for name in ("from", "to", "call-id", "cseq"):
            value = theirs.first(name)
            if value is None:
                continue
            if name == "to" and status > 100 and ";tag" not in value.replace(" ", "").lower():
                value = f"{value};tag={tag or self.token()}"
            headers.add(name, value)
        if request.method == "INVITE" and 100 < status < 300:
            for route in theirs.all("record-route"):
                headers.add("Record-Route", route)
        if status in (200, 405):
            headers.add("Allow", ALLOW)
        if status in (406, 415):
            headers.add("Accept", _SDP)
        for name, value in more.items() if more is not None else ():
            headers.add(name, value)
        return Response(status, PHRASES.get(status, "Refused"), headers)

    # -- responses --------------------------------------------------------------------------------

    def _receive_response(self, response: Response, *, flow: int, now: float) -> None:
        client = self._clients.get((response.via.branch, response.cseq.method))
        if client is None or client.flow != flow or len(response.vias) > 1:
            raise SipError("a response to nothing we asked", rule="RFC 3261 18.1.2")
        for output in client.transaction.receive(response, now=now):
            if isinstance(output, transaction.Transmit):
                self._out.append(Send(flow, output.message))
            elif isinstance(output, transaction.Deliver):
                if client.session is not None:
                    client.session.receive_response(client.transaction, response, now=now)
                elif response.status >= 200:
                    self._out.append(Replied(client.transaction.request, response.status))
            elif isinstance(output, transaction.Discard):
                self._out.append(Dropped(output.why))

    def _unanswered(self, client: _Client, now: float) -> None:
        if client.session is not None:
            client.session.receive_response(client.transaction, None, now=now)
        else:
            self._out.append(Replied(client.transaction.request, 408))

    # -- requests ---------------------------------------------------------------------------------

    def _receive_request(self, request: Request, *, flow: int, direct: bool, now: float) -> None:
        request.require_valid()
        key = _key(request, flow)
        known = self._servers.get(key)
        if known is not None and request.method != "CANCEL":
            for output in known.transaction.receive(request, now=now):
                if isinstance(output, transaction.Transmit):
                    self._out.append(Send(flow, output.message))
            if request.method != "ACK" or known.transaction.state is not State.ACCEPTED:
                return
        if request.method == "ACK":
            self._receive_ack(request, flow=flow, now=now)
            return
        if len(self._servers) >= MOST_TRANSACTIONS:
            raise SipError("too many requests at once", status=503)
        server = _Server(ServerTransaction(request), flow)
        self._servers[(*key[:3], request.method)] = server
        try:
            self._dispatch(request, server, direct=direct, now=now)
        except SipError as e:
            if not server.transaction.answered:
                more = self._unsupported(request) if e.status == 420 else None
                self._answer(server, e.status, now, more=more)
            self._out.append(Dropped(str(e)))

    def _dispatch(self, request: Request, server: _Server, *, direct: bool, now: float) -> None:
        method = request.method
        if method == "CANCEL":
            self._receive_cancel(request, server, now=now)
            return
        if method not in ("INVITE", "BYE", "OPTIONS") and method not in _KNOWN:
            raise SipError(f"{method[:20]} is not implemented", status=501)
        if request.uri.scheme not in ("sip", "sips"):
            raise SipError("only sip addresses are served here", status=416)
        if self._required(request):
            raise SipError("a required extension is not supported", status=420)
        if request.to.tag:
            self._within(request, server, now=now)
        elif method == "INVITE":
            self._ring(request, server, direct=direct, now=now)
        elif method == "OPTIONS":
            self._require_accept(request)
            more = Headers((("Accept", _SDP),))
            self._answer(server, 200, now, more=more)
        elif method == "BYE":
            raise SipError("no such call", rule="RFC 3261 15.1.2", status=481)
        elif method == "REFER":
            raise SipError("transfers are never followed", status=603)
        else:
            raise SipError(f"{method} is not allowed", status=405)

    def _within(self, request: Request, server: _Server, *, now: float) -> None:
        session = self._session_of(request, server.flow)
        if session is None or session.dialog is None or session.idle:
            raise SipError("no such call", rule="RFC 3261 12.2.2", status=481)
        server.session = session
        session.dialog.require_order(request)
        if request.method == "OPTIONS":
            self._answer(server, 200, now)
        elif request.method in ("BYE", "REFER"):
            session.receive_request(server.transaction, now=now)
        elif request.method == "INVITE":
            if request.body:
                self._require_sdp(request)
            session.receive_request(server.transaction, now=now)
        else:
            raise SipError(f"{request.method} is not allowed", status=405)

    def _ring(self, request: Request, server: _Server, *, direct: bool, now: float) -> None:
        self._require_accept(request)
        if request.headers.first("replaces") or request.headers.first("join"):
            raise SipError("a call never takes another's place", status=603)
        if self._merged(request):
            raise SipError("the same call came by another way", status=482)
        if len(self._sessions) >= MOST_CALLS:
            raise SipError("too many calls", status=503)
        if request.body:
            self._require_sdp(request)
        offer = parse_description(request.body) if request.body else None
        session = Session(
            self,
            request,
            flow=server.flow,
            direct=direct,
            server=server.transaction,
            offer=offer,
            session_id=self._number(),
            now=now,
        )
        session.dialog = Dialog.of_callee(request, tag=session.local_tag)
        session.hops = message_hops(request)
        server.session = session
        self._sessions.append(session)
        self._answer(server, 100, now)
        self._out.append(Rang(session))

    def _receive_cancel(self, request: Request, server: _Server, *, now: float) -> None:
        key = _key(request, server.flow)
        target = self._servers.get((*key[:3], "INVITE"))
        if target is None:
            raise SipError("nothing to cancel", rule="RFC 3261 9.2", status=481)
        session = target.session
        self._answer(server, 200, now, tag=session.local_tag if session is not None else "")
        if session is None or target.transaction.answered:
            return
        if target.transaction.request is session.invite:
            session.receive_cancel(now=now)
        else:
            session.cancel_reinvite(target.transaction, now=now)

    def _receive_ack(self, request: Request, *, flow: int, now: float) -> None:
        session = self._session_of(request, flow)
        if session is None:
            raise SipError("an ACK of nothing", rule="RFC 3261 17")
        session.receive_ack(request, now=now)

    def _session_of(self, request: Request, flow: int) -> Session | None:
        local, remote = request.to.tag, request.from_.tag
        for session in self._sessions:
            dialog = session.dialog
            if (
                dialog is not None
                and dialog.local_tag == local
                and dialog.remote_tag == remote
                and dialog.call_id == request.call_id
                and (session.flow == flow or not session.direct)
            ):
                return session
        return None

    def _merged(self, request: Request) -> bool:
        return any(
            not session.outgoing
            and session.invite.call_id == request.call_id
            and session.invite.from_.tag == request.from_.tag
            and session.invite.cseq == request.cseq
            for session in self._sessions
        )

    def _require_sdp(self, request: Request) -> None:
        kind = (request.headers.first("content-type") or "").partition(";")[0].strip().lower()
        encoding = (request.headers.first("content-encoding") or "identity").strip().lower()
        if kind != _SDP or encoding != "identity":
            raise SipError("only plain application/sdp is understood", status=415)

    def _require_accept(self, request: Request) -> None:
        accepted = request.headers.all("accept")
        if not accepted:
            return
        kinds = {part.partition(";")[0].strip().lower() for a in accepted for part in a.split(",")}
        if not kinds & {_SDP, "application/*", "*/*"}:
            raise SipError("only application/sdp could be answered", status=406)

    def _required(self, request: Request) -> list[str]:
        # Proxy-Require is for proxies; we are none, and refuse what we cannot judge
        fields = request.headers.all("require") + request.headers.all("proxy-require")
        return [token for text in fields for token in split_tokens(text, "Require")]

    def _unsupported(self, request: Request) -> Headers:
        return Headers((("Unsupported", ", ".join(self._required(request))),))

    # -- helpers of all the above -----------------------------------------------------------------

    def _answer(
        self,
        server: _Server,
        status: int,
        now: float,
        *,
        tag: str = "",
        more: Headers | None = None,
    ) -> None:
        request = server.transaction.request
        self.respond(server.transaction, self.reply(request, status, tag=tag, more=more), now)

    def _begin(
        self, request: Request, flow: int | None, session: Session | None, now: float
    ) -> ClientTransaction:
        client = ClientTransaction(request, now=now)
        if flow is not None:
            self._clients[(request.via.branch, request.method)] = _Client(client, flow, session)
            self._out.append(Send(flow, request))
        return client

    def _fresh_request(self, method: str, target: str, from_uri: str) -> Request:
        return Request(
            method,
            target,
            Headers(
                (
                    ("Via", self.via()),
                    ("Max-Forwards", "70"),
                    ("From", f"<{from_uri}>;tag={self.token()}"),
                    ("To", f"<{target}>"),
                    ("Call-ID", self.token() + self.token()),
                    ("CSeq", f"{self._number() % 2**16 + 1} {method}"),
                )
            ),
        )

    def _number(self) -> int:
        return int(self.token()[:8], 16)

    def _key_of(self, server: ServerTransaction) -> tuple[int, str, str, str]:
        for key, held in self._servers.items():
            if held.transaction is server:
                return key
        return (-1, "", "", "")

    def _drain(self) -> tuple[Output, ...]:
        for name in [k for k, c in self._clients.items() if _gone(c.transaction)]:
            del self._clients[name]
        for key in [k for k, s in self._servers.items() if _gone(s.transaction)]:
            del self._servers[key]
        busy = {id(c.session) for c in self._clients.values() if _waits(c.transaction)}
        busy |= {id(s.session) for s in self._servers.values() if _waits(s.transaction)}
        for session in [s for s in self._sessions if s.idle and id(s) not in busy]:
            self._sessions.remove(session)
            self._out.append(Finished(session))
        out, self._out = tuple(self._out), []
        return out


def _waits(held: ClientTransaction | ServerTransaction) -> bool:
    """Whether something is still to come; what only absorbs repetitions keeps nobody waiting."""
    if held.state in (State.CALLING, State.TRYING, State.PROCEEDING):
        return True
    invited = isinstance(held, ServerTransaction) and held.request.method == "INVITE"
    return invited and held.state is State.COMPLETED


def _gone(held: ClientTransaction | ServerTransaction) -> bool:
    return held.state is State.TERMINATED


def _key(request: Request, flow: int) -> tuple[int, str, str, str]:
    """What names a request's server transaction (RFC 3261 17.2.3)."""
    via = request.via
    method = "INVITE" if request.method == "ACK" else request.method
    branch = via.branch
    if not branch.startswith("z9hG4bK"):
        # an RFC 2543 sender
        branch = f"{request.call_id} {request.from_.tag} {request.cseq.number}"
    return (flow, branch, via.sent_by, method)
