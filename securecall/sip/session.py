"""One call over SIP: an INVITE, its dialogs, and what ends it (RFC 3261 9, 13, 14, 15)."""

from __future__ import annotations

import enum
from typing import Final, Protocol

from securecall.calls.signaling import (
    Answered,
    Ended,
    Offered,
    Refused,
    Ringing,
    Signal,
    TransferRequested,
)
from securecall.errors import EndReason, ProtocolError
from securecall.media.description import Description
from securecall.sip.dialog import Dialog, build_cancel
from securecall.sip.grammar import SipError
from securecall.sip.headers import Headers
from securecall.sip.limits import MOST_FORKS
from securecall.sip.message import Request, Response
from securecall.sip.outcome import REFUSALS, cause_of, reason_of
from securecall.sip.sdp import build_description, parse_description
from securecall.sip.transaction import NOBODY_ANSWERED, T1, ClientTransaction, ServerTransaction

RINGING_SECONDS: Final = 180.0  # an outgoing call nobody answers ends
ALERTING_SECONDS: Final = 200.0  # an incoming one, whose caller should have given up before
_T2: Final = 4.0


class SessionState(enum.Enum):
    """Where a call stands."""

    INVITING = "inviting"  # we called
    CANCELLING = "cancelling"  # we called and gave up
    ALERTING = "alerting"  # we are called
    ANSWERED = "answered"  # we sent 2xx and wait for its ACK
    CONFIRMED = "confirmed"
    CLOSING = "closing"  # our BYE is on its way
    OVER = "over"


class Desk(Protocol):
    """What a session asks of the agent that holds it."""

    def token(self) -> str:
        """A fresh unguessable token."""
        ...

    def via(self) -> str:
        """A Via with a fresh branch."""
        ...

    def contact(self, *, direct: bool) -> str:
        """A Contact of ours."""
        ...

    def start(self, session: Session, request: Request, now: float) -> ClientTransaction:
        """Send a request; its responses come back to `Session.receive_response`."""
        ...

    def respond(self, server: ServerTransaction, response: Response, now: float) -> None:
        """Answer a request."""
        ...

    def send(self, session: Session, message: Request) -> None:
        """Send an ACK, which has no transaction."""
        ...

    def signal(self, session: Session, signal: Signal) -> None:
        """Tell the call model."""
        ...

    def reply(
        self, request: Request, status: int, *, tag: str = "", more: Headers | None = None
    ) -> Response:
        """Write a response."""
        ...


