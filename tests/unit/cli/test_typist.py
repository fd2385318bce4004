"""Text of a call for the command: whole lines, and nothing that drives the terminal."""

from __future__ import annotations

import asyncio
import io

import pytest
from rich.cells import cell_len

from securecall.cli.output import PeopleOutput
from securecall.cli.terminal import Terminal
from securecall.cli.typist import Page, type_along
from securecall.errors import UsageError


def test_lines_are_told_once_they_end_and_backspaces_take_back():
    page = Page()
    assert list(page.write("Helo\blo\u2028")) == ["Hello"]
    assert list(page.write("\b\ba\u2028\u2028b")) == ["a", ""]
    assert (page.rest(), page.rest()) == ("b", "")
    long = list(page.write("x" * 1200))
    assert [len(line) for line in long] == [500, 500]


class Text:
    """A call's text, as the command uses it."""

    def __init__(self, *pieces):
        self.sent = []
        self._pieces = iter(pieces)
        self.went = asyncio.Event()

    def __aiter__(self):
        return self

    async def __anext__(self):
        await self.went.wait()
        try:
            return next(self._pieces)
        except StopIteration:
            raise StopAsyncIteration from None

    async def send(self, text):
        self.sent.append(text)
        if len(self.sent) == 2:
            self.went.set()
        if text == "held\n":
            raise UsageError("on hold")


class Call:
    def __init__(self, text):
        self.text = text


class Told:
    def __init__(self):
        self.events = []

    def tell(self, kind, /, **fields):
        self.events.append((kind, fields))


def test_lines_go_out_and_what_comes_is_told_with_its_rest():
    async def main():
        text, told, lines = Text("on", "e\u2028two"), Told(), asyncio.Queue()
        for line in ("held", "a\tb\x1b[2J"):
            lines.put_nowait(line)
        await type_along(Call(text), told, lines)
        assert text.sent == ["held\n", "a b [2J\n"]
        assert told.events == [
            ("note", {"text": "This line was not sent: on hold."}),
            ("typed", {"piece": "on", "lines": []}),
            ("typed", {"piece": "e\u2028two", "lines": ["one"]}),
            ("typed", {"piece": "", "lines": ["two"]}),
        ]

    asyncio.run(main())


def test_a_line_that_was_typed_cannot_act_on_the_terminal():
    out = io.StringIO()
    PeopleOutput(Terminal(out)).tell("typed", piece="", lines=["a\x1b[2Jb\u202ec"])
    assert "They: a?[2Jb" in out.getvalue()
    assert "\x1b" not in out.getvalue()
    assert "\u202e" not in out.getvalue()


@pytest.mark.parametrize("filler", ["x", "x ", "\u6f22", "\u3000", " "])
def test_a_long_line_cannot_pass_for_another_one_below(filler):
    for length in range(60, 120):
        out = io.StringIO()
        PeopleOutput(Terminal(out)).tell("typed", piece="", lines=[filler * length + "You: evil"])
        first, *more = out.getvalue().splitlines()
        assert first.startswith("They:")
        assert all(row.startswith("      ") for row in more)
        assert all(cell_len(row) < 80 for row in (first, *more))
