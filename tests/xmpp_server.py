"""An XMPP server of a few lines that breaks whatever rule a test asks it to break."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.etree.ElementTree import Element

from securecall.address import parse_address
from securecall.secret import Secret
from securecall.xmpp.session import XmppLogin
from securecall.xmpp.xml import Read, StreamEnd, StreamHeader, StreamParser
from tests.forge_certificate import Forged, forge, server_context

DOMAIN = "chat.clinic.example"
PASSWORD = "pencil of alice"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
SM = "urn:xmpp:sm:3"
ROOT = forge(common_name="root", authority=True)


class Ended(Exception):
    """The client is gone."""


@dataclass
class Manners:
    """How this server behaves; as it should, unless a test says otherwise."""

    mechanisms: tuple[str, ...] = ("SCRAM-SHA-256",)
    iterations: int = 4096
    signature: bytes | None = None  # in place of the right one
    nonce: str | None = None
    more: str = ""  # at the end of the server's first message
    bindings: tuple[str, ...] | None = None
    skip_challenge: bool = False
    first_features: str | None = None  # before TLS, in place of STARTTLS
    after_proceed: bytes = b""
    features: str = f"<bind xmlns='{BIND}'/><sm xmlns='{SM}'/>"  # after the login
    jid: str | None = None
    opening: str = "<?xml version='1.0'?>"
    resume: bool = True


@dataclass(eq=False)
class Peer:
    """One client, as the server sees it; `heard` is all it said, in clear."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    manners: Manners
    heard: bytearray = field(default_factory=bytearray)
    said: list[str] = field(default_factory=list)
    user: str = ""
    has: tuple[str, ...] = ()  # mechanisms, where somebody in between shows others
    encrypted: bool = False
    parser: StreamParser = field(default_factory=StreamParser)
    waiting: list[Read] = field(default_factory=list)

    def send(self, text: str | bytes) -> None:
        self.writer.write(text.encode() if isinstance(text, str) else text)

    async def read(self) -> Read:
        while not self.waiting:
            data = await self.reader.read(65536)
            if not data:
                raise Ended
            self.heard += data
            self.waiting += self.parser.feed(data)
        return self.waiting.pop(0)

    async def expect(self, tag):
        """Read one element; not an `assert`, which would be left out with its reading under -O."""
        found = (await self.next()).tag
        if found != tag:
            raise AssertionError(f"{tag} was expected, {found} came")

    async def next(self) -> Element:
        read = await self.read()
        if isinstance(read, StreamEnd):
            raise Ended
        assert isinstance(read, Element), read
        self.said.append(read.tag.rpartition("}")[2])
        return read

    async def begin(self, features: str | None) -> None:
        self.parser, self.waiting = StreamParser(), []
        header = await self.read()
        assert isinstance(header, StreamHeader)
        self.send(
            f"{self.manners.opening}<stream:stream xmlns='jabber:client' id='1' version='1.0' "
            f"xmlns:stream='http://etherx.jabber.org/streams' from='{DOMAIN}'>"
        )
        if features is not None:
            self.send(f"<stream:features>{features}</stream:features>")

    async def start_tls(self, context: ssl.SSLContext) -> None:
        first = self.manners.first_features
        await self.begin(f"<starttls xmlns='{TLS}'/>" if first is None else first)
        await self.expect(f"{{{TLS}}}starttls")
        self.send(f"<proceed xmlns='{TLS}'/>".encode() + self.manners.after_proceed)
        await self.writer.start_tls(context)
        self.encrypted = True

    async def login(self) -> None:
        manners = self.manners
        offered = "".join(f"<mechanism>{m}</mechanism>" for m in manners.mechanisms)
        bindings = ""
        if manners.bindings is not None:
            kinds = "".join(f"<channel-binding type='{b}'/>" for b in manners.bindings)
            bindings = f"<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'>{kinds}"
            bindings += "</sasl-channel-binding>"
        await self.begin(f"<mechanisms xmlns='{SASL}'>{offered}</mechanisms>{bindings}")
        auth = await self.next()
        assert auth.tag == f"{{{SASL}}}auth", auth.tag
        if manners.skip_challenge:
            self.send(f"<success xmlns='{SASL}'/>")
            return
        hashed = auth.get("mechanism", "").removesuffix("-PLUS").removeprefix("SCRAM-")
        name = hashed.replace("-", "").lower()
        first = base64.b64decode(auth.text or "").decode()
        header, _, bare = first.partition(",,")
        self.user = bare.split(",")[0][2:]
        nonce = bare.partition("r=")[2] + "0123456789" if manners.nonce is None else manners.nonce
        salt = base64.b64encode(b"salt of the earth").decode()
        challenge = f"r={nonce},s={salt},i={manners.iterations}{manners.more}"
        self._say("challenge", challenge)
        final = base64.b64decode((await self.next()).text or "").decode()
        without, _, proof = final.rpartition(",p=")
        bound = base64.b64decode(without.partition(",")[0][2:]).removeprefix(f"{header},,".encode())
        said = f"{bare},{challenge},{without}".encode()
        salted = hashlib.pbkdf2_hmac(
            name, PASSWORD.encode(), b"salt of the earth", manners.iterations
        )
        key = hmac.digest(salted, b"Client Key", name)
        signature = hmac.digest(hashlib.new(name, key).digest(), said, name)
        right = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        plus = auth.get("mechanism", "").endswith("-PLUS")
        offers_plus = any(m.endswith("-PLUS") for m in self.has or manners.mechanisms)
        same = not plus or bound == self._binding(header.removeprefix("p="))
        if base64.b64decode(proof) != right or not same or (header == "y" and offers_plus):
            self.send(f"<failure xmlns='{SASL}'><not-authorized/></failure>")
            raise Ended
        verifier = hmac.digest(hmac.digest(salted, b"Server Key", name), said, name)
        verifier = verifier if manners.signature is None else manners.signature
        self._say("success", f"v={base64.b64encode(verifier).decode()}" if verifier else "")

    def _binding(self, kind: str) -> bytes:
        tls = self.writer.get_extra_info("ssl_object")
        if kind == "tls-unique":
            return tls.get_channel_binding("tls-unique")
        certificate = LEAF.certificate.public_bytes(base_der())
        return hashlib.sha256(certificate).digest()

    def _say(self, name: str, text: str) -> None:
        self.send(f"<{name} xmlns='{SASL}'>{base64.b64encode(text.encode()).decode()}</{name}>")

    async def bind(self) -> str:
        """Also begins stream management, if asked; returns the id of the session."""
        await self.begin(self.manners.features)
        iq = await self.next()
        if iq.tag == f"{{{SM}}}resume":
            return iq.get("previd", "")
        resource = iq.findtext(f"{{{BIND}}}bind/{{{BIND}}}resource")
        jid = self.manners.jid or f"{self.user}@{DOMAIN}/{resource}"
        self.send(
            f"<iq type='result' id='{iq.get('id')}'>"
            f"<bind xmlns='{BIND}'><jid>{jid}</jid></bind></iq>"
        )
        if SM not in self.manners.features:
            return ""
        await self.expect(f"{{{SM}}}enable")
        resume = " resume='true'" if self.manners.resume else ""
        self.send(f"<enabled xmlns='{SM}' id='session-1'{resume}/>")
        return ""


