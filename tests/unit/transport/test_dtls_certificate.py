"""Which fingerprints of the peer decide (RFC 8122 5), one row per rule."""

import hashlib

import pytest

from securecall.errors import Reason, SecurityError
from securecall.transport.dtls_certificate import (
    CertificateDigest,
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
