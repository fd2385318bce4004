"""Redundant audio (RFC 2198): a packet that carries copies of earlier ones beside its own."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from securecall.errors import ProtocolError, UsageError

MAX_BLOCKS: Final = 8
"""Copies in a packet at most; more are refused."""

DISTANCES: Final = (2, 5)
"""How many packets before its own those are whose copies a packet of ours carries."""

FROM: Final = 0.03
"""Share of packets lost, as the listener reports it, from which on copies are sent ..."""

UNTIL: Final = 0.01
"""... and below which they no longer are."""

PATIENCE: Final = 30.0
"""Seconds until copies are tried again that made a queue grow; doubled each time, to 8 minutes."""

_QUEUE: Final = 0.2
_STALE: Final = 15.0  # until loss by congestion has left what is reported
_MOST_PATIENCE: Final = 480.0

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
        "_history",
        "_patience",
        "_payload_type",
        "_reach",
        "_round_trip",
        "_round_trips",
        "_step",
        "active",
        "distances",
    )

    def __init__(
        self, payload_type: int, step: int, *, distances: tuple[int, ...] = DISTANCES
    ) -> None:
        """Begin.

        Args:
            payload_type: The peer's, of what is wrapped.
            step: Timestamp units between two packets.
            distances: In packets, of each copy.
        """
        self.distances = tuple(sorted(distances, reverse=True))
        self._payload_type, self._step = payload_type, step
        self._reach = self.distances[0]
        self._history: deque[tuple[int, bytes]] = deque(maxlen=self._reach)
        self.active = False
        self._round_trip = float("inf")  # shortest before copies were sent and meanwhile
        self._round_trips: deque[float] = deque(maxlen=3)
        self._again = float("-inf")
        self._patience = PATIENCE

    def expect_loss(
        self, fraction: float, *, now: float, round_trip: float | None, congested: bool
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
        """
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
        if congested or shortest > self._round_trip + _QUEUE:
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
        history = self._history
        if not self.active or len(history) < self._reach:
            return None
        copies = []
        for distance in self.distances:
            stamp, data = history[-distance]
            offset = distance * self._step
            if timestamp - stamp & 0xFFFFFFFF != offset:
                return None
            copies.append(Block(self._payload_type, offset, data))
        return build_red(RedPayload(self._payload_type, payload, tuple(copies)))
