"""What is said on the screen of what happens in a call, and what a program is told of it."""

from __future__ import annotations

import asyncio
import io
import json
from types import SimpleNamespace

import pytest

from securecall import CAMERA, SCREEN
from securecall.cli.calling import follow_call
from securecall.cli.desk import Board
from securecall.cli.output import JsonOutput, PeopleOutput
from securecall.cli.terminal import Terminal
from securecall.events import HoldChanged, PeerRecords, PictureAsked, PicturesChanged

CALL = SimpleNamespace(peer="bob@clinic.example\x1b[2J", held=False, on_hold=False)
HELD = SimpleNamespace(peer="bob", held=True, on_hold=False)
ON_HOLD = SimpleNamespace(peer="bob", held=False, on_hold=True)
NONE, ONE, BOTH = frozenset(), frozenset({SCREEN}), frozenset({CAMERA, SCREEN})


class Client:
    def __init__(self, *events):
        self._events = events

    async def events(self):
        for event in self._events:
            yield event


def told(event):
    screen, lines = io.StringIO(), io.StringIO()
    for output in (PeopleOutput(Terminal(screen, {"TERM": "dumb"})), JsonOutput(lines)):
        asyncio.run(follow_call(Client(event), Board(Client(), output)))
    (line,) = lines.getvalue().splitlines()
    return screen.getvalue(), json.loads(line)


@pytest.mark.parametrize(
    ("event", "said", "fields"),
    [
        (HoldChanged(CALL, held=True), "put you on hold", {"type": "hold", "held": True}),
        (HoldChanged(CALL, held=False), "took you back", {"type": "hold", "held": False}),
        (
            PicturesChanged(CALL, BOTH, BOTH),
            "their camera and screen",
            {"type": "shown", "shown": ["camera", "screen"], "seen": ["camera", "screen"]},
        ),
        (PicturesChanged(CALL, BOTH, ONE), "their screen now", {"seen": ["screen"]}),
        (PicturesChanged(CALL, BOTH, NONE), "no pictures any more", {"on_hold": False}),
        (PicturesChanged(CALL, NONE, NONE), "no pictures in this call", {"shown": []}),
        (PicturesChanged(HELD, ONE, NONE), "", {"on_hold": True}),
        (PicturesChanged(ON_HOLD, ONE, NONE), "", {"on_hold": True}),
        (PeerRecords(CALL), "records this call", {"type": "peer_records"}),
        (PictureAsked(CALL, SCREEN), "their screen", {"type": "picture_asked", "what": "screen"}),
    ],
)
def test_news_of_a_call_are_told_to_people_and_programs(event, said, fields):
    screen, line = told(event)
    assert said in screen
    assert bool(screen) is bool(said)
    assert "\x1b[2J" not in screen
    assert fields.items() <= line.items()
