"""Client and server transactions over reliable transports (RFC 3261 17, RFC 6026).

Over TLS nothing is repeated and nothing repeated has to be absorbed, so timers A, D, E, G, I, J
and K are zero; what is left are B, F and H (nobody answered) and L and M (2xx of forks may follow).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from securecall.errors import UsageError
from securecall.sip.message import Request, Response

T1: Final = 0.5  # RFC 3261 17.1.1.1, seconds
NOBODY_ANSWERED: Final = 64 * T1  # timers B, F, H, L, M


class State(enum.Enum):
    """The RFC's states."""

    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    ACCEPTED = "accepted"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Input(enum.Enum):
    """What can happen to a transaction."""

    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "3xx-6xx"
    REPEAT = "repeated request"
    ACK = "ACK"
    DEADLINE = "deadline"


Table = dict[tuple[State, Input], State]

INVITE_CLIENT: Final[Table] = {
    (State.CALLING, Input.PROVISIONAL): State.PROCEEDING,
    (State.CALLING, Input.SUCCESS): State.ACCEPTED,
    (State.CALLING, Input.FAILURE): State.COMPLETED,
    (State.CALLING, Input.DEADLINE): State.TERMINATED,  # timer B
    (State.PROCEEDING, Input.PROVISIONAL): State.PROCEEDING,
    (State.PROCEEDING, Input.SUCCESS): State.ACCEPTED,
    (State.PROCEEDING, Input.FAILURE): State.COMPLETED,
    (State.COMPLETED, Input.FAILURE): State.COMPLETED,
    (State.COMPLETED, Input.DEADLINE): State.TERMINATED,  # timer D
    (State.ACCEPTED, Input.SUCCESS): State.ACCEPTED,
    (State.ACCEPTED, Input.DEADLINE): State.TERMINATED,  # timer M
}
REQUEST_CLIENT: Final[Table] = {
    (State.TRYING, Input.PROVISIONAL): State.PROCEEDING,
    (State.TRYING, Input.SUCCESS): State.COMPLETED,
    (State.TRYING, Input.FAILURE): State.COMPLETED,
    (State.TRYING, Input.DEADLINE): State.TERMINATED,  # timer F
    (State.PROCEEDING, Input.PROVISIONAL): State.PROCEEDING,
    (State.PROCEEDING, Input.SUCCESS): State.COMPLETED,
    (State.PROCEEDING, Input.FAILURE): State.COMPLETED,
    (State.PROCEEDING, Input.DEADLINE): State.TERMINATED,  # timer F
    (State.COMPLETED, Input.DEADLINE): State.TERMINATED,  # timer K
}
INVITE_SERVER: Final[Table] = {
    (State.PROCEEDING, Input.REPEAT): State.PROCEEDING,
    (State.PROCEEDING, Input.PROVISIONAL): State.PROCEEDING,
    (State.PROCEEDING, Input.SUCCESS): State.ACCEPTED,
    (State.PROCEEDING, Input.FAILURE): State.COMPLETED,
    (State.COMPLETED, Input.REPEAT): State.COMPLETED,
    (State.COMPLETED, Input.ACK): State.CONFIRMED,
    (State.COMPLETED, Input.DEADLINE): State.TERMINATED,  # timer H
    (State.CONFIRMED, Input.ACK): State.CONFIRMED,
    (State.CONFIRMED, Input.DEADLINE): State.TERMINATED,  # timer I
    (State.ACCEPTED, Input.REPEAT): State.ACCEPTED,
    (State.ACCEPTED, Input.SUCCESS): State.ACCEPTED,  # its user repeats the 2xx
    (State.ACCEPTED, Input.DEADLINE): State.TERMINATED,  # timer L
}
REQUEST_SERVER: Final[Table] = {
    (State.TRYING, Input.REPEAT): State.TRYING,
    (State.TRYING, Input.PROVISIONAL): State.PROCEEDING,
    (State.TRYING, Input.SUCCESS): State.COMPLETED,
    (State.TRYING, Input.FAILURE): State.COMPLETED,
    (State.PROCEEDING, Input.REPEAT): State.PROCEEDING,
    (State.PROCEEDING, Input.PROVISIONAL): State.PROCEEDING,
    (State.PROCEEDING, Input.SUCCESS): State.COMPLETED,
    (State.PROCEEDING, Input.FAILURE): State.COMPLETED,
    (State.COMPLETED, Input.REPEAT): State.COMPLETED,
    (State.COMPLETED, Input.DEADLINE): State.TERMINATED,  # timer J
}
# seconds a state may last; a state that is not here lasts until something happens
_CLIENT_SECONDS: Final = {
    State.CALLING: NOBODY_ANSWERED,
    State.TRYING: NOBODY_ANSWERED,
    State.COMPLETED: 0.0,
    State.ACCEPTED: NOBODY_ANSWERED,
}
_SERVER_SECONDS: Final = {State.CONFIRMED: 0.0, State.ACCEPTED: NOBODY_ANSWERED}


