"""SIP written by hand: requests, answers and digest credentials for tests of servers.

None of it is the package's own: a client and a server that share a mistake must not agree here.
"""

from __future__ import annotations

import hashlib
import itertools
import re

from securecall.sip.headers import Headers
from securecall.sip.message import Request, Response
from securecall.sip.stream import MessageStream

DOMAIN = "lab.test"
_numbers = itertools.count(1)


def request(
    method: str,
    target: str,
    *fields: tuple[str, str],
    user: str = "alice",
    to: str = "",
    body: bytes = b"",
    **replaced: str,
) -> Request:
    """A request that is valid unless a field is replaced or "" (which leaves it out)."""
    n = next(_numbers)
    usual = {
        "Via": f"SIP/2.0/TLS {user}.invalid;branch=z9hG4bK{n}",
        "Max-Forwards": "70",
        "From": f"<sip:{user}@{DOMAIN}>;tag=f{n}",
        "To": to or f"<{target}>",
        "Call-ID": f"call{n}",
        "CSeq": f"{n} {method}",
    }
    usual |= {name.replace("_", "-"): value for name, value in replaced.items()}
    lines = [f"{name}: {value}" for name, value in (*usual.items(), *fields) if value]
    lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join([f"{method} {target} SIP/2.0", *lines]) + "\r\n\r\n"
    (message,) = MessageStream().feed(head.encode() + body)  # which takes what is not valid, too
    assert isinstance(message, Request)
    return message


def register(
    user: str = "alice", contact: str = "", *fields: tuple[str, str], **replaced: str
) -> Request:
    """A REGISTER for one contact."""
    listed = () if contact == "none" else (("Contact", contact or f"<sip:{user}@{user}.invalid>"),)
    aor = f"sip:{user}@{DOMAIN}"
    return request(
        "REGISTER", f"sip:{DOMAIN}", *listed, *fields, user=user, to=f"<{aor}>", **replaced
    )


def invite(callee: str = "bob", *fields: tuple[str, str], user: str = "alice", **more) -> Request:
    """An INVITE from one person of the domain to another."""
    contact = ("Contact", f"<sip:{user}@{user}.invalid>")
    return request("INVITE", f"sip:{callee}@{DOMAIN}", contact, *fields, user=user, **more)


def again(sent: Request, *fields: tuple[str, str], **replaced: str) -> Request:
    """The same request in a new transaction, CSeq one higher, with more fields."""
    n = next(_numbers)
    headers = sent.headers.copy()
    via = re.sub(r"branch=[^;,]+", f"branch=z9hG4bK{n}", headers.all("via")[0])
    headers.replace("Via", via)
    headers.replace("CSeq", f"{sent.cseq.number + 1} {sent.method}")
    for name, value in replaced.items():
        headers.replace(name.replace("_", "-"), value)
    for name, value in fields:
        headers.add(name, value)
    return Request(sent.method, sent.target, headers, sent.body)


def answer(
    received: Request, status: int, *fields: tuple[str, str], tag: str = "callee", body: bytes = b""
) -> Response:
    """What a phone answers."""
    headers = Headers([("Via", via) for via in received.headers.all("via")])
    headers.add("From", received.need("from"))
    to = received.need("to")
    headers.add("To", to if "tag=" in to or status == 100 else f"{to};tag={tag}")
    headers.add("Call-ID", received.call_id)
    headers.add("CSeq", received.need("cseq"))
    for route in received.headers.all("record-route"):
        headers.add("Record-Route", route)
    for name, value in fields:
        headers.add(name, value)
    return Response(status, "As Scripted", headers, body)


def within(
    method: str, message: Request | Response, *, caller: bool, number: int, user: str = "alice"
) -> Request:
    """A request inside the call of an INVITE (as its callee has it) or a 2xx (as its caller)."""
    n = next(_numbers)
    records = message.headers.all("record-route")
    routes = reversed(records) if caller else records
    own, other = ("from", "to") if caller else ("to", "from")
    local = message.need(own)
    local = local if "tag=" in local else f"{local};tag=callee"
    headers = Headers(
        [
            ("Via", f"SIP/2.0/TLS {user}.invalid;branch=z9hG4bK{n}"),
            ("Max-Forwards", "70"),
            *(("Route", route) for route in routes),
            ("From", local),
            ("To", message.need(other)),
            ("Call-ID", message.call_id),
            ("CSeq", f"{number} {method}"),
        ]
    )
    return Request(method, message.contacts[0].uri.text, headers)


def challenge_of(response: Response, algorithm: str = "SHA-256") -> dict[str, str]:
    """The challenge of that algorithm."""
    fields = response.headers.all("www-authenticate")
    fields += response.headers.all("proxy-authenticate")
    read = [dict(re.findall(r'(\w+)="?([^",]*)"?', text.partition(" ")[2])) for text in fields]
    return next(found for found in read if found["algorithm"] == algorithm)


def credentials(
    challenge: dict[str, str],
    sent: Request,
    password: str,
    *,
    user: str = "alice",
    count: int = 1,
    **replaced: str,
) -> tuple[str, str]:
    """The field that answers a challenge; parameters can be replaced, or left out by ""."""
    hashed = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[challenge["algorithm"]]

    def h(text: str) -> str:
        return hashed(text.encode()).hexdigest()

    given = {
        "username": user,
        "realm": challenge["realm"],
        "nonce": challenge["nonce"],
        "uri": sent.target,
        "algorithm": challenge["algorithm"],
        "opaque": challenge.get("opaque", ""),
        "qop": "auth",
        "nc": f"{count:08x}",
        "cnonce": "0a4f113b",
    } | replaced
    ha1 = h(f"{given['username']}:{challenge['realm']}:{password}")
    ha2 = h(f"{sent.method}:{given['uri']}")
    parts = (ha1, given["nonce"], given["nc"], given["cnonce"], "auth", ha2)
    given.setdefault("response", h(":".join(parts)))
    quoted = {"username", "realm", "nonce", "uri", "response", "cnonce", "opaque"}
    texts = [f'{k}="{v}"' if k in quoted else f"{k}={v}" for k, v in given.items() if v]
    name = "Authorization" if sent.method == "REGISTER" else "Proxy-Authorization"
    return name, "Digest " + ", ".join(texts)
