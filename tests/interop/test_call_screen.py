"""Three people at terminals, as they see it: one asks a second before she hands a third over."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.kamailio import PASSWORDS
from tests.interop.test_lab import lab
from tests.interop.tmux import terminal
from tests.paths import PROJECT

PATIENCE = 40  # seconds, a hang guard


class Person:
    """Somebody who runs the command in a terminal of 100 columns."""

    def __init__(self, tmux, name, command):
        self._tmux, self._name = tmux, name
        size = ("-x", "100", "-y", "40")
        tmux.run("new-session", "-d", "-s", name, *size, "-c", str(PROJECT), *map(str, command))
        tmux.run("set-option", "-t", name, "remain-on-exit", "on")

    def type(self, text):
        self._tmux.run("send-keys", "-t", self._name, "-l", text)

    def enter(self, text):
        self.type(text)
        self._tmux.run("send-keys", "-t", self._name, "Enter")

    def press(self, key):
        self._tmux.run("send-keys", "-t", self._name, key)

    @property
    def screen(self):
        return self._tmux.run("capture-pane", "-p", "-t", self._name)

    def sees(self, pattern):
        end = time.monotonic() + PATIENCE
        while not re.search(pattern, self.screen):
            assert time.monotonic() < end, f"{self._name} does not see {pattern!r}:\n{self.screen}"
            time.sleep(0.05)

    def is_done(self):
        """Wait until the command ended; what tmux writes of that may be scrolled away."""
        end = time.monotonic() + PATIENCE
        while self._tmux.run("display-message", "-p", "-t", self._name, "#{pane_dead}") != "1\n":
            assert time.monotonic() < end, f"{self._name} does not end:\n{self.screen}"
            time.sleep(0.05)


@contextmanager
def three(folder):
    passphrase = folder / "passphrase"
    passphrase.write_text("of the tests\n")
    with lab("--no-prosody") as ready, terminal() as tmux:

        def person(name, *command):
            home = ("--home", folder / name, "--passphrase-file", passphrase)
            ours = [sys.executable, "-m", "securecall.cli"]
            init = [*ours, "init", *home, "--claim", f"sip:{name}@{ready.domain}"]
            subprocess.run([*map(str, init)], check=True, capture_output=True, cwd=PROJECT)
            (password := folder / f"{name}.password").write_text(PASSWORDS[name] + "\n")
            account = (
                "--account", f"sip:{name}@{ready.domain}", "--server", f"127.0.0.1:{ready.port}",
                "--authorities", Path(ready.authorities), "--password-file", password,
            )  # fmt: skip
            return Person(tmux, name, [*ours, *command, "--text", *home, *account])

        yield person


@pytest.mark.timeout(180)
def test_what_is_typed_stays_readable_and_two_calls_become_one(tmp_path):
    with three(tmp_path) as person:
        bob, carol = person("bob", "answer", "--confirm", "never"), person("carol", "answer")
        for who in (bob, carol):
            who.sees("Waiting for calls")
        alice = person("alice", "call", "sip:bob@lab.test", "--seconds", "300")
        bob.sees("A call from sip:alice@lab.test")
        bob.enter("y")
        bob.sees("Connected with alice@lab.test")
        alice.sees(r"Do you both read: \w+ \w+ \w+\?")
        alice.type("y is what I")
        alice.sees(r"(?m)^  OPPORTUNISTIC  you .*compare: .*\n> y is what I$")  # and goes on so
        time.sleep(0.3)
        alice.sees(r"(?m)^  OPPORTUNISTIC  you .*\n> y is what I$")
        alice.press("C-u")
        alice.enter("/y")
        alice.sees("Verified end-to-end encrypted")
        alice.enter("one moment")
        bob.sees("(?m)^They: one moment$")
        alice.enter("/consult sip:carol@lab.test")
        carol.sees("A call from sip:alice@lab.test")
        carol.enter("y")
        alice.sees("Connected with carol@lab.test")
        alice.enter("/transfer")
        bob.sees("They ask you to call carol@lab.test instead")
        bob.enter("y")  # is no answer to that
        bob.sees("(?m)^This line was not sent: .*hold")
        bob.enter("/accept")
        carol.sees("alice@lab.test hands you over to sip:bob@lab.test")
        carol.enter("/accept")
        for one, other in ((bob, "carol"), (carol, "bob")):
            one.sees(f"alice@lab.test is gone; you are with {other}@lab.test now")
        alice.is_done()
        bob.enter("here I am")
        carol.sees("(?m)^They: here I am$")
        bob.press("C-c")
        carol.sees("The report was not kept")
