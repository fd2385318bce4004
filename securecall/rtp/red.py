"""Redundant audio (RFC 2198): a packet that carries copies of earlier ones beside its own."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from securecall.errors import ProtocolError, UsageError
from securecall.rtp.rtcp import ReportBlock

MAX_BLOCKS: Final = 8
"""Copies in a packet at most; more are refused."""

DISTANCES: Final = (2, 5)
"""How many packets before its own those are whose copies a packet of ours carries."""

WIDE_DISTANCES: Final = (5, 10)
"""The same where the listener loses packets in bursts, which take near copies along."""

FROM: Final = 0.03
"""Share of packets lost, as the listener reports it, from which on copies are sent ..."""

UNTIL: Final = 0.01
"""... and below which they no longer are."""

PATIENCE: Final = 30.0
"""Seconds until copies are tried again that made a queue grow; doubled each time, to 8 minutes."""

_QUEUE: Final = 0.2
_JITTERS: Final = 4.0  # of the listener's word, that a round trip may be longer without a queue
_ROUND_TRIPS: Final = 5
_FAR: Final = 0.3  # seconds there and back from which on bursts are taken for granted at first
_SPACING: Final = 0.02  # seconds between two packets
_STALE: Final = 15.0  # until loss by congestion has left what is reported
_MOST_PATIENCE: Final = 480.0

_KEEP: Final = 0.95  # of what earlier reports said, at each
_FEWEST, _MOST = 20, 1000  # packets that a report is judged by
_REPORTS: Final = 5.0
_CLUSTERED_FROM, _CLUSTERED_UNTIL = 2.5, 1.5

MAX_OFFSET: Final = 0x3FFF
"""Timestamp units between a packet and a copy in it, at most."""

_MAX_LENGTH: Final = 0x3FF
_RULE: Final = "RFC 2198 3"


@dataclass(frozen=True, slots=True)
class Block:
    """A copy of an earlier packet.

    Attributes:
        payload_type: 0..127.
        offset: Timestamp units by which it is older than the packet that carries it.
        data: At most 1023 bytes.
    """

    payload_type: int
    offset: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RedPayload:
    """What a packet carries.

    Attributes:
        payload_type: Of `data`.
        data: Its own.
        copies: Oldest first, as a rule.
    """

    payload_type: int
    data: bytes = field(repr=False)
    copies: tuple[Block, ...] = ()


def parse_red(payload: bytes, *, keep_empty: bool = False) -> RedPayload:
    """Take a payload apart; empty copies are passed over, unless they are to be kept.

    Raises:
        ProtocolError: a header or block is cut off, or there are too many.
    """
    headers: list[tuple[int, int, int]] = []
    at = 0
    while at < len(payload) and payload[at] & 0x80:
        if len(headers) == MAX_BLOCKS:
            raise ProtocolError(f"more than {MAX_BLOCKS} copies in a packet", rule=_RULE)
        word = int.from_bytes(payload[at : at + 4])
        headers.append((word >> 24 & 0x7F, word >> 10 & MAX_OFFSET, word & _MAX_LENGTH))
        at += 4
    if at >= len(payload):
        raise ProtocolError("redundant audio without its last header", rule=_RULE)
    payload_type = payload[at]
    at += 1
    copies = []
    for number, offset, length in headers:
        if at + length > len(payload):
            raise ProtocolError("a copy goes beyond its packet", rule=_RULE)
        if length or keep_empty:
            copies.append(Block(number, offset, payload[at : at + length]))
        at += length
    return RedPayload(payload_type, payload[at:], tuple(copies))


def build_red(packet: RedPayload, *, keep_empty: bool = False) -> bytes:
    """Return the payload; the inverse of `parse_red`. A copy is empty only if that is `keep_empty`.

    Raises:
        UsageError: a field is out of range.
    """
    parts: list[bytes] = []
    for copy in packet.copies:
        size = len(copy.data)
        if not (0 <= copy.payload_type <= 127 and 0 <= copy.offset <= MAX_OFFSET):
            raise UsageError("a copy has a payload type and is at most 16383 units old")
        if not (size > 0 or keep_empty) or size > _MAX_LENGTH:
            raise UsageError("a copy has 1 to 1023 bytes")
        word = 0x80000000 | copy.payload_type << 24 | copy.offset << 10 | size
        parts.append(word.to_bytes(4))
    if len(parts) > MAX_BLOCKS or not 0 <= packet.payload_type <= 127:
        raise UsageError(f"a packet carries at most {MAX_BLOCKS} copies")
    parts.append(packet.payload_type.to_bytes())
    return b"".join((*parts, *(copy.data for copy in packet.copies), packet.data))


class LossClusters:
    """Whether a listener misses packets in bursts, told by how its reports differ.

    Of `n` packets, each lost by itself with chance `p`, those lost vary by `n p (1 - p)` from
    report to report; where they go in bursts of `k`, by some `2 k` times as much.

    Attributes:
        found: They do; None before enough was reported.
    """

    __slots__ = ("_before", "_expected", "_lost", "_sent", "_squares", "_weight", "found")

    def __init__(self) -> None:
        """Begin with no report."""
        self.found: bool | None = None
        self._before: tuple[int, int] | None = None
        self._sent = self._lost = self._squares = self._expected = self._weight = 0.0

    def learn(self, report: ReportBlock) -> None:
        """Take the listener's last report; one that was taken before tells nothing."""
        now = report.highest_sequence, report.cumulative_lost
        before, self._before = self._before or now, now
        sent = now[0] - before[0]
        if not _FEWEST <= sent <= _MOST:
            if 0 <= sent < _FEWEST:
                self._before = before  # of too few packets: together with the next
            return
        lost = min(sent, max(0, now[1] - before[1]))  # duplicates are counted against it
        self._sent = _KEEP * self._sent + sent
        self._lost = _KEEP * self._lost + lost
        share = self._lost / self._sent
        self._squares = _KEEP * self._squares + (lost - sent * share) ** 2
        self._expected = _KEEP * self._expected + sent * share * (1 - share)
        self._weight = _KEEP * self._weight + 1
        if self._weight >= _REPORTS:
            limit = _CLUSTERED_UNTIL if self.found else _CLUSTERED_FROM
            self.found = self._squares > limit * self._expected


