"""The cryptography of the history: sealed rows, blind names, a sum over what must be whole.

One AES-256-GCM key with random 96-bit nonces. NIST SP 800-38D 8.3 allows it 2^32 messages, after
which two nonces are the same with a chance of 2^-33: the file counts its seals and refuses more.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from securecall.errors import HistoryCorrupt, LocalError, UsageError
from securecall.secret import Secret

FORMAT: Final = 1  # of sealed rows; bound into every seal
MOST_SEALS: Final = 2**32
MODULUS: Final = 2**256
TAG: Final = 16
_NONCE: Final = 12
_REPEATED: Final = ("conversation", "value", "day", "due")  # kinds of names asked for again
_MOST_NAMES: Final = 1024


class Keys:
    """The keys of one history.

    Attributes:
        seals: How many rows were ever sealed with them; never goes back, whatever is undone.
    """

    def __init__(self, secret: Secret) -> None:
        """Derive what is needed of a secret, and wipe it."""
        self._aead: AESGCM | None = AESGCM(_subkey(secret, "row"))
        self._name = Secret(_subkey(secret, "name"))
        self._term = Secret(_subkey(secret, "sum"))
        self.seals = 0
        self._names: dict[tuple[str | int, ...], int] = {}
        secret.wipe()

    def seal(self, table: str, place: tuple[int, ...], data: bytes) -> bytes:
        """Encrypt a row for its one place: key, version, and every column it is found by.

        Returns:
            nonce 12 | ciphertext | tag 16.

        Raises:
            LocalError: the key has sealed as many rows as is safe.
        """
        if self.seals >= MOST_SEALS:
            raise LocalError("the history has written all its key is good for; begin a new one")
        self.seals += 1
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher().encrypt(nonce, data, _associated(table, place))

    def unseal(self, table: str, place: tuple[int, ...], sealed: object) -> bytes:
        """Decrypt a row found in that place.

        Raises:
            HistoryCorrupt: damaged, altered, moved, or from another version.
        """
        if not isinstance(sealed, bytes) or len(sealed) < _NONCE + TAG:
            raise HistoryCorrupt(f"a row of {table} in the history is cut off")
        try:
            return self._cipher().decrypt(
                sealed[:_NONCE], sealed[_NONCE:], _associated(table, place)
            )
        except InvalidTag as e:
            raise HistoryCorrupt(f"a row of {table} in the history was altered") from e

    def name(self, kind: str, *parts: str | int) -> int:
        """Return the number something is looked up by; without the key it tells nothing.

        Two things share one with a chance of 2^-64, so what is found is compared. Never 0.
        """
        asked = (kind, *parts)
        known = self._names.get(asked)
        if known is not None:
            return known
        data = b"".join(map(_part, asked))
        digest = hmac.digest(self._name.reveal(), data, "sha256")[:8]
        number = int.from_bytes(digest, "big", signed=True) or 1
        if kind in _REPEATED:
            if len(self._names) >= _MOST_NAMES:
                self._names.clear()
            self._names[asked] = number
        return number

    def term(self, table: str, place: tuple[int, ...], sealed: bytes) -> int:
        """Return what a row adds to the sum over all rows (MSet-Add-Hash of Clarke et al., 2003).

        Args:
            table: Where it lies.
            place: As it was sealed for.
            sealed: The row, or only its last 16 bytes: the tag stands for all of it.
        """
        data = _associated(table, place) + sealed[-TAG:]
        digest = hashlib.blake2b(data, key=self._term.reveal(), digest_size=32).digest()
        return int.from_bytes(digest, "big")

    def wipe(self) -> None:
        """Forget the keys."""
        self._aead = None
        self._names.clear()
        self._name.wipe()
        self._term.wipe()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError("keys are never copied or serialised")

    def _cipher(self) -> AESGCM:
        if self._aead is None:
            raise LocalError("the history is closed; open it again")
        return self._aead


def _subkey(secret: Secret, name: str) -> bytes:
    info = f"securecall history {name} 1".encode()
    return HKDFExpand(algorithm=SHA256(), length=32, info=info).derive(secret.reveal())


def _associated(table: str, place: tuple[int, ...]) -> bytes:
    return struct.pack(f">B10s{len(place)}q", FORMAT, table.encode(), *place)


def _part(part: str | int) -> bytes:
    # Texts from the network may hold lone surrogates; they only have to be told apart.
    data = str(part).encode("utf-8", "surrogatepass")
    return struct.pack(">I", len(data)) + data
