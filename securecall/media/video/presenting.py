"""Holds pictures back until the sound that was captured with them is heard, within bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from securecall.media.frames import TICK
from securecall.media.synchrony import Heard
from securecall.media.video.frames import VideoFrame

LONGEST: Final = 0.2
"""Seconds that a picture is held back at most."""

_MOST: Final = 16  # pictures; 22 MB of 1280x720
_EARLY: Final = TICK / 2  # whoever asks comes once in a tick: the nearer one counts


class Presenter:
    """Gives pictures out in their order, each when its sound is heard.

    Sound never waits for a picture: one whose sound was heard already is given out at once.
    """

    def __init__(
        self, heard: Callable[[int], Heard | None], show: Callable[[VideoFrame], None]
    ) -> None:
        """Begin with nothing.

        Args:
            heard: When the sound that goes with an RTP timestamp is heard; None where nobody knows.
            show: Given the pictures.
        """
        self._heard, self._show = heard, show
        self._waiting: deque[tuple[float, VideoFrame]] = deque()

    def take(self, frame: VideoFrame, timestamp: int, *, now: float) -> None:
        """Take a picture that was decoded, and its RTP timestamp."""
        heard = self._heard(timestamp)
        due = now
        if heard is not None:
            frame = replace(frame, audio_time=heard.seconds)
            due = min(max(now, heard.due), now + LONGEST)
        self._waiting.append((due, frame))
        self.poll(now)
        while len(self._waiting) > _MOST:
            self._next()

    def poll(self, now: float) -> None:
        """Give out what is due."""
        while self._waiting and self._waiting[0][0] <= now + _EARLY:
            self._next()

    def _next(self) -> None:
        _, frame = self._waiting.popleft()
        self._show(frame)

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
