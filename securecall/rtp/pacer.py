"""The pacer: packets leave at an even pace, retransmissions first; sound does not come this way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

MULTIPLIER: Final = 1.5
"""Times the target rate at which packets leave, so that a large frame does not wait for long."""

MAX_DELAY: Final = 0.6
"""Seconds after which what waits is not worth sending any more."""

MAX_BYTES: Final = 4 << 20
"""Bytes of frames that wait at most, whatever the rate."""

MAX_RESENT: Final = 256
"""Retransmissions that wait at most; the oldest go, and are asked for again if still missed."""

_BURST: Final = 0.005
_NEVER: Final = float("inf")

T = TypeVar("T")


@dataclass(slots=True)
class _Frame(Generic[T]):
    packets: deque[tuple[T, int]]
    octets: int
    began: bool = field(default=False)


class Pacer(Generic[T]):
    """A leaky bucket of packets that are not numbered yet.

    Sequence numbers (RTP, transport-wide, SRTP) are to be given out when a packet leaves, so that
    what is dropped here leaves no gap for the peer to ask about. Only whole frames are dropped: one
    that has begun to leave is sent to its end. `push_frame` says how many were; then the encoder
    has to make a keyframe, and frames that refer to what was dropped are dropped until it has.

    Attributes:
        bitrate: Bit/s, the estimate; to be kept up to date by the caller.
        multiplier: How many times faster than that packets leave; the caller's, too.
        dropped: Frames dropped so far.
        dropped_resent: Retransmissions dropped so far.
        needs_keyframe: Nothing but a keyframe is taken.
    """

    __slots__ = (
        "_frames",
        "_free_at",
        "_octets",
        "_resent",
        "bitrate",
        "dropped",
        "dropped_resent",
        "multiplier",
        "needs_keyframe",
    )

    def __init__(self, bitrate: int, *, multiplier: float = MULTIPLIER) -> None:
        self.bitrate = bitrate
        self.dropped = self.dropped_resent = 0
        self.needs_keyframe = False
        self.multiplier = multiplier
        self._frames: deque[_Frame[T]] = deque()
        self._resent: deque[tuple[T, int]] = deque()
        self._octets = 0
        self._free_at = 0.0

    @property
    def octets(self) -> int:
        """Bytes of frames that wait."""
        return self._octets

    @property
    def delay(self) -> float:
        """Seconds until what waits of frames has left."""
        return self._seconds(self._octets)

    @property
    def deadline(self) -> float:
        """When `pull` next has something, in monotonic seconds; infinite while nothing waits."""
        return self._free_at if self._frames or self._resent else _NEVER

    def push_frame(self, packets: Sequence[tuple[T, int]], *, keyframe: bool) -> int:
        """Queue a frame's packets, each with its size in bytes on the wire.

        Returns:
            How many frames were dropped, this one perhaps among them. If any, and this is no
            keyframe, the encoder has to make one.
        """
        octets = sum(size for _, size in packets)
        if not packets:
            return 0
        dropped = 0
        if self.delay > MAX_DELAY or self._octets + octets > MAX_BYTES:
            dropped = self._drop()
            if not keyframe or self._octets + octets > MAX_BYTES:
                self.needs_keyframe = True
        if self.needs_keyframe and not (keyframe and self._octets + octets <= MAX_BYTES):
            dropped += 1
        else:
            self.needs_keyframe = False
            self._frames.append(_Frame(deque(packets), octets))
            self._octets += octets
        self.dropped += dropped
        return dropped

    def push_resent(self, packet: T, size: int) -> None:
        """Queue a retransmission of `size` bytes; it leaves before any frame."""
        if len(self._resent) == MAX_RESENT:
            self._resent.popleft()
            self.dropped_resent += 1
        self._resent.append((packet, size))

    def forget_resent(self, useless: Callable[[T], bool]) -> None:
        """Throw away retransmissions that nobody waits for any more."""
        kept = [waiting for waiting in self._resent if not useless(waiting[0])]
        self.dropped_resent += len(self._resent) - len(kept)
        self._resent = deque(kept)

    def pull(self, *, now: float) -> tuple[T, ...]:
        """Return what is to be sent now, in order."""
        self._free_at = max(self._free_at, now - _BURST)
        packets: list[T] = []
        while self._free_at <= now and (self._resent or self._frames):
            packet, size = self._resent.popleft() if self._resent else self._next()
            self._free_at += self._seconds(size)
            packets.append(packet)
        return tuple(packets)

    def clear(self) -> None:
        """Throw away all that waits, as when sending is stopped; begin with a keyframe."""
        self._frames.clear()
        self._resent.clear()
        self._octets = 0
        self.needs_keyframe = True

    def _next(self) -> tuple[T, int]:
        frame = self._frames[0]
        packet, size = frame.packets.popleft()
        frame.began = True
        frame.octets -= size
        self._octets -= size
        if not frame.packets:
            self._frames.popleft()
        return packet, size

    def _drop(self) -> int:
        """Drop all frames that have not begun to leave."""
        kept = [frame for frame in self._frames if frame.began]
        dropped = len(self._frames) - len(kept)
        self._frames = deque(kept)
        self._octets = sum(frame.octets for frame in kept)
        return dropped

    def _seconds(self, octets: int) -> float:
        return 8 * octets / (max(1, self.bitrate) * self.multiplier)
