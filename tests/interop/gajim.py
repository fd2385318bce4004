"""Gajim with its OMEMO plug-in, other people's, on a screen that nobody sees.

It is told of its account in its own settings, before it starts; what it says is typed, and what it
received is read from its databases, or looked at on a picture of the screen.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop import desktop
from tests.interop.children import Child, need
from tests.interop.xmpp_servers import XmppServer, password_of, wait_published

_PLUGIN = Path("/usr/share/gajim/plugins/omemo")
_SIZE = ("1200", "650")  # of its window, in pixels, on a screen of 1200 by 700
_ENTRY, _SHIELD, _ELSEWHERE = ("780", "626"), ("1146", "626"), ("600", "690")  # places there
_ACCOUNT = "ours"  # what it calls the account
_SENT = 6  # in its database
_SETTINGS_VERSION = 5
_SETTINGS = """
create table settings (name text unique, settings text);
create table account_settings (account text unique, settings text);
pragma user_version={version};
"""


@dataclass(frozen=True)
class Line:
    """A message in its database."""

    other: str
    """With whom: a bare address."""
    ours: bool
    text: str
    encryption: str
    fingerprint: str
    """Of the device that wrote it; "" where it is its own."""


class Gajim(desktop.Program):
    """One that runs."""

    def __init__(self, name: str, server: XmppServer, folder: Path, child: Child) -> None:
        super().__init__(f"{name}@{server.domain}", folder, child)
        self._kept = folder / "data/gajim"

    def lines(self) -> list[Line]:
        """All messages, the oldest first."""
        rows = desktop.rows(
            self._kept / "logs.db",
            "select jid, kind, message, additional_data from logs"
            " join jids using (jid_id) order by log_line_id",
        )
        lines = []
        for jid, kind, text, more in rows:
            encrypted = json.loads(more or "{}").get("encrypted", {})
            how, whose = encrypted.get("name", "none"), encrypted.get("fingerprint", "")
            lines.append(Line(jid, kind == _SENT, text, how, whose))
        return lines

    def wait_line(self, text: str) -> Line:
        """Wait until a message is there."""
        return self.wait_found(self.lines, lambda line: line.text == text, f"have {text!r}")

    def wait_file(self, content: bytes) -> Path:
        """Wait until it fetched and decrypted a file of this content, which it does by itself."""
        return self.wait_found(
            lambda: list((self._kept / "downloads").iterdir()),
            lambda path: path.read_bytes() == content,
            f"fetch {len(content)} bytes",
        )

    def send_file(self, path: Path) -> None:
        """Send a file to whom the window is for."""
        before = len(self._own())
        self._act("send-file", f'["{path.as_uri()}"]')
        self.press_until("Return", lambda: len(self._own()) > before)
        (line,) = self._own()[before:]
        assert line.text.startswith("aesgcm://"), line
        assert line.encryption == "OMEMO", line

    def _own(self) -> list[Line]:
        return [line for line in self.lines() if line.ours]

    def type(self, text: str) -> None:
        """Type a message to whom the window is for, and send it."""
        self.look()
        super().type(text)

    def correct(self, text: str) -> None:
        """Put another text in the place of what it said last."""
        self.look()
        self.keys("key", "ctrl+Up")
        self.keys("key", "ctrl+a")
        super().type(text)

    def fingerprint(self) -> str:
        """Of its own device, in hexadecimal."""
        ((key,),) = self._omemo("select public_key from secret")
        return key[1:].hex()

    def known_fingerprints(self, jid: str) -> set[str]:
        """Of the devices of somebody that it wrote to, or that wrote to it."""
        rows = self._omemo("select recipient_id, public_key from identities")
        return {key[1:].hex() for whose, key in rows if whose == jid}

    def wait_knows(self, jid: str) -> None:
        """Wait until it could encrypt for somebody: what is said before is lost."""
        self.wait(
            lambda: (jid,) in self._omemo("select recipient_id from sessions"),
            f"begin a session with {jid}",
        )

    def fit(self) -> None:
        """Give its window a size that it keeps, so that places on it are known."""
        (window,) = self.windows()
        self.keys("windowsize", "--sync", window, *_SIZE)

    def open(self, number: int) -> None:
        """Have the window be for one of its contacts, the first of whom is 1."""
        self._act(f"switch-chat-{number}")

    def look_away(self) -> None:
        """Have its person look elsewhere, so that what comes is not seen at once."""
        self.keys("mousemove", *_ELSEWHERE)
        # which it was told of when it answers
        self._call("org.gtk.Actions.List")

    def look(self) -> None:
        """Have its person look at the window and be about to type."""
        self.keys("mousemove", *_ENTRY, "click", "1")

    def show_fingerprints(self) -> None:
        """Open the window in which it shows those of whom the window is for."""
        end = time.monotonic() + desktop.PATIENCE
        while len(self.windows()) < 2 and time.monotonic() < end:
            self.keys("mousemove", *_SHIELD, "click", "1")
            time.sleep(0.5)
        self.wait(lambda: len(self.windows()) > 1, "show fingerprints", seconds=1)

    def _omemo(self, query: str) -> list[tuple]:
        return desktop.rows(self._kept / f"omemo_{self.jid}.db", query)

    def _act(self, action: str, argument: str = "") -> None:
        """What a key or a menu would begin (org.gtk.Actions)."""
        self._call("org.gtk.Actions.Activate", action, f"[{argument and f'<{argument}>'}]", "{}")

    def _call(self, method: str, *arguments: str) -> None:
        self.run(
            *("gdbus", "libglib2.0-bin", "call", "--session", "--dest", "org.gajim.Gajim"),
            *("--object-path", "/org/gajim/Gajim/window/1", "--method", method),
            *arguments,
        )


def required() -> list[str]:
    """Skip where it cannot run; returns the beginning of a command as somebody else than root."""
    program = need("gajim", "gajim")
    if not _PLUGIN.exists():
        pytest.skip("the plug-in is not installed: apt install gajim-omemo")
    need("gdbus", "libglib2.0-bin")
    # It refuses to run as root; in a user namespace whoever it is has another name.
    other = [need("unshare", "util-linux"), "--user", "--map-user=1000", "--map-group=1000"]
    if subprocess.run([*other, "true"], capture_output=True, check=False).returncode:
        pytest.skip("Gajim is not for root, and this machine lets nobody make a user namespace")
    return [*other, program]


@contextmanager
def running(
    folder: Path, name: str, server: XmppServer, contacts: Sequence[str]
) -> Iterator[Gajim]:
    """Run one, signed in, a chat with each contact begun, encrypted by OMEMO.

    Args:
        folder: Where its files go; used again, it is the same installation.
        name: One of `PEOPLE`.
        server: Theirs, at port 5222, its domain known to this machine.
        contacts: Bare addresses.
    """
    command = [*required(), "--verbose"]
    with desktop.screen(folder) as environment:
        settings = folder / "config/gajim/settings.sqlite"
        if not settings.exists():
            _tell(settings, name, server, contacts)
        # there is no way out of the test's network, which would count as no network at all
        environment["GIO_USE_NETWORK_MONITOR"] = "base"
        with desktop.started(command, folder / "gajim.log", environment) as child:
            gajim = Gajim(name, server, folder, child)
            gajim.wait_window()
            # before it is online nothing can be typed
            gajim.wait(lambda: f"device list for {gajim.jid}" in child.said(), "come online")
            asyncio.run(wait_published(server, gajim.jid))
            gajim.fit()
            gajim.open(1)
            yield gajim


def _tell(path: Path, name: str, server: XmppServer, contacts: Sequence[str]) -> None:
    """Write the account and its chats into its settings."""
    path.parent.mkdir()
    account = {
        "account": {
            "name": name,
            "hostname": server.domain,
            "account_label": name,
            "resource": "gajim",
            "savepass": True,
            "password": password_of(name),
            "active": True,
            "last_status": "online",
        },
        "contact": {contact: {"encryption": "OMEMO"} for contact in contacts},
        "group_chat": {},
    }
    chats = [
        {
            "account": _ACCOUNT,
            "jid": {"__type": "JID", "value": contact},
            "type": "contact",
            "pinned": False,
            "position": -1,
        }
        for contact in contacts
    ]
    settings = {
        "app": {"use_keyring": False},
        "plugins": {"omemo": {"active": True}},
        "workspaces": {"4f9b0e6e-0000-4000-8000-000000000001": {"chats": chats}},
    }
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(_SETTINGS.format(version=_SETTINGS_VERSION))
        database.executemany(
            "insert into settings values (?, ?)",
            [(key, json.dumps(value)) for key, value in settings.items()],
        )
        database.execute(
            "insert into account_settings values (?, ?)", (_ACCOUNT, json.dumps(account))
        )
