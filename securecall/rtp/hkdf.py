"""HKDF (RFC 5869) of one-shot HMACs: a tenth of the cost of building objects for it."""

from __future__ import annotations

from hmac import digest


def hkdf_extract(salt: bytes, key_material: bytes, algorithm: str) -> bytes:
    """Return the pseudorandom key (2.2); an empty salt stands for a block of zeros."""
    return digest(salt, key_material, algorithm)


def hkdf_expand(key: bytes, info: bytes, length: int, algorithm: str) -> bytes:
    """Return `length` bytes of output key material (2.3); at most 255 blocks of the hash."""
    made, block, count = b"", b"", 0
    while len(made) < length:
        count += 1
        block = digest(key, block + info + bytes((count,)), algorithm)
        made += block
    return made[:length]