@dataclass(frozen=True, slots=True)
class Transmit:
    """Put this on the wire."""

    message: Request | Response


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand this response to the transaction's user."""

    response: Response


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Nobody answered; the user treats it as 408 (client), or as a lost ACK (server)."""


@dataclass(frozen=True, slots=True)
class Discard:
    """The peer sent what fits no row of the table."""

    why: str


Output = Transmit | Deliver | TimedOut | Discard


class ClientTransaction:
    """One request of ours.

    Attributes:
        request: As sent.
        state: Where it stands.
        deadline: When `expire` is due, None for never.
        provisional: A 1xx came; only then may an INVITE be cancelled (RFC 3261 9.1).
    """

    __slots__ = ("_table", "deadline", "provisional", "request", "state")

    def __init__(self, request: Request, *, now: float) -> None:
        """Begin; the caller sends the request."""
        invite = request.method == "INVITE"
        self.request = request
        self.provisional = False
        self._table = INVITE_CLIENT if invite else REQUEST_CLIENT
        self.state = State.CALLING if invite else State.TRYING
        self.deadline: float | None = now + NOBODY_ANSWERED

    def receive(self, response: Response, *, now: float) -> tuple[Output, ...]:
        """Take a response with our branch and method."""
        kind = input_of(response)
        after = self._table.get((self.state, kind))
        if after is None:
            return (Discard(f"{kind.value} in {self.state.value}"),)
        repeated = self.state is State.COMPLETED
        self.provisional = self.provisional or kind is Input.PROVISIONAL
        self._enter(after, now=now)
        acknowledged: tuple[Output, ...] = ()
        if self._table is INVITE_CLIENT and kind is Input.FAILURE:
            acknowledged = (Transmit(self._ack(response)),)
        return acknowledged if repeated else (*acknowledged, Deliver(response))

    def expire(self, *, now: float) -> tuple[Output, ...]:
        """Perform what is due by now."""
        if self.deadline is None or now < self.deadline:
            return ()
        unanswered = self.state in (State.CALLING, State.TRYING, State.PROCEEDING)
        self.terminate()
        return (TimedOut(),) if unanswered else ()

    def terminate(self) -> None:
        """End it without a word, for instance because its connection is gone."""
        self.state = State.TERMINATED
        self.deadline = None

    def _enter(self, state: State, *, now: float) -> None:
        if state is self.state:
            return
        invite = self._table is INVITE_CLIENT
        self.state = state
        if state is State.PROCEEDING and not invite:
            return  # timer F goes on
        seconds = _CLIENT_SECONDS.get(state)
        self.deadline = None if seconds is None else now + seconds

    def _ack(self, response: Response) -> Request:
        """The ACK of a failure: same branch, same Request-URI, To of the response (17.1.1.3)."""
        theirs = self.request.headers
        headers = type(theirs)()
        headers.add("Via", theirs.all("via")[0])
        for route in theirs.all("route"):
            headers.add("Route", route)
        headers.add("Max-Forwards", "70")
        headers.add("From", self.request.need("from"))
        headers.add("To", response.need("to"))
        headers.add("Call-ID", self.request.call_id)
        headers.add("CSeq", f"{self.request.cseq.number} ACK")
        headers.add("Content-Length", "0")
        return Request("ACK", self.request.target, headers)


class ServerTransaction:
    """One request of the peer's.

    Attributes:
        request: As received.
        state: Where it stands.
        deadline: When `expire` is due, None for never.
        last: The last response sent.
    """

    __slots__ = ("_table", "deadline", "last", "request", "state")

    def __init__(self, request: Request) -> None:
        """Begin; the request goes to the user."""
        invite = request.method == "INVITE"
        self.request = request
        self._table = INVITE_SERVER if invite else REQUEST_SERVER
        self.state = State.PROCEEDING if invite else State.TRYING
        self.deadline: float | None = None
        self.last: Response | None = None

    @property
    def answered(self) -> bool:
        """A final response was sent."""
        return self.state not in (State.TRYING, State.PROCEEDING)

    def receive(self, request: Request, *, now: float) -> tuple[Output, ...]:
        """Take the same request again, or the ACK of a failure."""
        kind = Input.ACK if request.method == "ACK" else Input.REPEAT
        after = self._table.get((self.state, kind))
        if after is None:
            return (Discard(f"{kind.value} in {self.state.value}"),)
        self._enter(after, now=now)
        if kind is Input.REPEAT and self.last is not None and self.state is not State.ACCEPTED:
            return (Transmit(self.last),)
        return ()

    def respond(self, response: Response, *, now: float) -> tuple[Output, ...]:
        """Answer.

        Raises:
            UsageError: a final response was sent before.
        """
        kind = input_of(response)
        after = self._table.get((self.state, kind))
        if after is None:
            raise UsageError(f"cannot send {response.status} in state {self.state.value}")
        self.last = response
        self._enter(after, now=now)
        return (Transmit(response),)

    def expire(self, *, now: float) -> tuple[Output, ...]:
        """Perform what is due by now."""
        if self.deadline is None or now < self.deadline:
            return ()
        unacknowledged = self._table is INVITE_SERVER and self.state is State.COMPLETED
        self.terminate()
        return (TimedOut(),) if unacknowledged else ()

    def terminate(self) -> None:
        """End it without a word."""
        self.state = State.TERMINATED
        self.deadline = None

    def _enter(self, state: State, *, now: float) -> None:
        if state is self.state:
            return
        self.state = state
        if state is State.COMPLETED:
            # timer H waits for the ACK; J is zero
            seconds: float | None = NOBODY_ANSWERED if self._table is INVITE_SERVER else 0.0
        else:
            seconds = _SERVER_SECONDS.get(state)
        self.deadline = None if seconds is None else now + seconds


def input_of(response: Response) -> Input:
    """Sort a response by its class."""
    if response.status < 200:
        return Input.PROVISIONAL
    return Input.SUCCESS if response.status < 300 else Input.FAILURE
