"""How much the path takes: a sender's estimate from feedback, by delay and by loss.

After draft-ietf-rmcat-gcc-02, with a trend line in place of the Kalman filter: the slope of the
one-way delay over the last groups of packets says whether a queue grows. What grows is congestion,
long before packets are lost; and so is, beyond the draft, a queue of 80 ms that does not empty: the
sound of the same call waits in it. Sections below are those of the draft.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from securecall.rtp.feedback import DELTA_UNIT, REFERENCE_UNIT, TransportFeedback
from securecall.rtp.trend import TrendLine, Usage

START: Final = 300_000
"""Bit/s to begin with."""

MINIMUM: Final = 50_000
"""Bit/s below which the target does not fall: less carries no picture."""

MAXIMUM: Final = 2_500_000
"""Bit/s above which it does not rise: 720p needs no more."""

_HISTORY: Final = 8192  # packets sent and not told of
_HISTORY_SECONDS: Final = 10.0
_RATE_WINDOW: Final = 0.5
_ACKED: Final = 2048
_BETA: Final = 0.85
_GROWTH: Final = 1.08  # a second (5.5)
_FIRST_GROWTH: Final = 1.5  # a second, until congestion was met once
_SMOOTHING: Final = 0.05
_DEVIATION: Final = 0.05
_LOSS_INTERVAL: Final = 0.5
_LOSS_PACKETS: Final = 20
_HIGH_LOSS, _LOW_LOSS = 0.1, 0.02
_SILENCE: Final = 1.0
_RESPONSE: Final = 0.2
_STANDING: Final = 0.08
_SPRUNG: Final = 0.05
_SPRUNG_WINDOW: Final = 0.1
_SPRUNG_BETA: Final = 0.7  # a short while tells a rate badly
_DEVIATIONS: Final = 6.0
_LONGEST_DRAIN: Final = 1.0
_LATEST: Final = 2  # packets, of which the fastest tells of the queue now
_BASE_SECONDS: Final = 15.0


class BandwidthEstimator:
    """The rate at which one transport may send.

    Attributes:
        target: Bit/s for everything numbered here, by the sizes given to `sent`.
        minimum: It never goes below.
        maximum: It never goes above.
        round_trip: Seconds from sending a packet to hearing of it, smoothed.
        loss: Share of the packets lost, of late.
        congestions: Times a growing queue, or one that does not empty, was found.
        standing: Seconds that even the fastest packets wait in a queue, smoothed.
    """

    __slots__ = (
        "_acked",
        "_average",
        "_base",
        "_base_before",
        "_base_until",
        "_before_congestion",
        "_delay_target",
        "_deviation",
        "_drained_at",
        "_drains",
        "_fell_at",
        "_highest",
        "_holds",
        "_last_feedback",
        "_last_reference",
        "_last_update",
        "_latest",
        "_loss_counted",
        "_loss_judged",
        "_loss_lost",
        "_loss_target",
        "_measured_at",
        "_sent",
        "_silent",
        "_sprang_at",
        "_suspects",
        "_swing",
        "_trend",
        "congestions",
        "loss",
        "maximum",
        "minimum",
        "round_trip",
        "standing",
        "target",
    )

    def __init__(
        self, *, start: int = START, minimum: int = MINIMUM, maximum: int = MAXIMUM
    ) -> None:
        self.minimum, self.maximum = minimum, maximum
        self.target = start
        self.round_trip = 0.1
        self.loss = 0.0
        self.congestions = 0
        self.standing = 0.0
        self._base = self._base_before = float("inf")
        self._base_until = 0.0
        self._delay_target = float(start)
        self._loss_target = float(maximum)
        self._drained_at = float("-inf")
        self._drains = False
        self._sprang_at = float("-inf")
        self._measured_at = float("-inf")
        self._swing = 0.0  # of the queue about `standing`, smoothed
        self._trend = TrendLine()
        self._sent: dict[int, tuple[float, int]] = {}  # number: time, bytes
        self._latest: deque[float] = deque(maxlen=_LATEST)
        self._highest = 0xFFFF  # numbers do not wrap here; the first is 0 on the wire
        self._silent = False
        self._suspects: list[int] = []
        self._acked: deque[tuple[float, int]] = deque(maxlen=_ACKED)  # on the peer's clock, bytes
        self._last_reference: int | None = None
        self._last_feedback: float | None = None
        self._last_update: float | None = None
        self._average: float | None = None  # of the rates at which congestion was met
        self._deviation = _DEVIATION
        self._fell_at = float("-inf")
        self._holds = False
        self._before_congestion = True
        self._loss_judged = 0.0
        self._loss_counted = self._loss_lost = 0

    def sent(self, size: int, *, now: float) -> int:
        """Return the transport-wide sequence number for a packet of `size` bytes sent now."""
        if self._last_feedback is None:
            self._last_feedback = now
        if now - self._last_feedback > _SILENCE and self._sent:
            # Nothing is heard: neither packets nor feedback get through.
            self._last_feedback = now
            self._silent = True
            self._delay_target = max(float(self.minimum), self.target / 2)
            self._settle()
        self._highest += 1
        self._sent[self._highest] = now, size
        while self._sent:
            oldest = next(iter(self._sent))
            at, _ = self._sent[oldest]
            if len(self._sent) <= _HISTORY and now - at <= _HISTORY_SECONDS:
                break
            del self._sent[oldest]
        return self._highest & 0xFFFF

    def receive(self, feedback: TransportFeedback, *, now: float) -> int:
        """Learn from what arrived; return `target`. Feedback on what we never sent is ignored."""
        self._last_feedback = now
        base = self._highest - (self._highest - feedback.base_sequence & 0xFFFF)
        reference = self._unwrap(feedback.reference_time) * REFERENCE_UNIT
        if self._silent and feedback.arrivals:
            self._resume(base + feedback.arrivals[0][0])
        usage = Usage.UNKNOWN
        newest = 0.0
        passages: list[tuple[float, float, int]] = []  # sent, arrived, bytes
        for offset, ticks in feedback.arrivals:
            packet = self._sent.pop(base + offset, None)
            if packet is None:
                continue
            sent_at, size = packet
            arrived = reference + ticks * DELTA_UNIT
            newest = max(newest, sent_at)
            passages.append((sent_at, arrived, size))
            self._loss_counted += 1
            self._acked.append((arrived, size))
            # What is worst in this feedback counts: the next is 100 ms away.
            usage = max(usage, self._trend.add(sent_at, arrived))
        self._count_losses(base + feedback.count)
        if newest:
            self.round_trip += (now - newest - self.round_trip) * 0.2
            self._measure_queue(passages, now)
            if self.congested and usage is not Usage.UNDER:
                usage = Usage.OVER
        if usage and now >= self._drained_at + _RATE_WINDOW:  # the pause is no rate
            self._control(usage, now)
        self._judge_loss(now)
        self._settle()
        return self.target

    @property
    def congested(self) -> bool:
        """Whether a queue stands on the path, to which we still add."""
        return self.standing > _STANDING and self.target > self.minimum

    @property
    def received_rate(self) -> float | None:
        """Bit/s that arrived in the last half second of the peer's clock; None if unknown."""
        if len(self._acked) < 2:
            return None
        newest = max(at for at, _ in self._acked)
        while self._acked and self._acked[0][0] < newest - _RATE_WINDOW:
            self._acked.popleft()
        oldest = min(at for at, _ in self._acked)
        if newest - oldest < _RATE_WINDOW / 2:
            return None
        # The first packet was on its way before the span began.
        octets = sum(size for _, size in self._acked) - self._acked[0][1]
        return 8 * octets / (newest - oldest)

    @property
    def drained_at(self) -> float:
        """When a queue that sprang up has emptied, if nothing else is sent until then."""
        return self._drained_at

    def _measure_queue(self, passages: list[tuple[float, float, int]], now: float) -> None:
        """Compare the fastest passage of a feedback with that of the last 15 to 30 s.

        A queue that is full, or as long as the sound beside us makes it, does not grow: no slope
        tells of it, yet everything waits in it.
        """
        fastest = min(arrived - sent for sent, arrived, _ in passages)
        if now >= self._base_until:
            self._base_before, self._base = self._base, fastest
            self._base_until = now + _BASE_SECONDS
        self._base = min(self._base, fastest)
        base = min(self._base, self._base_before)
        queue = fastest - base
        # What is told more often than each 0.1 s counts for less.
        share = min(1.0, (now - self._measured_at) / 0.1)
        self._measured_at = now
        self._latest.extend(arrived - sent for sent, arrived, _ in sorted(passages))
        grown = min(self._latest) - base
        last = max(sent for sent, _, _ in passages)
        if last < self._sprang_at:
            return  # of before the pause, which is what it is for
        if self._drains:
            self._drains, self.standing = False, queue
        surprise = grown - self.standing
        if surprise > max(_SPRUNG, _DEVIATIONS * self._swing) and self.target > self.minimum:
            self._spring(passages, last, now)
        else:
            self._swing += (abs(surprise) - self._swing) * (1 - 0.9**share)
        self.standing += (queue - self.standing) * (1 - 0.7**share)

    def _spring(self, passages: list[tuple[float, float, int]], last: float, now: float) -> None:
        """A queue sprang up: the path has narrowed. Take its new rate, and wait for what is on it.

        A tenth of a second, in which packets queued all the time, is short for an estimate of that
        rate; half a second would be too late.
        """
        newest = max(arrived for _, arrived, _ in passages)
        arrivals = sorted(acked for acked in self._acked if acked[0] > newest - _SPRUNG_WINDOW)
        span = newest - arrivals[0][0]
        octets = sum(size for _, size in arrivals[1:])
        if not octets or span <= 0:
            return
        rate = 8 * octets / span
        on_the_way = 8 * sum(size for at, size in self._sent.values() if at > last)
        self._drained_at = now + min(_LONGEST_DRAIN, on_the_way / rate)
        self._fell_at = self._sprang_at = now
        self._drains = self._holds = True
        self.congestions += 1
        self._before_congestion = False
        self._delay_target = min(self._delay_target, _SPRUNG_BETA * rate)

    def _unwrap(self, reference: int) -> int:
        if self._last_reference is not None:
            ahead = (reference - self._last_reference + 0x800000 & 0xFFFFFF) - 0x800000
            reference = self._last_reference + ahead
        self._last_reference = reference
        return reference

    def _resume(self, first: int) -> None:
        """Begin anew after an outage: what was lost in it says nothing of the path's rate."""
        self._silent = False
        self._sent = {i: packet for i, packet in self._sent.items() if i >= first}
        self._suspects = []
        self._loss_counted = self._loss_lost = 0
        self._loss_target = float(self.maximum)
        self._average = None
        self._before_congestion = True

    def _count_losses(self, end: int) -> None:
        """Count what was missing in the feedback before, and did not come until this one."""
        for index in self._suspects:
            if self._sent.pop(index, None) is not None:
                self._loss_counted += 1
                self._loss_lost += 1
        self._suspects = [index for index in self._sent if index < end]

    def _control(self, usage: Usage, now: float) -> None:
        """Rise, hold or fall (5.5)."""
        elapsed = 0.0 if self._last_update is None else min(1.0, now - self._last_update)
        self._last_update = now
        rate = self.received_rate
        if usage is Usage.OVER:
            self._fall(rate, now)
        elif usage is Usage.UNDER:
            self._holds = True  # a queue empties: let it
        elif self._holds:
            self._holds = False
        else:
            self._rise(rate, elapsed)

    def _fall(self, rate: float | None, now: float) -> None:
        if now - self._fell_at < min(_RESPONSE, self.round_trip):
            return  # what was done has not been felt yet
        self._fell_at = now
        self.congestions += 1
        self._holds = True
        self._before_congestion = False
        measured = self._delay_target if rate is None else rate
        self._delay_target = min(self._delay_target, _BETA * measured)
        if rate is None:
            return
        if self._average is not None and rate < self._average * (1 - 3 * self._deviation):
            self._average = None  # the path has become another one
        if self._average is None:
            self._average = rate
            self._deviation = _DEVIATION
        error = rate / self._average - 1
        self._average += _SMOOTHING * (rate - self._average)
        self._deviation += _SMOOTHING * (abs(error) - self._deviation)
        self._deviation = min(0.15, max(0.03, self._deviation))

    def _rise(self, rate: float | None, elapsed: float) -> None:
        if rate is None:
            return
        if self._average is not None and rate > self._average * (1 + 3 * self._deviation):
            self._average = None  # the path takes more than it did
            self._before_congestion = True
        if self._average is None:
            growth = _FIRST_GROWTH if self._before_congestion else _GROWTH
            risen = self._delay_target * growth**elapsed
        else:  # near to where congestion was met: half a packet per response time (5.5)
            frame = self._delay_target / 30
            packet = frame / -(-frame // 9600)
            response = self.round_trip + 0.1
            risen = self._delay_target + max(1000.0 * elapsed, packet * elapsed / (2 * response))
        # No more than what is known to arrive bears out, but nothing is taken back for that.
        self._delay_target = max(self._delay_target, min(risen, 1.5 * rate + 10_000))

    def _judge_loss(self, now: float) -> None:
        """Fall where much is lost, rise where next to nothing is (6)."""
        if now - self._loss_judged < _LOSS_INTERVAL or self._loss_counted < _LOSS_PACKETS:
            return
        loss = self._loss_lost / self._loss_counted
        # By chance a few of few packets are lost, too: 1.3 standard deviations do not count.
        high = _HIGH_LOSS + 1.3 * (_HIGH_LOSS * (1 - _HIGH_LOSS) / self._loss_counted) ** 0.5
        self.loss += (loss - self.loss) * 0.3
        self._loss_judged = now
        self._loss_counted = self._loss_lost = 0
        if loss > high:
            self._loss_target = self.target * (1 - 0.5 * loss)
        elif loss < _LOW_LOSS:
            self._loss_target = min(float(self.maximum), self._loss_target * 1.05)

    def _settle(self) -> None:
        self._delay_target = min(float(self.maximum), max(float(self.minimum), self._delay_target))
        self._loss_target = max(float(self.minimum), self._loss_target)
        self.target = round(min(self._delay_target, self._loss_target))
