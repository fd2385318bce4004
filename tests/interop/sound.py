"""Which tone a recording holds, by Goertzel's filter: the way to know that sound really arrived."""

from __future__ import annotations

import math
import wave
from array import array
from pathlib import Path

_WINDOW_SECONDS = 0.1
_QUIET_RMS = 100.0


def tone_seconds(path: Path, hertz: float) -> float:
    """Return for how long a 16-bit WAV file holds hardly anything but a tone of that pitch."""
    with wave.open(str(path), "rb") as file:
        assert file.getsampwidth() == 2
        rate, channels = file.getframerate(), file.getnchannels()
        samples = array("h", file.readframes(file.getnframes()))[::channels]
    return tone_in(samples, rate, hertz)


def tone_in(samples: array[int], rate: int, hertz: float) -> float:
    """Return for how long 16-bit mono samples hold hardly anything but a tone of that pitch."""
    size = int(rate * _WINDOW_SECONDS)
    windows = (samples[i : i + size] for i in range(0, len(samples) - size + 1, size))
    return _WINDOW_SECONDS * sum(share(window, rate, hertz) > 0.8 for window in windows)


def loudest(path: Path) -> int:
    """Return the highest sample of a 16-bit WAV file, 0 for silence or no file."""
    if not path.exists():
        return 0
    with wave.open(str(path), "rb") as file:
        return max(map(abs, array("h", file.readframes(file.getnframes()))), default=0)


def share(samples: array[int], rate: int, hertz: float) -> float:
    """Return the part of the energy at one frequency: 1 for a pure tone, 0 for quiet."""
    energy = float(sum(s * s for s in samples))
    if energy < _QUIET_RMS**2 * len(samples):
        return 0.0
    turn = 2 * math.cos(2 * math.pi * hertz / rate)
    before = last = 0.0
    for sample in samples:
        before, last = last, sample + turn * last - before
    return 2 * (last * last + before * before - turn * last * before) / (energy * len(samples))


def write_wav(path: Path, pcm: bytes, *, rate: int, channels: int) -> None:
    """Write signed 16-bit little-endian samples."""
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(pcm)