class Session:
    """One call; made and driven by `agent.Agent`, used by one leg.

    Attributes:
        invite: The INVITE that began it.
        outgoing: We sent it.
        flow: The connection it lives on; None while that is being replaced.
        direct: It lives and dies with that connection.
        state: Where it stands.
        deadline: When `expire` is due, None for never.
        offer: The first offer of an incoming call, None for an offerless one.
        dialog: Once it exists for certain.
        hops: Hosts named in Via and Record-Route besides the next hop.
    """

    def __init__(
        self,
        desk: Desk,
        invite: Request,
        *,
        flow: int,
        direct: bool,
        server: ServerTransaction | None = None,
        offer: Description | None = None,
        session_id: int = 1,
        now: float,
    ) -> None:
        """Begin a call: outgoing without `server`, incoming with it."""
        self.invite = invite
        self.outgoing = server is None
        self.flow: int | None = flow
        self.direct = direct
        self.offer = offer
        self.dialog: Dialog | None = None
        self.hops: tuple[str, ...] = ()
        self.local_tag = invite.from_.tag if server is None else desk.token()
        self.contact = desk.contact(direct=direct)
        self.state = SessionState.INVITING if server is None else SessionState.ALERTING
        lasts = RINGING_SECONDS if server is None else ALERTING_SECONDS
        self.deadline: float | None = now + lasts
        self._desk = desk
        self._server = server
        self._client: ClientTransaction | None = None
        self._reinvite: ClientTransaction | None = None  # ours
        self._reinvited: ServerTransaction | None = None  # theirs
        self._session_id = session_id
        self._version = 0
        self._ended = False  # the call model heard or said it
        self._acks: dict[str, Request] = {}  # of each fork's 2xx, by remote tag
        self._answer: Response | None = None  # our 2xx, repeated until its ACK
        self._repeat_after = T1
        self._give_up = 0.0
        self._answer_due = False  # the ACK carries the answer to our offer
        self._bye_waits = False
        self._cancel_sent = False

    def __repr__(self) -> str:
        way = "outgoing" if self.outgoing else "incoming"
        return f"<Session {way} {self.state.value}>"

    @property
    def idle(self) -> bool:
        """Nothing is left to send or to wait for."""
        return self.state is SessionState.OVER

    def invited(self, client: ClientTransaction) -> None:
        """Take the transaction that carries our INVITE."""
        self._client = client

    def body(self, description: Description) -> bytes:
        """Write a description as the next version of ours."""
        self._version += 1
        return build_description(description, session_id=self._session_id, version=self._version)

    # -- what the call model says -----------------------------------------------------------------

    def perform(self, signal: Signal, *, now: float) -> None:
        """Do what the call model asks; what fits no state is dropped, nothing follows `Ended`.

        Raises:
            SipError: a description cannot be written.
        """
        if self._ended:
            return
        if isinstance(signal, Ended):
            self._ended = True
            self._end(signal, now=now)
        elif isinstance(signal, Ringing):
            if self.state is SessionState.ALERTING and self._server is not None:
                more = Headers((("Contact", self.contact),))
                ringing = self._reply(self._server.request, 180, more=more)
                self._desk.respond(self._server, ringing, now)
        elif isinstance(signal, (Answered, Offered)):
            self._describe(signal, now=now)
        elif isinstance(signal, Refused) and self._reinvited is not None:
            refused, self._reinvited = self._reinvited, None
            status = signal.status if 400 <= signal.status <= 699 else 488
            self._desk.respond(refused, self._reply(refused.request, status), now)

    def _describe(self, signal: Answered | Offered, *, now: float) -> None:
        if self.state is SessionState.ALERTING and self._server is not None:
            if isinstance(signal, Offered) is not (self.offer is None):
                return
            self._answer_due = self.offer is None
            self._accept(self._server, signal.description, now=now)
            self.state = SessionState.ANSWERED
        elif isinstance(signal, Answered) and self._reinvited is not None:
            reinvited, self._reinvited = self._reinvited, None
            self._accept(reinvited, signal.description, now=now)
        elif isinstance(signal, Offered) and self.state is SessionState.CONFIRMED:
            self._offer_again(signal.description, now=now)

    def _accept(self, server: ServerTransaction, description: Description, *, now: float) -> None:
        more = Headers((("Contact", self.contact), ("Content-Type", "application/sdp")))
        answer = self._reply(server.request, 200, more=more)
        answer.body = self.body(description)
        self._answer = answer
        self._server = server
        self._repeat_after = T1
        self._give_up = now + NOBODY_ANSWERED
        self.deadline = now + T1
        self._desk.respond(server, answer, now)

    def _offer_again(self, description: Description, *, now: float) -> None:
        if self.dialog is None or self._reinvite is not None or self._reinvited is not None:
            self._desk.signal(self, Refused(491))  # RFC 3261 14.1
            return
        more = Headers((("Contact", self.contact), ("Content-Type", "application/sdp")))
        request = self.dialog.request("INVITE", via=self._desk.via(), more=more)
        request.body = self.body(description)
        self._reinvite = self._desk.start(self, request, now)

    def _end(self, end: Ended, *, now: float) -> None:
        if self.state is SessionState.INVITING:
            self._cancel(now=now)
        elif self.state is SessionState.ALERTING:
            self._refuse(REFUSALS[end.reason], now=now)
        elif self.state is SessionState.ANSWERED:
            self._bye_waits = True  # not before the ACK (RFC 3261 15)
        elif self.state is SessionState.CONFIRMED:
            self._bye(now=now, reason=end.reason)

    def _cancel(self, *, now: float) -> None:
        self.state = SessionState.CANCELLING
        if self._client is None or self._client.deadline is None:
            self.deadline = now + NOBODY_ANSWERED
        else:
            self.deadline = self._client.deadline
        if self._client is not None and self._client.provisional:
            self._send_cancel(now=now)

    def _send_cancel(self, *, now: float) -> None:
        self._cancel_sent = True
        self.deadline = now + NOBODY_ANSWERED  # RFC 3261 9.1: wait no longer for the 487
        _ = self._desk.start(self, build_cancel(self.invite), now)

    def _refuse(self, status: int, *, now: float) -> None:
        if self._server is not None and not self._server.answered:
            self._desk.respond(self._server, self._reply(self._server.request, status), now)
        self._over()

    def _bye(self, *, now: float, reason: EndReason = EndReason.HUNG_UP) -> None:
        if self.dialog is None:
            self._over()
            return
        self.state = SessionState.CLOSING
        self.deadline = None  # timer F of the BYE
        if self._reinvited is not None and not self._reinvited.answered:
            self._desk.respond(self._reinvited, self._reply(self._reinvited.request, 487), now)
        more = Headers()
        if reason in (EndReason.SECURITY, EndReason.INCOMPATIBLE):
            more.add("Reason", "SIP;cause=488")  # the same for every failed check
        request = self.dialog.request("BYE", via=self._desk.via(), more=more)
        _ = self._desk.start(self, request, now)

    # -- responses to what we sent ----------------------------------------------------------------

    def may_repeat(self, client: ClientTransaction) -> bool:
        """Whether a challenged request of ours is still worth sending again."""
        return client is not self._client or self.state is SessionState.INVITING

    def repeated(self, before: ClientTransaction, after: ClientTransaction) -> None:
        """A request of ours was challenged and sent again with credentials."""
        if before is self._client:
            self._client = after
            self.invite = after.request
        elif before is self._reinvite:
            self._reinvite = after

    def receive_response(
        self, client: ClientTransaction, response: Response | None, *, now: float
    ) -> None:
        """Take a response, or None for nobody answered."""
        method = client.request.method
        if method == "BYE":
            if response is None or response.status >= 200:
                self._over()
        elif method == "INVITE" and client is self._client:
            self._invite_response(response, now=now)
        elif method == "INVITE":
            self._reinvite_response(client, response, now=now)

    def _invite_response(self, response: Response | None, *, now: float) -> None:
        if response is None:
            self._failed(Ended(EndReason.UNREACHABLE, 408))
        elif response.status < 200:
            self._provisional(response, now=now)
        elif response.status < 300:
            self._success(response, now=now)
        else:
            if 300 <= response.status < 400 and not self._ended:
                for contact in response.contacts[:1]:
                    self._desk.signal(self, TransferRequested(contact.uri.text))
            reason = reason_of(response.status)
            self._failed(Ended(reason, response.status, response.reason[:80]))

    def _provisional(self, response: Response, *, now: float) -> None:
        if self.state is SessionState.CANCELLING:
            if self._client is not None and self._client.provisional and not self._cancel_sent:
                self._send_cancel(now=now)
            return
        if self.state is not SessionState.INVITING:
            return
        if response.status == 180:
            self._desk.signal(self, Ringing())
        description = _description(response, lenient=True)
        if description is not None:
            self._desk.signal(self, Answered(description, final=False))

    def _success(self, response: Response, *, now: float) -> None:
        tag = response.to.tag
        known = self._acks.get(tag)
        if known is not None:
            self._desk.send(self, known)  # its ACK was lost (13.2.2.4)
            return
        if len(self._acks) >= MOST_FORKS:
            return
        dialog = Dialog.of_caller(self.invite, response)
        ack = dialog.request("ACK", via=self._desk.via(), cseq=self.invite.cseq.number)
        self._acks[tag] = ack
        self._desk.send(self, ack)
        if self.state is SessionState.INVITING:
            self.dialog = dialog
            self.hops = response.hops
            self.state = SessionState.CONFIRMED
            self.deadline = None
            self._answered(response, now=now)
        elif self.state is SessionState.CANCELLING:
            # the answer crossed our CANCEL
            self.dialog = dialog
            self._bye(now=now)
        else:
            # another fork answered, too: the first one wins
            bye = dialog.request("BYE", via=self._desk.via())
            _ = self._desk.start(self, bye, now)

    def _answered(self, response: Response, *, now: float) -> None:
        try:
            description = _description(response)
        except ProtocolError as e:
            self._break_off(str(e), now=now)
            return
        if description is None:
            self._break_off("the answer has no description", now=now)
            return
        self._desk.signal(self, Answered(description))

    def _break_off(self, why: str, *, now: float) -> None:
        self._tell_end(Ended(EndReason.PROTOCOL, 0, why))
        self._bye(now=now)

    def _reinvite_response(
        self, client: ClientTransaction, response: Response | None, *, now: float
    ) -> None:
        if self.dialog is None or (response is not None and response.status < 200):
            return
        if response is not None and response.status < 300:
            number = client.request.cseq.number
            self._desk.send(self, self.dialog.request("ACK", via=self._desk.via(), cseq=number))
        if client is not self._reinvite or self.state is not SessionState.CONFIRMED:
            return
        self._reinvite = None
        if response is None or response.status in (408, 481):  # RFC 3261 12.2.1.2
            self._tell_end(Ended(EndReason.PEER_VANISHED, 408 if response is None else 481))
            self._bye(now=now)
        elif response.status < 300:
            self.dialog.refresh(response)
            self._answered(response, now=now)
        else:
            self._desk.signal(self, Refused(response.status))

    # -- requests of the peer ---------------------------------------------------------------------

    def receive_request(self, server: ServerTransaction, *, now: float) -> None:
        """Take a request within our dialog, already found to be in order."""
        request = server.request
        if request.method == "BYE":
            self._receive_bye(server, now=now)
        elif request.method == "INVITE":
            self._receive_reinvite(server, now=now)
        elif request.method == "REFER":
            target = request.headers.first("refer-to")
            self._desk.respond(server, self._reply(request, 603), now)
            if target is not None and not self._ended:
                self._desk.signal(self, TransferRequested(target[:256]))

    def _receive_bye(self, server: ServerTransaction, *, now: float) -> None:
        self._desk.respond(server, self._reply(server.request, 200), now)
        for pending in (self._server, self._reinvited):
            if pending is not None and not pending.answered:
                self._desk.respond(pending, self._reply(pending.request, 487), now)
        if self.state is SessionState.CLOSING:
            return  # ours crosses theirs; its answer ends the session
        reason = EndReason.CANCELLED if self.state is SessionState.ALERTING else EndReason.HUNG_UP
        self._failed(Ended(reason, cause_of(server.request)))

    def _receive_reinvite(self, server: ServerTransaction, *, now: float) -> None:
        request = server.request
        if self._reinvite is not None:
            self._desk.respond(server, self._reply(request, 491), now)  # glare (14.2)
        elif self._reinvited is not None or self.state is not SessionState.CONFIRMED:
            more = Headers((("Retry-After", "2"),))
            self._desk.respond(server, self._reply(request, 500, more=more), now)
        elif not request.body or self._ended:
            # A change we would have to propose is refused; the call goes on as it is.
            self._desk.respond(server, self._reply(request, 488), now)
        else:
            try:
                description = parse_description(request.body)
            except SipError as e:
                self._desk.respond(server, self._reply(request, e.status), now)
                return
            if self.dialog is not None:
                self.dialog.refresh(request)
            self._reinvited = server
            self._desk.signal(self, Offered(description))

    def receive_ack(self, request: Request, *, now: float) -> None:
        """Take the ACK of our 2xx."""
        if self._answer is None or request.cseq.number != self._answer.cseq.number:
            return
        self._answer = None
        self.deadline = None
        if self.state is not SessionState.ANSWERED:
            return  # of a re-INVITE
        self.state = SessionState.CONFIRMED
        if self._bye_waits:
            self._bye(now=now)
        elif self._answer_due:
            self._answer_due = False
            try:
                description = parse_description(request.body)
            except SipError as e:
                self._break_off(str(e), now=now)
                return
            self._desk.signal(self, Answered(description))

    def receive_cancel(self, *, now: float) -> None:
        """Take the CANCEL of an INVITE; too late once it was answered."""
        if self.state is SessionState.ALERTING:
            self._tell_end(Ended(EndReason.CANCELLED, 487))
            self._refuse(487, now=now)

    def cancel_reinvite(self, server: ServerTransaction, *, now: float) -> None:
        """Take the CANCEL of a re-INVITE: it is refused, the call goes on."""
        if server is self._reinvited:
            self._reinvited = None
            self._desk.respond(server, self._reply(server.request, 487), now)

    def unacknowledged(self, server: ServerTransaction) -> None:
        """Nobody acknowledged our failure; there is nothing more to do."""
        if server is self._server:
            self._over()

    # -- time and connections ---------------------------------------------------------------------

    def expire(self, *, now: float) -> None:
        """Perform what is due by now."""
        if self.deadline is None or now < self.deadline:
            return
        self.deadline = None
        if self.state is SessionState.INVITING:
            self._tell_end(Ended(EndReason.NO_ANSWER, 408))
            self._cancel(now=now)
        elif self.state is SessionState.CANCELLING:
            if self._client is not None:
                self._client.terminate()
            self._over()
        elif self.state is SessionState.ALERTING:
            self._tell_end(Ended(EndReason.NO_ANSWER, 480))
            self._refuse(480, now=now)
        elif self._answer is not None and self._server is not None:
            self._repeat_answer(self._answer, self._server, now=now)

    def _repeat_answer(self, answer: Response, server: ServerTransaction, *, now: float) -> None:
        if now >= self._give_up:
            self._answer = None
            self._tell_end(Ended(EndReason.PEER_VANISHED, 408))
            self.state = SessionState.CONFIRMED
            self._bye(now=now)
            return
        # even over TLS: behind a proxy the path may be lossy (RFC 3261 13.3.1.4)
        self._desk.respond(server, answer, now)
        self._repeat_after = min(2 * self._repeat_after, _T2)
        self.deadline = min(now + self._repeat_after, self._give_up)

    def lost(self) -> None:
        """Its connection is gone for good."""
        reason = EndReason.PEER_VANISHED
        if self.state is SessionState.INVITING and self._client is not None:
            reason = reason if self._client.provisional else EndReason.UNREACHABLE
        self._failed(Ended(reason))

    def _failed(self, end: Ended) -> None:
        self._tell_end(end)
        self._over()

    def _tell_end(self, end: Ended) -> None:
        if not self._ended:
            self._ended = True
            self._desk.signal(self, end)

    def _over(self) -> None:
        self.state = SessionState.OVER
        self.deadline = None
        self._answer = None

    def _reply(self, request: Request, status: int, *, more: Headers | None = None) -> Response:
        return self._desk.reply(request, status, tag=self.local_tag, more=more)


def _description(response: Response, *, lenient: bool = False) -> Description | None:
    if not response.body:
        return None
    kind = response.headers.first("content-type") or ""
    try:
        if kind.partition(";")[0].strip().lower() != "application/sdp":
            raise SipError("the body is not a session description", rule="RFC 3261 13.2.1")
        return parse_description(response.body)
    except SipError:
        if lenient:
            return None
        raise
