"""The line somebody types: moved and deleted in by what a person sees as one character."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from securecall.cli.keys import Key

Cells = Callable[[str], int]
"""How many columns a text takes."""

_JOINER: Final = "\u200d"
_FLAGS: Final = range(0x1F1E6, 0x1F200)  # regional indicators: two are one flag
_TONES: Final = range(0x1F3FB, 0x1F400)  # skin tones
_MOST_REMEMBERED: Final = 200


@dataclass(frozen=True, slots=True)
class View:
    """The line as it is drawn.

    Attributes:
        rows: At most as many as were asked for.
        row: Where the cursor is.
        column: In cells.
    """

    rows: tuple[str, ...]
    row: int
    column: int


class LineEditor:
    """One line (or a few: a paste may bring more), its cursor, and what was entered before."""

    def __init__(self) -> None:
        """Begin empty."""
        self._before: list[str] = []  # clusters left of the cursor
        self._after: list[str] = []
        self._killed = ""
        self._history: list[str] = []
        self._place: int | None = None  # in the history, None for the line itself
        self._draft = ""

    @property
    def text(self) -> str:
        """What is typed so far."""
        return "".join(self._before) + "".join(self._after)

    @property
    def left(self) -> str:
        """What is left of the cursor."""
        return "".join(self._before)

    def set(self, text: str, right: str = "") -> None:
        """Put another text in its place, the cursor before `right`."""
        self._before, self._after = clusters(text), clusters(right)

    def take(self) -> str:
        """Empty the line and remember it; returns what was typed."""
        text = self.text
        if text.strip() and self._history[-1:] != [text]:
            self._history = [*self._history, text][-_MOST_REMEMBERED:]
        self.set("")
        self._place, self._draft = None, ""
        return text

    def press(self, key: Key) -> bool:
        """Do what a key means to a line; False if it means nothing to it."""
        if key.name in ("text", "paste"):
            self._insert(key.text)
            return True
        if key.name == "newline":
            self._insert("\n")
            return True
        act = _ACTS.get(key.name)
        if act is None:
            return False
        act(self)
        return True

    def view(self, width: int, height: int, cells: Cells) -> View:
        """Lay it out in `width` columns; of more than `height` rows those around the cursor."""
        rows, at, column = [""], 0, 0
        used = 0
        everything = [*self._before, *self._after, ""]
        for place, cluster in enumerate(everything):
            size = cells(cluster)
            if size > width:  # joined of so many that no row holds it
                cluster, size = "…", 1
            if used + size > width or (used == width and place == len(self._before)):
                rows.append("")
                used = 0
            if place == len(self._before):
                at, column = len(rows) - 1, used
            if cluster == "\n":
                rows.append("")
                used = 0
                continue
            rows[-1] += cluster
            used += size
        first = max(0, min(at - height + 1, len(rows) - height))
        return View(tuple(rows[first : first + height]), at - first, column)

    def _insert(self, text: str) -> None:
        """Put text at the cursor; what it holds of control characters stays outside."""
        text = text.replace("\t", "    ")
        clean = "".join(c for c in text if c in "\n\u200c\u200d" or c.isprintable())
        # what is typed may join what stands there: an accent, the next part of an emoji
        joined = (self._before.pop() if self._before else "") + clean
        self._before += clusters(joined)

    def _left(self) -> None:
        if self._before:
            self._after.insert(0, self._before.pop())

    def _right(self) -> None:
        if self._after:
            self._before.append(self._after.pop(0))

    def _home(self) -> None:
        self._before, self._after = [], [*self._before, *self._after]

    def _end(self) -> None:
        self._before, self._after = [*self._before, *self._after], []

    def _word_left(self) -> None:
        start = _word_start(self._before)
        self._before, self._after = self._before[:start], self._before[start:] + self._after

    def _word_right(self) -> None:
        end = _word_end(self._after)
        self._before, self._after = self._before + self._after[:end], self._after[end:]

    def _backspace(self) -> None:
        del self._before[-1:]

    def _delete(self) -> None:
        del self._after[:1]

    def _kill_word(self) -> None:
        start = _word_start(self._before)
        self._killed = "".join(self._before[start:])
        del self._before[start:]

    def _kill_word_right(self) -> None:
        end = _word_end(self._after)
        self._killed = "".join(self._after[:end])
        del self._after[:end]

    def _kill_start(self) -> None:
        self._killed, self._before = "".join(self._before), []

    def _kill_end(self) -> None:
        self._killed, self._after = "".join(self._after), []

    def _yank(self) -> None:
        self._insert(self._killed)

    def _up(self) -> None:
        if self._place is None and self._history:
            self._draft, self._place = self.text, len(self._history)
        if self._place:
            self._place -= 1
            self.set(self._history[self._place])

    def _down(self) -> None:
        if self._place is None:
            return
        self._place += 1
        if self._place == len(self._history):
            self._place = None
            self.set(self._draft)
        else:
            self.set(self._history[self._place])


_ACTS: Final[dict[str, Callable[[LineEditor], None]]] = {
    "left": LineEditor._left,  # noqa: SLF001 - the table of its own keys
    "right": LineEditor._right,  # noqa: SLF001
    "home": LineEditor._home,  # noqa: SLF001
    "end": LineEditor._end,  # noqa: SLF001
    "word-left": LineEditor._word_left,  # noqa: SLF001
    "word-right": LineEditor._word_right,  # noqa: SLF001
    "backspace": LineEditor._backspace,  # noqa: SLF001
    "delete": LineEditor._delete,  # noqa: SLF001
    "kill-word": LineEditor._kill_word,  # noqa: SLF001
    "kill-word-right": LineEditor._kill_word_right,  # noqa: SLF001
    "kill-start": LineEditor._kill_start,  # noqa: SLF001
    "kill-end": LineEditor._kill_end,  # noqa: SLF001
    "yank": LineEditor._yank,  # noqa: SLF001
    "up": LineEditor._up,  # noqa: SLF001
    "down": LineEditor._down,  # noqa: SLF001
}


def clusters(text: str) -> list[str]:
    """Cut a text into what people see as characters (the main rules of UAX 29 3.1)."""
    found: list[str] = []
    for character in text:
        if found and _belongs(found[-1], character):
            found[-1] += character
        else:
            found.append(character)
    return found


def _belongs(cluster: str, character: str) -> bool:
    if cluster == "\n" or character == "\n":
        return False
    point = ord(character)
    if character in "\u200c\u200d" or point in _TONES or unicodedata.category(character)[0] == "M":
        return True
    if point in _FLAGS:
        return len(cluster) == 1 and ord(cluster) in _FLAGS
    # a joiner joins pictures; in scripts that use it, it only shapes letters (GB11)
    return cluster.endswith(_JOINER) and unicodedata.category(character) == "So"


def _is_word(cluster: str) -> bool:
    return cluster[0].isalnum() or cluster[0] == "_"


def _word_start(before: Sequence[str]) -> int:
    place = len(before)
    while place and not _is_word(before[place - 1]):
        place -= 1
    while place and _is_word(before[place - 1]):
        place -= 1
    return place


def _word_end(after: Sequence[str]) -> int:
    place = 0
    while place < len(after) and not _is_word(after[place]):
        place += 1
    while place < len(after) and _is_word(after[place]):
        place += 1
    return place
