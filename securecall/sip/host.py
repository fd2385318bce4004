"""What the parts of a session ask of it: its state, its dialog, its words to peer and model."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

from securecall.calls.signaling import Ended, Signal
from securecall.errors import EndReason
from securecall.media.description import Description
from securecall.sip.acceptance import Acceptance
from securecall.sip.body import SDP, read_description
from securecall.sip.capabilities import SESSION_FIELDS
from securecall.sip.descriptions import Descriptions
from securecall.sip.dialog import Dialog
from securecall.sip.grammar import Fields, SipError
from securecall.sip.message import Message, Request, Response
from securecall.sip.session_timer import SessionTimer, Terms
from securecall.sip.transaction import ClientTransaction, ServerTransaction

# takes what answers a request of ours: a response, or None for nobody answered; and the time
Handler = Callable[[ClientTransaction, Response | None, float], None]


class SessionState(enum.Enum):
    """Where a call stands."""

    INVITING = "inviting"  # we called
    CANCELLING = "cancelling"  # we called and gave up
    ALERTING = "alerting"  # we are called
    ANSWERED = "answered"  # we sent 2xx and wait for its ACK
    CONFIRMED = "confirmed"
    CLOSING = "closing"  # our BYE is on its way
    OVER = "over"


class Host(Protocol):
    """A session, as its parts see it; the attributes are those of `session.Session`."""

    invite: Request
    outgoing: bool
    contact: str
    hops: tuple[str, ...]
    state: SessionState
    dialog: Dialog | None
    descriptions: Descriptions
    acceptance: Acceptance
    timer: SessionTimer

    def token(self) -> str:
        """A fresh unguessable token."""
        ...

    def chance(self, most: int) -> int:
        """A random number from 0 to `most`."""
        ...

    def via(self) -> str:
        """A Via with a fresh branch."""
        ...

    def ask(self, request: Request, then: Handler, *, now: float) -> ClientTransaction:
        """Send a request; what answers it goes to `then`."""
        ...

    def acknowledge(self, ack: Request) -> None:
        """Send an ACK."""
        ...

    def respond(
        self, server: ServerTransaction, status: int, *, now: float, fields: Fields = ()
    ) -> None:
        """Answer a request."""
        ...

    def response(self, request: Request, status: int, fields: Fields = ()) -> Response:
        """Write a response."""
        ...

    def send_response(self, server: ServerTransaction, response: Response, *, now: float) -> None:
        """Send a response that was written before."""
        ...

    def learn(self, message: Message) -> None:
        """Note what an INVITE or its 2xx says the peer can do."""
        ...

    def tell(self, signal: Signal) -> None:
        """Tell the call model, unless the call is over for it."""
        ...

    def break_off(
        self, reason: EndReason, status: int, why: str, *, now: float, cause: str = ""
    ) -> None:
        """Tell the call model that the call is over, and hang up."""
        ...

    def hang_up(self, *, now: float, cause: str = "") -> None:
        """Send BYE."""
        ...

    def failed(self, end: Ended) -> None:
        """Tell the call model that the call is over; nothing is left to send."""
        ...

    def over(self) -> None:
        """Nothing is left to send or to wait for."""
        ...


def accept(
    host: Host,
    server: ServerTransaction,
    terms: Terms,
    *,
    now: float,
    body: bytes = b"",
    offers: bool = False,
    identity: tuple[str, ...] = (),
) -> None:
    """Answer an INVITE or UPDATE with 200; `offers` says that the ACK brings an answer."""
    signed = tuple(("Identity", value) for value in identity)
    fields = (("Contact", host.contact), *SESSION_FIELDS, *terms.fields, *signed)
    kind = (("Content-Type", SDP),) if body else ()
    response = host.response(server.request, 200, (*fields, *kind))
    response.body = body
    host.send_response(server, response, now=now)
    if server.request.method == "INVITE":
        host.acceptance.begin(server, response, offers=offers, now=now)
    host.timer.agreed(terms, now=now)


def ignore(_client: ClientTransaction, _response: Response | None, _now: float) -> None:
    """Take what answers a request of ours of which nothing follows; a `Handler`."""


def read_answer(
    message: Message, host: Host, *, now: float, early: Description | None = None
) -> Description | None:
    """Read the answer to an offer of ours; without one the call ends, and None is returned.

    Args:
        message: A 2xx or an ACK.
        host: Whose call it is.
        now: Monotonic seconds.
        early: What a reliable provisional response answered. A 2xx then needs no description;
            one that has another, against RFC 3261 13.2.1, is believed, since nothing began early.
    """
    try:
        description = read_description(message) or early
        if description is None:
            raise SipError("the answer has no description", rule="RFC 3261 13.2.1")
    except SipError as e:
        host.break_off(EndReason.PROTOCOL, 0, str(e), now=now)
        return None
    return description
