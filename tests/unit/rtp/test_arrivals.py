from __future__ import annotations

import pytest

from securecall.rtp.arrivals import INTERVAL, MAX_ARRIVALS, SUDDEN, ArrivalLog, Lateness
from securecall.rtp.feedback import DELTA_UNIT, REFERENCE_UNIT
from securecall.rtp.rtcp import build_rtcp, parse_rtcp


def log() -> ArrivalLog:
    return ArrivalLog(sender_ssrc=1, media_ssrc=2)


def told(feedback) -> dict[int, float]:
    """What the sender learns: number and time, after a journey as bytes."""
    times = {}
    for packet in parse_rtcp(build_rtcp(feedback), reduced=True):
        for offset, ticks in packet.arrivals:
            number = packet.base_sequence + offset & 0xFFFF
            times[number] = packet.reference_time * REFERENCE_UNIT + ticks * DELTA_UNIT
    return times


def test_nothing_is_told_before_something_came():
    arrivals = log()
    assert arrivals.deadline == float("inf")
    assert arrivals.poll(now=100.0) == ()


def test_arrivals_are_told_once_after_a_tenth_of_a_second():
    arrivals = log()
    arrivals.receive(65534, now=10.0)
    arrivals.receive(0, now=10.05)
    assert arrivals.deadline == 10.0 + INTERVAL
    assert arrivals.poll(now=10.05) == ()
    (feedback,) = arrivals.poll(now=10.1)
    assert (feedback.base_sequence, feedback.count, feedback.number) == (65534, 3, 0)
    assert told([feedback]) == pytest.approx({65534: 10.0, 0: 10.05}, abs=DELTA_UNIT)
    assert arrivals.deadline == float("inf")
    assert arrivals.poll(now=10.3) == ()


def test_what_is_missing_in_between_is_told_by_the_next():
    arrivals = log()
    arrivals.receive(1, now=0.0)
    arrivals.poll(now=0.1)
    arrivals.receive(4, now=0.15)
    (feedback,) = arrivals.poll(now=arrivals.deadline)
    assert (feedback.base_sequence, feedback.count, feedback.number) == (2, 3, 1)
    assert [offset for offset, _ in feedback.arrivals] == [2]


def test_what_came_late_is_told_with_what_came_before():
    arrivals = log()
    for number in (1, 2, 4):
        arrivals.receive(number, now=1.0)
    arrivals.poll(now=1.1)
    arrivals.receive(3, now=1.12)
    (feedback,) = arrivals.poll(now=arrivals.deadline)
    assert feedback.base_sequence == 3
    assert set(told([feedback])) == {3, 4}


def test_the_first_of_two_arrivals_counts():
    arrivals = log()
    arrivals.receive(1, now=1.0)
    arrivals.receive(1, now=1.05)
    assert told(arrivals.poll(now=1.1)) == pytest.approx({1: 1.0}, abs=DELTA_UNIT)


def test_more_than_fits_is_told_in_pieces():
    arrivals = log()
    for number in range(1000):
        arrivals.receive(number, now=1.0 + number / 10000)
    feedback = arrivals.poll(now=2.0)
    assert [len(f.arrivals) for f in feedback] == [MAX_ARRIVALS, MAX_ARRIVALS, 200]
    assert [f.number for f in feedback] == [0, 1, 2]
    assert all(len(build_rtcp([f])) < 1100 for f in feedback)
    assert set(told(feedback)) == set(range(1000))


def test_times_too_far_apart_for_a_delta_are_told_in_pieces():
    arrivals = log()
    arrivals.receive(1, now=1.0)
    arrivals.receive(2, now=20.0)
    feedback = arrivals.poll(now=20.0)
    assert len(feedback) == 2
    assert told(feedback) == pytest.approx({1: 1.0, 2: 20.0}, abs=DELTA_UNIT)


def test_a_jump_is_followed_and_what_is_far_behind_is_not():
    arrivals = log()
    arrivals.receive(1, now=1.0)
    arrivals.receive(20001, now=1.01)
    arrivals.receive(10000, now=1.02)
    (feedback,) = arrivals.poll(now=1.2)
    assert (feedback.base_sequence, feedback.count) == (20001, 1)


def test_the_clock_of_feedback_wraps():
    arrivals = log()
    now = (1 << 24) * REFERENCE_UNIT + 5.0
    arrivals.receive(1, now=now)
    assert told(arrivals.poll(now=now + 1)) == pytest.approx({1: 5.0}, abs=DELTA_UNIT)


def test_what_is_suddenly_late_is_told_at_once_for_a_while():
    arrivals, told_at_once = log(), []
    for n in range(250):
        now = n * 0.02
        arrivals.poll(now=now)
        arrivals.receive(n, now=now, lateness=0.2 if n >= 50 else SUDDEN)
        if arrivals.deadline == now:
            told_at_once.append(now)
            arrivals.poll(now=now)
    assert told_at_once[0] == 1.0
    assert 14 <= len([at for at in told_at_once if at < 2.9]) <= 16  # 0.3 s of it
    assert len(told_at_once) <= 2 * 16  # and after two seconds again


@pytest.mark.parametrize("first", [0, 2**32 - 90_000])
def test_lateness_is_that_of_the_fastest_of_late(first):
    lateness = Lateness(90_000)

    def measure(n, delay):
        return lateness.measure(first + n * 3000 & 0xFFFFFFFF, now=7.0 + n / 30 + delay)

    assert measure(0, 0.05) == 0.0
    assert measure(1, 0.02) == 0.0
    assert measure(2, 0.12) == pytest.approx(0.1)
    assert measure(1, 0.12) == pytest.approx(0.1)  # out of order
    late = [measure(n, 0.3) for n in range(3, 400)]
    assert late[0] == pytest.approx(0.28)
    assert late[-1] == pytest.approx(0.0)  # the path has become a longer one
