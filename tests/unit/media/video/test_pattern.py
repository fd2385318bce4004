"""The test picture: the same every time, never the same twice, and its number can be read."""

from __future__ import annotations

import pytest

from securecall.errors import UsageError
from securecall.media.video.frames import VideoFrame
from securecall.media.video.ladder import Ladder, ladder
from securecall.media.video.pattern import TestPattern, read_frame_number


@pytest.mark.parametrize("size", [(64, 32), (65, 33), (160, 90), (322, 182)])
def test_the_number_is_read_again(size):
    pattern = TestPattern(*size)
    numbers = [0, 1, 2, 255, 256, 65535, 2**20 - 1]
    assert [read_frame_number(pattern.frame(n)) for n in numbers] == numbers
    assert read_frame_number(pattern.frame(2**20 + 3)) == 3


def test_frames_differ_and_come_out_the_same_again():
    one, other = TestPattern(160, 90), TestPattern(160, 90)
    frames = [one.frame(n) for n in range(5)]
    assert len({f.data for f in frames}) == 5
    assert [other.frame(n) for n in range(5)] == frames


@pytest.mark.parametrize("size", [(64, 36), (320, 180), (100, 80)])
def test_the_number_survives_scaling(size):
    frame = TestPattern(160, 90).frame(1234)
    assert read_frame_number(frame.scaled(*size)) == 1234


def test_no_number_is_read_where_there_is_none():
    frame = TestPattern(160, 90).frame(77)
    strip = bytearray(frame.data)
    for y in range(90 // 8):
        for x in range(120, 125):  # one cell turned over
            strip[y * 160 + x] = 251 - strip[y * 160 + x]
    assert read_frame_number(VideoFrame(width=160, height=90, data=bytes(strip))) is None
    assert read_frame_number(VideoFrame.black(160, 90)) is None
    assert read_frame_number(VideoFrame.black(32, 90)) is None
    white = VideoFrame(width=160, height=90, data=b"\xeb" * len(frame.data))
    assert read_frame_number(white) is None


def test_frames_are_due_at_their_time_and_the_late_reader_gets_the_newest():
    pattern = TestPattern(64, 32, 10)
    read = [pattern.read(100.0 + t) for t in (0.0, 0.05, 0.1, 0.11, 0.55, 0.6)]
    assert [f and read_frame_number(f) for f in read] == [0, None, 1, None, 5, 6]
    assert [f.timestamp for f in read if f] == pytest.approx([100.0, 100.1, 100.5, 100.6])
    pattern.close()
    assert pattern.read(200.0) is None
    assert not pattern.live


@pytest.mark.parametrize("arguments", [(63, 32), (64, 31), (4098, 64), (64, 64, 0), (64, 64, 121)])
def test_patterns_that_cannot_be_are_refused(arguments):
    with pytest.raises(UsageError):
        TestPattern(*arguments)


# ------------------------------------------------------------------ the ladder


@pytest.mark.parametrize(
    ("bitrate", "rung"),
    [
        (5e6, (1280, 720, 30)),
        (1.5e6, (1280, 720, 30)),
        (1_499_999, (960, 540, 30)),
        (900_000, (960, 540, 30)),
        (899_999, (640, 360, 30)),
        (450_000, (640, 360, 30)),
        (449_999, (640, 360, 15)),
        (220_000, (640, 360, 15)),
        (219_999, (320, 180, 15)),
        (0, (320, 180, 15)),
    ],
)
def test_the_rungs(bitrate, rung):
    assert ladder(bitrate) == rung


def test_more_bits_never_mean_fewer_pixels():
    rungs = [ladder(rate) for rate in range(0, 3_000_000, 10_000)]
    pixels = [r.width * r.height * r.fps for r in rungs]
    assert pixels == sorted(pixels)


def test_a_rate_that_swings_about_a_threshold_changes_nothing():
    memory = Ladder(450_000)
    rungs = {memory.step(rate) for rate in (460_000, 440_000, 460_000, 440_000, 530_000)}
    assert rungs == {ladder(450_000), ladder(440_000)}
    assert memory.rung == ladder(440_000)
    assert memory.step(541_000) == ladder(541_000)  # a fifth more than the threshold


def test_down_goes_as_far_as_it_must_at_once():
    memory = Ladder(2e6)
    assert memory.step(100_000) == ladder(100_000)
    assert memory.step(1e9) == ladder(1e9)
