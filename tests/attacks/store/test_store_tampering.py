"""K2: someone edits the store's file, without the passphrase.

The control is a table without seals or head, as most applications keep theirs: every edit that is
refused here goes through there.
"""

from __future__ import annotations

import hashlib
import sqlite3
import struct

import pytest

from securecall.errors import LocalError, StoreCorrupt, WrongPassphrase
from securecall.keys.trust import Act, How, TrustState
from securecall.secret import Secret
from securecall.store import lock as lock_module
from securecall.store.lock import MINIMUM_COST
from securecall.store.rows import Rows
from securecall.store.sqlite import FILE, Store
from securecall.store.vault import Vault
from tests.forge_statement import NOW, root_key
from tests.forge_store import (
    BOB,
    CAROL,
    MemoryKeeper,
    change,
    edit,
    lock,
    make_store,
    passphrase,
    pin,
    reopen,
    replace_rows,
    rows,
)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "alice"


@pytest.fixture
def plain(tmp_path):
    """The control: the same kind of rows, unsealed."""
    connection = sqlite3.connect(tmp_path / "plain", isolation_level=None)
    connection.execute(
        "CREATE TABLE sealed (tbl TEXT, name TEXT, version INTEGER, value TEXT, "
        "PRIMARY KEY (tbl, name))"
    )
    for version, row in enumerate(
        [
            ("bindings", "bob", "root-2"),
            ("bindings", "carol", "root-3"),
            ("contacts", "bob", "e2ee"),
        ]
    ):
        connection.execute(
            "INSERT INTO sealed VALUES (?, ?, ?, ?)", (row[0], row[1], version, row[2])
        )
    yield connection
    connection.close()


def trusted(plain: sqlite3.Connection) -> dict[str, str]:
    return dict(plain.execute("SELECT name, value FROM sealed WHERE tbl='bindings'").fetchall())


SWAP = (
    "CREATE TEMP TABLE pair AS SELECT name, value, version FROM sealed WHERE tbl='bindings'",
    "UPDATE sealed SET value = (SELECT value FROM pair WHERE pair.name <> sealed.name) "
    "WHERE tbl='bindings'",
)
SWAP_WITH_VERSION = (
    SWAP[0],
    "UPDATE sealed SET (value, version) = (SELECT value, version FROM pair "
    "WHERE pair.name <> sealed.name) WHERE tbl='bindings'",
)
EDITS = {
    "rows swapped": SWAP,
    "rows swapped with their versions": SWAP_WITH_VERSION,
    "pin deleted": ("DELETE FROM sealed WHERE tbl='bindings'",),
    "floor deleted": ("DELETE FROM sealed WHERE tbl='contacts'",),
    "row moved to another table": (
        "DELETE FROM sealed WHERE tbl='contacts'",
        "UPDATE sealed SET tbl='contacts' WHERE tbl='bindings'",
    ),
    "row copied to another table": (
        "INSERT OR REPLACE INTO sealed SELECT 'barred', name, version, value FROM sealed "
        "WHERE tbl='bindings'",
    ),
    "columns swapped": ("UPDATE sealed SET name=value, value=name WHERE tbl='bindings'",),
    "version lowered": ("UPDATE sealed SET version=version-1 WHERE tbl='bindings'",),
    "version raised": ("UPDATE sealed SET version=version+1 WHERE tbl='bindings'",),
    "value emptied": ("UPDATE sealed SET value=x'' WHERE tbl='bindings'",),
    "value as text": ("UPDATE sealed SET value='root-4' WHERE tbl='bindings'",),
    "everything deleted": ("DELETE FROM sealed",),
}
SEALED_ONLY = {
    "head deleted": ("DELETE FROM head",),
    "head counter changed": ("UPDATE head SET counter=counter+1",),
    "head emptied": ("UPDATE head SET mac=x''",),
    "head as text": ("UPDATE head SET counter='x'",),
    "header deleted": ("DELETE FROM header",),
    "header as text": ("UPDATE header SET data='x'",),
    "identity seeds swapped": (
        "CREATE TEMP TABLE pair AS SELECT name, value, version FROM sealed WHERE tbl='identity' "
        "AND length(value) = (SELECT max(length(value)) FROM sealed WHERE tbl='identity')",
        "UPDATE sealed SET value = (SELECT value FROM sealed s WHERE s.tbl='identity' "
        "AND s.name <> sealed.name LIMIT 1) WHERE tbl='identity'",
    ),
    "trigger added": (
        "CREATE TRIGGER t AFTER INSERT ON sealed BEGIN "
        "DELETE FROM sealed WHERE tbl='bindings'; END",
    ),
    "view in place of a table": (
        "DROP TABLE head",
        "CREATE VIEW head AS SELECT 1 id, 0 counter, x'' mac",
    ),
    "table added": ("CREATE TABLE more (x)",),
    "schema number lowered": ("PRAGMA user_version=0",),
}


@pytest.mark.parametrize("name", EDITS | SEALED_ONLY)
def test_an_edited_store_is_refused_as_a_whole(folder, name):
    make_store(folder).close()
    before = (folder / FILE).read_bytes()
    edit(folder, *(EDITS | SEALED_ONLY)[name])
    assert (folder / FILE).read_bytes() != before
    with pytest.raises(StoreCorrupt):
        reopen(folder)


@pytest.mark.parametrize("name", EDITS)
def test_control_the_same_edit_goes_through_where_rows_are_not_sealed(plain, name):
    before = plain.execute("SELECT * FROM sealed ORDER BY 1, 2").fetchall()
    for statement in EDITS[name]:
        plain.execute(statement)
    assert plain.execute("SELECT * FROM sealed ORDER BY 1, 2").fetchall() != before
    if name == "rows swapped":
        assert trusted(plain) == {"bob": "root-3", "carol": "root-2"}
    if name == "pin deleted":
        assert trusted(plain) == {}


