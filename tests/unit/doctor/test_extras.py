"""Which extras the doctor looks for."""

from __future__ import annotations

import importlib.util
import tomllib

from securecall.doctor import examination
from tests.paths import PROJECT


def test_what_it_looks_for_are_extras_of_the_package_and_what_they_bring(monkeypatch):
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    for extra, module in examination._EXTRAS.items():
        needs = project["optional-dependencies"][extra]
        assert any(need.replace("-", "_").startswith(module) for need in needs)
    find = importlib.util.find_spec
    for there in (True, False):
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, there=there: (
                (find("json") if there else None) if name == "av" else find(name)
            ),
        )
        assert ("video" in examination._machine().missing) is not there
