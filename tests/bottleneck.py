"""A video stream over a link that is too narrow, in virtual time: pacer, numbers, feedback."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from securecall.rtp.arrivals import ArrivalLog
from securecall.rtp.congestion import BandwidthEstimator
from securecall.rtp.pacer import Pacer
from securecall.rtp.rtcp import build_rtcp, parse_rtcp

PACKET = 1180
FRAMES = 30


@dataclass
class Link:
    """A queue that drops what does not fit (drop-tail), a rate that changes, loss by chance."""

    rate: Callable[[float], float]
    queue_seconds: float = 0.5
    loss: Callable[[float], float] = lambda now: 0.0
    delay: float = 0.03
    jitter: float = 0.0
    free_at: float = 0.0
    dropped: int = 0

    def send(self, size: int, now: float, chance: random.Random) -> tuple[float, float] | None:
        """Return when the packet arrives and how long it queued; None where it is lost."""
        rate = self.rate(now)
        waits = max(0.0, self.free_at - now)
        if waits > self.queue_seconds:
            self.dropped += 1
            return None
        self.free_at = now + waits + 8 * size / rate
        if chance.random() < self.loss(now):
            return None
        return self.free_at + self.delay + chance.random() * self.jitter, waits


@dataclass
class Run:
    """What happened: (time, target), (time, bytes that arrived), (time, seconds in the queue)."""

    estimator: BandwidthEstimator
    targets: list[tuple[float, int]] = field(default_factory=list)
    arrived: list[tuple[float, int]] = field(default_factory=list)
    queued: list[tuple[float, float]] = field(default_factory=list)

    def target(self, begin: float, end: float) -> float:
        values = [value for at, value in self.targets if begin <= at < end]
        return sum(values) / len(values)

    def throughput(self, begin: float, end: float) -> float:
        return 8 * sum(size for at, size in self.arrived if begin <= at < end) / (end - begin)

    def queue(self, begin: float, end: float) -> tuple[float, float]:
        """Mean, and what 95 of 100 packets do not exceed."""
        values = sorted(value for at, value in self.queued if begin <= at < end)
        return sum(values) / len(values), values[len(values) * 95 // 100]


def simulate(link: Link, seconds: float, *, seed: int = 1, rate: int = 0, **limits) -> Run:
    """Send as much video as the estimator allows for so long; or, heedless of it, at `rate`."""
    chance = random.Random(seed)
    estimator = BandwidthEstimator(**limits)
    pacer: Pacer[int] = Pacer(rate or estimator.target)
    log = ArrivalLog(sender_ssrc=1, media_ssrc=2)
    run = Run(estimator)
    clock = 1000.0  # the receiver's is another one
    events: list[tuple[float, int, str, object]] = []
    order = 0

    def at(time, what, value=None):
        nonlocal order
        order += 1
        heapq.heappush(events, (time, order, what, value))

    def drain(now):
        for size in pacer.pull(now=now):
            number = estimator.sent(size, now=now)
            fate = link.send(size, now, chance)
            if fate is not None:
                run.queued.append((now, fate[1]))
                at(fate[0], "arrival", (number, size))
        if pacer.deadline < float("inf"):
            at(pacer.deadline, "pace")

    at(0.0, "frame")
    paced_at = None
    while events:
        now, _, what, value = heapq.heappop(events)
        if now >= seconds:
            break
        match what:
            case "frame":
                octets = int((rate or estimator.target) / FRAMES / 8 * chance.uniform(0.7, 1.3))
                number = -(-octets // PACKET)
                sizes = [octets // number] * number
                pacer.push_frame([(s, s) for s in sizes], keyframe=pacer.needs_keyframe)
                at(now + 1 / FRAMES, "frame")
                drain(now)
            case "pace" if paced_at != now:
                paced_at = now
                drain(now)
            case "arrival":
                number, size = value
                run.arrived.append((now, size))
                log.receive(number, now=now + clock)
                at(log.deadline - clock, "tell")
            case "tell":
                for feedback in log.poll(now=now + clock):
                    at(now + link.delay, "feedback", build_rtcp((feedback,)))
            case "feedback":
                (feedback,) = parse_rtcp(value, reduced=True)
                pacer.bitrate = rate or estimator.receive(feedback, now=now)
                run.targets.append((now, pacer.bitrate))
    return run
