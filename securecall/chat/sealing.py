"""Encrypts one file piece by piece, and decrypts what others did, proved at its end (XEP-0448)."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, GCM
from cryptography.hazmat.primitives.padding import PKCS7

from securecall.chat.message import SharedFile
from securecall.errors import FileNotIntact, ProtocolError, UsageError
from securecall.secret import Secret

GCM_256: Final = "urn:xmpp:ciphers:aes-256-gcm-nopadding:0"
CBC_256: Final = "urn:xmpp:ciphers:aes-256-cbc-pkcs7:0"
"""Without a tag, so never made here, and opened only against a hash that came encrypted."""

TAG: Final = 16
LARGEST: Final = 1 << 32
"""Bytes of plaintext; GCM is sound up to 2**36 - 32 (NIST SP 800-38D 5.2.1.1)."""

PIECE: Final = 256 * 1024
_SPARE: Final = 64 * 1024
_BLOCK: Final = 16


def padded(size: int) -> int:
    """Return the next length that few bits can write: at most 12 % more (PADMÉ).

    Files of one bucket look alike to whoever keeps them.
    """
    if size < 2:
        return size
    exponent = size.bit_length() - 1
    low = exponent - exponent.bit_length()
    return size + (-size & (1 << max(low, 0)) - 1)


def most_sealed(shared: SharedFile, most: int) -> int:
    """Return how many bytes the ciphertext of a file may have, if the plaintext may have `most`.

    Where a size was said, senders may pad, but not without end.
    """
    if shared.size is None:
        return most + TAG
    return min(shared.size * 2 + _SPARE, most * 2 + _SPARE)


class Sealer:
    """Encrypts one file under a key and an IV that nothing else has, with AES-256-GCM.

    Attributes:
        key: Drawn for this file.
        iv: Likewise.
        size: Bytes of plaintext so far.
        sealed_size: Bytes of ciphertext so far, with the tag once it is finished.
    """

    def __init__(self) -> None:
        """Draw key and IV."""
        self.key = Secret(os.urandom(32))
        self.iv = os.urandom(12)
        self.size = 0
        self.sealed_size = 0
        self._cipher = Cipher(AES(self.key.reveal()), GCM(self.iv)).encryptor()
        self._plain = hashlib.sha256()
        self._sealed = hashlib.sha256()

    def update(self, plain: bytes) -> bytes:
        """Encrypt the next piece.

        Raises:
            UsageError: the file has more than 4 GiB.
        """
        self.size += len(plain)
        if self.size > LARGEST:
            raise UsageError("a file of more than 4 GiB is not sent")
        self._plain.update(plain)
        return self._out(self._cipher.update(plain))

    def finish(self, *, pad: bool) -> Iterator[bytes]:
        """Yield what is left: padding, which the size in the message cuts off, and the tag."""
        if pad:
            left = padded(self.size + TAG) - self.size - TAG
            while left:
                piece = bytes(min(left, PIECE))
                left -= len(piece)
                yield self._out(self._cipher.update(piece))
        yield self._out(self._cipher.finalize() + self._cipher.tag)

    def _out(self, sealed: bytes) -> bytes:
        self._sealed.update(sealed)
        self.sealed_size += len(sealed)
        return sealed

    @property
    def sha256(self) -> bytes:
        """Of the plaintext so far."""
        return self._plain.digest()

    @property
    def cipher_sha256(self) -> bytes:
        """Of the ciphertext so far."""
        return self._sealed.digest()


class Opener:
    """Decrypts one file. What `update` returns is worth nothing until `finish` has returned."""

    def __init__(self, shared: SharedFile) -> None:
        """Take what the message said of the file.

        Raises:
            ProtocolError: key, IV or cipher are none that can be used, or it is too large.
        """
        require_usable(shared)
        self._shared = shared
        self._left = LARGEST if shared.size is None else shared.size
        self._taken = 0
        self._released = 0
        self._plain = hashlib.sha256()
        self._sealed = hashlib.sha256()
        self._gcm = shared.cipher != CBC_256
        algorithm, iv = AES(shared.key.reveal()), shared.iv
        if self._gcm:
            # the tag is known last of all
            self._cipher = Cipher(algorithm, GCM(iv)).decryptor()
        else:
            self._cbc = Cipher(algorithm, CBC(iv)).decryptor()
            self._unpadder = PKCS7(8 * _BLOCK).unpadder()
        self._held = b""

    def update(self, sealed: bytes) -> bytes:
        """Decrypt the next piece; not proved yet.

        Raises:
            FileNotIntact: it is longer than anything that could be sent.
        """
        self._sealed.update(sealed)
        self._taken += len(sealed)
        if self._taken > 2 * LARGEST + _SPARE:
            raise FileNotIntact("the file is longer than any that is taken")
        if not self._gcm:
            return self._cut(self._unpadder.update(self._cbc.update(sealed)))
        held = self._held + sealed
        self._held = held[-TAG:]
        return self._cut(self._cipher.update(held[:-TAG]))

    def finish(self) -> bytes:
        """Return the last piece, and with it everything before it proved.

        Raises:
            FileNotIntact: tag, size or hash do not fit.
        """
        try:
            if self._gcm:
                last = self._cipher.finalize_with_tag(self._held)
            else:
                rest = self._unpadder.update(self._cbc.finalize())
                last = rest + self._unpadder.finalize()
        except (InvalidTag, ValueError) as e:
            raise FileNotIntact("the file was damaged, cut short or altered on its way") from e
        plain = self._cut(last)
        shared = self._shared
        _require_hash(shared.cipher_sha256, self._sealed.digest())
        if shared.size is not None and self._released != shared.size:
            raise FileNotIntact("the file is shorter than its sender says")
        _require_hash(shared.sha256, self._plain.digest())
        return plain

    def _cut(self, plain: bytes) -> bytes:
        """XEP-0448 4.2: bytes beyond the size are padding."""
        part = plain[: self._left]
        if self._shared.size is None and len(part) != len(plain):
            raise FileNotIntact("the file is longer than any that is taken")
        self._left -= len(part)
        self._released += len(part)
        self._plain.update(part)
        return part


def require_usable(shared: SharedFile) -> None:
    """Refuse a description that no file can be opened with.

    Raises:
        ProtocolError: says what is wrong with it.
    """
    if shared.cipher not in {GCM_256, CBC_256, ""}:
        raise ProtocolError("a cipher unknown here", rule="XEP-0448 5")
    if len(shared.key) != 32:
        raise ProtocolError("the key is not one of AES-256", rule="XEP-0448 5")
    if len(shared.iv) not in ((_BLOCK,) if shared.cipher == CBC_256 else (12, _BLOCK)):
        raise ProtocolError("an IV of a wrong length", rule="XEP-0448 5")
    if any(len(h) not in (0, 32) for h in (shared.sha256, shared.cipher_sha256)):
        raise ProtocolError("a hash of a wrong length", rule="XEP-0300 4")
    if shared.size is not None and not 0 <= shared.size <= LARGEST:
        raise ProtocolError("a file of more than 4 GiB", rule="XEP-0448 4.1")
    if shared.cipher == CBC_256 and not (shared.sha256 or shared.cipher_sha256):
        raise ProtocolError("CBC without a hash known here proves nothing", rule="XEP-0448 4.1")


def _require_hash(said: bytes, found: bytes) -> None:
    if said and not hmac.compare_digest(said, found):
        raise FileNotIntact("the file is not the one its sender described: its hash differs")
