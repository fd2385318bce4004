"""The command as other programs run it: a process that speaks JSON lines."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Self

from securecall.cli.main import run
from tests.paths import PROJECT


class Command:
    """One run of `securecall ... --json`."""

    def __init__(self, *arguments: object, home: Path, passphrase: Path) -> None:
        self.events: list[dict] = []
        who = ("--home", str(home), "--passphrase-file", str(passphrase))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "securecall.cli", *map(str, arguments), "--json", *who],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error) -> None:
        self.process.kill()
        self.process.communicate()

    def wait_for(self, kind: str) -> dict:
        """Read on to the next event of this kind."""
        for line in self.process.stdout:
            event = json.loads(line)
            if event["type"] == "levels":
                continue
            self.events.append(event)
            if event["type"] == kind:
                return event
        raise AssertionError(f"no {kind}; {self.events[-2:]} {self.process.stderr.read()}")

    def say(self, word: str) -> None:
        """Write a line to its standard input."""
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def finish(self) -> int:
        """Read the rest; returns the exit code."""
        for line in self.process.stdout:
            event = json.loads(line)
            if event["type"] != "levels":
                self.events.append(event)
        return self.process.wait()

    def last(self, kind: str) -> dict:
        """The last event of a kind."""
        return [e for e in self.events if e["type"] == kind][-1]


def here(*arguments: object, home: Path, passphrase: Path) -> tuple[int, list[dict]]:
    """The same within this process, where starting costs nothing: exit code, events."""
    who = ("--home", str(home), "--passphrase-file", str(passphrase))
    with contextlib.redirect_stdout(io.StringIO()) as written:
        code = run([*map(str, arguments), "--json", *who])
    return code, [json.loads(line) for line in written.getvalue().splitlines()]
