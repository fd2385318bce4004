"""Where no conversation could take it the command declines to be handed over, and says to whom."""

from __future__ import annotations

import asyncio
import io

import pytest

from securecall.address import parse_address
from securecall.cli.calling import follow_call
from securecall.cli.desk import Board
from securecall.cli.output import PeopleOutput
from securecall.cli.terminal import Terminal
from securecall.events import TransferRequested


class Answer:
    def __init__(self):
        self.declined = 0

    def decline(self):
        self.declined += 1

    def accept(self, **_how):
        raise AssertionError("nobody was asked")


class Client:
    def __init__(self, *events):
        self._events = events

    async def events(self):
        for event in self._events:
            yield event


@pytest.mark.parametrize(
    ("target", "address", "said"),
    [
        ("sip:carol@clinic.example", "sip:carol@clinic.example", "call sip:carol@clinic"),
        ("sip:carol@192.0.2.7\x1b[2J", "", "which is nobody's address"),
    ],
)
def test_it_is_declined_and_told(target, address, said):
    answer, screen = Answer(), io.StringIO()
    event = TransferRequested(
        None, target, parse_address(address) if address else None, waits=True, _answer=answer
    )
    client = Client(event)
    board = Board(client, PeopleOutput(Terminal(screen, {"TERM": "dumb"})))
    asyncio.run(follow_call(client, board))
    assert answer.declined == 1
    assert said in screen.getvalue()
    assert "\x1b[2J" not in screen.getvalue()
