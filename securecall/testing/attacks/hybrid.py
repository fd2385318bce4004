"""Q1, Q2 inside: one half of the hybrid key agreement is broken, by measure and by counting.

A TLS 1.3 client that knows both of its private keys (RFC 8446 4.1.2, draft-ietf-tls-ecdhe-mlkem)
says hello to our inner TLS, and opens the answer with both secrets, or with one and a guess.
"""

from __future__ import annotations

import hashlib
import secrets
from functools import partial
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securecall.keys.device import DeviceKey
from securecall.keys.inner_tls import InnerTls
from securecall.rtp.hkdf import hkdf_expand, hkdf_extract
from securecall.testing.attacks.outcome import Outcome

_GROUP: Final = b"\x11\xec"  # X25519MLKEM768
_CIPHERTEXT: Final = 1088  # bytes of ML-KEM-768
_HASH: Final = "sha384"
_ENCRYPTED_EXTENSIONS: Final = 8


def _block(data: bytes, size: int = 2) -> bytes:
    return len(data).to_bytes(size) + data


def _extension(number: int, body: bytes) -> bytes:
    return number.to_bytes(2) + _block(body)


class _Hello:
    """A ClientHello of the hybrid group, and what its answer says to each secret."""

    def __init__(self) -> None:
        self._lattice, self._curve = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
        share = (
            self._lattice.public_key().public_bytes_raw()
            + self._curve.public_key().public_bytes_raw()
        )
        extensions = (
            _extension(43, _block(b"\x03\x04", 1))  # TLS 1.3
            + _extension(10, _block(_GROUP))
            + _extension(51, _block(_GROUP + _block(share)))
            + _extension(13, _block(b"\x08\x07"))  # Ed25519
            + _extension(16, _block(_block(b"securecall-id/1", 1)))
        )
        body = (
            b"\x03\x03" + secrets.token_bytes(32) + b"\x00" + _block(b"\x13\x02") + b"\x01\x00"
        ) + _block(extensions)
        self.message = b"\x01" + _block(body, 3)

    def wire(self) -> bytes:
        """The record to send."""
        return b"\x16\x03\x01" + _block(self.message)

    def halves(self, hello: bytes) -> tuple[bytes, bytes]:
        """Both secrets, out of the ServerHello: of ML-KEM, and of X25519."""
        place = hello.index(b"\x00\x33\x04\x64" + _GROUP) + 8
        share = hello[place : place + _CIPHERTEXT + 32]
        curve = X25519PublicKey.from_public_bytes(share[_CIPHERTEXT:])
        return self._lattice.decapsulate(share[:_CIPHERTEXT]), self._curve.exchange(curve)

    def first_message(self, answer: bytes, shared: bytes) -> int:
        """Type of the first message under the handshake keys (RFC 8446 7.1), -1 if none opens."""
        records = []
        while answer:
            length = 5 + int.from_bytes(answer[3:5])
            records.append(answer[:length])
            answer = answer[length:]
        hello = records[0][5:]
        sealed = next(r for r in records if r[0] == 23)
        nothing = hashlib.sha384().digest()
        early = hkdf_extract(b"", bytes(48), _HASH)
        handshake = hkdf_extract(_expand(early, b"derived", nothing, 48), shared, _HASH)
        transcript = hashlib.sha384(self.message + hello).digest()
        traffic = _expand(handshake, b"s hs traffic", transcript, 48)
        key, iv = _expand(traffic, b"key", b"", 32), _expand(traffic, b"iv", b"", 12)
        try:
            return AESGCM(key).decrypt(iv, sealed[5:], sealed[:5])[0]
        except InvalidTag:
            return -1


def _expand(secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    info = length.to_bytes(2) + _block(b"tls13 " + label, 1) + _block(context, 1)
    return hkdf_expand(secret, info, length, _HASH)


async def broken(folder: Path, *, lattice: bool, curve: bool) -> Outcome:  # noqa: ARG001
    """The server's first flight, for who knows these secrets and has to guess the others."""
    hello = _Hello()
    server = InnerTls(client=False, device=DeviceKey.generate("phone"))
    _ = server.receive(hello.wire())
    answer, outcome = server.outgoing(), Outcome()
    secrets_known = hello.halves(answer)
    shared = b"".join(
        known if has else secrets.token_bytes(32)
        for known, has in zip(secrets_known, (lattice, curve), strict=True)
    )
    opened = hello.first_message(answer, shared) == _ENCRYPTED_EXTENSIONS
    if lattice and curve:
        outcome.demand(opened, "even both secrets open nothing")
        outcome.readable = len(answer)
        outcome.got = "with both secrets the inner handshake opens"
    else:
        outcome.demand(not opened, "one secret is enough")
        outcome.got = "the inner handshake stays closed"
    return outcome


both = partial(broken, lattice=True, curve=True)
only_classical = partial(broken, lattice=False, curve=True)
only_lattice = partial(broken, lattice=True, curve=False)
