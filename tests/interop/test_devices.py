"""Microphone and speaker through PortAudio, on a null sink of a PulseAudio of our own.

Needs apt packages pulseaudio, libportaudio2 and libasound2-plugins, and PyPI's sounddevice.
"""

from __future__ import annotations

import ctypes.util
import glob
import os
import shutil
import subprocess
import sys
import textwrap
import time

import pytest

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
def pulse(tmp_path):
    """The environment of a PulseAudio server with a null sink, whose monitor is the microphone."""
    if shutil.which("pulseaudio") is None:
        pytest.skip("needs apt package pulseaudio")
    if ctypes.util.find_library("portaudio") is None:
        pytest.skip("needs apt package libportaudio2")
    if not glob.glob("/usr/lib/*/alsa-lib/libasound_module_pcm_pulse.so"):
        pytest.skip("needs apt package libasound2-plugins")
    socket = tmp_path / "native"
    (tmp_path / "asoundrc").write_text("pcm.!default pulse\nctl.!default pulse\n")
    environment = os.environ | {
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "PULSE_RUNTIME_PATH": str(tmp_path),
        "PULSE_STATE_PATH": str(tmp_path),
        "PULSE_SERVER": f"unix:{socket}",
        "ALSA_CONFIG_PATH": f"/usr/share/alsa/alsa.conf:{tmp_path}/asoundrc",
    }
    environment.pop("DBUS_SESSION_BUS_ADDRESS", None)
    command = [
        "pulseaudio", "-n", "--system=false", "--daemonize=no", "--exit-idle-time=-1",
        "--use-pid-file=no", "--disallow-exit=yes",
        "-L", "module-null-sink sink_name=nowhere",
        "-L", f"module-native-protocol-unix auth-anonymous=1 socket={socket}",
    ]  # fmt: skip
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)
    for _ in range(100):
        if socket.exists() or server.poll() is not None:
            break
        time.sleep(0.1)
    if not socket.exists():
        server.terminate()
        server.wait(10)
        pytest.skip("pulseaudio does not start here")
    yield environment
    server.terminate()
    server.wait(10)


@pytest.mark.timeout(120)
def test_what_the_speaker_plays_the_microphone_hears(pulse):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        env=pulse,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
