"""SFrame (RFC 9605), suite 5, in `hmac` and AES-GCM, written from the text: no code of ours."""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SUITE = 5  # AES_256_GCM_SHA512_128


def hkdf(key: bytes, info: bytes, size: int) -> bytes:
    """RFC 5869 with SHA-512 and an empty salt."""
    secret, out, last = hmac.digest(bytes(64), key, "sha512"), b"", b""
    for number in range(1, 1 + -(-size // 64)):
        last = hmac.digest(secret, last + info + bytes([number]), "sha512")
        out += last
    return out[:size]


def key_and_salt(base_key: bytes, kid: int) -> tuple[bytes, bytes]:
    """4.4.2."""
    tail = kid.to_bytes(8, "big") + SUITE.to_bytes(2, "big")
    return (
        hkdf(base_key, b"SFrame 1.0 Secret key " + tail, 32),
        hkdf(base_key, b"SFrame 1.0 Secret salt " + tail, 12),
    )


def header(kid: int, counter: int) -> bytes:
    """4.3: each of the two is a nibble, or its length less one and then its shortest bytes."""
    nibbles, tails = [], b""
    for value in (kid, counter):
        size = max(1, -(-value.bit_length() // 8))
        nibbles.append(value if value < 8 else 8 | size - 1)
        tails += b"" if value < 8 else value.to_bytes(size, "big")
    return bytes([nibbles[0] << 4 | nibbles[1]]) + tails


def seal(base_key: bytes, kid: int, counter: int, plain: bytes, metadata: bytes) -> bytes:
    """4.4.3."""
    key, salt = key_and_salt(base_key, kid)
    nonce = bytes(a ^ b for a, b in zip(salt, counter.to_bytes(12, "big"), strict=True))
    head = header(kid, counter)
    return head + AESGCM(key).encrypt(nonce, plain, head + metadata)


def rtp_payload(
    base_key: bytes, kid: int, counter: int, plain: bytes, *, payload_type: int, mid: str
) -> bytes:
    """As on RTP here: a descriptor byte, and payload type and mid as metadata."""
    return b"\xe0" + seal(base_key, kid, counter, plain, bytes([payload_type]) + mid.encode())
