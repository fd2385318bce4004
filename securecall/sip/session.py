"""One call over SIP: an INVITE, its dialogs, and what ends it (RFC 3261 9, 13, 14, 15).

The session holds the state and speaks to peer and call model; its parts know the rules: `Calling`
and `Called` how a call begins, `Changes` what happens in its middle, `Transfers` who is sent on,
`Information` what is pressed, and where we were found to be meanwhile.
"""

from __future__ import annotations

from securecall.calls.signaling import (
    Answered,
    DigitPressed,
    DigitsWelcome,
    Ended,
    Offered,
    Refused,
    Ringing,
    Signal,
    TransferProgress,
    TransferRequested,
    Trickled,
)
from securecall.errors import EndReason
from securecall.media.description import Description
from securecall.sip.acceptance import Acceptance
from securecall.sip.called import Called
from securecall.sip.calling import Calling
from securecall.sip.changes import Changes
from securecall.sip.descriptions import Descriptions
from securecall.sip.desk import Desk
from securecall.sip.dialog import Dialog, repeat_request
from securecall.sip.grammar import Fields, SipError
from securecall.sip.headers import Headers
from securecall.sip.host import Handler, SessionState, ignore
from securecall.sip.information import Information
from securecall.sip.message import Message, Request, Response
from securecall.sip.outcome import REFUSALS, cause_of
from securecall.sip.refer import Replaces
from securecall.sip.session_timer import SessionTimer
from securecall.sip.transaction import ClientTransaction, ServerTransaction, State
from securecall.sip.transfers import Transfers


