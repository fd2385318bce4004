"""Where in a peer's sound a moment of its clock is heard, so that pictures keep step with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from securecall.rtp.stream import ReceivedSource

MOST_APART: Final = 2.0
"""Seconds between a picture and what is heard; more makes no sense in a conversation."""


@dataclass(frozen=True, slots=True)
class Heard:
    """When something that was captured together with the sound is heard.

    Attributes:
        seconds: On the clock of the sound that is played: `AudioFrame.timestamp / sample_rate`.
        due: On our own, monotonic; in the past where that was heard already.
    """

    seconds: float
    due: float


HeardAt = Callable[[float, str], Heard | None]
"""Given seconds on the clock of a peer's source, and the CNAME of that: when it is heard here."""


class SoundTime:
    """The sound as it is played: which sample of the peer's was heard last, and when."""

    __slots__ = ("_at", "_clock_rate", "_position", "_seconds", "_ssrc")

    def __init__(self) -> None:
        """Begin with nothing played."""
        self._ssrc: int | None = None
        self._position = self._clock_rate = 0
        self._seconds = self._at = 0.0

    def played(
        self, ssrc: int | None, position: int | None, clock_rate: int, *, seconds: float, now: float
    ) -> None:
        """Note what is played.

        Args:
            ssrc: The source; None where there is none.
            position: RTP timestamp of the first sample; None for what the peer did not send.
            clock_rate: Of it, Hz.
            seconds: Its place in what is played.
            now: Monotonic seconds.
        """
        if position is not None:
            self._ssrc, self._position, self._clock_rate = ssrc, position, clock_rate
            self._seconds, self._at = seconds, now

    def forget(self) -> None:
        """Nothing is played any more."""
        self._ssrc = None

    def find(self, wall: float, cname: str, sources: tuple[ReceivedSource, ...]) -> Heard | None:
        """Return when what the peer captured at this time of its clock is heard (RFC 3550 6.4.1).

        Args:
            wall: By the peer's sender reports.
            cname: Who says so: times of different names have nothing to do with each other.
            sources: Those of the sound.
        """
        source = next((s for s in sources if s.ssrc == self._ssrc), None)
        if source is None or not cname or source.cname != cname:
            return None
        then = source.wall(self._position)
        if then is None or abs(ahead := wall - then) > MOST_APART:
            return None
        return Heard(self._seconds + ahead, self._at + ahead)
