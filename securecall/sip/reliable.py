"""Reliable provisional responses and their PRACK, both sides (RFC 3262)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from securecall.media.description import Description
from securecall.sip.capabilities import tokens
from securecall.sip.dialog import Dialog
from securecall.sip.grammar import SipError, parse_number
from securecall.sip.headers import Headers
from securecall.sip.message import Request, Response
from securecall.sip.transaction import NOBODY_ANSWERED, T1

MOST_TAKEN: Final = 32  # of one INVITE in one dialog; each costs a transaction
_MOST: Final = 2**32 - 1
_RACK: Final = re.compile(r"([0-9]{1,10})[ \t]++([0-9]{1,10})[ \t]++([!%'*+\-.0-9A-Z_`a-z~]++)")


class RAck(NamedTuple):
    """Which response a PRACK acknowledges, by its RSeq and the CSeq it answered."""

    response: int
    number: int
    method: str


def parse_rack(text: str) -> RAck:
    """Read RAck (RFC 3262 7.2).

    Raises:
        SipError: it is malformed.
    """
    found = _RACK.fullmatch(text)
    if found is None:
        raise SipError(f"RAck is malformed: {text[:60]!r}", rule="RFC 3262 7.2")
    response = parse_number(found[1], "RAck", most=_MOST)
    return RAck(response, parse_number(found[2], "RAck", most=2**31 - 1), found[3])


def reliable_number(response: Response) -> int | None:
    """The RSeq of a response sent reliably, None for one that was not.

    Raises:
        SipError: it is sent reliably and has no usable RSeq.
    """
    required = [token.lower() for token in tokens(response, "require")]
    if response.status == 100 or "100rel" not in required:
        return None
    if "rseq" in response.headers.repeated:
        raise SipError("RSeq stands twice", rule="RFC 3262 7.1")
    return parse_number(response.need("rseq"), "RSeq", most=_MOST)


@dataclass(slots=True)
class Receiver:
    """The inviting side of one INVITE in one dialog: which reliable response comes next.

    Attributes:
        last: The RSeq acknowledged last, 0 before the first.
        answer: Of a reliable response, so that the 2xx need not repeat it.
    """

    last: int = 0
    answer: Description | None = None
    _taken: int = 0

    def take(self, number: int) -> bool:
        """Count a response; one that is repeated or out of order is not to be looked at (4)."""
        if not number or (self.last and number != self.last + 1) or self._taken == MOST_TAKEN:
            return False
        self.last = number
        self._taken += 1
        return True


def build_prack(dialog: Dialog, response: Response, number: int, *, via: str) -> Request:
    """Write the PRACK of a reliable response."""
    cseq = response.cseq
    more = Headers((("RAck", f"{number} {cseq.number} {cseq.method}"),))
    return dialog.request("PRACK", via=via, more=more)


class Sender:
    """The callee's side: one response, repeated until its PRACK.

    Attributes:
        deadline: When `expire` is due, None once it is acknowledged or given up.
    """

    def __init__(self, response: Response, *, number: int, now: float) -> None:
        """Begin; the caller sends the response.

        Args:
            response: Gets `Require` and `RSeq`.
            number: Its RSeq: random, 1 to 2^31 - 1.
            now: Monotonic seconds.
        """
        response.headers.add("Require", "100rel")
        response.headers.add("RSeq", str(number))
        self.response = response
        self.deadline: float | None = now + T1
        self._number = number
        self._after = T1
        self._give_up = now + NOBODY_ANSWERED
        self._open = True

    def acknowledge(self, prack: Request) -> None:
        """Take a PRACK; also one that comes after the final response (3).

        Raises:
            SipError: RAck is malformed (400), or names no response that waits for it (481).
        """
        if "rack" in prack.headers.repeated:
            raise SipError("RAck stands twice", rule="RFC 3262 7.2")
        rack = parse_rack(prack.need("rack"))
        if not self._open or rack != (self._number, *self.response.cseq):
            raise SipError("no response waits for this PRACK", rule="RFC 3262 3", status=481)
        self._open = False
        self.deadline = None

    def expire(self, *, now: float) -> bool:
        """Whether to repeat the response; False, with no deadline left, gives it up."""
        if now >= self._give_up:
            self.deadline = None
            return False
        self._after *= 2
        self.deadline = min(now + self._after, self._give_up)
        return True
