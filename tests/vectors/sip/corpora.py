"""Hostile and odd messages of other projects, each as the bytes a connection would bring."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator

from tests.paths import vectors

Case = tuple[str, list[bytes]]  # a name, and the messages in order

# what the PROTOS suite leaves to whoever runs it
_BLANKS = {
    b"<To>": b"bob@b.example",
    b"<From>": b"tester@a.example",
    b"<From-Address>": b"a.example",
    b"<From-IP>": b"192.0.2.1",
    b"<Local-Port>": b"5061",
    b"<Branch-ID>": b"1",
    b"<Call-ID>": b"1",
    b"<CSeq>": b"7",
}
SECURE = (
    b"a=setup:actpass\r\na=rtcp-mux\r\na=fingerprint:sha-256 " + b":".join([b"00"] * 32) + b"\r\n"
)


def sized(message: bytes) -> bytes:
    """The message with line ends and a length as a stream needs them."""
    message = re.sub(rb"\r?\n", b"\r\n", message)
    head, _, body = message.partition(b"\r\n\r\n")
    head = re.sub(rb"(?im)^(content-length|l)[ \t]*:[^\n]*\n", b"", head + b"\r\n")
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def invite(body: bytes = b"", *, uri: bytes = b"sip:b@b.example", more: bytes = b"") -> bytes:
    """A call with this body; its length still has to be set."""
    return (
        b"INVITE " + uri + b" SIP/2.0\r\nVia: SIP/2.0/TLS a.example;branch=z9hG4bK1\r\n"
        b"From: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>\r\n"
        b"Call-ID: 1\r\nCSeq: 1 INVITE\r\n"
        b"Contact: <sip:a@a.example>\r\nMax-Forwards: 70\r\n" + more + b"\r\n" + body
    )


def protos(*, secure: bool = False) -> Iterator[Case]:
    """PROTOS c07-sip: an INVITE with one anomaly, then the request that ends it.

    Args:
        secure: Offer what we would take, so that calls get as far as an answer.
    """
    with zipfile.ZipFile(vectors("sip_protos_c07", "protos_c07_sip_r2_testcases.zip")) as archive:
        for name in sorted(n for n in archive.namelist() if not n.endswith("/")):
            first, *rest = [_filled(r, secure=secure) for r in _records(archive.read(name))]
            yield name, [first, *rest]


def _records(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        length, _, _ = data[at : at + 12].partition(b" ")
        at += len(length) + 1
        yield data[at : at + int(length)]
        at += int(length)


def _filled(record: bytes, *, secure: bool) -> bytes:
    for blank, value in _BLANKS.items():
        record = record.replace(blank, value)
    record = record.replace(b"<Teardown-Method>", b"CANCEL")
    if secure and b" RTP/AVP " in record:
        record = record.replace(b" RTP/AVP ", b" UDP/TLS/RTP/SAVPF ") + SECURE
    body = record.partition(b"\r\n\r\n")[2]
    return record.replace(b"<Content-Length>", b"%d" % len(body))


def folder(name: str) -> Iterator[Case]:
    """Messages that are files, as they are and as a stream needs them."""
    for path in sorted(p for p in vectors(name).rglob("*") if p.is_file() and p.suffix != ".csv"):
        data = path.read_bytes()
        yield path.name, [data]
        yield path.name + " sized", [sized(data)]


def flows() -> Iterator[Case]:
    """Whole exchanges: the messages of each file one after the other, as one peer's."""
    for path in sorted(vectors("sip_php_flows").rglob("*.yaml")):
        blocks = re.split(rb"(?m)^- *\|?[+-]?(?:\r?\n)?", path.read_bytes())[1:]
        messages = [re.sub(rb"(?m)^  ", b"", block).rstrip(b"\n") + b"\n\n" for block in blocks]
        yield path.name, [sized(m) for m in messages]


def seeds(kind: str) -> Iterator[Case]:
    """The seeds of a fuzzer of "sip", "sdp", "uri" or "url", put where each belongs."""
    with zipfile.ZipFile(vectors("fuzz_pjsip", f"fuzz-{kind}_seed_corpus.zip")) as archive:
        for name in sorted(n for n in archive.namelist() if not n.endswith("/")):
            data = archive.read(name)
            if kind == "sip":
                yield name, [data]
                yield name + " sized", [sized(data)]
            elif kind == "sdp":
                yield name, [offered(data)]
            else:
                text = data.strip()
                yield name, [sized(invite(uri=text))]
                yield name + " in Contact", [sized(invite(more=b"Contact: " + text + b"\r\n"))]
                yield name + " in a list", [sized(invite(more=b"Record-Route: " + text + b"\r\n"))]


def descriptions() -> Iterator[Case]:
    """Session descriptions that are files, and those of another fuzzer."""
    for path in sorted(vectors("sdp_transform").iterdir()):
        yield path.name, [offered(path.read_bytes())]
    with zipfile.ZipFile(vectors("fuzz_rtp_rtcp_sdp", "janus_corpora.zip")) as archive:
        for name in sorted(n for n in archive.namelist() if n.startswith("sdp_fuzzer/")):
            if not name.endswith("/"):
                yield name, [offered(archive.read(name))]


def offered(description: bytes) -> bytes:
    """A call that offers this, its bytes untouched."""
    head = invite(
        more=b"Content-Type: application/sdp\r\nContent-Length: %d\r\n" % len(description)
    )
    return head + description
