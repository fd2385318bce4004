"""Draws a chat with rich: rows of text with colours, as wide as they look on a terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from securecall.cli.chat_lines import Day, Entry, Part, harmless, size_words, undecided_words
from securecall.cli.line_editor import View

if TYPE_CHECKING:
    from securecall.cli.chat_session import Chat

PROMPT: Final = "> "
_STYLES: Final = {
    "dim": "bright_black", "good": "green", "bad": "bold red", "warn": "yellow", "seen": "cyan",
    "file": "cyan", "quote": "italic bright_black", "": "",
}  # fmt: skip
_NARROW: Final = 56  # columns; below that names stand above the text
_NAME, _ADDRESS = 10, 24  # columns for who wrote it


def cells(text: str) -> int:
    """How many columns a text takes."""
    return cell_len(text)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something said that is no message, in its place between them."""

    after: int
    rows: tuple[tuple[Part, ...], ...]


class Painter:
    """Makes rows for the terminal, none wider than it."""

    def __init__(self, *, colour: bool) -> None:
        """Say whether colours are wanted."""
        self._colour = colour

    def line(self, line: Day | Entry | Notice, width: int) -> list[str]:
        """A message, a day or a notice."""
        return _drawn(line, width, self._colour)

    def head(self, chat: Chat, protection: Part, unread: int, width: int) -> list[str]:
        """Who it is with, where they are, how safe it is: two rows and a line."""
        standing, address = chat.standing, chat.address
        left = Text(harmless(standing.name or address.short, limit=40, lines=1), "bold")
        if standing.name:
            left.append(f"  {harmless(address.short, limit=80, lines=1)}", "bright_black")
        right = Text(no_wrap=True)
        if standing.offline:
            right.append(f"not connected: {harmless(standing.offline, limit=40, lines=1)}", "red")
        elif standing.presence:
            here = standing.presence == "available"
            right.append("● " if here else "○ ", "green" if here else "yellow")
            words = " · ".join(filter(None, (standing.presence, standing.status)))
            right.append(harmless(words, limit=40, lines=1))
        safe = _text((protection,))
        count = _text((undecided_words(standing.recipients),))
        if unread:
            count.append(f"  {unread} unread", "bold cyan")
        rows = [*self._two(left, right, width), *self._two(safe, count, width)]
        return [*rows, *self._rendered(Rule(style="bright_black"), width)]

    def _two(self, left: Text, right: Text, width: int) -> list[str]:
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        grid.add_column(justify="right", no_wrap=True, overflow="ellipsis")
        grid.add_row(left, right)
        return self._rendered(Padding(grid, (0, 0, 0, 1)), width)[:1]

    def status(self, under_way: Part | tuple[str, int, int], width: int) -> list[str]:
        """One row: how far a file is, a hint, or a line."""
        if isinstance(under_way, tuple):
            what, done, of = under_way
            grid = Table.grid(padding=(0, 1))
            amount = f"{size_words(done)} of {size_words(of)}"
            bar = ProgressBar(total=max(1, of), completed=done, width=max(8, width // 4))
            grid.add_row("", bar, Text(f"{harmless(what, limit=30, lines=1)}, {amount}"))
            return self._rendered(grid, width)[:1]
        if under_way.text:
            return self._rendered(_text((Part(" "), under_way)), width)[:1]
        return self._rendered(Rule(style="bright_black"), width)

    def written(self, view: View, text: str, width: int) -> list[str]:
        """The line being written."""
        rows = []
        for place, row in enumerate(view.rows):
            head = Text(PROMPT if place == 0 else "  ", "bold cyan")
            order = text.startswith("/") and not text.startswith("//")
            rows.append(head + Text(harmless(row, lines=1), "cyan" if order else ""))
        return [line for row in rows for line in self._rendered(row, width)[:1]]

    def _rendered(self, what: RenderableType, width: int) -> list[str]:
        return _render(what, width, self._colour)


@lru_cache(maxsize=2048)
def _drawn(line: Day | Entry | Notice, width: int, colour: bool) -> list[str]:  # noqa: FBT001 - for the cache
    """A message, a day or a notice as rows of the terminal; most are the same as a moment ago."""
    if isinstance(line, Day):
        return _render(Rule(Text(line.text, "bright_black"), style="bright_black"), width, colour)
    if isinstance(line, Notice):
        body = Text("\n").join(_text(row) for row in line.rows)
        return _render(Padding(body, (0, 1, 0, 3)), width, colour)
    who = Text(line.who, "bold cyan" if line.own else "bold magenta", no_wrap=True)
    tick = Text(line.tick.text, _STYLES[line.tick.style], no_wrap=True)
    number = Text(f"#{line.number}", "bright_black", no_wrap=True)
    clock = Text(line.clock, "bright_black", no_wrap=True)
    body = Text("\n").join(_text(row) for row in line.rows)
    body.overflow = "fold"
    if width < _NARROW:
        head = Text(" ", no_wrap=True).join((who, clock, number, tick))
        return [*_render(head, width, colour), *_render(Padding(body, (0, 0, 0, 2)), width, colour)]
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=max(4, len(number.plain)), justify="right")
    grid.add_column(width=5)
    grid.add_column(width=_ADDRESS if "@" in line.who else _NAME, overflow="ellipsis")
    grid.add_column(ratio=1, overflow="fold")
    grid.add_column(width=3)
    grid.add_row(number, clock, who, body, tick)
    return _render(grid, width, colour)


def _render(what: RenderableType, width: int, colour: bool) -> list[str]:  # noqa: FBT001
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=True,
        color_system="standard" if colour else None,
        no_color=not colour,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
        _environ={},
    )
    with console.capture() as captured:
        console.print(what, soft_wrap=False)
    return captured.get().removesuffix("\n").split("\n")


def _text(row: Sequence[Part]) -> Text:
    """A row in its styles; the one door to the screen, so nothing passes it unchecked."""
    text = Text(overflow="fold")
    for part in row:
        text.append(harmless(part.text, lines=1), _STYLES[part.style])
    return text
