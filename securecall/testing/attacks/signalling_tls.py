"""D9, S2: who stands between a client and its server, and who gets the server's key later."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from functools import partial
from hmac import digest
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securecall.errors import CertificateError, ConnectFailed, SecurecallError
from securecall.testing.attacks.outcome import Attack, Outcome, control, named, ours
from securecall.testing.authority import Authority
from securecall.transport import tls
from securecall.transport.tls import PemPair

_NAME: Final = "provider.test"
_REQUEST: Final = b"REGISTER sip:provider.test SIP/2.0\r\nAuthorization: Digest secret\r\n\r\n"


def _server(pair: PemPair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def _careless() -> ssl.SSLContext:
    """A client that looks at nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _pretenders(folder: Path) -> tuple[Authority, dict[str, ssl.SSLContext | None]]:
    """The authority that is trusted, and servers that prove less than the name."""
    trusted, hers = Authority.make(folder / "trusted"), Authority.make(folder / "hers")
    return trusted, {
        "an authority of her own": _server(hers.issue(_NAME)),
        "another name": _server(trusted.issue("elsewhere.test")),
        "no TLS at all": None,
    }


class _Listener:
    """A server of hers that remembers what it was told."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self.heard = b""
        self._done = asyncio.Event()

    async def meet(self, trusted: Authority | None = None) -> str:
        """Let a client come: ours with an authority, a careless one without; the error's name."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        port = server.sockets[0].getsockname()[1]
        refusal = ""
        try:
            if trusted is None:
                context = None if self._context is None else _careless()
                _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
                writer.write(_REQUEST)
                await writer.drain()
                writer.close()
            else:
                refusal = await self._ours(port, trusted)
            async with asyncio.timeout(5):
                _ = await self._done.wait()
        except TimeoutError:
            pass  # a handshake that failed calls nobody
        finally:
            server.close()
        return refusal

    async def _ours(self, port: int, trusted: Authority) -> str:
        context = tls.client_context(trusted.pem)
        try:
            connection = await tls.connect("127.0.0.1", port, server_name=_NAME, context=context)
        except SecurecallError as e:
            self._done.set()
            return named(e) if isinstance(e, CertificateError | ConnectFailed) else ""
        connection.send(_REQUEST)
        await connection.close()
        return ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(2):
                self.heard += await reader.read(4096)
        writer.close()
        self._done.set()


async def _told_everything(folder: Path) -> Outcome:
    outcome = Outcome()
    _, servers = _pretenders(folder)
    for what, context in servers.items():
        listener = _Listener(context)
        _ = await listener.meet()
        outcome.demand(listener.heard == _REQUEST, f"{what}: she heard nothing")
        outcome.readable += len(listener.heard)
    outcome.got = f"a client that looks at nothing told her everything, {len(servers)} times"
    return outcome


async def _pretends(what: str, folder: Path) -> Outcome:
    trusted, servers = _pretenders(folder)
    listener = _Listener(servers[what])
    refusal = await listener.meet(trusted)
    outcome = Outcome(refusals=(refusal,) if refusal else ())
    outcome.demand(refusal, "the connection was not refused")
    said = b"" if servers[what] is not None else listener.heard[:1].strip(b"\x16")
    outcome.demand(not said and b"SIP" not in listener.heard, "she heard of it")
    outcome.got = "not a word of SIP was said"
    return outcome


D9: Final[Attack] = (
    control("a client that looks at nothing", _told_everything),
    *(
        ours(what, partial(_pretends, what))
        for what in ("an authority of her own", "another name", "no TLS at all")
    ),
)


# -- S2: the server's key, afterwards -----------------------------------------------------------


