"""The file of the history: transactions within transactions, sealed rows, a sealed head over them.

Write-ahead log with synchronous=FULL, one writer who holds the lock from open to close. Five tables
hold sealed rows; `messages` has columns beside them to be found by. The head is a sealed row, too:
how often was written, which numbers were given, and the sum over all rows of the small tables, so
that of those none can vanish or come back. Single messages can: nobody wants to read a hundred
thousand of them before the first is shown.
"""

from __future__ import annotations

import contextlib
import sqlite3
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from securecall.errors import HistoryCorrupt, LocalError, SecurecallError, UsageError
from securecall.store.disk import connect, is_empty, make_private, sync_folder, translated
from securecall.store.history_schema import (
    OBJECTS,
    PRAGMAS,
    SCHEMA,
    SUMMED,
    WHAT,
    require_schema,
)
from securecall.store.sealing import MODULUS, Keys

_HEAD: Final = struct.Struct(">QQQQQ32s")
_REMEMBERED: Final = ("people", "named")  # tables whose rows are read with every message
_MOST_REMEMBERED: Final = 512 * 1024  # bytes
_MOST_TERMS: Final = 4096

Value = int | bytes
Row = tuple[Value, ...]


class Head(NamedTuple):
    """What holds for the whole file.

    Attributes:
        counter: Number of the last transaction; the version of the rows it wrote.
        message: Highest number ever given to a message.
        parcel: Highest number ever given to a parcel.
        swept: Day up to which messages past their own time were deleted.
        total: Sum over the terms of all rows of the tables in `SUMMED`.
    """

    counter: int = 0
    message: int = 0
    parcel: int = 0
    swept: int = 0
    total: int = 0


