"""The options for pictures: what asks for them, and what is said where none can be made."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from securecall.cli import sight
from securecall.cli.failures import exit_code, what_happened, what_to_do
from securecall.cli.options import parser
from securecall.cli.sight import Film, Shared, Sight, is_film, require_pictures
from securecall.errors import DeviceError, Unsupported
from securecall.media.video.pattern import TestPattern
from securecall.media.video.recorder import VideoRecorder
from securecall.media.video.sources import VideoFile


def asked(*options: str) -> bool:
    args = parser().parse_args(["answer", *options])
    return require_pictures(video=args.video, watch=args.watch, record=args.record)


def test_pictures_are_taken_only_if_an_option_asks_for_them():
    pytest.importorskip("av", reason="the extra video")
    assert not asked()
    assert not asked("--record", "heard.wav", "--mic")
    for options in (["--watch"], ["--video", "test"], ["--record", "call.MKV"]):
        assert asked(*options)


def test_a_recording_is_a_film_by_its_name():
    assert [is_film(Path(f"call{end}")) for end in (".webm", ".mkv", ".mp4")] == [True] * 3
    assert not is_film(Path("call.wav"))
    assert not is_film(Path("call"))
    assert not is_film(None)


def test_without_the_extra_a_newcomer_reads_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(Unsupported) as caught:
        asked("--video", "test")
    assert 'pip install "securecall[video]"' in what_happened(caught.value)
    assert "Install" in what_to_do(caught.value)
    assert exit_code(caught.value) == 2
    assert not asked("--record", "heard.wav")  # sound needs none of it


def test_what_is_shown_is_opened_before_anybody_hears_of_it(tmp_path):
    pytest.importorskip("av", reason="the extra video")
    for what in (str(tmp_path / "nowhere.mkv"), "camra"):
        with pytest.raises(DeviceError, match=f"camera, screen, test or a film, and no {what}"):
            Sight(video=what, record=None, loop=False)
    (tmp_path / "text.mkv").write_text("no film")
    with pytest.raises(DeviceError, match="cannot play"):
        Sight(video=str(tmp_path / "text.mkv"), record=None, loop=False)
    looks = Sight(video="", record=None, loop=False)
    assert looks.shows is True
    assert looks.finished.is_set()


def test_a_film_that_breaks_off_is_waited_for_no_longer(tmp_path, monkeypatch):
    pytest.importorskip("av", reason="the extra video")
    path = tmp_path / "film.mkv"
    recorder = VideoRecorder(path, audio=False)
    recorder.write(TestPattern(64, 32).read(0.0))
    recorder.close()
    asyncio.run(recorder.wait_finished())

    def broken(self, now):
        raise DeviceError("broke off")

    film = Film(path, loop=True)
    film.read(0.0)
    assert not film.finished.is_set()
    monkeypatch.setattr(VideoFile, "read", broken)
    with pytest.raises(DeviceError):
        film.read(1.0)
    assert film.finished.is_set()
    film.close()


class Source:
    live = True

    def __init__(self):
        self.closed = 0

    def read(self, now):
        return now

    def discard(self):
        pass

    def close(self):
        self.closed += 1


def test_a_camera_of_two_calls_is_closed_with_the_last_of_them():
    source = Source()
    first = Shared(source)
    second = first.again()
    assert second.read(3.0) == 3.0
    first.close()
    first.close()
    assert source.closed == 0
    second.close()
    assert source.closed == 1


def test_a_call_begun_from_another_shows_the_same_camera_and_opens_what_is_none(monkeypatch):
    pytest.importorskip("av", reason="the extra video")
    opened = []
    monkeypatch.setattr(sight, "Camera", lambda: opened.append(Source()) or opened[-1])
    for video, count in (("camera", 1), ("test", 1), ("", 1)):
        one = Sight(video=video, record=None, loop=False)
        other = Sight(video=video, record=None, loop=True, camera=one)
        assert len(opened) == count
        assert isinstance(other.shows, Shared) is (video == "camera")
        assert (other.shows is one.shows) is (video == "")


def test_pictures_that_stop_are_told_once_and_not_where_that_is_meant():
    pytest.importorskip("av", reason="the extra video")
    looks = Sight(video="", record=None, loop=False)
    assert not looks.turned(0.0, still=False)
    frame = TestPattern(64, 32).read(0.0)
    looks.write(frame)
    assert looks.turned(1.0, still=False)
    assert looks.coming
    assert not looks.turned(3.9, still=False)
    assert not looks.turned(9.0, still=True)  # on hold
    assert not looks.turned(11.9, still=False)
    assert looks.turned(12.1, still=False)
    assert not looks.coming
    assert not looks.turned(99.0, still=False)
    looks.write(frame)
    assert looks.turned(99.1, still=False)
    assert looks.coming
