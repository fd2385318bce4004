"""When packets arrived, noted and told to their sender (transport-wide congestion control)."""

from __future__ import annotations

from typing import Final

from securecall.rtp.feedback import DELTA_UNIT, REFERENCE_UNIT, TransportFeedback

INTERVAL: Final = 0.1
"""Seconds between two pieces of feedback."""

SUDDEN: Final = 0.05
"""Seconds by which a packet takes longer than the fastest of late, that are told at once."""

MAX_ARRIVALS: Final = 400
"""Packets that came, in one piece of feedback: at most 1000 bytes."""

_REMEMBERED: Final = 0.5  # seconds: what a packet that comes late is reported together with
_ALERT: Final = 0.3  # seconds for which all is told at once
_QUIET: Final = 2.0  # ... and no more after that
_WINDOW: Final = 5.0
_MAX_JUMP: Final = 3000
_TICKS: Final = round(REFERENCE_UNIT / DELTA_UNIT)
_NEVER: Final = float("inf")


class Lateness:
    """How much longer packets of one stream take than its fastest of the last 5 to 10 s."""

    __slots__ = ("_before", "_clock_rate", "_elapsed", "_fastest", "_last", "_until")

    def __init__(self, clock_rate: int) -> None:
        """Begin; the clock rate of its timestamps is in Hz."""
        self._clock_rate = clock_rate
        self._last: int | None = None
        self._elapsed = 0.0
        self._fastest = self._before = float("inf")
        self._until = float("-inf")

    def measure(self, timestamp: int, *, now: float) -> float:
        """Take a packet with this timestamp; return seconds."""
        if self._last is not None:
            ahead = (timestamp - self._last + 0x80000000 & 0xFFFFFFFF) - 0x80000000
            self._elapsed += ahead / self._clock_rate
        self._last = timestamp
        passage = now - self._elapsed
        if now >= self._until:
            self._before, self._fastest = self._fastest, passage
            self._until = now + _WINDOW
        self._fastest = min(self._fastest, passage)
        return passage - min(self._fastest, self._before)


class ArrivalLog:
    """Notes arrivals of one transport, and says when it is time to tell of them.

    Attributes:
        deadline: When `poll` has something to tell; infinite while nothing came.
    """

    __slots__ = (
        "_alert_at",
        "_arrived",
        "_from",
        "_highest",
        "_media_ssrc",
        "_number",
        "_sender_ssrc",
        "deadline",
    )

    def __init__(self, *, sender_ssrc: int, media_ssrc: int) -> None:
        """Begin; the SSRCs are ours, and any one of the peer's."""
        self.deadline = _NEVER
        self._sender_ssrc = sender_ssrc
        self._media_ssrc = media_ssrc
        self._number = 0
        self._highest: int | None = None
        self._from = 0  # the first number not reported on
        self._alert_at = float("-inf")
        self._arrived: dict[int, int] = {}  # number without wrap: ticks of 250 us

    def receive(self, sequence: int, *, now: float, lateness: float = 0.0) -> None:
        """Note that the packet of this transport-wide number came; the first time counts.

        Where it is late by more than `SUDDEN` seconds, its sender ought to know at once: a queue
        may have sprung up, and all that is sent meanwhile lengthens it.
        """
        if self._highest is None:
            index = sequence + 0x10000
            self._from = index
        else:
            ahead = (sequence - self._highest + 0x8000 & 0xFFFF) - 0x8000
            index = self._highest + ahead
            if ahead > _MAX_JUMP:  # the sender began anew, or an outage that explains itself
                self._from = index
        if index in self._arrived or (self._highest or 0) - index > _MAX_JUMP:
            return
        self._highest = max(index, self._highest or 0)
        self._from = min(index, self._from)
        self._arrived[index] = int(now / DELTA_UNIT)
        if lateness > SUDDEN and now - self._alert_at >= _QUIET:
            self._alert_at = now
        alert = lateness > SUDDEN and now - self._alert_at < _ALERT
        self.deadline = min(self.deadline, now if alert else now + INTERVAL)

    def poll(self, *, now: float) -> tuple[TransportFeedback, ...]:
        """Return what to send, once `deadline` has passed."""
        if now < self.deadline or self._highest is None:
            return ()
        self.deadline = _NEVER
        feedback: list[TransportFeedback] = []
        begin = self._from
        chunk: list[tuple[int, int]] = []
        for index, time in sorted(i for i in self._arrived.items() if i[0] >= self._from):
            far = bool(chunk) and not -0x8000 <= time - chunk[-1][1] <= 0x7FFF
            if far or len(chunk) == MAX_ARRIVALS:
                feedback.append(self._build(begin, chunk))
                begin, chunk = chunk[-1][0] + 1, []
            chunk.append((index, time))
        feedback.append(self._build(begin, chunk))
        self._from = self._highest + 1
        forgotten = int((now - _REMEMBERED) / DELTA_UNIT)
        self._arrived = {i: time for i, time in self._arrived.items() if time >= forgotten}
        return tuple(feedback)

    def _build(self, begin: int, chunk: list[tuple[int, int]]) -> TransportFeedback:
        reference = chunk[0][1] // _TICKS
        number, self._number = self._number, self._number + 1 & 0xFF
        return TransportFeedback(
            sender_ssrc=self._sender_ssrc,
            media_ssrc=self._media_ssrc,
            base_sequence=begin & 0xFFFF,
            count=chunk[-1][0] - begin + 1,
            reference_time=reference & 0xFFFFFF,
            number=number,
            arrivals=tuple((index - begin, time - reference * _TICKS) for index, time in chunk),
        )
