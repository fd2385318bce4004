"""Other people's programs as child processes: started, waited for, stopped by their own pid."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest


def need(program: str, package: str) -> str:
    """Return the path of a program, or skip the test naming the package that has it."""
    # Debian keeps daemons where only root's PATH looks.
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(
            f"{program} is not installed: apt install {package} (or: python3 dev.py servers)"
        )
    return path


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a loopback port nobody uses at this moment."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Child:
    """One program, its standard input held open, everything it says written to a file."""

    def __init__(
        self, command: Sequence[str], *, log: Path, env: dict[str, str] | None = None
    ) -> None:
        """Start it."""
        self.log = log
        self._name = Path(command[0]).name
        self._command = command
        self.env = {**os.environ, **(env or {})}
        log.write_bytes(b"")
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.log.parent,
                env=self.env,
                # Ctrl-C at the terminal is for pytest; the fixture stops the child.
                start_new_session=True,
            )

    def restart(self, port: int) -> None:
        """Stop it, start it again, wait until it listens on that port."""
        self.stop()
        self._process = self._start()
        self.wait_port(port)

    def said(self) -> str:
        """Everything it printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def require_alive(self, waiting_for: str) -> None:
        """Fail with what it said last, if it ended."""
        if self._process.poll() is not None:
            raise AssertionError(
                f"{self._name} ended with {self._process.returncode} before {waiting_for}:\n"
                + self.said()[-2000:]
            )

    def wait_port(self, port: int, *, seconds: float = 40.0) -> None:
        """Wait until it accepts TCP connections on a loopback port.

        A daemon may accept and die right after, so it has to be alive afterwards, too.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.require_alive(f"listening on port {port}")
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
                self.require_alive(f"listening on port {port}")
                return
            time.sleep(0.05)
        raise AssertionError(f"{self._name} does not listen on {port}:\n{self.said()[-2000:]}")

    def wait_said(self, text: str, *, seconds: float = 40.0) -> None:
        """Wait until it printed a text."""
        end = time.monotonic() + seconds
        while text not in self.said():
            self.require_alive(f"saying {text!r}")
            if time.monotonic() > end:
                raise AssertionError(f"{self._name} never said {text!r}:\n{self.said()[-2000:]}")
            time.sleep(0.05)

    def wait_path(self, path: Path, *, seconds: float = 40.0) -> None:
        """Wait until it made a file or a socket."""
        end = time.monotonic() + seconds
        while not path.exists():
            self.require_alive(f"making {path.name}")
            if time.monotonic() > end:
                raise AssertionError(f"{self._name} made no {path.name}:\n{self.said()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it: ask, wait five seconds, insist."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        if self._process.stdin:
            with suppress(OSError):  # what it had not read yet cannot be flushed any more
                self._process.stdin.close()
