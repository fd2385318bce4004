"""The work a message causes grows with its size and not faster, from the wire to the answer.

The limits are lifted, so that sizes no peer can send show what a rule costs.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import re
from collections.abc import Callable, Iterable

import pytest

import securecall.sip
from securecall.sip.agent import Agent
from securecall.sip.limits import Quota
from securecall.sip.message import build_message
from securecall.sip.output import Send
from securecall.sip.stream import MessageStream
from tests.growth import faster, linear

SMALL = 1000
LIFTED = Quota(unanswered=10**9, transactions=10**9)
HEAD = (
    "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TLS a.example;branch=z9hG4bK1\r\n"
    "From: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\n"
    "Max-Forwards: 70\r\n"
)
SDP = (
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\na=rtcp-mux\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 192.0.2.1\r\na=setup:actpass\r\n"
    "a=fingerprint:sha-256 " + ":".join(["00"] * 32) + "\r\n"
)

Family = Callable[[int], str]
# header fields of a request that is otherwise well formed
FIELDS: dict[str, Family] = {
    "many Via": lambda n: "Via: SIP/2.0/TLS a;branch=z9hG4bK1\r\n" * n,
    "one long Via": lambda n: "Via: " + "SIP/2.0/TLS a," * n + "SIP/2.0/TLS a\r\n",
    "a Via of blanks": lambda n: "Via: SIP/2.0/TLS" + " " * n + "\r\n",
    "a Via of parameters": lambda n: "Via: SIP/2.0/TLS a" + ";a=b" * n + ";\r\n",
    "a Via of colons": lambda n: "Via: SIP/2.0/TLS [" + ":" * n + "]\r\n",
    "a Via with comments": lambda n: "Via: SIP/2.0/TLS a " + "(" * n + ")" * n + "\r\n",
    "nested quotes": lambda n: 'Contact: "' + '\\"' * n + '" <sip:a@b>\r\n',
    "an open quote": lambda n: 'Contact: "' + "\\\\" * n + "<sip:a@b>\r\n",
    "quotes that open and close": lambda n: "Contact: " + '"a"' * n + "<sip:a@b>\r\n",
    "many words": lambda n: "Contact: " + "a " * n + "\r\n",
    "a long token": lambda n: "Contact: " + "a" * n + "<sip:a@b>\r\n",
    "open brackets": lambda n: "Contact: " + "<" * n + "sip:a@b>\r\n",
    "many parameters": lambda n: "Contact: <sip:a@b>" + ";a=b" * n + "\r\n",
    "quoted parameters": lambda n: "Contact: <sip:a@b>" + ';a="b\\"c"' * n + "\r\n",
    "many expires": lambda n: "Contact: <sip:a@b>" + ";expires=1" * n + "\r\n",
    "a long user": lambda n: "Contact: <sip:" + "a" * n + ">\r\n",
    "a user of at signs": lambda n: "Contact: <sip:" + "a@" * n + ">\r\n",
    "a long host": lambda n: "Contact: <sip:a@" + "a." * n + "_>\r\n",
    "parameters of a URI": lambda n: "Contact: <sip:a@b" + ";a=b" * n + ";=>\r\n",
    "headers of a URI": lambda n: "Contact: <sip:a@b?" + "a=b&" * n + "<>\r\n",
    "escapes": lambda n: "Contact: <sip:" + "%41" * n + "%4@b>\r\n",
    "many addresses": lambda n: "Contact: " + "<sip:a@b>," * n + "<sip:a@b>\r\n",
    "blanks behind an address": lambda n: "Contact: <sip:a@b>" + " " * n + "x\r\n",
    "folded lines": lambda n: "Subject: a" + "\r\n a" * n + "\r\n",
    "folded lines of a list": lambda n: "Contact: <sip:a@b>" + ",\r\n <sip:a@b>" * n + "\r\n",
    "fields without a value": lambda n: "a:\r\n" * n,
    "fields nobody knows": lambda n: "".join(f"X-{i}: {i}\r\n" for i in range(n)),
    "fields that are none": lambda n: "a b:\r\n" * n,
    "values of Accept": lambda n: "Accept: " + "text/plain;q=0.1," * n + "application/sdp\r\n",
    "fields of Accept": lambda n: "Accept: application/sdp\r\n" * n,
    "values of Allow": lambda n: "Allow: " + "INVITE," * n + "\r\n",
    "values of Require": lambda n: "Require: " + "timer," * n + "a\r\n",
    "fields of Require": lambda n: "Require: a\r\n" * n,
    "values of Supported": lambda n: "Supported: " + "timer," * n + "a\r\n",
    "hops of Record-Route": lambda n: "Record-Route: " + "<sip:a;lr>," * n + "<sip:a;lr>\r\n",
    "hops of Route": lambda n: "Route: " + "<sip:a;lr>," * n + "<sip:a;lr>\r\n",
    "a long Replaces": lambda n: "Replaces: a" + ";to-tag=1" * n + "\r\n",
    "a long Reason": lambda n: "Reason: SIP" + ";cause=x" * n + "\r\n",
    "a long number": lambda n: "Expires: " + "9" * n + "\r\n",
    "a long length": lambda n: "Content-Length: " + "9" * n + "\r\n",
    "a length of zeros": lambda n: "Content-Length: " + "0" * n + "\r\n",
    "a long type": lambda n: "Content-Type: application/sdp" + ";a=b" * n + "\r\n",
    "another type": lambda n: "Content-Type: multipart/mixed;boundary=" + "-" * n + "\r\n",
}
# lines that follow those of an offer we would take
LINES: dict[str, Family] = {
    "attributes nobody knows": lambda n: "".join(f"a=x{i}:{i}\r\n" for i in range(n)),
    "a long attribute": lambda n: "a=x:" + "a " * n + "\r\n",
    "candidates": lambda n: "a=candidate:1 1 udp 7 192.0.2.9 9 typ host\r\n" * n,
    "extensions": lambda n: "a=candidate:1 1 udp 7 h 9 typ host" + " a b" * n + "\r\n",
    "media": lambda n: "m=audio 9 RTP/AVP 0\r\n" * n,
    "media nobody knows": lambda n: "m=x 9 x x\r\n" * n,
    "formats": lambda n: "m=audio 9 RTP/AVP" + " 0" * n + "\r\n",
    "rtpmaps": lambda n: "a=rtpmap:96 x/8000\r\n" * n,
    "fmtps": lambda n: "a=fmtp:0 a=b\r\n" * n,
    "a long fmtp": lambda n: "a=fmtp:0 " + "a=b;" * n + "\r\n",
    "fingerprints": lambda n: "a=fingerprint:sha-256 00:11:22\r\n" * n,
    "a long fingerprint": lambda n: "a=fingerprint:sha-256 00" + ":00" * n + "\r\n",
    "sources": lambda n: "".join(f"a=ssrc:{i} cname:x\r\n" for i in range(n)),
    "addresses": lambda n: "c=IN IP4 192.0.2.1\r\n" * n,
    "a long address": lambda n: "c=IN IP4 " + "1" * n + "\r\n",
    "keys": lambda n: "a=crypto:1 x inline:y\r\n" * n,
    "empty lines": lambda n: "\n" * n,
    "a long ufrag": lambda n: "a=ice-ufrag:" + "a" * n + "\r\n",
}
WHOLE: dict[str, Family] = {
    "a long method": lambda n: request(method="A" * n),
    "a long address": lambda n: request(uri="sip:" + "a" * n + "@b"),
    "an address of parameters": lambda n: request(uri="sip:a@b" + ";a=b" * n),
    "an address of commas": lambda n: request(uri="tel:" + "1," * n),
    "a start line of blanks": lambda n: request(uri=" " * n + "sip:a@b"),
    "a long From": lambda n: request().replace(";tag=1", ";a=b" * n + ";tag=1"),
    "a From without an end": lambda n: request().replace("From: <", "From: <" + "a:" * n),
    "a To without an end": lambda n: request().replace("<sip:b@b.example>", "<sip:" + "b" * n),
    "a long Call-ID": lambda n: request().replace("Call-ID: 1", "Call-ID: " + "a@" * n),
    "a long CSeq": lambda n: request().replace("CSeq: 1", "CSeq: " + "1" * n),
    "a CSeq of blanks": lambda n: request().replace("CSeq: 1", "CSeq: 1" + " " * n),
    "a branch without an end": lambda n: request().replace("=z9hG4bK1", '="' + "\\a" * n),
    "line ends between messages": lambda n: "\r\n" * n + request(),
    "many requests": lambda n: "".join(request().replace("bK1", f"bK{i}") for i in range(n // 20)),
    "no line end": lambda n: "a" * n,
    "no start line": lambda n: "\r\n".join(["a: b"] * n) + "\r\n\r\n",
}


def request(more: str = "", body: str = "", *, method: str = "INVITE", uri: str = "sip:b@b") -> str:
    head = HEAD.format(method=method, uri=uri)
    contact = "" if "Contact" in more else "Contact: <sip:a@a.example>\r\n"
    kind = "Content-Type: application/sdp\r\n" if body and "Content-Type" not in more else ""
    length = "" if "Content-Length" in more else f"Content-Length: {len(body)}\r\n"
    return f"{head}{more}{contact}{kind}{length}\r\n{body}"


def in_field(family: Family) -> Family:
    return lambda n: request(family(n), SDP)


def in_line(family: Family) -> Family:
    return lambda n: request("", SDP + family(n))


FAMILIES: dict[str, Family] = (
    {f"field: {name}": in_field(family) for name, family in FIELDS.items()}
    | {f"line: {name}": in_line(family) for name, family in LINES.items()}
    | WHOLE
)


def answered(pieces: Iterable[bytes]) -> int:
    """Read and answer; how many bytes were answered."""
    count = itertools.count(1)
    agent, stream, size = Agent(random_token=lambda: f"{next(count):024x}"), MessageStream(), 0
    for piece in pieces:
        if stream.failure is not None:
            break
        for message in stream.feed(piece):
            for output in agent.receive(message, flow=1, direct=True, now=1.0, quota=LIFTED):
                if isinstance(output, Send):
                    size += len(build_message(output.message))
    return size


def reading(family: Family, *, piece: int) -> Callable[[int], Callable[[], int]]:
    def prepared(size: int) -> Callable[[], int]:
        data = family(size).encode()
        return lambda: answered(data[i : i + piece] for i in range(0, len(data), piece))

    return prepared


@pytest.fixture
def unlimited(monkeypatch):
    for module in pkgutil.iter_modules(securecall.sip.__path__, "securecall.sip."):
        loaded = importlib.import_module(module.name)
        for name in [name for name in vars(loaded) if name.startswith("MOST_")]:
            monkeypatch.setattr(loaded, name, 1 << 30)


@pytest.mark.parametrize("name", FAMILIES)
def test_work_grows_with_size_and_not_faster(name, unlimited):
    assert linear(reading(FAMILIES[name], piece=1 << 30), SMALL)


@pytest.mark.parametrize("name", ["field: folded lines", "line: a long attribute", "no line end"])
def test_work_byte_by_byte_grows_with_size_and_not_faster(name, unlimited):
    assert linear(reading(FAMILIES[name], piece=1), SMALL)


def test_control_work_that_grows_with_the_square_of_the_size_is_noticed(unlimited, monkeypatch):
    # two parts that take the same: what no pattern of ours has
    monkeypatch.setattr("securecall.sip.message._CALL_ID", re.compile(r"(?:a|@)*?(?:a|@)*?!|.*"))
    assert faster(reading(WHOLE["a long Call-ID"], piece=1 << 30), 250)
