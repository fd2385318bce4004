"""The screen of an X server that nobody sees (apt package xvfb) is captured."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

import pytest

pytest.importorskip("av", reason='needs pip install "securecall[video]"')

from securecall.errors import DeviceError
from securecall.media.video.sources import Screen

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs the apt package xvfb"),
]


@pytest.fixture
def display():
    """An X server of 320x200 pixels, all black but for its stipple."""
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "320x200x24", "-nolisten", "tcp"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as told:
        number = told.readline().strip()
    assert number, "Xvfb did not start"
    yield f":{number}"
    server.terminate()
    server.wait()


def first(screen):
    while (frame := screen.read(time.monotonic())) is None:
        time.sleep(0.01)
    return frame


def test_the_screen_is_captured_whole_or_in_part(display, monkeypatch):
    monkeypatch.setenv("DISPLAY", display)
    whole, part = Screen(), Screen(display, size=(64, 48), origin=(10, 20))
    assert (first(whole).size, first(part).size) == ((320, 200), (64, 48))
    assert first(whole).timestamp <= time.monotonic()
    whole.close()
    part.close()


def test_a_display_that_is_not_there_is_a_device_error():
    screen = Screen(":9876")
    with pytest.raises(DeviceError, match="9876"):
        first(screen)
