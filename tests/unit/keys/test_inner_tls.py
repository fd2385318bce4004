"""The inner TLS: what ends it, and which key it takes for a device's."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from OpenSSL import SSL

from securecall.errors import IdentityMismatch, SecurityError
from securecall.keys import inner_tls
from securecall.keys.device import DeviceKey
from securecall.keys.inner_tls import InnerTls, device_certificate
from securecall.testing import bare_tls
from securecall.testing.bare_tls import BareTls

SIDES = pytest.mark.parametrize("ours_is_client", [True, False])
SIGNATURES = "ed25519:ecdsa_secp256r1_sha256"


def joined(ours_is_client: bool, **settings) -> tuple[InnerTls, BareTls]:
    """Our end and a bare one after their handshake."""
    ours = InnerTls(client=ours_is_client, device=DeviceKey.generate("phone"))
    theirs = BareTls(client=not ours_is_client, **settings)
    to_them, to_us = ours.start(), theirs.receive(b"")
    for _ in range(8):
        if to_us:
            ours.receive(to_us)
            to_them += ours.outgoing()
        to_us, to_them = (theirs.receive(to_them) if to_them else b""), b""
    return ours, theirs


@SIDES
def test_a_peer_that_ends_the_stream_ends_the_identity_handshake(ours_is_client):
    ours, theirs = joined(ours_is_client)
    theirs.connection.send(b"first")
    assert ours.receive(theirs.connection.bio_read(1 << 20)) == b"first"
    theirs.connection.shutdown()
    with pytest.raises(SecurityError, match="ended"):
        ours.receive(theirs.connection.bio_read(1 << 20))


def p256_certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    like = device_certificate(ed25519.Ed25519PrivateKey.generate())
    return x509.CertificateBuilder(
        like.issuer, like.subject, key.public_key(), 1,
        datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC),
        datetime.datetime(2049, 12, 31, tzinfo=datetime.UTC),
    ).sign(key, hashes.SHA256())  # fmt: skip


@SIDES
def test_a_key_of_another_kind_is_no_devices_though_tls_would_have_taken_it(
    ours_is_client, monkeypatch
):
    """The second lock: TLS itself, which is to take Ed25519 alone, is made to take more."""

    def lax(**settings):
        return real(**(settings | {"signature_algorithms": SIGNATURES}))

    def choose(context, groups):
        lib, raw = SSL._lib, context._context
        assert lib.SSL_CTX_set1_curves_list(raw, groups.encode()) == 1
        assert lib.SSL_CTX_set1_sigalgs_list(raw, SIGNATURES.encode()) == 1

    monkeypatch.setattr(bare_tls, "_choose", choose)
    key = ec.generate_private_key(ec.SECP256R1())
    settings = {"key": key, "certificate": p256_certificate(key)}
    with pytest.raises(SecurityError) as refused:  # the first lock
        joined(ours_is_client, **settings)
    assert refused.type is not IdentityMismatch
    real = inner_tls.ChannelSettings
    monkeypatch.setattr(inner_tls, "ChannelSettings", lax)
    with pytest.raises(IdentityMismatch, match="not an Ed25519 key"):
        joined(ours_is_client, **settings)
    assert joined(ours_is_client)[0].established, "control: an Ed25519 key passes both"
