"""What is captured while nothing may leave, or came before a hold, is neither sent nor heard after.

Whoever holds the signalling says when the other end holds us, and when no more.
"""

from __future__ import annotations

from collections import deque

import pytest

from securecall.media.description import Direction
from securecall.media.endpoints import ToneSource
from securecall.media.frames import rms_dbfs
from securecall.media.playout import Playout
from tests.pairs.media.two_sessions import Pair, StepClock

TALKING, HELD, HOLDING = Direction.SENDRECV, Direction.INACTIVE, Direction.SENDONLY
ASIDE = b"\x00\x40" * 160  # 20 ms of what is said to somebody in the room


class Microphone:
    """Captures by itself and keeps the last 200 ms, as a device does."""

    def __init__(self, *, forgets=True):
        self.forgets, self.hears = forgets, bytes(320)
        self._pieces = deque(maxlen=10)

    def tick(self, _now):
        self._pieces.append(self.hears)

    def read(self, samples, _rate):
        return self._pieces.popleft() if self._pieces else None

    def discard(self):
        if self.forgets:
            self._pieces.clear()

    def close(self):
        pass


@pytest.mark.parametrize("forgets", [True, False], ids=["ours", "control"])
def test_what_was_said_while_they_held_us_does_not_leave_when_they_take_us_back(forgets):
    pair = Pair(clock=StepClock())
    microphone = Microphone(forgets=forgets)
    pair.clock.streams.insert(0, microphone)
    pair.alice.source = microphone
    pair.clock.step(10)
    pair.alice.set_direction(HELD)
    microphone.hears = ASIDE
    pair.clock.step(20)
    microphone.hears = bytes(320)
    pair.alice.set_direction(TALKING)
    pair.clock.step(30)
    assert (rms_dbfs(pair.bob_ears.pcm) > -60) is not forgets


@pytest.mark.parametrize("forgets", [True, False], ids=["ours", "control"])
def test_what_came_before_we_held_them_is_not_heard_when_we_take_them_back(forgets, monkeypatch):
    if not forgets:
        monkeypatch.setattr(Playout, "flush", lambda _: None)
    pair = Pair(wire=lambda *_: [])
    pair.alice.source = ToneSource(440.0)
    pair.clock.step(10)
    pair.alice.source = None
    for datagram in pair.sent["alice"]:  # at once, behind a queue
        pair.bob.receive(datagram)
    pair.bob.set_direction(HOLDING)
    pair.clock.step(20)
    pair.bob.set_direction(TALKING)
    pair.clock.step(20)
    assert (rms_dbfs(pair.bob_ears.pcm) > -60) is not forgets
