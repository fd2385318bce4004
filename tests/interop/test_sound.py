"""The ear of the other tests: it hears the tone that is there, and no other."""

from __future__ import annotations

import random
from array import array

import pytest

import securecall as sc
from tests.interop.sound import loudest, tone_seconds, write_wav

RATE = 8000


def noise():
    chance = random.Random(1)
    return array("h", [chance.randint(-9000, 9000) for _ in range(RATE)]).tobytes()


def two_tones():
    low, high = (array("h", sc.ToneSource(f).read(RATE, RATE)) for f in (440, 620))
    return array("h", [a + b for a, b in zip(low, high, strict=True)]).tobytes()


@pytest.mark.parametrize(
    ("pcm", "heard"),
    [
        (sc.ToneSource(440).read(RATE, RATE), 1.0),
        (sc.ToneSource(620).read(RATE, RATE), 0.0),
        (sc.ToneSource(450).read(RATE, RATE), 0.0),
        (bytes(2 * RATE), 0.0),
        (noise(), 0.0),
        (two_tones(), 0.0),
    ],
    ids=["the tone", "another", "a near one", "silence", "noise", "two at once"],
)
def test_only_the_tone_itself_is_heard(tmp_path, pcm, heard):
    write_wav(tmp_path / "a.wav", pcm, rate=RATE, channels=1)
    assert tone_seconds(tmp_path / "a.wav", 440) == pytest.approx(heard)
    assert (loudest(tmp_path / "a.wav") == 0) == (pcm == bytes(2 * RATE))
