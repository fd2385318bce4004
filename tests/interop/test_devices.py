"""Microphone and speaker through PortAudio, on a null sink of a PulseAudio of our own.

Needs apt packages pulseaudio, libportaudio2 and libasound2-plugins, and PyPI's sounddevice.
"""

from __future__ import annotations

import ctypes.util
import glob
import os
import subprocess
import sys
import textwrap

import pytest

from tests.interop import pulse

pytest.importorskip("sounddevice", reason="needs pip install securecall[devices], libportaudio2")

PROGRAM = """
import asyncio, sys
from securecall.media.devices import Microphone, Speaker
from securecall.media.frames import AudioFrame, rms_dbfs
from securecall.media.endpoints import ToneSource

RATE = 48000

async def main():
    speaker, microphone = Speaker(), Microphone()
    tone, heard, n = ToneSource(440.0, dbfs=-12.0), [], 0
    loop = asyncio.get_running_loop()
    start = loop.time()
    while loop.time() - start < 20 and len([h for h in heard if h > -20]) < 25:
        speaker.write(AudioFrame(samples=tone.read(960, RATE), sample_rate=RATE))
        pcm = microphone.read(960, RATE)
        if pcm is not None:
            assert len(pcm) == 1920
            heard.append(rms_dbfs(pcm))
        n += 1
        await asyncio.sleep(max(0.0, start + n * 0.02 - loop.time()))
    speaker.close(); microphone.close(); microphone.close()
    print(len(heard), max(heard, default=-96.0))
    assert max(heard, default=-96.0) > -20

asyncio.run(main())
"""


@pytest.fixture
def environment(tmp_path):
    """Where programs find a null sink, whose monitor is the microphone."""
    if ctypes.util.find_library("portaudio") is None:
        pytest.skip("needs apt package libportaudio2")
    if not glob.glob("/usr/lib/*/alsa-lib/libasound_module_pcm_pulse.so"):
        pytest.skip("needs apt package libasound2-plugins")
    with pulse.running(tmp_path, "module-null-sink sink_name=nowhere") as found:
        yield os.environ | found


@pytest.mark.timeout(120)
def test_what_the_speaker_plays_the_microphone_hears(environment):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
