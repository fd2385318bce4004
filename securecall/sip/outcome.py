"""SIP statuses and the reasons a call ends, each from the other (RFC 3261 21)."""

from __future__ import annotations

import re
from typing import Final

from securecall.errors import EndReason
from securecall.sip.grammar import SipError, parse_value
from securecall.sip.message import Request

PHRASES: Final = {
    100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 400: "Bad Request",
    405: "Method Not Allowed", 406: "Not Acceptable", 408: "Request Timeout",
    404: "Not Found", 413: "Request Entity Too Large",
    415: "Unsupported Media Type", 416: "Unsupported URI Scheme", 420: "Bad Extension",
    422: "Session Interval Too Small", 469: "Bad Info Package",
    480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist", 482: "Loop Detected",
    483: "Too Many Hops", 486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here",
    489: "Bad Event", 491: "Request Pending", 500: "Server Internal Error", 501: "Not Implemented",
    503: "Service Unavailable", 504: "Server Time-out", 505: "Version Not Supported",
    513: "Message Too Large", 603: "Decline",
}  # fmt: skip

# What an incoming call is refused with. Nothing here tells the peer which check failed.
REFUSALS: Final = {
    EndReason.HUNG_UP: 603,
    EndReason.BUSY: 486,
    EndReason.DECLINED: 603,
    EndReason.NO_ANSWER: 480,
    EndReason.CANCELLED: 487,
    EndReason.NOT_FOUND: 404,
    EndReason.UNREACHABLE: 480,
    EndReason.PEER_VANISHED: 480,
    EndReason.INCOMPATIBLE: 488,
    EndReason.SECURITY: 488,
    EndReason.PROTOCOL: 400,
    EndReason.LOCAL: 480,
}

_REASONS: Final = {
    400: EndReason.PROTOCOL,
    404: EndReason.NOT_FOUND,
    406: EndReason.INCOMPATIBLE,
    408: EndReason.NO_ANSWER,
    410: EndReason.NOT_FOUND,
    413: EndReason.PROTOCOL,
    415: EndReason.INCOMPATIBLE,
    416: EndReason.NOT_FOUND,
    420: EndReason.INCOMPATIBLE,
    480: EndReason.NO_ANSWER,
    481: EndReason.PEER_VANISHED,
    484: EndReason.NOT_FOUND,
    486: EndReason.BUSY,
    487: EndReason.CANCELLED,
    488: EndReason.INCOMPATIBLE,
    505: EndReason.PROTOCOL,
    513: EndReason.PROTOCOL,
    600: EndReason.BUSY,
    603: EndReason.DECLINED,
    604: EndReason.NOT_FOUND,
    606: EndReason.INCOMPATIBLE,
    607: EndReason.DECLINED,
    608: EndReason.DECLINED,
}


_STATUS: Final = re.compile(r"[1-6][0-9]{2}")
_ELEMENT: Final = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*+")++')


def reason_of(status: int) -> EndReason:
    """What a failure status means to the person who called; unknown ones by their class."""
    known = _REASONS.get(status)
    if known is not None:
        return known
    if status >= 600:
        return EndReason.DECLINED
    return EndReason.UNREACHABLE


def cause_of(request: Request) -> int:
    """The SIP status a request gives as its reason, 0 where it names none (RFC 3326)."""
    for text in request.headers.all("reason")[:4]:
        for protocol, params in _reasons(text[:512]):
            cause = params.get("cause", "")
            if protocol == "sip" and _STATUS.fullmatch(cause):
                return int(cause)
    return 0


def _reasons(text: str) -> list[tuple[str, dict[str, str]]]:
    """Each reason of one field; a comma may also stand inside quotes. Malformed ones are none."""
    try:
        return [parse_value(part, "Reason") for part in _ELEMENT.findall(text) if part.strip()]
    except SipError:
        return []
