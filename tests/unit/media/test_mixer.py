"""The mixer: sums of the others, gains, levels, and who hears whom under which gate."""

from __future__ import annotations

import math
from array import array

import pytest

from securecall.errors import UsageError
from securecall.media.description import Gate
from securecall.media.endpoints import ToneSource
from securecall.media.frames import rms_dbfs
from securecall.media.mixer import MOST_VOICES, Level, Limiter, Mixer, sound

N = 160


def frame(*values):
    """A frame whose samples repeat these values."""
    return array("h", (values * N)[:N]).tobytes()


def samples(pcm):
    return array("h", pcm).tolist()


def mixer(*names, **gains):
    mixing = Mixer()
    for name in names:
        mixing.add(name, gain_db=gains.get(name, 0.0))
    return mixing


def mix(mixing, said, local=None, *, live=True):
    """Everybody's gate is OPEN unless the frame comes as (gate, frame)."""
    heard = {n: s if isinstance(s, tuple) else (Gate.OPEN, s) for n, s in said.items()}
    return mixing.mix(heard, local, live=live, samples=N)


A, B, C, OURS = frame(1000, -7, 0), frame(-300, 30000), frame(11), frame(-5, 4, -3, 2)


def added(*frames):
    return [sum(values) for values in zip(*map(samples, frames), strict=True)]


def test_everybody_hears_exactly_the_sum_of_the_others():
    mixed = mix(mixer("a", "b", "c"), {"a": A, "b": B, "c": C}, OURS)
    assert samples(mixed.to["a"]) == added(B, C, OURS)
    assert samples(mixed.to["b"]) == added(A, C, OURS)
    assert samples(mixed.to["c"]) == added(A, B, OURS)
    assert samples(mixed.local) == added(A, B, C)


def test_two_people_hear_each_other_unchanged_at_full_scale():
    loud = frame(32767, -32768, 0)
    mixed = mix(mixer("a", "b"), {"a": loud, "b": loud})
    assert mixed.to == {"a": loud, "b": loud}


def test_who_says_nothing_is_silent_and_still_hears():
    mixed = mix(mixer("a", "b"), {"a": None, "b": B})
    assert mixed.to == {"a": B, "b": bytes(2 * N)}


def test_a_frame_of_another_length_is_silence():
    mixed = mix(mixer("a", "b"), {"a": A[2:], "b": B}, OURS + OURS)
    assert mixed.to == {"a": B, "b": bytes(2 * N)}


@pytest.mark.parametrize("gain_db", [-60.0, -20.0, -6.0, -1.0, 3.0, 12.0])
def test_a_gain_is_what_it_says(gain_db):
    tone = ToneSource(500, dbfs=-20.0).read(N, 8000)
    mixed = mix(mixer("a", "b", a=gain_db), {"a": tone, "b": B})
    factor = 10 ** (gain_db / 20)
    for was, now in zip(samples(tone), samples(mixed.to["b"]), strict=True):
        assert abs(now - was * factor) <= 1 + abs(was) * factor * 0.03
    assert mixed.to["a"] == B


@pytest.mark.parametrize("gain_db", [-60.5, 12.5, math.nan])
def test_a_gain_out_of_range_is_refused(gain_db):
    with pytest.raises(UsageError):
        mixer("a").voices["a"].gain_db = gain_db


def test_the_muted_are_not_heard_but_hear_and_are_metered():
    mixing = mixer("a", "b")
    mixing.voices["a"].muted = mixing.local.muted = True
    mixed = mix(mixing, {"a": B, "b": A}, OURS)
    assert mixed.to == {"a": A, "b": bytes(2 * N)}
    assert mixed.local == A
    assert mixing.voices["a"].level.speaking


