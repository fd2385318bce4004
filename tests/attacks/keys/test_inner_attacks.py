"""Attacks inside the handshake: a peer that speaks the inner TLS or the messages otherwise."""

import contextlib
import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from securecall.errors import SecurityError
from securecall.keys.device import DeviceKey
from securecall.keys.identity_messages import FrameReader, MessageType, build_frame
from securecall.keys.inner_tls import InnerTls, device_certificate
from securecall.testing.bare_tls import BareTls
from tests.pairs.keys.link import Link, Person, make_pair

ALICE, BOB = Person.named("alice"), Person.named("bob")
ROLES = pytest.mark.parametrize("caller_is_client", [True, False])
SIDES = pytest.mark.parametrize("ours_is_client", [True, False])


def inner(ours_is_client, **settings):
    """Play our inner TLS against a bare one; return ours and its error."""
    ours = InnerTls(client=ours_is_client, device=ALICE.device)
    theirs = BareTls(client=not ours_is_client, **settings)
    to_them = ours.start()
    to_us = theirs.receive(b"")
    error = None
    for _ in range(8):
        if to_us and error is None:
            try:
                ours.receive(to_us)
            except SecurityError as e:
                error = e
            to_them += ours.outgoing()
        to_us, to_them = (theirs.receive(to_them) if to_them else b""), b""
    return ours, error, theirs


def _chain():
    """A leaf with one key, and above it a certificate with the victim's device key."""
    attacker = ed25519.Ed25519PrivateKey.generate()
    victim = ed25519.Ed25519PrivateKey.from_private_bytes(BOB.device.seed.reveal())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")])
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "securecall")])
    leaf = (
        x509.CertificateBuilder(issuer, name, attacker.public_key(), 2)
        .not_valid_before(datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2049, 1, 1, tzinfo=datetime.UTC))
        .sign(attacker, None)
    )
    return {"key": attacker, "certificate": leaf, "chain": (device_certificate(victim),)}


OTHERWISE = {
    "X25519 only": {"groups": "X25519"},
    "P-256 with ML-KEM": {"groups": "SecP256r1MLKEM768"},
    "another cipher": {"ciphers": "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"},
    "TLS 1.2": {"version": SSL.TLS1_2_VERSION, "groups": "X25519"},
    "no ALPN": {"alpn": ""},
    "another ALPN": {"alpn": "securecall-id/2"},
    "no certificate": {"show": False},
    "a chain with the victim's key above": _chain(),
}


@SIDES
@pytest.mark.parametrize("otherwise", OTHERWISE)
def test_an_inner_tls_that_differs_is_refused(ours_is_client, otherwise):
    """H3, H6: group, version, cipher, protocol, chain."""
    ours, error, theirs = inner(ours_is_client, **OTHERWISE[otherwise])
    assert not ours.established
    assert error is not None or theirs.error is not None


@SIDES
def test_control_an_inner_tls_that_does_not_differ_is_accepted(ours_is_client):
    device = DeviceKey.generate("phone")
    key = ed25519.Ed25519PrivateKey.from_private_bytes(device.seed.reveal())
    ours, error, theirs = inner(ours_is_client, key=key)
    assert error is None
    assert theirs.error is None
    assert ours.established
    assert ours.peer_key == device.public


