"""dev.py starts everywhere, and says the one thing to do where it cannot go on."""

from __future__ import annotations

import ast
import re

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
        *("shutil", "subprocess", "sys", "time", "typing"),
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
