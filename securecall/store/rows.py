"""Sealed rows in one SQLite file: every change is one transaction, or did not happen.

Rollback journal, synchronous=EXTRA, one writer: the lock is held from open to close, so that a
second process cannot open the same store. Calls block for the time of an fsync; they are rare.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from securecall.errors import LocalError, SecurecallError, StoreCorrupt, UsageError
from securecall.secret import Secret
from securecall.store.disk import connect, is_empty, make_private, sync_folder, translated
from securecall.store.lock import Lock, Needs, parse_needs
from securecall.store.vault import SCHEMA, STORE, Vault, row_digest

_TABLES: Final = {
    "header": "CREATE TABLE header (id INTEGER PRIMARY KEY CHECK (id = 1), data BLOB NOT NULL)",
    "head": (
        "CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), "
        "counter INTEGER NOT NULL, mac BLOB NOT NULL)"
    ),
    "sealed": (
        "CREATE TABLE sealed (tbl TEXT NOT NULL, name BLOB NOT NULL, version INTEGER NOT NULL, "
        "value BLOB NOT NULL, PRIMARY KEY (tbl, name)) WITHOUT ROWID"
    ),
}
_PRAGMAS: Final = (
    "PRAGMA locking_mode=EXCLUSIVE",
    "PRAGMA journal_mode=DELETE",
    "PRAGMA synchronous=EXTRA",
    "PRAGMA secure_delete=ON",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA cell_size_check=ON",
    "PRAGMA mmap_size=0",
)

Change = tuple[str, str, bytes | None]  # table, key, data (None removes the row)


class Rows:
    """The rows of one open file; made by `create` and `open`.

    Attributes:
        counter: Number of the last write; whoever keeps it elsewhere can detect that the whole
            file was replaced by an older one.
    """

    def __init__(self, connection: sqlite3.Connection, vault: Vault) -> None:
        """Read and check everything; takes over the connection."""
        self._connection = connection
        self._vault = vault
        self._lock = threading.RLock()
        self._broken = False
        self._digests: dict[tuple[str, bytes], bytes] = {}
        self.counter = 0
        self._load()

    @classmethod
    def create(cls, file: Path, lock: Lock, changes: Sequence[Change]) -> Rows:
        """Make a new file, mode 600, with its first rows; a file left half-made is taken over.

        Raises:
            LocalError: there is one already, or the disk refuses.
        """
        make_private("the key store", file)
        connection = _connect(file)
        try:
            with translated("the key store", file):
                if not is_empty(connection):
                    raise LocalError(f"there is a key store in {file.parent} already")
            vault, header = Vault.create(lock)
            with translated("the key store", file):
                for statement in _TABLES.values():
                    connection.execute(statement)
                connection.execute("INSERT INTO header VALUES (1, ?)", (header,))
                connection.execute("INSERT INTO head VALUES (1, 0, ?)", (vault.head(0, ()),))
                connection.execute(f"PRAGMA user_version={SCHEMA}")
            rows = cls(connection, vault)
            rows.write(changes)  # ends the transaction begun by _connect
            sync_folder("the key store", file.parent)
        except BaseException:
            connection.close()
            raise
        return rows

    @classmethod
    def open(cls, file: Path, lock: Lock) -> Rows:
        """Open a file and check all of it before any of it is used.

        Raises:
            WrongPassphrase: it is another one.
            UsageError: something else opens it.
            StoreCorrupt: damaged or altered.
            LocalError: not there, in use by another process, or not readable; or the keeper does
                not work.
        """
        connection, header = _begun(file)
        try:
            return cls(connection, Vault.unlock(header, lock))
        except BaseException:
            connection.close()
            raise

    @staticmethod
    def left_half_made(file: Path) -> bool:
        """Whether a file is there that nothing was ever kept in.

        Raises:
            StoreCorrupt: damaged.
            LocalError: in use, or not readable.
        """
        if not file.exists():
            return False
        connection = _connect(file)
        try:
            with translated("the key store", file):
                return is_empty(connection)
        finally:
            connection.close()

    @property
    def needs(self) -> Needs:
        """What its header asks for now.

        Raises:
            StoreCorrupt: the header was altered since the file was opened.
        """
        with self._lock, translated("the key store"):
            self._require_open()
            found: object = self._connection.execute("SELECT data FROM header").fetchone()
        return parse_needs(_blob(found), STORE)

    @staticmethod
    def needs_of(file: Path) -> Needs:
        """Return what opens a file, without opening it.

        Raises:
            StoreCorrupt: damaged or altered.
            LocalError: not there, in use by another process, or not readable.
        """
        connection, header = _begun(file)
        connection.close()
        return parse_needs(header, STORE)

    @property
    def tables(self) -> frozenset[str]:
        """The tables that have rows."""
        with self._lock:
            self._require_open()
            return frozenset(table for table, _ in self._digests)

    def read(self, table: str, key: str) -> bytes | None:
        """Return the data of a row, None where there is none.

        Raises:
            StoreCorrupt: the row was altered since the file was opened.
        """
        with self._lock, translated("the key store"):
            self._require_open()
            name = self._vault.row_name(table, key)
            found: object = self._connection.execute(
                "SELECT version, value FROM sealed WHERE tbl=? AND name=?", (table, name)
            ).fetchone()
        if found is None:
            if (table, name) in self._digests:
                raise StoreCorrupt(f"a row of {table} in the key store vanished")
            return None
        stored_key, data = self._opened(table, name, found)
        if stored_key != key:
            raise StoreCorrupt(f"a row of {table} in the key store has another name inside")
        return data

    def read_all(self, table: str) -> dict[str, bytes]:
        """Return all rows of a table, by key.

        Raises:
            StoreCorrupt: a row was altered since the file was opened.
        """
        with self._lock, translated("the key store"):
            self._require_open()
            found: list[tuple[object, object, object]] = self._connection.execute(
                "SELECT name, version, value FROM sealed WHERE tbl=?", (table,)
            ).fetchall()
            expected = self.count(table)
        if len(found) != expected:
            raise StoreCorrupt(f"rows of {table} in the key store vanished")
        return dict(
            self._opened(table, _blob((name,)), (version, value)) for name, version, value in found
        )

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        with self._lock:
            self._require_open()
            return sum(1 for known, _ in self._digests if known == table)

    def write(self, changes: Sequence[Change]) -> None:
        """Write and remove rows, all or none, durably before this returns.

        Raises:
            LocalError: the disk refused; nothing was changed.
        """
        with self._lock:
            self._require_open()
            counter = self.counter + 1
            digests = dict(self._digests)
            try:
                with translated("the key store"):
                    if not self._connection.in_transaction:
                        self._connection.execute("BEGIN IMMEDIATE")
                    for table, key, data in changes:
                        self._write_row(digests, counter, table, key, data)
                    mac = self._vault.head(counter, _sorted(digests))
                    self._connection.execute("UPDATE head SET counter=?, mac=?", (counter, mac))
                    self._connection.execute("COMMIT")
            except BaseException:
                self._recover()
                raise
            self._digests, self.counter = digests, counter

    def rewrap(self, lock: Lock) -> None:
        """Let something else open it from now on.

        Raises:
            LocalError: the disk or the keeper refused; what opened it before still does.
        """
        with self._lock:
            self._require_open()
            header = self._vault.header(lock)
            try:
                with translated("the key store"):
                    self._connection.execute("BEGIN IMMEDIATE")
                    self._connection.execute("UPDATE header SET data=?", (header,))
                    self._connection.execute("COMMIT")
            except BaseException:
                self._recover()
                raise

    def subkey(self, name: str) -> Secret:
        """Return the key of another file that the same passphrase opens.

        Raises:
            LocalError: the key store is closed.
        """
        with self._lock:
            self._require_open()
            return self._vault.subkey(name)

    def close(self) -> None:
        """Release the file and wipe the keys; may be called again."""
        with self._lock:
            if not self._broken:
                self._broken = True
                self._vault.wipe()
            self._connection.close()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError("an open store is never copied or serialised")

    def _write_row(
        self,
        digests: dict[tuple[str, bytes], bytes],
        counter: int,
        table: str,
        key: str,
        data: bytes | None,
    ) -> None:
        name = self._vault.row_name(table, key)
        if data is None:
            self._connection.execute("DELETE FROM sealed WHERE tbl=? AND name=?", (table, name))
            digests.pop((table, name), None)
            return
        # The counter serves as version: no two states of a row ever share one.
        encoded = key.encode()
        plain = len(encoded).to_bytes(4, "big") + encoded + data
        sealed = self._vault.seal(table, name, counter, plain)
        self._connection.execute(
            "INSERT OR REPLACE INTO sealed VALUES (?, ?, ?, ?)", (table, name, counter, sealed)
        )
        digests[table, name] = row_digest(counter, sealed)

    def _opened(self, table: str, name: bytes, found: object) -> tuple[str, bytes]:
        version, sealed = _version_and_value(found)
        if self._digests.get((table, name)) != row_digest(version, sealed):
            raise StoreCorrupt(f"a row of {table} in the key store changed behind our back")
        plain = self._vault.unseal(table, name, version, sealed)
        size = int.from_bytes(plain[:4], "big")
        return plain[4 : 4 + size].decode(), plain[4 + size :]

    def _load(self) -> None:
        with translated("the key store"):
            head: object = self._connection.execute("SELECT counter, mac FROM head").fetchone()
            found: list[tuple[object, object, object, object]] = self._connection.execute(
                "SELECT tbl, name, version, value FROM sealed"
            ).fetchall()
        counter, mac = _version_and_value(head)
        digests: dict[tuple[str, bytes], bytes] = {}
        for table, name, version, value in found:
            if not isinstance(table, str):
                raise StoreCorrupt("a row of the key store has no table")
            digests[table, _blob((name,))] = row_digest(*_version_and_value((version, value)))
        self._vault.require_head(mac, counter, _sorted(digests))
        self._digests, self.counter = digests, counter

    def _recover(self) -> None:
        # Whether a COMMIT that reported an error took place, only the file can tell.
        try:
            with contextlib.suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            self._load()
        except SecurecallError:
            self._broken = True
            self._vault.wipe()

    def _require_open(self) -> None:
        if self._broken:
            raise LocalError("the key store is closed; open it again")


def _begun(file: Path) -> tuple[sqlite3.Connection, bytes]:
    """A file that is there, with its header, nothing of which was checked yet."""
    if not file.exists():
        raise LocalError(f"there is no key store in {file.parent}")
    connection = _connect(file)
    try:
        with translated("the key store", file):
            _require_schema(connection)
            found: object = connection.execute("SELECT data FROM header").fetchone()
            connection.execute("COMMIT")
        return connection, _blob(found)
    except BaseException:
        connection.close()
        raise


def _connect(file: Path) -> sqlite3.Connection:
    return connect("the key store", file, _PRAGMAS, cached_statements=0)


def _require_schema(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql NOTNULL"))
    if not found:
        raise LocalError("the key store was never finished; create it again")
    if version > SCHEMA:
        raise LocalError("the key store was made by a newer version of securecall")
    # A trigger or view put there by someone else would act on every write.
    if version != SCHEMA or found != _TABLES:
        raise StoreCorrupt("the tables of the key store are not ours")


def _sorted(digests: dict[tuple[str, bytes], bytes]) -> list[tuple[str, bytes, bytes]]:
    return sorted((table, name, digest) for (table, name), digest in digests.items())


def _version_and_value(found: object) -> tuple[int, bytes]:
    match found:
        case (int(version), bytes(value)) if 0 <= version < 2**63:
            return version, value
    raise StoreCorrupt("a row of the key store is of another form")


def _blob(found: object) -> bytes:
    if isinstance(found, tuple) and len(found) == 1 and isinstance(found[0], bytes):
        return found[0]
    raise StoreCorrupt("a row of the key store is of another form")
