"""What was played is there when its echo is heard, and not behind it."""

from __future__ import annotations

from securecall.media.reference import EchoReference

PIECE = 160  # 10 ms at 8000 Hz


def piece(number):
    return bytes((number % 256,)) * PIECE


def test_what_is_played_is_taken_in_order_and_silence_where_nothing_is():
    reference = EchoReference()
    reference.played(piece(1), 8000)
    reference.played(piece(2), 8000)
    assert [reference.take(PIECE, 8000)[0] for _ in range(4)] == [1, 2, 0, 0]


def test_what_was_played_before_anybody_heard_is_left_out():
    reference = EchoReference(slack=2)
    for number in range(1, 30):
        reference.played(piece(number), 8000)
    assert reference.take(PIECE, 8000)[0] == 28


def test_a_loudspeaker_that_runs_ahead_is_caught_up_with():
    """A late thread makes a queue; what waits for a second is dropped."""
    reference = EchoReference(slack=2)
    for _ in range(10):
        reference.take(PIECE, 8000)
    for number in range(1, 401):
        reference.played(piece(number), 8000)
        if number > 10:
            reference.take(PIECE, 8000)
    reference.played(piece(99), 8000)
    assert [reference.take(PIECE, 8000)[0] for _ in range(3)][-1] == 99


def test_another_rate_is_brought_to_the_microphones():
    reference = EchoReference()
    taken = b""
    for _ in range(50):
        reference.played(bytes(960), 48000)
        taken += reference.take(320, 16000)
    assert len(taken) == 50 * 320
