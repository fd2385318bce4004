"""Servers that are not who they should be: each is refused before it hears a byte of SIP.

Every server that can be talked to at all is then met by a client that verifies nothing: it tells
the server everything, so each attack works where the protection is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from securecall.errors import CertificateError, ConnectFailed
from securecall.transport import tls
from tests.forge_certificate import DAY, Forged, forge, raw_names, server_context, usage

DOMAIN = "clinic.example"
REQUEST = b"REGISTER sip:clinic.example SIP/2.0\r\nAuthorization: Digest\r\n\r\n"
OLD = "ended the TLS handshake"  # asyncio's servers say no more
BANNER = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"
ROOT = forge(common_name="root", authority=True)
RSA_ROOT = forge(common_name="rsa root", authority=True, bits=2048)  # ECDSA has no MD5


@dataclass(frozen=True)
class Peer:
    """A server to be refused.

    Attributes:
        context: What TLS it speaks; None for none.
        first: Said before TLS.
        then: After `first`: "tls", "close" or "silence".
        name: Asked for.
        error: What we raise.
        words: In the message.
    """

    context: Callable[[Path], ssl.SSLContext] | None
    words: str
    first: bytes = b""
    then: str = "tls"
    name: str = DOMAIN
    error: type[Exception] = CertificateError


Client = Callable[[Peer, str, int], Awaitable[None]]


def leaf(*names: str, words: str, name: str = DOMAIN, by: Forged = ROOT, **how) -> Peer:
    """A certificate of an authority that is trusted."""
    return Peer(lambda folder: server_context(folder, forge(by, *names, **how)), words, name=name)


def chain(*below: Callable[[Forged], Forged], words: str, sent: int | None = None) -> Peer:
    """A chain beneath the root, of which only the first certificates are sent."""

    def context(folder: Path) -> ssl.SSLContext:
        made = [ROOT]
        for make in below:
            made.append(make(made[-1]))
        return server_context(folder, *made[:0:-1][:sent])

    return Peer(context, words)


def speaking(words: str, **how) -> Peer:
    """A right certificate, and a TLS that is too old."""

    def context(folder: Path) -> ssl.SSLContext:
        made = server_context(folder, forge(ROOT, DOMAIN, bits=how.get("bits", 0)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            if "version" in how:
                made.minimum_version = made.maximum_version = how["version"]
            else:
                made.maximum_version = ssl.TLSVersion.TLSv1_2
                made.set_ciphers(how["suites"] + ":@SECLEVEL=0")
        return made

    return Peer(context, words, error=ConnectFailed)


def right(folder: Path) -> ssl.SSLContext:
    return server_context(folder, forge(ROOT, DOMAIN))


def self_signed(folder: Path) -> ssl.SSLContext:
    return server_context(folder, forge(None, DOMAIN))


def other_root(folder: Path) -> ssl.SSLContext:
    other = forge(common_name="root", authority=True)
    return server_context(folder, forge(other, DOMAIN), other)


def middle(**how) -> Callable[[Forged], Forged]:
    return lambda by: forge(by, **{"common_name": "middle", "authority": True} | how)


def end(by: Forged) -> Forged:
    return forge(by, DOMAIN)


ONLY_OTHERS = x509.NameConstraints([x509.DNSName("other.example")], None)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")

PEERS = {
    # names
    "another name": leaf("other.example", words="it is for 'other.example', not for"),
    "the host that SRV named": leaf("sip1.clinic.example", words="for 'sip1.clinic.example'"),
    "the domain above": leaf("example", words="for 'example'"),
    "a host below": leaf("www.clinic.example", words="for 'www"),
    "our name and more": leaf("clinic.example.evil.example", words="evil"),
    "a wildcard": leaf("*.clinic.example", words="no wildcards", name="sip.clinic.example"),
    "a wildcard for all": leaf("*", "*.example", words="no wildcards"),
    "a leading dot": Peer(
        lambda f: server_context(f, forge(ROOT, more=[(raw_names(b".clinic.example"), False)])),
        "'.clinic.example'",
        name="sip.clinic.example",
    ),
    "only a common name": leaf(common_name=DOMAIN, words="a common name does not count"),
    "a common name beside others": leaf("other.example", common_name=DOMAIN, words="'other"),
    "a name with a NUL": Peer(
        lambda f: server_context(
            f, forge(ROOT, more=[(raw_names(b"clinic.example\0.evil.example"), False)])
        ),
        r"'clinic.example\x00.evil.example'",
    ),
    "a name with a last dot": leaf("clinic.example.", words="'clinic.example.'"),
    "a name that is no text": Peer(
        lambda f: server_context(f, forge(ROOT, more=[(raw_names(b"\xff\xfe"), False)])),
        "cannot be read",
    ),
    "an address written as a name": leaf("dns:127.0.0.1", words="not for", name="127.0.0.1"),
    "an address written as a URI": leaf("sip:127.0.0.1", words="not for", name="127.0.0.1"),
    "another address": leaf("127.0.0.2", DOMAIN, words="'127.0.0.2'", name="127.0.0.1"),
    "a SIP URI of another domain beside our name": leaf(
        "sip:evil.example", DOMAIN, words="for 'evil.example'"
    ),
    "a SIPS URI": leaf("sips:clinic.example", words="'sips:clinic.example'"),
    "a web URI": leaf("https://clinic.example", words="https"),
    "a URI with a user": leaf("sip:alice@clinic.example", words="alice"),
    "our domain as a user": leaf("sip:clinic.example@evil.example", words="evil"),
    "a thousand names": leaf(*(f"{n}.example" for n in range(1000)), words="and 996 more, not for"),
    # chains
    "expired": leaf(DOMAIN, since=-3 * DAY, until=-DAY, words="it has expired. Its operator"),
    "not yet valid": leaf(DOMAIN, since=DAY, until=2 * DAY, words="not valid yet"),
    "signed by itself": Peer(self_signed, "signed by itself"),
    "another authority of the same name": Peer(other_root, "signed by somebody else"),
    "a missing certificate in between": chain(
        middle(), end, sent=1, words="leaves out a certificate in between"
    ),
    "issued by no authority": chain(middle(authority=False), end, words="no authority"),
    "issued beneath too short a path": chain(
        middle(path_length=0),
        middle(common_name="low"),
        end,
        words="may not have others beneath it",
    ),
    "issued by an authority for other names": chain(
        middle(more=[(ONLY_OTHERS, True)]), end, words="may not certify this name"
    ),
    "an expired authority in between": chain(
        middle(since=-3 * DAY, until=-DAY), end, words="has expired"
    ),
    "for clients only": leaf(
        DOMAIN, uses=[ExtendedKeyUsageOID.CLIENT_AUTH], words="not meant for servers"
    ),
    "for mail only": leaf(
        DOMAIN, uses=[ExtendedKeyUsageOID.EMAIL_PROTECTION], words="not meant for servers"
    ),
    "a key for other uses": leaf(
        DOMAIN, key_usage=usage(certificates=True, signatures=False), words="not meant for servers"
    ),
    "a critical word we do not know": leaf(DOMAIN, more=[(UNKNOWN, True)], words="critical"),
    "a key of 1024 bits": leaf(DOMAIN, bits=1024, words="key is too weak"),
    "signed over SHA-1": leaf(DOMAIN, digest="sha1", words="signature is too weak"),
    "signed over MD5": leaf(DOMAIN, digest="md5", by=RSA_ROOT, words="signature is too weak"),
    # TLS
    "TLS 1.0": speaking(OLD, version=ssl.TLSVersion.TLSv1),
    "TLS 1.1": speaking(OLD, version=ssl.TLSVersion.TLSv1_1),
    "CBC suites only": speaking(OLD, suites="ECDHE-ECDSA-AES128-SHA256"),
    "no forward secrecy": speaking(OLD, suites="AES128-GCM-SHA256", bits=2048),
    "anonymous suites": speaking(OLD, suites="AECDH-AES128-SHA"),
    "plain SIP": Peer(None, "5061", BANNER, "close", error=ConnectFailed),
    "plain SIP before TLS": Peer(right, "does not speak TLS", BANNER, error=ConnectFailed),
    "silence": Peer(None, "in time", then="silence", error=ConnectFailed),
    "a handshake cut short": Peer(None, OLD, then="close", error=ConnectFailed),
}


async def met(peer: Peer, folder: Path, client: Client) -> bytes:
    """Run the server for one client; what it hears: inside TLS, or raw where it speaks none."""
    loop = asyncio.get_running_loop()
    context = peer.context(folder) if peer.context else None

    async def serve(listening: socket.socket) -> bytes:
        sock, _ = await loop.sock_accept(listening)
        with sock:
            try:
                await loop.sock_sendall(sock, peer.first)
                if context is not None:
                    return await inside_tls(sock, context)
                heard = await loop.sock_recv(sock, 65536)
                while peer.then == "silence" and (more := await loop.sock_recv(sock, 65536)):
                    heard += more
            except OSError:  # the client did not like us; ssl.SSLError is one, too
                return b""
            return heard

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        serving = asyncio.create_task(serve(listening))
        try:
            await client(peer, *listening.getsockname())
        finally:
            async with asyncio.timeout(20):
                heard = await serving
    return heard


async def inside_tls(sock: socket.socket, context: ssl.SSLContext) -> bytes:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, ssl=context)
    try:
        return await reader.read()
    finally:
        transport.abort()


async def careless(peer: Peer, host: str, port: int) -> None:
    """A client that takes any server, in TLS, in old TLS, or without."""
    reader, writer = await asyncio.open_connection(host, port)
    _ = await reader.readexactly(len(peer.first))
    if peer.context is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
        await writer.start_tls(context)
    writer.write(REQUEST)
    await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@pytest.fixture
def trusted(tmp_path: Path) -> Path:
    path = tmp_path / "roots.pem"
    path.write_bytes(ROOT.pem + RSA_ROOT.pem)
    return path


def careful(trusted: Path) -> Client:
    async def client(peer: Peer, host: str, port: int) -> None:
        context = tls.client_context(trusted)
        connection = await tls.connect(host, port, server_name=peer.name, context=context)
        connection.send(REQUEST)
        await connection.close()

    return client


@pytest.mark.parametrize("case", PEERS)
def test_a_server_that_does_not_prove_its_name_hears_no_sip(case, trusted, tmp_path, monkeypatch):
    peer = PEERS[case]
    if peer.then == "silence":
        monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 0.1)
    refusals: list[Exception] = []

    async def client(peer: Peer, host: str, port: int) -> None:
        try:
            await careful(trusted)(peer, host, port)
        except (CertificateError, ConnectFailed) as e:
            refusals.append(e)

    heard = asyncio.run(met(peer, tmp_path, client))
    assert [type(e) for e in refusals] == [peer.error]
    assert peer.words in str(refusals[0])
    if peer.error is CertificateError:
        assert repr(peer.name) in str(refusals[0])
    assert str(refusals[0]).isprintable()
    assert len(str(refusals[0])) < 700
    if peer.context is not None:
        assert heard == b""
    else:
        assert heard[:1] == b"\x16"  # a TLS handshake, and nothing after it
        assert len(heard) == 5 + int.from_bytes(heard[3:5], "big")


@pytest.mark.parametrize("case", PEERS)
def test_the_same_server_hears_everything_from_a_client_that_verifies_nothing(case, tmp_path):
    assert asyncio.run(met(PEERS[case], tmp_path, careless)) == REQUEST


GOOD = {
    "our name": leaf(DOMAIN, words=""),
    "in capitals": leaf("CLINIC.Example", words=""),
    "asked in capitals": leaf(DOMAIN, words="", name="Clinic.EXAMPLE."),
    "among others": leaf("other.example", DOMAIN, "127.0.0.1", words=""),
    "a SIP URI": leaf("sip:clinic.example", words=""),
    "a SIP URI beside others": leaf("SIP:Clinic.example;x=y", "sip:b.example", "b.c", words=""),
    "our name beside URIs that are no SIP domain": leaf(
        "sips:evil.example", "sip:alice@evil.example", "https://evil.example", DOMAIN, words=""
    ),
    "an address": leaf("127.0.0.1", words="", name="127.0.0.1"),
    "an IPv6 address": leaf("2001:db8::1", words="", name="[2001:DB8:0::1]"),
    "another script": leaf("xn--4ca.example", words="", name="ä.example"),
    "an authority in between": chain(middle(), end, words=""),
    "RSA": leaf(DOMAIN, by=RSA_ROOT, bits=2048, words=""),
}


@pytest.mark.parametrize("case", GOOD)
def test_a_server_that_proves_its_name_is_spoken_to(case, trusted, tmp_path):
    assert asyncio.run(met(GOOD[case], tmp_path, careful(trusted))) == REQUEST


def test_a_direct_connection_is_good_for_no_name(tmp_path):
    async def client(peer: Peer, host: str, port: int) -> None:
        connection = await tls.connect_direct(host, port)
        assert (connection.direct, connection.verified_name) == (True, "")
        await connection.close()

    assert asyncio.run(met(GOOD["our name"], tmp_path, client)) == b""


def test_the_name_is_looked_at_under_uvloop_too(trusted, tmp_path):
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not for this platform")
    assert uvloop.run(met(GOOD["a SIP URI"], tmp_path, careful(trusted))) == REQUEST
    with pytest.raises(CertificateError):
        uvloop.run(met(PEERS["a wildcard"], tmp_path, careful(trusted)))
