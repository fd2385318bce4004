"""A throw-away DTLS certificate, and the rule by which the peer's must match (RFC 8122)."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from securecall.errors import Reason, SecurityError

# Strongest first. What is not here (sha-1, sha-224, md5, md2, unknown names) never counts.
_HASHES: Final = {"sha-512": hashlib.sha512, "sha-384": hashlib.sha384, "sha-256": hashlib.sha256}
_MOST_DIGESTS: Final = 32
# Fixed, so that a certificate tells nothing about its maker's clock; nobody checks the dates.
_NOT_BEFORE: Final = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_NOT_AFTER: Final = datetime.datetime(2049, 12, 31, tzinfo=datetime.UTC)


@dataclass(frozen=True, slots=True)
class CertificateDigest:
    """One digest of a certificate, as signalling carries it.

    Attributes:
        algorithm: Lower-case hash name of RFC 8122, e.g. "sha-256".
        value: The digest's bytes.
    """

    algorithm: str
    value: bytes


@dataclass(frozen=True, slots=True)
class DtlsCertificate:
    """A self-signed ECDSA certificate with its key; made fresh for each offer, kept nowhere."""

    certificate: x509.Certificate = field(repr=False)
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def generate(cls, curve: str = "P-256") -> DtlsCertificate:
        """Make one. It carries a random name, and nothing of the person or the machine."""
        algorithm: hashes.SHA256 | hashes.SHA384 = hashes.SHA256()
        key = ec.generate_private_key(ec.SECP256R1())
        if curve == "P-384":
            algorithm, key = hashes.SHA384(), ec.generate_private_key(ec.SECP384R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, secrets.token_hex(8))])
        builder = x509.CertificateBuilder(
            issuer_name=name,
            subject_name=name,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=_NOT_BEFORE,
            not_valid_after=_NOT_AFTER,
        )
        return cls(builder.sign(key, algorithm), key)

    @property
    def digest(self) -> CertificateDigest:
        """Its sha-256 digest, the one every peer understands."""
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        return CertificateDigest("sha-256", hashlib.sha256(der).digest())


def require_usable_digests(digests: tuple[CertificateDigest, ...]) -> tuple[CertificateDigest, ...]:
    """Return the digests that decide: those of the strongest hash among them (RFC 8122 5).

    A peer with several certificates sends several digests of one hash; several hashes of one
    certificate are alternatives, of which the most preferred one alone counts. So a wrong
    sha-512 beside a right sha-256 is a mismatch.

    Raises:
        SecurityError: none uses sha-256, sha-384 or sha-512, one is malformed, or there are more
            than 32.
    """
    if len(digests) > _MOST_DIGESTS:
        raise _mismatch(f"{len(digests)} certificate fingerprints are more than a peer can mean")
    for digest in digests:
        make = _HASHES.get(digest.algorithm)
        if make is not None and len(digest.value) != make().digest_size:
            raise _mismatch(f"a {digest.algorithm} fingerprint has {len(digest.value)} bytes")
    for algorithm in _HASHES:
        chosen = tuple(digest for digest in digests if digest.algorithm == algorithm)
        if chosen:
            return chosen
    raise _mismatch("the peer named no certificate fingerprint with sha-256, sha-384 or sha-512")


def require_match(certificate: bytes, digests: tuple[CertificateDigest, ...]) -> None:
    """Refuse a certificate none of the deciding digests describes.

    Args:
        certificate: DER.
        digests: As `require_usable_digests` returned them.

    Raises:
        SecurityError: no digest matches.
    """
    for digest in digests:
        actual = _HASHES[digest.algorithm](certificate).digest()
        if hmac.compare_digest(actual, digest.value):
            return
    raise _mismatch("the peer's DTLS certificate is not the one its signalling announced")


def _mismatch(message: str) -> SecurityError:
    return SecurityError(message, reason=Reason.FINGERPRINT_MISMATCH)
