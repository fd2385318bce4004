"""Someone with the store's file and without its passphrase, who knows SQLite well."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from securecall.address import parse_address
from securecall.errors import LocalError
from securecall.keys.trust import Act, How, TrustEvent, transition
from securecall.secret import Secret
from securecall.store.lock import MINIMUM_COST, KeeperKind, Lock
from securecall.store.sqlite import FILE, Store
from tests.forge_statement import NOW, root_key

PASSPHRASE = "correct horse battery staple"
BOB = parse_address("sip:bob@b.example")
CAROL = parse_address("sip:carol@c.example")


def passphrase() -> Secret:
    return Secret(PASSPHRASE)


def lock() -> Lock:
    return Lock(passphrase=passphrase(), cost=MINIMUM_COST)


def make_store(folder: Path) -> Store:
    """A store with a pinned and verified Bob, a pinned Carol, a ticket's worth of rows."""
    store = Store.create(folder, passphrase(), cost=MINIMUM_COST)
    pin(store, BOB, 2)
    pin(store, CAROL, 3)
    change(store, Act.VERIFY, How.QR, BOB, 2)
    store.count_failure(str(BOB), unix=NOW)
    store.append_call(b'{"call":1}')
    return store


def change(store: Store, act: Act, how: How, address=BOB, number: int = 2) -> None:
    event = TrustEvent(
        act=act, how=how, address=address, root_fp=root_key(number).fingerprint, unix=NOW
    )
    book, entry = transition(store.book, event)
    store.save_trust(book, [entry])


def pin(store: Store, address, number: int) -> None:
    change(store, Act.PIN, How.FIRST_CALL, address, number)


def reopen(folder: Path) -> Store:
    return Store.open(folder, passphrase())


def edit(folder: Path, *statements: str) -> int:
    """Run SQL on the closed file; returns how many rows it changed."""
    connection = sqlite3.connect(folder / FILE)
    try:
        changed = 0
        for statement in statements:
            changed += connection.execute(statement).rowcount
        connection.commit()
        return changed
    finally:
        connection.close()


def rows(folder: Path, table: str) -> list[tuple[bytes, int, bytes]]:
    """The stored rows of one of our tables."""
    connection = sqlite3.connect(folder / FILE)
    try:
        return connection.execute(
            "SELECT name, version, value FROM sealed WHERE tbl=? ORDER BY version", (table,)
        ).fetchall()
    finally:
        connection.close()


def replace_rows(folder: Path, table: str, found: list[tuple[bytes, int, bytes]]) -> None:
    """Put back rows as `rows` returned them."""
    connection = sqlite3.connect(folder / FILE)
    try:
        connection.execute("DELETE FROM sealed WHERE tbl=?", (table,))
        connection.executemany(
            "INSERT INTO sealed VALUES (?, ?, ?, ?)", [(table, *row) for row in found]
        )
        connection.commit()
    finally:
        connection.close()


def cheap(monkeypatch) -> None:
    """Let stores that a test makes through the public face open as quickly as may be."""
    for maker in (Store.create, Store.open_or_create):
        defaults = {**maker.__func__.__kwdefaults__, "cost": MINIMUM_COST}
        monkeypatch.setattr(maker.__func__, "__kwdefaults__", defaults)


class MemoryKeeper:
    """A keyring or token in memory, that fails when told to."""

    def __init__(self, kind: KeeperKind = KeeperKind.KEYRING) -> None:
        self.kind = kind
        self.kept: dict[bytes, bytes] = {}
        self.numbers: dict[bytes, int] = {}
        self.failing = False

    def _require_up(self) -> None:
        if self.failing:
            raise LocalError("the keyring is locked")

    def keep(self, secret: Secret) -> bytes:
        self._require_up()
        note = b"note-%d" % len(self.numbers)
        self.kept[note] = secret.reveal()
        self.numbers[note] = 0
        return note

    def fetch(self, note: bytes) -> Secret:
        self._require_up()
        if note not in self.kept:
            raise LocalError("the keyring knows nothing of this key store")
        return Secret(self.kept[note])

    def forget(self, note: bytes) -> None:
        self._require_up()
        self.kept.pop(note, None)

    def generation(self, note: bytes) -> int:
        self._require_up()
        return self.numbers[note]

    def keep_generation(self, note: bytes, number: int) -> None:
        self._require_up()
        self.numbers[note] = number
