"""The demo's screen: acts, short sentences, moving meters, pauses to read; or nothing at all."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from securecall.cli.output import PeopleOutput, safe_lines
from securecall.cli.report_screen import fitted_page
from securecall.cli.terminal import Terminal

_WIDTH = 76
_BARS = 44
_INDENT = "   "
# How a page is coloured: by the first word of a line, until the next of these.
_STYLES = {
    "Call": ("dim",),
    "Verified": ("green", "bold"),
    "Keys:": ("dim",),
    "[key]": ("green",),
    "[!]": ("red",),
    "[meta]": ("yellow",),
    "": ("dim",),
    "Signed": ("green",),
    "This": ("dim",),
}


class Stage:
    """Where the demo plays.

    Attributes:
        terminal: None plays in the dark, for `--json`.
        patient: Pause, so that people can read.
    """

    def __init__(self, output: object, *, patient: bool) -> None:
        """Take the terminal of the command's output, if it has one."""
        self.terminal: Terminal | None = None
        if isinstance(output, PeopleOutput):
            self.terminal = output.terminal
        self._acts = 0
        self.patient = patient and self.terminal is not None and self.terminal.live

    @property
    def _width(self) -> int:
        return min(_WIDTH, self.terminal.width - 2) if self.terminal is not None else _WIDTH

    @property
    def bars(self) -> int:
        """How many bars of a trace have room."""
        return min(_BARS, max(8, self._width - len(_INDENT) - 28))

    def title(self, left: str, right: str) -> None:
        """Open the performance."""
        if self.terminal is not None:
            gap = " " * max(1, self._width - len(left) - len(right))
            paint = self.terminal.paint
            self.terminal.say()
            self.terminal.say(f" {paint(left, 'bold', 'cyan')}{gap}{paint(right, 'dim')}")

    def act(self, name: str) -> None:
        """Begin the next act."""
        self._acts += 1
        if self.terminal is not None:
            paint = self.terminal.paint
            rest = "─" * max(0, self._width - len(name) - 5)
            self.terminal.say()
            head = f"{paint(f' {self._acts} ', 'bold', 'cyan')} {paint(name, 'bold')}"
            self.terminal.say(f"{head} {paint(rest, 'dim')}")

    def say(self, text: str, *styles: str) -> None:
        """Say a sentence or two."""
        if self.terminal is not None:
            for line in textwrap.wrap(text, self._width - len(_INDENT)) or [""]:
                self.terminal.say(_INDENT + self.terminal.paint(line, *styles))

    def row(self, label: str, text: str, *styles: str, mark: str = "") -> None:
        """Say something about something, in two columns."""
        if self.terminal is None:
            return
        paint = self.terminal.paint
        width = self._width - len(_INDENT) - 18
        lines = textwrap.wrap(text, width, break_on_hyphens=False)
        for n, line in enumerate(lines):
            left = label.ljust(15) if n == 0 else " " * 15
            sign = (mark or " ") if n == 0 else " "
            self.terminal.say(
                f"{_INDENT}{paint(left, 'dim')} {paint(sign, *styles)} {paint(line, *styles)}"
            )

    def place(self, label: str, path: Path) -> None:
        """Say where a file is, in one piece to be copied."""
        if self.terminal is not None:
            self.terminal.give(f"{_INDENT}{self.terminal.paint(label.ljust(17), 'dim')} {path}")

    def trace(self, label: str, heights: Sequence[float], text: str, *styles: str) -> None:
        """Show how loud something is along its time."""
        if self.terminal is not None:
            paint, bars = self.terminal.paint, self.terminal.trace(heights, *styles)
            self.terminal.say(f"{_INDENT}{paint(label.ljust(17), 'dim')} {bars} {text}")

    def meters(self, *pairs: tuple[str, float], seconds: float) -> None:
        """Draw the live line: meters, each with its label, and the time."""
        if self.terminal is None or not self.terminal.live:
            return
        paint, meter = self.terminal.paint, self.terminal.meter
        room = self._width - len(_INDENT) - 4 - sum(len(label) + 3 for label, _ in pairs)
        wide = max(4, min(14, room // len(pairs)))
        drawn = "  ".join(f"{paint(label, 'dim')} {meter(dbfs, wide)}" for label, dbfs in pairs)
        self.terminal.show(f"{_INDENT}{drawn}  {int(seconds) // 60}:{int(seconds) % 60:02d}")

    def working(self, text: str) -> None:
        """Draw the live line: what is being prepared."""
        if self.terminal is not None:
            self.terminal.show(_INDENT + self.terminal.paint(f"{text} …", "dim"))

    def settle(self, *, keep: bool) -> None:
        """End the live line."""
        if self.terminal is not None:
            if keep:
                self.terminal.settle()
            else:
                self.terminal.clear()

    def page(self, report: Mapping[str, object]) -> None:
        """Show the page of a report, close together, so that it fits a small terminal."""
        if self.terminal is None:
            return
        styles: tuple[str, ...] = ()
        text = fitted_page(self.terminal, report, margin=1)
        for line in filter(None, safe_lines(text).splitlines()[1:]):
            styles = _STYLES.get(line.split(" ", 1)[0], styles)
            mark, _, rest = line.partition("]")
            if rest:
                self.terminal.say(f" {self.terminal.paint(mark + ']', *styles)}{rest}")
            else:
                self.terminal.say(" " + self.terminal.paint(line, *styles))

    async def pause(self, seconds: float) -> None:
        """Give people time to read."""
        if self.patient:
            await asyncio.sleep(seconds)
