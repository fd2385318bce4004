"""What the agent wants done: messages to write, signals to pass on, calls that begin and end."""

from __future__ import annotations

from dataclasses import dataclass

from securecall.calls.signaling import Signal
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


@dataclass(frozen=True, slots=True)
class Overran:
    """A connection holds as much open as its quota allows and asks for more; it is to be closed."""

    flow: int


Output = Send | Told | Rang | Replied | Finished | Dropped | Overran
