"""Programs with windows, on a screen that nobody sees: keys go there, pictures come back."""

from __future__ import annotations

import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from tests.interop.children import Child, need

_R = TypeVar("_R")
PATIENCE = 50.0  # seconds, a hang guard
_BUS = """
<busconfig><type>session</type><listen>unix:path={path}</listen><policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy></busconfig>
"""


class Program:
    """One that runs for somebody."""

    def __init__(self, jid: str, folder: Path, child: Child) -> None:
        self.jid = jid
        self.folder = folder
        self._child = child

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
        self.wait(lambda: bool(self.windows()), "show a window")

    def wait_found(self, rows: Callable[[], list[_R]], wanted: Callable[[_R], bool], what: str):
        """Wait until one of some rows is as wanted; returns the first such."""
        found: list[_R] = []

        def there() -> bool:
            found.extend(row for row in rows() if wanted(row))
            return bool(found)

        self.wait(there, what)
        return found[0]

    def picture(self, path: Path) -> Path:
        """Write a picture of the screen (PNG)."""
        self.run("import", "imagemagick", "-window", "root", path)
        return path

    def type(self, text: str) -> None:
        """Type a message to whom the window is for, and send it."""
        self.keys("type", "--delay", "2", text)
        self.keys("key", "Return")

    def press_until(self, key: str, done: Callable[[], bool], *, seconds: float = PATIENCE) -> None:
        """Press a key again and again until something is so, or the time is up."""
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            self.keys("key", key)
            time.sleep(0.3)

    def keys(self, *arguments: str) -> None:
        """What xdotool is told."""
        self.run("xdotool", "xdotool", *arguments)

    def windows(self) -> list[str]:
        """Those on the screen."""
        search = ("search", "--onlyvisible", "--name", ".")
        return self.run("xdotool", "xdotool", *search, check=False).split()

    def run(self, program: str, package: str, *arguments: str | Path, check: bool = True) -> str:
        """Run something on its screen and bus; returns what that printed."""
        return subprocess.run(
            [need(program, package), *arguments],
            env=self._child.env,
            check=check,
            capture_output=True,
            text=True,
            timeout=30,
        ).stdout


def rows(database: Path, query: str) -> list[tuple]:
    """What a query finds in a database that a program has open."""
    with closing(sqlite3.connect(database, timeout=10)) as opened:
        return opened.execute(query).fetchall()


@contextmanager
def screen(folder: Path) -> Iterator[dict[str, str]]:
    """Have a screen, and folders for one person's files; yields the environment for it."""
    for kind in ("run", "config", "data", "cache"):
        (folder / kind).mkdir(parents=True, mode=0o700, exist_ok=True)
    program = need("Xvfb", "xvfb")
    chosen = folder / "display"
    chosen.unlink(missing_ok=True)
    command = ["sh", "-c", f'exec "$@" 3>{chosen}', "sh", program, "-displayfd", "3"]
    command += ["-screen", "0", "1200x700x24", "-nolisten", "tcp", "-noreset"]
    child = Child(command, log=folder / "screen.log")
    try:
        child.wait_path(chosen)
        end = time.monotonic() + PATIENCE
        while not (number := chosen.read_text().strip()):
            assert time.monotonic() < end, child.said()
            time.sleep(0.02)
        yield {
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "data"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "DISPLAY": f":{number}",
            "GDK_BACKEND": "x11",
            "GSK_RENDERER": "cairo",
            "GTK_A11Y": "none",
            "NO_AT_BRIDGE": "1",
            "GSETTINGS_BACKEND": "memory",
            "GIO_USE_VFS": "local",
            "LC_ALL": "C.UTF-8",
        }
    finally:
        child.stop()


@contextmanager
def started(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Iterator[Child]:
    """Run a program on a session bus of its own: on another's it might find itself there."""
    program = need("dbus-daemon", "dbus")
    with tempfile.TemporaryDirectory(prefix="bus-") as short:  # the name of a socket is short
        path = Path(short) / "bus"
        configuration = Path(short) / "bus.conf"
        configuration.write_text(_BUS.format(path=path))
        bus = Child([program, f"--config-file={configuration}", "--nofork"], log=Path(short, "log"))
        try:
            bus.wait_path(path)
            address = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={path}"}
            child = Child(command, log=log, env={**environment, **address})
            try:
                yield child
            finally:
                child.stop()
        finally:
            bus.stop()
