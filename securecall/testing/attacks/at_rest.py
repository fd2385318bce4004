"""K2, K3, M1: files that were edited, key bytes that show, and attachments that were changed."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
import pickle
import sqlite3
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from securecall.address import parse_address
from securecall.chat.attachments import Opening, seal_file
from securecall.chat.message import SharedFile
from securecall.errors import FileNotIntact, LocalError, ProtocolError, SecurecallError, UsageError
from securecall.keys.identity import RootKey
from securecall.keys.trust import Act, How, TrustEvent, transition
from securecall.secret import Secret
from securecall.store.sqlite import FILE, Store
from securecall.store.vault import MINIMUM_COST
from securecall.testing.attacks.listening import secrets_made
from securecall.testing.attacks.outcome import Attack, Outcome, control, named, ours
from securecall.testing.attacks.stage import stage
from securecall.testing.evil_provider import Mode

_PASSPHRASE: Final = "correct horse battery staple"  # noqa: S105 - of a throw-away store
_PEOPLE: Final = tuple(parse_address(f"sip:{name}@b.example") for name in ("bob", "carol"))
_UNIX: Final = 1_764_000_000

_SWAP: Final = (
    "CREATE TEMP TABLE pair AS SELECT name, value, version FROM sealed WHERE tbl='bindings'",
    "UPDATE sealed SET value = (SELECT value FROM pair WHERE pair.name <> sealed.name) "
    "WHERE tbl='bindings'",
)
EDITS: Final[dict[str, tuple[str, ...]]] = {
    "rows swapped": _SWAP,
    "a pin deleted": ("DELETE FROM sealed WHERE tbl='bindings'",),
    "columns swapped": ("UPDATE sealed SET name=value, value=name WHERE tbl='bindings'",),
    "a version lowered": ("UPDATE sealed SET version=version-1 WHERE tbl='bindings'",),
    "a row in another table": (
        "INSERT OR REPLACE INTO sealed SELECT 'barred', name, version, value FROM sealed "
        "WHERE tbl='bindings'",
    ),
    "everything deleted": ("DELETE FROM sealed",),
}


def _run_sql(file: Path, statements: tuple[str, ...]) -> None:
    connection = sqlite3.connect(file)
    try:
        for statement in statements:
            _ = connection.execute(statement)
        connection.commit()
    finally:
        connection.close()


def _make_store(folder: Path) -> bytes:
    """Bob and Carol are pinned; Carol's root fingerprint."""
    root_fp = b""
    store = Store.create(folder, Secret(_PASSPHRASE), cost=MINIMUM_COST)
    for address in _PEOPLE:
        root_fp = RootKey.generate().fingerprint
        event = TrustEvent(
            act=Act.PIN, how=How.FIRST_CALL, address=address, root_fp=root_fp, unix=_UNIX
        )
        book, entry = transition(store.book, event)
        store.save_trust(book, [entry])
    store.close()
    return root_fp


def _refused(folder: Path, passphrase: str = _PASSPHRASE) -> str:
    """The name of the error, "" where the store opens."""
    try:
        Store.open(folder, Secret(passphrase)).close()
    except LocalError as e:
        return named(e)
    return ""


async def _unsealed(folder: Path) -> Outcome:
    """A table without seals, as most applications keep theirs."""
    outcome, changed = Outcome(), 0
    for number, (what, statements) in enumerate(EDITS.items()):
        file = folder / f"plain-{number}"
        _run_sql(
            file,
            (
                "CREATE TABLE sealed (tbl TEXT, name TEXT, version INTEGER, value TEXT, "
                "PRIMARY KEY (tbl, name))",
                "INSERT INTO sealed VALUES ('bindings', 'bob', 1, 'b'), "
                "('bindings', 'carol', 2, 'c')",
            ),
        )
        before = _rows(file)
        _run_sql(file, statements)
        outcome.demand(_rows(file) != before, f"{what}: nothing changed")
        changed += _rows(file) != before
    outcome.got = f"{changed} edits, and none is noticed: Carol's key is Bob's now"
    return outcome


def _rows(file: Path) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(file)
    try:
        return connection.execute("SELECT * FROM sealed ORDER BY 1, 2").fetchall()
    finally:
        connection.close()


async def _edited(statements: tuple[str, ...], folder: Path) -> Outcome:
    _ = _make_store(folder / "alice")
    _run_sql(folder / "alice" / FILE, statements)
    refusal = _refused(folder / "alice")
    outcome = Outcome(refusals=(refusal,) if refusal else (), got="nothing of it is loaded")
    outcome.demand(refusal, "the edited store opened")
    return outcome


