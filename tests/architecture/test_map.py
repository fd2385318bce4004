"""docs/architecture.md and docs/dependencies.md say what is so."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import sysconfig
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

from tests.architecture import module_map
from tests.architecture.installed import direct, licence_of, optional
from tests.architecture.modules import CHANCE, KINDS, WORLD, modules
from tests.paths import PROJECT

DEPENDENCIES = (PROJECT / "docs" / "dependencies.md").read_text(encoding="utf-8")
# audioop left the standard library with 3.13 (PEP 594); its absence is handled.
STANDARD = sys.stdlib_module_names | {"audioop", "securecall"}
# Licence names of packages that state them only as classifiers.
SPDX = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
}


# One test for all modules: five hundred cases each would take longer to collect than to try.
def test_each_docstring_begins_with_one_sentence():
    begins = {module.name: module.purpose for module in modules()}
    wrong = {name: said for name, said in begins.items() if not said.endswith(".") or ". " in said}
    assert wrong == {}, "no docstring, or its first line is not one sentence"


def test_each_module_is_on_the_map_with_its_purpose():
    listed = module_map.listed()
    missing = [module.name for module in modules() if module.name not in listed]
    assert missing == [], "run: python3 dev.py map"
    kinds = {module.name: listed[module.name][0] for module in modules()}
    assert {name: kind for name, kind in kinds.items() if kind not in KINDS} == {}
    rows = set(module_map.MAP.read_text(encoding="utf-8").splitlines())
    changed = [m.name for m in modules() if module_map.row(m, kinds[m.name]) not in rows]
    assert changed == [], "their purpose changed; run: python3 dev.py map"


def test_the_map_lists_nothing_that_is_gone():
    assert set(module_map.listed()) <= {m.name for m in modules()}, "run: python3 dev.py map"


def test_a_core_reaches_neither_world_nor_chance():
    wrong, listed = {}, module_map.listed()
    for module in modules():
        kind, _ = listed.get(module.name, ("unlisted", ""))
        barred = {"core": WORLD | CHANCE, "crypto": WORLD}.get(kind, frozenset())
        if found := module.needs(barred):
            wrong[module.name] = found
    assert wrong == {}


def test_a_core_imports_no_shell():
    kinds = {name: kind for name, (kind, _) in module_map.listed().items()}
    shells = {name for name, kind in kinds.items() if kind == "shell"}
    wrong = [
        (module.name, name)
        for module in modules()
        if kinds.get(module.name) in {"core", "crypto"}
        for name in module.imports()
        if name in shells or name.rpartition(".")[0] in shells
    ]
    assert wrong == []


def test_every_public_name_has_a_docstring():
    bare = {m.name: [n.name for n in m.public() if not ast.get_docstring(n)] for m in modules()}
    assert {name: found for name, found in bare.items() if found} == {}


def test_layers_hold_and_no_two_modules_need_each_other():
    tool = Path(sysconfig.get_path("scripts")) / "lint-imports"
    done = subprocess.run(
        [str(tool), "--no-cache"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# ------------------------------------------------------------------ dependencies


def rows(columns: int) -> list[list[str]]:
    """The rows of the tables with this many columns, heads left out."""
    lines = [line for line in DEPENDENCIES.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    return [c for c in cells if len(c) == columns and c[0] not in {"package", "extra", "---"}]


# Under the GPL, so in an environment of its own.
ELSEWHERE = {"pjsua2": "pjsua2-python"}


@cache
def importable() -> dict[str, list[str]]:
    """Top-level module -> distributions that have a part in it, canonical."""
    found = metadata.packages_distributions()
    return {top: [n.lower().replace("_", "-") for n in names] for top, names in found.items()}


def package_of(top: str) -> str:
    """The distribution of a top-level module.

    Of several that share one (opentelemetry) it is the one on the page; one that is not installed
    here is named like its module, or begins so.
    """
    here = importable().get(top, [ELSEWHERE.get(top, top)])
    names = [*here, *(p for p in allowed() if p.startswith(f"{top}-"))]
    return next((name for name in names if name in allowed()), names[0])


def used() -> dict[str, set[str]]:
    """Distribution -> modules of ours that import it, without the leading package name."""
    found: dict[str, set[str]] = {}
    for module in modules():
        for name in module.imports():
            top = name.partition(".")[0]
            if top not in STANDARD:
                found.setdefault(package_of(top), set()).add(
                    module.name.removeprefix("securecall.")
                )
    return found


def doors(package: str, cell: str) -> set[str]:
    """The doors a table row allows."""
    if package == "cryptography":
        _, _, rest = DEPENDENCIES.partition(module_map.CRYPTO_BEGIN)
        cell = rest.partition(module_map.CRYPTO_END)[0]
    return set(re.findall(r"`([\w.]+)`", cell))


def allowed() -> dict[str, set[str]]:
    """Distribution -> its doors."""
    base = {row[0]: doors(row[0], row[4]) for row in rows(6)}
    return base | {row[1]: doors(row[1], row[4]) for row in rows(5)}


def test_the_page_lists_exactly_the_base_dependencies():
    assert sorted(row[0] for row in rows(6)) == sorted(direct())


def test_the_page_lists_exactly_the_extras():
    wanted = {(extra, name) for extra, names in optional().items() for name in names}
    assert {(row[0], row[1]) for row in rows(5)} == wanted


@pytest.mark.parametrize("row", rows(6), ids=lambda row: row[0])
def test_the_page_names_the_licence_the_package_states(row: list[str]):
    stated = licence_of(row[0])
    assert SPDX.get(stated, stated) == row[1]


def test_third_party_packages_are_imported_only_through_their_doors():
    unknown = {p: m for p, m in used().items() if p not in allowed()}
    assert unknown == {}, "not in docs/dependencies.md"
    wrong = {p: m - allowed()[p] for p, m in used().items() if m - allowed()[p]}
    assert wrong == {}, "not listed as doors (cryptography: python3 dev.py map)"
