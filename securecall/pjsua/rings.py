"""The sound of one call between PJSIP's bridge and our clock: two bounded rings of frames."""

from __future__ import annotations

from collections import deque
from typing import Final

from securecall.media.frames import TICK

RATE: Final = 16_000
"""Of the bridge's sound, Hz; PJSIP converts from and to what the codec has."""

FRAME_BYTES: Final = 2 * round(RATE * TICK)
_MOST_SENDING: Final = 10  # frames of 20 ms
_MOST_HEARD: Final = 25


class Rings:
    """Written by one thread and read by another; where one is full, the oldest frame is lost.

    Attributes:
        starved: Frames the bridge asked for in vain.
    """

    __slots__ = ("_heard", "_sending", "_unheard", "_unsent", "starved")

    def __init__(self) -> None:
        """Make empty ones."""
        self._sending: deque[bytes] = deque(maxlen=_MOST_SENDING)
        self._heard: deque[bytes] = deque(maxlen=_MOST_HEARD)
        self.starved = 0
        self._unsent = self._unheard = 0  # one of each thread: two that count one lose some

    @property
    def dropped(self) -> int:
        """Frames that were lost, of both rings."""
        return self._unsent + self._unheard

    def send(self, pcm: bytes) -> None:
        """Put 20 ms of ours in."""
        self._unsent += len(self._sending) == _MOST_SENDING
        self._sending.append(pcm)

    def fetch(self) -> bytes | None:
        """Take 20 ms of ours out, None where there are none; for the bridge."""
        try:
            return self._sending.popleft()
        except IndexError:
            self.starved += 1
            return None

    def keep(self, pcm: bytes) -> None:
        """Put 20 ms of the peer's in; for the bridge."""
        self._unheard += len(self._heard) == _MOST_HEARD
        self._heard.append(pcm)

    def take(self) -> bytes | None:
        """Take 20 ms of the peer's out, None where there are none."""
        try:
            return self._heard.popleft()
        except IndexError:
            return None

    def clear(self) -> None:
        """Forget what is in both."""
        self._sending.clear()
        self._heard.clear()
