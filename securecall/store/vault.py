"""The cryptography of the store: one key yields those of sealed rows, their names and their head.

The DEK (32 random bytes) yields, by HKDF, the keys of rows, head and row names, and those of files
beside this one. What wraps it is the header's business: `securecall.store.lock`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from securecall.errors import StoreCorrupt, UsageError
from securecall.secret import Secret
from securecall.store.lock import DEFAULT_COST as DEFAULT_COST
from securecall.store.lock import MAXIMUM_COST as MAXIMUM_COST
from securecall.store.lock import MINIMUM_COST as MINIMUM_COST
from securecall.store.lock import Cost as Cost
from securecall.store.lock import Lock, Seal, build_header, open_header
from securecall.store.lock import Rounds as Rounds

SCHEMA: Final = 1
STORE: Final = Seal(b"securecall-vault", "the key store")
_NONCE: Final = 12


@dataclass(frozen=True, slots=True, eq=False)
class Vault:
    """An unlocked vault: seals and opens rows."""

    _dek: Secret = field(repr=False)
    _row: Secret = field(repr=False)
    _head: Secret = field(repr=False)
    _name: Secret = field(repr=False)

    @classmethod
    def _from_dek(cls, dek: Secret) -> Vault:
        return cls(dek, _subkey(dek, "row"), _subkey(dek, "head"), _subkey(dek, "name"))

    @classmethod
    def create(cls, lock: Lock, seal: Seal = STORE) -> tuple[Vault, bytes]:
        """Draw the keys of a new vault; takes as long as the cost in `lock` says.

        Returns:
            The vault and its header.

        Raises:
            UsageError: the passphrase is empty, or the cost is out of bounds.
            LocalError: the keeper does not work now.
        """
        vault = cls._from_dek(Secret(os.urandom(32)))
        return vault, vault.header(lock, seal)

    @classmethod
    def unlock(cls, header: bytes, lock: Lock, seal: Seal = STORE) -> Vault:
        """Open a vault; see `securecall.store.lock.open_header`, also for what it raises."""
        return cls._from_dek(open_header(header, lock, seal))

    def header(self, lock: Lock, seal: Seal = STORE) -> bytes:
        """Return a header by which something else opens this vault; raises as `create` does."""
        return build_header(self._dek, lock, seal)

    def row_name(self, table: str, key: str) -> bytes:
        """Return the stored primary key of a row: whom we know is nobody's to read."""
        data = _prefixed(table.encode()) + _prefixed(key.encode())
        return hmac.new(self._name.reveal(), data, hashlib.sha256).digest()[:16]

    def seal(self, table: str, name: bytes, version: int, data: bytes) -> bytes:
        """Encrypt a row for its one place and version; nonce 12 | ciphertext | tag 16."""
        nonce = os.urandom(_NONCE)
        return nonce + AESGCM(self._row.reveal()).encrypt(
            nonce, data, _associated(table, name, version)
        )

    def unseal(self, table: str, name: bytes, version: int, sealed: bytes) -> bytes:
        """Decrypt a row found in that place.

        Raises:
            StoreCorrupt: damaged, altered, moved or from another version.
        """
        if len(sealed) < _NONCE + 16:
            raise StoreCorrupt("a row of the key store is cut off")
        try:
            return AESGCM(self._row.reveal()).decrypt(
                sealed[:_NONCE], sealed[_NONCE:], _associated(table, name, version)
            )
        except InvalidTag as e:
            raise StoreCorrupt(f"a row of {table} in the key store was altered") from e

    def head(self, counter: int, digests: Iterable[tuple[str, bytes, bytes]]) -> bytes:
        """Return the HMAC over all rows there are, so that none can vanish or come back.

        Args:
            counter: Number of the write that made this state.
            digests: Table, stored key and `row_digest` of every row, sorted.
        """
        mac = hmac.new(self._head.reveal(), struct.pack(">IQ", SCHEMA, counter), hashlib.sha256)
        for table, name, digest in digests:
            mac.update(_prefixed(table.encode()) + _prefixed(name) + digest)
        return mac.digest()

    def require_head(
        self, mac: bytes, counter: int, digests: Iterable[tuple[str, bytes, bytes]]
    ) -> None:
        """Refuse a set of rows that is not the one last written.

        Raises:
            StoreCorrupt: a row is missing, added, or of another time.
        """
        if not hmac.compare_digest(mac, self.head(counter, digests)):
            raise StoreCorrupt("rows of the key store were altered, removed or brought back")

    def subkey(self, name: str) -> Secret:
        """Return a key for another file beside this one; the name says which."""
        return _subkey(self._dek, name)

    def wipe(self) -> None:
        """Overwrite the keys."""
        for key in (self._dek, self._row, self._head, self._name):
            key.wipe()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError("a Vault is never copied or serialised")


def row_digest(version: int, sealed: bytes) -> bytes:
    """Return SHA-256 over a row's version and sealed value."""
    return hashlib.sha256(struct.pack(">Q", version) + sealed).digest()


def _subkey(dek: Secret, name: str) -> Secret:
    info = f"securecall store {name} 1".encode()
    return Secret(HKDFExpand(algorithm=SHA256(), length=32, info=info).derive(dek.reveal()))


def _associated(table: str, name: bytes, version: int) -> bytes:
    return (
        struct.pack(">I", SCHEMA)
        + _prefixed(table.encode())
        + _prefixed(name)
        + struct.pack(">Q", version)
    )


def _prefixed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
