"""TLS: names are proved, or the connection is refused; direct ones say that they prove nothing."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
import inspect
import ipaddress
import socket
import ssl
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from securecall.errors import CertificateError, ConnectFailed, ListenFailed, LocalError, UsageError
from securecall.transport import tls
from securecall.transport.tls import PemPair, TlsConnection

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class Authority:
    """A throw-away certificate authority in a folder."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        key_id = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        certificate = (
            self._builder(self.name, self.key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(key_id, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey):
        return (
            x509.CertificateBuilder()
            .issuer_name(self.name)
            .subject_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - DAY)
            .not_valid_after(NOW + DAY)
        )

    def issue(
        self,
        *names: str,
        common_name: str = "x",
        usage=ExtendedKeyUsageOID.SERVER_AUTH,
        since=-DAY,
        until=DAY,
    ) -> PemPair:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = (
            x509.CertificateBuilder()
            .issuer_name(self.name)
            .subject_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + since)
            .not_valid_after(NOW + until)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general(name) for name in names]), critical=False
            )
        certificate = builder.sign(self.key, hashes.SHA256())
        path = self.folder / f"{x509.random_serial_number()}.pem"
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return PemPair(certificate=path)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def echo(connection: TlsConnection) -> None:
    while data := await connection.receive():
        connection.send(data)


async def met(
    pair: PemPair, name: str, trusted: Path, then: Callable[[TlsConnection], Awaitable[None]]
) -> None:
    listener = await tls.listen("127.0.0.1", 0, echo, certificate=pair)
    try:
        context = tls.client_context(trusted)
        connection = await tls.connect(*listener.address, server_name=name, context=context)
        await then(connection)
        await connection.close()
    finally:
        await listener.close()


async def nothing(connection: TlsConnection) -> None:
    assert not connection.direct


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        (("sip.example.com",), "sip.example.com"),
        (("other.example", "SIP.Example.com"), "sip.example.com"),
        (("127.0.0.1",), "127.0.0.1"),
        (("::1",), "::1"),
    ],
)
def test_a_certificate_for_the_name_is_accepted_and_the_name_kept(authority, names, asked):
    async def then(connection: TlsConnection) -> None:
        assert connection.verified_name == asked
        assert not connection.direct
        assert connection.transport.startswith("TLSv1.3 TLS_")
        connection.send(b"hello")
        assert await connection.receive() == b"hello"

    asyncio.run(met(authority.issue(*names), asked, authority.path, then))


@pytest.mark.parametrize("turns", range(6))
def test_a_connection_that_came_as_it_stops_listening_is_closed(authority, turns):
    async def main() -> None:
        listener = await tls.listen("127.0.0.1", 0, echo, certificate=authority.issue("a.example"))
        with socket.create_connection(listener.address, 5) as peer:
            for _ in range(turns):
                await asyncio.sleep(0)
            await listener.close()
            await listener.close()  # once more does no harm
            peer.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert peer.recv(1) == b""

    with warnings.catch_warnings(record=True) as leaks:
        warnings.simplefilter("always", ResourceWarning)
        asyncio.run(main())
        gc.collect()
    assert [str(leak.message) for leak in leaks] == []


BAD = {
    "another name": {"names": ("other.example.com",)},
    "a wildcard": {"names": ("*.example.com",)},
    "the name only as common name": {"names": (), "common_name": "sip.example.com"},
    "only an address": {"names": ("127.0.0.1",)},
    "expired": {"names": ("sip.example.com",), "since": -2 * DAY, "until": -DAY},
    "not yet valid": {"names": ("sip.example.com",), "since": DAY / 2, "until": DAY},
    "for clients": {"names": ("sip.example.com",), "usage": ExtendedKeyUsageOID.CLIENT_AUTH},
}


@pytest.mark.parametrize("case", BAD)
def test_a_certificate_that_does_not_prove_the_name_is_refused(authority, case):
    options = dict(BAD[case])
    pair = authority.issue(*options.pop("names"), **options)
    with pytest.raises(CertificateError, match=r"sip\.example\.com"):
        asyncio.run(met(pair, "sip.example.com", authority.path, nothing))


