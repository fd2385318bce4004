"""dev.py starts everywhere, and says the one thing to do where it cannot go on."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

import dev
from tests.paths import PROJECT

SOURCE = (PROJECT / "dev.py").read_text(encoding="utf-8")


def test_it_is_python_3_8_down_to_the_last_line():
    ast.parse(SOURCE, feature_version=(3, 8))


def test_it_imports_the_standard_library_alone():
    names = re.findall(r"^(?:from|import) ([\w.]+)", SOURCE, flags=re.MULTILINE)
    assert {name.partition(".")[0] for name in names} <= {
        *("__future__", "hashlib", "json", "os", "pathlib"),
        *("shutil", "subprocess", "sys", "tempfile", "time", "typing"),
    }


@pytest.mark.parametrize("task", dev.TASKS)
def test_the_help_names_every_task(task):
    assert f"python3 dev.py {task} " in dev.__doc__


def test_an_unknown_task_gets_the_help_and_a_failure(monkeypatch, capsys):
    monkeypatch.setattr(dev.sys, "argv", ["dev.py", "tset"])
    assert dev.main() == 2
    assert "dev.py test" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("tools", "minor", "said"),
    [
        ({"apt-get"}, "11", "apt install python3.11-venv"),
        ({"apt-get"}, "", "apt install python3 python3-venv"),
        ({"brew"}, "", "brew install python"),
        (set(), "", "https://www.python.org/downloads/"),
    ],
)
def test_without_a_usable_python_it_names_one_thing_to_do(monkeypatch, tools, minor, said):
    monkeypatch.setattr(dev.shutil, "which", lambda name: name if name in tools else None)
    monkeypatch.setattr(dev, "answer", lambda command: minor)
    with pytest.raises(SystemExit) as stopped:
        dev.explain_no_python()
    assert said in str(stopped.value.code)


def test_it_finds_this_very_python():
    assert dev.find_python()


def test_every_package_an_interop_test_asks_for_is_installed_by_servers():
    folder = PROJECT / "tests" / "interop"
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    asked = {
        p for group in re.findall(r'need\(\s*"[^"]+",\s*"([^"]+)"', text) for p in group.split()
    }
    assert asked
    assert asked <= set(dev.SERVERS)


@pytest.mark.parametrize(
    ("failed", "again", "code", "runs"),
    [
        ([], 0, 0, 1),
        (["test_a", "test_b"], 0, 0, 2),
        (["test_a", "test_b"], 1, 1, 2),
        (["test_a", "test_b", "test_c", "test_d"], 0, 1, 1),
        (None, 0, 1, 1),  # pytest itself could not run
    ],
)
def test_few_tests_with_real_peers_have_a_second_go_and_are_named(
    monkeypatch, capsys, failed, again, code, runs
):
    commands = []

    def run(*command):
        commands.append([str(part) for part in command])
        if len(commands) == 2:
            return again
        (memory,) = [p.partition("=")[2] for p in commands[0] if p.startswith("cache_dir=")]
        if failed:
            noted = Path(memory, "v", "cache", "lastfailed")
            noted.parent.mkdir(parents=True)
            noted.write_text(json.dumps(dict.fromkeys(failed, True)))
        return int(failed != [])

    monkeypatch.setattr(dev, "run", run)
    monkeypatch.setattr(dev, "environment", lambda *groups: "python")
    monkeypatch.setattr(dev, "apart", lambda *group: None)
    assert dev.interop(["--no-skip"]) == code
    assert len(commands) == runs
    assert all("--no-skip" in command for command in commands)
    assert all("--last-failed" in command for command in commands[1:])
    unsteady = failed if failed and code == 0 else []
    assert [f"UNSTEADY (failed, then passed): {name}" for name in unsteady] == [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("UNSTEADY")
    ]
