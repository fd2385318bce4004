"""What a session asks of the agent that holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from securecall.calls.signaling import Signal
from securecall.sip.headers import Headers
from securecall.sip.message import Request, Response
from securecall.sip.transaction import ClientTransaction, ServerTransaction

if TYPE_CHECKING:
    from securecall.sip.session import Session


class Desk(Protocol):
    """What a session asks of the agent that holds it."""

    def token(self) -> str:
        """A fresh unguessable token."""
        ...

    def via(self) -> str:
        """A Via with a fresh branch."""
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
