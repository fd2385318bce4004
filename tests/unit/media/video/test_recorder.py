"""Recordings: written, then read back by PyAV alone."""

from __future__ import annotations

import asyncio
import itertools
import stat
import threading
from dataclasses import replace

import av
import pytest

from securecall.errors import DeviceError, UsageError
from securecall.media.endpoints import ToneSource
from securecall.media.frames import AudioFrame
from securecall.media.video.frames import VideoFrame
from securecall.media.video.pattern import TestPattern, read_frame_number
from securecall.media.video.recorder import VideoRecorder
from securecall.media.video.writing import Film

every = pytest.mark.parametrize("suffix", [".mkv", ".webm", ".mp4"])
CODECS = {".mkv": ("vp8", "opus"), ".webm": ("vp8", "opus"), ".mp4": ("h264", "aac")}
SMALL = TestPattern(96, 64)
FRAME = 1 / 30


def tones(seconds, rate=48000, channels=1, start=0):
    """Frames of 20 ms, each with when it begins."""
    tone, size = ToneSource(440), rate // 50
    for n in range(start, start + round(seconds * 50)):
        pcm = tone.read(size * channels, rate * channels)
        yield (
            n / 50,
            AudioFrame(samples=pcm, sample_rate=rate, channels=channels, timestamp=n * size),
        )


def together(film, seconds, pictures=SMALL, first=0):
    """What a call would write, in the order of its time."""
    things = [*tones(seconds)]
    things += [(n / 30, pictures.frame(n)) for n in range(first, round(seconds * 30))]
    for at, frame in sorted(things, key=lambda t: t[0]):
        (film.add_sound if isinstance(frame, AudioFrame) else film.add_picture)(at, frame)
    film.finish()


def read(path):
    """Codecs, numbers and times of the pictures, and the sound's begin, end and samples."""
    with av.open(str(path)) as file:
        names = tuple(s.codec_context.name for s in file.streams)
        pictures = [
            (read_frame_number(VideoFrame.from_picture(p)), float(p.time), (p.width, p.height))
            for p in file.decode(video=0)
        ]
    sounds = []
    if len(names) > 1:
        with av.open(str(path)) as file:
            sounds = list(file.decode(audio=0))
    return names, pictures, sounds


def length(sounds):
    return float(sounds[-1].time) + sounds[-1].samples / sounds[-1].sample_rate


@every
def test_both_streams_come_back_whole_and_in_order(tmp_path, suffix):
    path = tmp_path / f"call{suffix}"
    film = Film(path, audio=True, size=None)
    together(film, 1.0)
    names, pictures, sounds = read(path)
    assert names == CODECS[suffix]
    assert [number for number, _, _ in pictures] == list(range(30))
    assert [at for _, at, _ in pictures] == pytest.approx([n / 30 for n in range(30)], abs=0.002)
    assert length(sounds) == pytest.approx(1.0, abs=FRAME)
    with av.open(str(path)) as file:
        assert file.duration / 1e6 == pytest.approx(1.0, abs=FRAME)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert film.encoder in {"libvpx", "libx264", "libopenh264"} and film.left_out == 0


def test_the_sound_is_the_one_that_was_recorded(tmp_path):
    film = Film(tmp_path / "a.mkv", audio=True, size=None)
    together(film, 1.0)
    _, _, sounds = read(tmp_path / "a.mkv")
    samples = memoryview(b"".join(bytes(s.planes[0])[: s.samples * 4] for s in sounds)).cast("f")
    middle = samples[12000:36000].tolist()
    crossings = sum(a < 0 <= b for a, b in itertools.pairwise(middle))
    assert crossings == pytest.approx(220, abs=2)  # 440 Hz in half a second


