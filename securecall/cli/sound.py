"""Sound for the command: the sample, needles, and how alike two recordings are."""

from __future__ import annotations

import math
import wave
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Final

from securecall.errors import DeviceError
from securecall.media.levels import SILENCE

SAMPLE: Final = "sense_and_sensibility.wav"
_FALL = 7.5  # dB per reading: a needle that falls slowly is easier to read
_STEPS_PER_SECOND = 50
_RELATED = 0.5


def sample_path() -> Path:
    """Return where the speech sample of the package lies."""
    return Path(str(resources.files("securecall.cli") / "samples" / SAMPLE))


class Needle:
    """What shows a level: it jumps up with the sound and falls slowly.

    Attributes:
        dbfs: Where it stands, -96.0 at silence.
    """

    def __init__(self) -> None:
        """Begin at silence."""
        self.dbfs = SILENCE

    def show(self, dbfs: float) -> float:
        """Move with a tenth of a second of sound; returns where it stands now."""
        self.dbfs = max(dbfs, self.dbfs - _FALL, SILENCE)
        return round(self.dbfs, 1)


def likeness(original: Path, recording: Path, *, channel: int = 0) -> float:
    """Return how alike the loudness of two recordings runs over time, -1.0 to 1.0.

    The recording may begin later or earlier by up to two seconds. The same speech gives more than
    0.9 after any codec, other speech or noise less than 0.5.

    Args:
        original: 16-bit WAV file; its first channel is looked at.
        recording: 16-bit WAV file.
        channel: Which of its channels to look at.

    Raises:
        DeviceError: one of the files cannot be read.
    """
    one, other = _envelope(original, 0), _envelope(recording, channel)
    reach, second = 2 * _STEPS_PER_SECOND, _STEPS_PER_SECOND
    enough = max(second, min(len(one), len(other)) * 6 // 10)
    whole, lag = max((_correlation(one, other, n, enough), n) for n in range(-reach, reach + 1))
    # A jitter buffer stretches and shrinks pauses: second by second, each may be a little off.
    parts = [
        max(_correlation(one[at : at + second], other, n - at, second) for n in _around(lag))
        for at in range(max(0, lag), min(len(one), len(other) + lag) - second, second)
    ]
    return max(whole, sum(parts) / len(parts)) if parts and whole > _RELATED else whole


def trace(path: Path, width: int, *, channel: int = 0, seconds: float = 0.0) -> list[float]:
    """Return how loud a recording is along its time, as `width` numbers from 0.0 to 1.0.

    Args:
        path: 16-bit WAV file.
        width: How many numbers.
        channel: Which of its channels to look at.
        seconds: How long the whole width stands for, 0.0 for the length of the recording.

    Raises:
        DeviceError: the file cannot be read.
    """
    envelope = _envelope(path, channel)
    size = max(1, round(seconds * _STEPS_PER_SECOND) if seconds else len(envelope))
    edges = [size * n // width for n in range(width + 1)]
    parts = [envelope[a : max(b, a + 1)] for a, b in pairwise(edges)]
    means = [sum(part) / len(part) if part else 0.0 for part in parts]
    loudest = max(means, default=0.0)
    return [(mean / loudest) ** 0.6 if loudest else 0.0 for mean in means]


def duration(path: Path) -> float:
    """Return the seconds of a recording, 0.0 if there is none."""
    try:
        with wave.open(str(path), "rb") as file:
            return file.getnframes() / file.getframerate()
    except (OSError, EOFError, wave.Error):
        return 0.0


def second_voice(path: Path) -> None:
    """Write the sample to a file with its halves changed round, so that two can tell each other."""
    with wave.open(str(sample_path()), "rb") as sample, wave.open(str(path), "wb") as file:
        file.setparams(sample.getparams())
        pcm = sample.readframes(sample.getnframes())
        half = len(pcm) // 4 * 2
        file.writeframes(pcm[half:] + pcm[:half])


def _envelope(path: Path, channel: int) -> list[float]:
    """Return the amplitude of every 20 ms, from every fourth sample."""
    found: list[float] = []
    try:
        with wave.open(str(path), "rb") as file:
            channels, step = file.getnchannels(), file.getframerate() // _STEPS_PER_SECOND
            while pcm := file.readframes(step):
                view = memoryview(pcm).cast("h")[channel :: 4 * channels]
                found.append(math.sqrt(sum(s * s for s in view) / max(1, len(view))))
    except (OSError, EOFError, wave.Error, TypeError) as e:
        raise DeviceError(f"cannot read {path}: {e}") from e
    return found


def _around(lag: int) -> range:
    return range(lag - 12, lag + 13)  # a quarter of a second either way


def _correlation(one: list[float], other: list[float], lag: int, enough: int) -> float:
    x, y = one[max(0, lag) :], other[max(0, -lag) :]
    size = min(len(x), len(y))
    if size < enough:
        return 0.0
    x, y = x[:size], y[:size]
    mean_x, mean_y = sum(x) / size, sum(y) / size
    xy = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    xx = sum((a - mean_x) ** 2 for a in x)
    yy = sum((b - mean_y) ** 2 for b in y)
    return xy / math.sqrt(xx * yy) if xx and yy else 0.0
