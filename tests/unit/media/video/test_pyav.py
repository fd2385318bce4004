"""The door of PyAV: nothing passes it before it is used, and where it is missing that is said."""

from __future__ import annotations

import subprocess
import sys

import pytest

from securecall.errors import Unsupported
from securecall.media.video import pyav
from securecall.media.video.codecs import FrameDecoder, FrameEncoder
from securecall.media.video.frames import VideoFrame
from securecall.media.video.recorder import VideoRecorder
from securecall.media.video.sources import Camera, Screen, VideoFile


@pytest.fixture
def without_pyav(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    for name in list(vars(pyav)):
        if name in pyav.NAMES:
            monkeypatch.delitem(vars(pyav), name)


def test_without_pyav_every_use_says_what_to_install(without_pyav):
    frame = VideoFrame.black(8, 8)
    uses = [
        lambda: frame.scaled(4, 4),
        frame.to_numpy,
        frame.to_image,
        lambda: FrameEncoder("VP8", bitrate=100_000),
        lambda: FrameDecoder("H264"),
        lambda: VideoFile("film.mkv"),
        Camera,
        lambda: Screen(":0"),
        lambda: VideoRecorder("film.mkv"),
    ]
    for use in uses:
        with pytest.raises(Unsupported, match=r'pip install "securecall\[video\]"'):
            use()
    assert not pyav.is_available()


def test_with_pyav_it_is_said_to_be_there():
    assert pyav.is_available()


def test_what_pyav_has_not_is_unsupported_and_what_nobody_uses_no_attribute(monkeypatch):
    import av

    monkeypatch.delitem(vars(pyav), "Packet", raising=False)
    monkeypatch.delattr(av, "Packet")
    with pytest.raises(Unsupported, match="too old"):
        _ = pyav.Packet
    with pytest.raises(AttributeError):
        _ = pyav.nonsense


def test_importing_all_of_video_does_not_load_pyav():
    modules = ("coders", "endpoints", "ladder", "pattern", "recorder", "sources")
    code = "import sys, securecall\n" + "\n".join(
        f"import securecall.media.video.{name}" for name in modules
    )
    code += "\nsys.exit(bool({'av', 'numpy', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


WITHOUT = """
import sys
from securecall.errors import Unsupported
from securecall.media.video.frames import VideoFrame

class Refuse:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {"numpy", "PIL"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuse())
for use in (VideoFrame.to_numpy, VideoFrame.to_image):
    try:
        use(VideoFrame.black(8, 8))
    except Unsupported as e:
        print(e)
"""


def test_arrays_and_images_say_what_they_need():
    command = [sys.executable, "-c", WITHOUT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "arrays of pixels need: pip install numpy",
        "images need: pip install pillow",
    ]
