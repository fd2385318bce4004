from __future__ import annotations

import io
import re

import pytest

from securecall.cli.call_screen import show_levels
from securecall.cli.terminal import Terminal, safe


class Screen(io.TextIOWrapper):
    """A terminal that remembers."""

    def __init__(self, encoding: str = "utf-8", *, tty: bool = True) -> None:
        self.bytes = io.BytesIO()
        self.tty = tty
        super().__init__(self.bytes, encoding=encoding)

    def isatty(self) -> bool:
        return self.tty

    def text(self) -> str:
        self.flush()
        return self.bytes.getvalue().decode(self.encoding)


def test_a_pipe_gets_no_escape_sequence_and_no_live_line():
    screen = Screen(tty=False)
    terminal = Terminal(screen, {})
    terminal.show("moving")
    terminal.say(terminal.paint("done", "green", "bold"))
    assert screen.text() == "done\n"


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)]
)
def test_no_color_is_honoured(environment, coloured):
    assert ("\x1b" in Terminal(Screen(), environment).paint("x", "red")) is coloured


def test_a_dumb_terminal_is_a_pipe():
    assert not Terminal(Screen(), {"TERM": "dumb"}).live


def test_a_line_that_stays_goes_above_the_live_line():
    screen = Screen()
    terminal = Terminal(screen, {"NO_COLOR": "1"})
    terminal.show("live")
    terminal.say("stays")
    assert screen.text() == "\r\x1b[Klive\r\x1b[Kstays\nlive"


def test_a_meter_keeps_its_width_and_grows_with_the_sound():
    terminal = Terminal(Screen(), {"NO_COLOR": "1"})
    meters = [terminal.meter(dbfs, 10) for dbfs in range(-96, 1, 4)]
    assert {len(m) for m in meters} == {10}
    filled = [m.count("█") for m in meters]
    assert filled == sorted(filled)
    assert (filled[0], filled[-1]) == (0, 10)


def test_an_encoding_without_boxes_gets_none():
    screen = Screen("ascii")
    terminal = Terminal(screen, {"NO_COLOR": "1"})
    terminal.say(f"{terminal.meter(-20, 8)} {terminal.trace([0, 0.5, 1])} │ ✓ Bob…")
    assert not terminal.boxes
    assert screen.text().isascii()
    assert "?" not in screen.text()


def test_text_from_elsewhere_cannot_act_on_the_terminal():
    evil = "bob\x1b[2J\x1b]0;gone\x07\u202etxt\r\n"
    assert not set(safe(evil)) & {"\x1b", "\x07", "\u202e", "\r", "\n"}
    assert len(safe("x" * 10_000)) == 200


@pytest.mark.parametrize("columns", [36, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("pictures", [True, False])
@pytest.mark.parametrize("level", ["E2EE", "VERIFIED"])
def test_the_line_of_a_call_has_its_words_and_never_breaks(monkeypatch, columns, pictures, level):
    monkeypatch.setenv("COLUMNS", str(columns))
    screen = Screen()
    terminal = Terminal(screen, {})
    fields = {"seconds": 3725.0, "sent_dbfs": -20.0, "received_dbfs": -7.0}
    if pictures:
        fields |= {"pictures_sent": 12345, "pictures_received": 12345}
    show_levels(terminal, fields, level=level, words="giggle energy bracket")
    drawn = re.sub(r"\x1b\[[0-9;]*[A-Za-z]|\r", "", screen.text())
    assert drawn.endswith("giggle energy bracket")
    assert len(drawn) < columns
    assert (level in drawn) == (columns >= 40 or level == "VERIFIED")
    assert ("they" in drawn) == (columns >= 60)
    if columns >= 80:
        assert "62:05" in drawn
    assert ("pictures" in drawn) == (pictures and columns >= 100)


def test_on_a_narrow_terminal_lines_break_between_words_and_commands_stay_whole(monkeypatch):
    monkeypatch.setenv("COLUMNS", "24")
    screen = Screen()
    terminal = Terminal(screen, {})
    terminal.say(
        f"   {terminal.paint('Whoever holds it', 'bold')} can call you. https://example.org/long"
    )
    terminal.give("securecall call 'securecall:1:abcdef'")
    rows = screen.text().splitlines()
    assert [re.sub(r"\x1b\[[0-9;]*m", "", row) for row in rows] == [
        "   Whoever holds it can",
        "   call you.",
        "   https://example.org/long",
        "securecall call 'securecall:1:abcdef'",
    ]


def test_a_pipe_gets_each_line_as_one(monkeypatch):
    monkeypatch.setenv("COLUMNS", "10")
    screen = Screen(tty=False)
    Terminal(screen, {}).say("   longer than ten columns")
    assert screen.text() == "   longer than ten columns\n"


def test_a_live_line_never_breaks_and_follows_the_width(monkeypatch):
    terminal = Terminal(screen := Screen(), {})
    for columns in (20, 12):
        monkeypatch.setenv("COLUMNS", str(columns))
        terminal.show(f"{terminal.paint('meters', 'green')} and the words of it")
        drawn = screen.text().rsplit("\x1b[K", 1)[1]
        assert drawn.endswith("\x1b[0m")
        assert len(re.sub(r"\x1b\[[0-9;]*m", "", drawn)) == columns - 1
        assert terminal.width == columns
