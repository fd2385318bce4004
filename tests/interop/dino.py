"""Dino, an XMPP client of other people's making, on a screen that nobody sees.

It is told of its account in its own database, before it starts; what it says is typed, and what it
received is read from that database, or looked at on a picture of the screen.
"""

from __future__ import annotations

import asyncio
import base64
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree as ET

from tests.interop.children import Child, need
from tests.interop.xmpp_servers import XmppServer, password_of, sign_in

_R = TypeVar("_R")
PATIENCE = 50.0  # seconds, a hang guard
_CLIP = ("337", "663")  # where to click to send a file
PORT = 5222  # it cannot be told another one
_BUS = """
<busconfig><type>session</type><listen>unix:path={path}</listen><policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy></busconfig>
"""
_AXOLOTL = "eu.siacs.conversations.axolotl"
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


class Dino:
    """One that runs."""

    def __init__(self, name: str, server: XmppServer, folder: Path, child: Child) -> None:
        self.jid = f"{name}@{server.domain}"
        self.folder = folder
        self._child = child
        self._path = folder / "data/dino/dino.db"

    def lines(self) -> list[Line]:
        """All messages, the oldest first."""
        rows = self._rows(
            "select jid.bare_jid, direction, body, encryption from message"
            " join jid on jid.id = counterpart_id order by message.id"
        )
        return [Line(jid, way == 1, body, _ENCRYPTIONS[kind]) for jid, way, body, kind in rows]

    def wait_line(self, text: str) -> Line:
        """Wait until a message is there."""
        return self._wait_found(self.lines, lambda line: line.text == text, f"have {text!r}")

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
        return self._wait_found(
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
        with closing(sqlite3.connect(self._path.with_name(file), timeout=10)) as database:
            return database.execute(query).fetchall()

    def _wait_found(self, rows: Callable[[], list[_R]], wanted: Callable[[_R], bool], what: str):
        found: list[_R] = []

        def there() -> bool:
            found.extend(row for row in rows() if wanted(row))
            return bool(found)

        self.wait(there, what)
        return found[0]

    def wait(self, done: Callable[[], bool], what: str, *, seconds: float = PATIENCE) -> None:
        """Wait until something is so; if not, a picture of the screen is kept."""
        end = time.monotonic() + seconds
        while not done():
            self._child.require_alive(f"it could {what}")
            if time.monotonic() > end:
                picture = self.picture(self.folder / "at-the-end.png")
                raise AssertionError(f"{self.jid} did not {what}; see {picture}")
            time.sleep(0.05)

    def wait_window(self) -> None:
        """Wait until its window is on the screen: keys go where the pointer is."""
        self.wait(lambda: bool(self._windows()), "show a window")

    def picture(self, path: Path) -> Path:
        """Write a picture of the screen (PNG)."""
        self._run("import", "imagemagick", "-window", "root", path)
        return path

    def type(self, text: str) -> None:
        """Type a message to whom the window is for, the first contact, and send it."""
        self._run("xdotool", "xdotool", "type", "--delay", "2", text)
        self._run("xdotool", "xdotool", "key", "Return")

    def send_file(self, path: Path) -> None:
        """Choose a file for whom the window is for, as a person does, and send it."""
        end = time.monotonic() + PATIENCE
        while not any(file.ours and file.name == path.name for file in self.files()):
            assert time.monotonic() < end, f"see {self.picture(self.folder / 'at-the-end.png')}"
            self._run("xdotool", "xdotool", "key", "Escape")
            self._run("xdotool", "xdotool", "mousemove", *_CLIP, "click", "1")
            self.wait(lambda: len(self._windows()) > 1, "ask which file")
            self._run("xdotool", "xdotool", "type", "--delay", "20", str(path))
            self._press_until(lambda: len(self._windows()) == 1)
            self._press_until(lambda: any(file.ours for file in self.files()))

    def _press_until(self, done: Callable[[], bool], *, seconds: float = 5.0) -> None:
        """Press Return until something is so; if a key got lost, whoever asked begins again."""
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            self._run("xdotool", "xdotool", "key", "Return")
            time.sleep(0.3)

    def _windows(self) -> list[str]:
        search = ("search", "--onlyvisible", "--name", ".")
        return self._run("xdotool", "xdotool", *search, check=False).split()

    def _run(self, program: str, package: str, *arguments: str | Path, check: bool = True) -> str:
        return subprocess.run(
            [need(program, package), *arguments],
            env=self._child.env,
            check=check,
            capture_output=True,
            text=True,
            timeout=30,
        ).stdout


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
    for kind in ("run", "config", "data", "cache"):
        (folder / kind).mkdir(parents=True, mode=0o700)
    with ExitStack() as stack:
        screen = stack.enter_context(_screen(folder))
        environment = {
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "data"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "DISPLAY": screen,
            "GDK_BACKEND": "x11",
            "GSK_RENDERER": "cairo",
            "GTK_A11Y": "none",
            "GSETTINGS_BACKEND": "memory",
            "GIO_USE_VFS": "local",
            "LC_ALL": "C.UTF-8",
        }
        with _bus(folder) as bus:
            environment["DBUS_SESSION_BUS_ADDRESS"] = bus
            first = Child([program], log=folder / "first.log", env=environment)
            try:
                Dino(name, server, folder, first).wait(
                    lambda: _has_tables(folder), "make its database"
                )
            finally:
                first.stop()
        _tell(folder, name, server, contacts)
        # Another bus: on the first one it might still find itself and leave the work to it.
        environment["DBUS_SESSION_BUS_ADDRESS"] = stack.enter_context(_bus(folder))
        command = [program, "--print-xmpp=all"]
        child = Child(command, log=folder / "dino.log", env=environment)
        stack.callback(child.stop)
        dino = Dino(name, server, folder, child)
        dino.wait_window()
        asyncio.run(_wait_published(server, dino.jid))
        yield dino


@contextmanager
def _screen(folder: Path) -> Iterator[str]:
    program = need("Xvfb", "xvfb")
    chosen = folder / "display"
    command = ["sh", "-c", f'exec "$@" 3>{chosen}', "sh", program, "-displayfd", "3"]
    command += ["-screen", "0", "1200x700x24", "-nolisten", "tcp", "-noreset"]
    child = Child(command, log=folder / "screen.log")
    try:
        child.wait_path(chosen)
        end = time.monotonic() + PATIENCE
        while not (number := chosen.read_text().strip()):
            assert time.monotonic() < end, child.said()
            time.sleep(0.02)
        yield f":{number}"
    finally:
        child.stop()


@contextmanager
def _bus(folder: Path) -> Iterator[str]:
    program = need("dbus-daemon", "dbus")
    with tempfile.TemporaryDirectory(prefix="bus-") as short:  # the name of a socket is short
        path = Path(short) / "bus"
        (folder / "bus.conf").write_text(_BUS.format(path=path))
        command = [program, f"--config-file={folder / 'bus.conf'}", "--nofork"]
        child = Child(command, log=folder / "bus.log")
        try:
            child.wait_path(path)
            yield f"unix:path={path}"
        finally:
            child.stop()


def _hexadecimal(key: str) -> str:
    return base64.b64decode(key)[1:].hex()


async def _wait_published(server: XmppServer, jid: str) -> None:
    """Ask as a stranger until its device and what is needed to encrypt for it can be read."""
    stranger = await sign_in(server, "frank")

    async def items(node: str) -> ET.Element:
        pubsub = ET.Element("pubsub", xmlns="http://jabber.org/protocol/pubsub")
        ET.SubElement(pubsub, "items", node=f"{_AXOLOTL}.{node}")
        return await stranger.ask(pubsub, "get", jid)

    async with asyncio.timeout(PATIENCE):
        while True:
            devices = list((await items("devicelist")).iter(f"{{{_AXOLOTL}}}device"))
            bundles = [await items(f"bundles:{device.get('id')}") for device in devices]
            if any(bundle.get("type") == "result" for bundle in bundles):
                break
            await asyncio.sleep(0.1)
    await stranger.close()


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
