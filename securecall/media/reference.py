"""What a loudspeaker was given, in step with the microphone that hears it again."""

from __future__ import annotations

from collections import deque
from typing import Final

from securecall.media.resample import Resampler

_MOST: Final = 32
_SPAN: Final = 100  # blocks over which too much is noticed: a second


class EchoReference:
    """Pieces of 10 ms, put in by the loudspeaker's thread and taken out by the microphone's.

    Both run at the same pace, but for two clocks that drift and threads that come late. What is
    taken must never be behind its echo, so no more than `slack` pieces wait for long; a piece that
    is missing is silence.

    Attributes:
        slack: Pieces that may wait, less than the two devices' own delay.
    """

    def __init__(self, *, slack: int = 2) -> None:
        """Begin with nothing."""
        self.slack = slack
        self._pieces: deque[tuple[bytes, int]] = deque(maxlen=_MOST)
        self._pending = b""
        self._resampler: Resampler | None = None
        self._taken = 0
        self._fewest = 0

    def played(self, pcm: bytes, rate: int) -> None:
        """Keep what the loudspeaker was just given."""
        self._pieces.append((pcm, rate))

    def take(self, size: int, rate: int) -> bytes:
        """Return `size` bytes at the microphone's rate."""
        if not self._taken % _SPAN:
            self._catch_up()
        self._taken += 1
        while len(self._pending) < size and self._pieces:
            pcm, source = self._pieces.popleft()
            self._pending += pcm if source == rate else self._convert(pcm, source, rate)
        taken, self._pending = self._pending[:size], self._pending[size:]
        self._fewest = min(self._fewest, len(self._pieces))
        return taken.ljust(size, b"\0")

    def _catch_up(self) -> None:
        """Drop what has been waiting all the time."""
        waiting = len(self._pieces)
        surplus = (self._fewest if self._taken else waiting) - self.slack
        for _ in range(min(surplus, waiting)):
            self._pieces.popleft()
        self._fewest = _MOST

    def _convert(self, pcm: bytes, source: int, target: int) -> bytes:
        resampler = self._resampler
        if resampler is None or (resampler.source, resampler.target) != (source, target):
            resampler = self._resampler = Resampler(source, target)
        return resampler.process(pcm)
