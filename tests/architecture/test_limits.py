"""docs/SECURITY.md lists every limit by its name, with its value."""

from __future__ import annotations

import ast
import importlib
import re

from securecall.sip import limits
from tests.paths import PROJECT

ROW = re.compile(r"^\|[^|]*\| ([0-9 ]+)(?: KiB)? \|[^|]*\| `([A-Za-z0-9_.]+)` \|$", re.MULTILINE)


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


def test_the_documented_limits_are_those_of_the_code():
    listed = documented()
    assert listed == {name: value(name) for name in listed}


def test_every_limit_of_sip_is_documented():
    names = {name for name in vars(limits) if name.startswith("MOST_")}
    names |= {f"{q}.{part}" for q in ("STRANGER", "SERVER") for part in limits.Quota.__slots__}
    assert {f"securecall.sip.limits.{name}" for name in names} <= documented().keys()


def test_every_limit_of_sip_says_what_happens_beyond_it():
    tree = ast.parse((PROJECT / "securecall" / "sip" / "limits.py").read_text(encoding="utf-8"))
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target).startswith("MOST_"):
            assert isinstance(after, ast.Expr)
            assert isinstance(after.value, ast.Constant)
            assert re.search(r"beyond it [45]\d\d|answered with \d{3}|dropped", after.value.value)
    assert limits.__doc__
