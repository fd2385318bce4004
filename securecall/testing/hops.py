"""What a proxy writes into what it forwards: Via, Route, flow tokens (RFC 3261 16.6, 18.2.1)."""

from __future__ import annotations

import hashlib
import hmac

from securecall.sip.grammar import SipError, Via, parse_via_list
from securecall.sip.headers import Headers
from securecall.sip.message import Request, Response


class FlowTokens:
    """Names of connections that nobody else can make (RFC 5626 5.2)."""

    def __init__(self, key: bytes) -> None:
        """Sign with this key."""
        self._key = key

    def make(self, flow: int) -> str:
        """The token of a connection, for the user part of a Record-Route."""
        mac = hmac.digest(self._key, str(flow).encode(), "sha256").hex()[:24]
        return f"{flow}.{mac}"

    def flow_of(self, token: str) -> int:
        """Read a token.

        Raises:
            SipError: it is not one of ours; answered with 403.
        """
        number, _, _ = token.partition(".")
        if number.isascii() and number.isdigit() and len(number) < 12:
            flow = int(number)
            if hmac.compare_digest(self.make(flow).encode(), token.encode()):
                return flow
        raise SipError("not a flow token of ours", rule="RFC 5626 5.3", status=403)


def forwarded_headers(
    request: Request, *, via: str, routes: tuple[str, ...], records: tuple[str, ...]
) -> Headers:
    """The fields of a copy that goes on (16.6); credentials meant for us stay here."""
    headers = request.headers.copy()
    headers.remove("proxy-authorization")
    headers.remove("route")
    for route in reversed(routes):
        headers.insert("Route", route)
    for record in records:
        headers.insert("Record-Route", record)
    hops = headers.first("max-forwards")
    headers.replace("Max-Forwards", str(int(hops) - 1 if hops else 70))
    headers.insert("Via", via)
    return headers


def without_top_via(response: Response) -> Response:
    """A response without our Via."""
    headers = response.headers.copy()
    vias = headers.all("via")
    _, comma, rest = vias[0].partition(",")
    headers.remove("via")
    for text in reversed([rest.strip(" \t"), *vias[1:]] if comma else vias[1:]):
        headers.insert("Via", text)
    return Response(response.status, response.reason, headers, response.body)


def loop_mark(request: Request) -> str:
    """The part of a branch that is the same when a request comes by again (16.6 step 8)."""
    parts = (
        request.target,
        request.from_.tag,
        request.to.tag,
        request.call_id,
        str(request.cseq.number),
        *request.headers.all("proxy-require"),
        *request.headers.all("route"),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def with_source(request: Request, source: str) -> Request:
    """Write into the topmost Via where a request came from (RFC 3261 18.2.1, RFC 3581 4)."""
    host, _, port = source.rpartition(":")
    if not host:
        return request
    whole, *later = request.headers.all("via")
    top, *rest = parse_via_list(whole)
    tail = "".join(
        f";{name}" if value is None else f";{name}={value}"
        for name, value in top.params
        if name not in ("received", "rport")
    )
    if any(name == "rport" for name, _ in top.params):
        tail += f";rport={port}"
    marked = Via(top.transport, top.host, top.port, f"{tail};received={host.strip('[]')}")
    headers = request.headers.copy()
    headers.remove("via")
    for text in reversed([*map(_hop, (marked, *rest)), *later]):
        headers.insert("Via", text)
    return Request(request.method, request.target, headers, request.body)


def _hop(via: Via) -> str:
    return f"SIP/2.0/{via.transport} {via.sent_by.removesuffix(':0')}{via.tail}"
