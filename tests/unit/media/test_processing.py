"""Echo, noise and gain, measured in a room of numbers; and what happens without the library."""

from __future__ import annotations

import numpy as np
import pytest

from securecall.errors import Unsupported
from securecall.media import processing
from securecall.media.processing import VoiceProcessing
from tests import room

pytest.importorskip("pywebrtc_audio", reason="the extra voice")

RATE = 48000
rates = pytest.mark.parametrize("rate", [8000, 48000])


def twice(rate):
    return np.tile(room.speech(room.FAR, rate), 2)


def loudness(samples):
    """dBFS where there is speech."""
    loud = samples[np.abs(samples) > 0.05 * np.abs(samples).max()]
    return room.decibels(loud, np.array([32768.0]))


@pytest.mark.parametrize("reverberation", [0.2, 0.4])
def test_the_room_dies_away_as_it_is_told_to(reverberation):
    response = room.impulse_response(RATE, reverberation=reverberation)
    left = 10 * np.log10(np.cumsum(response[::-1] ** 2)[::-1] / (response**2).sum())
    five, twenty_five = (np.argmax(left < -level) / RATE for level in (5, 25))
    assert 3 * (twenty_five - five) == pytest.approx(reverberation, rel=0.6)
    away = np.linalg.norm(np.subtract(room.LOUDSPEAKER, room.MICROPHONE))
    assert np.argmax(response) == pytest.approx(away / room.SOUND * RATE, abs=1)


@rates
def test_the_echo_is_cancelled_by_more_than_25_db(rate):
    """ERLE: how much less of what the loudspeaker plays leaves than the microphone heard."""
    played = twice(rate)
    heard = room.heard(played, rate) + room.noise(len(played), dbfs=-65)
    second = slice(len(played) // 2, len(played) // rate * rate)
    left = room.clean(VoiceProcessing().begin(rate), heard, played, rate)
    assert room.decibels(heard[second], left[second]) > 25
    # suppression of noise alone lets it through
    left = room.clean(VoiceProcessing(echo=False).begin(rate), heard, played, rate)
    assert room.decibels(heard[second], left[second]) < 3


def test_the_echo_stays_away_when_the_microphone_is_moved():
    played = twice(RATE)
    moved = room.impulse_response(RATE, at=(3.1, 1.2, 1.1))
    half = len(played) // 2
    heard = np.concatenate(
        (room.heard(played, RATE)[:half], room.heard(played, RATE, response=moved)[half:])
    )
    left = room.clean(VoiceProcessing().begin(RATE), heard, played, RATE)
    settled = slice(half + RATE, len(left))
    assert room.decibels(heard[settled], left[settled]) > 25


def test_who_speaks_against_the_echo_is_heard():
    played, voice = twice(RATE), room.speech(room.NEAR, RATE)
    at = len(played) // 2
    voice = voice[: len(played) - at - RATE]
    heard = room.heard(played, RATE, level=-12)
    heard[at : at + len(voice)] += voice
    left = room.clean(VoiceProcessing().begin(RATE), heard, played, RATE)
    left = left[at : at + len(voice)]
    assert abs(room.decibels(left, voice)) < 3
    theirs = played[at : at + len(voice)]
    flows = [room.flow(samples, RATE) for samples in (left, voice, theirs)]
    alike = np.corrcoef(flows)[0]
    assert alike[1] > 0.75
    assert alike[2] < 0.25


def test_noise_becomes_less_and_the_voice_stays():
    voice = np.concatenate((np.zeros(3 * RATE), room.speech(room.NEAR, RATE)))
    noise = room.noise(len(voice), dbfs=-50)
    kept = room.clean(VoiceProcessing(noise=False).begin(RATE), voice + noise, voice * 0, RATE)
    left = room.clean(VoiceProcessing().begin(RATE), voice + noise, voice * 0, RATE)
    quiet, loud = slice(2 * RATE, 3 * RATE), slice(3 * RATE, len(left))
    assert room.decibels(kept[quiet], left[quiet]) > 4
    assert abs(room.decibels(left[loud], voice[loud])) < 1.5


def test_gain_brings_a_quiet_voice_up_and_a_loud_one_less():
    voice = np.tile(room.speech(room.NEAR, 16000), 3)
    out = {}
    for level in (-20, 0):
        spoken = voice * 10 ** (level / 20)
        done = room.clean(VoiceProcessing(gain=True).begin(16000), spoken, spoken * 0, 16000)
        out[level] = loudness(done[-len(voice) // 3 :])
    assert loudness(voice) == pytest.approx(-26, abs=1)
    assert out[-20] > -46 + 20
    assert out[-20] == pytest.approx(out[0], abs=10)


def test_what_is_missing_is_named(monkeypatch):
    def refuse(name):
        raise ImportError(name)

    monkeypatch.setattr(processing, "import_module", refuse)
    with pytest.raises(Unsupported, match=r"securecall\[voice\]"):
        VoiceProcessing()
