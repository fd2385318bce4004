"""M2: a server that keeps every upload and every request for a place, to learn from them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from securecall.chat.message import SharedFile
from securecall.testing.attacks.outcome import Attack, Outcome, control, ours
from securecall.testing.authority import Authority
from securecall.transport.https import Https
from securecall.transport.tls_context import server_context
from securecall.transport.web_address import parse_web_address
from securecall.xmpp.sharing import Sharing

_PLAIN: Final = b"the patient's name is in here " * 300
_NAME, _TYPE = "biopsy.pdf", "application/pdf"
_INFO: Final = "{http://jabber.org/protocol/disco#info}"
_ITEMS: Final = "{http://jabber.org/protocol/disco#items}"
_UPLOAD: Final = "{urn:xmpp:http:upload:0}"


class _Curious:
    """An account's server, and the web server beside it; all it is told is in `told`."""

    domain = "home.example"

    def __init__(self) -> None:
        self.told = b""
        self.files: list[bytes] = []
        self.port = 0

    async def request(
        self,
        payload: Element,
        *,
        to: str = "",
        kind: str = "get",
        timeout: float = 30.0,
    ) -> Element:
        """Answer what a client asks for before an upload (XEP-0363)."""
        self.told += tostring(payload)
        answer = Element(payload.tag)
        if payload.tag == f"{_INFO}query":
            _ = SubElement(answer, f"{_INFO}feature", {"var": "urn:xmpp:http:upload:0"})
        elif payload.tag != f"{_ITEMS}query":
            answer = Element(f"{_UPLOAD}slot")
            url = f"https://127.0.0.1:{self.port}/{payload.get('filename')}"
            for what in ("put", "get"):
                _ = SubElement(answer, _UPLOAD + what, {"url": url})
        return answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a file, and say so."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(x for x in head.lower().split(b"\r\n") if x.startswith(b"content-length"))
            body = await reader.readexactly(int(size.partition(b":")[2]))
            self.told += head
            self.files.append(body)
            writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        writer.close()


async def _uploaded(
    folder: Path, upload: Callable[[_Curious, Authority], Awaitable[None]]
) -> _Curious:
    authority, curious = Authority.make(folder / "authority"), _Curious()
    pair = authority.issue("127.0.0.1")
    server = await asyncio.start_server(curious.serve, "127.0.0.1", 0, ssl=server_context(pair))
    curious.port = server.sockets[0].getsockname()[1]
    try:
        await upload(curious, authority)
    finally:
        server.close()
    return curious


async def _as_usual(folder: Path) -> Outcome:
    """An upload as on the web: over TLS, with its name and type, and open to the server."""

    async def upload(curious: _Curious, authority: Authority) -> None:
        context = ssl.create_default_context(cafile=str(authority.pem))
        reader, writer = await asyncio.open_connection("127.0.0.1", curious.port, ssl=context)
        head = f"PUT /{_NAME} HTTP/1.1\r\nContent-Type: {_TYPE}\r\nContent-Length: {len(_PLAIN)}"
        writer.write(f"{head}\r\n\r\n".encode() + _PLAIN)
        _ = await reader.readline()
        writer.close()

    curious, outcome = await _uploaded(folder, upload), Outcome()
    outcome.readable = sum(len(file) for file in curious.files if b"patient" in file)
    outcome.demand(outcome.readable == len(_PLAIN), "the server cannot read it")
    outcome.demand(_NAME.encode() in curious.told, "the server does not know its name")
    outcome.got = f"the server reads all {outcome.readable:,} bytes, their name and their type"
    return outcome


async def _sealed(folder: Path) -> Outcome:
    shared: list[SharedFile] = []

    async def upload(curious: _Curious, authority: Authority) -> None:
        own = parse_web_address(f"https://127.0.0.1:{curious.port}/")
        sharing = Sharing(curious, Https(authorities=authority.pem, own=[own]))
        shared.append(await sharing.upload(_PLAIN, folder, name=_NAME, media_type=_TYPE))

    curious, outcome = await _uploaded(folder, upload), Outcome()
    (file,), (kept,) = shared, curious.files
    seen = curious.told + kept
    for secret in (file.key.reveal(), file.iv, file.sha256, _PLAIN[:16]):
        for form in (secret, secret.hex().encode(), base64.b64encode(secret)):
            outcome.demand(form not in seen, "a key, a hash or the content is there")
    for word in (b"biopsy", b"pdf", b"patient", b"securecall", b"python", b"user-agent"):
        outcome.demand(word not in curious.told.lower(), f"it was told {word.decode()!r}")
    outcome.demand(str(len(_PLAIN)).encode() not in curious.told, "it was told the size")
    outcome.demand(len(kept) > len(_PLAIN) + 16, "the length is not padded")
    outcome.got = f"{len(kept):,} bytes of ciphertext under a random name, and nothing else"
    return outcome


M2: Final[Attack] = (
    control("an upload as on the web", _as_usual),
    ours("an upload of ours", _sealed),
)
