"""Another lock for the same rows: it counts from one moment on, or not at all."""

from __future__ import annotations

import sqlite3

import pytest

from securecall.errors import LocalError, StoreCorrupt, WrongPassphrase
from securecall.secret import Secret
from securecall.store.lock import MINIMUM_COST, Lock
from securecall.store.rows import Rows
from securecall.store.vault import Vault
from tests.forge_store import lock
from tests.unit.store.test_sqlite import FailingConnection

OTHER = Lock(passphrase=Secret("another"), cost=MINIMUM_COST)


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "rows"
    Rows.create(file, lock(), [("t", "a", b"old")]).close()
    return file


def test_the_lock_may_be_the_first_thing_that_is_changed(file):
    rows = Rows.open(file, lock())
    rows.rewrap(OTHER)
    rows.write([("t", "a", b"new")])
    rows.close()
    with pytest.raises(WrongPassphrase):
        Rows.open(file, lock())
    rows = Rows.open(file, OTHER)
    assert rows.read("t", "a") == b"new"
    rows.close()


def test_a_lock_counts_even_where_the_process_ends_without_closing(file):
    rows = Rows.open(file, lock())
    rows.rewrap(OTHER)
    rows._connection.close()  # as a crash does it: what is not committed is gone
    Rows.open(file, OTHER).close()


@pytest.mark.parametrize("place", range(3))
def test_a_lock_the_disk_refused_changed_nothing(file, place):
    connection = sqlite3.connect(file, isolation_level=None, factory=FailingConnection)
    (header,) = connection.execute("SELECT data FROM header").fetchone()
    rows = Rows(connection, Vault.unlock(header, lock()))
    connection.left = place
    with pytest.raises(LocalError):
        rows.rewrap(OTHER)
    connection.left = -1
    rows.write([("t", "a", b"new")])  # nothing half-done is in the way
    rows.close()
    rows = Rows.open(file, lock())
    assert rows.read("t", "a") == b"new"
    rows.close()


def test_a_store_whose_file_is_lost_in_the_middle_of_a_write_works_no_more(file):
    connection = sqlite3.connect(file, isolation_level=None, factory=FailingConnection)
    (header,) = connection.execute("SELECT data FROM header").fetchone()
    rows = Rows(connection, Vault.unlock(header, lock()))
    connection.execute("UPDATE head SET mac=zeroblob(32)")
    connection.left = 1
    with pytest.raises(LocalError):
        rows.write([("t", "a", b"new")])
    for use in (
        lambda: rows.read("t", "a"),
        lambda: rows.write([]),
        lambda: rows.rewrap(OTHER),
        lambda: rows.count("t"),
        lambda: rows.tables,
        lambda: rows.subkey("x"),
    ):
        with pytest.raises(LocalError, match="closed"):
            use()
    rows.close()
    with pytest.raises(StoreCorrupt):
        Rows.open(file, lock())


def test_a_row_that_vanishes_behind_our_back_is_noticed(file):
    connection = sqlite3.connect(file, isolation_level=None)
    (header,) = connection.execute("SELECT data FROM header").fetchone()
    rows = Rows(connection, Vault.unlock(header, lock()))
    assert rows.read("t", "b") is None
    connection.execute("DELETE FROM sealed")
    with pytest.raises(StoreCorrupt, match="vanished"):
        rows.read("t", "a")
    with pytest.raises(StoreCorrupt, match="vanished"):
        rows.read_all("t")
    rows.close()
