"""The cryptography of the store: a key made of the passphrase, sealed rows, a sealed head.

Header, in the clear:
    "securecall-vault" | u8 version | u32 memory (KiB) | u32 iterations | u32 lanes | salt 16
    | version 2 alone: u8 2 | u8 0 | u16 0
    | check 32 | nonce 12 | wrapped DEK 48 | SHA-256 of all before 32
Argon2id (version 1), or PBKDF2-HMAC-SHA-512 for the fips profile (version 2, memory and lanes 0),
makes 64 bytes of the passphrase: a wrapping key, and a key for `check`, an HMAC over what
stands before it, which tells a wrong passphrase from a damaged file. The DEK (32 random bytes)
yields, by HKDF, the keys of rows, head and row names; a new passphrase rewraps only the DEK.
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
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from securecall.errors import LocalError, StoreCorrupt, Unsupported, UsageError, WrongPassphrase
from securecall.secret import Secret

SCHEMA: Final = 1
_MAGIC: Final = b"securecall-vault"
_SALT: Final = 16
_NONCE: Final = 12
_FIXED: Final = struct.Struct(">16sBIII16s")
_MORE: Final = bytes((2, 0, 0, 0))  # PBKDF2, and the passphrase alone opens it
_TAIL: Final = 32 + _NONCE + 48 + 32


@dataclass(frozen=True, slots=True)
class Cost:
    """What one try of a passphrase costs: Argon2id's parameters.

    Attributes:
        memory: KiB.
        iterations: Passes over that memory.
        lanes: Parallel lanes.
    """

    memory: int = 65536
    iterations: int = 3
    lanes: int = 4


@dataclass(frozen=True, slots=True)
class Rounds:
    """What one try of a passphrase costs where Argon2id may not be used (SP 800-132).

    Attributes:
        iterations: Of HMAC-SHA-512.
    """

    iterations: int = 210_000


_PBKDF2_BOUNDS: Final = (210_000, 10_000_000)
DEFAULT_COST: Final = Cost()
# Below, a header was tampered with so that guessing becomes cheap; above, so that opening hangs.
MINIMUM_COST: Final = Cost(memory=19456, iterations=2, lanes=1)
MAXIMUM_COST: Final = Cost(memory=1048576, iterations=16, lanes=16)


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
    def create(cls, passphrase: Secret, cost: Cost | Rounds = DEFAULT_COST) -> tuple[Vault, bytes]:
        """Draw the keys of a new vault; takes as long as `cost` says.

        Returns:
            The vault and its header.

        Raises:
            UsageError: the passphrase is empty, or the cost is out of bounds.
        """
        vault = cls._from_dek(Secret(os.urandom(32)))
        return vault, vault.header(passphrase, cost)

    @classmethod
    def unlock(cls, header: bytes, passphrase: Secret, *, approved: bool = False) -> Vault:
        """Open a vault; takes as long as its header says, within bounds.

        Args:
            header: As `header` returned it.
            passphrase: Its own.
            approved: Only with PBKDF2.

        Raises:
            Unsupported: `approved`, and Argon2id made the keys.
            WrongPassphrase: it is another one.
            StoreCorrupt: the header is damaged or was altered; nothing was derived from it.
        """
        more = _MORE if header[len(_MAGIC) : len(_MAGIC) + 1] == b"\x02" else b""
        size = _FIXED.size + len(more)
        if len(header) != size + _TAIL or not hmac.compare_digest(
            hashlib.sha256(header[:-32]).digest(), header[-32:]
        ):
            raise StoreCorrupt("the header of the key store is damaged")
        magic, version, memory, iterations, lanes, salt = _FIXED.unpack_from(header)
        if magic != _MAGIC or version not in (1, 2) or header[_FIXED.size : size] != more:
            raise StoreCorrupt("the header of the key store is of another kind")
        if approved and version == 1:
            raise Unsupported(
                "Argon2id opens this key store, which the fips profile does not use: set its "
                "passphrase anew with cost=Rounds(), or make another store"
            )
        cost = Cost(memory, iterations, lanes) if version == 1 else Rounds(iterations)
        if version == 2 and (memory or lanes):
            raise StoreCorrupt("the header of the key store was altered")
        try:
            _require_cost(cost)
        except UsageError as e:
            raise StoreCorrupt(f"the header of the key store was altered: {e}") from e
        wrapping, checking = _derive(passphrase, salt, cost)
        fixed, rest = header[:size], header[size:]
        if not hmac.compare_digest(_check(checking, fixed), rest[:32]):
            raise WrongPassphrase("the key store does not open with this passphrase")
        nonce, wrapped = rest[32 : 32 + _NONCE], rest[32 + _NONCE : 32 + _NONCE + 48]
        try:
            dek = AESGCM(wrapping.reveal()).decrypt(nonce, wrapped, header[: size + 32])
        except InvalidTag as e:
            raise StoreCorrupt("the wrapped key of the key store is damaged") from e
        return cls._from_dek(Secret(dek))

    def header(self, passphrase: Secret, cost: Cost | Rounds = DEFAULT_COST) -> bytes:
        """Return a header that opens this vault with a passphrase, under a fresh salt.

        Raises:
            UsageError: the passphrase is empty, or the cost is out of bounds.
        """
        if not len(passphrase):
            raise UsageError("a key store needs a passphrase")
        _require_cost(cost)
        salt = os.urandom(_SALT)
        wrapping, checking = _derive(passphrase, salt, cost)
        if isinstance(cost, Cost):
            fixed = _FIXED.pack(_MAGIC, 1, cost.memory, cost.iterations, cost.lanes, salt)
        else:
            fixed = _FIXED.pack(_MAGIC, 2, 0, cost.iterations, 0, salt) + _MORE
        known = fixed + _check(checking, fixed)
        nonce = os.urandom(_NONCE)
        wrapped = AESGCM(wrapping.reveal()).encrypt(nonce, self._dek.reveal(), known)
        data = known + nonce + wrapped
        return data + hashlib.sha256(data).digest()

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


def _require_cost(cost: Cost | Rounds) -> None:
    if isinstance(cost, Rounds):
        least, most = _PBKDF2_BOUNDS
        if not least <= cost.iterations <= most:
            raise UsageError(f"PBKDF2 iterations must lie in {least}..{most}")
        return
    for name in ("memory", "iterations", "lanes"):
        value: int = getattr(cost, name)
        low: int = getattr(MINIMUM_COST, name)
        high: int = getattr(MAXIMUM_COST, name)
        if not low <= value <= high:
            raise UsageError(f"Argon2id {name} must lie in {low}..{high}, not {value}")


def _derive(passphrase: Secret, salt: bytes, cost: Cost | Rounds) -> tuple[Secret, Secret]:
    if isinstance(cost, Rounds):
        made = PBKDF2HMAC(algorithm=SHA512(), length=64, salt=salt, iterations=cost.iterations)
        key = made.derive(passphrase.reveal())
        return Secret(key[:32]), Secret(key[32:])
    kdf = Argon2id(
        salt=salt,
        length=64,
        iterations=cost.iterations,
        lanes=cost.lanes,
        memory_cost=cost.memory,
    )
    try:
        key = kdf.derive(passphrase.reveal())
    except MemoryError as e:
        raise LocalError(f"opening the key store needs {cost.memory // 1024} MiB of memory") from e
    return Secret(key[:32]), Secret(key[32:])


def _check(key: Secret, fixed: bytes) -> bytes:
    return hmac.new(key.reveal(), fixed, hashlib.sha256).digest()


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