@every
def test_sound_before_the_first_picture_is_kept_over_black(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    together(Film(path, audio=True, size=None), 1.0, first=15)
    _, pictures, sounds = read(path)
    assert [number for number, _, _ in pictures] == [None, *range(15, 30)]
    assert pictures[0][1] == pytest.approx(0.0, abs=0.01)
    assert length(sounds) == pytest.approx(1.0, abs=FRAME)


@every
@pytest.mark.parametrize("seconds", [0.5, 2.5])
def test_sound_alone_is_a_black_film(tmp_path, suffix, seconds):
    path = tmp_path / f"a{suffix}"
    film = Film(path, audio=True, size=(64, 48))
    for at, frame in tones(seconds):
        film.add_sound(at, frame)
    film.finish()
    names, pictures, sounds = read(path)
    assert names == CODECS[suffix]
    assert pictures == [(None, pytest.approx(0.0, abs=0.01), (64, 48))]
    assert length(sounds) == pytest.approx(seconds, abs=FRAME)


@every
def test_pictures_alone_have_an_empty_track_of_sound_or_none(tmp_path, suffix):
    for audio in (True, False):
        path = tmp_path / f"{audio}{suffix}"
        film = Film(path, audio=audio, size=None)
        for n in range(5):
            film.add_picture(n / 30, SMALL.frame(n))
        film.finish()
        names, pictures, _ = read(path)
        assert names == CODECS[suffix][: 1 + audio]
        assert [number for number, _, _ in pictures] == list(range(5))


def test_gaps_in_the_sound_are_silent_and_what_comes_late_is_left_out(tmp_path):
    film = Film(tmp_path / "a.mkv", audio=True, size=None)
    film.add_picture(0.0, SMALL.frame(0))
    frames = [frame for _, frame in tones(0.4)]
    for n, frame in enumerate(frames[:10]):
        film.add_sound(n / 50, frame)
    for n, frame in enumerate(frames[10:]):
        film.add_sound(1.0 + n / 50, frame)
    film.add_sound(0.3, frames[0])
    film.finish()
    _, _, sounds = read(tmp_path / "a.mkv")
    assert length(sounds) == pytest.approx(1.2, abs=FRAME)
    samples = memoryview(b"".join(bytes(s.planes[0])[: s.samples * 4] for s in sounds)).cast("f")
    loud = [max(samples[i : i + 2400]) > 0.02 for i in range(0, len(samples) - 2400, 2400)]
    assert loud[1:3] == [True] * 2 and not any(loud[6:19]) and all(loud[21:23])


def test_sound_of_any_rate_is_recorded_at_its_pitch(tmp_path):
    film = Film(tmp_path / "a.mkv", audio=True, size=None)
    film.add_picture(0.0, SMALL.frame(0))
    parts = [tones(0.3, 8000), tones(0.3, 16000, start=15), tones(0.4, 48000, 2, start=30)]
    for part in parts:
        for at, frame in part:
            film.add_sound(at, frame)
    film.finish()
    _, _, sounds = read(tmp_path / "a.mkv")
    assert length(sounds) == pytest.approx(1.0, abs=0.05)


def test_pictures_of_other_sizes_are_fitted_into_the_first(tmp_path):
    film = Film(tmp_path / "a.mkv", audio=False, size=None)
    patterns = [TestPattern(97, 65), TestPattern(64, 32), TestPattern(160, 90)]
    for n in range(6):
        film.add_picture(n / 30, patterns[n // 2].frame(n))
    film.finish()
    _, pictures, _ = read(tmp_path / "a.mkv")
    assert {size for _, _, size in pictures} == {(98, 66)} and len(pictures) == 6


def test_a_picture_no_later_than_the_last_is_left_out(tmp_path):
    film = Film(tmp_path / "a.mkv", audio=False, size=None)
    for at, number in ((0.0, 0), (0.1, 1), (0.1, 2), (0.05, 3), (0.2, 4)):
        film.add_picture(at, SMALL.frame(number))
    film.finish()
    assert film.left_out == 2
    assert [number for number, _, _ in read(tmp_path / "a.mkv")[1]] == [0, 1, 4]


def test_nothing_recorded_leaves_no_file(tmp_path):
    Film(tmp_path / "a.mkv", audio=True, size=None).finish()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["call", "call.avi", "call.wav", ".mkv"])
def test_other_endings_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"\.mkv, \.webm, \.mp4"):
        VideoRecorder(tmp_path / name)


def test_an_unfinished_matroska_can_be_played_so_far(tmp_path):
    film = Film(tmp_path / "a.mkv", audio=False, size=None)
    for n in range(300):
        film.add_picture(n / 30, SMALL.frame(n))
    film._file.flush()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes((tmp_path / "a.mkv").read_bytes())
    film.finish()
    numbers = [number for number, _, _ in read(cut)[1]]
    assert len(numbers) > 30 and numbers == list(range(len(numbers)))


# ------------------------------------------------------------------ beside the loop


def test_a_recorder_writes_what_a_call_gives_it(tmp_path):
    async def scenario():
        now = 50.0
        recorder = VideoRecorder(tmp_path / "a.mkv", clock=lambda: now)
        for n, (at, frame) in enumerate(tones(0.4)):
            now = 50.0 + at
            recorder.audio.write(frame)
            if n < 10:  # at most as many as may wait, however slow the thread is
                recorder.write(SMALL.frame(n, timestamp=1000.0 + at))
        recorder.audio.close()
        recorder.close()
        recorder.close()
        await recorder.wait_finished()
        assert (recorder.dropped, recorder.dropped_audio, recorder.encoder) == (0, 0, "libvpx")

    asyncio.run(scenario())
    names, pictures, sounds = read(tmp_path / "a.mkv")
    assert names == ("vp8", "opus")
    assert [number for number, _, _ in pictures] == list(range(10))
    assert [at for _, at, _ in pictures] == pytest.approx([n / 50 for n in range(10)], abs=0.002)
    assert length(sounds) == pytest.approx(0.4, abs=FRAME)


def test_a_stream_whose_clock_leaves_ours_is_put_where_it_came(tmp_path):
    async def scenario():
        came = [(0, 7.0), (0.1, 7.12), (0.2, 7.2), (5.0, 7.3)]
        now = 0.0
        recorder = VideoRecorder(tmp_path / "a.mkv", audio=False, clock=lambda: now)
        for n, (at, timestamp) in enumerate(came):
            now = at
            recorder.write(SMALL.frame(n, timestamp=timestamp))
        with pytest.raises(UsageError, match="without sound"):
            _ = recorder.audio
        recorder.close()
        await recorder.wait_finished()

    asyncio.run(scenario())
    _, pictures, _ = read(tmp_path / "a.mkv")
    assert [at for _, at, _ in pictures] == pytest.approx([0, 0.12, 0.2, 5.0], abs=0.002)


def test_where_the_thread_falls_behind_pictures_are_dropped_and_counted(tmp_path):
    async def scenario():
        go = threading.Event()
        now = 0.0
        recorder = VideoRecorder(tmp_path / "a.mkv", audio=False, clock=lambda: now)
        add = recorder._film.add_picture
        recorder._film.add_picture = lambda *given: (go.wait(), add(*given))
        for n in range(20):
            now = n / 30
            recorder.write(SMALL.frame(n))
        assert recorder.dropped == 5
        go.set()
        recorder.close()
        await recorder.wait_finished()

    asyncio.run(scenario())
    assert [number for number, _, _ in read(tmp_path / "a.mkv")[1]] == list(range(15))


@pytest.mark.parametrize("path", ["missing/a.mkv", "full.mkv"])
def test_a_file_that_cannot_be_written_is_a_device_error(tmp_path, path):
    (tmp_path / "full.mkv").symlink_to("/dev/full")

    async def scenario():
        recorder = VideoRecorder(tmp_path / path, audio=False)
        recorder.write(SMALL.frame(0))
        recorder.close()
        with pytest.raises(DeviceError, match="cannot record"):
            await recorder.wait_finished()
        with pytest.raises(DeviceError):
            recorder.write(SMALL.frame(1))

    asyncio.run(scenario())


@pytest.mark.parametrize("known", [True, False])
def test_a_picture_stands_where_its_sound_stands_however_late_it_came(tmp_path, known):
    """It comes 0.2 s after its sound; the control is one of which nobody knows the sound."""
    now, path, late = [0.0], tmp_path / "call.mkv", 10  # ticks

    async def main():
        recorder = VideoRecorder(path, clock=lambda: now[0])
        for tick, (at, sound) in enumerate(tones(1.2)):
            now[0] = at
            recorder.audio.write(sound)
            if tick >= late and not tick % 2:
                number = (tick - late) // 2
                frame = SMALL.frame(number)
                audio_time = number / 25 if known else None
                recorder.write(replace(frame, timestamp=at, audio_time=audio_time))
        recorder.close()
        await recorder.wait_finished()

    asyncio.run(main())
    _, pictures, _ = read(path)
    delay = 0.0 if known else late / 50
    shown = {n: at for n, at, _ in pictures if n}
    assert len(shown) > 10
    for number, at in shown.items():
        assert at == pytest.approx(number / 25 + delay, abs=0.021)
