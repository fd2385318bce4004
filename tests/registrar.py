"""A SIP domain on loopback for one address: name server, TLS server, registrar; each as told."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from securecall.account import SignIn
from securecall.address import parse_address
from securecall.doctor.examination import examine
from securecall.doctor.finding import Diagnosis
from securecall.secret import Secret
from securecall.sip.digest import parse_fields
from securecall.sip.headers import Headers
from securecall.sip.message import Request, Response, build_message
from securecall.sip.stream import MessageStream
from securecall.transport import tls
from securecall.transport.resolver import Resolver
from securecall.transport.tls import PemPair, TlsConnection
from tests.dns_server import Answer, serving

DOMAIN = "clinic.example"
HOST = "sip.host.example"
PASSWORD = "correct battery staple"
HASHES = {"MD5": "md5", "SHA-256": "sha256"}


def hashed(algorithm: str, *parts: str) -> str:
    return hashlib.new(HASHES[algorithm], ":".join(parts).encode()).hexdigest()


def response_to(fields: dict[str, str], method: str, password: str) -> str:
    """What Digest credentials with these fields have to hold."""
    algorithm = fields["algorithm"]
    secret = hashed(algorithm, fields["username"], fields["realm"], password)
    act = hashed(algorithm, method, fields["uri"])
    middle = [fields["nonce"], fields["nc"], fields["cnonce"], fields["qop"]]
    return hashed(algorithm, secret, *middle, act)


def credentials(request: Request) -> dict[str, str]:
    value = request.headers.first("authorization")
    return parse_fields(value, len("Digest ")) if value else {}


@dataclass
class Registrar:
    """Takes REGISTER and OPTIONS; what it is told to say takes precedence.

    Attributes:
        more: Fields of every 200 to a REGISTER.
        says: Makes the answer to a request, None for the usual one; b"" is silence.
        heard: Every request.
        answers: Every response.
        bytes: All that came.
    """

    user: str = "alice"
    password: str = PASSWORD
    realm: str = DOMAIN
    algorithms: tuple[str, ...] = ("SHA-256", "MD5")
    challenges: bool = True
    more: tuple[tuple[str, str], ...] = ()
    product: str = "test registrar 1.0"
    says: Callable[[Request], bytes | None] = lambda _: None
    heard: list[Request] = field(default_factory=list)
    answers: list[Response] = field(default_factory=list)
    bytes: bytearray = field(default_factory=bytearray)

    async def serve(self, connection: TlsConnection) -> None:
        stream = MessageStream()
        while stream.failure is None and (data := await connection.receive()):
            self.bytes += data
            for message in stream.feed(data):
                if isinstance(message, Response):
                    self.answers.append(message)
                    continue
                self.heard.append(message)
                told = self.says(message)
                connection.send(build_message(self.answer(message)) if told is None else told)

    def answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            fields = (("Server", self.product), ("Allow", "INVITE, ACK, BYE, OPTIONS, REGISTER"))
            return reply(request, 200, *fields, ("Supported", "path, outbound"))
        if request.method != "REGISTER":
            return reply(request, 405)
        if self.challenges and not self.proved(request):
            return reply(request, 401, *(self.challenge(a) for a in self.algorithms))
        contact = request.headers.first("contact") or ""
        removed = ";expires=0" in contact
        fields = () if removed else (("Contact", contact.replace("expires=600", "expires=300")),)
        return reply(request, 200, *fields, *self.more)

    def challenge(self, algorithm: str) -> tuple[str, str]:
        value = f'Digest realm="{self.realm}", nonce="n{len(self.heard)}", qop="auth"'
        return "WWW-Authenticate", f"{value}, algorithm={algorithm}"

    def proved(self, request: Request) -> bool:
        fields = credentials(request)
        return (
            fields.get("username") == self.user
            and response_to(fields, request.method, self.password) == fields["response"]
        )


def reply(
    request: Request, status: int, *fields: tuple[str, str], reason: str = "Said"
) -> Response:
    names = ("via", "from", "to", "call-id", "cseq")
    copied = [(name, request.headers.first(name) or "") for name in names]
    return Response(status, reason, Headers([*copied, *fields]))


@dataclass(frozen=True)
class Site:
    """The domain as it runs.

    Attributes:
        port: Of the TLS server.
        authority: What to trust.
        nameserver: To ask.
    """

    port: int
    authority: Path
    nameserver: tuple[str, int]
    registrar: Registrar

    @property
    def resolver(self) -> Resolver:
        return Resolver(nameservers=[self.nameserver])

    def sign_in(self, **options: object) -> SignIn:
        known: dict[str, object] = {
            "address": parse_address(f"sip:alice@{DOMAIN}"),
            "password": Secret(PASSWORD),
            "authorities": self.authority,
        }
        return SignIn(**(known | options))  # type: ignore[arg-type] # by name

    async def examine(self, *, patience: float = 8.0, **options: object) -> Diagnosis:
        how = self.sign_in(**options)
        return await examine(how, resolver=self.resolver, patience=patience)


@asynccontextmanager
async def site(
    authority: Path,
    certificate: PemPair,
    registrar: Registrar | None = None,
    table: Callable[[int], dict[tuple[str, str], Answer]] | None = None,
) -> AsyncIterator[Site]:
    """Run it; `table` is what DNS says, given the port of the TLS server."""
    registrar = registrar or Registrar()
    async with AsyncExitStack() as stack:
        listener = await tls.listen("127.0.0.1", 0, registrar.serve, certificate=certificate)
        stack.push_async_callback(listener.close)
        port = listener.address[1]
        names = await stack.enter_async_context(serving((table or one_server)(port)))
        yield Site(port, authority, names.address, registrar)


def one_server(port: int) -> dict[tuple[str, str], Answer]:
    return {
        (f"_sips._tcp.{DOMAIN}", "SRV"): [f"10 0 {port} {HOST}."],
        (HOST, "A"): ["127.0.0.1"],
    }


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes a connection and says nothing, until the other end is gone."""
    try:
        with contextlib.suppress(OSError):
            _ = await reader.read()
    finally:
        writer.transport.abort()