def test_too_much_is_turned_down_and_never_wraps_around():
    loud = ToneSource(500, dbfs=-3.0)
    mixing = mixer("a", "b", "c")
    for _ in range(5):
        tone = loud.read(N, 8000)
        mixed = mix(mixing, {"a": tone, "b": tone, "c": tone})
        for was, now in zip(samples(tone), samples(mixed.local), strict=True):
            assert was * now >= 0
        # From the first frame's end on it is the tone again, in its own shape.
        third = [v / 3 for v in added(tone, tone, tone)][20:]
        assert all(abs(a - b) < 200 for a, b in zip(third, samples(mixed.local)[20:], strict=True))


def test_after_something_loud_the_full_gain_comes_back_within_half_a_second():
    limiter, loud = Limiter(), sound(frame(30000))
    limiter.frame(loud + loud + loud, N)
    assert limiter.gain < 0.4
    for _ in range(25):
        pcm = limiter.frame(sound(A), N)
    assert pcm == A
    assert limiter.gain == 1.0


def test_a_level_is_that_of_the_last_frame_and_speech_outlasts_a_pause():
    mixing = mixer("a", "b")
    assert mixing.voices["a"].level == Level(-96.0, speaking=False)
    tone = ToneSource(500, dbfs=-20.0)
    mix(mixing, {"a": tone.read(N, 8000), "b": frame(20)}, frame(5000))
    level = mixing.voices["a"].level
    assert level.dbfs == pytest.approx(-20.0, abs=1.0)
    assert level.speaking
    assert not mixing.voices["b"].level.speaking
    assert mixing.local.level.speaking
    speaking = []
    for _ in range(20):
        mix(mixing, {"a": None, "b": None})
        speaking.append(mixing.voices["a"].level.speaking)
    assert mixing.voices["a"].level.dbfs == -96.0
    assert speaking == [True] * 14 + [False] * 6


def test_nobody_is_in_a_mix_twice_and_nine_are_too_many():
    mixing = mixer(*range(MOST_VOICES - 1))
    with pytest.raises(UsageError):
        mixing.add(0)
    mixing.add("last")
    with pytest.raises(UsageError):
        mixing.add("one more")


def test_whoever_compares_words_talks_with_us_alone():
    said = {"a": A, "b": B, "c": (Gate.VERIFYING, C)}
    mixed = mix(mixer("a", "b", "c"), said, OURS)
    assert samples(mixed.to["a"]) == added(B, OURS)
    assert samples(mixed.to["b"]) == added(A, OURS)
    assert mixed.to["c"] == OURS
    assert samples(mixed.local) == added(A, B, C)


def test_whoever_compares_words_gets_nothing_of_a_file_or_a_tone():
    said = {"a": A, "c": (Gate.VERIFYING, C)}
    mixed = mix(mixer("a", "c"), said, OURS, live=False)
    assert "c" not in mixed.to
    assert mixed.to["a"] == OURS


def test_two_who_compare_words_do_not_hear_each_other():
    said = {"a": (Gate.VERIFYING, A), "b": (Gate.VERIFYING, B)}
    mixed = mix(mixer("a", "b"), said, None)
    assert mixed.to == {"a": bytes(2 * N), "b": bytes(2 * N)}


def test_whoever_is_behind_a_closed_gate_neither_hears_nor_is_heard():
    said = {"a": A, "b": B, "c": (Gate.CLOSED, C)}
    mixing = mixer("a", "b", "c")
    mixed = mix(mixing, said, OURS)
    assert "c" not in mixed.to
    assert samples(mixed.to["a"]) == added(B, OURS)
    assert samples(mixed.local) == added(A, B)
    assert mixing.voices["c"].level == Level()


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_every_rate_of_the_codecs_is_mixed(rate):
    n = rate // 50
    tones = {h: ToneSource(h, dbfs=-20.0).read(n, rate) for h in (440, 620)}
    mixing = mixer(440, 620)
    mixed = mixing.mix(
        {h: (Gate.OPEN, pcm) for h, pcm in tones.items()}, None, live=True, samples=n
    )
    assert mixed.to == {440: tones[620], 620: tones[440]}
    assert rms_dbfs(mixed.local) == pytest.approx(-17.0, abs=1.0)
