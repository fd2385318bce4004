"""A bad network, one way, without I/O: what arrives of what was sent, when, and in what state.

It knows neither sockets nor clocks. Whoever drives it hands in datagrams with the time, asks
`arrived` once `deadline` has come, and brings the chance (`random.Random(7)`), so that a run of an
hour passes in seconds and is the same each time.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from securecall.errors import UsageError

HEADERS: Final = 28
"""Bytes of IPv4 and UDP around a datagram, which count towards a rate."""

HELD_BACK: Final = 0.03
"""Seconds that a reordered datagram comes later than it would: one or two of sound overtake it."""

_SHAPE: Final = 4.0
_MEAN: Final = _SHAPE / (_SHAPE - 1)
_DEVIATION: Final = (_SHAPE / ((_SHAPE - 1) ** 2 * (_SHAPE - 2))) ** 0.5
_MOST_DEVIATIONS: Final = 6.0


class Chance(Protocol):
    """Where luck comes from; `random.Random` is one."""

    def random(self) -> float:
        """Return a number, at least 0 and below 1."""
        ...


def _require_shares(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise UsageError(f"{name} is a share, 0 to 1, not {share}")


@dataclass(frozen=True, slots=True)
class Bursts:
    """Losses that come together (Gilbert-Elliott): a good state, a bad one, and a way each side.

    Attributes:
        enter: Chance, before each datagram, to go from good to bad.
        leave: Chance to go from bad to good; a stay lasts 1 / `leave` datagrams on average.
        inside: Share lost in the bad state; 1 is Gilbert's model.
        outside: Share lost in the good state.
    """

    enter: float
    leave: float
    inside: float = 1.0
    outside: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no chance."""
        _require_shares(
            enter=self.enter, leave=self.leave, inside=self.inside, outside=self.outside
        )

    @classmethod
    def of(cls, share: float, mean: float) -> Bursts:
        """Return bursts of `mean` datagrams in a row that lose this `share` of all, below 1."""
        if not 0 <= share < 1 or mean < 1 or share / (1 - share) > mean:
            raise UsageError(f"no bursts of {mean} on average lose {share} of all")
        return cls(share / mean / (1 - share), 1 / mean)


@dataclass(frozen=True, slots=True, kw_only=True)
class Impairment:
    """What a path does to datagrams, one way; nothing, by default.

    Attributes:
        loss: Share lost, each by itself.
        bursts: Losses in bursts, besides.
        delay: Seconds on the way, on average.
        jitter: Standard deviation of the delay, seconds. It is Pareto distributed (shape 4, cut
            at six deviations): most are a little early, a few come much later. It keeps the
            order, as a queue does, so that it adds to the delay where it is large.
        reorder: Share that comes `HELD_BACK` late, so that others overtake it.
        duplicate: Share that comes twice.
        corrupt: Share that comes with one bit flipped.
        rate: Bit/s that pass, headers of IPv4 and UDP counted; 0 for any number.
        queue: Seconds that what waits for the rate may fill; what finds no room is dropped.
    """

    loss: float = 0.0
    bursts: Bursts | None = None
    delay: float = 0.0
    jitter: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    rate: float = 0.0
    queue: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what no network does."""
        _require_shares(
            loss=self.loss,
            reorder=self.reorder,
            duplicate=self.duplicate,
            corrupt=self.corrupt,
        )
        if min(self.delay, self.jitter, self.rate, self.queue) < 0:
            raise UsageError("delay, jitter, rate and queue are not negative")


Stage = tuple[float, Impairment]
"""From how many seconds after the beginning a path is so."""

Stages = Sequence[Stage]

CLEAN: Final = Impairment()
CUT: Final = Impairment(loss=1.0)

MODERATE: Final[Stages] = ((0.0, Impairment(delay=0.1, jitter=0.025, loss=0.05)),)
"""Signal's profile of that name: 100 +- 25 ms, 5 % loss."""

INTERNATIONAL: Final[Stages] = (
    (
        0.0,
        Impairment(
            delay=0.25,
            jitter=0.1,
            bursts=Bursts(0.03, 0.25),
            duplicate=0.02,
            reorder=0.05,
            rate=300_000,
        ),
    ),
)
"""Signal's profile of that name: 250 +- 100 ms, 10.7 % lost in bursts, 300 kbit/s and more."""

SPIKY_LOSS: Final[Stages] = ((0.0, CLEAN), (10.0, Impairment(loss=0.3)), (20.0, CLEAN))
"""Signal's profile of that name: 30 % loss for ten seconds, here from the tenth on."""


def outage(path: Impairment, *, begin: float, seconds: float) -> Stages:
    """Return a path through which nothing passes for so long, from second `begin` on."""
    return ((0.0, path), (begin, CUT), (begin + seconds, path))


