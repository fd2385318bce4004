"""Dino, an XMPP client of other people's making, on a screen that nobody sees.

It is told of its account in its own database, before it starts; what it says is typed, and what it
received is read from that database, or looked at on a picture of the screen.
"""

from __future__ import annotations

import asyncio
import base64
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.interop import desktop
from tests.interop.children import Child, need
from tests.interop.xmpp_servers import XmppServer, password_of, wait_published

_CLIP = ("337", "663")  # where to click to send a file
_CHAT, _OMEMO = 0, 2  # in its database
_ENCRYPTIONS = {0: "none", 1: "pgp", 2: "omemo"}


@dataclass(frozen=True)
class Line:
    """A message in its database."""

    other: str
    """With whom: a bare address."""
    ours: bool
    text: str
    encryption: str


@dataclass(frozen=True)
class File:
    """A file in its database."""

    other: str
    ours: bool
    name: str
    path: Path | None
    """Where it is kept; None before it was fetched."""
    encryption: str
    size: int


class Dino(desktop.Program):
    """One that runs."""

    def __init__(self, name: str, server: XmppServer, folder: Path, child: Child) -> None:
        super().__init__(f"{name}@{server.domain}", folder, child)

    def lines(self) -> list[Line]:
        """All messages, the oldest first."""
        rows = self._rows(
            "select jid.bare_jid, direction, body, encryption from message"
            " join jid on jid.id = counterpart_id order by message.id"
        )
        return [Line(jid, way == 1, body, _ENCRYPTIONS[kind]) for jid, way, body, kind in rows]

    def wait_line(self, text: str) -> Line:
        """Wait until a message is there."""
        return self.wait_found(self.lines, lambda line: line.text == text, f"have {text!r}")

    def files(self) -> list[File]:
        """All files that were sent or offered, the oldest first."""
        rows = self._rows(
            "select jid.bare_jid, direction, file_name, path, encryption, size from file_transfer"
            " join jid on jid.id = counterpart_id order by file_transfer.id"
        )
        kept = self.folder / "data/dino/files"
        return [
            File(jid, way == 1, name, kept / path if path else None, _ENCRYPTIONS[kind], size)
            for jid, way, name, path, kind, size in rows
        ]

    def wait_file(self, name: str = "") -> File:
        """Wait until a file of somebody else's, or that of this name, was fetched."""
        return self.wait_found(
            self.files,
            lambda file: (
                (file.name == name if name else not file.ours)
                and file.path is not None
                and file.path.exists()
            ),
            f"fetch {name or 'a file'}",
        )

    def fingerprint(self) -> str:
        """Of its own device, in hexadecimal."""
        ((key,),) = self._rows("select identity_key_public_base64 from identity", "omemo.db")
        return _hexadecimal(key)

    def known_fingerprints(self, jid: str) -> set[str]:
        """Of the devices of somebody that it would encrypt for."""
        rows = self._rows(
            "select address_name, identity_key_public_base64 from identity_meta"
            " where now_active and identity_key_public_base64 is not null",
            "omemo.db",
        )
        return {_hexadecimal(key) for whose, key in rows if whose == jid}

    def wait_knows(self, jid: str) -> None:
        """Wait until it could encrypt for somebody."""
        self.wait(lambda: bool(self.known_fingerprints(jid)), f"know a device of {jid}")

    def _rows(self, query: str, file: str = "dino.db") -> list[tuple]:
        return desktop.rows(self.folder / "data/dino" / file, query)

    def send_file(self, path: Path) -> None:
        """Choose a file for whom the window is for, as a person does, and send it."""
        end = time.monotonic() + desktop.PATIENCE
        while not any(file.ours and file.name == path.name for file in self.files()):
            assert time.monotonic() < end, f"see {self.picture(self.folder / 'at-the-end.png')}"
            self.keys("key", "Escape")
            self.keys("mousemove", *_CLIP, "click", "1")
            self.wait(lambda: len(self.windows()) > 1, "ask which file")
            self.keys("type", "--delay", "20", str(path))
            self.press_until("Return", lambda: len(self.windows()) == 1, seconds=5)
            self.press_until("Return", lambda: any(file.ours for file in self.files()), seconds=5)


@contextmanager
def running(folder: Path, name: str, server: XmppServer, contacts: Sequence[str]) -> Iterator[Dino]:
    """Run one, signed in, a conversation with each contact begun, encrypted by OMEMO.

    Args:
        folder: Where its files go.
        name: One of `PEOPLE`.
        server: Theirs, at port 5222, its domain known to this machine.
        contacts: Bare addresses.
    """
    program = need("dino-im", "dino-im")
    with desktop.screen(folder) as environment:
        with desktop.started([program], folder / "first.log", environment) as first:
            Dino(name, server, folder, first).wait(lambda: _has_tables(folder), "make its database")
        _tell(folder, name, server, contacts)
        command = [program, "--print-xmpp=all"]
        with desktop.started(command, folder / "dino.log", environment) as child:
            dino = Dino(name, server, folder, child)
            dino.wait_window()
            asyncio.run(wait_published(server, dino.jid))
            yield dino


def _hexadecimal(key: str) -> str:
    return base64.b64decode(key)[1:].hex()


def _has_tables(folder: Path) -> bool:
    path = folder / "data/dino/dino.db"
    if not path.exists():
        return False
    with closing(sqlite3.connect(path, timeout=10)) as database:
        names = {name for (name,) in database.execute("select name from sqlite_master")}
        return "settings_conversationid_key" in names


def _tell(folder: Path, name: str, server: XmppServer, contacts: Sequence[str]) -> None:
    """Write the account and its conversations into its database."""
    now = int(time.time())
    with closing(sqlite3.connect(folder / "data/dino/dino.db")) as database, database:
        account = _insert(
            database,
            "account",
            bare_jid=f"{name}@{server.domain}",
            resourcepart="dino.1234",
            password=password_of(name),
            alias="",
            enabled=1,
            roster_version="",
            mam_earliest_synced=0,
        )
        for contact in contacts:
            _insert(
                database,
                "conversation",
                account_id=account,
                jid_id=_insert(database, "jid", bare_jid=contact),
                active=1,
                active_last_changed=now,
                last_active=now,
                type=_CHAT,
                encryption=_OMEMO,
                notification=0,
                send_typing=0,
                send_marker=0,
            )


def _insert(database: sqlite3.Connection, table: str, **values: object) -> int:
    columns, marks = ", ".join(values), ", ".join("?" * len(values))
    query = f"insert into {table} ({columns}) values ({marks})"
    return int(database.execute(query, list(values.values())).lastrowid or 0)