async def _rolled_back(folder: Path) -> Outcome:
    """One table of last week, put back with its versions."""
    home, file = folder / "alice", folder / "alice" / FILE
    carol = _make_store(home)
    old = _bindings(file)
    store = Store.open(home, Secret(_PASSPHRASE))
    event = TrustEvent(act=Act.VERIFY, how=How.QR, address=_PEOPLE[1], root_fp=carol, unix=_UNIX)
    book, entry = transition(store.book, event)
    store.save_trust(book, [entry])
    store.close()
    connection = sqlite3.connect(file)
    _ = connection.execute("DELETE FROM sealed WHERE tbl='bindings'")
    _ = connection.executemany("INSERT INTO sealed VALUES ('bindings', ?, ?, ?)", old)
    connection.commit()
    connection.close()
    refusal = _refused(home)
    outcome = Outcome(refusals=(refusal,) if refusal else (), got="nothing of it is loaded")
    outcome.demand(refusal, "the old table was believed")
    return outcome


def _bindings(file: Path) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(file)
    try:
        return connection.execute(
            "SELECT name, version, value FROM sealed WHERE tbl='bindings'"
        ).fetchall()
    finally:
        connection.close()


async def _cheap(folder: Path) -> Outcome:
    """The header asks for a key derivation that costs nothing; truncated; another passphrase."""
    outcome, refusals = Outcome(), list[str]()
    for what, damage in (("cheap", _lower_costs), ("cut", _cut), ("wrong passphrase", None)):
        home = folder / what
        _ = _make_store(home)
        if damage is not None:
            damage(home / FILE)
        refusal = _refused(home, _PASSPHRASE if damage else "correct horse battery staplE")
        outcome.demand(refusal, f"{what}: it opened")
        refusals.append(refusal)
    outcome.refusals = tuple(dict.fromkeys(refusals))
    outcome.got = "lowered costs, a cut file and a wrong passphrase each by their name"
    return outcome


def _lower_costs(file: Path) -> None:
    connection = sqlite3.connect(file)
    (header,) = connection.execute("SELECT data FROM header").fetchone()
    cheap = bytearray(header)
    struct.pack_into(">III", cheap, 17, 8, 1, 1)
    cheap[-32:] = hashlib.sha256(cheap[:-32]).digest()
    _ = connection.execute("UPDATE header SET data=?", (bytes(cheap),))
    connection.commit()
    connection.close()


def _cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


K2: Final[Attack] = (
    control("a table without seals", _unsealed),
    *(ours(what, partial(_edited, statements)) for what, statements in EDITS.items()),
    ours("a table of last week", _rolled_back),
    ours("costs lowered, cut, wrong passphrase", _cheap),
)

# -- K3 -------------------------------------------------------------------------------------------


@dataclass
class _Ordinary:
    """What anybody writes first."""

    seed: bytes


async def _ordinary(folder: Path) -> Outcome:  # noqa: ARG001
    key = bytes(range(100, 132))
    shown, pickled = repr(_Ordinary(key)), pickle.dumps(_Ordinary(key))
    outcome = Outcome(readable=3 * len(key), got="repr, pickle and copy each give the key away")
    outcome.demand(repr(key)[2:-1] in shown and key in pickled, "they do not")
    outcome.demand(copy.copy(_Ordinary(key)).seed == key, "a copy has no key")
    return outcome


class _Everything(logging.Handler):
    """Every log record of every level, as text."""

    def __init__(self) -> None:
        super().__init__(level=logging.NOTSET)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


async def _in_a_call(folder: Path) -> Outcome:
    """All that is logged at the most talkative level, and shown of every object of a call."""
    log, handler = logging.getLogger("securecall"), _Everything()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        with secrets_made() as made:
            async with stage(folder, mode=Mode.TAP) as s:
                call = await s.dial(seconds=0.2)
                outcome = s.went_on()
                shown = [repr(x) for x in (call, call.security, s.alice.client, call.sas)]
                shown += [call.report.to_json(), str(call.report)]
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    texts = "\n".join((*handler.texts, *shown))
    keys = {key for key in made if len(key) >= 16 and len(set(key)) > 8}
    outcome.demand(len(keys) > 10 and handler.texts, "nothing was made, or nothing logged")
    for key in keys:
        spellings = (key.hex(), key.hex().upper(), key.hex(":"), repr(key)[2:-1])
        outcome.demand(not any(x in texts for x in spellings), "a key shows")
    outcome.got = f"{len(keys)} keys, {len(handler.texts)} log records: none of one in the other"
    return outcome


