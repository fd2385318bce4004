from __future__ import annotations

import pytest

from securecall.rtp import pacer as module
from securecall.rtp.pacer import MAX_RESENT, Pacer

# 1000 bytes leave in 10 ms: 533333 * 1.5 = 800 kbit/s.
RATE = 533_334


def frame(name: str, packets: int):
    return [(f"{name}{number}", 1000) for number in range(packets)]


def drain(pacer: Pacer[str], now: float = 0.0):
    """Everything with its time."""
    left = []
    while pacer.deadline < float("inf"):
        now = max(now, pacer.deadline)
        left += [(packet, now) for packet in pacer.pull(now=now)]
    return left


def test_packets_leave_at_an_even_pace():
    pacer: Pacer[str] = Pacer(RATE)
    assert pacer.push_frame(frame("a", 5), keyframe=True) == 0
    assert pacer.octets == 5000
    assert pacer.delay == pytest.approx(0.05, rel=1e-3)
    left = drain(pacer, 7.0)
    assert [packet for packet, _ in left] == ["a0", "a1", "a2", "a3", "a4"]
    # 5 ms of what was not used before may be made up for.
    times = [7.0, 7.005, 7.015, 7.025, 7.035]
    assert [at for _, at in left] == pytest.approx(times, abs=1e-3)
    assert (pacer.octets, pacer.deadline) == (0, float("inf"))


def test_what_is_not_due_does_not_leave():
    pacer: Pacer[str] = Pacer(RATE)
    pacer.push_frame(frame("a", 2), keyframe=True)
    assert pacer.pull(now=1.0) == ("a0",)
    assert pacer.pull(now=1.001) == ()
    assert pacer.pull(now=1.0051) == ("a1",)


def test_a_late_caller_makes_up_for_5_ms_and_no_more():
    pacer: Pacer[str] = Pacer(RATE * 10)  # a packet in 1 ms
    pacer.push_frame(frame("a", 50), keyframe=True)
    pacer.pull(now=0.0)
    assert len(pacer.pull(now=1.0)) == 6


def test_retransmissions_go_first_and_in_the_middle_of_a_frame():
    pacer: Pacer[str] = Pacer(RATE)
    pacer.push_frame(frame("a", 2), keyframe=True)
    assert pacer.pull(now=0.0) == ("a0",)
    pacer.push_resent("r", 1000)
    assert [packet for packet, _ in drain(pacer)] == ["r", "a1"]


def test_the_oldest_retransmissions_make_room():
    pacer: Pacer[int] = Pacer(RATE)
    for number in range(MAX_RESENT + 3):
        pacer.push_resent(number, 10)
    assert pacer.dropped_resent == 3
    assert pacer.pull(now=0.0)[0] == 3


def test_where_too_much_waits_whole_frames_are_dropped_and_a_keyframe_is_needed():
    pacer: Pacer[str] = Pacer(RATE)
    pacer.push_frame(frame("k", 3), keyframe=True)
    assert pacer.pull(now=0.0) == ("k0",)
    assert pacer.push_frame(frame("a", 40), keyframe=False) == 0
    assert pacer.push_frame(frame("b", 40), keyframe=False) == 0
    assert pacer.push_frame(frame("c", 1), keyframe=False) == 3  # a, b and itself
    assert pacer.needs_keyframe
    assert pacer.push_frame(frame("d", 1), keyframe=False) == 1  # it refers to what is gone
    assert pacer.push_frame(frame("l", 2), keyframe=True) == 0
    assert not pacer.needs_keyframe
    assert pacer.push_frame(frame("e", 1), keyframe=False) == 0
    # The frame that had begun left whole.
    assert [packet for packet, _ in drain(pacer)] == ["k1", "k2", "l0", "l1", "e0"]
    assert pacer.dropped == 4


def test_a_keyframe_takes_the_place_of_what_waits_too_long():
    pacer: Pacer[str] = Pacer(RATE)
    pacer.push_frame(frame("k", 3), keyframe=True)
    pacer.pull(now=0.0)
    pacer.push_frame(frame("a", 100), keyframe=False)
    assert pacer.push_frame(frame("l", 2), keyframe=True) == 1
    assert not pacer.needs_keyframe
    assert [packet for packet, _ in drain(pacer)] == ["k1", "k2", "l0", "l1"]


def test_a_frame_larger_than_all_memory_is_not_taken():
    pacer: Pacer[str] = Pacer(10**12)
    size = module.MAX_BYTES + 1
    assert pacer.push_frame([("k", size)], keyframe=True) == 1
    assert pacer.needs_keyframe
    assert pacer.octets == 0


def test_a_higher_rate_empties_the_queue_faster():
    pacer: Pacer[str] = Pacer(RATE)
    pacer.push_frame(frame("a", 10), keyframe=True)
    slow = pacer.delay
    pacer.bitrate *= 2
    assert pacer.delay == pytest.approx(slow / 2)


def test_a_rate_of_nothing_stops_it_and_breaks_nothing():
    pacer: Pacer[str] = Pacer(0)
    pacer.push_frame(frame("a", 2), keyframe=True)
    assert pacer.pull(now=0.0) == ("a0",)
    assert pacer.deadline > 1000


def test_cleared_it_begins_with_a_keyframe():
    pacer: Pacer[str] = Pacer(RATE)
    pacer.push_frame(frame("a", 2), keyframe=True)
    pacer.push_resent("r", 10)
    pacer.clear()
    assert pacer.pull(now=1.0) == ()
    assert pacer.push_frame(frame("b", 1), keyframe=False) == 1
    assert pacer.push_frame([], keyframe=False) == 0


def test_retransmissions_that_nobody_waits_for_are_thrown_away():
    pacer: Pacer[str] = Pacer(80_000)
    for name in ("a1", "b1", "a2"):
        pacer.push_resent(name, 1000)
    pacer.forget_resent(lambda packet: packet.startswith("a"))
    assert pacer.dropped_resent == 2
    assert [packet for packet, _ in drain(pacer)] == ["b1"]
