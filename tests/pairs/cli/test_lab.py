"""The lab as a person or a program runs it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.pairs.testing.phone import Phone, close_all
from tests.paths import PROJECT
from tests.sip_scripts import request

posix = pytest.mark.skipif(os.name != "posix", reason="signals and file modes are POSIX")


def command(*arguments, env=None):
    return subprocess.Popen(
        [sys.executable, "-m", "securecall.cli", "lab", *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def running(*arguments, env=None):
    """A lab and what it said when it was ready."""
    with command(*arguments, "--no-prosody", "--json", env=env) as process:
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield process, json.loads(line)
        finally:
            if process.poll() is None:
                process.terminate()


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_it_and_nothing_is_left(tmp_path, number, code):
    with running(env={"TMPDIR": str(tmp_path)}) as (process, ready):
        assert ready["type"] == "lab"
        assert Path(ready["folder"]).parent == tmp_path
        for person in ready["people"]:
            path = Path(person["password_file"])
            assert path.read_text() == person["password"] + "\n"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, "", "")
    assert list(tmp_path.iterdir()) == []


def test_what_it_prints_is_enough_to_register(tmp_path):
    keep = tmp_path / "kept"
    with running("--keep", keep, "--user", "carol:of my choice") as (_, ready):
        assert [p["name"] for p in ready["people"]] == ["alice", "bob", "carol"]
        assert ready["people"][2]["password"] == "of my choice"
        lab = SimpleNamespace(**ready)

        async def main():
            for person in ready["people"]:
                phone = await Phone.connect(lab, person["name"], person["password"])
                assert (await phone.register()).status == 200
            await close_all()

        asyncio.run(main())
    for name in ("authority.pem", "carol.password"):
        assert (keep / name).exists()


def test_the_commands_name_what_is_there(tmp_path):
    with running("--keep", tmp_path) as (_, ready):
        for name, wait in (("bob", "answer"), ("alice", "call sip:bob@lab.test")):
            go, init, talk = ready["commands"][name]
            assert go == f"cd {tmp_path}"
            assert init.endswith(f"init --home {name} --claim sip:{name}@lab.test")
            assert talk.endswith(
                f"{wait} --home {name} --account sip:{name}@lab.test "
                f"--server 127.0.0.1:{ready['port']} --authorities authority.pem "
                f"--password-file {name}.password"
            )
            assert (tmp_path / f"{name}.password").exists()


@posix
def test_people_see_what_it_is_what_to_type_and_what_passes(tmp_path):
    with command("--keep", tmp_path, "--user", "alice:of my choice", "--no-prosody") as process:
        said = []
        while "What passes through" not in "".join(said):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            said.append(line)
        page = "".join(said)
        assert "Not for production" in page
        assert "not here; Prosody serves it" in page
        port = int(page.partition("127.0.0.1:")[2].partition(",")[0])
        lab = SimpleNamespace(
            host="127.0.0.1", port=port, domain="lab.test", authorities=tmp_path / "authority.pem"
        )

        async def main():
            phone = await Phone.connect(lab, "alice", "of my choice")
            await phone.register()
            hostile = request("OPTIONS", "sip:lab.test", From='"\x1b[31m" <sip:a@b>;tag=1')
            assert (await phone.ask(hostile)).status == 200
            await close_all()

        asyncio.run(main())
        passed = [process.stdout.readline().split()[1:4] for _ in range(3)]
        process.terminate()
        rest, err = process.communicate(timeout=30)
    assert passed[:2] == [["alice", "REGISTER", "401"], ["alice", "REGISTER", "200"]]
    assert (process.returncode, err) == (0, "")
    assert "\x1b" not in page + "".join(map(str, passed)) + rest
    assert max(len(line) for line in page.replace(str(tmp_path), "/folder").splitlines()) < 80


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
def test_only_this_machine_is_served_unless_danger_is_asked_for(tmp_path, host):
    with command("--host", host, env={"TMPDIR": str(tmp_path)}) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (2, "")
    assert "loopback" in err
    assert list(tmp_path.iterdir()) == []


def test_with_danger_lan_it_serves_others(tmp_path):
    with running("--host", "0.0.0.0", "--danger-lan") as (_, ready):
        assert (ready["host"], ready["lan"]) == ("0.0.0.0", True)
