"""The tables of the history, how its file is set, and whether what is found there is ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

from securecall.errors import HistoryCorrupt, LocalError

SCHEMA: Final = 2
SUMMED: Final = ("people", "named", "parcels")

WHAT: Final = "the history"
_SEALED: Final = "({} INTEGER PRIMARY KEY, version INTEGER NOT NULL, value BLOB NOT NULL)"
OBJECTS: Final = {
    "head": "CREATE TABLE head " + _SEALED.format("id"),
    "people": "CREATE TABLE people " + _SEALED.format("id"),
    "named": "CREATE TABLE named " + _SEALED.format("id"),
    "parcels": "CREATE TABLE parcels " + _SEALED.format("id"),
    "pages": "CREATE TABLE pages " + _SEALED.format("id"),
    "messages": (
        "CREATE TABLE messages (number INTEGER PRIMARY KEY, version INTEGER NOT NULL, "
        "conversation INTEGER NOT NULL, name INTEGER NOT NULL, archive INTEGER NOT NULL, "
        "unread INTEGER NOT NULL, due INTEGER NOT NULL, day INTEGER NOT NULL, value BLOB NOT NULL)"
    ),
    "by_conversation": "CREATE INDEX by_conversation ON messages (conversation)",
    "by_name": "CREATE INDEX by_name ON messages (name) WHERE name != 0",
    "by_archive": "CREATE INDEX by_archive ON messages (archive) WHERE archive != 0",
    "by_unread": "CREATE INDEX by_unread ON messages (conversation) WHERE unread != 0",
    "by_due": "CREATE INDEX by_due ON messages (due) WHERE due != 0",
    "by_day": "CREATE INDEX by_day ON messages (day)",
    "opened": "CREATE TABLE opened (number INTEGER PRIMARY KEY, mark INTEGER NOT NULL)",
    "by_mark": "CREATE INDEX by_mark ON opened (mark)",
}
# Statements that lead from one schema to the next; run in the transaction that opens the file.
MIGRATIONS: Final[Mapping[int, tuple[str, ...]]] = {1: (OBJECTS["opened"], OBJECTS["by_mark"])}
PRAGMAS: Final = (
    "PRAGMA locking_mode=EXCLUSIVE",  # before the log: then there is no shared memory file
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=EXTRA",  # as FULL, where there is a log; more, where a system refuses one
    "PRAGMA journal_size_limit=0",  # what was overwritten does not stay in the log's tail
    "PRAGMA secure_delete=ON",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA cell_size_check=ON",
    "PRAGMA mmap_size=0",
    "PRAGMA cache_size=-8000",
)


def require_schema(connection: sqlite3.Connection) -> None:
    """Refuse tables that are not ours, bring older ones up to date, and end the transaction.

    Raises:
        HistoryCorrupt: they are of another kind.
        LocalError: a newer version made them.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA:
        raise LocalError("the history was made by a newer version of securecall")
    for step in range(version, SCHEMA):
        if step not in MIGRATIONS:
            raise HistoryCorrupt("the history is of no version there ever was")
        for statement in MIGRATIONS[step]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={step + 1}")
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql NOTNULL"))
    # A trigger or view put there by someone else would act on every write.
    if found != OBJECTS:
        raise HistoryCorrupt("the tables of the history are not ours")
    connection.execute("COMMIT")
