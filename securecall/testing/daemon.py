"""A server of other people's making as a child process: started, waited for, restarted, ended.

Configured in a folder, listening on loopback alone, ended by its own process id.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from securecall.errors import LocalError
from securecall.secret import Secret
from securecall.transport.tls import PemPair

READY_SECONDS: Final = 30.0
STOP_SECONDS: Final = 5.0
_HOST: Final = "127.0.0.1"
_LAST_WORDS: Final = 400  # characters of the log shown when a daemon ends by itself


@dataclass(frozen=True, slots=True)
class Site:
    """What a daemon serves.

    Attributes:
        folder: For its configuration, log and data; its own.
        domain: Of its people's addresses.
        users: Name -> password.
        certificate: Proves the domain.
        authorities: PEM file of the authority that issued it.
    """

    folder: Path
    domain: str
    users: Mapping[str, Secret]
    certificate: PemPair
    authorities: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a daemon is started, the first time and again.

    Attributes:
        command: Program and arguments; it stays in the foreground.
        folder: Its working folder, where its log goes.
        ports: By purpose; all of them have to accept connections.
        user: Run as this user, None for ourselves.
        environment: Beside our own.
        ready: Asked, once the ports accept, until it says yes.
    """

    command: Sequence[str | Path]
    folder: Path
    ports: Mapping[str, int]
    user: str | None = None
    environment: Mapping[str, str] | None = None
    ready: Callable[[], Awaitable[bool]] | None = None


class Daemon:
    """A running child process. Leave the block to end it.

    Attributes:
        name: For people.
        ports: What it listens on, by purpose.
    """

    def __init__(self, name: str, launch: Launch, process: asyncio.subprocess.Process) -> None:
        """Use `Daemon.start`, or the function of a server, such as `start_prosody`."""
        self.name = name
        self.ports = launch.ports
        self._launch = launch
        self._process = process

    @classmethod
    async def start(cls, name: str, launch: Launch) -> Self:
        """Start it and wait until it serves.

        Raises:
            LocalError: it ended, or does not listen in time.
        """
        daemon = cls(name, launch, await _spawn(name, launch))
        await daemon._wait_ready_or_stop()
        return daemon

    async def restart(self) -> None:
        """End it and start it again: the same ports, and what data it has.

        Raises:
            LocalError: it ended, or does not listen in time.
        """
        await self.stop()
        self._process = await _spawn(self.name, self._launch)
        await self._wait_ready_or_stop()

    async def __aenter__(self) -> Self:
        """It runs since it was made."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """End it."""
        await self.stop()

    async def stop(self) -> None:
        """Ask it to end, wait, insist."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                _ = await self._process.wait()
        except TimeoutError:
            await self.crash()
        self._end_group()

    async def crash(self) -> None:
        """End it as a failure of power does: it is not asked, and saves nothing."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        _ = await self._process.wait()
        self._end_group()

    def said(self) -> str:
        """What it printed since it was started last."""
        return _log(self.name, self._launch).read_text(encoding="utf-8", errors="replace")

    def _end_group(self) -> None:
        # one that is ended while it starts may leave children; they are in the group it leads
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _wait_ready_or_stop(self) -> None:
        try:
            await self._wait_ready()
        except BaseException:
            await self.stop()
            raise

    async def _wait_ready(self) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                for port in self.ports.values():
                    while not await _accepts(port):
                        await self._pause()
                while self._launch.ready and not await self._launch.ready():
                    await self._pause()
        except TimeoutError as e:
            raise LocalError(f"{self.name} does not listen: {self._last_words()}") from e
        self._require_alive()  # a daemon may accept and end right after

    async def _pause(self) -> None:
        self._require_alive()
        await asyncio.sleep(0.02)

    def _require_alive(self) -> None:
        if self._process.returncode is not None:
            raise LocalError(f"{self.name} ended by itself: {self._last_words()}")

    def _last_words(self) -> str:
        return self.said().strip()[-_LAST_WORDS:] or "it said nothing"


async def _spawn(name: str, launch: Launch) -> asyncio.subprocess.Process:
    with _log(name, launch).open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *launch.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=launch.folder,
            env={**os.environ, **(launch.environment or {})},
            start_new_session=True,  # Ctrl-C at the terminal is for us; we stop it
            user=launch.user,
            group=launch.user,
            extra_groups=() if launch.user else None,
        )


def _log(name: str, launch: Launch) -> Path:
    return launch.folder / f"{name}.log"


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(_HOST, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def is_installed(name: str) -> bool:
    """Whether a program is there, where `program` looks."""
    return _path(name) is not None


def program(name: str, packages: str) -> str:
    """Find the path of a program.

    Raises:
        LocalError: it is not installed; names the packages that have it.
    """
    path = _path(name)
    if path is None:
        raise LocalError(f"{name} is not installed here. On Debian: apt install {packages}")
    return path


def _path(name: str) -> str | None:
    # Debian keeps daemons where only root's PATH looks
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """Find a loopback port that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    path.touch(mode=0o600)
    _ = path.write_text(text, encoding="utf-8")


def copied(certificate: PemPair, folder: Path) -> PemPair:
    """Copy it into the daemon's own folder, which another user may come to own."""
    own = PemPair(certificate=folder / "chain.pem", key=folder / "key.pem")
    write_private(own.certificate, certificate.certificate.read_text(encoding="ascii"))
    if own.key is not None and certificate.key is not None:
        write_private(own.key, certificate.key.read_text(encoding="ascii"))
    return own


async def given_to(user: str, folder: Path) -> str | None:
    """Make the folder the property of the user a server's package made, if we can.

    Returns:
        Whom to run it as: that user, where we are root and it can get there; None for ourselves.
    """
    if os.name != "posix" or os.geteuid() != 0 or _no_other_user() or not _open_to_all(folder):
        return None
    await asyncio.to_thread(_give, folder, user)
    return user


def _no_other_user() -> bool:
    """Tell whether we are in a user namespace where root is all there is."""
    try:
        mapped = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
    except OSError:
        return False
    return mapped[2:] == ["1"]


def _open_to_all(folder: Path) -> bool:
    # Not opened by us: others close such folders again, pytest its own whenever one starts.
    _, *above = folder.resolve().parents
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in above)


def _give(folder: Path, user: str) -> None:
    """Make a folder another user's, and let that user come by."""
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, user, user)
    folder.parent.chmod(folder.parent.stat().st_mode | 0o111)


def escaped(password: Secret) -> str:
    """Give a password as it stands inside double quotes.

    Raises:
        LocalError: it holds what cannot be written there.
    """
    text = password.reveal().decode()
    if not text.isprintable() or set(text) & set('"\\$'):
        raise LocalError('a password for this server cannot hold ", \\ or $')
    return text
