"""The commands and examples of chat, as people type them, through the lab's Prosody."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.interop.children import need
from tests.interop.test_lab import lab
from tests.paths import PROJECT

PATIENCE = 60  # seconds, a hang guard


@pytest.fixture(scope="module")
def ready():
    need("prosody", "prosody")
    with lab("--prosody") as ready:
        yield ready


class Folder:
    """Where two people of the lab type their commands."""

    def __init__(self, path, ready):
        self.path, self.ready = path, ready
        (path / "passphrase").write_text("of the tests\n")
        self.server = f"127.0.0.1:{ready.servers['prosody']['xmpp']}"
        self.passwords = {p["name"]: p["password_file"] for p in ready.people}

    def start(self, command, who, *arguments, stdin=None, module="securecall.cli"):
        """A command of somebody's, running."""
        account = (
            "--home", self.path / who, "--passphrase-file", self.path / "passphrase",
            "--account", f"{who}@{self.ready.domain}", "--password-file", self.passwords[who],
            "--server", self.server, "--authorities", self.ready.authorities,
        )  # fmt: skip
        whole = [sys.executable, "-m", module, command, *arguments, *account]
        return self._popen(whole, stdin=stdin)

    def example(self, name, who, *arguments):
        """An example as somebody runs it."""
        whole = [
            sys.executable, PROJECT / "examples" / name, self.path / who, self.path / "passphrase",
            f"{who}@{self.ready.domain}", self.passwords[who], *arguments,
        ]  # fmt: skip
        return self._popen(whole)

    def _popen(self, command, stdin=None):
        environment = {"SERVER": self.server, "AUTHORITIES": self.ready.authorities}
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=self.path,
            env={**os.environ, **environment, "PYTHONPATH": str(PROJECT)},
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, command, who, *arguments, stdin=None):
        """A command of somebody's, to its end; returns its events."""
        with self.start(command, who, *arguments, "--json", stdin=stdin) as process:
            out, err = process.communicate(stdin, timeout=PATIENCE)
        assert process.returncode == 0, out + err
        return [json.loads(line) for line in out.splitlines()]

    def init(self, *people):
        """Make keys."""
        for who in people:
            home = ("--home", self.path / who, "--passphrase-file", self.path / "passphrase")
            whole = [sys.executable, "-m", "securecall.cli", "init", *map(str, home)]
            subprocess.run(whole, check=True, capture_output=True, cwd=PROJECT)


@pytest.fixture
def folder(tmp_path, ready):
    return Folder(tmp_path, ready)


def at(folder, who):
    return f"{who}@{folder.ready.domain}"


def test_text_file_and_voice_message_reach_the_inbox(folder):
    from securecall.cli import sound

    folder.init("alice", "bob")
    folder.run("inbox", "bob")  # publishes bob's device
    say = json.dumps({"type": "say", "text": "hello 漢字"}) + "\n"
    folder.run("chat", "alice", at(folder, "bob"), stdin=say)
    (folder.path / "scan.pdf").write_bytes(b"%PDF" * 5000)
    folder.run("send-file", "alice", at(folder, "bob"), folder.path / "scan.pdf")
    folder.run("voice-message", "alice", at(folder, "bob"), "--file", sound.sample_path())
    saved = folder.path / "saved"
    saved.mkdir()
    events = folder.run("inbox", "bob", "--save", saved)
    got = [e for e in events if e["type"] == "message"]
    assert got[0]["text"] == "hello 漢字"
    assert all(e["encrypted"] for e in got)
    assert (saved / "scan.pdf").read_bytes() == b"%PDF" * 5000
    assert got[-1]["file"]["seconds"] > 3
    assert folder.run("inbox", "bob") == []


def test_the_bot_answers_each_message_once_though_it_is_killed(folder):
    folder.init("alice", "bob")
    alice, bob = at(folder, "alice"), at(folder, "bob")

    def answered(text):
        """Run the bot until alice has heard it, then kill it where it stands."""
        with folder.example("echo_bot.py", "bob", alice) as bot:
            assert bot.stdout.readline() == "ready\n", bot.stderr.read()
            with folder.example("chat.py", "alice", bob, text) as chat:
                heard = chat.stdout.readline()
                chat.kill()
            bot.kill()
        return heard

    assert answered("one").endswith("You said: one\n")
    assert answered("two").endswith("You said: two\n")
    order = json.dumps({"type": "history", "number": 50}) + "\n"
    events = folder.run("chat", "alice", bob, stdin=order)
    (found,) = [e for e in events if e["type"] == "found"]
    texts = [m["text"] for m in found["messages"] if not m["own"]]
    assert sorted(texts) == ["You said: one", "You said: two"]
