"""What sound looks like inside the library: frames of signed 16-bit PCM, and how loud they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

TICK: float = 0.02
"""Seconds of sound that one tick of the clock moves."""

_FLOOR_DBFS = -96.0
_FULL_SCALE = 32768.0
_METER_SAMPLES = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioFrame:
    """A few milliseconds of sound.

    Attributes:
        samples: Signed 16-bit little-endian PCM, channels interleaved.
        sample_rate: Samples per second and channel, Hz.
        channels: 1 or 2.
        timestamp: Position of the first sample, in samples since the stream began.
    """

    samples: bytes
    sample_rate: int
    channels: int = 1
    timestamp: int = 0

    @property
    def duration(self) -> float:
        """Seconds this frame lasts."""
        return len(self.samples) / (2 * self.channels * self.sample_rate)


def rms_dbfs(samples: bytes) -> float:
    """Return the loudness of s16le samples: 0.0 is full scale, -96.0 silence.

    For meters: at most about 96 samples, evenly spread, are looked at, so that a meter costs the
    same few microseconds at every rate. Frequencies that beat with the stride read a little off.
    """
    view = memoryview(samples)[: len(samples) & ~1].cast("h")
    if not len(view):
        return _FLOOR_DBFS
    stride = len(view) // _METER_SAMPLES | 1  # odd, so as not to beat with even periods
    picked = view[::stride].tolist()
    power = sum(map(int.__mul__, picked, picked)) / len(picked)
    if power <= 0:
        return _FLOOR_DBFS
    return max(_FLOOR_DBFS, 10.0 * math.log10(power / (_FULL_SCALE * _FULL_SCALE)))
