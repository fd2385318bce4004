"""What the agent wants done: messages to write, signals to pass on, calls that begin and end."""

from __future__ import annotations

from dataclasses import dataclass

from securecall.calls.signaling import Signal
from securecall.errors import LoginRefused
from securecall.sip.message import Request, Response
from securecall.sip.session import Session


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
    """What came of a request of ours outside of calls.

    Attributes:
        request: As it was first sent.
        response: The final one, None if nobody answered or the connection broke.
        refused: The password was not taken, or not given; then there is nothing to try again.
    """

    request: Request
    response: Response | None
    refused: LoginRefused | None = None

    @property
    def status(self) -> int:
        """Of the response, 408 without one."""
        return self.response.status if self.response is not None else 408


@dataclass(frozen=True, slots=True)
class Texted:
    """A text message came; who wrote it is a claim, and servers on the way could read it."""

    request: Request
    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing of this session is left."""

    session: Session


@dataclass(frozen=True, slots=True)
class Dropped:
    """A message nothing here waits for; counted by the shell."""

    why: str


@dataclass(frozen=True, slots=True)
class Overran:
    """A connection holds as much open as its quota allows and asks for more; it is to be closed."""

    flow: int


Output = Send | Told | Rang | Replied | Texted | Finished | Dropped | Overran
