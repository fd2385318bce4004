"""Which fingerprints of the peer decide (RFC 8122 5), one row per rule."""

import datetime
import hashlib
import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from securecall.errors import Reason, SecurityError
from securecall.transport.dtls_certificate import (
    CertificateDigest,
    DtlsCertificate,
    require_match,
    require_usable_digests,
)

CERTIFICATE = b"some certificate"


def digest(algorithm, data=CERTIFICATE):
    return CertificateDigest(algorithm, hashlib.new(algorithm.replace("-", ""), data).digest())


RIGHT = {a: digest(a) for a in ("sha-1", "sha-224", "sha-256", "sha-384", "sha-512")}
WRONG = {a: digest(a, b"another") for a in ("sha-1", "sha-224", "sha-256", "sha-384", "sha-512")}
MD5 = CertificateDigest("md5", hashlib.md5(CERTIFICATE).digest())


@pytest.mark.parametrize(
    "digests",
    [
        (RIGHT["sha-256"],),
        (RIGHT["sha-384"],),
        (RIGHT["sha-512"],),
        (RIGHT["sha-256"], RIGHT["sha-512"]),
        (WRONG["sha-256"], RIGHT["sha-256"]),
        (WRONG["sha-256"], RIGHT["sha-512"]),
        (RIGHT["sha-256"], WRONG["sha-1"]),
        (RIGHT["sha-256"], MD5, CertificateDigest("sha-999", b"?")),
    ],
)
def test_a_certificate_that_matches_one_of_the_strongest_hash_passes(digests):
    require_match(CERTIFICATE, require_usable_digests(digests))


@pytest.mark.parametrize(
    "digests",
    [
        (),
        (RIGHT["sha-1"],),
        (RIGHT["sha-224"],),
        (MD5,),
        (RIGHT["sha-1"], MD5, CertificateDigest("sha-999", b"?")),
        (CertificateDigest("SHA-256", RIGHT["sha-256"].value),),
        (WRONG["sha-256"],),
        (RIGHT["sha-256"], WRONG["sha-512"]),
        (RIGHT["sha-256"], RIGHT["sha-384"], WRONG["sha-512"]),
        (WRONG["sha-256"], RIGHT["sha-1"]),
        (CertificateDigest("sha-256", RIGHT["sha-256"].value[:31]),),
        (RIGHT["sha-512"], CertificateDigest("sha-256", b"")),
        (CertificateDigest("sha-256", RIGHT["sha-512"].value),),
        (RIGHT["sha-256"],) * 33,
    ],
)
def test_anything_less_is_a_fingerprint_mismatch(digests):
    with pytest.raises(SecurityError) as caught:
        require_match(CERTIFICATE, require_usable_digests(digests))
    assert caught.value.reason is Reason.FINGERPRINT_MISMATCH


@pytest.mark.parametrize(
    ("curve", "signed_with"), [("P-256", "sha256"), ("P-384", "sha384")], ids=["P-256", "P-384"]
)
def test_a_certificate_tells_nothing_of_who_made_it_and_when(curve, signed_with):
    one, other = (DtlsCertificate.generate(curve).certificate for _ in range(2))
    for made in (one, other):
        assert made.not_valid_before_utc == datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
        assert made.not_valid_after_utc == datetime.datetime(2049, 12, 31, tzinfo=datetime.UTC)
        assert re.fullmatch("CN=[0-9a-f]{16}", made.subject.rfc4514_string())
        assert made.issuer == made.subject
        assert not list(made.extensions)
        assert made.signature_hash_algorithm.name == signed_with
        made.verify_directly_issued_by(made)
    assert one.subject != other.subject
    assert one.serial_number != other.serial_number


def test_its_digest_is_the_one_every_peer_understands():
    made = DtlsCertificate.generate()
    der = made.certificate.public_bytes(serialization.Encoding.DER)
    assert made.digest == CertificateDigest("sha-256", hashlib.sha256(der).digest())
    require_match(der, require_usable_digests((made.digest,)))


def test_as_many_digests_as_a_peer_can_mean_are_read():
    assert len(require_usable_digests((RIGHT["sha-256"],) * 32)) == 32


@pytest.mark.parametrize(
    ("curve", "algorithm"), [("P-256", hashes.SHA256()), ("P-384", hashes.SHA384())]
)
def test_a_certificate_says_what_the_librarys_builder_would_have_it_say(curve, algorithm):
    for _ in range(20):  # numbers and names are random
        made = DtlsCertificate.generate(curve)
        ours = made.certificate
        like = x509.CertificateBuilder(
            ours.subject, ours.subject, made.key.public_key(), ours.serial_number,
            datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC),
            datetime.datetime(2049, 12, 31, tzinfo=datetime.UTC),
        ).sign(made.key, algorithm)  # fmt: skip
        assert ours.tbs_certificate_bytes == like.tbs_certificate_bytes
        assert ours.signature_algorithm_oid == like.signature_algorithm_oid
        ours.verify_directly_issued_by(ours)
        assert re.fullmatch("[0-9a-f]{16}", ours.subject.rfc4514_string().removeprefix("CN="))
        assert 2**158 <= ours.serial_number < 2**159


def test_no_two_certificates_have_a_number_a_name_or_a_key_in_common():
    made = [DtlsCertificate.generate() for _ in range(20)]
    for told in (
        lambda c: c.certificate.serial_number,
        lambda c: c.certificate.subject,
        lambda c: c.key.public_key().public_numbers(),
    ):
        assert len({told(one) for one in made}) == 20
