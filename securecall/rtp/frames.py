"""The frame buffer of a video receiver: packets in, whole frames out in order, and what to ask for.

A packet that is missing is asked for again (`Resend`); what could not be had in time is given up,
and a keyframe is asked for (`KeyframeNeeded`). From then on frames that refer to what was lost are
thrown away until a keyframe is whole: the picture freezes, rather than show what nobody filmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from securecall.errors import ProtocolError

MAX_PACKETS: Final = 2048
"""Packets held at most."""

MAX_BYTES: Final = 2 << 20
"""Bytes of payload held at most."""

MAX_MISSING: Final = 512
"""Packets asked for at a time; where more are missing a keyframe is the shorter way."""

MAX_TRIES: Final = 10
"""Times a packet is asked for."""

TOLERANCE: Final = 0.01
"""Seconds, and with `REORDERED` packets behind it none, in which a packet is late, not missing."""

REORDERED: Final = 3
"""Packets of a higher number after which a packet is missing."""

OUTAGE: Final = 0.5
"""Seconds without a packet after which what was missed is not asked for: a keyframe is shorter."""

_OUTAGE_PACKETS: Final = 16  # fewer may be lost after a pause of the sender's
_MAX_JUMP: Final = 3000
_SEARCH: Final = 256  # packets looked back for the beginning of a keyframe
_MAX_KEYS: Final = 4
_ROOM: Final = 64
_MIN_RETRY: Final = 0.02
_SHORTEST_PATIENCE, _LONGEST_PATIENCE = 0.35, 1.0
_WITHOUT_NACK: Final = 0.05
_KEYFRAME_RETRY: Final = 0.5
_LONGEST_KEYFRAME_RETRY: Final = 2.0
_START: Final = 0.1
_NEVER: Final = float("inf")


class FrameFormat(Protocol):
    """What the buffer has to know of a codec's payload format; see `vp8` and `h264`."""

    def begins_keyframe(self, payload: bytes) -> bool:
        """Whether decoding can begin with the frame whose first payload this is."""

    def is_keyframe(self, frame: bytes) -> bool:
        """Whether decoding can begin with this frame."""

    def assemble(self, payloads: Sequence[bytes]) -> bytes:
        """Return the frame, or raise ProtocolError."""


@dataclass(frozen=True, slots=True)
class ReceivedFrame:
    """A whole frame that can be decoded, after those before it.

    Attributes:
        timestamp: As on the wire.
        keyframe: Decoding can begin here.
        data: As the codec wants it.
    """

    timestamp: int
    keyframe: bool
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Resend:
    """Ask the sender for these packets (a Generic NACK)."""

    sequences: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KeyframeNeeded:
    """Ask the sender for a keyframe (a PLI, or a FIR where PLI was not agreed)."""


Output = ReceivedFrame | Resend | KeyframeNeeded


@dataclass(slots=True)
class FrameCounters:
    """What happened so far.

    Attributes:
        frames: Given out.
        keyframes: Part of `frames`.
        freezes: Times the picture stood still because a frame was lost for good.
        frozen: Seconds of that, up to the last keyframe that ended one.
        nacks: Packets asked for, each time counted.
        plis: Times a keyframe was asked for.
        lost: Packets given up.
        recovered: Packets that came after they had been asked for.
        late: Packets that came after their frame had been given out or up.
        duplicates: Packets that came twice.
        dropped: Frames thrown away, whole or not, since what they refer to was lost; counted by
            their last packets.
        malformed: Frames whose payloads do not fit together.
        overflows: Times all was thrown away because it became too much.
        restarts: Times the numbering began anew.
    """

    frames: int = 0
    keyframes: int = 0
    freezes: int = 0
    frozen: float = 0.0
    nacks: int = 0
    plis: int = 0
    lost: int = 0
    recovered: int = 0
    late: int = 0
    duplicates: int = 0
    dropped: int = 0
    malformed: int = 0
    overflows: int = 0
    restarts: int = 0


