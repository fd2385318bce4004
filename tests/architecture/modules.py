"""The package's modules as text: docstrings, imports, public names; nothing is imported."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.paths import PROJECT

PACKAGE = PROJECT / "securecall"

# What makes a module a shell: it reaches the world, or waits for it.
# (pathlib and getpass are left out for `securecall.secret`, which reads where it is told to.)
WORLD = frozenset(
    {"asyncio", "concurrent", "http", "multiprocessing", "subprocess", "threading"}
    | {"select", "selectors", "signal", "socket", "socketserver", "ssl", "urllib.request"}
    | {"logging", "os", "shutil", "sqlite3", "tempfile", "time"}
    | {"aioice", "dns", "sounddevice", "uvloop"}
)
# What makes a core one that may draw entropy.
CHANCE = frozenset(
    {"os.urandom", "random", "secrets", "uuid", "cryptography", "OpenSSL", "websockets"}
)
KINDS = ("core", "crypto", "shell")


@dataclass(frozen=True)
class Module:
    """One module of the package."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def docstring(self) -> str:
        """The whole docstring, "" where there is none."""
        return ast.get_docstring(self.tree) or ""

    @property
    def purpose(self) -> str:
        """The docstring's first line."""
        return self.docstring.partition("\n")[0]

    @property
    def lines(self) -> int:
        """Lines of the file, empty ones and comments too."""
        return self.path.read_text(encoding="utf-8").count("\n")

    @property
    def package(self) -> str:
        """The first part under securecall, or the module itself at the top."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else parts[0]

    def imports(self) -> frozenset[str]:
        """Absolute dotted names of everything imported, at any depth of the code.

        Imports for type checking alone do not count: they never run.
        """
        return _imports(self)

    def needs(self, names: frozenset[str]) -> set[str]:
        """Which of these top-level or dotted names the module imports."""
        # Random bytes are chance, not the world, though they come by way of `os`.
        found = self.imports() - (CHANCE - names)
        return {n for n in names for i in found if i == n or i.startswith(n + ".")}

    def public(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
        """Classes and functions at the top whose name has no leading underscore."""
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        found = [n for n in self.tree.body if isinstance(n, kinds)]
        return [n for n in found if not n.name.startswith("_")]


@cache  # the slowest part of what looks at the whole package
def _imports(module: Module) -> frozenset[str]:
    found: set[str] = set()
    of_os: set[str] = set()
    waiting: list[ast.AST] = [module.tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and _is_name(node.value, "os"):
            of_os.add(f"os.{node.attr}")
        elif isinstance(node, ast.Call) and _last_name(node.func) == "import_module":
            # A late import by name counts, too, where the name stands there.
            name = node.args[0] if node.args else None
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                found.add(name.value)
        waiting.extend(ast.iter_child_nodes(node))
    return frozenset((found - {"os"}) | of_os if "os" in found else found)


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _last_name(node: ast.AST) -> str:
    return getattr(node, "attr", "") or getattr(node, "id", "")


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the package, in the order of their names."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PROJECT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path, ast.parse(path.read_text(encoding="utf-8"))))
    return tuple(sorted(found, key=lambda m: m.name))


def kinds() -> dict[str, str]:
    """Module -> core, crypto or shell, as the imports say; who imports a shell is one."""
    found = {
        m.name: "shell" if m.needs(WORLD) else "crypto" if m.needs(CHANCE) else "core"
        for m in modules()
    }
    shells: set[str] = set()
    while shells != (now := {name for name, kind in found.items() if kind == "shell"}):
        shells = now
        for module in modules():
            if any(i in shells or i.rpartition(".")[0] in shells for i in module.imports()):
                found[module.name] = "shell"
    return found
