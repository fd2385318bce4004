"""A web server that takes files and gives them back, keeps all it was told, and can misbehave."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement

from securecall.transport.tls_context import server_context

INFO = "{http://jabber.org/protocol/disco#info}"
ITEMS = "{http://jabber.org/protocol/disco#items}"
UPLOAD = "{urn:xmpp:http:upload:0}"


@dataclass
class UploadServer:
    """Answers as `answers` says, by path; otherwise keeps what is put and gives it back."""

    pair: object
    name: str = "127.0.0.1"
    files: dict[str, bytes] = field(default_factory=dict)
    seen: list[bytes] = field(default_factory=list)
    answers: dict[str, list[bytes]] = field(default_factory=dict)
    connections: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    hold: asyncio.Event | None = None
    port: int = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=server_context(self.pair)
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._tasks = set()
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports close in the next turn

    def url(self, path="/1.bin"):
        return f"https://{self.name}:{self.port}{path}"

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        self.connections += 1
        self.begun.set()
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._exchange(reader, writer)
        finally:
            self.ended.set()
            writer.transport.abort()

    async def _exchange(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, _ = head.decode().split(" ", 2)
        fields = dict(
            line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if line
        )
        if path in self.answers:
            self.seen.append(head)
            for piece in self.answers[path]:
                writer.write(piece)
                await writer.drain()
            if self.hold is not None:
                await self.hold.wait()
            writer.close()
            await writer.wait_closed()
            return
        body = await reader.readexactly(int(fields.get("content-length", "0")))
        self.seen.append(head + body)
        if method == "PUT":
            self.files[path] = body
            writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        elif path in self.files:
            data = self.files[path]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        else:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()


class Asked:
    """A session whose server has one upload service, at `web`."""

    def __init__(self, web, *, most=0, headers=(), get="", offer=True):
        self.domain = "home.example"
        self.requests = []
        self._web, self._most, self._headers, self._get = web, most, headers, get
        self._offer = offer

    async def request(self, payload, *, to="", kind="get", timeout=30):
        self.requests.append((to, payload))
        if payload.tag == f"{ITEMS}query":
            answer = Element(payload.tag)
            SubElement(answer, f"{ITEMS}item", {"jid": "upload.home.example"})
            SubElement(answer, f"{ITEMS}item", {"jid": "rooms.home.example"})
            return answer
        if payload.tag == f"{INFO}query":
            answer = Element(payload.tag)
            if to == "upload.home.example" and self._offer:
                SubElement(answer, f"{INFO}feature", {"var": "urn:xmpp:http:upload:0"})
                form = SubElement(answer, "{jabber:x:data}x", {"type": "result"})
                for var, value in (
                    ("FORM_TYPE", "urn:xmpp:http:upload:0"),
                    ("max-file-size", str(self._most or "")),
                ):  # fmt: skip
                    entry = SubElement(form, "{jabber:x:data}field", {"var": var})
                    SubElement(entry, "{jabber:x:data}value").text = value
            return answer
        slot = Element(f"{UPLOAD}slot")
        path = "/" + payload.get("filename")
        put = SubElement(slot, f"{UPLOAD}put", {"url": self._web.url(path)})
        for name, value in self._headers:
            SubElement(put, f"{UPLOAD}header", {"name": name}).text = value
        SubElement(slot, f"{UPLOAD}get", {"url": self._get or self._web.url(path)})
        return slot

    @property
    def slots(self):
        return [p for _, p in self.requests if p.tag == f"{UPLOAD}request"]