@dataclass(slots=True)
class _Packet:
    timestamp: int
    marker: bool
    payload: bytes


@dataclass(slots=True)
class _Gap:
    noticed: float
    due: float
    tries: int = 0


@dataclass(slots=True)
class _Key:
    """A keyframe whose beginning is here: complete when `count` packets reach up to `end`."""

    start: int
    timestamp: int
    count: int = 0
    end: int = -1


class FrameBuffer:
    """One stream's frames; the caller asks `poll` at `deadline` and performs what is returned.

    Attributes:
        counters: What happened so far.
        deadline: When `poll` has something to do, in monotonic seconds; infinite if never.
        round_trip: Seconds to the peer and back, to be kept up to date by the caller.
    """

    __slots__ = (
        "_ask_at",
        "_broken",
        "_format",
        "_frozen_since",
        "_heard_at",
        "_highest",
        "_jumped_to",
        "_keyframe_retry",
        "_keys",
        "_missing",
        "_nack",
        "_next",
        "_octets",
        "_packets",
        "_scan",
        "_searching",
        "counters",
        "deadline",
        "round_trip",
    )

    def __init__(self, frame_format: FrameFormat, *, nack: bool = True) -> None:
        """Make an empty buffer; without `nack` (not agreed) a gap is soon given up."""
        self.counters = FrameCounters()
        self.round_trip = 0.1
        self.deadline = _NEVER
        self._format = frame_format
        self._nack = nack
        self._frozen_since: float | None = None
        self._heard_at = 0.0
        self._highest: int | None = None
        self._jumped_to = -1
        self._keyframe_retry = _KEYFRAME_RETRY
        self._ask_at = _NEVER
        self._clear()
        self._next = self._scan = 0

    def _clear(self) -> None:
        self._packets: dict[int, _Packet] = {}  # by sequence numbers that never wrap
        self._missing: dict[int, _Gap] = {}  # ascending
        self._keys: list[_Key] = []
        self._octets = 0
        self._broken = self._searching = True

    @property
    def held(self) -> int:
        """Packets here."""
        return len(self._packets)

    @property
    def octets(self) -> int:
        """Bytes of payload here."""
        return self._octets

    @property
    def frozen_since(self) -> float | None:
        """When the picture froze; None while it moves, and before there was one."""
        return self._frozen_since

    def push(
        self, sequence: int, timestamp: int, payload: bytes, *, marker: bool, now: float
    ) -> tuple[Output, ...]:
        """Take a packet that arrived at `now`: an opened SFrame, or what a retransmission held."""
        index = self._extend(sequence, now)
        if index is None:
            return ()
        if index < self._next:
            self.counters.late += 1
            return ()
        if index in self._packets:
            self.counters.duplicates += 1
            return ()
        outputs: list[Output] = []
        self._note(index, now)
        self._heard_at = now
        self._store(index, _Packet(timestamp, marker, payload))
        self._advance(now, outputs)
        if len(self._packets) > MAX_PACKETS or self._octets > MAX_BYTES:
            self.counters.overflows += 1
            self._drop_below(index + 1)
            self._break(now, since=now)
        if now >= self.deadline:
            self._judge(now, outputs)
        return tuple(outputs)

    def poll(self, now: float) -> tuple[Output, ...]:
        """Return what time has made due."""
        outputs: list[Output] = []
        if now >= self.deadline:
            self._judge(now, outputs)
        return tuple(outputs)

    def decoder_failed(self, now: float) -> tuple[Output, ...]:
        """Hear that the decoder could not take a frame: wait for a keyframe, and ask for one."""
        self._break(now, since=now)
        return self.poll(now)

    def _extend(self, sequence: int, now: float) -> int | None:
        """Return the number without wrap; None where a jump has yet to be confirmed."""
        if self._highest is not None:
            ahead = (sequence - self._highest + 0x8000 & 0xFFFF) - 0x8000
            if -_MAX_JUMP <= ahead <= _MAX_JUMP:
                return self._highest + ahead
            if sequence != self._jumped_to:
                self._jumped_to = sequence + 1 & 0xFFFF
                return None
            self.counters.restarts += 1
            self._break(now, since=now)
            self._clear()
        # Room below: the beginning of the first keyframe may have been overtaken.
        index = sequence + 0x10000
        self._highest = index
        self._jumped_to = -1
        self._next = self._scan = index - _ROOM
        self._ask_at = min(self._ask_at, now + _START)
        self.deadline = min(self.deadline, self._ask_at)
        return index

    def _note(self, index: int, now: float) -> None:
        """Note which packets are missing below `index`, or that one is no longer."""
        before = self._highest
        if before is None or index <= before:
            gap = self._missing.pop(index, None)
            if gap is not None and gap.tries:
                self.counters.recovered += 1
            return
        self._highest = index
        for number in range(before - REORDERED + 1, before):
            gap = self._missing.get(number)
            if gap is not None and not gap.tries and index - number >= REORDERED:
                gap.due = now
                self.deadline = now
        outage = now - self._heard_at >= OUTAGE and index - before > _OUTAGE_PACKETS
        for number in range(before + 1, index):
            due = now if index - number >= REORDERED else now + TOLERANCE
            self._missing[number] = _Gap(self._heard_at if outage else now, due)
            self.deadline = min(self.deadline, due)
        if outage or len(self._missing) > MAX_MISSING:
            self._lose(max(self._missing), now)

    def _store(self, index: int, packet: _Packet) -> None:
        self._packets[index] = packet
        self._octets += len(packet.payload)
        known = False
        for key in self._keys:
            if key.timestamp == packet.timestamp:
                known = True
                if index > key.start:
                    key.count += 1
                    if packet.marker:
                        key.end = index
        if not self._format.begins_keyframe(packet.payload):
            return
        if known:  # another beginning of the same frame: parameter sets, then slices
            for key in self._keys:
                if key.timestamp == packet.timestamp and index < key.start:
                    self._count(key, index)
            return
        key = _Key(index, packet.timestamp)
        self._count(key, index)
        self._keys = [*self._keys[-_MAX_KEYS + 1 :], key]

    def _count(self, key: _Key, start: int) -> None:
        key.start, key.count = start, 0
        for index, packet in self._packets.items():
            if index >= start and packet.timestamp == key.timestamp:
                key.count += 1
                if packet.marker:
                    key.end = index

    def _advance(self, now: float, outputs: list[Output]) -> None:
        """Give out what is whole, from where we stand up to the next gap."""
        while True:
            if self._searching and not self._find(now):
                return
            packet = self._packets.get(self._scan)
            if packet is None:
                if not self._jump():
                    return
            elif self._scan == self._next:
                self._scan += 1
                if packet.marker or not packet.payload:  # packets of nothing stand between frames
                    self._finish(now, outputs)
            elif packet.timestamp != self._packets[self._next].timestamp:
                self._finish(now, outputs)  # of a sender that sets no marker
            else:
                self._scan += 1
                if packet.marker:
                    self._finish(now, outputs)

    def _find(self, now: float) -> bool:
        """Look for a keyframe to go on with; what is certainly none is thrown away."""
        if self._keys:
            self._drop_below(min(key.start for key in self._keys))
            self._searching = False
            self._ask_at = max(self._ask_at, now + self._patience)
            return True
        at = self._next
        while at in self._packets:
            at += 1
        self._drop_below(at)
        if self._highest is not None and self._highest - self._next > _SEARCH:
            self._drop_below(self._highest - _SEARCH)
        return False

    def _jump(self) -> bool:
        """Leave a gap behind where a whole keyframe lies after it."""
        for key in reversed(self._keys):
            if key.start > self._scan and key.count == key.end - key.start + 1:
                self._drop_below(key.start)
                return True
        return False

    def _finish(self, now: float, outputs: list[Output]) -> None:
        """Give out the frame between `_next` and `_scan`, if it is of any use."""
        indices = range(self._next, self._scan)
        packets = [self._packets.pop(index) for index in indices]
        payloads = [packet.payload for packet in packets if packet.payload]
        self._octets -= sum(map(len, payloads))
        self._drop_below(self._scan)
        if not payloads:
            return
        try:
            data = self._format.assemble(payloads)
        except ProtocolError:
            self.counters.malformed += 1
            self._break(now, since=now)
            return
        keyframe = self._format.is_keyframe(data)
        if self._broken and not keyframe:
            self.counters.dropped += 1
            self._searching = True
            return
        if self._broken:
            self._mend(now)
        self.counters.frames += 1
        self.counters.keyframes += keyframe
        outputs.append(ReceivedFrame(packets[0].timestamp, keyframe, data))

    def _break(self, now: float, *, since: float) -> None:
        """Find that the frames to come cannot be decoded, as of the moment `since`."""
        if not self._broken and self._frozen_since is None:
            self._frozen_since = since
            self.counters.freezes += 1
        self._broken = self._searching = True
        if self._ask_at == _NEVER:
            self._ask_at = now
        self.deadline = min(self.deadline, self._ask_at)

    def _mend(self, now: float) -> None:
        if self._frozen_since is not None:
            self.counters.frozen += now - self._frozen_since
            self._frozen_since = None
        self._broken = False
        self._ask_at = _NEVER
        self._keyframe_retry = _KEYFRAME_RETRY

    def _drop_below(self, index: int) -> None:
        """Go on at `index`: what is below is given out, lost or of no use."""
        if len(self._packets) < index - self._next:
            below = [i for i in self._packets if i < index]
        else:
            below = [i for i in range(self._next, index) if i in self._packets]
        for number in below:
            packet = self._packets.pop(number)
            self._octets -= len(packet.payload)
            self.counters.dropped += packet.marker
        for number in [i for i in self._missing if i < index]:
            del self._missing[number]
            self.counters.lost += 1
        self._keys = [key for key in self._keys if key.start >= index]
        self._next = self._scan = index

    @property
    def _patience(self) -> float:
        if not self._nack:
            return _WITHOUT_NACK
        wanted = 4 * self.round_trip + 0.15
        return min(_LONGEST_PATIENCE, max(_SHORTEST_PATIENCE, wanted))

    def _lose(self, index: int, now: float) -> None:
        """Give up all that is missing up to `index`."""
        since = min(gap.noticed for number, gap in self._missing.items() if number <= index)
        self._drop_below(index + 1)
        self._break(now, since=since)

    def _judge(self, now: float, outputs: list[Output]) -> None:
        """Give up what is missing too long, and ask for the rest where it is due."""
        patience = self._patience
        given_up = -1
        for index, gap in self._missing.items():
            spent = gap.tries >= MAX_TRIES and now >= gap.due
            if spent or now >= gap.noticed + patience:
                given_up = index
        if given_up >= 0:
            self._lose(given_up, now)
            self._advance(now, outputs)
        asked: list[int] = []
        if self._nack:
            retry = max(_MIN_RETRY, self.round_trip)
            for index, gap in self._missing.items():
                if now >= gap.due:
                    gap.tries += 1
                    gap.due = now + retry * (1 + gap.tries / 4)
                    asked.append(index & 0xFFFF)
        if asked:
            self.counters.nacks += len(asked)
            outputs.append(Resend(tuple(asked)))
        if self._broken and now >= self._ask_at:
            self.counters.plis += 1
            self._ask_at = now + max(self._keyframe_retry, 2 * self.round_trip)
            self._keyframe_retry = min(_LONGEST_KEYFRAME_RETRY, 2 * self._keyframe_retry)
            outputs.append(KeyframeNeeded())
        self.deadline = self._ask_at
        for gap in self._missing.values():
            due = gap.due if self._nack else _NEVER
            self.deadline = min(self.deadline, due, gap.noticed + patience)
