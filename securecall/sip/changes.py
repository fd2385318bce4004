"""What changes in the middle of a call, and what keeps it alive: re-INVITE and UPDATE, both ways.

(RFC 3261 14, RFC 3311, RFC 4028 7 to 10, RFC 6141)
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from securecall.calls.signaling import Answered, Deferred, Offered, Refused
from securecall.errors import EndReason
from securecall.media.description import Description
from securecall.sip.body import SDP, read_description
from securecall.sip.capabilities import ALLOW, SESSION_FIELDS, tokens
from securecall.sip.descriptions import glare, overlap
from securecall.sip.dialog import target_of
from securecall.sip.grammar import SipError
from securecall.sip.headers import Headers
from securecall.sip.host import Host, SessionState, accept, ignore, read_answer
from securecall.sip.message import Message, Request, Response
from securecall.sip.reliable import Receiver, build_prack, reliable_number
from securecall.sip.session_timer import NO_TIMER, Due, Terms
from securecall.sip.transaction import ClientTransaction, ServerTransaction

MOST_TRIES: Final = 4  # of one offer that meets one of the peer's
_SOON: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Theirs:
    """An offer of the peer's that the call model has to judge.

    Attributes:
        server: Its request; None for a description that came as an answer and cannot be refused.
    """

    description: Description
    server: ServerTransaction | None = None
    terms: Terms = NO_TIMER


@dataclass(frozen=True, slots=True)
class _Ours:
    """An offer of ours by re-INVITE.

    Attributes:
        refresh: It says nothing new; the call model does not know of it.
        tries: How often it was sent before.
        raised: A 422 was answered by asking for more.
        receiver: Of reliable responses to the last try.
    """

    description: Description
    body: bytes = field(repr=False)
    refresh: bool = False
    tries: int = 0
    raised: bool = False
    receiver: Receiver = field(default_factory=Receiver, compare=False)


class Changes:
    """The changes of one call.

    Attributes:
        peer_updates: The peer takes UPDATE.
    """

    def __init__(self, host: Host) -> None:
        """Begin with nothing on its way."""
        self.peer_updates = False
        self._host = host
        self._update_refused = False
        self._ours: _Ours | None = None
        self._theirs: _Theirs | None = None
        self._waiting: tuple[float, _Ours] | None = None  # until it is sent again

    @property
    def pending(self) -> ServerTransaction | None:
        """The request of the peer's that waits for the call model."""
        return self._theirs.server if self._theirs is not None else None

    @property
    def _busy(self) -> bool:
        """No INVITE of ours may begin: one is under way, in either direction (RFC 3261 14.1)."""
        under_way = self._ours is not None or self._theirs is not None
        return under_way or self._host.acceptance.waits

    @property
    def deadline(self) -> float | None:
        """When `expire` is due, None for never."""
        if self._host.state is not SessionState.CONFIRMED:
            return None
        timer = self._host.timer.deadline
        if self._waiting is None:
            return timer
        return self._waiting[0] if timer is None else min(timer, self._waiting[0])

    def learn(self, message: Message) -> None:
        """Note what an INVITE or its 2xx says the peer can do."""
        if "allow" in message.headers and not self._update_refused:
            self.peer_updates = "UPDATE" in tokens(message, "allow")

    # -- what the call model says -------------------------------------------------------------

    def offer(self, description: Description, *, now: float) -> None:
        """Propose a change; it takes the place of one that waits.

        Raises:
            SipError: the description cannot be written.
        """
        if self._ours is not None or self._theirs is not None:
            self._host.tell(Refused(491))
            return
        if self._waiting is not None:
            due, ours = self._waiting
            body = self._host.descriptions.write(description)
            ours = replace(ours, description=description, body=body, refresh=False)
            self._waiting = (due, ours)
            return
        ours = _Ours(description, self._host.descriptions.write(description))
        if self._busy:  # with the ACK of the peer's last INVITE
            self._waiting = (now + _SOON, ours)
        else:
            self._send(ours, now=now)

    def answered(self, description: Description, *, now: float) -> None:
        """The call model takes the peer's offer.

        Raises:
            SipError: the description cannot be written.
        """
        theirs, host = self._theirs, self._host
        if theirs is None:
            return
        if theirs.server is not None:
            body = host.descriptions.write(description)
            host.descriptions.keep(description, body, offer=False)
            self._accept(theirs.server, theirs.terms, body=body, now=now)
        host.descriptions.theirs = theirs.description
        self._theirs = None

    def refused(self, status: int, *, now: float) -> None:
        """The call model does not, or takes back what waits; the call goes on as it was."""
        theirs, self._theirs = self._theirs, None
        if theirs is None:
            self._waiting = None
        elif theirs.server is not None:
            status = status if 400 <= status <= 699 else 488
            self._host.respond(theirs.server, status, now=now)

    def cancelled(self, server: ServerTransaction, *, now: float) -> None:
        """The peer takes its re-INVITE back."""
        if server is self.pending:
            self._theirs = None
            self._host.respond(server, 487, now=now)
            self._host.tell(Refused(487))

    # -- re-INVITE and UPDATE of the peer -----------------------------------------------------

    def receive(self, server: ServerTransaction, *, now: float) -> None:
        """Take a re-INVITE, or an UPDATE within a confirmed dialog.

        Raises:
            SipError: it is refused.
        """
        request, host = server.request, self._host
        invite = request.method == "INVITE"
        _ = target_of(request)
        description = read_description(request)
        self._require_turn(request, offers=invite or description is not None)
        terms = host.timer.terms(request)
        self.learn(request)
        if description is not None:
            self._theirs = _Theirs(description, server, terms)
            host.tell(Offered(description))
        elif invite:
            self._offer_in_answer(server, terms, now=now)
        else:
            self._accept(server, terms, now=now)

    def _require_turn(self, request: Request, *, offers: bool) -> None:
        """One change at a time (RFC 3261 14.2, RFC 3311 5.2)."""
        host = self._host
        ours = self._ours is not None or (host.acceptance.waits and host.acceptance.offers)
        if ours and offers:
            raise glare()
        pending = self.pending
        same = pending is not None and pending.request.method == request.method
        if same or (offers and self._theirs is not None):
            raise overlap(host.chance(10))

    def _offer_in_answer(self, server: ServerTransaction, terms: Terms, *, now: float) -> None:
        descriptions = self._host.descriptions
        description = descriptions.again()
        if description is None:
            raise SipError("there is nothing to offer", status=488)
        body = descriptions.write(description)
        descriptions.keep(description, body, offer=False)
        self._accept(server, terms, body=body, offers=True, now=now)

    def _accept(
        self,
        server: ServerTransaction,
        terms: Terms,
        *,
        now: float,
        body: bytes = b"",
        offers: bool = False,
    ) -> None:
        if self._host.dialog is not None:
            self._host.dialog.refresh(server.request)
        accept(self._host, server, terms, body=body, offers=offers, now=now)

    def acknowledged(self, ack: Request, *, answers: bool, now: float) -> None:
        """Take the ACK of a re-INVITE; if that had no offer, it brings the answer to ours.

        Ours said nothing new, so where the answer is missing, as from phones that resume a call,
        or malformed, the call goes on as it was.
        """
        if answers:
            with suppress(SipError):
                description = read_description(ack)
                if description is not None:
                    self._heard(description)
        elif self._waiting is not None and not self._waiting[1].tries:
            self._try_again(now=now)

    def _heard(self, description: Description) -> None:
        """Have the call model judge an answer to what it did not ask.

        An answer cannot be refused on the wire. Where it asks for other keys, the model keeps the
        ones it has and says so; then both ends go on as before, or the peer has no sound.
        """
        if description == self._host.descriptions.theirs:
            return
        self._theirs = _Theirs(description)
        self._host.tell(Offered(description, answers=True))

    # -- ours ---------------------------------------------------------------------------------

    def _request(self, method: str, body: bytes = b"") -> Request | None:
        host = self._host
        if host.dialog is None:
            return None
        fields = (("Contact", host.contact), ("Allow", ALLOW), *SESSION_FIELDS)
        more = Headers((*fields, *host.timer.fields()))
        if body:
            more.add("Content-Type", SDP)
        request = host.dialog.request(method, via=host.via(), more=more)
        request.body = body
        return request

    def _send(self, ours: _Ours, *, now: float) -> None:
        request = self._request("INVITE", ours.body)
        if request is not None:
            self._ours = ours
            _ = self._host.ask(request, partial(self._invite_response, ours), now=now)

    def _invite_response(
        self, ours: _Ours, client: ClientTransaction, response: Response | None, now: float
    ) -> None:
        host = self._host
        if host.dialog is None:
            return
        if response is not None and response.status < 200:
            self._provisional(ours, response, now=now)
            return
        if response is not None and response.status < 300:
            self._refresh_target(response)
            number = client.request.cseq.number
            host.acknowledge(host.dialog.request("ACK", via=host.via(), cseq=number))
        if ours is not self._ours or host.state is not SessionState.CONFIRMED:
            return  # repeated, or the call is being ended
        self._ours = None
        if response is None or response.status in (408, 481):
            self._vanished(response, now=now)
        elif response.status < 300:
            self._changed(ours, response, now=now)
        else:
            self._not_changed(ours, response, now=now)

    def _provisional(self, ours: _Ours, response: Response, *, now: float) -> None:
        number, host = reliable_number(response), self._host
        if number is None or host.dialog is None or host.state is not SessionState.CONFIRMED:
            return
        if ours.receiver.take(number):
            prack = build_prack(host.dialog, response, number, via=host.via())
            _ = host.ask(prack, ignore, now=now)
            if ours.receiver.answer is None:
                ours.receiver.answer = read_description(response)

    def _changed(self, ours: _Ours, response: Response, *, now: float) -> None:
        host = self._host
        description = read_answer(response, host, now=now, early=ours.receiver.answer)
        if description is None:
            return
        self.learn(response)
        host.timer.accepted(response, now=now)
        if ours.refresh:
            self._heard(description)
            return
        host.descriptions.keep(ours.description, ours.body, offer=True)
        host.descriptions.theirs = description
        host.tell(Answered(description))

    def _not_changed(self, ours: _Ours, response: Response, *, now: float) -> None:
        status, host = response.status, self._host
        ours = replace(ours, receiver=Receiver())
        again = replace(ours, tries=ours.tries + 1)
        if status == 491 and again.tries < MOST_TRIES:
            # RFC 3261 14.1: whose Call-ID it is waits longer, so that both do not meet again
            wait = 2.1 + host.chance(190) / 100 if host.outgoing else host.chance(200) / 100
            self._waiting = (now + wait, again)
            if not ours.refresh:
                host.tell(Deferred())
        elif status == 422 and not ours.raised and host.timer.raise_least(response):
            self._send(replace(ours, raised=True), now=now)
        elif ours.refresh:
            host.timer.failed(now=now)
        else:
            host.tell(Refused(status))

    def _refresh_target(self, response: Response) -> None:
        if self._host.dialog is not None:
            try:
                self._host.dialog.refresh(response)
            except SipError:
                return  # an unusable Contact changes nothing

    def _vanished(self, response: Response | None, *, now: float) -> None:
        """RFC 3261 12.2.1.2: whoever does not know the dialog any more has left it."""
        status = 408 if response is None else response.status
        self._host.break_off(EndReason.PEER_VANISHED, status, "", now=now)

    # -- time ---------------------------------------------------------------------------------

    def expire(self, *, now: float) -> None:
        """Perform what is due by now."""
        if self._host.state is not SessionState.CONFIRMED:
            return
        due = self._host.timer.due(now=now)
        if due is Due.END:
            cause = 'SIP;cause=408;text="Session expired"'
            self._host.break_off(EndReason.PEER_VANISHED, 408, "", now=now, cause=cause)
            return
        if due is Due.REFRESH:
            self._refresh(now=now)
        if self._waiting is not None and now >= self._waiting[0]:
            self._try_again(now=now)

    def _try_again(self, *, now: float) -> None:
        if self._waiting is None:
            return
        ours = self._waiting[1]
        self._waiting = None
        if self._busy:
            self._waiting = (now + _SOON, ours)
        else:
            self._send(ours, now=now)

    def _refresh(self, *, now: float, raised: bool = False) -> None:
        """Keep the session alive, changing nothing (RFC 4028 7.4)."""
        host = self._host
        description = host.descriptions.ours
        if self.peer_updates:
            request = self._request("UPDATE")
            if request is not None:
                _ = host.ask(request, partial(self._update_response, raised=raised), now=now)
        elif description is None or self._busy or self._waiting is not None:
            host.timer.failed(now=now)  # what is on its way refreshes, too, if it succeeds
        else:
            body = host.descriptions.body
            self._send(_Ours(description, body, refresh=True, raised=raised), now=now)

    def _update_response(
        self, _client: ClientTransaction, response: Response | None, now: float, *, raised: bool
    ) -> None:
        host = self._host
        if host.state is not SessionState.CONFIRMED:
            return
        if response is None or response.status in (408, 481):
            self._vanished(response, now=now)
        elif response.status < 200:
            return
        elif response.status < 300:
            self._refresh_target(response)
            host.timer.accepted(response, now=now)
        elif response.status in (405, 501):
            self.peer_updates = False
            self._update_refused = True  # whatever its Allow goes on to say
            self._refresh(now=now, raised=raised)
        elif response.status == 422 and not raised and host.timer.raise_least(response):
            self._refresh(now=now, raised=True)
        else:
            host.timer.failed(now=now)
