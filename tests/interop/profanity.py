"""Profanity, an XMPP client of other people's making, in a terminal that nobody sees.

It is typed to and its screen is read; what it received is read from its own database.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.interop.children import need
from tests.interop.tmux import Tmux, terminal
from tests.interop.xmpp_person import XmppPerson
from tests.interop.xmpp_servers import XmppServer, password_of, sign_in

PATIENCE = 50.0  # seconds, a hang guard
_PREFERENCES = """
[connection]
account={name}
autoping=0
tls.certpath={certificates}
[ui]
splash=false
intype=false
wrap=true
[omemo]
policy=automatic
trustmode={trust}
log=on
[logging]
chlog=true
[notifications]
message=off
[chatstates]
enabled=false
outtype=false
[receipts]
send=true
request=true
"""
_ACCOUNT = """
[{name}]
enabled=true
jid={name}@{domain}
server=127.0.0.1
port={port}
resource={resource}
password={password}
tls.policy=force
"""


@dataclass(frozen=True)
class Line:
    """A message in its database."""

    sender: str
    receiver: str
    text: str
    encryption: str
    """ "omemo" or "none"."""


class Profanity:
    """One that runs."""

    def __init__(
        self, name: str, server: XmppServer, folder: Path, tmux: Tmux, resource: str
    ) -> None:
        self.jid = f"{name}@{server.domain}"
        self.folder = folder
        self._resource = resource
        self._tmux = tmux

    def type(self, line: str) -> None:
        """Type a line, a command or a message to whom the window is for."""
        self._tmux.run("send-keys", "-l", line)
        self._tmux.run("send-keys", "Enter")

    def screen(self) -> str:
        """What the terminal shows."""
        return self._tmux.run("capture-pane", "-p", "-J")

    def wait_screen(self, pattern: str, *, seconds: float = PATIENCE) -> re.Match[str]:
        """Wait until the screen shows what a regular expression finds."""
        found: list[re.Match[str]] = []

        def shown() -> bool:
            match = re.search(pattern, self.screen())
            found.extend([match] if match else [])
            return bool(found)

        self._wait(shown, f"show {pattern!r}", seconds)
        return found[0]

    def _wait(self, done: Callable[[], bool], what: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                raise AssertionError(f"{self.jid} did not {what}:\n{self.screen()}")
            time.sleep(0.05)

    def generate(self) -> None:
        """Make its OMEMO identity and publish it."""
        self.type("/omemo gen")
        self._wait(lambda: self.fingerprint() != "", "make an identity", PATIENCE)
        self._wait(
            lambda: "bundle published successfully" in self.log(), "publish a bundle", PATIENCE
        )

    def fingerprint(self) -> str:
        """Of its own device, in hexadecimal; "" before there is one."""
        files = list(self.folder.glob("data/profanity/omemo/*/identity.txt"))
        text = files[0].read_text() if files else ""
        key = re.search(r"^identity_key_public=(.+)$", text, re.MULTILINE)
        return base64.b64decode(key[1])[1:].hex() if key else ""

    def trust(self, jid: str, fingerprint: str) -> None:
        """Take a device of somebody's as theirs."""
        grouped = "-".join(re.findall(".{8}", fingerprint))
        self.type(f"/omemo trust {jid} {grouped}")
        self._wait_session(jid)

    def begin_omemo(self, jid: str, *, trusted: bool = True) -> None:
        """Open a window for somebody and encrypt what is said there.

        Args:
            jid: Whom.
            trusted: It trusts a device of theirs, so it can say something at once.
        """
        self.type(f"/msg {jid}")
        self.wait_screen(rf"^ ?{re.escape(jid)}")
        self.type("/omemo start")
        self.wait_screen(r"\[OMEMO\]")
        if trusted:
            self._wait_session(jid)

    def join(self, room: str, *others: str) -> None:
        """Go into a room that somebody invited it to, and encrypt what is said there.

        Args:
            room: Its address.
            others: Who is in it.
        """
        self.wait_screen("invit")
        self.type(f"/join {room} nick {self.jid.partition('@')[0]}")
        self.wait_screen("You have joined the room")
        self.type("/omemo start")
        self.wait_screen(r"\[OMEMO\]")
        for jid in others:
            self._wait_session(jid)

    def _wait_session(self, jid: str) -> None:
        # what is said before it has their keys is refused, and not kept for later
        made = re.compile(rf"session with {re.escape(jid)} device \d+")
        self._wait(lambda: made.search(self.log()) is not None, "begin a session", PATIENCE)

    def known_fingerprint(self, jid: str) -> str:
        """Of a device of somebody's, as it shows it."""
        pattern = rf"{re.escape(jid)}'s OMEMO fingerprint: ([0-9a-f-]+)"
        end = time.monotonic() + PATIENCE
        while True:  # asked before it has their keys, it says that there are none
            self.type(f"/omemo fingerprint {jid}")
            with suppress(AssertionError):
                return self.wait_screen(pattern, seconds=1.0)[1].replace("-", "")
            assert time.monotonic() < end, self.screen()

    def send_file(self, path: Path) -> str:
        """Send a file to whom the window is for; returns its address, which holds the key."""
        self.type(f"/sendfile {path}")
        return self._wait_found(
            lambda line: line.text.startswith("aesgcm://") and line.sender == self.jid
        ).text

    def wait_link(self) -> str:
        """Wait until somebody else sent a file; returns its address, which holds the key."""
        return self._wait_found(
            lambda line: line.text.startswith("aesgcm://") and line.sender != self.jid
        ).text

    def wait_receipt(self, name: str) -> None:
        """Wait until it was told that a message of its own came there."""
        receipt = re.compile(rf"RECV: <message .*<received [^>]*\bid=\"{re.escape(name)}\"")
        self._wait(lambda: receipt.search(self.log()) is not None, "get a receipt", PATIENCE)

    def save(self, address: str, path: Path) -> None:
        """Fetch a file, decrypt it and write it."""
        self.type(f"/url save {address} {path}")
        self._wait(
            lambda: path.exists() and "Saved to" in self.screen(), f"save {path.name}", PATIENCE
        )

    def lines(self) -> list[Line]:
        """All messages in its database, the oldest first.

        No lock is taken: Profanity waits for none, and a message that it cannot write down while
        somebody reads is lost. So what is read may be half written, and is read again then.
        """
        (path,) = self.folder.glob("data/profanity/database/*/chatlog.db")
        query = "select from_jid, to_jid, message, encryption from ChatLogs order by id"
        end = time.monotonic() + PATIENCE
        while True:
            with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as database:
                try:
                    return [Line(*row) for row in database.execute(query)]
                except sqlite3.DatabaseError:
                    if time.monotonic() > end:
                        raise
            time.sleep(0.02)

    def wait_line(self, text: str, *, seconds: float = PATIENCE) -> Line:
        """Wait until a message is in its database."""
        return self._wait_found(lambda line: line.text == text, seconds=seconds)

    def _wait_found(self, wanted: Callable[[Line], bool], *, seconds: float = PATIENCE) -> Line:
        found: list[Line] = []

        def there() -> bool:
            found.extend(line for line in self.lines() if wanted(line))
            return bool(found)

        self._wait(there, "have the message", seconds)
        return found[0]

    def quit(self) -> None:
        """Sign out and end, which ends the terminal's session, too."""
        self.type("/quit")
        end = time.monotonic() + 5
        while self._tmux.run("list-sessions").strip() and time.monotonic() < end:
            time.sleep(0.02)

    def log(self) -> str:
        """What it noted, protocol and all."""
        return "".join(
            path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log"))
        )

    def wait_connected(self) -> None:
        """Wait until it is signed in."""
        self.wait_screen(rf"{re.escape(self.jid)}/{self._resource} logged in")