def base_der():
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.DER


LEAF = forge(ROOT, DOMAIN)
Script = Callable[[Peer], Awaitable[None]]


@dataclass
class FakeServer:
    """A server on loopback and every client it had."""

    login: XmppLogin
    peers: list[Peer] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


@contextlib.asynccontextmanager
async def serving(
    script: Script,
    folder: Path,
    *,
    manners: Manners | None = None,
    direct: bool = True,
    leaf: Forged = LEAF,
    version: ssl.TLSVersion | None = None,
) -> AsyncIterator[FakeServer]:
    """Run `script` for each client; with `direct`, TLS comes first.

    Without, the script begins with `Peer.start_tls`.
    """
    context = server_context(folder, leaf)
    if version is not None:
        context.maximum_version = version
    root = folder / "root.pem"
    root.write_bytes(ROOT.pem)
    server = FakeServer(
        XmppLogin(address=parse_address(f"xmpp:alice@{DOMAIN}"), password=Secret(PASSWORD))
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer, manners or Manners(), encrypted=direct)
        server.peers.append(peer)
        server.arrived.set()
        try:
            if not direct:
                await peer.start_tls(context)
            await script(peer)
        except (Ended, OSError, ssl.SSLError, asyncio.IncompleteReadError):
            pass
        except Exception as e:
            server.failures.append(e)
        finally:
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.drain()
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context if direct else None)
    port = listener.sockets[0].getsockname()[1]
    server.login = replace(
        server.login, server=("127.0.0.1", port), direct=direct, authorities=root
    )
    try:
        yield server
    finally:
        listener.close()
        for peer in server.peers:
            peer.writer.transport.abort()
        await listener.wait_closed()
        if server.failures:
            raise server.failures[0]


async def online(peer: Peer) -> None:
    """The script of a server that does nothing wrong, and nothing more than to log in."""
    await peer.login()
    await peer.bind()
    await quietly(peer)


async def quietly(peer: Peer) -> None:
    """Take whatever comes; count it."""
    taken = 0
    while True:
        element = await peer.next()
        name = element.tag.rpartition("}")[2]
        if name in ("message", "presence", "iq"):
            taken += 1
        elif name == "r":
            peer.send(f"<a xmlns='{SM}' h='{taken}'/>")
