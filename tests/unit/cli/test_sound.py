from __future__ import annotations

import random
import wave
from array import array

import pytest

from securecall.cli import sound
from securecall.errors import DeviceError


def written(path, samples, *, rate=16000, channels=1):
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(array("h", samples).tobytes())
    return path


def speech():
    with wave.open(str(sound.sample_path())) as file:
        return array("h", file.readframes(file.getnframes()))


def test_the_sample_is_speech_of_about_six_seconds():
    assert 6 <= sound.duration(sound.sample_path()) <= 7
    assert (sound.sample_path().parent / "PROVENANCE.md").is_file()


def test_a_recording_that_begins_late_is_still_like_the_original(tmp_path):
    late = written(tmp_path / "late.wav", array("h", [0] * 16000) + speech())
    assert sound.likeness(sound.sample_path(), late) > 0.99


def test_a_quieter_recording_with_noise_is_still_like_the_original(tmp_path):
    dice = random.Random(1)
    noisy = [s // 3 + dice.randint(-40, 40) for s in speech()]
    assert sound.likeness(sound.sample_path(), written(tmp_path / "n.wav", noisy)) > 0.95


def test_noise_and_silence_are_not_like_speech(tmp_path):
    dice = random.Random(2)
    noise = written(tmp_path / "noise.wav", [dice.randint(-9000, 9000) for _ in speech()])
    silence = written(tmp_path / "silence.wav", [0] * len(speech()))
    assert sound.likeness(sound.sample_path(), noise) < 0.5
    assert sound.likeness(sound.sample_path(), silence) == 0.0


def test_the_two_voices_of_the_demo_are_told_apart(tmp_path):
    other = tmp_path / "bob.wav"
    sound.second_voice(other)
    assert sound.duration(other) == sound.duration(sound.sample_path())
    assert sound.likeness(sound.sample_path(), other) < 0.9


def test_either_channel_of_a_recording_can_be_looked_at(tmp_path):
    both = array("h", [0] * (2 * len(speech())))
    both[1::2] = speech()
    path = written(tmp_path / "both.wav", both, channels=2)
    assert sound.likeness(sound.sample_path(), path, channel=0) == 0.0
    assert sound.likeness(sound.sample_path(), path, channel=1) > 0.99


def test_a_trace_is_high_where_it_is_loud(tmp_path):
    path = written(tmp_path / "t.wav", [0] * 8000 + [9000] * 8000)
    assert sound.trace(path, 4) == [0.0, 0.0, 1.0, 1.0]
    assert sound.trace(path, 4, seconds=2.0) == [0.0, 1.0, 0.0, 0.0]


def test_what_is_no_recording_is_refused(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"RIFF")
    with pytest.raises(DeviceError):
        sound.likeness(sound.sample_path(), tmp_path / "x.wav")
    assert sound.duration(tmp_path / "absent.wav") == 0.0


def test_a_needle_jumps_up_and_falls_slowly():
    needle = sound.Needle()
    assert needle.show(-10.0) == -10.0
    assert -20 < needle.show(-96.0) < -10
    assert needle.show(-12.0) == -12.0
    for _ in range(20):
        needle.show(-96.0)
    assert needle.dbfs == -96.0
