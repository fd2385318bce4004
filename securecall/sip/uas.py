"""The server half of a user agent: every request that comes in (RFC 3261 8.2, 9.2, 12.2.2)."""

from __future__ import annotations

from typing import Final

from securecall.sip import transaction
from securecall.sip.body import SDP, read_description
from securecall.sip.capabilities import SESSION_FIELDS, require_supported
from securecall.sip.desk import Desk
from securecall.sip.grammar import SipError
from securecall.sip.headers import Headers
from securecall.sip.host import SessionState
from securecall.sip.ledger import Ledger, Server, ServerKey
from securecall.sip.limits import MOST_CALLS, MOST_TRANSACTIONS, SERVER, Quota
from securecall.sip.message import Request
from securecall.sip.output import Dropped, Output, Overran, Rang, Send, Texted
from securecall.sip.refer import parse_replaces
from securecall.sip.session import Session
from securecall.sip.text import read_text
from securecall.sip.transaction import ServerTransaction, State

# known, but not done here: 405 where an unknown method gets 501
_KNOWN: Final = frozenset(
    {"REGISTER", "INFO", "MESSAGE", "NOTIFY", "PRACK", "PUBLISH", "REFER", "SUBSCRIBE", "UPDATE"}
)
# requests that belong to a call and to nothing else
_WITHIN: Final = frozenset({"BYE", "INFO", "PRACK", "UPDATE"})


