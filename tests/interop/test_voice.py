"""Voice messages before the tools of the makers of Opus: theirs read ours, ours read theirs."""

from __future__ import annotations

import re
import subprocess
from array import array

import pytest

from securecall.chat.voice import VoiceRecorder, VoiceSource
from securecall.media.endpoints import ToneSource
from tests.interop.children import need
from tests.interop.sound import tone_in, tone_seconds, write_wav

HERTZ = 440.0
SECONDS = 3.0
# opusenc: frame sizes in ms, bit rates in kbit/s, constant or not, channels
THEIRS = [
    (2.5, 64, "--vbr", 1), (5, 64, "--hard-cbr", 1), (10, 32, "--cvbr", 2), (20, 16, "--vbr", 1),
    (40, 24, "--vbr", 1), (60, 12, "--vbr", 1), (60, 96, "--vbr", 2), (20, 128, "--vbr", 2),
]  # fmt: skip


@pytest.fixture(scope="module")
def message():
    recorder = VoiceRecorder(ToneSource(HERTZ))
    for _ in range(round(SECONDS / 0.02)):
        recorder.step()
    return recorder.finish()


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_opusinfo_finds_nothing_wrong_with_ours(message, tmp_path):
    path = tmp_path / "ours.opus"
    path.write_bytes(message.data)
    said = run(need("opusinfo", "opus-tools"), str(path))
    assert "WARNING" not in said.upper()
    assert re.search(r"Playback length: 0m:03\.000s", said)
    assert "hard-CBR" in said
    assert re.search(r"Encoded with *\n", said)  # by nobody
    assert "Pre-skip: 312" in said


def test_opusdec_plays_ours(message, tmp_path):
    path, wav = tmp_path / "ours.opus", tmp_path / "ours.wav"
    path.write_bytes(message.data)
    run(need("opusdec", "opus-tools"), "--rate", "48000", str(path), str(wav))
    assert tone_seconds(wav, HERTZ) >= SECONDS - 0.2


@pytest.mark.parametrize(("frame", "rate", "mode", "channels"), THEIRS)
def test_we_play_what_opusenc_makes(tmp_path, frame, rate, mode, channels):
    tone = ToneSource(HERTZ).read(int(48000 * SECONDS), 48000)
    pcm = array("h", tone)
    if channels == 2:
        pcm = array("h", [s for sample in pcm for s in (sample, sample)])
    wav, path = tmp_path / "theirs.wav", tmp_path / "theirs.opus"
    write_wav(wav, pcm.tobytes(), rate=48000, channels=channels)
    run(
        need("opusenc", "opus-tools"), "--quiet", "--framesize", str(frame), "--bitrate", str(rate),
        mode, "--comment", "TITLE=a tone", str(wav), str(path),
    )  # fmt: skip
    source = VoiceSource(path.read_bytes())
    assert source.duration == pytest.approx(SECONDS, abs=0.001)
    heard = array("h")
    while (part := source.read(960, 48000)) is not None:
        heard.frombytes(part)
    assert tone_in(heard, 48000, HERTZ) >= SECONDS - 0.2
