"""The table of modules in docs/architecture.md: read, compared, rewritten.

`python -m tests.architecture.module_map --write` brings it up to date, and with it the list of
modules that use cryptography in docs/dependencies.md. The kind of a module that
the table knows already is kept: to turn a core into a shell is a decision, taken by editing the
table by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.architecture.modules import Module, kinds, modules
from tests.paths import PROJECT

MAP = PROJECT / "docs" / "architecture.md"
BEGIN, END = "<!-- modules: begin -->", "<!-- modules: end -->"
DEPENDENCIES = PROJECT / "docs" / "dependencies.md"
CRYPTO_BEGIN, CRYPTO_END = "<!-- cryptography: begin -->", "<!-- cryptography: end -->"
_ROW = re.compile(r"^\| `(?P<name>[\w.]+)` \| (?P<kind>\w+) \| (?P<purpose>.*) \|$", re.MULTILINE)


def listed() -> dict[str, tuple[str, str]]:
    """Module name -> (kind, purpose) as the document has them."""
    text = MAP.read_text(encoding="utf-8")
    return {m["name"]: (m["kind"], m["purpose"]) for m in _ROW.finditer(text)}


def row(module: Module, kind: str) -> str:
    """One line of the table."""
    return f"| `{module.name}` | {kind} | {module.purpose.replace('|', chr(92) + '|')} |"


def table() -> str:
    """The table as the code says it, kinds as the document says them."""
    known = listed()
    seen = kinds()
    rows = [row(m, known.get(m.name, (seen[m.name], ""))[0]) for m in modules()]
    return "\n".join(["| module | kind | purpose |", "| --- | --- | --- |", *rows])


def users_of_cryptography() -> str:
    """The modules that import cryptography, and what of it, one line each."""
    rows = []
    for module in modules():
        parts = {i for i in module.imports() if i.partition(".")[0] == "cryptography"}
        names = sorted({i.rpartition(".")[2] for i in parts})
        if parts:
            rows.append(f"* `{module.name.removeprefix('securecall.')}`: {', '.join(names)}")
    return "\n".join(rows)


def _replace(path: Path, begin: str, end: str, text: str) -> None:
    old = path.read_text(encoding="utf-8")
    before, _, rest = old.partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def write() -> None:
    """Bring both documents up to date."""
    _replace(MAP, BEGIN, END, table())
    _replace(DEPENDENCIES, CRYPTO_BEGIN, CRYPTO_END, users_of_cryptography())


if __name__ == "__main__":
    if "--write" in sys.argv:
        write()
        print(
            "docs/architecture.md and docs/dependencies.md are up to date; look at the difference"
        )
    else:
        print(table())
