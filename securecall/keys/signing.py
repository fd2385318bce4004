"""Signatures of people's keys: the one door to Ed25519 and P-256, and to verifying ML-DSA-65."""

from __future__ import annotations

from typing import Final, NoReturn, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, mldsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from securecall.errors import ProtocolError, UsageError
from securecall.secret import Secret

SEED_SIZE: Final = 32
_KEY_RULE: Final = "RFC 8032 5.1.3"
_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
# y of the points whose order divides 8: the identity, order 2, order 4, and twice order 8
_ORDER_8_Y: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y: Final = frozenset({1, _P - 1, 0, _ORDER_8_Y, _P - _ORDER_8_Y})


class Signer(Protocol):
    """A private signing key that may live elsewhere: in a token, in another process."""

    @property
    def public(self) -> bytes:
        """The Ed25519 public key, 32 bytes."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature of the data, 64 bytes."""
        ...


class SeedSigner:
    """A private signing key in this process: its seed."""

    __slots__ = ("public", "seed")

    def __init__(self, seed: Secret) -> None:
        """Take a seed, which is wiped by whoever made it.

        Raises:
            UsageError: the seed is not 32 bytes.
        """
        self.seed = seed
        self.public = ed25519_public(seed)

    def __repr__(self) -> str:
        return "<SeedSigner>"

    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature of the data, 64 bytes."""
        return ed25519_sign(self.seed, data)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError("a private key is never copied or serialised")


def generate_seed() -> Secret:
    """Draw a new Ed25519 seed, 32 bytes."""
    return Secret(Ed25519PrivateKey.generate().private_bytes_raw())


def ed25519_public(seed: Secret) -> bytes:
    """Return the public key of a seed.

    Raises:
        UsageError: the seed is not 32 bytes.
    """
    return _private(seed).public_key().public_bytes_raw()


def ed25519_sign(seed: Secret, data: bytes) -> bytes:
    """Sign with a seed; 64 bytes."""
    return _private(seed).sign(data)


def require_ed25519_public(raw: bytes) -> None:
    """Refuse what is not the canonical encoding of a point of large order.

    The library loads such keys, and the identity point then accepts any signature.

    Raises:
        ProtocolError: wrong length, y >= p, not on the curve, or of small order.
    """
    y = _require_y(raw)
    # x^2 = (y^2 - 1) / (d y^2 + 1) has a root: Euler's criterion. The denominator is never 0.
    square = (y * y - 1) * (_D * y * y + 1) % _P
    if pow(square, (_P - 1) // 2, _P) != 1:
        raise ProtocolError("an Ed25519 key that is not on the curve", rule=_KEY_RULE)


def require_ed25519_signature(public: bytes, signature: bytes, data: bytes) -> None:
    """Verify; the key is checked first, since some keys accept everything.

    Raises:
        ProtocolError: bad key or bad signature.
    """
    # That it lies on the curve need not be asked here: else OpenSSL finds no signature right.
    _require_y(public)
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError) as e:
        raise ProtocolError("the Ed25519 signature is wrong", rule="RFC 8032 5.1.7") from e


def require_p256_signature(public: bytes, signature: bytes, data: bytes) -> None:
    """Verify ECDSA with SHA-256: uncompressed point of 65 bytes, signature r || s of 64 bytes.

    Raises:
        ProtocolError: bad key or bad signature.
    """
    rule = "RFC 7518 3.4"
    if len(public) != 65 or public[0] != 4 or len(signature) != 64:
        raise ProtocolError("a P-256 key has 65 bytes, its signature 64", rule=rule)
    der = encode_dss_signature(
        int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    )
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
        key.verify(der, data, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError) as e:
        raise ProtocolError("the P-256 signature is wrong", rule=rule) from e


def p256_generate() -> Secret:
    """Draw a P-256 private key, 32 bytes."""
    number = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
    return Secret(number.to_bytes(32, "big"))


def p256_public(scalar: Secret) -> bytes:
    """Return the uncompressed point of a private key, 65 bytes.

    Raises:
        UsageError: it is no P-256 key.
    """
    point = _p256(scalar).public_key()
    return point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def p256_sign(scalar: Secret, data: bytes) -> bytes:
    """Sign by ECDSA with SHA-256; r || s, 64 bytes."""
    r, s = decode_dss_signature(_p256(scalar).sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _p256(scalar: Secret) -> ec.EllipticCurvePrivateKey:
    try:
        return ec.derive_private_key(int.from_bytes(scalar.reveal(), "big"), ec.SECP256R1())
    except ValueError as e:
        raise UsageError("that is no private key of P-256") from e


def require_mldsa65_signature(public: bytes, signature: bytes, data: bytes) -> None:
    """Verify ML-DSA-65 (FIPS 204), empty context.

    Raises:
        ProtocolError: bad key or bad signature, or this build cannot verify it.
    """
    try:
        mldsa.MLDSA65PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError, UnsupportedAlgorithm) as e:
        raise ProtocolError("the ML-DSA-65 signature is wrong", rule="FIPS 204") from e


def _require_y(raw: bytes) -> int:
    """Return the y of a key that is canonical and of large order, if it is on the curve at all."""
    if len(raw) != 32:
        raise ProtocolError("an Ed25519 key has 32 bytes", rule=_KEY_RULE)
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _P:
        raise ProtocolError("an Ed25519 key that is not canonical", rule=_KEY_RULE)
    if y in _SMALL_ORDER_Y:
        raise ProtocolError("an Ed25519 key of small order", rule=_KEY_RULE)
    return y


def _private(seed: Secret) -> Ed25519PrivateKey:
    if len(seed) != SEED_SIZE:
        raise UsageError("an Ed25519 seed has 32 bytes")
    return Ed25519PrivateKey.from_private_bytes(seed.reveal())
