"""The row that lines are entered into while other things are drawn above it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from securecall.cli.keys import KeyParser
from securecall.cli.line_editor import LineEditor
from securecall.cli.lines import Lines
from securecall.cli.terminal import Terminal, cells


class Entry:
    """Makes lines of keys, and shows the one that is being typed."""

    def __init__(self, terminal: Terminal) -> None:
        """Begin with an empty row."""
        self._terminal, self._parser, self._editor = terminal, KeyParser(), LineEditor()
        self._show()

    def feed(self, data: bytes) -> list[str]:
        """Take what the terminal sent; returns the lines that were entered with it."""
        lines = []
        for key in self._parser.feed(data):
            if key.name in ("enter", "newline"):
                lines.append(self._editor.take())
            else:
                _ = self._editor.press(key)
        self._show()
        return lines

    def _show(self) -> None:
        view = self._editor.view(max(self._terminal.width - 4, 1), 1, cells)
        self._terminal.enter(view.rows[0], view.column)


@contextlib.contextmanager
def entering(terminal: Terminal, lines: Lines, descriptor: int = 0) -> Iterator[bool]:
    """Have such a row while the block lasts, where this is a terminal in the foreground.

    A terminal by itself shows what is typed wherever its cursor is, which is in the live line.
    """
    try:
        import termios
        import tty
    except ImportError:  # Windows
        yield False
        return
    if not terminal.live or not _is_ours(descriptor):
        yield False
        return
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor, termios.TCSADRAIN)
    lines.edit(Entry(terminal).feed)
    try:
        yield True
    finally:
        lines.edit(None)
        terminal.enter(None)
        with contextlib.suppress(termios.error):  # the terminal itself may be gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _is_ours(descriptor: int) -> bool:
    """Whether we may change this terminal; in the background we would be stopped for it."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False
