"""How a diagnosis looks to people: a line for each check, then what is wrong and what to do."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Final

from securecall.cli.terminal import Terminal, safe

TITLES: Final = {
    "machine": "This machine",
    "dns": "DNS",
    "connect": "Connection",
    "tls": "Encryption",
    "certificate": "Certificate",
    "server": "SIP server",
    "registration": "Registration",
}
_MARKS: Final = {"ok": ("✓", "green"), "note": ("·", "dim"), "warning": ("!", "yellow")}
_FAULT: Final = ("✗", "red")
_MARGIN: Final = 15  # columns of the titles
_MOST: Final = 600

Row = Mapping[str, str]


def show(terminal: Terminal, fields: Mapping[str, object]) -> None:
    """Write a diagnosis; `fields` are those of the event."""
    findings = _rows(fields["findings"])
    terminal.say(terminal.paint(f"securecall doctor   {safe(str(fields['account']))}", "bold"))
    terminal.say()
    shown = ""
    for row in findings:
        title = TITLES.get(row["step"], row["step"]) if row["step"] != shown else ""
        shown = row["step"]
        _check(terminal, title, row)
    unseen = fields["not_looked_at"]
    _unseen(terminal, [str(text) for text in unseen] if isinstance(unseen, list) else [])
    faults = [row for row in findings if row["verdict"] == "fault"]
    warnings = [row for row in findings if row["verdict"] == "warning"]
    if faults:
        _explain(terminal, "What is wrong", "red", faults)
    if warnings:
        _explain(terminal, "What could be better", "yellow", warnings)
    if not faults:
        _all_well(terminal, findings)


def _check(terminal: Terminal, title: str, row: Row) -> None:
    mark, style = _MARKS.get(row["verdict"], _FAULT)
    lines = _wrapped(row["what"], terminal.width - _MARGIN - 4)
    text = lines[0] if row["verdict"] != "fault" else terminal.paint(lines[0], "bold")
    head = terminal.paint(f"{title:<{_MARGIN}}", "bold")
    terminal.say(f"  {head}{terminal.paint(mark, style)} {text}")
    for line in lines[1:]:
        terminal.say(" " * (_MARGIN + 4) + line)


def _unseen(terminal: Terminal, texts: Sequence[str]) -> None:
    terminal.say()
    for number, text in enumerate(texts):
        title = "Not looked at" if not number else ""
        for line in _wrapped(text, terminal.width - _MARGIN - 4):
            terminal.say(terminal.paint(f"  {title:<{_MARGIN}}  {line}", "dim"))
            title = ""


def _explain(terminal: Terminal, title: str, style: str, rows: Sequence[Row]) -> None:
    """The same cause at several places is told once."""
    of: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        of.setdefault((row["why"], row["mend"]), []).append(
            f"{TITLES.get(row['step'], row['step'])}: {row['what']}"
        )
    terminal.say()
    terminal.say(terminal.paint(title, "bold", style))
    for (why, mend), whats in of.items():
        terminal.say()
        for what in whats:
            _paragraph(terminal, what, "bold")
        _paragraph(terminal, why)
        _paragraph(terminal, mend, first="→ ")


def _all_well(terminal: Terminal, findings: Sequence[Row]) -> None:
    terminal.say()
    if any(row["step"] == "registration" for row in findings):
        terminal.say(terminal.paint("You can sign in to this account.", "green"))
    else:
        terminal.say(terminal.paint("Nothing wrong was found, as far as this looked.", "green"))


def _paragraph(terminal: Terminal, text: str, *styles: str, first: str = "") -> None:
    if not text:
        return
    for number, line in enumerate(_wrapped(text, terminal.width - 4 - len(first))):
        lead = first if not number else " " * len(first)
        terminal.say("  " + lead + terminal.paint(line, *styles))


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(safe(text, _MOST), max(20, width), break_on_hyphens=False) or [""]


def _rows(value: object) -> list[Row]:
    """The findings as texts; other shapes are passed over."""
    rows = value if isinstance(value, list) else []
    return [{str(k): str(v) for k, v in row.items()} for row in rows if isinstance(row, dict)]
