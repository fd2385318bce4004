"""What people see of attacks: each trial as it is made, its account, and the table of many."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Final

from securecall.cli.terminal import Terminal

_TITLES: Final = {
    "control": ("People without the protection: the attack has to succeed", "yellow"),
    "ours": ("securecall: the attack has to fail", "green"),
    "limit": ("Nothing could prevent this: it has to be told", "cyan"),
}
_NAME: Final = 34  # columns of a trial's name
_ROOM: Final = 24  # at least, for what came of it

Fields = Mapping[str, object]


class AttackScreen:
    """Remembers which kind of trial was shown last, to put titles between them."""

    def __init__(self, terminal: Terminal) -> None:
        """Show on this terminal."""
        self._terminal = terminal
        self._kind = ""

    def begin(self, f: Fields) -> None:
        """Show who attacks what."""
        paint, say = self._terminal.paint, self._terminal.say
        self._kind = ""
        say()
        say(f" {paint(str(f['threat']), 'bold', 'red')}  {paint(str(f['title']), 'bold')}")
        say(paint(f"     by: {f['adversary']}. Has to come of it: {f['expected']}", "dim"))

    def attacking(self, f: Fields) -> None:
        """Show what goes on."""
        text = f"   {f['threat']} … {f['trial']}"
        self._terminal.show(self._terminal.paint(text, "dim"))

    def trial(self, f: Fields) -> None:
        """Show what came of one trial."""
        terminal, paint = self._terminal, self._terminal.paint
        kind = str(f["against"])
        title, style = _TITLES[kind]
        terminal.clear()
        if kind != self._kind:
            self._kind = kind
            terminal.say()
            terminal.say(f"   {paint(title, style)}")
        mark = paint("✓", style) if f["held"] else paint("✗", "red", "bold")
        name = str(f["trial"])
        beside = terminal.width >= _NAME + _ROOM + 8  # else what came of it stands below
        margin = _NAME + 6 if beside else 8
        room = terminal.width - margin - 2
        lines = textwrap.wrap(_came_to(f), max(room, _ROOM), break_on_hyphens=False) or [""]
        if beside:
            name = f"{name.ljust(_NAME)} {lines.pop(0)}"
        terminal.say(f"   {mark} {name}")
        for line in lines:
            terminal.say(" " * margin + line)

    def end(self, f: Fields) -> None:
        """Show the account of a threat."""
        paint, say = self._terminal.paint, self._terminal.say
        self._terminal.clear()
        say()
        if f["held"]:
            say(
                paint("   Held. ", "green", "bold")
                + f"{_count(f['controls'], 'control')} succeeded, "
                f"{_count(f['protections'], 'attack')} on ours failed; "
                f"{f['readable_bytes']} bytes of ours can be read. "
                + paint(f"({f['seconds']} s)", "dim")
            )
        else:
            say(paint("   Not held:", "red", "bold"))
            self._failures(f)
        if f["lacking"]:
            say(paint(f"   Not built yet: {f['lacking']}", "dim"))

    def table(self, rows: list[Fields]) -> None:
        """Show one line for each threat: its control, and ours."""
        terminal, paint, say = self._terminal, self._terminal.paint, self._terminal.say
        terminal.clear()
        wide = max(20, (terminal.width - 18) // 2)
        say()
        say(paint(f"   {'':5} {'control'.ljust(wide)} ours", "bold"))
        for f in rows:
            control, ours, style = _cells(f)
            left = textwrap.wrap(control, wide) or [""]
            right = textwrap.wrap(ours, wide + 4) or [""]
            height = max(len(left), len(right))
            left += [""] * (height - len(left))
            right += [""] * (height - len(right))
            for number, (one, other) in enumerate(zip(left, right, strict=True)):
                name = str(f["threat"]) if not number else ""
                say(f"   {paint(name.ljust(5), 'bold')} {one.ljust(wide)} {paint(other, style)}")
        run = [f for f in rows if f["controls"] or f["protections"]]
        failed = [f for f in run if not f["held"]]
        say()
        for f in failed:
            say(paint(f"   {f['threat']} did not hold:", "red", "bold"))
            self._failures(f)
        trials = sum(map(_trials, run))
        tests = sum(bool(f["tests"]) and not _trials(f) and not f["lacking"] for f in rows)
        lacking = sum(bool(f["lacking"]) and not _trials(f) for f in rows)
        say(
            f"   {len(run) - len(failed)} of {len(run)} threats held in {trials} trials; "
            f"{tests} are for the tests alone, {lacking} wait for what is not built yet."
        )

    def threats(self, rows: list[Fields]) -> None:
        """List what there is."""
        paint, say = self._terminal.paint, self._terminal.say
        by = ""
        for f in sorted(rows, key=lambda f: str(f["adversary"])):
            if f["adversary"] != by:
                by = str(f["adversary"])
                say()
                say(f" {paint(by, 'bold', 'cyan')}")
            can = "securecall attack run" if _trials(f) else ""
            note = "" if can else ("not yet" if f["lacking"] else "in the tests")
            count = f"{_trials(f)} trials" if can else note
            style = "dim" if note else "bold"
            name = paint(str(f["threat"]).ljust(4), style)
            say(f"   {name} {f['title']} {paint(f'({count})', 'dim')}")
        say()
        say(paint("   securecall attack run A1      shows one; `run all` runs every one", "dim"))

    def _failures(self, f: Fields) -> None:
        failed = f["failed"]
        for text in failed if isinstance(failed, list) else ():
            self._terminal.say(self._terminal.paint(f"     {text}", "red"))


def _came_to(f: Fields) -> str:
    """One trial in words."""
    problems, refusals = f["problems"], f["refusals"]
    if isinstance(problems, list) and problems:
        return "; ".join(map(str, problems))
    parts = []
    if f["against"] != "control" and isinstance(refusals, list) and refusals:
        ended = ", both ended" if f["both_ended"] else ""
        parts.append(", ".join(map(str, refusals)) + ended)
    elif f["against"] == "ours" and f["level"]:
        parts.append(f"{f['level']}")
    if f["got"]:
        parts.append(str(f["got"]))
    if f["against"] != "ours" and f["server_could"]:
        parts.append(f"the report says of the server: {f['server_could']}")
    return "; ".join(parts)


def _cells(f: Fields) -> tuple[str, str, str]:
    """Control, ours, and the style of ours."""
    if not _trials(f):
        if f["lacking"]:
            return "", f"not yet: {f['lacking']}", "dim"
        return "", "in the tests", "dim"
    control = str(f["control_got"]) or _count(f["controls_succeeded"], "control")
    if not f["held"]:
        return control, "NOT HELD", "red"
    errors = f["errors"]
    words = ", ".join(map(str, errors)) if isinstance(errors, list) else ""
    ours = words or str(f["ours_got"])
    return control, f"{_count(f['protections_held'], 'attack')} failed: {ours}", "green"


def _trials(f: Fields) -> int:
    counts = (f["controls"], f["protections"], f["limits"])
    return sum(count for count in counts if isinstance(count, int))


def _count(number: object, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
