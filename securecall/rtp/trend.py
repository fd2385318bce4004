"""Whether the queue on a path grows: arrival against sending times (draft-ietf-rmcat-gcc-02)."""

from __future__ import annotations

import enum
from collections import deque
from typing import Final

GROUP: Final = 0.005
"""Seconds within which packets were sent as one group (5.2)."""

_WINDOW: Final = 20
_SMOOTHING: Final = 0.9
_GAIN: Final = 4.0
_MAX_DELTAS: Final = 60
_OVER_TIME: Final = 0.010
_UP, _DOWN = 0.0087, 0.039  # of the threshold, per millisecond (5.4)
_FIRST_THRESHOLD: Final = 0.0125
_LEAST, _MOST = 0.006, 0.6
_OUTLIER: Final = 0.015
_RESTART: Final = 3.0
_BURST: Final = 0.1


class Usage(enum.IntEnum):
    """What the trend says of the path, worst last; UNKNOWN is false."""

    UNKNOWN = 0
    UNDER = 1
    NORMAL = 2
    OVER = 3


class TrendLine:
    """Fits a line through the accumulated delay of groups of packets, and judges its slope.

    Attributes:
        usage: The last verdict.
        threshold: Seconds the trend may have; it follows the trend (5.4).
        trend: The slope, scaled to seconds, that is compared with it.
    """

    __slots__ = (
        "_accumulated",
        "_count",
        "_group",
        "_last_arrival",
        "_over_for",
        "_over_times",
        "_points",
        "_previous",
        "_slope",
        "_smoothed",
        "threshold",
        "trend",
        "usage",
    )

    def __init__(self) -> None:
        self.usage = Usage.NORMAL
        self.threshold = _FIRST_THRESHOLD
        self._restart()

    def _restart(self) -> None:
        self.trend = 0.0
        self._slope = 0.0
        self._points: deque[tuple[float, float]] = deque(maxlen=_WINDOW)
        self._accumulated = self._smoothed = 0.0
        self._count = 0
        self._over_for = 0.0
        self._over_times = 0
        self._last_arrival: float | None = None
        # First and last sending, first and last arrival.
        self._group: tuple[float, float, float, float] | None = None
        self._previous: tuple[float, float, float, float] | None = None

    def add(self, sent_at: float, arrived: float) -> Usage:
        """Take a packet, in the order of sending; return a verdict, or UNKNOWN for none yet.

        The two clocks need not agree; their difference must only be steady.
        """
        group = self._group
        if group is None:
            self._group = sent_at, sent_at, arrived, arrived
            return Usage.UNKNOWN
        first, last, begun, latest = group
        # What came at once after more time at the sender had waited together on the way.
        waited = arrived - latest < min(GROUP, sent_at - last) and arrived - begun < _BURST
        if sent_at - first <= GROUP or waited:
            self._group = first, max(last, sent_at), begun, max(latest, arrived)
            return Usage.UNKNOWN
        self._group = sent_at, sent_at, arrived, arrived
        previous, self._previous = self._previous, group
        if previous is None:
            return Usage.UNKNOWN
        sent, received = last - previous[1], latest - previous[3]
        if abs(received - sent) > _RESTART:  # the peer's clock jumped, or ours slept
            self._restart()
            return Usage.UNKNOWN
        return self._update(received - sent, sent, latest)

    def _update(self, variation: float, elapsed: float, arrived: float) -> Usage:
        self._count = min(self._count + 1, _MAX_DELTAS)
        self._accumulated += variation
        self._smoothed = _SMOOTHING * self._smoothed + (1 - _SMOOTHING) * self._accumulated
        self._points.append((arrived, self._smoothed))
        slope = self._fit() if len(self._points) == _WINDOW else 0.0
        self.trend = self._count * slope * _GAIN / 1000
        if self.trend > self.threshold:
            self._over_for += elapsed
            self._over_times += 1
            if self._over_for > _OVER_TIME and self._over_times > 1 and slope >= self._slope:
                self._over_for, self._over_times = 0.0, 0
                self.usage = Usage.OVER
        else:
            self._over_for, self._over_times = 0.0, 0
            self.usage = Usage.UNDER if self.trend < -self.threshold else Usage.NORMAL
        self._slope = slope
        self._adapt(arrived)
        return self.usage

    def _fit(self) -> float:
        """Return the slope of the least-squares line through the points."""
        number = len(self._points)
        mean_x = sum(x for x, _ in self._points) / number
        mean_y = sum(y for _, y in self._points) / number
        above = sum((x - mean_x) * (y - mean_y) for x, y in self._points)
        below = sum((x - mean_x) ** 2 for x, _ in self._points)
        return above / below if below else 0.0

    def _adapt(self, arrived: float) -> None:
        last, self._last_arrival = self._last_arrival, arrived
        size = abs(self.trend)
        if last is None or size > self.threshold + _OUTLIER:
            return  # a spike: not what the path is like (5.4)
        elapsed_ms = min(100.0, max(0.0, 1000 * (arrived - last)))
        gain = _DOWN if size < self.threshold else _UP
        self.threshold += gain * (size - self.threshold) * elapsed_ms
        self.threshold = min(_MOST, max(_LEAST, self.threshold))
