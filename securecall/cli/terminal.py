"""A terminal, or a pipe in its place: colours, meters and one live line where they can be shown."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final, TextIO

_CODES: Final = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
}
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_STEPS: Final = " ▁▂▃▄▅▆▇█"
_PLAIN_STEPS: Final = " .:-=+*#"
_STYLED: Final = re.compile(r"\x1b\[[0-9;]*m")
_STYLED_OR_ONE: Final = re.compile(r"(\x1b\[[0-9;]*m)|(.)", re.DOTALL)
_WORDS: Final = re.compile(r"( *)([^ ]+)")
_QUIET, _LOUD = -54.0, -12.0  # dBFS at the two ends of a meter
_CLIPS = -6.0
_PLAIN: Final = str.maketrans(
    {
        "─": "-", "│": "|", "┌": "+", "┐": "+", "└": "+", "┘": "+", "█": "#", "▕": "[", "▏": "]",
        "·": "-", "✓": "+", "✗": "x", "…": "~", "→": ">", "▸": ">", "●": "*", "░": " ",
    }
)  # fmt: skip


class Terminal:
    """Where people read.

    Attributes:
        live: A line may be drawn over again.
        colour: Colours may be used.
        boxes: The encoding holds box-drawing characters.
    """

    def __init__(
        self, out: TextIO | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        """Look at the stream and the environment (NO_COLOR, TERM)."""
        env = os.environ if environment is None else environment
        self._out = out if out is not None else sys.stdout
        terminal = self._out.isatty() and env.get("TERM", "") != "dumb"
        self.live = terminal
        self.colour = terminal and not env.get("NO_COLOR")
        self.boxes = _holds_boxes(self._out)
        self._shown = ""
        self._entry: str | None = None
        self._column = 0

    @property
    def width(self) -> int:
        """Columns now, at most 100."""
        return min(100, _columns())

    def paint(self, text: str, *styles: str) -> str:
        """Return the text in these styles: bold, dim, red, green, yellow, cyan."""
        if not self.colour or not text:
            return text
        return f"\x1b[{';'.join(_CODES[s] for s in styles)}m{text}\x1b[0m"

    def meter(self, dbfs: float, width: int) -> str:
        """Return a level meter of `width` columns; yellow where it is loud, red near clipping."""
        share = min(1.0, max(0.0, (dbfs - _QUIET) / (_LOUD - _QUIET)))
        eighths = round(share * width * 8)
        if self.boxes:
            bar = "█" * (eighths // 8)
            if eighths % 8:
                bar += _EIGHTHS[eighths % 8]
            style = "red" if dbfs > _CLIPS else "yellow" if dbfs > _LOUD else "green"
            return self.paint(bar, style) + self.paint("·" * (width - len(bar)), "dim")
        bar = "#" * (eighths // 8)
        return bar + "." * (width - len(bar))

    def trace(self, heights: Sequence[float], *styles: str) -> str:
        """Return a row of bars, each 0.0 to 1.0 high."""
        steps = _STEPS if self.boxes else _PLAIN_STEPS
        top = len(steps) - 1
        bars = "".join(steps[round(min(1.0, max(0.0, height)) * top)] for height in heights)
        return self.paint(bars, *styles)

    def rule(self, width: int = 0) -> str:
        """Return a thin horizontal line."""
        return self.paint("─" * (width or min(78, self.width - 2)), "dim")

    def say(self, text: str = "") -> None:
        """Write lines that stay, above the live line; on a terminal they break between words."""
        if self.live:
            columns = _columns()
            text = "\n".join(_broken(line, columns) for line in text.split("\n"))
        self.give(text)

    def give(self, text: str) -> None:
        """Write lines that stay as they are: what people copy, and pictures."""
        self._write(f"{self._erased()}{self._fit(text)}\n{self._drawn()}")

    def fold(self, who: str, text: str) -> str:
        """Return what somebody said; rows below are indented, so that none passes for another's."""
        wide = any(unicodedata.east_asian_width(character) in "FW" for character in text)
        width = (self.width - 1) // (2 if wide else 1)
        return textwrap.fill(who + text, width, subsequent_indent=" " * len(who))

    def show(self, text: str) -> None:
        """Draw the live line again; nothing happens in a pipe."""
        if not self.live:
            return
        self._shown = _cut(self._fit(text), _columns() - 1)
        up, down = ("", "") if self._entry is None else ("\x1b[A", f"\n{self._cursor()}")
        self._write(f"{up}\r\x1b[K{self._shown}{down}")

    def enter(self, text: str | None, column: int = 0) -> None:
        """Show below the live line what is being typed, the cursor there; None takes that away."""
        erased = self._erased()
        self._entry, self._column = text if text is None else self._fit(text), column
        self._write(erased + self._drawn())

    def swallow(self) -> None:
        """Take back the line that was typed into, and draw the live line in its place."""
        if self.live:
            self._write("\x1b[A\r\x1b[K" + self._shown)

    def settle(self) -> None:
        """Let the live line stay as it is and go on below it."""
        if self._shown:
            erased, kept, self._shown = self._erased(), self._shown, ""
            self._write(f"{erased}{kept}\n{self._drawn()}")

    def clear(self) -> None:
        """Take the live line away."""
        if self._shown:
            erased, self._shown = self._erased(), ""
            self._write(erased + self._drawn())

    def _erased(self) -> str:
        if self._entry is not None:
            return "\r\x1b[K\x1b[A\r\x1b[K"
        return "\r\x1b[K" if self._shown else ""

    def _drawn(self) -> str:
        if self._entry is None:
            return self._shown
        return f"{self._shown}\n> {self._entry}{self._cursor()}"

    def _cursor(self) -> str:
        return f"\r\x1b[{self._column + 2}C"

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()

    def _fit(self, text: str) -> str:
        if self.boxes:
            return text
        text = text.translate(_PLAIN)
        encoding = self._out.encoding or "ascii"
        return text.encode(encoding, "replace").decode(encoding)


def _columns() -> int:
    return shutil.get_terminal_size((80, 24)).columns


def _broken(line: str, columns: int) -> str:
    """The line in rows of so many columns, each as far in as the first; words stay whole."""
    plain = _STYLED.sub("", line)
    if cells(plain) <= columns:
        return line
    indent = min(len(plain) - len(plain.lstrip(" ")), columns // 2)
    rows, used = "", 0
    for gap, word in _WORDS.findall(line):
        size = cells(_STYLED.sub("", word))
        if used > indent and used + len(gap) + size > columns:
            rows, used = f"{rows}\n{' ' * indent}{word}", indent + size
        else:
            rows, used = f"{rows}{gap}{word}", used + len(gap) + size
    return rows


def _cut(line: str, columns: int) -> str:
    """As much of the line as fits, its colours ended."""
    if cells(_STYLED.sub("", line)) <= columns:
        return line
    kept, used = "", 0
    for style, character in _STYLED_OR_ONE.findall(line):
        used += cells(character)
        if used > columns:
            break
        kept += style + character
    return kept + ("\x1b[0m" if "\x1b" in kept else "")


def cells(text: str) -> int:
    """How many columns a text takes."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "FW" else 1
        for c in text
    )


def safe(text: str, limit: int = 200) -> str:
    """Return text from elsewhere without control characters; it cannot act on a terminal."""
    clean = "".join("?" if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co"} else c for c in text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def _holds_boxes(out: TextIO) -> bool:
    try:
        "─│█▏✓…".encode(out.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