def test_control_the_untouched_store_opens(folder):
    make_store(folder).close()
    store = reopen(folder)
    assert store.book.state(BOB, root_key(2).fingerprint) is TrustState.VERIFIED
    store.close()


@pytest.mark.parametrize("table", ["bindings", "contacts", "identity", "failures"])
def test_a_table_of_an_earlier_time_is_refused_even_with_its_versions(folder, table):
    store = make_store(folder)
    store.close()
    old = rows(folder, table)
    store = reopen(folder)
    change(store, Act.FORGET, How.USER)
    pin(store, BOB, 9)
    change(store, Act.RAISE_FLOOR, How.USER)
    store.save_statement(b"new", 9)
    store.count_failure(str(BOB), unix=NOW)
    store.close()
    assert rows(folder, table) != old
    replace_rows(folder, table, old)
    with pytest.raises(StoreCorrupt):
        reopen(folder)


def test_an_old_row_with_its_old_head_is_refused(folder):
    make_store(folder).close()
    connection = sqlite3.connect(folder / FILE)
    head = connection.execute("SELECT counter, mac FROM head").fetchone()
    connection.close()
    old = rows(folder, "bindings")
    store = reopen(folder)
    pin(store, CAROL, 3)
    change(store, Act.DISTRUST, How.USER)
    store.close()
    replace_rows(folder, "bindings", old)
    connection = sqlite3.connect(folder / FILE)
    connection.execute("UPDATE head SET counter=?, mac=?", head)
    connection.commit()
    connection.close()
    with pytest.raises(StoreCorrupt):
        reopen(folder)


@pytest.mark.parametrize("part", [0, 1, 99, 100, 512, 4096, 4097, 8192, -16])
def test_a_truncated_file_is_refused_and_never_replaced(folder, part):
    # a single last byte would be missed only where it was not zero: what is not there is read so
    make_store(folder).close()
    data = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(data[:part])
    with pytest.raises(LocalError) as caught:
        reopen(folder)
    assert not isinstance(caught.value, WrongPassphrase)
    assert (folder / FILE).read_bytes() == data[:part]


def test_flipped_bytes_never_yield_another_content(folder):
    store = make_store(folder)
    root, book = store.root.public, store.book
    store.close()
    data = (folder / FILE).read_bytes()
    refused = 0
    for place in range(0, len(data), 523):
        (folder / FILE).write_bytes(data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :])
        try:
            again = reopen(folder)
        except LocalError:
            refused += 1
        else:  # the byte lay in unused space
            assert (again.root.public, again.book) == (root, book)
            again.close()
    assert refused


def test_a_wrong_passphrase_opens_nothing(folder):
    make_store(folder).close()
    for wrong in ("", "correct horse battery staplE", "x" * 10_000):
        with pytest.raises(WrongPassphrase if wrong else LocalError):
            Store.open(folder, Secret(wrong or "\0"))


def test_lowered_costs_are_refused_before_anything_is_derived(folder, monkeypatch):
    make_store(folder).close()
    connection = sqlite3.connect(folder / FILE)
    (header,) = connection.execute("SELECT data FROM header").fetchone()
    cheap = bytearray(header)
    struct.pack_into(">III", cheap, 17, 8, 1, 1)
    cheap[-32:] = hashlib.sha256(cheap[:-32]).digest()
    connection.execute("UPDATE header SET data=?", (bytes(cheap),))
    connection.commit()
    connection.close()

    def never(*args, **more):
        raise AssertionError("a key was derived under the attacker's parameters")

    monkeypatch.setattr(lock_module, "Argon2id", never)
    with pytest.raises(StoreCorrupt):
        reopen(folder)


def test_a_row_edited_while_the_store_is_open_is_refused(tmp_path):
    # The lock keeps other processes out; this is someone who writes past it.
    file = tmp_path / "rows"
    Rows.create(file, lock(), [("t", "a", b"1"), ("t", "b", b"2")]).close()
    connection = sqlite3.connect(file, isolation_level=None)
    (header,) = connection.execute("SELECT data FROM header").fetchone()
    opened = Rows(connection, Vault.unlock(header, lock()))
    assert opened.read("t", "a") == b"1"
    connection.execute("UPDATE sealed SET value = (SELECT value FROM sealed ORDER BY name LIMIT 1)")
    with pytest.raises(StoreCorrupt):
        opened.read_all("t")
    connection.execute("DELETE FROM sealed")
    with pytest.raises(StoreCorrupt):
        opened.read("t", "a")
    with pytest.raises(StoreCorrupt):
        opened.read_all("t")
    opened.close()


@pytest.mark.parametrize("with_keeper", [True, False], ids=["attack", "control"])
def test_a_whole_file_of_an_earlier_time_is_refused_where_a_keeper_counts(folder, with_keeper):
    keeper = MemoryKeeper() if with_keeper else None
    store = Store.create(folder, passphrase(), keeper=keeper, cost=MINIMUM_COST)
    pin(store, BOB, 2)
    store.close()
    old = (folder / FILE).read_bytes()
    store = Store.open(folder, passphrase(), keeper=keeper)
    change(store, Act.DISTRUST, How.USER)
    store.close()
    newest = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(old)
    if not with_keeper:  # nothing outside of the file remembers: the attack works
        store = Store.open(folder, passphrase())
        assert store.book.state(BOB, root_key(2).fingerprint) is TrustState.PINNED
        store.close()
        return
    with pytest.raises(StoreCorrupt, match="older copy"):
        Store.open(folder, passphrase(), keeper=keeper)
    (folder / FILE).write_bytes(newest)
    Store.open(folder, passphrase(), keeper=keeper).close()
