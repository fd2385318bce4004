"""Where in the sound a moment of the peer's clock is heard."""

from __future__ import annotations

import pytest

from securecall.media.synchrony import MOST_APART, Heard, SoundTime
from securecall.rtp.stream import ReceivedSource

RATE = 48000


def source(ssrc=1, cname="x", *, ntp=100, timestamp=2**32 - RATE):
    """At 100 s of the peer's clock it captured what has this timestamp: one second before 0."""
    found = ReceivedSource(ssrc, RATE, 1)
    found.cname = cname
    found.receive_report(ntp << 32, timestamp, now=5.0)
    return found


def playing(position=0, *, ssrc=1):
    """The sample that was captured at 101 s is heard at 50 s of ours, 7 s after the sound began."""
    time = SoundTime()
    time.played(ssrc, position, RATE, seconds=7.0, now=50.0)
    return time


@pytest.mark.parametrize("ahead", [0.0, 0.25, -0.25, 1.9, -1.9])
def test_a_moment_is_heard_as_much_later_as_it_was_captured_later(ahead):
    heard = playing().find(101.0 + ahead, "x", (source(),))
    assert (heard.seconds, heard.due) == pytest.approx((7.0 + ahead, 50.0 + ahead))


@pytest.mark.parametrize(
    ("time", "wall", "cname", "sources"),
    [
        (playing(), 101.0 + MOST_APART + 0.1, "x", (source(),)),
        (playing(), 101.0 - MOST_APART - 0.1, "x", (source(),)),
        (playing(), 101.0, "y", (source(),)),
        (playing(), 101.0, "", (source(cname=""),)),
        (playing(), 101.0, "x", (source(ssrc=2),)),
        (playing(), 101.0, "x", ()),
        (playing(), 101.0, "x", (ReceivedSource(1, RATE, 1),)),  # no report yet
        (SoundTime(), 101.0, "x", (source(),)),
    ],
)
def test_what_is_of_another_clock_or_of_no_sense_has_no_place(time, wall, cname, sources):
    assert playing().find(101.0, "x", (source(),)) == Heard(7.0, 50.0)  # the control
    assert time.find(wall, cname, sources) is None


def test_a_guess_moves_nothing_and_the_end_of_the_sound_forgets_it():
    time = playing()
    time.played(1, None, RATE, seconds=8.0, now=51.0)
    assert time.find(101.0, "x", (source(),)) == Heard(7.0, 50.0)
    time.forget()
    assert time.find(101.0, "x", (source(),)) is None
