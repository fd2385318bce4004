"""Sealed bytes for tests, and what a message would say of them."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from securecall.chat.attachments import Opening
from securecall.chat.message import SharedFile
from securecall.chat.sealing import CBC_256, GCM_256, PIECE, Opener, Sealer
from securecall.secret import Secret

URL = "https://upload.example/x.bin"


def seal(plain, *, pad=True):
    sealer = Sealer()
    return sealer, sealer.update(plain) + b"".join(sealer.finish(pad=pad))


def describe(sealer, **changes):
    said = {
        "url": URL,
        "key": Secret(sealer.key.reveal()),
        "iv": sealer.iv,
        "cipher": GCM_256,
        "size": sealer.size,
        "sha256": sealer.sha256,
        "cipher_sha256": sealer.cipher_sha256,
    }
    return SharedFile(**(said | changes))


def opened(sealed, shared, *, step=0):
    opener = Opener(shared)
    step = step or max(1, len(sealed))
    pieces = [opener.update(sealed[i : i + step]) for i in range(0, len(sealed), step)]
    return b"".join([*pieces, opener.finish()])


def open_file(sealed, shared, target):
    """Decrypt a file to `target` piece by piece, as one that is fetched."""
    with Opening(shared, target) as opening, sealed.open("rb") as source:
        while piece := source.read(PIECE):
            opening.write(piece)
        return opening.release()


def cbc(plain, **changes):
    key, iv = bytes(range(32)), bytes(range(16))
    padder, cipher = PKCS7(128).padder(), Cipher(AES(key), CBC(iv)).encryptor()
    sealed = cipher.update(padder.update(plain) + padder.finalize()) + cipher.finalize()
    said = {
        "url": URL,
        "key": Secret(key),
        "iv": iv,
        "cipher": CBC_256,
        "size": len(plain),
        "sha256": hashlib.sha256(plain).digest(),
    }
    return sealed, SharedFile(**(said | changes))
