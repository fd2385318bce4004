"""Responses, as far as their request determines them (RFC 3261 8.2.6)."""

from __future__ import annotations

from collections.abc import Iterable

from securecall.sip.grammar import SipError
from securecall.sip.headers import Headers
from securecall.sip.message import Request, Response


def build_response(
    request: Request, status: int, reason: str, *, tag: str, more: Iterable[tuple[str, str]] = ()
) -> Response:
    """Write a response; works for requests that are not valid, too.

    Args:
        request: Whose response it is.
        status: 100..699.
        reason: Its words.
        tag: Put into To where it has none.
        more: Further fields.
    """
    headers = Headers()
    for via in request.headers.all("via"):
        headers.add("Via", via)
    for name in ("from", "to", "call-id", "cseq"):
        value = request.headers.first(name)
        if value is None:
            continue
        if name == "to" and status > 100 and not _tagged(request):
            value = f"{value};tag={tag}"
        headers.add(name, value)
    for name, value in more:
        headers.add(name, value)
    return Response(status, reason, headers)


def _tagged(request: Request) -> bool:
    try:
        return bool(request.to.tag)
    except SipError:
        return ";tag" in request.need("to").lower()  # as far as anybody can tell
