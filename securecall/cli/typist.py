"""Text of a call for the command: lines that were entered go out, what the other types is told."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Iterator
from typing import Final

from securecall.calls.call import Call
from securecall.cli.output import Output
from securecall.errors import UsageError
from securecall.rtp.t140 import BACKSPACE, NEWLINE

_LONGEST: Final = 500
"""Characters of a line that has not ended; then it is shown as it is."""


class Page:
    """Makes lines of what comes piece by piece; a backspace takes back what is not told yet."""

    def __init__(self) -> None:
        """Begin with an empty line."""
        self._line = ""

    def write(self, piece: str) -> Iterator[str]:
        """Take a piece of text; yields the lines that ended."""
        for character in piece:
            if character == BACKSPACE:
                self._line = self._line[:-1]
            elif character == NEWLINE:
                yield self.rest()
            else:
                self._line += character
                if len(self._line) >= _LONGEST:
                    yield self.rest()

    def rest(self) -> str:
        """Return the line as far as it came, and begin a new one."""
        line, self._line = self._line, ""
        return line


async def type_along(call: Call, output: Output, lines: asyncio.Queue[str]) -> None:
    """Send these lines, and tell what comes, until the call is over."""
    typing = asyncio.ensure_future(_send(call, output, lines))
    try:
        await _tell(call, output)
    finally:
        _ = typing.cancel()


async def _tell(call: Call, output: Output) -> None:
    page = Page()
    try:
        async for piece in call.text:
            output.tell("typed", piece=piece, lines=list(page.write(piece)))
    finally:
        if rest := page.rest():
            output.tell("typed", piece="", lines=[rest])


async def _send(call: Call, output: Output, lines: asyncio.Queue[str]) -> None:
    while True:
        line = await lines.get()
        said = "".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in line)
        try:
            await call.text.send(f"{said}\n")
        except UsageError as e:
            output.tell("note", text=f"This line was not sent: {e}.")
