"""Files, tones, rings, resampling: what goes in comes out, and nothing grows without bound."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import stat
import struct
import wave

import pytest

from securecall.errors import DeviceError, UsageError
from securecall.media.endpoints import (
    FileSource,
    PcmInput,
    PcmOutput,
    Recorder,
    SilenceSource,
    ToneSource,
)
from securecall.media.frames import AudioFrame, rms_dbfs
from securecall.media.resample import Resampler, to_mono


def sine(hertz, rate, seconds, amplitude=10000):
    n = int(rate * seconds)
    return [int(amplitude * math.sin(2 * math.pi * hertz * i / rate)) for i in range(n)]


def s16(values):
    return struct.pack(f"<{len(values)}h", *values)


def frame(samples, rate=8000, channels=1):
    return AudioFrame(samples=samples, sample_rate=rate, channels=channels)


def wav(path, values, rate, width=2, channels=1):
    raw = bytearray()
    for v in values:
        for _ in range(channels):
            if width == 1:
                raw.append((v >> 8) + 128)
            else:
                raw += (v << 8 * (width - 2)).to_bytes(width, "little", signed=True)
    with wave.open(str(path), "wb") as f:
        f.setparams((channels, width, rate, 0, "NONE", ""))
        f.writeframes(bytes(raw))
    return path


def read_all(source, rate):
    parts = []
    while (pcm := source.read(rate // 50, rate)) is not None:
        assert len(pcm) == rate // 50 * 2
        parts.append(pcm)
    return b"".join(parts)


def correlation(a, b):
    n = min(len(a), len(b))
    a, b = a[:n], b[:n]
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_file_of_any_width_and_channels_is_played(tmp_path, width, channels):
    values = sine(440, 8000, 0.5)
    source = FileSource(wav(tmp_path / "a.wav", values, 8000, width, channels))
    assert source.duration == pytest.approx(0.5)
    pcm = read_all(source, 8000)
    heard = struct.unpack(f"<{len(pcm) // 2}h", pcm)[: len(values)]
    assert max(abs(a - b) for a, b in zip(values, heard, strict=True)) <= (256 if width == 1 else 1)
    assert source.finished.is_set()


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000])
@pytest.mark.parametrize("target", [8000, 16000, 48000])
def test_a_tone_keeps_its_pitch_and_loudness_at_every_rate(rate, target):
    resampler = Resampler(rate, target)
    out = resampler.process(s16(sine(1000, rate, 0.3))) + resampler.flush()
    heard = struct.unpack(f"<{len(out) // 2}h", out)
    assert len(heard) == pytest.approx(0.3 * target, rel=0.03, abs=target // 100)
    middle = slice(target // 20, target // 4)
    assert correlation(heard[middle], sine(1000, target, 0.3)[middle]) > 0.999
    assert max(heard[middle]) == pytest.approx(10000, rel=0.02)


def test_what_the_lower_rate_cannot_hold_is_filtered_out():
    resampler = Resampler(48000, 8000)
    out = resampler.process(s16(sine(6000, 48000, 0.3)))
    assert rms_dbfs(out[200:]) < rms_dbfs(s16(sine(1000, 8000, 0.3))) - 55


@pytest.mark.parametrize(
    ("rate", "target"), [(44100, 48000), (8000, 48000), (48000, 8000), (16000, 8000)]
)
def test_pieces_give_the_same_as_the_whole(rate, target):
    values = s16(sine(700, rate, 0.2))
    whole = Resampler(rate, target).process(values)
    parts, resampler = b"", Resampler(rate, target)
    for at in range(0, len(values), 98):
        parts += resampler.process(values[at : at + 98])
    assert parts == whole


def test_equal_rates_are_left_alone():
    assert Resampler(8000, 8000).process(b"\1\2\3\4") == b"\1\2\3\4"


@pytest.mark.parametrize(
    ("rate", "target"), [(8000, 48000), (48000, 16000), (32000, 48000), (48000, 44100)]
)
def test_full_scale_does_not_wrap_around(rate, target):
    square = s16(([32767] * 60 + [-32768] * 60) * 4)
    out = Resampler(rate, target).process(square)
    heard = struct.unpack(f"<{len(out) // 2}h", out)
    assert (min(heard), max(heard)) == (-32768, 32767)  # the filter overshoots at every edge
    half = 60 * target / rate
    for at, value in enumerate(heard):
        run, place = divmod(at, half)
        if 0.2 < place / half < 0.8:
            assert value * (1 if run % 2 == 0 else -1) > 20000


@pytest.mark.parametrize(("rate", "target"), [(8000, 16000), (16000, 48000), (48000, 8000)])
def test_whole_ratios_give_what_the_filter_says(rate, target):
    """Answers to single impulses add up: no sum of products runs into the next."""
    one = [0] * 600
    one[300] = 20000
    two = [0] * 600
    two[310] = -9000
    both = [a + b for a, b in zip(one, two, strict=True)]

    def answer(values):
        out = Resampler(rate, target).process(s16(values))
        return struct.unpack(f"<{len(out) // 2}h", out)

    alone = [a + b for a, b in zip(answer(one), answer(two), strict=True)]
    assert max(abs(a - b) for a, b in zip(alone, answer(both), strict=True)) <= 1
    flat = answer([12345] * 600)
    assert set(flat[target // 200 : -1]) <= {12344, 12345, 12346}


def test_rates_without_a_common_ratio_are_matched_nearly():
    out = Resampler(8000, 47999).process(s16(sine(500, 8000, 0.2)))
    assert len(out) / 2 == pytest.approx(0.2 * 47999, rel=0.02)


def test_channels_are_averaged():
    assert to_mono(s16([100, 200, -50, 50]), 2) == s16([150, 0])


def test_a_looping_file_never_ends(tmp_path):
    source = FileSource(wav(tmp_path / "a.wav", sine(440, 8000, 0.05), 8000), loop=True)
    assert all(source.read(160, 8000) is not None for _ in range(50))
    assert not source.finished.is_set()
    source.close()


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not a sound file at all, but long enough" * 3])
def test_a_file_that_is_no_wav_is_refused(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(DeviceError):
        FileSource(path)


def test_a_missing_or_empty_file_is_refused(tmp_path):
    with pytest.raises(DeviceError):
        FileSource(tmp_path / "absent.wav")
    with pytest.raises(DeviceError, match="no sound"):
        FileSource(wav(tmp_path / "empty.wav", [], 8000))


@pytest.mark.parametrize("cut", range(0, 120, 7))
def test_a_file_cut_anywhere_is_played_as_far_as_it_goes_or_refused(tmp_path, cut):
    path = wav(tmp_path / "a.wav", sine(440, 8000, 0.01), 8000)
    path.write_bytes(path.read_bytes()[:cut])
    try:
        source = FileSource(path)
    except DeviceError:
        return
    read_all(source, 8000)


def read_wav(path):
    with wave.open(str(path)) as f:
        return f.getnchannels(), f.getframerate(), f.readframes(f.getnframes())


def test_a_recording_holds_what_was_written_and_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "call.wav"
    recorder = Recorder(path)
    pcm = s16(sine(440, 8000, 1.5))
    for at in range(0, len(pcm), 320):
        recorder.write(frame(pcm[at : at + 320]))
    assert recorder.seconds == pytest.approx(1.5)
    recorder.close()
    recorder.close()
    assert read_wav(path) == (1, 8000, pcm)
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_recording_is_valid_though_the_process_dies(tmp_path):
    path = tmp_path / "call.wav"
    recorder = Recorder(path)
    for _ in range(120):  # 2.4 seconds, never closed
        recorder.write(frame(bytes(320)))
    channels, rate, pcm = read_wav(path)
    recorder.close()
    assert (channels, rate) == (1, 8000)
    assert len(pcm) >= 2 * 16000


def test_both_directions_are_recorded_left_and_right_and_stay_together(tmp_path):
    path = tmp_path / "call.wav"
    recorder = Recorder(path, both=True)
    left, right = s16([1000] * 160), s16([-2000] * 160)
    for tick in range(100):
        recorder.sent.write(frame(right))
        if tick >= 20:  # the peer's sound begins later
            recorder.write(frame(left))
    recorder.close()
    channels, _, pcm = read_wav(path)
    heard = struct.unpack(f"<{len(pcm) // 2}h", pcm)
    assert channels == 2
    assert len(heard) // 2 == pytest.approx(16000, abs=800)
    assert heard[1] == -2000
    assert heard[-2001 & ~1] in (1000, 0)
    assert heard.index(1000) // 2 == pytest.approx(20 * 160, abs=900)


def test_a_recording_goes_on_when_the_rate_changes(tmp_path):
    recorder = Recorder(tmp_path / "call.wav")
    recorder.write(frame(bytes(1920), rate=48000))
    for _ in range(10):
        recorder.write(frame(bytes(320), rate=8000))
    recorder.close()
    _, rate, pcm = read_wav(tmp_path / "call.wav")
    assert rate == 48000
    assert len(pcm) / 96000 == pytest.approx(0.22, abs=0.01)


def test_a_recorder_that_cannot_write_says_so(tmp_path):
    recorder = Recorder(tmp_path / "absent" / "call.wav")
    with pytest.raises(DeviceError):
        recorder.write(frame(bytes(320)))


def test_a_tone_has_the_loudness_asked_for_and_no_seams():
    tone = ToneSource(440, dbfs=-20)
    pcm = b"".join(tone.read(160, 8000) for _ in range(50))
    assert rms_dbfs(pcm) == pytest.approx(-20, abs=0.5)
    heard = struct.unpack("<8000h", pcm)
    assert max(abs(a - b) for a, b in itertools.pairwise(heard)) < 1700


@pytest.mark.parametrize("arguments", [(0,), (-1,), (30000,)])
def test_an_impossible_tone_is_refused(arguments):
    with pytest.raises(UsageError):
        ToneSource(*arguments)


def test_silence_is_none():
    assert SilenceSource().read(160, 8000) is None


@pytest.mark.parametrize(
    ("pcm", "dbfs"),
    [(b"", -96.0), (b"\0", -96.0), (bytes(320), -96.0), (s16([-32768] * 160), 0.0)],
)
def test_levels_at_the_ends_of_the_scale(pcm, dbfs):
    assert rms_dbfs(pcm) == pytest.approx(dbfs, abs=0.01)


def test_a_writer_who_is_ahead_waits_and_nothing_is_lost():
    async def scenario():
        source = PcmInput(capacity=0.04)
        pieces = [s16([n + 1] * 160) for n in range(10)]

        async def write():
            for piece in pieces:
                await source.write(frame(piece))

        writer = asyncio.create_task(write())
        heard = []
        while len(heard) < 10:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert source.held <= 0.0401
            heard.append(source.read(160, 8000))
        await writer
        assert heard == pieces

    asyncio.run(scenario())


def test_frames_of_other_lengths_rates_and_channels_are_converted():
    async def scenario():
        source = PcmInput(capacity=1.0)
        for _ in range(20):
            await source.write(frame(s16([500] * 480), rate=48000, channels=2))  # 5 ms each
        got = [source.read(160, 8000) for _ in range(5)]
        assert all(len(pcm) == 320 for pcm in got[:4])
        assert struct.unpack("<160h", got[3])[80] == pytest.approx(500, abs=3)

    asyncio.run(scenario())


def test_too_little_sound_waits_for_the_rest():
    async def scenario():
        source = PcmInput()
        await source.write(frame(s16([1] * 80)))
        assert source.read(160, 8000) is None
        await source.write(frame(s16([2] * 80)))
        assert source.read(160, 8000) == s16([1] * 80 + [2] * 80)

    asyncio.run(scenario())


def test_forgetting_wakes_the_writer_and_closing_refuses_it():
    async def scenario():
        source = PcmInput(capacity=0.02)
        await source.write(frame(bytes(320)))
        writer = asyncio.create_task(source.write(frame(s16([7] * 160))))
        await asyncio.sleep(0)
        assert not writer.done()
        source.discard()
        await writer
        assert source.read(160, 8000) == s16([7] * 160)
        source.close()
        with pytest.raises(UsageError):
            await source.write(frame(bytes(320)))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "bad", [frame(bytes(320), rate=10), frame(bytes(320), channels=3), frame(bytes(32000))]
)
def test_frames_that_make_no_sense_are_refused(bad):
    async def scenario():
        with pytest.raises(UsageError):
            await PcmInput().write(bad)

    asyncio.run(scenario())


def test_a_slow_reader_gets_the_newest_and_the_rest_is_counted():
    async def scenario():
        output = PcmOutput(capacity=3)
        output.write(frame(b"before anyone reads"))
        output.open()
        for n in range(5):
            output.write(frame(b"%d" % n))
        output.close()
        assert [f.samples async for f in output] == [b"2", b"3", b"4"]
        assert output.dropped == 2

    asyncio.run(scenario())


def test_a_waiting_reader_is_woken_and_a_second_one_refused():
    async def scenario():
        output = PcmOutput()
        first = asyncio.create_task(anext(output))
        await asyncio.sleep(0)
        with pytest.raises(UsageError):
            await anext(output)
        output.open()
        output.write(frame(b"x"))
        assert (await first).samples == b"x"
        last = asyncio.create_task(anext(output))
        await asyncio.sleep(0)
        output.close()
        with pytest.raises(StopAsyncIteration):
            await last

    asyncio.run(scenario())


def test_a_reader_that_is_cancelled_leaves_the_ring_usable():
    async def scenario():
        output = PcmOutput()
        output.open()
        reader = asyncio.create_task(anext(output))
        await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        output.write(frame(b"x"))
        assert (await anext(output)).samples == b"x"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("content", "says"), [(None, "No such file"), (b"", "no WAV"), (b"ID3\x04", "no WAV")]
)
def test_a_file_that_cannot_be_played_says_why_once(tmp_path, content, says):
    path = tmp_path / "hello.mp3"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DeviceError, match=says) as caught:
        FileSource(path)
    assert str(caught.value).count("hello.mp3") == 1
