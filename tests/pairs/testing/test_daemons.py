"""Child processes of the lab: waited for, ended by their own process id, missed by name."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys

import pytest

from securecall.errors import LocalError
from securecall.secret import Secret
from securecall.testing import daemon
from securecall.testing.authority import Authority
from securecall.testing.daemons import (
    Daemon,
    Launch,
    Site,
    start_ejabberd,
    start_kamailio,
    start_prosody,
)

LISTENER = (
    "import signal, socket, sys\n"
    "{}\n"
    "s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
    "while True: s.accept()[0].close()"
)
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def start(folder, port, code):
    command = [sys.executable, "-c", code, str(port)]
    launch = Launch(command=command, folder=folder, ports={"any": port})
    return await Daemon.start("daemon", launch)


@pytest.mark.parametrize("trait", ["", STUBBORN])
def test_a_daemon_listens_once_started_and_is_gone_once_stopped(tmp_path, port, trait, monkeypatch):
    if trait:
        monkeypatch.setattr(daemon, "STOP_SECONDS", 0.2)

    async def main():
        async with await start(tmp_path, port, LISTENER.format(trait)):
            socket.create_connection(("127.0.0.1", port)).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))

    asyncio.run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_what_a_daemon_leaves_behind_ends_with_it(tmp_path, port):
    forks = f"import os; {STUBBORN}\nif os.fork(): signal.signal(signal.SIGTERM, signal.SIG_DFL)"

    async def main():
        code = LISTENER.format("").replace("while", f"{forks}\nwhile")
        async with await start(tmp_path, port, code):
            pass
        async with asyncio.timeout(10):  # it was killed; the system may take a moment to do it
            while listens(port):  # noqa: ASYNC110 - nothing tells of the end of another's child
                await asyncio.sleep(0)

    asyncio.run(main())


def test_a_daemon_is_started_again_where_it_was_even_after_a_crash(tmp_path, port):
    async def main():
        code = f"print('hello', flush=True)\n{LISTENER.format('')}"
        async with await start(tmp_path, port, code) as daemon:
            assert daemon.said() == "hello\n"
            await daemon.crash()
            assert not listens(port)
            await daemon.restart()
            assert listens(port)
            assert daemon.said() == "hello\n"

    asyncio.run(main())


def test_a_daemon_that_accepts_is_waited_for_until_it_is_ready(tmp_path, port):
    asked = []

    async def ready():
        asked.append(listens(port))
        return len(asked) == 3

    async def main():
        command = [sys.executable, "-c", LISTENER.format(""), str(port)]
        launch = Launch(command=command, folder=tmp_path, ports={"any": port}, ready=ready)
        async with await Daemon.start("daemon", launch):
            assert asked == [True, True, True]

    asyncio.run(main())


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_a_daemon_that_ends_by_itself_is_quoted(tmp_path, port):
    with pytest.raises(LocalError, match="no such luck"):
        asyncio.run(start(tmp_path, port, "raise SystemExit('no such luck')"))


def test_a_daemon_that_never_listens_is_ended(tmp_path, port, monkeypatch):
    monkeypatch.setattr(daemon, "READY_SECONDS", 0.2)
    code = "import os, sys, time\nprint('pid', os.getpid(), flush=True)\ntime.sleep(600)"
    with pytest.raises(LocalError, match="does not listen"):
        asyncio.run(start(tmp_path, port, code))
    words = (tmp_path / "daemon.log").read_text().split()
    if len(words) > 1:  # it may have been ended before it said anything
        with pytest.raises(ProcessLookupError):
            os.kill(int(words[1]), 0)


def site(folder, password="easy to type"):
    authority = Authority.make(folder)
    users = {"alice": Secret(password)}
    return Site(folder / "daemon", "lab.test", users, authority.issue("lab.test"), authority.pem)


@pytest.mark.parametrize(
    ("begin", "package"),
    [
        (start_kamailio, "kamailio kamailio-tls-modules"),
        (start_prosody, "prosody prosody-modules lua-unbound"),
        (start_ejabberd, "ejabberd"),
    ],
)
def test_a_server_that_is_not_installed_is_named(tmp_path, monkeypatch, begin, package):
    monkeypatch.setattr(daemon.shutil, "which", lambda *_, **__: None)
    with pytest.raises(LocalError, match=f"apt install {package}$"):
        asyncio.run(begin(site(tmp_path)))


@pytest.mark.parametrize("begin", [start_kamailio, start_prosody, start_ejabberd])
@pytest.mark.parametrize("password", ['a"b', "a\\b", "$(x)", "a\nb"])
def test_no_password_ends_its_place_in_a_configuration(tmp_path, monkeypatch, begin, password):
    monkeypatch.setattr(daemon.shutil, "which", lambda *_, **__: sys.executable)
    with pytest.raises(LocalError, match="cannot hold"):
        asyncio.run(begin(site(tmp_path, password)))


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
@pytest.mark.parametrize("begin", [start_kamailio, start_prosody, start_ejabberd])
def test_passwords_are_written_for_their_owner_alone(tmp_path, monkeypatch, begin):
    monkeypatch.setattr(daemon.shutil, "which", lambda *_, **__: "/bin/false")
    monkeypatch.setattr(daemon.os, "geteuid", lambda: 1000)
    with pytest.raises(LocalError, match="ended by itself"):
        asyncio.run(begin(site(tmp_path)))
    holding = [
        path
        for path in (tmp_path / "daemon").rglob("*")
        if path.is_file() and "easy to type" in path.read_text()
    ]
    assert len(holding) == 1
    assert stat.S_IMODE(holding[0].stat().st_mode) == 0o600