class Session:
    """One call; made and driven by `agent.Agent`, used by one leg. Satisfies `host.Host`.

    Attributes:
        invite: The INVITE that began it.
        outgoing: We sent it.
        flow: The connection it lives on; None while that is being replaced.
        direct: It lives and dies with that connection.
        state: Where it stands.
        offer: The first offer of an incoming call, None for an offerless one.
        replaced: The call whose place an incoming one asks to take.
        dialog: Once it exists for certain.
        hops: Hosts named in Via and Record-Route besides the next hop.
        descriptions, acceptance, timer: What its parts share.
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
        """Begin a call: outgoing without `server`, incoming with it.

        Raises:
            SipError: an incoming INVITE is refused.
        """
        self.invite = invite
        self.outgoing = server is None
        self.flow: int | None = flow
        self.direct = direct
        self.offer = offer
        self.replaced: Session | None = None
        self.dialog: Dialog | None = None
        self.hops: tuple[str, ...] = ()
        self.local_tag = invite.from_.tag if server is None else desk.token()
        self.contact = desk.contact(direct=direct)
        self.state = SessionState.INVITING if server is None else SessionState.ALERTING
        self.descriptions = Descriptions(session_id)
        self.acceptance = Acceptance()
        self.timer = SessionTimer()
        self._desk = desk
        self._changes = Changes(self)
        self._transfers = Transfers(self)
        self._information = Information(self)
        self._calling: Calling | None = None
        self._called: Called | None = None
        # The one place that remembers our transactions, besides `Calling.client`.
        self._asked: dict[ClientTransaction, Handler] = {}
        self._ended = False  # the call model heard or said it
        self._bye_waits: str | None = None  # the cause of a BYE that waits for an ACK
        if server is None:
            self._calling = Calling(self, now=now)
        else:
            self.dialog = Dialog.of_callee(invite, tag=self.local_tag)
            self.hops = invite.hops
            self._changes.learn(invite)
            self._called = Called(self, server, offer, self.timer.terms(invite), now=now)

    def __repr__(self) -> str:
        way = "outgoing" if self.outgoing else "incoming"
        return f"<Session {way} {self.state.value}>"

    @property
    def idle(self) -> bool:
        """Nothing is left to send or to wait for."""
        return self.state is SessionState.OVER

    def takes(self, method: str) -> bool:
        """Whether a request of the peer's still finds the call; a BYE may cross ours."""
        return not self.idle and (self.state is not SessionState.CLOSING or method == "BYE")

    @property
    def deadline(self) -> float | None:
        """When `expire` is due, None for never."""
        if self.idle:
            return None
        times = (
            self._calling.deadline if self._calling is not None else None,
            self._called.deadline if self._called is not None else None,
            self.acceptance.deadline,
            self._changes.deadline,
            self._transfers.deadline,
        )
        return min((time for time in times if time is not None), default=None)

    def invited(self, client: ClientTransaction) -> None:
        """Take the transaction that carries our INVITE."""
        if self._calling is not None:
            self._calling.client = client
            self._asked[client] = self._calling.receive

    def body(self, description: Description) -> bytes:
        """Write our first offer."""
        body = self.descriptions.write(description)
        self.descriptions.keep(description, body, offer=True)
        return body

    @property
    def replaces(self) -> str:
        """Names this call to its other end, "" while there is none (RFC 3891 3)."""
        dialog = self.dialog
        if dialog is None or self.state is not SessionState.CONFIRMED:
            return ""
        return str(Replaces(dialog.call_id, dialog.remote_tag, dialog.local_tag))

    def dialog_of(self, tag: str) -> Dialog | None:
        """The dialog with the peer that goes by this tag, early ones among them."""
        if self.dialog is not None:
            return self.dialog if self.dialog.remote_tag == tag else None
        return self._calling.dialog_of(tag) if self._calling is not None else None

    def repeat(self, client: ClientTransaction, fields: Fields) -> Request | None:
        """Write a request of ours once more, for instance with credentials; `restarted` follows.

        Returns:
            The request with its next number, or None where nobody wants it any more.
        """
        request = client.request
        first = self._calling is not None and self._calling.client is client
        given_up = first and self.state is not SessionState.INVITING
        if client not in self._asked or given_up or request.method == "CANCEL":
            return None
        # none for the BYE of a fork that came second; nothing else is counted there
        dialog = self.dialog_of(request.to.tag) if request.to.tag else None
        number = dialog.next_number() if dialog is not None else 0
        return repeat_request(request, via=self.via(), number=number, fields=fields)

    def restarted(self, old: ClientTransaction, new: ClientTransaction) -> None:
        """What `repeat` wrote is on its way: what answers it is taken as if it were the first."""
        self._asked[new] = self._asked.pop(old, ignore)
        if self._calling is not None and self._calling.client is old:
            self._calling.restarted(new)

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
            if self.state is SessionState.ALERTING and self._called is not None:
                self._called.ring(now=now)
        elif isinstance(signal, (Answered, Offered)):
            self._describe(signal, now=now)
        elif isinstance(signal, Refused):
            self._changes.refused(signal.status, now=now)
        else:
            self._perform_within(signal, now=now)

    def _perform_within(self, signal: Signal, *, now: float) -> None:
        """What neither begins, changes nor ends the call."""
        if isinstance(signal, DigitsWelcome):  # also while the ACK of our answer is on its way
            self._information.takes = True
        elif isinstance(signal, Trickled):  # here, too
            self._information.trickle(signal, now=now)
        elif isinstance(signal, TransferProgress):
            self._transfers.progress(signal, now=now)
        elif self.state is not SessionState.CONFIRMED:
            return
        elif isinstance(signal, TransferRequested):
            self._transfers.ask(signal, now=now)
        elif isinstance(signal, DigitPressed):
            self._information.press(signal.digit, milliseconds=signal.milliseconds, now=now)

    def _describe(self, signal: Answered | Offered, *, now: float) -> None:
        if self.state is SessionState.ALERTING and self._called is not None:
            if isinstance(signal, Offered) is (self.offer is None):
                identity = signal.identity if isinstance(signal, Answered) else ()
                self._called.accept(signal.description, identity=identity, now=now)
        elif self.state is not SessionState.CONFIRMED:
            return
        elif isinstance(signal, Answered):
            self._changes.answered(signal.description, now=now)
        else:
            self._changes.offer(signal.description, now=now)

    def _end(self, end: Ended, *, now: float) -> None:
        if self.state is SessionState.INVITING and self._calling is not None:
            self._calling.cancel(now=now)
        elif self.state is SessionState.ALERTING and self._called is not None:
            self._called.refuse(REFUSALS[end.reason], now=now)
        # the same for every failed check
        refused = end.reason in (EndReason.SECURITY, EndReason.INCOMPATIBLE)
        cause = "SIP;cause=488" if refused else ""
        if self.state is SessionState.ANSWERED:
            self._bye_waits = cause  # not before the ACK (RFC 3261 15)
        elif self.state is SessionState.CONFIRMED:
            self.hang_up(now=now, cause=cause)

    # -- responses to what we sent ----------------------------------------------------------------

    def receive_response(
        self, client: ClientTransaction, response: Response | None, *, now: float
    ) -> None:
        """Take a response, or None for nobody answered."""
        handler = self._asked.get(client)
        if handler is not None:
            handler(client, response, now)

    def _bye_response(
        self, _client: ClientTransaction, response: Response | None, _now: float
    ) -> None:
        if response is None or response.status >= 200:
            self.over()

    # -- requests of the peer ---------------------------------------------------------------------

    def receive_request(self, server: ServerTransaction, *, now: float) -> None:
        """Take a request within a dialog of ours, already found to be in order.

        Raises:
            SipError: it is refused.
        """
        method = server.request.method
        if method == "BYE":
            self._receive_bye(server, now=now)
        elif method == "PRACK":
            self._receive_prack(server, now=now)
        elif method == "INFO":
            self._information.receive(server, now=now)
        elif method == "REFER":
            self._transfers.receive_refer(server, now=now)
        elif method == "NOTIFY":
            self._transfers.receive_notify(server, now=now)
        elif self.state is SessionState.CONFIRMED:
            self._changes.receive(server, now=now)
        elif self._calling is not None:
            self._calling.receive_early(server, now=now)
        elif self._called is not None:
            self._called.receive_early(server, now=now)

    def _receive_prack(self, server: ServerTransaction, *, now: float) -> None:
        if self._called is None:
            raise SipError("no response waits for a PRACK", rule="RFC 3262 3", status=481)
        self._called.prack(server, now=now)

    def _receive_bye(self, server: ServerTransaction, *, now: float) -> None:
        self.respond(server, 200, now=now)
        if self.dialog is None and self._calling is not None:
            # only a caller may do so before the answer (15); who answers is still open
            self._calling.leave(server.request.from_.tag)
            return
        self._terminate_pending(now=now)
        if self.state is SessionState.CLOSING:
            return  # ours crosses theirs; its answer ends the session
        reason = EndReason.CANCELLED if self.state is SessionState.ALERTING else EndReason.HUNG_UP
        self.failed(Ended(reason, cause_of(server.request)))

    def receive_ack(self, request: Request, *, now: float) -> None:
        """Take the ACK of our 2xx."""
        offered = self.acceptance.offers
        if not self.acceptance.acknowledged(request):
            return
        if self.state is SessionState.CONFIRMED:
            self._changes.acknowledged(request, answers=offered, now=now)
        elif self.state is SessionState.ANSWERED:
            self.state = SessionState.CONFIRMED
            if self._bye_waits is not None:
                self.hang_up(now=now, cause=self._bye_waits)
            elif offered and self._called is not None:
                self._called.acknowledged(request, now=now)
        self._information.acknowledged(now=now)

    def receive_cancel(self, server: ServerTransaction, *, now: float) -> None:
        """Take the CANCEL of an INVITE, too late once it was answered, or of a re-INVITE."""
        if self._called is None or server is not self._called.server:
            self._changes.cancelled(server, now=now)
        elif self.state is SessionState.ALERTING:
            self.tell(Ended(EndReason.CANCELLED, 487))
            self._called.refuse(487, now=now)

    def unacknowledged(self, server: ServerTransaction) -> None:
        """Nobody acknowledged our failure; there is nothing more to do."""
        if self._called is not None and server is self._called.server:
            self.over()

    # -- time and connections ---------------------------------------------------------------------

    def expire(self, *, now: float) -> None:
        """Perform what is due by now."""
        if self._calling is not None:
            self._calling.expire(now=now)
        if self._called is not None:
            self._called.expire(now=now)
        if self.acceptance.deadline is not None and now >= self.acceptance.deadline:
            again = self.acceptance.expire(now=now)
            if again is not None:
                self.send_response(*again, now=now)
            elif self.state in (SessionState.ANSWERED, SessionState.CONFIRMED):
                self.break_off(EndReason.PEER_VANISHED, 408, "", now=now)
        self._changes.expire(now=now)
        self._transfers.expire(now=now)

    def lost(self) -> None:
        """Its connection is gone for good."""
        reason = EndReason.PEER_VANISHED
        client = self._calling.client if self._calling is not None else None
        if self.state is SessionState.INVITING and client is not None:
            reason = reason if client.provisional else EndReason.UNREACHABLE
        self.failed(Ended(reason))

    # -- what the parts ask, see `host.Host` ------------------------------------------------------

    def token(self) -> str:
        """A fresh unguessable token."""
        return self._desk.token()

    def chance(self, most: int) -> int:
        """A random number from 0 to `most`."""
        return int(self._desk.token()[-12:], 16) % (most + 1)

    def via(self) -> str:
        """A Via with a fresh branch."""
        return self._desk.via()

    def ask(self, request: Request, then: Handler, *, now: float) -> ClientTransaction:
        """Send a request; what answers it goes to `then`."""
        for client in [c for c in self._asked if c.state is State.TERMINATED]:
            del self._asked[client]
        client = self._desk.start(self, request, now)
        self._asked[client] = then
        return client

    def acknowledge(self, ack: Request) -> None:
        """Send an ACK."""
        self._desk.send(self, ack)

    def response(self, request: Request, status: int, fields: Fields = ()) -> Response:
        """Write a response."""
        return self._desk.reply(request, status, tag=self.local_tag, more=Headers(fields))

    def send_response(self, server: ServerTransaction, response: Response, *, now: float) -> None:
        """Send a response that was written before."""
        self._desk.respond(server, response, now)

    def respond(
        self, server: ServerTransaction, status: int, *, now: float, fields: Fields = ()
    ) -> None:
        """Answer a request."""
        self._desk.respond(server, self.response(server.request, status, fields), now)

    def learn(self, message: Message) -> None:
        """Note what an INVITE or its 2xx says the peer can do."""
        self._changes.learn(message)

    def tell(self, signal: Signal) -> None:
        """Tell the call model, unless the call is over for it."""
        if not self._ended:
            self._ended = isinstance(signal, Ended)
            self._desk.signal(self, signal)

    def break_off(
        self, reason: EndReason, status: int, why: str, *, now: float, cause: str = ""
    ) -> None:
        """Tell the call model that the call is over, and hang up."""
        self.tell(Ended(reason, status, why))
        self.hang_up(now=now, cause=cause)

    def hang_up(self, *, now: float, cause: str = "") -> None:
        """Send BYE."""
        if self.dialog is None:
            self.over()
            return
        self.state = SessionState.CLOSING  # until timer F of the BYE
        self.acceptance.stop()
        self.timer.stop()
        self._terminate_pending(now=now)
        more = Headers((("Reason", cause),) if cause else ())
        request = self.dialog.request("BYE", via=self.via(), more=more)
        _ = self.ask(request, self._bye_response, now=now)

    def failed(self, end: Ended) -> None:
        """Tell the call model that the call is over; nothing is left to send."""
        self.tell(end)
        self.over()

    def over(self) -> None:
        """Nothing is left to send or to wait for."""
        self.state = SessionState.OVER
        self.acceptance.stop()
        self.timer.stop()
        # what is left waits for an ACK; the peer does not choose how much memory that takes
        self.offer = self.replaced = None
        self.invite.body = b""
        self.descriptions.forget()
        if self._called is not None:
            self._called.offer = None

    def _terminate_pending(self, *, now: float) -> None:
        """Answer what the peer asked and nobody will judge any more (RFC 3261 15.1.2)."""
        first = self._called.server if self._called is not None else None
        for server in (first, self._changes.pending, self._transfers.pending):
            if server is not None and not server.answered:
                self.respond(server, 487, now=now)
