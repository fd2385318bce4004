"""A 2xx of ours to an INVITE, repeated until its ACK (RFC 3261 13.3.1.4)."""

from __future__ import annotations

from typing import Final

from securecall.sip.message import Request, Response
from securecall.sip.transaction import NOBODY_ANSWERED, T1, ServerTransaction

_T2: Final = 4.0


class Acceptance:
    """The 2xx that waits for its ACK; one at a time.

    Attributes:
        deadline: When it is to be repeated or given up, None while nothing waits.
        offers: It carries an offer, so that the ACK brings the answer.
    """

    def __init__(self) -> None:
        """Begin with nothing sent."""
        self.deadline: float | None = None
        self.offers = False
        self._sent: tuple[ServerTransaction, Response] | None = None
        self._after = T1
        self._give_up = 0.0

    @property
    def waits(self) -> bool:
        """An ACK is still to come."""
        return self._sent is not None

    def begin(
        self, server: ServerTransaction, response: Response, *, offers: bool, now: float
    ) -> None:
        """The response is out."""
        self._sent = (server, response)
        self.offers = offers
        self._after = T1
        self._give_up = now + NOBODY_ANSWERED
        self.deadline = now + T1

    def acknowledged(self, ack: Request) -> bool:
        """Whether this ACK is the one waited for; if so, nothing waits any more."""
        if self._sent is None or ack.cseq.number != self._sent[1].cseq.number:
            return False
        self.stop()
        return True

    def expire(self, *, now: float) -> tuple[ServerTransaction, Response] | None:
        """What to send again, which is due; None gives it up."""
        if self._sent is None or now >= self._give_up:
            self.stop()
            return None
        # even over TLS: behind a proxy the path may be lossy
        self._after = min(2 * self._after, _T2)
        self.deadline = min(now + self._after, self._give_up)
        return self._sent

    def stop(self) -> None:
        """Wait no longer."""
        self._sent = None
        self.deadline = None
