"""Microphone and speaker against a stand-in for PortAudio."""

from __future__ import annotations

import pytest

from securecall.errors import DeviceError, Unsupported
from securecall.media import devices
from securecall.media.devices import Microphone, Speaker
from securecall.media.frames import AudioFrame


class Stream:
    def __init__(self, **options):
        self.callback = options["callback"]
        self.options = options
        self.state = "made"

    def start(self):
        self.state = "started"

    def close(self):
        self.state = "closed"


class PortAudio:
    class PortAudioError(Exception):
        pass

    def __init__(self, *, error=None):
        self.streams, self.error = [], error

    def make(self, **options):
        if self.error is not None:
            raise self.error
        self.streams.append(Stream(**options))
        return self.streams[-1]

    RawInputStream = RawOutputStream = make


class Thread:
    """A thread that has run when `start` returns, or where `held` is a list, when asked to."""

    held = None

    def __init__(self, *, target, args, daemon):
        self.run = lambda: target(*args)

    def start(self):
        if self.held is None:
            self.run()
        else:
            self.held.append(self)


@pytest.fixture
def portaudio(monkeypatch):
    module = PortAudio()
    monkeypatch.setattr(devices, "_sounddevice", lambda: module)
    monkeypatch.setattr(devices.threading, "Thread", Thread)
    return module


def started(portaudio, count=1):
    assert len(portaudio.streams) == count
    assert portaudio.streams[-1].state == "started"
    return portaudio.streams[-1]


def frame(value):
    return AudioFrame(samples=bytes((value,)) * 320, sample_rate=8000)


def test_the_microphone_is_not_touched_before_the_first_read(portaudio):
    microphone = Microphone()
    microphone.discard()
    assert portaudio.streams == []
    assert microphone.read(160, 8000) is None
    assert started(portaudio).options["samplerate"] == 8000


def test_captured_pieces_are_joined_to_frames_in_order(portaudio):
    microphone = Microphone()
    microphone.read(160, 8000)
    stream = started(portaudio)
    for value in (1, 2, 3):
        stream.callback(bytes((value,)) * 160, 80, None, None)
    assert microphone.read(160, 8000) == b"\1" * 160 + b"\2" * 160
    assert microphone.read(160, 8000) is None
    microphone.discard()
    stream.callback(b"\4" * 160, 80, None, None)
    stream.callback(b"\5" * 160, 80, None, None)
    assert microphone.read(160, 8000) == b"\4" * 160 + b"\5" * 160


def test_a_microphone_nobody_reads_keeps_100_ms(portaudio):
    microphone = Microphone()
    microphone.read(160, 8000)
    stream = started(portaudio)
    for _ in range(500):
        stream.callback(bytes(160), 80, None, None)
    assert microphone.dropped == 490


@pytest.mark.parametrize("early", [True, False])
def test_closing_stops_the_device_also_while_it_is_being_opened(portaudio, monkeypatch, early):
    monkeypatch.setattr(Thread, "held", [])
    microphone = Microphone()
    microphone.read(160, 8000)
    if not early:
        Thread.held[0].run()
        assert portaudio.streams[0].state == "started"
    microphone.close()
    microphone.close()
    if early:
        Thread.held[0].run()
    assert portaudio.streams[0].state == "closed"


def test_a_device_that_cannot_be_opened_is_reported_at_the_next_read(portaudio):
    portaudio.error = PortAudio.PortAudioError("no such device")
    microphone = Microphone("nope")
    assert microphone.read(160, 8000) is None
    with pytest.raises(DeviceError, match="no such device"):
        microphone.read(160, 8000)


def test_the_speaker_plays_in_order_and_silence_when_starved(portaudio):
    speaker = Speaker()
    speaker.write(frame(1))
    stream = started(portaudio)
    speaker.write(frame(2))
    played = bytearray()
    for _ in range(5):
        block = bytearray(160)
        stream.callback(block, 80, None, None)
        played += block
    assert played == b"\1" * 320 + b"\2" * 320 + bytes(160)
    assert speaker.starved == 1
    speaker.close()
    assert stream.state == "closed"


def test_a_speaker_slower_than_the_call_drops_the_oldest(portaudio):
    speaker = Speaker()
    for n in range(50):
        speaker.write(frame(n))
    stream = started(portaudio)
    block = bytearray(320)
    stream.callback(block, 160, None, None)
    assert block[0] >= 43
    assert speaker.dropped > 40


def test_a_change_of_rate_opens_the_device_anew(portaudio):
    speaker = Speaker()
    speaker.write(frame(1))
    started(portaudio)
    speaker.write(AudioFrame(samples=bytes(1920), sample_rate=48000))
    stream = started(portaudio, 2)
    assert stream.options["samplerate"] == 48000
    assert portaudio.streams[0].state == "closed"


@pytest.mark.parametrize(
    ("error", "words"),
    [(ImportError("x"), r"securecall\[devices\]"), (OSError("x"), "libportaudio2")],
)
def test_what_is_missing_is_named(monkeypatch, error, words):
    def refuse(name):
        raise error

    monkeypatch.setattr(devices, "import_module", refuse)
    for make in (Microphone, Speaker):
        with pytest.raises(Unsupported, match=words):
            make()
