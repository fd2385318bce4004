"""Pictures wait for their sound: in order, within bounds, and never the other way round."""

from __future__ import annotations

import pytest

from securecall.media.synchrony import Heard
from securecall.media.video.frames import VideoFrame
from securecall.media.video.presenting import LONGEST, Presenter


def picture(number):
    return VideoFrame.black(2, 2, timestamp=float(number))


class Shown(Presenter):
    """What was shown; the sound of timestamp n is heard at `heard[n]`."""

    def __init__(self, heard):
        self.frames = []
        super().__init__(lambda timestamp: heard.get(timestamp), self.frames.append)

    @property
    def numbers(self):
        return [int(frame.timestamp) for frame in self.frames]


def test_a_picture_waits_until_its_sound_is_heard_and_has_its_time():
    shown = Shown({1: Heard(3.5, 10.1)})
    shown.take(picture(1), 1, now=10.0)
    shown.poll(10.08)
    assert shown.numbers == []
    shown.poll(10.1)
    (frame,) = shown.frames
    assert (frame.timestamp, frame.audio_time) == (1.0, 3.5)


@pytest.mark.parametrize("heard", [None, Heard(3.5, 9.0), Heard(3.5, 10.0)])
def test_one_whose_sound_was_heard_or_is_unknown_is_shown_at_once(heard):
    shown = Shown({1: heard})
    shown.take(picture(1), 1, now=10.0)
    assert shown.numbers == [1]
    assert shown.frames[0].audio_time == (heard and heard.seconds)


def test_none_waits_for_longer_than_the_bound_whatever_the_peer_says():
    shown = Shown({1: Heard(3.5, 11.9)})
    shown.take(picture(1), 1, now=10.0)
    shown.poll(10.0 + LONGEST - 0.02)
    assert shown.numbers == []
    shown.poll(10.0 + LONGEST)
    assert shown.numbers == [1]


def test_the_order_stays_though_the_sound_began_to_run_ahead():
    shown = Shown({1: Heard(1.0, 10.1), 2: Heard(1.03, 10.02)})
    shown.take(picture(1), 1, now=10.0)
    shown.take(picture(2), 2, now=10.01)
    shown.poll(10.05)
    assert shown.numbers == []
    shown.poll(10.1)
    assert shown.numbers == [1, 2]


def test_more_than_a_few_push_the_oldest_out_and_what_is_forgotten_is_never_shown():
    shown = Shown({n: Heard(1.0, 10.2) for n in range(40)})
    for number in range(40):
        shown.take(picture(number), number, now=10.0)
    assert shown.numbers == list(range(24))
    shown.clear()
    shown.poll(11.0)
    assert len(shown.numbers) == 24
