"""The public names: all there, all documented, and the same for a type checker as at run time."""

from __future__ import annotations

import ast
import inspect

import securecall
from tests.architecture.installed import project
from tests.architecture.modules import modules

NAMES = sorted(set(getattr(securecall, "__all__", ())) - {"__version__"})


def test_each_name_is_there_and_documented():
    assert NAMES
    values = {name: getattr(securecall, name, None) for name in NAMES}
    assert [name for name, value in values.items() if value is None] == []
    assert [name for name, value in values.items() if not inspect.getdoc(value)] == []


def test_a_type_checker_sees_the_same_names_as_a_program():
    face = next(module for module in modules() if module.name == "securecall")
    seen: set[str] = set()
    for node in face.tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for part in node.body:
                if isinstance(part, ast.ImportFrom):
                    seen.update(alias.asname or alias.name for alias in part.names)
                elif isinstance(part, ast.Assign):
                    seen.update(ast.unparse(target) for target in part.targets)
    assert seen == set(NAMES)


def test_the_version_is_the_one_of_the_project():
    assert securecall.__version__ == project()["version"]
