"""The announced certificate, lent by its owner or not, above a leaf that nobody announced."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from securecall.errors import Reason, SecurityError
from securecall.testing.bare_dtls import BarePeer
from securecall.transport.dtls import DtlsCertificate
from tests.pairs.transport.wire import Ours, play

pytestmark = pytest.mark.attack
ROLES = pytest.mark.parametrize("ours_is_client", [True, False])
HONEST = pytest.mark.parametrize("signed", [True, False], ids=["signed by it", "only named so"])


def below(upper: DtlsCertificate, *, signed: bool) -> DtlsCertificate:
    """A leaf that names `upper` as its issuer, and carries its signature or her own."""
    key = ec.generate_private_key(ec.SECP256R1())
    like = upper.certificate
    builder = x509.CertificateBuilder(
        issuer_name=like.subject,
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")]),
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=like.not_valid_before_utc,
        not_valid_after=like.not_valid_after_utc,
    )
    signer = upper.key if signed else key
    return DtlsCertificate(builder.sign(signer, hashes.SHA256()), key)


def showing(leaf: DtlsCertificate, upper: DtlsCertificate, *, client: bool) -> BarePeer:
    """A careless end that shows both."""
    peer = BarePeer(client=client, certificate=leaf)
    context = peer.connection.get_context()
    context._used = False  # what pyOpenSSL would not have changed any more
    context.add_extra_chain_cert(upper.certificate)
    peer.connection = SSL.Connection(context)
    peer.connection.set_ciphertext_mtu(1200)
    if client:
        peer.connection.set_connect_state()
    else:
        peer.connection.set_accept_state()
    return peer


@ROLES
@HONEST
def test_what_stands_above_the_leaf_is_no_proof(ours_is_client, signed):
    announced = DtlsCertificate.generate()
    leaf = below(announced, signed=signed)
    mallory = showing(leaf, announced, client=not ours_is_client)
    ours = Ours(client=ours_is_client, digests=(announced.digest,))
    play(ours, mallory)
    assert ours.established is None
    assert isinstance(ours.failed.error, SecurityError)
    assert ours.failed.error.reason is Reason.FINGERPRINT_MISMATCH


@ROLES
@HONEST
def test_control_what_stands_above_an_announced_leaf_is_no_obstacle(ours_is_client, signed):
    upper = DtlsCertificate.generate()
    leaf = below(upper, signed=signed)
    peer = showing(leaf, upper, client=not ours_is_client)
    ours = Ours(client=ours_is_client, digests=(leaf.digest,))
    play(ours, peer)
    assert ours.established is not None
    assert peer.done and peer.error is None


@ROLES
def test_control_whoever_takes_any_certificate_of_the_chain_connects(ours_is_client):
    announced = DtlsCertificate.generate()
    mallory = showing(below(announced, signed=False), announced, client=not ours_is_client)
    careless = BarePeer(client=ours_is_client)
    seen = []

    def judge(_c, shown, _error, depth, _ok):
        seen.append(shown.to_cryptography())
        return depth > 0 or announced.certificate in seen

    careless.connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, judge)
    play(careless, mallory)
    assert careless.done and careless.error is None
    assert careless.connection.get_peer_certificate().to_cryptography() != announced.certificate
