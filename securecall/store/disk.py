"""Opens files of SQLite, and says what it and the disk complain of: a refusal, or damage."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from securecall.errors import LocalError, StoreBusy, StoreCorrupt

_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_MEANING: Final = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_IOERR: "the disk failed",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_PERM: "it may not be opened",
}


@contextlib.contextmanager
def translated(
    what: str, file: Path | None = None, *, damage: type[StoreCorrupt] = StoreCorrupt
) -> Iterator[None]:
    """Turn errors of SQLite and the system into ours.

    Raises:
        StoreBusy: another process has it open.
        StoreCorrupt: the file is damaged; as `damage` says.
        LocalError: it could not be read or written.
    """
    where = f"{what} {file}" if file is not None else what
    try:
        yield
    except sqlite3.Error as e:
        code = getattr(e, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _CORRUPT or code == sqlite3.SQLITE_ERROR:
            raise damage(f"{where} is damaged: {e}") from e
        if code in _BUSY:
            raise StoreBusy(f"{where}: another process has it open") from e
        raise LocalError(f"{where}: {_MEANING.get(code, str(e))}") from e
    except OSError as e:
        raise LocalError(f"{where}: {e.strerror or e}") from e


def connect(
    what: str,
    file: Path,
    pragmas: Iterable[str],
    *,
    cached_statements: int = 128,
    damage: type[StoreCorrupt] = StoreCorrupt,
) -> sqlite3.Connection:
    """Open a file, for us alone; its first transaction, which takes the lock, has begun.

    Raises:
        StoreBusy: another process has it open.
        StoreCorrupt: the file is damaged; as `damage` says.
        LocalError: it could not be opened.
    """
    with translated(what, file, damage=damage):
        if os.name == "posix":
            file.chmod(0o600)
        connection = sqlite3.connect(
            file,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=cached_statements,
        )
        try:
            for pragma in pragmas:
                connection.execute(pragma)
            connection.execute("BEGIN EXCLUSIVE")
        except BaseException:
            connection.close()
            raise
        return connection


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether nothing was ever made in this file, or it was left half-made."""
    found: object = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return found == (0,)


def make_private(what: str, file: Path) -> None:
    """Make a file with mode 600 where there is none; SQLite would go by the umask.

    Raises:
        LocalError: the disk refused.
    """
    with translated(what, file), contextlib.suppress(FileExistsError):
        # Never one that is there: closing it again would give up every lock this process has on it.
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def sync_folder(what: str, folder: Path) -> None:
    """Make a new file's name durable.

    Raises:
        LocalError: the disk refused.
    """
    if os.name != "posix":
        return
    with translated(what, folder):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
