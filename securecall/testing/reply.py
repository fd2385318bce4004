"""Responses of the lab server, without I/O (RFC 3261 8.2.6)."""

from __future__ import annotations

from typing import Final

from securecall.sip.headers import Headers
from securecall.sip.message import Request, Response
from securecall.sip.outcome import PHRASES

_MORE: Final = {
    401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    407: "Proxy Authentication Required", 423: "Interval Too Brief", 430: "Flow Failed",
    439: "First Hop Lacks Outbound Support", 483: "Too Many Hops",
}  # fmt: skip
_COPIED: Final = ("from", "to", "call-id", "cseq")


def build_reply(
    request: Request, status: int, *, tag: str, more: tuple[tuple[str, str], ...] = ()
) -> Response:
    """Write a response; works for requests that are not valid, too.

    Args:
        request: Whose response it is.
        status: 100..699.
        tag: Put into To where it has none.
        more: Further fields.
    """
    headers = Headers()
    for via in request.headers.all("via"):
        headers.add("Via", via)
    for name in _COPIED:
        value = request.headers.first(name)
        if value is None:
            continue
        if name == "to" and status > 100 and ";tag" not in value.replace(" ", "").lower():
            value = f"{value};tag={tag}"
        headers.add(name, value)
    for name, value in more:
        headers.add(name, value)
    return Response(status, phrase_of(status), headers)


def phrase_of(status: int) -> str:
    """The words of a status for people."""
    return PHRASES.get(status) or _MORE.get(status) or ("OK" if status < 300 else "Refused")