class _Tap:
    """A connection over memory, all of which is recorded."""

    def __init__(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        self.up = self.down = b""
        self._wires = [ssl.MemoryBIO() for _ in range(4)]
        to_client, from_client, to_server, from_server = self._wires
        self.client = client.wrap_bio(to_client, from_client, server_hostname=_NAME)
        self.server = server.wrap_bio(to_server, from_server, server_side=True)

    def shake_hands(self) -> None:
        """Connect; raises ssl.SSLError where an end refuses."""
        for _ in range(10):
            for end in (self.client, self.server):
                with contextlib.suppress(ssl.SSLWantReadError):
                    end.do_handshake()
                self.carry()

    def say(self, text: bytes) -> bytes:
        """Let the client say something; what the server got."""
        _ = self.client.write(text)
        self.carry()
        return self.server.read(4096)

    def carry(self) -> None:
        to_client, from_client, to_server, from_server = self._wires
        up, down = from_client.read(), from_server.read()
        self.up, self.down = self.up + up, self.down + down
        _ = to_server.write(up)
        _ = to_client.write(down)

    def opened_with(self, key: rsa.RSAPrivateKey) -> bytes:
        """What the server's key makes of the recording: RSA key exchange has no more secrets.

        Follows RFC 5246 7.4.7.1 and 8.1, RFC 7627 4, RFC 5288 3; b"" where there is no such
        exchange in it, or nothing opens.
        """
        said, answered = list(_tls_records(self.up)), list(_tls_records(self.down))
        messages = [m for kind, body in said if kind == 22 for m in _messages(body)]
        exchange = next((m for m in messages if m[:1] == b"\x10"), b"")
        if len(exchange) < 6:
            return b""
        try:
            premaster = key.decrypt(exchange[6:], padding.PKCS1v15())
        except ValueError:
            return b""
        theirs = [m for kind, body in answered if kind == 22 for m in _messages(body)]
        hello, flight = messages[0], [m for m in theirs if m[:1] in b"\x02\x0b\x0e"]
        transcript = hello + b"".join(flight) + exchange
        randoms = flight[0][6:38] + hello[6:38]
        seed = hashlib.sha384(transcript).digest()
        master = _prf(premaster, b"extended master secret" + seed, 48)
        block = _prf(master, b"key expansion" + randoms, 72)
        sealed = [(kind, body) for kind, body in said if kind == 23]
        opened = b""
        for number, (kind, body) in enumerate(sealed, start=1):  # Finished was number 0
            header = number.to_bytes(8) + bytes((kind,)) + b"\x03\x03"
            with contextlib.suppress(InvalidTag):
                opened += AESGCM(block[:32]).decrypt(
                    block[64:68] + body[:8], body[8:], header + (len(body) - 24).to_bytes(2)
                )
        return opened


def _prf(secret: bytes, seed: bytes, length: int) -> bytes:
    """The pseudorandom function of TLS 1.2 (RFC 5246 5), with SHA-384."""
    made, a = b"", seed
    while len(made) < length:
        a = digest(secret, a, "sha384")
        made += digest(secret, a + seed, "sha384")
    return made[:length]


def _tls_records(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while len(data) >= 5:
        length = int.from_bytes(data[3:5])
        found.append((data[0], data[5 : 5 + length]))
        data = data[5 + length :]
    return found


def _messages(body: bytes) -> list[bytes]:
    found = []
    while len(body) >= 4:
        length = 4 + int.from_bytes(body[1:4])
        found.append(body[:length])
        body = body[length:]
    return found


def _server_of(folder: Path, suites: str) -> tuple[Authority, rsa.RSAPrivateKey, ssl.SSLContext]:
    authority = Authority.make(folder)
    key = rsa.generate_private_key(65537, 2048)
    context = _server(authority.issue(_NAME, key=key))
    if suites:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(suites)
    return authority, key, context


_STATIC: Final = "AES256-GCM-SHA384"  # RSA encrypts the secret; the server's key opens it for ever


async def _stolen_key(folder: Path) -> Outcome:
    _, key, server = _server_of(folder, _STATIC)
    client = _careless()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(_STATIC)
    tap, outcome = _Tap(client, server), Outcome()
    tap.shake_hands()
    outcome.demand(tap.say(_REQUEST) == _REQUEST, "the server was told nothing")
    found = tap.opened_with(key)
    outcome.readable = len(found)
    outcome.demand(found == _REQUEST, f"the key opened {found!r}")
    outcome.got = f"with the server's key she reads {len(found)} bytes of the recording"
    return outcome


async def _static_refused(folder: Path) -> Outcome:
    authority, _, server = _server_of(folder, _STATIC)
    tap, outcome = _Tap(tls.client_context(authority.pem), server), Outcome()
    try:
        tap.shake_hands()
        outcome.problems.append("connected without forward secrecy")
    except ssl.SSLError as e:
        outcome.refusals = (f"SSLError: {e.reason}",)
    outcome.got = "no suite of both has a secret that lasts"
    return outcome


async def _stolen_for_nothing(suites: str, folder: Path) -> Outcome:
    authority, key, server = _server_of(folder, suites)
    tap, outcome = _Tap(tls.client_context(authority.pem), server), Outcome()
    tap.shake_hands()
    outcome.demand(tap.say(_REQUEST) == _REQUEST, "the server was told nothing")
    outcome.readable = len(tap.opened_with(key))
    outcome.demand(_REQUEST not in tap.up, "it lies open")
    cipher = tap.client.cipher()
    outcome.got = f"{cipher[0] if cipher else '?'}: the key opens nothing of it"
    return outcome


S2: Final[Attack] = (
    control("a client that lets RSA carry the secret", _stolen_key),
    ours("a server that wants it so", _static_refused),
    ours("TLS 1.2", partial(_stolen_for_nothing, "ECDHE+AESGCM")),
    ours("TLS 1.3", partial(_stolen_for_nothing, "")),
)