class UserAgentServer:
    """Answers requests, begins calls, and hands a call what belongs to it.

    Attributes:
        takes_texts: Text messages that come by the account's server are taken.
    """

    def __init__(self, desk: Desk, ledger: Ledger, out: list[Output]) -> None:
        """Write responses at the agent's desk, and everything else to `out`.

        Args:
            desk: The agent.
            ledger: What is open.
            out: Where outputs gather.
        """
        self.takes_texts = False
        self._desk = desk
        self._ledger = ledger
        self._out = out

    def full(self, flow: int, quota: Quota) -> bool:
        """Whether no request more has room, on this connection or in all."""
        ledger = self._ledger
        return (
            ledger.requests_of(flow) >= quota.transactions or ledger.requests >= MOST_TRANSACTIONS
        )

    def receive(
        self, request: Request, *, flow: int, direct: bool, now: float, quota: Quota
    ) -> None:
        """Take one request.

        Raises:
            SipError: it is invalid, nothing waits for it, or there is no room for it.
        """
        request.require_valid()
        key = _key(request, flow)
        known = self._ledger.server(key)
        if known is not None and request.method != "CANCEL":
            self._ledger.touch(known)
            for output in known.transaction.receive(request, now=now):
                if isinstance(output, transaction.Transmit):
                    self._out.append(Send(flow, output.message))
            if request.method != "ACK" or known.transaction.state is not State.ACCEPTED:
                return
        if request.method == "ACK":
            self._receive_ack(request, flow=flow, now=now)
            return
        if self._ledger.requests_of(flow) >= quota.transactions:
            self._out.append(Send(flow, self._desk.reply(request, 503)))
            self._out.append(Overran(flow))
            return
        if self._ledger.requests >= MOST_TRANSACTIONS:
            raise SipError("too many requests at once", status=503)
        server = Server(ServerTransaction(request), (*key[:3], request.method))
        self._ledger.add_server(server)
        try:
            self._dispatch(request, server, direct=direct, now=now, quota=quota)
        except SipError as e:
            if not server.transaction.answered:
                self._answer(server, e.status, now, more=Headers(e.fields))
                request.body = b""  # it may wait for its ACK, and nobody reads it any more
            self._out.append(Dropped(str(e)))

    def _dispatch(
        self, request: Request, server: Server, *, direct: bool, now: float, quota: Quota
    ) -> None:
        method = request.method
        if method == "CANCEL":
            self._receive_cancel(request, server, now=now)
            return
        if method not in ("INVITE", "BYE", "OPTIONS") and method not in _KNOWN:
            raise SipError(f"{method[:20]} is not implemented", status=501)
        if request.uri.scheme not in ("sip", "sips"):
            raise SipError("only sip addresses are served here", status=416)
        require_supported(request)
        if request.to.tag:
            self._within(request, server, now=now)
        elif method == "INVITE":
            self._ring(request, server, direct=direct, now=now, quota=quota)
        elif method == "OPTIONS":
            _require_accept(request)
            self._answer(server, 200, now, more=Headers(SESSION_FIELDS))
        elif method in _WITHIN:
            raise SipError("no such call", rule="RFC 3261 12.2.2", status=481)
        elif method == "REFER":
            raise SipError("nobody outside of a call transfers it", status=603)
        elif method == "MESSAGE" and self.takes_texts and quota is SERVER:
            text = read_text(request)
            self._answer(server, 200, now)
            self._out.append(Texted(request, text))
        else:
            raise SipError(f"{method} is not allowed", status=405)

    def _within(self, request: Request, server: Server, *, now: float) -> None:
        session = self._ledger.session_of(request, server.flow)
        dialog = session.dialog_of(request.from_.tag) if session is not None else None
        if session is None or dialog is None or not session.takes(request.method):
            raise SipError("no such call", rule="RFC 3261 12.2.2", status=481)
        self._ledger.join(server, session)
        dialog.require_order(request)
        if request.method == "OPTIONS":
            self._answer(server, 200, now, more=Headers(SESSION_FIELDS))
        elif request.method in ("INVITE", "REFER", "NOTIFY") or request.method in _WITHIN:
            session.receive_request(server.transaction, now=now)
        else:
            raise SipError(f"{request.method} is not allowed", status=405)

    def _ring(
        self, request: Request, server: Server, *, direct: bool, now: float, quota: Quota
    ) -> None:
        _require_accept(request)
        replaced = self._replaced(request, server.flow)
        if self._ledger.merged(request):
            raise SipError("the same call came by another way", status=482)
        if self._ledger.calls >= MOST_CALLS:
            raise SipError("too many calls", status=503)
        if self._ledger.unanswered_of(server.flow) >= quota.unanswered:
            raise SipError("too many calls of one connection ring", status=486)
        offer = read_description(request)
        session = Session(
            self._desk,
            request,
            flow=server.flow,
            direct=direct,
            server=server.transaction,
            offer=offer,
            session_id=int(self._desk.token()[:8], 16),
            now=now,
        )
        session.replaced = replaced
        self._ledger.add_session(session)
        self._ledger.join(server, session)
        self._answer(server, 100, now)
        self._out.append(Rang(session))

    def _replaced(self, request: Request, flow: int) -> Session | None:
        """The call whose place an INVITE asks to take; it rings like any other (RFC 3891 3).

        Who does not know its three names, one of which we drew, learns nothing of any call.

        Raises:
            SipError: there is no such call, or it is not one that a person could give up.
        """
        fields = request.headers.all("replaces")
        if request.headers.first("join") or len(fields) > 1:
            raise SipError("nobody joins a call", rule="RFC 3911 4", status=481)
        if not fields:
            return None
        asked = parse_replaces(fields[0])
        names = (asked.call_id, asked.to_tag, asked.from_tag)
        session = self._ledger.session_named(*names, flow=flow)
        if session is None or session.state is not SessionState.CONFIRMED:
            raise SipError("no such call to replace", rule="RFC 3891 3", status=481)
        if asked.early_only:
            raise SipError("the call to replace is answered", rule="RFC 3891 3", status=486)
        return session

    def _receive_cancel(self, request: Request, server: Server, *, now: float) -> None:
        key = _key(request, server.flow)
        target = self._ledger.server((*key[:3], "INVITE"))
        if target is None:
            raise SipError("nothing to cancel", rule="RFC 3261 9.2", status=481)
        self._ledger.touch(target)
        session = target.session
        self._answer(server, 200, now, tag=session.local_tag if session is not None else "")
        if session is None or target.transaction.answered:
            return
        session.receive_cancel(target.transaction, now=now)

    def _receive_ack(self, request: Request, *, flow: int, now: float) -> None:
        session = self._ledger.session_of(request, flow)
        if session is None:
            raise SipError("an ACK of nothing", rule="RFC 3261 17")
        self._ledger.touch(session)
        session.receive_ack(request, now=now)

    def _answer(
        self,
        server: Server,
        status: int,
        now: float,
        *,
        tag: str = "",
        more: Headers | None = None,
    ) -> None:
        request = server.transaction.request
        response = self._desk.reply(request, status, tag=tag, more=more)
        self._desk.respond(server.transaction, response, now)


def _require_accept(request: Request) -> None:
    accepted = request.headers.all("accept")
    if not accepted:
        return
    kinds = {part.partition(";")[0].strip().lower() for a in accepted for part in a.split(",")}
    if not kinds & {SDP, "application/*", "*/*"}:
        raise SipError("only application/sdp could be answered", status=406)


def _key(request: Request, flow: int) -> ServerKey:
    """What names a request's server transaction (RFC 3261 17.2.3)."""
    via = request.via
    method = "INVITE" if request.method == "ACK" else request.method
    branch = via.branch
    if not branch.startswith("z9hG4bK"):
        # an RFC 2543 sender
        branch = f"{request.call_id} {request.from_.tag} {request.cseq.number}"
    return (flow, branch, via.sent_by, method)
