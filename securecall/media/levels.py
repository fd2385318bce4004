"""How loud a call is, both ways: what is sent and what is played, while somebody watches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from securecall.media.frames import rms_dbfs

SILENCE: Final = -96.0
INTERVAL: Final = 0.1
"""Seconds between two readings of `Call.levels`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """The loudest 20 ms since the reading before, dBFS: 0.0 is full scale, -96.0 silence.

    Attributes:
        sent: What leaves: silence while the call is muted.
        received: What the other end is heard with.
    """

    sent: float
    received: float


class LevelMeter:
    """One watcher's needles; costs some microseconds for each frame."""

    __slots__ = ("_received", "_sent")

    def __init__(self) -> None:
        """Begin at silence."""
        self._sent = self._received = SILENCE

    def sent(self, pcm: bytes) -> None:
        """Take note of 20 ms that leave."""
        self._sent = max(self._sent, rms_dbfs(pcm))

    def received(self, pcm: bytes) -> None:
        """Take note of 20 ms that are played."""
        self._received = max(self._received, rms_dbfs(pcm))

    def take(self) -> Levels:
        """Return the reading, and begin the next."""
        taken = Levels(sent=self._sent, received=self._received)
        self._sent = self._received = SILENCE
        return taken
