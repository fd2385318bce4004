"""A SIP server that says yes to everything, for those who measure clients: `sip_server FOLDER`.

Prints its port and the file of its authority as JSON, and works until its standard input closes.
It is one process for every client measured, so what it costs is nobody's.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from securecall.sip.message import Request
from securecall.sip.stream import MessageStream
from securecall.testing.authority import Authority
from securecall.transport import tls
from tests.bench.measure import answer

DOMAIN = "bench.example"
_DTLS = (
    "m=audio 40000 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 127.0.0.1\r\na=rtcp-mux\r\na=setup:passive\r\n"
    f"a=fingerprint:sha-256 {':'.join(['AB'] * 32)}\r\n"
)
_PLAIN = "m=audio 40000 RTP/AVP 0\r\nc=IN IP4 127.0.0.1\r\n"


def reply(request: Request) -> bytes:
    """A 200 with what the method needs."""
    lines = ["SIP/2.0 200 OK"]
    for name in ("via", "record-route", "from", "to", "call-id", "cseq"):
        for value in request.headers.all(name):
            tagged = f"{value};tag=server" if name == "to" and "tag=" not in value else value
            lines.append(f"{name}: {tagged}")
    body = ""
    if request.method == "REGISTER":
        lines += [f"Contact: {value}" for value in request.headers.all("contact")]
        lines.append("Expires: 600")
    elif request.method == "INVITE":
        media = _DTLS if b"UDP/TLS" in request.body else _PLAIN
        body = f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{media}"
        lines += [f"Contact: <sip:callee@{DOMAIN};transport=tls>", "Content-Type: application/sdp"]
    lines += [f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(lines).encode()


async def serve(connection: tls.TlsConnection) -> None:
    """Answer one client until it leaves."""
    stream = MessageStream()
    while data := await connection.receive():
        for message in stream.feed(data):
            if isinstance(message, Request) and message.method != "ACK":
                connection.send(reply(message))


async def main() -> None:
    """Serve until standard input closes."""
    authority = Authority.make(Path(sys.argv[1]))
    pair = authority.issue(DOMAIN, "localhost", "127.0.0.1")
    listener = await tls.listen("127.0.0.1", 0, serve, certificate=pair, origin=lambda _: "")
    answer(port=listener.address[1], authority=str(authority.pem))
    _ = await asyncio.to_thread(sys.stdin.read)
    await listener.close()


if __name__ == "__main__":
    asyncio.run(main())
