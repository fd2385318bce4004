"""What people write to the other side answers no question of the command.

Whoever sits in between has no way to make the words alike. She writes "can you read this?" instead,
and the first thing that is typed to her is "yes": it confirmed that the words were the same.
"""

from __future__ import annotations

import asyncio
import io
from types import SimpleNamespace

import pytest

from securecall.cli.conversation import _compare
from securecall.cli.output import JsonOutput, PeopleOutput
from securecall.cli.terminal import Terminal
from securecall.errors import IdentityMismatch

WORDS = ("abandon", "ability", "able")
TALK = ["yes, I can", "You there?", "no problem", "nice", "y", "yes", "no", "Y"]


class Lines:
    """What somebody enters."""

    def __init__(self, *lines):
        self._lines = list(lines)

    async def next(self, *, patient=False):
        return self._lines.pop(0) if self._lines else None

    def forget(self):
        pass


class Call:
    """In which the words are not the same."""

    report = SimpleNamespace(address="")

    def __init__(self, *, text):
        self.text, self.said = SimpleNamespace(agreed=text), []

    async def confirm_sas(self):
        self.said.append(True)
        return SimpleNamespace(identity=None)

    async def deny_sas(self):
        self.said.append(False)


class AsItWas(PeopleOutput):
    """Takes the first letter of the first line for an answer."""

    async def ask(self, question, yes, no, *, orders=None, text=None):
        while (line := await self._line()).startswith("/") and orders is not None:
            orders(line)
        return {"y": True, "n": False}.get(line.lower()[:1])


def compared(output, *, text):
    """Returns what was said of the words, and what went to the other side or was ordered."""
    entered, call = [], Call(text=text)
    output.tell = lambda *_, **__: None
    board = SimpleNamespace(output=output, enter=entered.append, client=None)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("securecall.cli.conversation.security_fields", lambda _: {})
            asyncio.run(_compare(call, board, WORDS))
    except IdentityMismatch:
        pass
    return call.said, entered


@pytest.fixture
def person(monkeypatch):
    monkeypatch.setattr(PeopleOutput, "hears", True)
    return lambda *lines, kind=PeopleOutput: kind(Terminal(io.StringIO(), {}), Lines(*lines))


@pytest.mark.parametrize("line", TALK)
def test_what_is_typed_to_the_other_side_says_nothing_of_the_words(person, line):
    assert compared(person(line, "/mute"), text=True) == ([], [line, "/mute"])


@pytest.mark.parametrize("line", TALK)
def test_control_it_confirmed_or_denied_them(person, line):
    said, _ = compared(person(line, kind=AsItWas), text=True)
    assert said == [line.lower().startswith("y")]


@pytest.mark.parametrize(("line", "said"), [("/y", True), ("/yes", True), ("/N", False)])
def test_an_answer_beside_text_begins_with_a_slash(person, line, said):
    assert compared(person("hello", line), text=True) == ([said], ["hello"])


@pytest.mark.parametrize("line", ["yesterday", "you too", "not now", "nice"])
def test_a_line_that_only_begins_so_is_no_answer(person, line):
    assert compared(person(line), text=False) == ([], [])


@pytest.mark.parametrize(("line", "said"), [("y", True), ("Yes", True), ("n", False)])
def test_where_there_is_no_text_a_letter_answers(person, line, said):
    assert compared(person("/mute", line), text=False) == ([said], ["/mute"])


def test_a_program_says_the_word_and_everything_else_is_text():
    output = JsonOutput(io.StringIO(), Lines("yes", "/mute", "confirm"))
    assert compared(output, text=True) == ([True], ["yes", "/mute"])
