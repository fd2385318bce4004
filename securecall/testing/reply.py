"""Responses of the lab server, without I/O (RFC 3261 8.2.6)."""

from __future__ import annotations

from typing import Final

from securecall.sip.grammar import Fields
from securecall.sip.message import Request, Response
from securecall.sip.outcome import PHRASES
from securecall.sip.reply import build_response

_MORE: Final = {
    401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    407: "Proxy Authentication Required", 423: "Interval Too Brief", 430: "Flow Failed",
    439: "First Hop Lacks Outbound Support",
}  # fmt: skip


def build_reply(request: Request, status: int, *, tag: str, more: Fields = ()) -> Response:
    """Write a response with its words; see `build_response`."""
    return build_response(request, status, phrase_of(status), tag=tag, more=more)


def phrase_of(status: int) -> str:
    """The words of a status for people."""
    return PHRASES.get(status) or _MORE.get(status) or ("OK" if status < 300 else "Refused")