class HistoryFile:
    """An open file; threads may share it, a transaction keeps the others waiting.

    Attributes:
        head: As of now, inside a transaction as well.
    """

    def __init__(self, file: Path, connection: sqlite3.Connection, keys: Keys) -> None:
        """Use `open`."""
        self._file = file
        self._connection = connection
        self._keys = keys
        self._lock = threading.RLock()
        self._depth = 0
        self._fault: SecurecallError | None = None  # the disk's, in the transaction under way
        self._closed = False
        self._torn = False  # a step failed half-way; what it is part of cannot be kept
        self._leftovers = False  # something deleted may still stand in the log
        # We alone write, so a row stays what it is until we change it, or undo what we changed.
        self._remembered: dict[tuple[str, int], bytes | None] = {}
        self._remembered_bytes = 0
        self._terms: dict[tuple[str, int], int] = {}
        self.head = Head()

    @classmethod
    def open(cls, file: Path, keys: Keys) -> HistoryFile:
        """Open a file and check its head, or make one where there is none; takes over the keys.

        Raises:
            HistoryCorrupt: damaged, altered, or of another key store.
            LocalError: in use by another process, of a newer version, or the disk refuses.
        """
        make_private(WHAT, file)
        connection = connect(WHAT, file, PRAGMAS, damage=HistoryCorrupt)
        self = cls(file, connection, keys)
        try:
            with translated(WHAT, file, damage=HistoryCorrupt):
                if is_empty(connection):
                    self._create()
                else:
                    require_schema(connection)
                # What is no text at all must not keep the rows beside it from being read.
                connection.text_factory = bytes
            self._load()
        except BaseException:
            self._closed = True
            connection.close()
            keys.wipe()
            raise
        return self

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside one change; durable when the outermost one has ended.

        One inside another that raises is undone alone, and the other goes on if it catches the
        exception; unless the disk failed, then the outermost one raises in any case. Other threads
        wait; so never wait for anything inside.

        Raises:
            LocalError: the disk refused; nothing was changed.
        """
        with self._lock:
            self.require_open()
            if self._depth:
                with self._inner():
                    yield
                return
            with self._outermost():
                yield
            if self._leftovers:
                self._scrub()

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Make everything inside part of the transaction under way, or one of its own.

        Cheaper than a transaction within another: it is not undone alone. If it raises after it
        wrote something, the transaction it is part of cannot be kept, whoever catches that.
        """
        with self._lock:
            if not self._depth:
                with self.transaction():
                    yield
                return
            before, changes = self.head, self._connection.total_changes
            try:
                yield
            except BaseException:
                if self.head is not before or self._connection.total_changes != changes:
                    self._torn = True
                raise

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other threads waiting, so that what was read inside is still so at the end."""
        with self._lock:
            self.require_open()
            yield

    def rows(self, statement: str, *values: Value) -> list[Row]:
        """Run a statement of ours and return what it found."""
        with self._lock:
            self.require_open()
            return self._run(statement, *values)

    def seal(self, table: str, place: tuple[int, ...], data: bytes) -> bytes:
        """Encrypt a row; see `Keys.seal`."""
        return self._keys.seal(table, place, data)

    def unseal(self, table: str, place: tuple[int, ...], sealed: object) -> bytes:
        """Decrypt a row; see `Keys.unseal`."""
        return self._keys.unseal(table, place, sealed)

    def name(self, kind: str, *parts: str | int) -> int:
        """Return what something is looked up by; see `Keys.name`."""
        with self._lock:
            self.require_open()
            return self._keys.name(kind, *parts)

    def advance(self, *, message: int = 0, parcel: int = 0, swept: int | None = None) -> Head:
        """Change the head inside a transaction; returns it."""
        head = self.head
        self.head = head._replace(
            message=head.message + message,
            parcel=head.parcel + parcel,
            swept=head.swept if swept is None else swept,
        )
        return self.head

    # -- tables of sealed rows --------------------------------------------------------------------

    def get(self, table: str, key: int) -> bytes | None:
        """Return the data of a row, None where there is none.

        Raises:
            HistoryCorrupt: it was altered.
        """
        with self._lock:
            self.require_open()
            place = (table, key)
            if place in self._remembered:
                return self._remembered[place]
            found = self._run(f"SELECT version, value FROM {table} WHERE id=?", key)  # noqa: S608 - a table of ours
            data = None
            if found:
                data = self.unseal(table, (key, whole(found[0][0])), found[0][1])
            self._remember(place, data)
            return data

    def get_all(
        self, table: str, *, first: int = -(2**63), most: int | None = None
    ) -> list[tuple[int, bytes]]:
        """Return the keys and data of all rows, by key: from one on, and so many at most.

        Raises:
            HistoryCorrupt: one was altered.
        """
        query = f"SELECT id, version, value FROM {table} WHERE id>=? ORDER BY id LIMIT ?"  # noqa: S608 - as above
        found = self.rows(query, first, -1 if most is None else most)
        return [
            (whole(key), self.unseal(table, (whole(key), whole(version)), value))
            for key, version, value in found
        ]

    def put(self, table: str, key: int, data: bytes) -> None:
        """Write a row over what was there."""
        place = (key, self.head.counter)
        sealed = self.seal(table, place, data)
        if table in SUMMED:
            term = self._keys.term(table, place, sealed)
            self._add(term - self._term(table, key))
            self._terms[table, key] = term
        self.rows(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", *place, sealed)  # noqa: S608 - as above
        self._remember((table, key), data)

    def drop(self, table: str, key: int) -> None:
        """Delete a row, if it is there."""
        if table in SUMMED:
            self._add(-self._term(table, key))
            self._terms.pop((table, key), None)
        self._remembered.pop((table, key), None)
        self.rows(f"DELETE FROM {table} WHERE id=?", key)  # noqa: S608 - as above

    def leave_nothing(self) -> None:
        """Clear the log as well when the transaction under way has ended."""
        self._leftovers = True

    # -- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Release the file and forget the keys; may be called again."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._keys.wipe()
            self._forget()
            self._scrub()
            self._connection.close()

    def require_open(self) -> None:
        """Refuse to go on.

        Raises:
            LocalError: it was closed, or the disk failed in a way that left no other choice.
        """
        if self._closed:
            raise LocalError("the history is closed; open it again")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError("an open history is never copied or serialised")

    # -- inside -----------------------------------------------------------------------------------

    def _create(self) -> None:
        for statement in OBJECTS.values():
            self._connection.execute(statement)
        self._write_head()
        self._connection.execute(f"PRAGMA user_version={SCHEMA}")
        self._connection.execute("COMMIT")
        sync_folder(WHAT, self._file.parent)

    @contextlib.contextmanager
    def _outermost(self) -> Iterator[None]:
        before, changes = self.head, self._connection.total_changes
        self._fault = None
        self._torn = False
        self._depth = 1
        try:
            self._run("BEGIN IMMEDIATE")
            self.head = before._replace(counter=before.counter + 1)
            yield
            self._require_sound()
            self._require_whole()
            unchanged = self.head._replace(counter=before.counter) == before
            if unchanged and self._connection.total_changes == changes:
                self.head = before
            else:
                self._write_head()
            self._run("COMMIT")
        except BaseException:
            self._recover()
            raise
        finally:
            self._depth = 0
            self._fault = None

    @contextlib.contextmanager
    def _inner(self) -> Iterator[None]:
        before, leftovers, torn = self.head, self._leftovers, self._torn
        self._run("SAVEPOINT inner_one")
        self._depth += 1
        try:
            yield
            self._require_whole()
            self._run("RELEASE inner_one")
        except BaseException:
            self.head, self._leftovers, self._torn = before, leftovers, torn
            self._forget()
            if self._fault is None:
                self._run("ROLLBACK TO inner_one")
                self._run("RELEASE inner_one")
            raise
        finally:
            self._depth -= 1

    def _run(self, statement: str, *values: Value) -> list[Row]:
        self._require_sound()
        try:
            with translated(WHAT, damage=HistoryCorrupt):
                return self._connection.execute(statement, values).fetchall()
        except SecurecallError as e:
            if self._depth:
                self._fault = e
            raise

    def _require_sound(self) -> None:
        self.require_open()
        # After an error SQLite may have undone all of it, and would keep what follows on its own.
        if self._fault is not None:
            raise LocalError(f"this change was undone: {self._fault}") from self._fault

    def _require_whole(self) -> None:
        if self._torn:
            raise LocalError("this change was undone: a step of it failed half-way")

    def _recover(self) -> None:
        # Whether a COMMIT that reported an error took place, only the file can tell.
        self._forget()
        self._fault = None
        self._leftovers = False
        if self._closed:
            return
        try:
            if self._connection.in_transaction:
                self._run("ROLLBACK")
            self._load_head()
        except SecurecallError:
            self._closed = True
            self._keys.wipe()
            self._connection.close()

    def _write_head(self) -> None:
        head = self.head
        data = _HEAD.pack(
            head.counter,
            head.message,
            head.parcel,
            head.swept,
            self._keys.seals + 1,
            head.total.to_bytes(32, "big"),
        )
        place = (1, head.counter)
        sealed = self.seal("head", place, data)
        self._run("INSERT OR REPLACE INTO head VALUES (?, ?, ?)", *place, sealed)

    def _load_head(self) -> None:
        found = self._run("SELECT version, value FROM head WHERE id=1")
        if len(found) != 1:
            raise HistoryCorrupt("the head of the history is missing")
        counter = whole(found[0][0])
        try:
            data = self.unseal("head", (1, counter), found[0][1])
        except HistoryCorrupt as e:
            message = "the history is of another key store, or its head was altered"
            raise HistoryCorrupt(message) from e
        stored, message, parcel, swept, seals, total = _HEAD.unpack(data)
        if stored != counter:
            raise HistoryCorrupt("the head of the history is of another time")
        self.head = Head(counter, message, parcel, swept, int.from_bytes(total, "big"))
        self._keys.seals = max(self._keys.seals, seals)

    def _load(self) -> None:
        self._load_head()
        total = sum(
            self._keys.term(table, (whole(key), whole(version)), _blob(tag))
            for table in SUMMED
            for key, version, tag in self._run(
                f"SELECT id, version, substr(value, -16) FROM {table}"  # noqa: S608 - as above
            )
        )
        if total % MODULUS != self.head.total:
            raise HistoryCorrupt("rows of the history were altered, removed or brought back")

    def _term(self, table: str, key: int) -> int:
        known = self._terms.get((table, key))
        if known is not None:
            return known
        if len(self._terms) >= _MOST_TERMS:
            self._terms.clear()
        found = self.rows(f"SELECT version, substr(value, -16) FROM {table} WHERE id=?", key)  # noqa: S608 - as above
        if not found:
            return 0
        return self._keys.term(table, (key, whole(found[0][0])), _blob(found[0][1]))

    def _add(self, term: int) -> None:
        self.head = self.head._replace(total=(self.head.total + term) % MODULUS)

    def _remember(self, place: tuple[str, int], data: bytes | None) -> None:
        if place[0] not in _REMEMBERED:
            return
        before = self._remembered.get(place)
        self._remembered_bytes += len(data or b"") - len(before or b"")
        if self._remembered_bytes > _MOST_REMEMBERED or len(self._remembered) >= _MOST_TERMS:
            self._remembered.clear()
            self._remembered_bytes = len(data or b"")
        self._remembered[place] = data

    def _forget(self) -> None:
        self._remembered.clear()
        self._remembered_bytes = 0
        self._terms.clear()

    def _scrub(self) -> None:
        # What was deleted is gone from the file, yet older pages stand in the log until it is cut.
        # A disk that refuses now did not undo the change: the next transaction tries again.
        with contextlib.suppress(sqlite3.Error):
            found = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._leftovers = found is None or found[0] != 0


def whole(value: object) -> int:
    """Take an integer out of a row.

    Raises:
        HistoryCorrupt: it is something else.
    """
    if isinstance(value, int):
        return value
    raise HistoryCorrupt("a row of the history is of another form")


def _blob(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    raise HistoryCorrupt("a row of the history is of another form")
