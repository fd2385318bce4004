"""Microphone and speaker against a stand-in for PortAudio."""

from __future__ import annotations

import pytest

from securecall.errors import DeviceError, DeviceLost, Unsupported
from securecall.media import portaudio
from securecall.media.devices import Microphone, Speaker, sound_devices
from securecall.media.frames import AudioFrame


class Stop(Exception):
    pass


class Stream:
    latency = 0.02

    def __init__(self, **options):
        self.options = options
        self.state = "made"

    def start(self):
        self.state = "started"

    def close(self):
        self.state = "closed"
        self.options["finished_callback"]()

    def callback(self, data):
        """As PortAudio does; tells whether it is called again."""
        try:
            self.options["callback"](data, len(data) // 2, None, None)
        except Stop:
            self.options["finished_callback"]()
            return False
        return True

    def unplug(self):
        self.options["finished_callback"]()


class PortAudio:
    class PortAudioError(Exception):
        pass

    CallbackAbort = Stop

    class default:
        hostapi = 0

    def __init__(self):
        self.streams, self.missing, self.scans = [], set(), 0
        self.runs, self.broken = True, False

    def make(self, **options):
        if options["device"] in self.missing:
            raise self.PortAudioError("no such device")
        self.streams.append(Stream(**options))
        return self.streams[-1]

    RawInputStream = RawOutputStream = make

    def _terminate(self):
        if not self.runs:
            raise self.PortAudioError("PortAudio not initialized")
        self.runs = False
        assert all(stream.state == "closed" for stream in self.streams)

    def _initialize(self):
        if self.broken:
            raise self.PortAudioError("no sound server")
        self.runs = True
        self.scans += 1

    def query_hostapis(self):
        return ({"name": "ALSA", "default_input_device": 1, "default_output_device": 0},)

    def query_devices(self):
        return [
            {
                "name": name,
                "index": index,
                "hostapi": 0,
                "max_input_channels": inputs,
                "max_output_channels": outputs,
            }
            for index, (name, inputs, outputs) in enumerate((("table", 0, 2), ("headset", 1, 2)))
        ]


class Worker:
    """The thread of the devices: it has done everything when `run` returns, or when asked to."""

    def __init__(self):
        self.held = None

    def run(self, work):
        if self.held is None:
            work()
        else:
            self.held.append(work)

    def go_on(self):
        held, self.held = self.held, None
        for work in held:
            work()


@pytest.fixture
def worker(monkeypatch):
    worker = Worker()
    monkeypatch.setattr(portaudio, "run", worker.run)
    return worker


@pytest.fixture
def portaudio_(monkeypatch, worker):
    module = PortAudio()
    monkeypatch.setattr(portaudio, "import_module", lambda name: module)
    monkeypatch.setattr(portaudio, "_open", set())
    return module


def started(module, count=1):
    assert len(module.streams) == count
    assert module.streams[-1].state == "started"
    return module.streams[-1]


def frame(value):
    return AudioFrame(samples=bytes((value,)) * 320, sample_rate=8000)


def test_the_microphone_is_not_touched_before_the_first_read(portaudio_):
    microphone = Microphone()
    microphone.discard()
    assert portaudio_.streams == []
    assert microphone.read(160, 8000) is None
    assert started(portaudio_).options["samplerate"] == 8000


def test_captured_pieces_are_joined_to_frames_in_order(portaudio_):
    microphone = Microphone()
    microphone.read(160, 8000)
    stream = started(portaudio_)
    for value in (1, 2, 3):
        stream.callback(bytes((value,)) * 160)
    assert microphone.read(160, 8000) == b"\1" * 160 + b"\2" * 160
    assert microphone.read(160, 8000) is None
    microphone.discard()
    stream.callback(b"\4" * 160)
    stream.callback(b"\5" * 160)
    assert microphone.read(160, 8000) == b"\4" * 160 + b"\5" * 160


def test_a_microphone_nobody_reads_keeps_100_ms(portaudio_):
    microphone = Microphone()
    microphone.read(160, 8000)
    stream = started(portaudio_)
    for _ in range(500):
        stream.callback(bytes(160))
    assert microphone.dropped == 490


@pytest.mark.parametrize("early", [True, False])
def test_closing_stops_the_device_also_while_it_is_being_opened(portaudio_, worker, early):
    microphone = Microphone()
    if early:
        worker.held = []
    microphone.read(160, 8000)
    assert microphone.is_open
    if not early:
        assert portaudio_.streams[0].state == "started"
    microphone.close()
    microphone.close()
    assert not microphone.is_open
    if early:
        worker.go_on()
    assert [stream.state for stream in portaudio_.streams] == ([] if early else ["closed"])


def test_nothing_is_kept_of_what_comes_while_the_device_is_being_closed(portaudio_, worker):
    microphone = Microphone()
    microphone.read(160, 8000)
    stream = started(portaudio_)
    worker.held = []
    microphone.listen(on=False)
    assert not stream.callback(b"\1" * 160)
    microphone.listen(on=True)
    worker.go_on()
    assert microphone.read(80, 8000) is None
    assert started(portaudio_, 2).callback(b"\2" * 160)
    assert microphone.read(80, 8000) == b"\2" * 160


def test_a_muted_microphone_is_closed_and_stays_closed(portaudio_):
    microphone = Microphone()
    microphone.read(160, 8000)
    stream = started(portaudio_)
    stream.callback(b"\1" * 160)
    microphone.listen(on=False)
    assert stream.state == "closed"
    for _ in range(200):
        assert microphone.read(160, 8000) is None
    assert len(portaudio_.streams) == 1
    microphone.listen(on=True)
    assert len(portaudio_.streams) == 1
    assert microphone.read(160, 8000) is None
    started(portaudio_, 2)


def test_a_microphone_nobody_reads_for_a_second_is_closed(portaudio_):
    microphone = Microphone()
    microphone.read(160, 8000)
    stream = started(portaudio_)
    blocks = 1
    while stream.callback(bytes(160)) and blocks < 1000:
        blocks += 1
    assert blocks == 110
    assert stream.state == "closed"
    assert not microphone.is_open
    assert microphone.read(160, 8000) is None
    assert started(portaudio_, 2).callback(bytes(160))


def test_a_device_that_cannot_be_opened_is_reported_at_the_next_read(portaudio_):
    portaudio_.missing = {"nope"}
    microphone = Microphone("nope")
    assert microphone.read(160, 8000) is None
    with pytest.raises(DeviceError, match="no such device") as caught:
        microphone.read(160, 8000)
    assert not isinstance(caught.value, DeviceLost)
    assert portaudio_.scans == 1  # it could have been plugged in since


def test_an_unplugged_microphone_is_told_once_and_the_default_one_takes_its_place(portaudio_):
    microphone = Microphone("headset")
    microphone.read(80, 8000)
    stream = started(portaudio_)
    stream.callback(b"\1" * 160)
    assert microphone.read(80, 8000) == b"\1" * 160
    stream.unplug()
    with pytest.raises(DeviceLost, match="headset is gone") as caught:
        microphone.read(80, 8000)
    assert caught.value.device == "headset"
    assert portaudio_.scans == 1
    assert stream.state == "closed"
    other = started(portaudio_, 2)
    assert other.options["device"] is None
    other.callback(b"\2" * 160)
    assert microphone.read(80, 8000) == b"\2" * 160


def test_a_device_that_falls_silent_is_taken_for_unplugged(portaudio_):
    microphone = Microphone("headset")
    microphone.read(80, 8000)
    started(portaudio_).callback(bytes(160))
    with pytest.raises(DeviceLost):
        for _ in range(300):
            microphone.read(80, 8000)
    speaker = Speaker("table")
    speaker.write(frame(1))
    started(portaudio_, 3).callback(bytearray(160))
    with pytest.raises(DeviceLost, match="table is gone"):
        for _ in range(300):
            speaker.write(frame(1))


def test_where_the_default_is_gone_too_there_is_nothing_to_go_on_with(portaudio_):
    microphone = Microphone()
    microphone.read(80, 8000)
    stream = started(portaudio_)
    stream.callback(bytes(160))
    portaudio_.missing = {None}
    stream.unplug()
    with pytest.raises(DeviceLost):
        microphone.read(80, 8000)
    with pytest.raises(DeviceError, match="no such device") as caught:
        microphone.read(80, 8000)
    assert not isinstance(caught.value, DeviceLost)


def test_devices_are_changed_while_sound_flows(portaudio_):
    microphone, speaker = Microphone(), Speaker()
    microphone.read(80, 8000)
    speaker.write(frame(1))
    for end, name in ((microphone, "headset"), (speaker, "table")):
        end.use(name)
    microphone.read(80, 8000)
    speaker.write(frame(1))
    assert [(s.state, s.options["device"]) for s in portaudio_.streams] == [
        ("closed", None),
        ("closed", None),
        ("started", "headset"),
        ("started", "table"),
    ]


def test_a_change_to_what_is_not_there_ends_at_the_default(portaudio_):
    microphone = Microphone()
    microphone.read(80, 8000)
    started(portaudio_).callback(b"\1" * 160)
    assert microphone.read(80, 8000)
    portaudio_.missing = {"nope"}
    microphone.use("nope")
    microphone.read(80, 8000)
    with pytest.raises(DeviceLost, match="nope"):
        microphone.read(80, 8000)
    assert portaudio_.streams[-1].options["device"] is None
    assert portaudio_.streams[-1].state == "started"


def test_the_others_go_on_after_devices_were_looked_for_anew(portaudio_):
    speaker = Speaker()
    speaker.write(frame(1))
    started(portaudio_)
    assert len(sound_devices()) == 2
    assert portaudio_.scans == 0
    assert len(sound_devices(rescan=True)) == 2
    assert portaudio_.scans == 1
    again = started(portaudio_, 2)
    block = bytearray(160)
    again.callback(block)
    assert block == b"\1" * 160
    speaker.write(frame(2))
    assert len(portaudio_.streams) == 2


def test_a_sound_server_that_was_gone_for_a_while_is_found_again(portaudio_):
    portaudio_.broken = True
    for _ in range(2):
        with pytest.raises(DeviceError, match="no sound server"):
            sound_devices()
    portaudio_.broken = False
    assert len(sound_devices()) == 2


def test_devices_are_listed_with_the_defaults(portaudio_):
    table, headset = sound_devices()
    assert (table.name, table.inputs, table.outputs) == ("table, ALSA", 0, 2)
    assert (table.is_default_output, table.is_default_input) == (True, False)
    assert (headset.is_default_output, headset.is_default_input) == (False, True)
    assert portaudio_.scans == 1


class Doubling:
    """Gives back the two it was given, one after the other."""

    def __init__(self):
        self.rates = []

    def begin(self, rate):
        self.rates.append(rate)
        return self

    def process(self, near, far):
        assert len(near) == len(far)
        return near[:80] + far[:80]


def test_what_the_speaker_plays_goes_to_the_processing_with_what_is_heard(portaudio_):
    speaker = Speaker()
    doubling = Doubling()
    microphone = Microphone(speaker=speaker, processing=doubling)
    microphone.read(80, 8000)
    mine = started(portaudio_)
    speaker.write(frame(5))
    theirs = started(portaudio_, 2)
    assert mine.callback(b"\1" * 160)
    assert microphone.read(80, 8000) == b"\1" * 80 + bytes(80)
    theirs.callback(bytearray(160))
    assert mine.callback(b"\2" * 160)
    assert microphone.read(80, 8000) == b"\2" * 80 + b"\5" * 80
    assert doubling.rates == [8000]


def test_processing_that_breaks_is_told_and_lets_nothing_through(portaudio_):
    class Broken(Doubling):
        def process(self, near, far):
            raise ValueError("broken")

    microphone = Microphone(processing=Broken())
    microphone.read(80, 8000)
    assert not started(portaudio_).callback(b"\1" * 160)
    with pytest.raises(DeviceError, match="broken"):
        microphone.read(80, 8000)


def test_the_speaker_plays_in_order_and_silence_when_starved(portaudio_):
    speaker = Speaker()
    speaker.write(frame(1))
    stream = started(portaudio_)
    speaker.write(frame(2))
    played = bytearray()
    for _ in range(5):
        block = bytearray(160)
        stream.callback(block)
        played += block
    assert played == b"\1" * 320 + b"\2" * 320 + bytes(160)
    assert speaker.starved == 1
    speaker.close()
    assert stream.state == "closed"


def test_a_speaker_slower_than_the_call_drops_the_oldest(portaudio_):
    speaker = Speaker()
    for n in range(50):
        speaker.write(frame(n))
    stream = started(portaudio_)
    block = bytearray(320)
    stream.callback(block)
    assert block[0] >= 43
    assert speaker.dropped > 40


def test_a_change_of_rate_opens_the_device_anew(portaudio_):
    speaker = Speaker()
    speaker.write(frame(1))
    started(portaudio_)
    speaker.write(AudioFrame(samples=bytes(1920), sample_rate=48000))
    stream = started(portaudio_, 2)
    assert stream.options["samplerate"] == 48000
    assert portaudio_.streams[0].state == "closed"


@pytest.mark.parametrize(
    ("error", "words"),
    [(ImportError("x"), r"securecall\[devices\]"), (OSError("x"), "libportaudio2")],
)
def test_what_is_missing_is_named(monkeypatch, error, words):
    def refuse(name):
        raise error

    monkeypatch.setattr(portaudio, "import_module", refuse)
    for make in (Microphone, Speaker):
        with pytest.raises(Unsupported, match=words):
            make()