def test_an_address_is_not_proved_by_a_name(authority):
    with pytest.raises(CertificateError):
        asyncio.run(met(authority.issue("localhost"), "127.0.0.1", authority.path, nothing))


def test_an_authority_of_the_same_name_is_not_the_same(authority, tmp_path):
    (tmp_path / "evil").mkdir()
    evil = Authority(tmp_path / "evil")
    with pytest.raises(CertificateError):
        asyncio.run(met(evil.issue("a.example"), "a.example", authority.path, nothing))


def test_a_self_signed_server_is_refused_where_a_name_is_asked_for(authority):
    async def main() -> None:
        listener = await tls.listen_direct("127.0.0.1", 0, echo)
        try:
            with pytest.raises(CertificateError):
                await tls.connect(
                    *listener.address,
                    server_name="a.example",
                    context=tls.client_context(authority.path),
                )
            # the control: direct connections are asked for by another function, and say so
            connection = await tls.connect_direct(*listener.address)
            assert (connection.direct, connection.verified_name) == (True, "")
            await connection.close()
        finally:
            await listener.close()

    asyncio.run(main())


def test_an_unverified_context_cannot_be_used_for_a_name():
    async def main() -> None:
        lax = tls.client_context()
        lax.verify_mode = ssl.CERT_NONE
        for context in (tls.direct_client_context(), ssl.create_default_context(), lax):
            with pytest.raises(CertificateError):
                await tls.connect("127.0.0.1", 1, server_name="a.example", context=context)
        with pytest.raises(CertificateError):
            await tls.connect("127.0.0.1", 1, server_name="", context=tls.client_context())

    asyncio.run(main())
    assert "context" not in inspect.signature(tls.connect_direct).parameters


def test_a_proving_context_makes_no_socket_that_does_not_look_at_the_name():
    with socket.socket() as plain, pytest.raises(UsageError):
        tls.client_context().wrap_socket(plain, server_hostname="a.example")


@pytest.mark.parametrize(
    "context", [tls.client_context(), tls.direct_client_context(), tls.direct_server_context()]
)
def test_contexts_take_only_tls_1_2_and_later_with_forward_secret_aeads(context):
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    for cipher in context.get_ciphers():
        if cipher["protocol"] != "TLSv1.3":
            assert cipher["kea"] == "kx-ecdhe"
            assert cipher["aead"]


@pytest.mark.parametrize("weakness", ["old", "rsa key exchange", "no tls"])
def test_a_weak_server_is_not_talked_to(authority, weakness):
    async def main() -> None:
        context: ssl.SSLContext | None = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        assert context is not None
        context.load_cert_chain(authority.issue("a.example").certificate)
        if weakness == "old":
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers("ECDHE-ECDSA-AES128-SHA")
        elif weakness == "rsa key exchange":
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers("AES128-GCM-SHA256")
        else:
            context = None

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SIP/2.0 200 OK\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        try:
            with pytest.raises(ConnectFailed):
                await tls.connect(
                    *server.sockets[0].getsockname(),
                    server_name="a.example",
                    context=tls.client_context(authority.path),
                )
        finally:
            server.close()
            await server.wait_closed()

    asyncio.run(main())


def test_a_port_nobody_listens_on_is_a_failed_connection():
    async def main() -> None:
        listener = await tls.listen_direct("127.0.0.1", 0, echo)
        await listener.close()
        with pytest.raises(ConnectFailed):
            await tls.connect_direct(*listener.address)

    asyncio.run(main())


def test_an_ipv6_address_is_told_apart_from_its_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConnectFailed, match=rf"\[::1\]:{port}"):
        asyncio.run(tls.connect_direct("::1", port))


