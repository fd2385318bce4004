"""A member of a room, together with its server, puts words into another member's mouth.

Whoever gets a message knows the key of its payload. Legacy OMEMO proves the payload to the others
by its GCM tag alone, and who knows the key finds other ciphertexts with the same tag: a limit that
decision 0080 names. OMEMO 2 proves it by HMAC-SHA-256, which commits to one.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from securecall.errors import CannotOpen
from securecall.keys.omemo_legacy import OmemoLegacy
from securecall.keys.omemo_values import OMEMO, OMEMO_LEGACY
from securecall.testing.omemo_world import World

pytestmark = pytest.mark.attack

FORGED = b"Give him 50 mg. "  # one block
_REDUCTION = 0xE1 << 120


def times(x: int, y: int) -> int:
    """Multiplication in GCM's field (NIST SP 800-38D 6.3)."""
    product = 0
    for place in range(127, -1, -1):
        product ^= y if x >> place & 1 else 0
        y = y >> 1 ^ (_REDUCTION if y & 1 else 0)
    return product


def inverse(x: int) -> int:
    found = 1 << 127
    for place in range(127, -1, -1):  # x ** (2**128 - 2)
        found = times(found, found)
        found = times(found, x) if place else found
    return found


def another(key: bytes, tag: bytes, iv: bytes, block: bytes) -> bytes:
    """A ciphertext of a block and of another, chosen so that the tag is what it was."""

    def aes(data: bytes) -> int:
        return int.from_bytes(Cipher(AES(key), ECB()).encryptor().update(data), "big")

    h = aes(bytes(16))
    first = int.from_bytes(block, "big") ^ aes(iv + b"\0\0\0\2")
    wanted = int.from_bytes(tag, "big") ^ aes(iv + b"\0\0\0\1")
    second = times(wanted ^ times(2 * 128, h), inverse(times(h, h))) ^ times(first, h)
    return first.to_bytes(16, "big") + second.to_bytes(16, "big")


@pytest.mark.parametrize("namespace", [OMEMO_LEGACY, OMEMO])
def test_a_member_can_forge_anothers_words_under_legacy_omemo_alone(namespace, monkeypatch):
    async def body():
        world = World()
        names = [f"{name}@ward.example" for name in ("bob", "alice", "mallory")]
        bob, alice, mallory = [await world.person(n, namespaces=(namespace,)) for n in names]
        (sealed,) = await bob.write(b"Good morning", alice.jid, mallory.jid)
        keys = []
        scheme = type(mallory.omemo._state.scheme(namespace))
        read = scheme.open_payload
        monkeypatch.setattr(
            scheme, "open_payload", lambda self, p: keys.append(p.material) or read(self, p)
        )
        mallory.omemo.open_sealed(sealed, bob.jid)
        key, tag, iv = keys[0][:16], keys[0][-16:], sealed.iv or bytes(12)
        forged = replace(sealed, payload=another(key, tag, iv, FORGED))
        if namespace == OMEMO:
            with pytest.raises(CannotOpen):
                alice.omemo.open_sealed(forged, bob.jid)
        else:
            assert scheme is OmemoLegacy
            opened = alice.omemo.open_sealed(forged, bob.jid)
            assert opened.plaintext is not None
            assert opened.plaintext.startswith(FORGED)

    asyncio.run(body())
