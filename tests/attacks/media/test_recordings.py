"""Another user of the machine made the file first, or it lay there for everybody to read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from securecall.errors import DeviceError
from securecall.media import files
from securecall.media.files import Recorder
from securecall.media.frames import AudioFrame
from securecall.media.video import pyav
from securecall.media.video.frames import VideoFrame
from securecall.media.video.recorder import VideoRecorder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and owners of POSIX")
SOUND = AudioFrame(samples=b"\x00\x10" * 160, sample_rate=8000, timestamp=0)


def sound(path: Path) -> None:
    recorder = Recorder(path)
    recorder.write(SOUND)
    recorder.close()


def film(path: Path) -> None:
    pyav.require_available()
    recorder = VideoRecorder(path, audio=False)
    recorder.write(VideoFrame.black(64, 48))
    recorder.close()
    recorder._worker.join()
    if recorder._worker.error is not None:
        raise recorder._worker.error


RECORDINGS = [pytest.param(sound, ".wav", id="sound"), pytest.param(film, ".webm", id="film")]


def open_as_it_was(path, flags):
    return os.open(path, flags | os.O_CREAT | os.O_TRUNC, 0o600)


def left_behind(folder, suffix):
    """What was recorded before, and given to everybody since."""
    path = folder / f"call{suffix}"
    path.write_bytes(b"before")
    path.chmod(0o666)
    return path


@pytest.mark.parametrize(("record", "suffix"), RECORDINGS)
def test_what_is_recorded_into_a_file_that_all_may_read_is_not_for_them(record, suffix, tmp_path):
    path = left_behind(tmp_path, suffix)
    record(path)
    assert path.stat().st_size > 6
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(("record", "suffix"), RECORDINGS)
def test_nothing_is_recorded_into_the_file_of_another_user(record, suffix, tmp_path, monkeypatch):
    path = left_behind(tmp_path, suffix)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)  # else it takes two users
    with pytest.raises(DeviceError):
        record(path)
    assert path.read_bytes() == b"before"


@pytest.mark.parametrize(("record", "suffix"), RECORDINGS)
def test_control_a_file_opened_as_it_lies_there_is_read_by_all(
    record, suffix, tmp_path, monkeypatch
):
    path = left_behind(tmp_path, suffix)
    monkeypatch.setattr(files, "open_private", open_as_it_was)
    monkeypatch.setattr("securecall.media.video.writing.open_private", open_as_it_was)
    record(path)
    assert path.stat().st_size > 6
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


def test_a_recording_may_go_to_what_is_no_file(tmp_path):
    sound(Path(os.devnull))