async def _kept(folder: Path) -> Outcome:  # noqa: ARG001
    """Holders of keys are neither pickled nor copied, and show nothing."""
    outcome, refusals = Outcome(got="refused, each"), list[str]()
    seed = bytes(range(100, 132))
    acts: tuple[Callable[[object], object], ...] = (pickle.dumps, copy.copy, copy.deepcopy)
    for holder in (Secret(seed), RootKey.from_seed(Secret(seed))):
        for act in acts:
            try:
                _ = act(holder)
                outcome.problems.append(f"{type(holder).__name__} was copied")
            except UsageError as e:
                refusals.append(named(e))
        shown = f"{holder!r} {holder}"
        outcome.demand(seed.hex() not in shown and repr(seed)[2:-1] not in shown, "it shows")
    outcome.refusals = tuple(dict.fromkeys(refusals))
    return outcome


K3: Final[Attack] = (
    control("an ordinary dataclass", _ordinary),
    ours("logs and representations of a call", _in_a_call),
    ours("pickle, copy, repr", _kept),
)

# -- M1 -------------------------------------------------------------------------------------------

_PLAIN: Final = b"Dosage: 10 mg a day. " * 500
_DAMAGE: Final[dict[str, Callable[[bytes], bytes]]] = {
    "a flipped byte": lambda d: bytes((*d[:9], d[9] ^ 1, *d[10:])),
    "the tag cut": lambda d: d[:-1],
    "no tag": lambda d: d[:-16],
    "one byte more": lambda d: d + b"\0",
    "blocks swapped": lambda d: d[16:32] + d[:16] + d[32:],
    "nothing": lambda _: b"",
}
_LIES: Final[dict[str, Callable[[SharedFile], SharedFile]]] = {
    "wrong hash": lambda s: replace(s, sha256=bytes(32)),
    "wrong size": lambda s: replace(s, size=len(_PLAIN) - 1),
    "wrong key": lambda s: replace(s, key=Secret(bytes(32))),
    "4 GiB and one": lambda s: replace(s, size=(4 << 30) + 1),
}


def _sealed(folder: Path) -> tuple[bytes, SharedFile]:
    sealed = seal_file(_PLAIN, folder)
    return sealed.path.read_bytes(), sealed.shared("https://upload.example/1")


def _released(folder: Path, data: bytes, shared: SharedFile) -> bytes | SecurecallError:
    try:
        with Opening(shared, folder / "got") as opening:
            opening.write(data)
            return opening.release().read_bytes()
    except (FileNotIntact, ProtocolError) as e:
        return e


async def _released_unread(folder: Path) -> Outcome:
    """What a reader without authentication hands out: 10 mg become 90 mg."""
    data, shared = _sealed(folder)
    changed = bytearray(data)
    changed[_PLAIN.index(b"1")] ^= ord("1") ^ ord("9")
    reader = Cipher(AES(shared.key.reveal()), CTR(shared.iv + b"\0\0\0\2")).decryptor()
    got = reader.update(bytes(changed))
    outcome = Outcome(got="without a tag, 10 mg a day become 90 mg")
    outcome.demand(got.startswith(b"Dosage: 90 mg"), "the change did not come through")
    return outcome


async def _damaged(folder: Path) -> Outcome:
    outcome, refusals = Outcome(), list[str]()
    data, shared = _sealed(folder)
    tries = [(what, damage(data), shared) for what, damage in _DAMAGE.items()]
    tries += [(what, data, lie(shared)) for what, lie in _LIES.items()]
    outcome.demand(_released(folder, data, shared) == _PLAIN, "not even the true file opens")
    (folder / "got").unlink(missing_ok=True)
    for what, damaged, said in tries:
        found = _released(folder, damaged, said)
        if isinstance(found, SecurecallError):
            refusals.append(named(found))
        else:
            outcome.problems.append(f"{what}: released")
        outcome.demand(not (folder / "got").exists(), f"{what}: something remains")
    outcome.refusals = tuple(dict.fromkeys(refusals))
    outcome.got = f"{len(refusals)} of {len(tries)} refused, nothing remains"
    return outcome


M1: Final[Attack] = (
    control("a reader without authentication", _released_unread),
    ours("damaged, or lied about", _damaged),
)