@dataclass(slots=True)
class ImpairmentCounters:
    """What happened so far, in datagrams.

    Attributes:
        sent: Handed in.
        arrived: Handed out, duplicates counted.
        lost: By chance.
        dropped: For want of room before a narrow link.
        reordered, duplicated, corrupted: Treated so.
    """

    sent: int = 0
    arrived: int = 0
    lost: int = 0
    dropped: int = 0
    reordered: int = 0
    duplicated: int = 0
    corrupted: int = 0


@dataclass(order=True, slots=True)
class _Travelling:
    at: float
    number: int
    datagram: bytes = field(compare=False)


class Impairer:
    """One direction of a path. Two of them, each with a chance of its own, make a network.

    Attributes:
        counters: What happened so far.
        queued: Seconds that the last datagram waited for the rate.
    """

    def __init__(
        self, stages: Stages | Impairment, *, chance: Chance, begin: float = 0.0, room: int = 10_000
    ) -> None:
        """Say what the path is like.

        Args:
            stages: One state of the path, or several, each from its second on, in order.
            chance: `random.Random(seed)`, for runs that can be repeated.
            begin: The time that second 0 of the stages is.
            room: Datagrams on the way at most; more are dropped.

        Raises:
            UsageError: there is no stage, or they are not in order.
        """
        self._stages = ((0.0, stages),) if isinstance(stages, Impairment) else tuple(stages)
        if not self._stages or list(self._stages) != sorted(self._stages, key=lambda s: s[0]):
            raise UsageError("a path has one state at least, and they are in the order of time")
        self._chance, self._begin, self._room = chance, begin, room
        self._bad = False
        self._free_at = self._last_at = float("-inf")
        self._number = 0
        self._travelling: list[_Travelling] = []
        self.counters = ImpairmentCounters()
        self.queued = 0.0

    @property
    def deadline(self) -> float:
        """When the next datagram arrives; infinity while none is on its way."""
        return self._travelling[0].at if self._travelling else float("inf")

    def state(self, now: float) -> Impairment:
        """What the path is like at this time."""
        elapsed = now - self._begin
        return next((s for at, s in reversed(self._stages) if at <= elapsed), self._stages[0][1])

    def send(self, datagram: bytes, *, now: float) -> None:
        """Take a datagram; times never go back."""
        path = self.state(now)
        self.counters.sent += 1
        left = self._through_the_rate(path, len(datagram), now)
        if left is None or len(self._travelling) >= self._room:
            self.counters.dropped += 1
            return
        if self._loses(path):
            self.counters.lost += 1
            return
        if self._happens(path.corrupt) and datagram:
            self.counters.corrupted += 1
            place, bit = divmod(int(self._chance.random() * 8 * len(datagram)), 8)
            changed = bytearray(datagram)
            changed[place] ^= 1 << bit
            datagram = bytes(changed)
        self._travel(path, datagram, left)
        if self._happens(path.duplicate):
            self.counters.duplicated += 1
            self._travel(path, datagram, left)

    def arrived(self, *, now: float) -> tuple[bytes, ...]:
        """Return what has arrived since the last time, in the order in which it did."""
        come: list[bytes] = []
        while self._travelling and self._travelling[0].at <= now:
            come.append(heapq.heappop(self._travelling).datagram)
        self.counters.arrived += len(come)
        return tuple(come)

    def _happens(self, share: float) -> bool:
        return share > 0 and self._chance.random() < share

    def _through_the_rate(self, path: Impairment, size: int, now: float) -> float | None:
        """When the datagram has passed the narrow link; None where there was no room for it."""
        self.queued = max(0.0, self._free_at - now)
        if not path.rate:
            return now + self.queued
        if self.queued > path.queue:
            return None
        self._free_at = now + self.queued + 8 * (size + HEADERS) / path.rate
        return self._free_at

    def _loses(self, path: Impairment) -> bool:
        bursts, loss = path.bursts, self._happens(path.loss)
        if bursts is None:
            return loss
        turn = bursts.leave if self._bad else bursts.enter
        self._bad ^= self._happens(turn)
        return self._happens(bursts.inside if self._bad else bursts.outside) or loss

    def _travel(self, path: Impairment, datagram: bytes, left: float) -> None:
        at = left + path.delay
        if path.jitter:
            deviations = ((1 - self._chance.random()) ** (-1 / _SHAPE) - _MEAN) / _DEVIATION
            at = max(left, at + path.jitter * min(deviations, _MOST_DEVIATIONS))
        if self._happens(path.reorder):
            self.counters.reordered += 1
            at += HELD_BACK
        else:
            at = self._last_at = max(at, self._last_at)
        self._number += 1
        heapq.heappush(self._travelling, _Travelling(at, self._number, datagram))
