"""Files, cameras and the screen; FFmpeg's generated pictures stand in for a device."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from securecall.errors import DeviceError, Unsupported
from securecall.media.video import sources
from securecall.media.video.endpoints import VideoSource
from securecall.media.video.pattern import TestPattern, read_frame_number
from securecall.media.video.sources import Camera, Capture, Screen, VideoFile, cameras
from securecall.media.video.writing import Film

SMALL = TestPattern(96, 64)


@pytest.fixture
def film(tmp_path):
    """A file of 20 numbered pictures, 30 a second."""
    path = tmp_path / "with: colon.mkv"
    writing = Film(path, audio=False, size=None)
    for n in range(20):
        writing.add_picture(n / 30, SMALL.frame(n))
    writing.finish()
    return path


def until(condition):
    """Wait for a thread."""
    while not (found := condition()):
        time.sleep(0.001)
    return found


def read_slowly(source, times):
    """The numbers shown at these times, once the thread is ahead each time."""
    shown = []
    for at in times:
        until(lambda: len(source._ahead) == sources._AHEAD or source._at_end)
        frame = source.read(at)
        shown.append(None if frame is None else read_frame_number(frame))
    return shown


def begin(source, now=0.0):
    """The first picture, which may take a thread's start."""
    return until(lambda: source.read(now))


def test_a_file_shows_each_picture_at_its_time(film):
    source: VideoSource = VideoFile(film)
    assert (source.width, source.height, source.live) == (96, 64, False)
    assert source.fps == pytest.approx(30, abs=0.1)
    first = begin(source, 500.0)
    assert (read_frame_number(first), first.timestamp) == (0, 0.0)
    steps = [500.0 + n / 60 + 0.001 for n in range(1, 12)]
    assert read_slowly(source, steps) == [None, 1, None, 2, None, 3, None, 4, None, 5, None]
    assert source.skipped == 0
    source.close()


def test_a_reader_that_is_late_gets_the_newest_picture_there_is(film):
    source = VideoFile(film)
    begin(source)
    assert read_slowly(source, [4.5 / 30]) == [4]
    assert source.skipped == 3
    source.close()


def test_the_end_of_a_file_is_told(film):
    source = VideoFile(film)
    begin(source)
    shown = read_slowly(source, [n / 30 + 0.01 for n in range(1, 22)])
    assert shown == [*range(1, 20), None, None]
    assert source.finished.is_set()
    until(lambda: not source._thread.is_alive())


def test_a_loop_goes_on_in_time_without_an_end(film):
    source = VideoFile(film, loop=True)
    begin(source)
    shown = read_slowly(source, [n / 30 + 0.01 for n in range(1, 50)])
    assert [n for n in shown if n is not None][:45] == [*range(1, 20), *range(20), *range(20)][:45]
    assert not source.finished.is_set()
    source.close()
    until(lambda: not source._thread.is_alive())


def test_a_closed_file_shows_nothing_and_its_thread_ends(film):
    source = VideoFile(film)
    begin(source)
    source.close()
    source.close()
    source.discard()
    assert source.read(1.0) is None
    until(lambda: not source._thread.is_alive())
    never_read = VideoFile(film)
    never_read.close()
    assert never_read.read(0.0) is None and never_read._thread is None


@pytest.mark.parametrize("left", [0.2, 0.9])
def test_a_file_that_was_cut_short_shows_what_there_is_and_ends(film, left):
    whole = film.read_bytes()
    film.write_bytes(whole[: int(len(whole) * left)])
    source = VideoFile(film)
    shown, now = 0, 0.0
    while not source.finished.is_set():
        until(lambda: source._thread is None or source._ahead or source._at_end)
        shown += source.read(now) is not None
        now += 1 / 30
    assert shown == 0 if left < 0.5 else 5 < shown < 20


def test_a_picture_that_cannot_be_decoded_is_an_error_once_the_rest_was_shown(film, monkeypatch):
    source = VideoFile(film)

    def broken():
        yield SMALL.frame(0, timestamp=0.0)
        raise sources.UsageError("too large")

    monkeypatch.setattr(source, "_frames", broken)
    assert begin(source) is not None
    until(lambda: source._error)
    with pytest.raises(DeviceError, match="too large"):
        source.read(1.0)
    assert not source.finished.is_set()


@pytest.mark.parametrize("content", [b"", b"no film at all" * 100])
def test_what_is_no_film_is_refused(tmp_path, content):
    path = tmp_path / "a.mkv"
    with pytest.raises(DeviceError, match="cannot play"):
        VideoFile(path)
    path.write_bytes(content)
    with pytest.raises(DeviceError, match="cannot play"):
        VideoFile(path)