def test_a_handshake_that_stalls_is_given_up(monkeypatch):
    monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 0.05)
    monkeypatch.setattr(tls, "CONNECT_SECONDS", 5.0)

    async def main() -> None:
        gone = asyncio.Event()

        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            _ = await reader.read()
            writer.close()
            gone.set()

        silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
        with pytest.raises(ConnectFailed):
            await tls.connect_direct(*silent.sockets[0].getsockname())
        silent.close()
        await gone.wait()
        # the other way round: a client that never says hello is cut off
        listener = await tls.listen_direct("127.0.0.1", 0, echo)
        reader, writer = await asyncio.open_connection(*listener.address)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        await listener.close()

    asyncio.run(main())


def test_half_open_connections_count_and_do_not_starve_the_loop(monkeypatch):
    monkeypatch.setattr(tls, "MOST_CONNECTIONS", 3)

    async def main() -> None:
        listener = await tls.listen_direct("127.0.0.1", 0, echo)
        idle = [await asyncio.open_connection(*listener.address) for _ in range(3)]
        reader, writer = await asyncio.open_connection(*listener.address)
        async with asyncio.timeout(5):
            assert await reader.read() == b""  # one too many: closed at once
        for _, w in idle:
            w.transport.abort()
        while listener.connections:  # noqa: ASYNC110 - the loop turns until they are reaped
            await asyncio.sleep(0)
        connection = await tls.connect_direct(*listener.address)
        connection.send(b"x")
        assert await connection.receive() == b"x"
        await connection.close()
        writer.close()
        await listener.close()

    asyncio.run(main())


def test_a_peer_that_stops_reading_is_cut_off():
    async def main() -> None:
        ended = asyncio.Event()

        async def flood(connection: TlsConnection) -> None:
            while not connection.closing:
                connection.send(bytes(65536))
                await asyncio.sleep(0)
            assert await connection.receive() == b""
            ended.set()

        listener = await tls.listen_direct("127.0.0.1", 0, flood)
        context = tls.direct_client_context()
        reader, writer = await asyncio.open_connection(*listener.address, ssl=context, limit=1024)
        writer.transport.pause_reading()
        async with asyncio.timeout(20):
            await ended.wait()
        writer.transport.abort()
        await listener.close()
        del reader

    asyncio.run(main())


class _Remembering(socket.socket):
    """A listening socket that knows what it handed out."""

    taken: list[socket.socket]

    def accept(self):
        sock, address = super().accept()
        self.taken.append(sock)
        return sock, address


def test_what_an_accepted_connection_says_goes_out_at_once():
    async def main() -> None:
        sock = _Remembering()
        sock.taken = []
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        sock.setblocking(False)
        listener = tls.Listener(sock, tls.direct_server_context(), echo, direct=True)
        connection = await tls.connect_direct(*listener.address)
        connection.send(b"x")
        assert await connection.receive() == b"x"
        (taken,) = sock.taken
        # asyncio sees to it for the sockets it makes, not for those it is given
        assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        await connection.close()
        await listener.close()

    asyncio.run(main())


def test_a_handler_that_fails_ends_its_own_connection_only():
    async def main() -> None:
        async def fragile(connection: TlsConnection) -> None:
            data = await connection.receive()
            if data == b"fail":
                raise RuntimeError("expected by the test")
            connection.send(data)
            _ = await connection.receive()

        listener = await tls.listen_direct("127.0.0.1", 0, fragile)
        bad = await tls.connect_direct(*listener.address)
        good = await tls.connect_direct(*listener.address)
        bad.send(b"fail")
        assert await bad.receive() == b""
        good.send(b"ok")
        assert await good.receive() == b"ok"
        await bad.close()
        await good.close()
        await listener.close()

    asyncio.run(main())


def test_files_that_cannot_be_used_are_local_errors(tmp_path):
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    for path in (junk, tmp_path / "absent.pem"):
        with pytest.raises(LocalError):
            tls.client_context(path)
        with pytest.raises(LocalError):
            tls.server_context(PemPair(certificate=path))


def test_a_port_somebody_holds_is_named_as_such():
    async def main() -> None:
        first = await tls.listen_direct("127.0.0.1", 0, nothing)
        try:
            with pytest.raises(ListenFailed, match="address already in use"):
                await tls.listen_direct(*first.address, nothing)
        finally:
            await first.close()

    asyncio.run(main())
