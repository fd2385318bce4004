"""Voice messages, recorded and played."""

from __future__ import annotations

import asyncio
import math
from array import array

import pytest

from securecall.chat.voice import (
    VoiceRecorder,
    VoiceSource,
    record,
)
from securecall.errors import DeviceError, ProtocolError, UsageError
from securecall.media import opus
from securecall.media.endpoints import SilenceSource, ToneSource
from securecall.media.ogg import OggWriter, OpusHead, parse_ogg_opus

pytestmark = pytest.mark.skipif(not opus.is_available(), reason="libopus is not installed")
HERTZ = 440


def recorded(source, frames):
    recorder = VoiceRecorder(source)
    for _ in range(frames):
        recorder.step()
    return recorder.finish()


def played(source, rate=48000):
    pcm = b""
    while (part := source.read(rate // 50, rate)) is not None:
        pcm += part
    return array("h", pcm)


def strength(samples, hertz, rate):
    """How much of the energy lies at this frequency, 0 to 1 (Goertzel's, for one frequency)."""
    step = 2 * math.pi * hertz / rate
    real = sum(s * math.cos(step * i) for i, s in enumerate(samples))
    imaginary = sum(s * math.sin(step * i) for i, s in enumerate(samples))
    energy = sum(s * s for s in samples) or 1
    return 2 * (real * real + imaginary * imaginary) / (len(samples) * energy)


@pytest.mark.parametrize("rate", [8000, 16000, 48000, 44100])
def test_a_tone_is_recorded_and_played_at_any_rate(rate):
    message = recorded(ToneSource(HERTZ), 50)
    source = VoiceSource(message.data)
    samples = played(source, rate)
    assert source.finished.is_set()
    assert source.duration == message.seconds == 1.0
    assert abs(len(samples) - rate) <= rate // 50
    assert strength(samples[rate // 5 : rate * 4 // 5], HERTZ, rate) > 0.95
    assert strength(samples[rate // 5 : rate * 4 // 5], HERTZ * 1.5, rate) < 0.05


def test_it_lies_in_time_as_it_was_spoken():
    """The pre-skip is right: the best match with the original is at no shift at all."""
    message = recorded(Clicks(), 50)
    samples = played(VoiceSource(message.data))
    original = array("h", Clicks().all(50))
    part = range(9600, 28800)

    def match(shift):
        return sum(original[i] * samples[i + shift] for i in part)

    best = max(range(-60, 61), key=match)
    assert abs(best) <= 3
    assert len(samples) == 48000


class Clicks:
    """Short bursts of 1 kHz, every 50 ms, within the band that is kept."""

    def __init__(self):
        self._at = 0

    def read(self, samples, rate):
        out = array("h")
        for i in range(self._at, self._at + samples):
            phase = i % 2400
            out.append(int(12000 * math.sin(phase * math.pi / 24)) if phase < 240 else 0)
        self._at += samples
        return out.tobytes()

    def all(self, frames):
        return b"".join(self.read(960, 48000) for _ in range(frames))

    def discard(self):
        self._at = 0

    def close(self):
        pass


def test_every_packet_has_one_size_whatever_is_said():
    sizes = set()
    for source in (ToneSource(HERTZ), SilenceSource(), Clicks()):
        found = parse_ogg_opus(recorded(source, 30).data, most_seconds=9)
        sizes |= {len(packet) for packet in found.packets}
    assert sizes == {70}


def test_two_recordings_do_not_share_a_serial_number():
    serials = {recorded(SilenceSource(), 1).data[14:18] for _ in range(5)}
    assert len(serials) == 5


def test_it_ends_by_itself_at_its_limit():
    recorder = VoiceRecorder(SilenceSource(), most_seconds=0.1)
    for _ in range(50):
        recorder.step()
    assert recorder.full
    assert recorder.finish().seconds == 0.1


def test_nothing_recorded_is_no_message():
    with pytest.raises(UsageError):
        VoiceRecorder(SilenceSource()).finish()


def test_what_was_captured_before_is_left_out():
    class Captured(SilenceSource):
        discarded = 0

        def discard(self):
            self.discarded += 1

    source = Captured()
    VoiceRecorder(source)
    assert source.discarded == 1


def test_it_is_not_in_a_repr():
    message = recorded(ToneSource(HERTZ), 2)
    assert "Ogg" not in repr(message)


# -- peers' recordings ----------------------------------------------------------------------------


MONO = OpusHead()


def of(packets, head=MONO):
    writer = OggWriter(head, serial=1)
    return b"".join(writer.add(p) for p in packets) + writer.finish(granule=1 << 40)


def test_stereo_is_played_as_mono():
    mono = parse_ogg_opus(recorded(ToneSource(HERTZ), 20).data, most_seconds=9).packets
    stereo = [bytes([p[0] | 4]) + p[1:] for p in mono]  # the bit s (RFC 6716 3.1)
    source = VoiceSource(of(stereo, OpusHead(channels=2)))
    assert source.duration == 21 * 0.02 - 312 / 48000
    assert len(played(source)) == 21 * 960


def test_a_packet_that_is_none_is_a_click_and_not_the_end():
    good = parse_ogg_opus(recorded(ToneSource(HERTZ), 20).data, most_seconds=9).packets
    beyond = b"\x4a\xff"  # two frames, the first longer than the packet
    data = of([*good[:10], beyond, *good[10:]])
    assert len(played(VoiceSource(data))) >= 20 * 960


def test_the_gain_is_obeyed():
    packets = parse_ogg_opus(recorded(ToneSource(HERTZ), 20).data, most_seconds=9).packets
    loud = played(VoiceSource(of(packets)))
    quiet = played(VoiceSource(of(packets, OpusHead(gain=-6 * 256))))
    assert max(quiet) == pytest.approx(max(loud) / 2, rel=0.05)
    assert max(played(VoiceSource(of(packets, OpusHead(gain=90 * 256))))) == 32767


def test_what_is_no_recording_is_refused():
    with pytest.raises(ProtocolError):
        VoiceSource(b"RIFF")


def test_a_recording_is_played_at_one_rate_and_not_after_its_closing():
    source = VoiceSource(recorded(ToneSource(HERTZ), 5).data)
    source.discard()
    source.read(160, 8000)
    with pytest.raises(UsageError):
        source.read(960, 48000)
    source.close()
    assert source.read(160, 8000) is None


# -- on the clock ---------------------------------------------------------------------------------


def test_recording_goes_on_until_it_is_stopped():
    async def main():
        stop = asyncio.Event()

        class Counted(ToneSource):
            reads, closed = 0, 0

            def read(self, samples, rate):
                self.reads += 1
                if self.reads == 3:
                    stop.set()
                return super().read(samples, rate)

            def close(self):
                self.closed += 1

        source = Counted(HERTZ)
        message = await record(source, stop)
        assert message.seconds == pytest.approx(source.reads * 0.02)
        assert source.closed == 1

    asyncio.run(main())


def test_recording_ends_at_its_limit():
    message = asyncio.run(record_for(SilenceSource(), 0.04))
    assert message.seconds == 0.04


async def record_for(source, seconds):
    return await record(source, asyncio.Event(), most_seconds=seconds)


def test_a_source_that_breaks_ends_it():
    class Broken(SilenceSource):
        def read(self, samples, rate):
            raise DeviceError("unplugged")

    with pytest.raises(DeviceError, match="broke off"):
        asyncio.run(record_for(Broken(), 1.0))