@SIDES
def test_the_key_is_the_proven_one_whatever_the_certificate_says(ours_is_client):
    """Names, dates and issuer of the certificate are nothing; only its key counts."""
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sip:bob@clinic.example")])
    odd = (
        x509.CertificateBuilder(name, name, key.public_key(), 77)
        .not_valid_before(datetime.datetime(1990, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(1991, 1, 1, tzinfo=datetime.UTC))
        .sign(key, None)
    )
    ours, error, _ = inner(ours_is_client, key=key, certificate=odd)
    assert error is None
    assert ours.peer_key == key.public_key().public_bytes_raw()


def resumed(make_server):
    """Connect twice, offering the first session the second time; was it resumed?"""
    client = BareTls(client=True)
    first = client.connection
    for again in (False, True):
        if again:
            client.connection = SSL.Connection(first.get_context())
            client.connection.set_connect_state()
            client.connection.set_session(first.get_session())
        server = make_server(again)
        to_server = client.receive(b"")
        for _ in range(4):
            to_client = server(to_server) if to_server else b""
            to_server = client.receive(to_client) if to_client else b""
            with contextlib.suppress(SSL.WantReadError):
                client.connection.recv(1)  # takes the tickets
        assert client.done
    return SSL._lib.SSL_session_reused(client.connection._ssl) == 1


def test_a_session_of_an_earlier_handshake_cannot_be_resumed():
    """H3: the tickets a server sends all the same are worth nothing, in the context calls share."""

    def make(again):
        ours = InnerTls(client=False, device=ALICE.device)

        def step(data):
            ours.receive(data)
            return ours.outgoing()

        return step

    assert not resumed(make)


def test_control_a_careless_server_resumes_it():
    server = BareTls(client=False)
    context = server.connection.get_context()

    def make(again):
        server.connection = SSL.Connection(context)
        server.connection.set_accept_state()
        return server.receive

    assert resumed(make)


def frames(data):
    reader, got = FrameReader(), []
    reader.feed(data)
    while message := reader.next():
        got.append(message)
    return got


def rebuilt(data, change):
    """Rewrite each frame of what the attacker would have said."""
    return b"".join(piece for kind, body in frames(data) for piece in change(kind, body))


def on(wanted, *replacement):
    """A rewriting of one kind of message."""

    def change(kind, body):
        if kind is not wanted:
            return (build_frame(kind, body),)
        return [piece(body) if callable(piece) else piece for piece in replacement]

    return lambda data: rebuilt(data, change)


def same(kind):
    return lambda body: build_frame(kind, body)


IDENTITY, NONCE = MessageType.IDENTITY, MessageType.NONCE
SAID = {
    "an unknown message type": on(IDENTITY, b"\x09\0\0\0", same(IDENTITY)),
    "a message type of zero": on(IDENTITY, b"\0\0\0\0", same(IDENTITY)),
    "DONE at once": on(IDENTITY, b"\x05\0\0\0", same(IDENTITY)),
    "IDENTITY twice": on(IDENTITY, same(IDENTITY), same(IDENTITY)),
    "IDENTITY left out": on(IDENTITY),
    "a byte after the end of IDENTITY": on(IDENTITY, lambda b: build_frame(IDENTITY, b + b"\0")),
    "half an IDENTITY": on(IDENTITY, lambda b: build_frame(IDENTITY, b[: len(b) // 2])),
    "an IDENTITY of 32 KiB and one byte": on(IDENTITY, b"\x02\x00\x80\x01" + b"x" * 32769),
    "an empty IDENTITY": on(IDENTITY, build_frame(IDENTITY, b"")),
    "another DONE behind DONE": on(MessageType.DONE, b"\x05\0\0\0\x05\0\0\0"),
    "a byte behind DONE": on(MessageType.DONE, b"\x05\0\0\0\x05"),
    "a DONE with a body": on(MessageType.DONE, b"\x05\0\0\x01x"),
}
BY_SERVER = {
    "NONCE before IDENTITY": on(IDENTITY, build_frame(NONCE, b"n" * 32), same(IDENTITY)),
    "a nonce of 31 bytes": on(NONCE, b"\x03\0\0\x1f" + b"n" * 31),
    "two nonces": on(NONCE, same(NONCE), same(NONCE)),
    "a COMMIT from the server": on(IDENTITY, build_frame(MessageType.COMMIT, b"c" * 64)),
}
BY_CLIENT = {
    "two COMMITs": on(MessageType.COMMIT, same(MessageType.COMMIT), same(MessageType.COMMIT)),
    "no COMMIT": on(MessageType.COMMIT),
    "a NONCE from the client": on(MessageType.COMMIT, build_frame(NONCE, b"n" * 32)),
    "a REVEAL without COMMIT": on(MessageType.COMMIT, build_frame(MessageType.REVEAL, b"n" * 32)),
    "DONE before REVEAL": on(MessageType.REVEAL, b"\x05\0\0\0", same(MessageType.REVEAL)),
    "no REVEAL": on(MessageType.REVEAL),
}


def played(caller_is_client, attacker_calls, said):
    alice, bob = make_pair(ALICE, BOB, caller_is_client=caller_is_client)
    evil, honest = (alice, bob) if attacker_calls else (bob, alice)
    plain = evil._handshake

    def handshake(established):
        identity = plain(established)
        send = identity._tls.send
        identity._tls.send = lambda data: send(said(data)) if said(data) else None
        return identity

    evil._handshake = handshake
    link = Link(alice, bob).run()
    return honest, link


CASES = [
    (name, said, caller_is_client, attacker_calls)
    for table, when in ((SAID, (True, False)), (BY_CLIENT, (True,)), (BY_SERVER, (False,)))
    for name, said in table.items()
    for caller_is_client in (True, False)
    for attacker_calls in (True, False)
    if (caller_is_client == attacker_calls) in when
]


@pytest.mark.parametrize(
    ("said", "caller_is_client", "attacker_calls"),
    [case[1:] for case in CASES],
    ids=[f"{c[0]}-{'client' if c[2] == c[3] else 'server'}-{c[3]}" for c in CASES],
)
def test_whatever_else_is_said_is_fatal(said, caller_is_client, attacker_calls):
    """H4: unknown type, order, sizes, trailing bytes; no end hangs."""
    honest, link = played(caller_is_client, attacker_calls, said)
    assert honest.complete is None
    assert honest.over
    assert link.now <= 21.0


@ROLES
@pytest.mark.parametrize("attacker_calls", [True, False])
def test_control_said_unchanged_it_completes(caller_is_client, attacker_calls):
    honest, _ = played(caller_is_client, attacker_calls, lambda data: data)
    assert honest.complete
    assert honest.failed is None


@ROLES
def test_inner_data_after_both_dones_is_fatal(caller_is_client):
    alice, bob = make_pair(ALICE, BOB, caller_is_client=caller_is_client)
    link = Link(alice, bob).run(until=1.0)
    assert alice.complete
    assert bob.complete
    more = bob.identity._carriage.send(b"more", link.now)
    for record in more:
        for output in bob.dtls.send(record):
            alice.receive(output.data, link.now)
    assert alice.failed is not None
    assert isinstance(alice.failed.error, SecurityError)


@ROLES
def test_foreign_records_pass_by_only_where_announced(caller_is_client):
    for foreign in ((0x5D,), ()):
        alice, bob = make_pair(ALICE, BOB, caller_is_client=caller_is_client)
        alice.foreign = foreign
        link = Link(alice, bob).run(until=1.0)
        for output in bob.dtls.send(b"\x5d countersignature"):
            alice.receive(output.data, link.now)
        assert (alice.failed is None) == bool(foreign)
        assert alice.others == ([b"\x5d countersignature"] if foreign else [])
