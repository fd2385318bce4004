"""A throw-away DTLS certificate, and the rule by which the peer's must match (RFC 8122)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from securecall.errors import Reason, SecurityError

# Strongest first. What is not here (sha-1, sha-224, md5, md2, unknown names) never counts.
_HASHES: Final = {"sha-512": hashlib.sha512, "sha-384": hashlib.sha384, "sha-256": hashlib.sha256}
_MOST_DIGESTS: Final = 32
# DER of what never changes in a certificate (RFC 5280 4.1). The dates are fixed, so that it tells
# nothing about its maker's clock; nobody checks them.
_VERSION_3: Final = bytes.fromhex("a003020102")
_COMMON_NAME: Final = bytes.fromhex("0603550403")
_VALIDITY: Final = b"\x30\x1e\x17\x0d000101000000Z\x17\x0d491231000000Z"
_ECDSA_SHA256: Final = bytes.fromhex("300a06082a8648ce3d040302")
_ECDSA_SHA384: Final = bytes.fromhex("300a06082a8648ce3d040303")
_SERIAL_SIZE: Final = 20


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
        key, named = ec.generate_private_key(ec.SECP256R1()), _ECDSA_SHA256
        if curve == "P-384":
            algorithm, named = hashes.SHA384(), _ECDSA_SHA384
            key = ec.generate_private_key(ec.SECP384R1())
        tbs = _to_be_signed(
            key.public_key(),
            name=secrets.token_hex(8),
            serial=secrets.token_bytes(_SERIAL_SIZE),
            algorithm=named,
        )
        signature = key.sign(tbs, ec.ECDSA(algorithm))
        der = _der(0x30, tbs, named, _der(0x03, b"\0", signature))
        return cls(x509.load_der_x509_certificate(der), key)

    @property
    def digest(self) -> CertificateDigest:
        """Its sha-256 digest, the one every peer understands."""
        der = self.certificate.public_bytes(Encoding.DER)
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


def _to_be_signed(
    public: ec.EllipticCurvePublicKey, *, name: str, serial: bytes, algorithm: bytes
) -> bytes:
    """What a self-signed certificate says; a library's builder takes as long again as the keys.

    Args:
        public: Whose it is.
        name: The common name, of subject and issuer.
        serial: 20 random bytes, made a positive number of that length.
        algorithm: Of the signature, DER.
    """
    named = _der(0x30, _der(0x31, _der(0x30, _COMMON_NAME, _der(0x0C, name.encode()))))
    number = bytes((serial[0] & 0x3F | 0x40,)) + serial[1:]
    info = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return _der(0x30, _VERSION_3, _der(0x02, number), algorithm, named, _VALIDITY, named, info)


def _der(tag: int, *parts: bytes) -> bytes:
    """One element of DER, its length in the fewest bytes (X.690 10.1)."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + content


def _mismatch(message: str) -> SecurityError:
    return SecurityError(message, reason=Reason.FINGERPRINT_MISMATCH)
