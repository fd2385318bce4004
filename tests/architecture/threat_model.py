"""The table of docs/threat-model.md: compared with the code, rewritten with `--write`."""

from __future__ import annotations

import sys

from securecall.testing.attacks.threats import THREATS, Threat
from tests.paths import PROJECT

PAGE = PROJECT / "docs" / "threat-model.md"
BEGIN, END = "<!-- threats: begin -->", "<!-- threats: end -->"


def row(threat: Threat) -> str:
    """One line of the table."""
    where = [f"{len(threat.attack)} trials"] if threat.attack else []
    where += [f"`{path}`" for path in threat.tests]
    where += [f"not yet: {threat.lacking}"] if threat.lacking else []
    cells = (threat.id, threat.adversary.value, threat.title, threat.expected, "; ".join(where))
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """The table as the code has it."""
    head = [
        "| | by | what she does | what has to come of it | shown by |",
        "| --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *map(row, THREATS)])


def write() -> None:
    """Bring the page up to date."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    _ = PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__" and "--write" in sys.argv:
    write()
