"""docs/SECURITY.md lists every limit by its name, with its value."""

from __future__ import annotations

import ast
import importlib
import re

from securecall.sip import limits
from tests.architecture.modules import modules
from tests.paths import PROJECT

ROW = re.compile(r"^\|[^|]*\| ([0-9 ]+)(?: KiB)? \|[^|]*\| `([A-Za-z_.]+)` \|$", re.MULTILINE)


def documented() -> dict[str, int]:
    text = (PROJECT / "docs" / "SECURITY.md").read_text(encoding="utf-8")
    found = {}
    for row in ROW.finditer(text):
        unit = 1024 if " KiB |" in row[0] else 1
        found["securecall." + row[2]] = int(row[1].replace(" ", "")) * unit
    return found


def value(name: str) -> object:
    found: object = None
    module, _, rest = name.rpartition(".")
    if module.endswith((".STRANGER", ".SERVER")):
        module, _, quota = module.rpartition(".")
        found = getattr(importlib.import_module(module), quota)
        return getattr(found, rest)
    return getattr(importlib.import_module(module), rest)


def named() -> set[str]:
    """Every `MOST_…` the package assigns at the top of a module."""
    found = set()
    for module in modules():
        if module.name.startswith("securecall.testing"):
            continue
        for node in ast.parse(module.path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign):
                target = node.targets[0]
            elif isinstance(node, ast.AnnAssign):
                target = node.target
            else:
                continue
            if isinstance(target, ast.Name) and target.id.startswith("MOST_"):
                found.add(f"{module.name}.{target.id}")
    return found


def test_the_documented_limits_are_those_of_the_code():
    listed = documented()
    assert listed == {name: value(name) for name in listed}


def test_every_limit_is_documented():
    quotas = {
        f"securecall.sip.limits.{q}.{part}"
        for q in ("STRANGER", "SERVER")
        for part in ("unanswered", "transactions")
    }
    assert documented().keys() == named() | quotas


def test_every_limit_of_sip_says_what_happens_beyond_it():
    tree = ast.parse((PROJECT / "securecall" / "sip" / "limits.py").read_text(encoding="utf-8"))
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target).startswith("MOST_"):
            assert isinstance(after, ast.Expr)
            assert isinstance(after.value, ast.Constant)
            assert re.search(r"beyond it [45]\d\d|answered with \d{3}|dropped", after.value.value)
    assert limits.__doc__
