"""A terminal that nobody sees (apt package tmux): keys pressed in it, and its screen."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.interop.children import Child, need


class Tmux:
    """A terminal of its own, whose server is our child."""

    def __init__(self, folder: Path) -> None:
        """Begin without a session; the folder's name has to be short, for that of a socket is."""
        self._program = need("tmux", "tmux")
        self._socket = folder / "t"
        command = [self._program, "-S", str(self._socket), "-f", "/dev/null", "-D"]
        self._child = Child(command, log=folder / "tmux.log", env={"LC_ALL": "C.UTF-8"})
        self._child.wait_path(self._socket)

    def run(self, *command: str) -> str:
        """Give tmux an order; returns what it prints."""
        return subprocess.run(
            [self._program, "-S", str(self._socket), *command],
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
        ).stdout

    def stop(self) -> None:
        """End it, and what runs in it."""
        with suppress(subprocess.SubprocessError):
            self.run("kill-server")
        self._child.stop()


@contextmanager
def terminal() -> Iterator[Tmux]:
    """Have one for a while."""
    with tempfile.TemporaryDirectory(prefix="tmux-") as short:
        tmux = Tmux(Path(short))
        try:
            yield tmux
        finally:
            tmux.stop()