@contextmanager
def running(
    folder: Path,
    name: str,
    server: XmppServer,
    *,
    trust: str = "blind",
    resource: str = "profanity",
) -> Iterator[Profanity]:
    """Run one, signed in.

    Args:
        folder: Where its files go; used again, it is the same installation.
        name: One of `PEOPLE`.
        server: Theirs.
        trust: Of devices it sees: "blind", "firstusage" or "manual".
        resource: Of its JID; two of one person have two.
    """
    program = need("profanity", "profanity")
    certificates = folder / "certificates"  # for files: whoever is in this folder is trusted
    certificates.mkdir(parents=True, exist_ok=True)
    shutil.copy(server.authorities, certificates)
    for kind in ("config", "data"):
        (folder / kind / "profanity").mkdir(parents=True, exist_ok=True)
    (folder / "config/profanity/profrc").write_text(
        _PREFERENCES.format(name=name, trust=trust, certificates=certificates)
    )
    (folder / "data/profanity/accounts").write_text(
        _ACCOUNT.format(
            name=name,
            domain=server.domain,
            port=server.ports["xmpp"],
            resource=resource,
            password=password_of(name),
        )
    )
    environment = {
        "HOME": folder,
        "XDG_CONFIG_HOME": folder / "config",
        "XDG_DATA_HOME": folder / "data",
        "TMPDIR": folder,
        "TERM": "screen-256color",
        "LC_ALL": "C.UTF-8",
        "SSL_CERT_FILE": server.authorities,  # a directory in its preferences is not enough
    }
    settings = [f"{key}={value}" for key, value in environment.items()]
    with terminal() as tmux:
        command = ["env", *settings, program, "-l", "DEBUG", "-f", str(folder / "all.log")]
        tmux.run("new-session", "-d", "-x", "200", "-y", "50", *command)
        profanity = Profanity(name, server, folder, tmux, resource)
        profanity.wait_connected()
        yield profanity
        profanity.quit()


