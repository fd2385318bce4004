"""Microphone and speaker through PortAudio, on null sinks of a PulseAudio of our own.

Needs apt packages pulseaudio, libportaudio2 and libasound2-plugins, and PyPI's sounddevice and
pywebrtc-audio. Two devices, each a sink whose monitor is its microphone: `table`, the default, on
which 440 Hz play, and `headset` with 620 Hz.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import glob
import json
import math
import os
import statistics
import subprocess
import sys

import pytest

import securecall as sc
from securecall.cli.sound import sample_path
from tests.interop import pulse
from tests.interop.children import need
from tests.interop.sound import write_wav
from tests.paths import PROJECT

pytest.importorskip("sounddevice", reason="needs pip install securecall[devices], libportaudio2")

pytestmark = pytest.mark.timeout(120)
TABLE, HEADSET = 440.0, 620.0


class Room:
    """The server, and what is played on its devices."""

    def __init__(self, folder, environment):
        self.folder = folder
        self.environment = os.environ | environment | {"PYTHONPATH": str(PROJECT)}
        self.processes = []
        self.errors = (folder / "errors").open("w+")

    def pactl(self, *arguments):
        command = [need("pactl", "pulseaudio-utils"), *arguments]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout

    def play(self, device, hertz):
        """Play a tone on a device, for as long as the room lasts."""
        path = self.folder / f"{device}.wav"
        write_wav(path, sc.ToneSource(hertz).read(60 * 48000, 48000), rate=48000, channels=1)
        command = [need("pacat", "pulseaudio-utils"), f"--device={device}", "--file-format=wav"]
        self._start([*command, str(path)])

    def start(self, *arguments):
        """Start our devices' program."""
        return self._start([sys.executable, "-m", "tests.interop.inside_sound", *arguments])

    def _start(self, command):
        process = subprocess.Popen(
            command,
            env=self.environment,
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.processes.append(process)
        return process

    def command(self, *arguments):
        """Start the command, in JSON."""
        return self._start([sys.executable, "-m", "securecall.cli", *arguments, "--json"])

    def run(self, *arguments):
        """Run it to its end; returns all it said."""
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=80)
        assert process.returncode == 0, (self.folder / "errors").read_text()[-2000:]
        return [json.loads(line) for line in said.splitlines()]

    def captures(self):
        """How many programs capture sound at this moment."""
        return len(self.pactl("list", "short", "source-outputs").splitlines())

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
        self.errors.close()


def told(process):
    return json.loads(process.stdout.readline())


def go_on(process):
    process.stdin.write("\n")
    process.stdin.flush()


@contextlib.contextmanager
def opened(folder, **options):
    if ctypes.util.find_library("portaudio") is None:
        pytest.skip("needs apt package libportaudio2")
    if not glob.glob("/usr/lib/*/alsa-lib/libasound_module_pcm_pulse.so"):
        pytest.skip("needs apt package libasound2-plugins")
    with pulse.running(folder, **options) as environment:
        room = Room(folder, environment)
        try:
            yield room
        finally:
            room.end()


@pytest.fixture
def room(tmp_path):
    with opened(tmp_path, devices=("table", "headset")) as room:
        yield room


def test_what_the_speaker_plays_the_microphone_hears(room):
    (heard,) = room.run("loop")
    assert heard["tones"] == [TABLE]


def test_devices_are_listed_by_the_names_they_are_chosen_by(room):
    (found,) = room.run("listing")
    for wanted in ("table", "headset"):
        (device,) = [d for d in found["names"] if d[0].startswith(f"{wanted},")]
        assert device[1] > 0
        assert device[2] > 0


def test_the_microphone_is_changed_while_it_is_heard(room):
    room.play("table", TABLE)
    room.play("headset", HEADSET)
    assert [heard["tones"] for heard in room.run("switch")] == [[TABLE], [HEADSET], [TABLE]]


def test_an_unplugged_headset_is_told_and_the_default_devices_take_over(tmp_path):
    usb = tmp_path / "usb"
    usb.mkdir()
    with contextlib.ExitStack() as plugged:
        bus = plugged.enter_context(pulse.running(usb, devices=("headset",)))
        remote = {"headset": bus["PULSE_SERVER"]}
        with opened(tmp_path, devices=("table",), remote=remote) as room:
            room.play("table", TABLE)
            program = room.start("unplug")
            assert told(program)["dbfs"] > -60
            plugged.close()
            go_on(program)
            assert [told(program) for _ in range(2)] == [{"what": "lost", "device": "headset"}] * 2
            assert told(program)["dbfs"] > -60
            program.wait()


def test_a_muted_microphone_captures_nothing(room):
    room.play("table", TABLE)
    program = room.start("mute")
    for what, captures in (("listens", 1), ("muted", 0), ("listens", 1), ("left alone", 0)):
        assert told(program) == {"what": what}
        assert room.captures() == captures
        go_on(program)


def test_the_echo_of_the_speaker_is_cancelled(room):
    """ERLE of each second: a machine that is busy makes the devices stumble now and then."""
    pytest.importorskip("pywebrtc_audio", reason="needs pip install securecall[voice]")
    (measured,) = room.run("echo", str(sample_path()))
    heard = [near / 48000 for near, _ in measured["powers"]]
    assert min(heard) > 100**2  # without it this would have been sent
    erle = [10 * math.log10(near / max(left, 1.0)) for near, left in measured["powers"]]
    assert statistics.median(erle) > 12, erle
    assert max(erle) > 25, erle


def test_the_command_lists_devices_and_hears_one(room):
    room.play("headset", HEADSET)
    said, _ = room.command("sound", "--listen", "4", "--microphone", "headset").communicate()
    listed, *_, listened = map(json.loads, said.splitlines())
    assert "headset, ALSA" in [device["name"] for device in listed["microphones"]]
    assert sum(device["default"] for device in listed["loudspeakers"]) == 1
    assert listened["type"] == "listened"
    assert listened["loudest_dbfs"] > -30


@pytest.mark.parametrize("raw", [False, True], ids=["cancelled", "raw"])
def test_what_a_call_plays_comes_back_only_where_echo_is_left_as_it_is(room, tmp_path, raw):
    """What plays on the table reaches the headset, which hears itself."""
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse\n")

    def keys(name):
        return ("--home", str(tmp_path / name), "--passphrase-file", str(passphrase))

    def ends(name):
        return ("--microphone", name, "--loudspeaker", name, "--confirm", "never")

    room.play("table", TABLE)
    for name in ("alice", "bob"):
        assert room.command("init", *keys(name)).wait() == 0
    where = ("--ticket", "--once", "--auto-accept", "--host", "127.0.0.1", "--port", "0")
    left = ("--raw",) if raw else ()
    bob = room.command("answer", *where, *left, *ends("headset"), *keys("bob"))
    while (event := told(bob))["type"] != "ticket":
        pass
    alice = room.command("call", event["ticket"], "--seconds", "12", *ends("table"), *keys("alice"))
    said, _ = alice.communicate()
    levels = [e for e in map(json.loads, said.splitlines()) if e["type"] == "levels"]
    late = levels[-40:]
    # a busy machine leaves gaps in what is played and captured, so these are far from -20 dBFS
    assert statistics.median(e["sent_dbfs"] for e in late) > -40
    returned = statistics.median(e["received_dbfs"] for e in late)
    assert returned > -40 if raw else returned < -45
    heard, _ = bob.communicate()
    levels = [e for e in map(json.loads, heard.splitlines()) if e["type"] == "levels"]
    assert max(e["received_dbfs"] for e in levels) > -30
    assert (alice.returncode, bob.returncode) == (0, 0)
