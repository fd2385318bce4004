"""What is typed while a live line is drawn: it stays readable, and whoever asked last gets it."""

from __future__ import annotations

import asyncio
import io
import os

import pytest

from securecall.cli.entry import Entry, entering
from securecall.cli.lines import Lines
from securecall.cli.output import PeopleOutput
from securecall.cli.terminal import Terminal


class Screen(io.StringIO):
    """A terminal of endless rows that understands what ours writes."""

    encoding = "utf-8"

    def isatty(self):
        return True

    def rows(self):
        """What stands there, and where the cursor is."""
        rows, row, column, left = [""], 0, 0, self.getvalue()
        while left:
            if left.startswith("\x1b["):
                end = next(n for n, c in enumerate(left[2:], 2) if c.isalpha())
                number, command, left = int(left[2:end] or 1), left[end], left[end + 1 :]
                if command == "K":
                    rows[row] = rows[row][:column]
                elif command == "A":
                    row -= number
                elif command == "C":
                    column += number
                assert row >= 0
                assert command in "KAC"
                continue
            character, left = left[0], left[1:]
            if character == "\n":
                row, column = row + 1, 0
                rows += [""] * (row + 1 - len(rows))
            elif character == "\r":
                column = 0
            else:
                rows[row] = rows[row].ljust(column)[:column] + character + rows[row][column + 1 :]
                column += 1
        return rows, (row, column)


@pytest.fixture
def screen():
    return Screen()


@pytest.fixture
def terminal(screen):
    return Terminal(screen, {"NO_COLOR": "1"})


def test_what_is_typed_stands_below_the_live_line_whatever_is_drawn(screen, terminal):
    terminal.show("meters")
    entry = Entry(terminal)
    assert entry.feed(b"hel") == []
    terminal.show("other meters")
    terminal.say("They: something")
    assert screen.rows() == (["They: something", "other meters", "> hel"], (2, 5))
    assert entry.feed(b"\x1b[D\x1b[D!") == []
    terminal.show("m")
    assert screen.rows() == (["They: something", "m", "> h!el"], (2, 4))
    assert entry.feed(b"\nsecond\rthird") == ["h!el", "second"]
    assert screen.rows() == (["They: something", "m", "> third"], (2, 7))
    terminal.clear()
    terminal.say("over")
    terminal.enter(None)
    rows, cursor = screen.rows()
    assert (rows[:2], rows[2].strip(), cursor) == (["They: something", "over"], "", (2, 0))


def test_a_long_line_scrolls_in_its_row_and_control_codes_stay_outside(screen, terminal):
    terminal.show("meters")
    entry = Entry(terminal)
    assert entry.feed(b"x" * 200 + b"\x07\x1b[31m" + "é".encode()) == []
    rows, (row, column) = screen.rows()
    assert rows[0] == "meters"
    assert rows[1].startswith("> ")
    assert rows[1].endswith("é")
    assert len(rows[1]) < 80
    assert (row, column) == (1, len(rows[1]))
    assert entry.feed(b"\n") == ["x" * 200 + "é"]


def test_a_live_line_that_settles_stays(screen, terminal):
    terminal.show("meters")
    terminal.enter("typed", 5)
    terminal.settle()
    terminal.enter(None)
    rows, cursor = screen.rows()
    assert (rows[0], cursor) == ("meters", (1, 0))


def test_a_terminal_is_given_back_as_it_was(terminal, monkeypatch):
    termios = pytest.importorskip("termios")
    ours, theirs = os.openpty()
    monkeypatch.setattr(os, "tcgetpgrp", lambda descriptor: os.getpgrp())
    before = termios.tcgetattr(theirs)
    with entering(terminal, Lines(theirs), theirs) as there:
        assert there
        flags = termios.tcgetattr(theirs)[3]
        assert not flags & (termios.ECHO | termios.ICANON)
        assert flags & termios.ISIG  # Ctrl-C ends a call, as always
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


def test_in_the_background_and_without_a_terminal_nothing_is_changed(terminal, monkeypatch):
    termios = pytest.importorskip("termios")
    ours, theirs = os.openpty()
    before = termios.tcgetattr(theirs)
    monkeypatch.setattr(os, "tcgetpgrp", lambda descriptor: os.getpgrp() + 1)
    with entering(terminal, Lines(theirs), theirs) as there:
        assert not there
        assert termios.tcgetattr(theirs) == before
    monkeypatch.undo()
    os.close(ours)
    os.close(theirs)
    reading, writing = os.pipe()
    with entering(terminal, Lines(reading), reading) as there:
        assert not there
    os.close(reading)
    os.close(writing)


def test_the_last_question_is_answered_first_and_the_patient_get_the_rest():
    async def main():
        reading, writing = os.pipe()
        lines = Lines(reading)

        def begin(*, patient=False):
            return asyncio.ensure_future(lines.next(patient=patient))

        patient, first, last = begin(patient=True), begin(), begin()
        await asyncio.sleep(0)
        os.write(writing, b"one\ntwo\nthr")
        assert (await last, await first) == ("one", "two")
        later = begin()
        await asyncio.sleep(0)
        os.write(writing, b"ee\n  four \n")
        assert (await later, await patient) == ("three", "four")
        given_up = begin()
        await asyncio.sleep(0)
        given_up.cancel()
        os.write(writing, b"five\n")
        assert await begin() == "five"
        both = begin(patient=True), begin()
        await asyncio.sleep(0)
        os.close(writing)
        assert [await each for each in both] == [None, None]
        assert await lines.next() is None
        os.close(reading)

    asyncio.run(main())


def test_a_line_that_came_just_when_nobody_wanted_it_any_more_is_for_the_next():
    async def main():
        reading, writing = os.pipe()
        lines = Lines(reading)
        first = asyncio.ensure_future(lines.next())

        def edit(data):  # cancelled between being handed a line and taking it
            asyncio.get_running_loop().call_soon(first.cancel)
            return data.decode().split()

        lines.edit(edit)
        await asyncio.sleep(0)
        os.write(writing, b"one\ntwo\n")
        with pytest.raises(asyncio.CancelledError):
            await first
        assert [await lines.next(), await lines.next()] == ["one", "two"]
        os.close(writing)
        await lines.next()
        os.close(reading)

    asyncio.run(main())


def test_what_was_typed_before_a_question_does_not_answer_it(monkeypatch):
    async def main():
        ours, theirs = os.openpty()
        lines = Lines(theirs)
        output = PeopleOutput(Terminal(io.StringIO(), {}), lines)
        monkeypatch.setattr(PeopleOutput, "hears", True)
        os.write(ours, b"y\ny")
        asking = asyncio.ensure_future(output.ask("Take the call?", "accept", "decline"))
        await asyncio.sleep(0)
        os.write(ours, b"n\n")
        assert await asking is False
        lines._came.append("y")  # came between two questions
        asking = asyncio.ensure_future(output.ask("Take the call?", "accept", "decline"))
        await asyncio.sleep(0)
        os.write(ours, b"n\n")
        assert await asking is False
        os.close(ours)
        assert await lines.next() is None
        os.close(theirs)

    asyncio.run(main())
