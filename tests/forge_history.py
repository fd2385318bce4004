"""Histories for tests, and someone who has their file, knows SQLite well, and lacks the key."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from securecall.address import parse_address
from securecall.chat.history import Parcel
from securecall.chat.message import DeviceTrust, Message, SharedFile
from securecall.secret import Secret
from securecall.store.history import FILE, ChatHistory

JULIET = parse_address("xmpp:juliet@capulet.example")
ROMEO = parse_address("xmpp:romeo@montague.example")
NURSE = parse_address("xmpp:nurse@capulet.example")
ROOM = parse_address("xmpp:balcony@rooms.example")
NOW = 1_770_000_000.0
DAY = 86_400


def open_history(folder: Path, *, key: bytes = b"k" * 32) -> ChatHistory:
    return ChatHistory.open(folder, Secret(key))


def message(text: str = "", *, conversation=JULIET, sender=None, **rest) -> Message:
    rest = {"sent": NOW, **rest}
    return Message(conversation=conversation, sender=sender or conversation, text=text, **rest)


def parcel(name: str = "p1", *, conversation=JULIET, stanza: bytes = b"<message/>") -> Parcel:
    return Parcel(id=name, conversation=conversation, stanza=stanza)


def full_message() -> Message:
    """A message in which nothing is as usual."""
    return message(
        "Ein Bild: 🌹 \ud800",
        sender=NURSE,
        own=True,
        id="id-7",
        archive_id="1-2-3",
        sent=NOW + 0.123456789,
        file=SharedFile(
            url="https://files.example/x",
            key=Secret(b"\x07" * 32),
            iv=b"\x08" * 12,
            name="rose.jpg",
            media_type="image/jpeg",
            size=2**60,
            sha256=b"\x09" * 32,
            seconds=1.5,
            expires=5,
        ),
        reply_to="id-6",
        edited=NOW + 9,
        reactions={JULIET: frozenset("🌹👍"), ROMEO: frozenset()},
        unread=True,
        device=2**31,
        trust=DeviceTrust.VERIFIED,
        expires=int(NOW) + DAY,
    )


def everything(history) -> dict[str, object]:
    """All that the port lets one see."""
    return {
        "messages": history.after(0, count=10_000),
        "conversations": history.conversations(),
        "unread": {where: history.unread(where) for where in (JULIET, ROMEO, ROOM)},
        "retention": {where: history.retention(where) for where in (JULIET, ROMEO, ROOM)},
        "parcels": history.parcels(),
        "values": history.values(""),
    }


def edit(folder: Path, *statements: str, values: tuple = ()) -> int:
    """Run SQL on the closed file; returns how many rows it changed."""
    connection = sqlite3.connect(folder / FILE, isolation_level=None)
    try:
        return sum(connection.execute(statement, values).rowcount for statement in statements)
    finally:
        connection.close()


def stored(folder: Path, table: str) -> list[tuple]:
    """The rows of a table as they lie in the closed file."""
    connection = sqlite3.connect(folder / FILE)
    try:
        return connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
    finally:
        connection.close()


def put_back(folder: Path, table: str, rows: list[tuple]) -> None:
    """Make a table what it once was."""
    connection = sqlite3.connect(folder / FILE, isolation_level=None)
    try:
        connection.execute(f"DELETE FROM {table}")
        for row in rows:
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO {table} VALUES ({marks})", row)
    finally:
        connection.close()


def disk_bytes(folder: Path) -> bytes:
    """Everything in the folder: the file, its log, and whatever else was left."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())
