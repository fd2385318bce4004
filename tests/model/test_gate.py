"""What the machine orders is what happens: the real gate, before real keys, in all orders of acts.

`MediaConnection` and `AudioSession` are the real ones; a microphone counts how often it is read, a
path what it was given, ears what they were played. (There is no camera: no code of ours opens one.)
"""

from __future__ import annotations

import asyncio
import itertools

import pytest

from securecall.calls import sound
from securecall.calls.connection import ConnectionEvents, MediaConnection
from securecall.media.description import Direction
from securecall.media.engine import AudioSession
from securecall.policy import Gate, Policy
from securecall.transport.dtls import DtlsCertificate
from tests.pairs.media.two_sessions import Pair, StepClock

CERTIFICATE = DtlsCertificate.generate()


class Sound:
    """A source that counts its readers."""

    def __init__(self, *, live: bool) -> None:
        self.live, self.reads = live, 0

    def read(self, samples, rate):
        self.reads += 1
        return b"\x11\x22" * samples

    def discard(self):
        pass

    def close(self):
        pass


class Scene:
    """Alice's connection with a session that has keys; Bob's session sends to her."""

    def __init__(self) -> None:
        quiet = ConnectionEvents(
            secured=lambda *_: None,
            failed=lambda e: None,
            guess_burned=lambda: None,
            sound_failed=lambda e: None,
            peer_said=lambda said: None,
        )
        self.connection = MediaConnection(
            quiet, policy=Policy(), identity=None, strict=True, clock=StepClock(), towards="",
            outgoing=True,
        )  # fmt: skip
        self.pair = Pair(gate=Gate.CLOSED, wire=lambda sender, d: [d] if sender == "bob" else [])
        self.pair.bob.gate = Gate.OPEN
        self.connection.sound._session = self.pair.alice
        self.microphone, self.playlist = Sound(live=True), Sound(live=False)
        self.held = self.left = False

    def counts(self) -> tuple[int, int, int, int]:
        """Reads of the microphone and of the playlist, datagrams sent, frames played."""
        pair = self.pair
        sent, heard = len(pair.sent["alice"]), len(pair.alice_ears.frames)
        return (self.microphone.reads, self.playlist.reads, sent, heard)

    def act(self, name: str) -> None:
        connection = self.connection
        match name:
            case "time passes":
                self.pair.clock.step(5)
            case "speak":
                connection.sound.source = self.microphone
            case "play":
                connection.sound.source = self.playlist
            case "hold":
                self.held = not self.held
                connection.sound.set_direction(
                    Direction.INACTIVE if self.held else Direction.SENDRECV
                )
            case "the peer leaves":
                self.left = True
                connection._peer_leaves()
            case _:
                connection.gate = Gate[name]


ACTS = ("time passes", "speak", "play", "hold", "the peer leaves", *(gate.name for gate in Gate))


def walk(depth: int) -> tuple[int, ...]:
    """Every order of acts; returns what passed in all of them together."""
    total = [0, 0, 0, 0]
    for names in itertools.product(ACTS, repeat=depth):
        if names[-1] != "time passes":  # only time moves media, so no other end shows more
            continue
        scene = Scene()
        for name in names:
            before = scene.counts()
            scene.act(name)
            passed = [b - a for a, b in zip(before, scene.counts(), strict=True)]
            gate = scene.connection.gate
            assert gate is scene.pair.alice.gate
            if gate is Gate.CLOSED or scene.held or name != "time passes":
                assert passed == [0, 0, 0, 0], names
            if gate is Gate.VERIFYING:
                assert passed[1] == 0, names
            assert gate is Gate.CLOSED or not scene.left, names
            total = [a + b for a, b in zip(total, passed, strict=True)]
    return tuple(total)


async def walked(depth: int) -> tuple[int, ...]:
    return walk(depth)


@pytest.fixture(autouse=True)
def one_certificate(monkeypatch):
    monkeypatch.setattr(DtlsCertificate, "generate", lambda *_, **__: CERTIFICATE)


def test_nothing_is_read_sent_or_played_behind_a_closed_gate_in_any_order():
    assert all(asyncio.run(walked(3))), "and all of it passes through an open one"


@pytest.mark.soak
def test_nothing_is_read_sent_or_played_behind_a_closed_gate_in_longer_orders():
    assert all(asyncio.run(walked(6)))


def keeps_open(patch):
    true = AudioSession.gate.fset
    always = property(AudioSession.gate.fget, lambda self, gate: true(self, Gate.OPEN))
    patch.setattr(AudioSession, "gate", always)


def plays_files_while_words_are_compared(patch):
    patch.setattr(sound.Sound, "_releasable", lambda self: self._source)


def opens_after_the_peer_left(patch):
    def gate(self, gate):
        self.sound.gate = gate

    patch.setattr(MediaConnection, "gate", property(MediaConnection.gate.fget, gate))


def reads_the_microphone_first(patch):
    true = AudioSession.tick

    def tick(self, now):
        if self._source is not None:
            self._source.read(self._samples, self._rate)
        true(self, now)

    patch.setattr(AudioSession, "tick", tick)


@pytest.mark.parametrize(
    "seeded",
    [
        keeps_open,
        plays_files_while_words_are_compared,
        opens_after_the_peer_left,
        reads_the_microphone_first,
    ],
)
def test_control_a_gate_with_a_defect_is_found(monkeypatch, seeded):
    seeded(monkeypatch)
    with pytest.raises(AssertionError):
        asyncio.run(walked(3))
