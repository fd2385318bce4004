"""What opens a key store: the header that wraps its key under a passphrase, a keeper, or both.

Header, in the clear:
    magic 16 | u8 version | u32 memory (KiB) | u32 iterations | u32 lanes | salt 16
    | version 2 alone: u8 kdf | u8 keeper | u16 n | note n
    | check 32 | nonce 12 | wrapped DEK 48 | SHA-256 of all before 32
64 bytes are made of the passphrase by Argon2id, or by PBKDF2 (kdf 2, where only what NIST approves
may serve); with a keeper (the system's keyring, a PKCS#11 token), by HKDF of these and of 32 random
bytes that it keeps; kdf 0 is a keeper alone. One half wraps the DEK; the other makes `check`, an
HMAC over what stands before it, which tells a wrong passphrase from a damaged file. To change what
opens a store rewraps the DEK, and nothing else. Version 1 is Argon2id without a keeper.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import os
import struct
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from securecall.errors import LocalError, StoreCorrupt, Unsupported, UsageError, WrongPassphrase
from securecall.secret import Secret, require_secret

KEPT: Final = 32  # bytes that a keeper keeps
_SALT: Final = 16
_NONCE: Final = 12
_FIXED: Final = struct.Struct(">16sBIII16s")
_MORE: Final = struct.Struct(">BBH")
_TAIL: Final = 32 + _NONCE + 48 + 32
_LONGEST_NOTE: Final = 1024
MOST_HEADER: Final = _FIXED.size + _MORE.size + _LONGEST_NOTE + _TAIL


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
    """The same for PBKDF2-HMAC-SHA-512, which NIST approves and which needs no memory.

    It makes guessing far cheaper than `Cost` does: only for whoever must.

    Attributes:
        iterations: Rounds.
    """

    iterations: int = 210_000


DEFAULT_COST: Final = Cost()
# Below, a header was tampered with so that guessing becomes cheap; above, so that opening hangs.
MINIMUM_COST: Final = Cost(memory=19456, iterations=2, lanes=1)
MAXIMUM_COST: Final = Cost(memory=1048576, iterations=16, lanes=16)
_ROUNDS: Final = range(210_000, 10_000_001)


class KeeperKind(enum.IntEnum):
    """Where a part of the key is kept, as headers say it."""

    NONE = 0
    KEYRING = 1
    TOKEN = 2


class Keeper(Protocol):
    """Keeps 32 random bytes for a key store, somewhere else than in its file."""

    @property
    def kind(self) -> KeeperKind:
        """What it is."""
        ...

    def keep(self, secret: Secret) -> bytes:
        """Keep it; returns a note, at most 1 KiB, with which `fetch` finds it; no secret.

        Raises:
            LocalError: it does not work now.
        """
        ...

    def fetch(self, note: bytes) -> Secret:
        """Give it out.

        Raises:
            LocalError: it does not work now, or knows nothing of this note.
        """
        ...

    def forget(self, note: bytes) -> None:
        """Drop what was kept; nothing there is no error.

        Raises:
            LocalError: it does not work now.
        """
        ...

    def generation(self, note: bytes) -> int:
        """The number kept with it, 0 before the first.

        Raises:
            LocalError: it does not work now.
        """
        ...

    def keep_generation(self, note: bytes, number: int) -> None:
        """Keep a number with it.

        Raises:
            LocalError: it does not work now.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """What opens, or shall open, a file.

    Attributes:
        passphrase: None where a keeper alone opens it.
        keeper: None where the passphrase alone does.
        cost: Of one try of a passphrase, for a new header; an old one names its own.
        approved: Open nothing that Argon2id opens, as the fips profile does.
    """

    passphrase: Secret | None = field(default=None, repr=False)
    keeper: Keeper | None = field(default=None, repr=False)
    cost: Cost | Rounds = DEFAULT_COST
    approved: bool = False

    def __post_init__(self) -> None:
        """Refuse a passphrase that is no secret."""
        require_secret(self.passphrase)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a header asks for.

    Attributes:
        passphrase: Whether there is one.
        keeper: Where the rest is kept.
        note: What the keeper finds it by.
    """

    passphrase: bool
    keeper: KeeperKind
    note: bytes = b""


@dataclass(frozen=True, slots=True)
class Seal:
    """A kind of file: the beginning of its header, and what it is called in errors."""

    magic: bytes
    name: str


def build_header(dek: Secret, lock: Lock, seal: Seal) -> bytes:
    """Wrap a DEK under a fresh salt, and under fresh bytes of the keeper; takes what `cost` says.

    Raises:
        UsageError: nothing would open it, the passphrase is empty, or the cost is out of bounds.
        LocalError: the keeper does not work now.
    """
    kdf, numbers = 0, (0, 0, 0)
    if lock.passphrase is not None:
        if not len(lock.passphrase):
            raise UsageError(f"{seal.name} needs a passphrase")
        kdf, numbers = _numbers(lock.cost)
        _require_cost(lock.cost)
    elif lock.keeper is None:
        raise UsageError(f"{seal.name} needs a passphrase, or a keeper of its key")
    salt = os.urandom(_SALT)
    kept, note = None, b""
    if lock.keeper is not None:
        kept = Secret(os.urandom(KEPT))
        note = lock.keeper.keep(kept)
    version = 1 if kdf == 1 and lock.keeper is None else 2
    fixed = _FIXED.pack(seal.magic, version, *numbers, salt)
    if version == 2:
        kind = KeeperKind.NONE if lock.keeper is None else lock.keeper.kind
        fixed += _MORE.pack(kdf, kind, len(note)) + note
    wrapping, checking = _keys(lock.passphrase, lock.cost, salt, kept, seal)
    known = fixed + _check(checking, fixed)
    nonce = os.urandom(_NONCE)
    data = known + nonce + AESGCM(wrapping.reveal()).encrypt(nonce, dek.reveal(), known)
    for key in (wrapping, checking, kept):
        if key is not None:
            key.wipe()
    return data + hashlib.sha256(data).digest()


def parse_needs(header: bytes, seal: Seal) -> Needs:
    """Read what a header asks for; derives nothing.

    Raises:
        StoreCorrupt: it is damaged, was altered, or is of another kind.
    """
    return _parse(header, seal)[0]


def open_header(header: bytes, lock: Lock, seal: Seal) -> Secret:
    """Return the DEK; takes as long as the header says, within bounds.

    Raises:
        WrongPassphrase: it is another one.
        Unsupported: only what is approved may be used, and this is not.
        UsageError: the header asks for a passphrase or a keeper that is not there; or for no
            passphrase where one was given, as that of a file put in another's place would.
        LocalError: the keeper does not work, or keeps something else.
        StoreCorrupt: the header is damaged or was altered; nothing was derived from it.
    """
    needs, cost, salt, fixed, rest = _parse(header, seal)
    if lock.approved and needs.passphrase and isinstance(cost, Cost):
        raise Unsupported(
            f"Argon2id opens {seal.name}, which the fips profile does not use: set its passphrase "
            "anew with cost=Rounds(), or make another store"
        )
    kept = _fetched(needs, lock, seal)
    wrapping, checking = _keys(lock.passphrase, cost, salt, kept, seal)
    if not hmac.compare_digest(_check(checking, fixed), rest[:32]):
        if not needs.passphrase:
            raise LocalError(f"what the {_called(needs)} keeps does not open {seal.name}")
        raise WrongPassphrase(f"{seal.name} does not open with this passphrase")
    nonce, wrapped = rest[32 : 32 + _NONCE], rest[32 + _NONCE :]
    try:
        dek = AESGCM(wrapping.reveal()).decrypt(nonce, wrapped, fixed + rest[:32])
    except InvalidTag as e:
        raise StoreCorrupt(f"the wrapped key of {seal.name} is damaged") from e
    for key in (wrapping, checking, kept):
        if key is not None:
            key.wipe()
    return Secret(dek)


def header_size(beginning: bytes) -> int:
    """Return how long a header is that begins so, whatever it may be worth.

    Args:
        beginning: At least 49 bytes of it.
    """
    if beginning[16] == 1:
        return _FIXED.size + _TAIL
    note: int = _MORE.unpack_from(beginning, _FIXED.size)[2]
    return _FIXED.size + _MORE.size + note + _TAIL


LEAST_BEGINNING: Final = _FIXED.size + _MORE.size


def _parse(header: bytes, seal: Seal) -> tuple[Needs, Cost | Rounds, bytes, bytes, bytes]:
    if (
        not LEAST_BEGINNING <= len(header) <= MOST_HEADER
        or len(header) != header_size(header)
        or not hmac.compare_digest(hashlib.sha256(header[:-32]).digest(), header[-32:])
    ):
        raise StoreCorrupt(f"the header of {seal.name} is damaged")
    magic, version, memory, iterations, lanes, salt = _FIXED.unpack_from(header)
    kdf, kind, note = 1, 0, b""
    if version == 2:
        kdf, kind, size = _MORE.unpack_from(header, _FIXED.size)
        note = header[LEAST_BEGINNING : LEAST_BEGINNING + size]
    if magic != seal.magic or version not in (1, 2) or kdf > 2 or kind > 2 or not (kdf or kind):
        raise StoreCorrupt(f"the header of {seal.name} is of another kind")
    cost: Cost | Rounds = Rounds(iterations) if kdf == 2 else Cost(memory, iterations, lanes)
    if kdf:
        try:
            _require_cost(cost)
        except UsageError as e:
            raise StoreCorrupt(f"the header of {seal.name} was altered: {e}") from e
    if kdf != 1 and (memory or lanes or (iterations and not kdf)):
        raise StoreCorrupt(f"the header of {seal.name} was altered")
    needs = Needs(passphrase=kdf != 0, keeper=KeeperKind(kind), note=note)
    end = len(header) - _TAIL
    return needs, cost, salt, header[:end], header[end:-32]


def _fetched(needs: Needs, lock: Lock, seal: Seal) -> Secret | None:
    """What the keeper gives out, once all is there that is needed, and no passphrase more."""
    if needs.passphrase and lock.passphrase is None:
        raise UsageError(f"{seal.name} needs its passphrase")
    if lock.passphrase is not None and not needs.passphrase:
        raise UsageError(
            f"{seal.name} opens without a passphrase, and one was given: "
            "if you chose one for it, somebody put another in its place"
        )
    if needs.keeper is KeeperKind.NONE:
        return None
    if lock.keeper is None or lock.keeper.kind is not needs.keeper:
        raise UsageError(f"a part of the key of {seal.name} is kept in a {_called(needs)}")
    kept = lock.keeper.fetch(needs.note)
    if len(kept) != KEPT:
        raise LocalError(f"what the {_called(needs)} keeps for {seal.name} is no key")
    return kept


def _called(needs: Needs) -> str:
    return "keyring" if needs.keeper is KeeperKind.KEYRING else "token"


def _numbers(cost: Cost | Rounds) -> tuple[int, tuple[int, int, int]]:
    if isinstance(cost, Rounds):
        return 2, (0, cost.iterations, 0)
    return 1, (cost.memory, cost.iterations, cost.lanes)


def _require_cost(cost: Cost | Rounds) -> None:
    if isinstance(cost, Rounds):
        if cost.iterations not in _ROUNDS:
            raise UsageError(
                f"PBKDF2 rounds must lie in {_ROUNDS.start}..{_ROUNDS.stop - 1}, "
                f"not {cost.iterations}"
            )
        return
    for name in ("memory", "iterations", "lanes"):
        value: int = getattr(cost, name)
        low: int = getattr(MINIMUM_COST, name)
        high: int = getattr(MAXIMUM_COST, name)
        if not low <= value <= high:
            raise UsageError(f"Argon2id {name} must lie in {low}..{high}, not {value}")


def _keys(
    passphrase: Secret | None,
    cost: Cost | Rounds,
    salt: bytes,
    kept: Secret | None,
    seal: Seal,
) -> tuple[Secret, Secret]:
    stretched = b"" if passphrase is None else _stretch(passphrase, cost, salt, seal)
    if kept is not None:
        # Of a fixed length each, so that no two pairs of them make one input.
        info = b"securecall store kek 1" + bytes([passphrase is not None])
        kdf = HKDF(algorithm=SHA256(), length=64, salt=salt, info=info)
        stretched = kdf.derive(stretched + kept.reveal())
    return Secret(stretched[:32]), Secret(stretched[32:])


def _stretch(passphrase: Secret, cost: Cost | Rounds, salt: bytes, seal: Seal) -> bytes:
    if isinstance(cost, Rounds):
        rounds = PBKDF2HMAC(algorithm=SHA512(), length=64, salt=salt, iterations=cost.iterations)
        return rounds.derive(passphrase.reveal())
    kdf = Argon2id(
        salt=salt,
        length=64,
        iterations=cost.iterations,
        lanes=cost.lanes,
        memory_cost=cost.memory,
    )
    try:
        return kdf.derive(passphrase.reveal())
    except MemoryError as e:
        raise LocalError(f"opening {seal.name} needs {cost.memory // 1024} MiB of memory") from e


def _check(key: Secret, fixed: bytes) -> bytes:
    return hmac.digest(key.reveal(), fixed, "sha256")