def befriend(server: XmppServer, *names: str) -> None:
    """Put these people into each other's rosters, and publish lists of no devices for each.

    Profanity 0.13 adds itself to a list it finds and makes none; and bundles that it publishes are
    for subscribers only.
    """
    asyncio.run(_befriend(server, names))


async def _befriend(server: XmppServer, names: Sequence[str]) -> None:
    people = [await sign_in(server, name) for name in names]
    await _make_friends(people)
    for person in people:
        for empty in (_NO_DEVICES, _NO_DEVICES_2):
            done = await person.ask(ET.fromstring(empty))
            assert done.get("type") == "result", ET.tostring(done)
        await person.close()


async def _make_friends(people: Sequence[XmppPerson]) -> None:
    """Ask and grant until all see each other: an answer that overtakes its question is lost."""
    async with asyncio.timeout(PATIENCE):
        while strangers := [
            (one, bare)
            for one, other in itertools.permutations(people, 2)
            if (bare := other.jid.partition("/")[0]) not in await _friends(one)
        ]:
            for one, bare in strangers:
                one.send(ET.Element("presence", to=bare, type="subscribe"))
                one.send(ET.Element("presence", to=bare, type="subscribed"))


async def _friends(person: XmppPerson) -> set[str | None]:
    roster = await person.ask(ET.Element("query", xmlns="jabber:iq:roster"), "get")
    items = roster.iter("{jabber:iq:roster}item")
    return {item.get("jid") for item in items if item.get("subscription") == "both"}


_PUBLISH = """
<pubsub xmlns='http://jabber.org/protocol/pubsub'>
<publish node='{node}'><item id='current'>{empty}</item></publish>
<publish-options><x xmlns='jabber:x:data' type='submit'>
<field var='FORM_TYPE' type='hidden'>
<value>http://jabber.org/protocol/pubsub#publish-options</value></field>
<field var='pubsub#access_model'><value>open</value></field></x></publish-options></pubsub>
"""
_LEGACY = "eu.siacs.conversations.axolotl"
_NO_DEVICES = _PUBLISH.format(node=f"{_LEGACY}.devicelist", empty=f"<list xmlns='{_LEGACY}'/>")
_NO_DEVICES_2 = _PUBLISH.format(
    node="urn:xmpp:omemo:2:devices", empty="<devices xmlns='urn:xmpp:omemo:2'/>"
)