def test_sound_without_pictures_is_refused(tmp_path):
    import av

    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libopus", 48000, layout="mono")
        sound = av.AudioFrame(format="s16", layout="mono", samples=960)
        sound.sample_rate = 48000
        file.mux(stream.encode(sound))
        file.mux(stream.encode(None))
    with pytest.raises(DeviceError, match="no pictures"):
        VideoFile(path)


def test_a_playlist_cannot_make_us_open_what_it_names(film, tmp_path):
    import av

    film.rename(tmp_path / "secret.mkv")
    lists = {
        "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mkv\n#EXT-X-ENDLIST\n",
        "a.ffconcat": "ffconcat version 1.0\nfile secret.mkv\n",
    }
    for name, content in lists.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(DeviceError, match="cannot play"):
            VideoFile(tmp_path / name)
    # The control: FFmpeg, left to itself, opens what the list names.
    with av.open(str(tmp_path / "a.ffconcat")) as opened:
        assert opened.streams.video[0].width == 96


def test_an_address_is_not_fetched(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeviceError, match="No such file"):
        VideoFile("http://127.0.0.1:9/film.mkv")


# ------------------------------------------------------------------ devices


def generated(rate=200, size="64x48"):
    return Capture(f"testsrc=size={size}:rate={rate}", "lavfi", {})


def test_a_device_is_not_touched_before_the_first_read():
    capture = generated()
    capture.discard()
    assert not capture.is_open and capture.live
    before = time.monotonic()
    frame = begin(capture)
    assert frame.size == (64, 48)
    assert before <= frame.timestamp <= time.monotonic()
    capture.close()
    capture.close()
    until(lambda: not capture.is_open)
    assert capture.read(0.0) is None


def test_a_device_that_nobody_reads_is_let_go_of_until_somebody_does(monkeypatch):
    capture = generated()
    begin(capture)
    assert capture.is_open
    with monkeypatch.context() as at_once:
        at_once.setattr(sources, "_UNREAD_SECONDS", 0.0)
        until(lambda: not capture.is_open)
    assert capture.read(0.0) is None  # nothing of before
    assert begin(capture).size == (64, 48)
    capture.close()


def test_only_the_newest_picture_is_kept():
    capture = generated()
    begin(capture)
    until(lambda: capture.dropped > 2)
    newest = until(lambda: capture.read(0.0))
    capture.discard()
    again = begin(capture)
    assert again.timestamp > newest.timestamp
    capture.close()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nonsense", "nonsense"),
        ("testsrc=size=4098x16:rate=9", "4098x16"),
        ("testsrc=duration=0.1", "no more"),
        ("anullsrc", "no pictures"),
    ],
)
def test_a_device_that_cannot_be_used_says_so(name, why):
    capture = Capture(name, "lavfi", {})

    def raised():
        try:
            capture.read(0.0)
        except DeviceError as e:
            return str(e)

    assert why in until(raised)
    until(lambda: not capture.is_open)


def test_a_format_that_pyav_lacks_is_unsupported():
    with pytest.raises(Unsupported, match="without decklink"):
        Capture("0", "decklink", {})


def test_cameras_are_listed_in_the_order_of_their_numbers(monkeypatch, tmp_path):
    for name in ("video10", "video2", "video0"):
        (tmp_path / name).touch()
    monkeypatch.setattr(sources.sys, "platform", "linux")
    monkeypatch.setattr(sources, "_DEVICES", tmp_path)
    assert [name.rpartition("/")[2] for name in cameras()] == ["video0", "video2", "video10"]
    assert Camera()._name == cameras()[0]
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(DeviceError, match="no camera"):
        Camera()


@pytest.mark.skipif(sys.platform != "linux", reason="the format is Linux's")
def test_a_camera_that_is_not_there_is_a_device_error_at_a_later_read(tmp_path):
    camera = Camera(str(tmp_path / "video7"))
    assert camera.read(0.0) is None
    until(lambda: camera._error)
    with pytest.raises(DeviceError, match="video7"):
        camera.read(0.0)


def test_a_system_without_cameras_or_screen_is_unsupported(monkeypatch):
    monkeypatch.setattr(sources.sys, "platform", "sunos")
    for use in (cameras, Camera, Screen):
        with pytest.raises(Unsupported, match="sunos"):
            use()


def test_no_screen_without_a_display(monkeypatch):
    monkeypatch.setattr(sources.sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(DeviceError, match="DISPLAY"):
        Screen()


def test_threads_of_captures_do_not_keep_a_program_alive():
    capture = generated()
    begin(capture)
    names = [t for t in threading.enumerate() if t.name == "securecall-capture"]
    assert names and all(t.daemon for t in names)
    capture.close()
