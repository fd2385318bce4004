"""Two people in one process that is killed again and again: run by test_omemo_kills.

    python omemo_killed.py FOLDER KILLS SEED

Each round a forked child opens both accounts from SQLite and lets them write to each other: a
message is sealed and kept for sending in one transaction, leaves after it, and is opened and kept
in one transaction. The parent kills the child after some messages, somewhere within the next.
`wire` is what left: fingerprint of the message key, text and message, one line each.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import pickle
import random
import signal
import sqlite3
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from securecall.keys.omemo import Omemo
from securecall.keys.omemo_state import State  # noqa: F401 - imported before the first fork
from securecall.keys.omemo_two import OmemoTwo
from securecall.keys.omemo_values import OMEMO, DeviceTrust, Sealed
from securecall.testing.omemo_world import START, Server, ServerDirectory

JIDS = ("alice@a.example", "bob@b.example")
_KEYS: dict[bytes, str] = {}


class SqliteStore:
    """Keys, what waits to be sent, and what was read, in one file."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=OFF")  # the process dies, not the machine
        for table in ("kept (name PRIMARY KEY, data)", "outbox (id INTEGER PRIMARY KEY, line)",
                      "inbox (text)", "place (position)"):  # fmt: skip
            self.db.execute(f"CREATE TABLE IF NOT EXISTS {table}")

    def load(self, key: str) -> bytes | None:
        row = self.db.execute("SELECT data FROM kept WHERE name = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def save(self, changes: Mapping[str, bytes | None]) -> None:
        for key, data in changes.items():
            if data is None:
                self.db.execute("DELETE FROM kept WHERE name = ?", (key,))
            else:
                self.db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (key, data))


def watch_keys() -> None:
    encrypt = OmemoTwo.aead.encrypt

    async def watching(plaintext: bytes, key: bytes, associated_data: bytes) -> bytes:
        made = await encrypt(plaintext, key, associated_data)
        _KEYS[made] = hashlib.sha256(key).hexdigest()
        return made

    OmemoTwo.aead.encrypt = staticmethod(watching)


class Account:
    """One of the two, with its ends of the wire."""

    def __init__(self, folder: Path, which: int) -> None:
        self.jid, self.other = JIDS[which], JIDS[1 - which]
        self.store = SqliteStore(folder / f"{which}.db")
        self.out, self.into = folder / f"wire{which}", folder / f"wire{1 - which}"
        self.omemo: Omemo | None = None

    async def open(self, server: Server) -> None:
        """Begin where the last one was killed; a line cut short there never arrived."""
        if self.out.exists():
            os.truncate(self.out, self.out.read_bytes().rfind(b"\n") + 1)
        self.omemo = await Omemo.open(
            self.store,
            ServerDirectory(server, self.jid),
            jid=self.jid,
            trust=lambda _: DeviceTrust.TRUSTED,
            unix=lambda: START,
            namespaces=(OMEMO,),
        )

    async def write(self) -> None:
        recipients = await self.omemo.prepare([self.other])
        db = self.store.db
        db.execute("BEGIN")
        text = os.urandom(8).hex()
        (sealed,) = self.omemo.seal({OMEMO: text.encode()}, recipients)
        used = _KEYS[OmemoTwo().parse_key(
            sealed.keys[0].data, kex=sealed.keys[0].kex
        ).message.ciphertext]  # fmt: skip
        data = base64.b64encode(pickle.dumps(sealed)).decode()
        db.execute("INSERT INTO outbox (line) VALUES (?)", (f"{used} {text} {data}\n",))
        db.execute("COMMIT")
        self.send_all()

    def send_all(self) -> None:
        """Only what was committed leaves; what may have left before leaves again."""
        for number, line in self.store.db.execute("SELECT id, line FROM outbox").fetchall():
            with self.out.open("a") as wire:
                wire.write(line)
            self.store.db.execute("DELETE FROM outbox WHERE id = ?", (number,))

    def read(self) -> None:
        db = self.store.db
        lines = self.into.read_text().split("\n")[:-1] if self.into.exists() else []
        done = db.execute("SELECT COUNT(*) FROM place").fetchone()[0]
        for line in lines[done:]:
            if line.count(" ") != 2:
                raise SystemExit(f"torn line: {line!r}")
            _, _, data = line.split(" ")
            sealed: Sealed = pickle.loads(base64.b64decode(data))
            db.execute("BEGIN")
            db.execute("INSERT INTO place VALUES (1)")
            seen = db.execute("SELECT 1 FROM inbox WHERE text = ?", (line.split(" ")[1],))
            if seen.fetchone() is None:
                opened = self.omemo.open_sealed(sealed, self.other)
                db.execute("INSERT INTO inbox VALUES (?)", (opened.plaintext.decode(),))
            db.execute("COMMIT")


async def talk(folder: Path, chance: random.Random, rounds: int, told: int | None = None) -> None:
    server_file = folder / "server"
    server = pickle.loads(server_file.read_bytes()) if server_file.exists() else Server()
    people = [Account(folder, which) for which in (0, 1)]
    for person in people:
        await person.open(server)
        person.send_all()
    if not server_file.exists():
        replaced = folder / "server.new"
        replaced.write_bytes(pickle.dumps(server))
        replaced.rename(server_file)
    while rounds:
        rounds -= 1
        await chance.choice(people).write()
        if told is not None:
            os.write(told, b".")
        if chance.random() < 0.7:
            chance.choice(people).read()
    for person in people:
        person.read()


def main() -> None:
    folder, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    watch_keys()
    chance = random.Random(seed)
    asyncio.run(talk(folder, chance, 1))  # so that every child finds accounts
    for kill in range(kills):
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            asyncio.run(talk(folder, random.Random(seed * 1000 + kill), -1, tell))
        os.close(tell)
        for _ in range(chance.randint(1, 8)):  # so many messages, however slow the machine
            os.read(told, 1)
        time.sleep(chance.uniform(0, 0.003))  # and then somewhere within the next
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(told)
        if not os.WIFSIGNALED(status):
            raise SystemExit(f"the child ended by itself in round {kill}: {status}")
    asyncio.run(talk(folder, chance, 10))


main()
