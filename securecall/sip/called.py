"""The callee's half of a call's beginning: ringing, answer, refusal (RFC 3261 13.3, RFC 3262)."""

from __future__ import annotations

from typing import Final

from securecall.calls.signaling import Answered, Ended
from securecall.errors import EndReason
from securecall.media.description import Description
from securecall.sip.body import find_description, read_description
from securecall.sip.capabilities import ALLOW, SUPPORTED, tokens
from securecall.sip.descriptions import glare, overlap
from securecall.sip.dialog import target_of
from securecall.sip.grammar import SipError
from securecall.sip.host import Host, SessionState, accept, read_answer
from securecall.sip.message import Request
from securecall.sip.reliable import Sender
from securecall.sip.session_timer import NO_TIMER, Terms
from securecall.sip.transaction import ServerTransaction

ALERTING_SECONDS: Final = 200.0  # an incoming call, whose caller should have given up before


class Called:
    """What an incoming call does until its INVITE is answered.

    Attributes:
        server: Carries the INVITE.
        offer: Its offer, None for an offerless one.
    """

    def __init__(
        self,
        host: Host,
        server: ServerTransaction,
        offer: Description | None,
        terms: Terms,
        *,
        now: float,
    ) -> None:
        """Begin; nothing is sent."""
        self.server = server
        self.offer = offer
        self._host = host
        self._terms = terms
        self._lasts = now + ALERTING_SECONDS
        self._ringing: Sender | None = None

    @property
    def deadline(self) -> float | None:
        """When `expire` is due, None for never."""
        if self._host.state is not SessionState.ALERTING:
            return None
        if self._ringing is None or self._ringing.deadline is None:
            return self._lasts
        return min(self._lasts, self._ringing.deadline)

    def ring(self, *, now: float) -> None:
        """Say that a person is being alerted."""
        request = self.server.request
        fields = (("Contact", self._host.contact), ("Allow", ALLOW), ("Supported", SUPPORTED))
        if "100rel" not in (token.lower() for token in tokens(request, "require")):
            self._host.respond(self.server, 180, now=now, fields=fields)
        elif self._ringing is None and self.offer is not None:
            # To an offerless INVITE a reliable response would have to bring our offer
            # (RFC 3262 5), and nothing of ours is described before somebody accepts.
            number = 1 + self._host.chance(2**31 - 2)
            response = self._host.response(request, 180, fields)
            self._ringing = Sender(response, number=number, now=now)
            self._host.send_response(self.server, response, now=now)

    def prack(self, server: ServerTransaction, *, now: float) -> None:
        """Take the PRACK of our ringing.

        Raises:
            SipError: it acknowledges nothing, or brings what cannot be taken.
        """
        if self._ringing is None:
            raise SipError("no response waits for a PRACK", rule="RFC 3262 3", status=481)
        self._ringing.acknowledge(server.request)
        # What follows is refused, and the response counts as acknowledged all the same.
        if find_description(server.request) is not None:
            raise SipError(
                "an offer while the first one is unanswered, or where only a re-INVITE changes "
                "the call",
                rule="RFC 3264 4",
                status=488,
            )
        self._host.respond(server, 200, now=now)

    def receive_early(self, server: ServerTransaction, *, now: float) -> None:
        """Take an INVITE or UPDATE before the call is confirmed (RFC 3261 14.2, RFC 3311 5.2).

        Raises:
            SipError: it brings an offer.
        """
        request, host = server.request, self._host
        target = target_of(request)
        answered = host.state is SessionState.ANSWERED
        if request.method == "UPDATE" and read_description(request) is None:
            terms = host.timer.terms(request) if answered else NO_TIMER
            if host.dialog is not None:
                host.dialog.target = target or host.dialog.target
            accept(host, server, terms, now=now)
        elif answered and self.offer is None:
            raise glare()  # our offer waits for its answer, in the ACK
        elif request.method == "UPDATE" and self.offer is None:
            raise SipError("a change before the call is connected", status=488)
        else:
            raise overlap(host.chance(10))

    def accept(
        self, description: Description, *, now: float, identity: tuple[str, ...] = ()
    ) -> None:
        """Answer the INVITE; with the offer, if it had none.

        Raises:
            SipError: the description cannot be written.
        """
        host = self._host
        body = host.descriptions.write(description)
        host.descriptions.keep(description, body, offer=self.offer is None)
        host.descriptions.theirs = self.offer
        # Our ringing carries no description, so the 2xx need not wait for its PRACK (RFC 3262 3).
        host.state = SessionState.ANSWERED
        accept(
            host,
            self.server,
            self._terms,
            body=body,
            offers=self.offer is None,
            now=now,
            identity=identity,
        )

    def acknowledged(self, ack: Request, *, now: float) -> None:
        """Take the ACK of our 2xx that had the offer: it brings the answer."""
        description = read_answer(ack, self._host, now=now)
        if description is not None:
            self._host.descriptions.theirs = description
            self._host.tell(Answered(description))

    def refuse(self, status: int, *, now: float) -> None:
        """Answer the INVITE with a failure; the session is over."""
        if not self.server.answered:
            self._host.respond(self.server, status, now=now)
        self._host.over()

    def expire(self, *, now: float) -> None:
        """Perform what is due by now."""
        if self.deadline is None or now < self.deadline:
            return
        ringing = self._ringing
        if now >= self._lasts:
            self._host.tell(Ended(EndReason.NO_ANSWER, 480))
            self.refuse(480, now=now)
        elif ringing is not None and ringing.expire(now=now):
            self._host.send_response(self.server, ringing.response, now=now)
        else:
            self._host.tell(Ended(EndReason.PEER_VANISHED, 504))
            self.refuse(504, now=now)