class RedSender:
    """Remembers the last packets of one stream, and wraps a new one with copies of them.

    All of one size make packets of one size: a packet carries all the copies it should, or, as
    long as it has not got them, none and is sent plain. So the size tells whether the listener
    reports loss, and nothing of what is said.

    Attributes:
        active: Copies are sent, for the listener reports loss.
    """

    __slots__ = (
        "_again",
        "_clusters",
        "_distances",
        "_history",
        "_patience",
        "_payload_type",
        "_round_trip",
        "_round_trips",
        "_step",
        "active",
    )

    def __init__(
        self,
        payload_type: int,
        step: int,
        *,
        distances: tuple[int, ...] = DISTANCES,
        wide: tuple[int, ...] = WIDE_DISTANCES,
    ) -> None:
        """Begin.

        Args:
            payload_type: The peer's, of what is wrapped.
            step: Timestamp units between two packets.
            distances: In packets, of each copy.
            wide: The same where packets are lost in bursts; as many.
        """
        self._distances = tuple(tuple(sorted(d, reverse=True)) for d in (distances, wide))
        self._payload_type, self._step = payload_type, step
        reach = max(map(max, self._distances))
        self._history: deque[tuple[int, bytes]] = deque(maxlen=reach)
        self._clusters = LossClusters()
        self.active = False
        self._round_trip = float("inf")  # shortest before copies were sent and meanwhile
        self._round_trips: deque[float] = deque(maxlen=_ROUND_TRIPS)
        self._again = float("-inf")
        self._patience = PATIENCE

    @property
    def distances(self) -> tuple[int, ...]:
        """How many packets before its own those are whose copies a packet carries now."""
        found = self._clusters.found
        far = _FAR < self._round_trip < float("inf")
        return self._distances[far if found is None else found]

    def expect_loss(
        self,
        fraction: float,
        *,
        now: float,
        round_trip: float | None,
        congested: bool,
        report: ReportBlock | None = None,
    ) -> None:
        """Decide whether copies are sent, once a second or so.

        Copies help against loss by chance. Where a narrow link loses what does not fit, they are
        what does not fit: then the round trip grows by 0.2 s, or the picture beside us meets
        congestion. They end, and are tried again later.

        Args:
            fraction: Share of packets the listener misses, 0..1.
            now: Seconds on a clock that only goes forward.
            round_trip: Seconds, None where it is not known.
            congested: Something else on the same path knows of a queue.
            report: The listener's last, where there was one.
        """
        jitter = 0.0
        if report is not None:
            self._clusters.learn(report)
            jitter = report.jitter / self._step * _SPACING
        if round_trip is not None and (
            not self._round_trips or round_trip != self._round_trips[-1]
        ):
            self._round_trips.append(round_trip)
        # The shortest of three: jitter makes one long, a queue all of them.
        shortest = min(self._round_trips, default=float("inf"))
        if not self.active:
            if congested:
                self._again = max(self._again, now + _STALE)
            self.active = fraction >= FROM and now >= self._again
            self._round_trip = shortest
            return
        self._round_trip = min(self._round_trip, shortest)
        if congested or shortest > self._round_trip + _QUEUE + _JITTERS * jitter:
            self.active = False
            self._again = now + self._patience
            self._patience = min(_MOST_PATIENCE, 2 * self._patience)
        elif fraction < UNTIL:
            self.active = False

    def clear(self) -> None:
        """Forget: nothing that was said so far is said again."""
        self._history.clear()

    def keep(self, timestamp: int, payload: bytes) -> None:
        """Remember a packet that leaves."""
        self._history.append((timestamp, payload))

    def wrap(self, timestamp: int, payload: bytes) -> bytes | None:
        """Return a packet with its copies; None where there should be none, or one is missing."""
        history, distances = self._history, self.distances
        if not self.active or len(history) < distances[0]:
            return None
        copies = []
        for distance in distances:
            stamp, data = history[-distance]
            offset = distance * self._step
            if timestamp - stamp & 0xFFFFFFFF != offset:
                return None
            copies.append(Block(self._payload_type, offset, data))
        return build_red(RedPayload(self._payload_type, payload, tuple(copies)))
