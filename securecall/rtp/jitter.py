"""The jitter buffer: packets go in as they arrive, come out at an even pace, or are given up."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

RING: Final = 64
"""Packets held at most."""

_MASK: Final = RING - 1
_DEFAULT_SPACING = 0.02
_BASE_WINDOW = 5.0
_BIN = 0.005
_BINS = 128
_LONGEST = _BIN * _BINS
_LATE_SHARE = 0.01
_DECAY_EVERY = 50
_DECAY = 0.9
_LOSS_MEMORY = 12.0
_CALM = 1.0
_PATIENCE = 4.0
_NEAR = 0.11  # copies within this find room when they are needed
_BREATH = 0.2
_MAX_WAIT = 0.5
_JUMP = 0.2
_MAX_GAP = 3000


class Pace(enum.Enum):
    """How what is played ought to go, for the buffer to be as long as it need be.

    Where nothing is heard a packet more or less is not heard either; within a word it is.
    """

    EVEN = enum.auto()
    SLOWER = enum.auto()
    """Play something of the same kind after it if it is quiet, and pull nothing for that."""
    FASTER = enum.auto()
    """If it is quiet, pull the next one, too, and play both in the time of one."""
    FASTER_NOW = enum.auto()
    """The same, quiet or not."""


class Payload:
    """A packet whose turn has come.

    Attributes:
        sequence: As on the wire.
        timestamp: As on the wire.
        payload_type: As on the wire.
        data: The payload.
        pace: What would bring the buffer to the length that it need have.
        copied: It came as a copy in a later packet.
    """

    __slots__ = ("copied", "data", "pace", "payload_type", "sequence", "timestamp")

    def __init__(self, sequence: int, timestamp: int, payload_type: int, data: bytes) -> None:
        """Hold what `push` was given."""
        self.sequence = sequence
        self.timestamp = timestamp
        self.payload_type = payload_type
        self.data = data
        self.pace = Pace.EVEN
        self.copied = False

    def __repr__(self) -> str:
        return f"Payload(sequence={self.sequence}, timestamp={self.timestamp}, {len(self.data)} B)"


@dataclass(frozen=True, slots=True)
class Missing:
    """A packet whose turn has come, but it has not.

    Attributes:
        following: The packet right after it, where that has arrived: it may hold redundancy.
    """

    following: Payload | None


class Empty:
    """Nothing to play, and nothing is given up: the stream pauses, or has not begun.

    Attributes:
        started: Something was played before, so that the pause can be covered.
    """

    __slots__ = ("started",)

    def __init__(self, *, started: bool) -> None:
        """Say whether the stream had begun."""
        self.started = started


_WAITING = Empty(started=True)
_UNSTARTED = Empty(started=False)
_LOST = Missing(None)


@dataclass(slots=True)
class JitterCounters:
    """What happened so far, in packets.

    Attributes:
        received: Pushed, duplicates not counted.
        played: Pulled.
        lost: Not there when their turn came, whether they came later or not.
        copied: A copy in another packet was there in their place; part of `lost`.
        late: Came after they were given up; part of `lost`.
        duplicates: Came twice.
        waits: Pulls that found nothing to play.
        hurried: Times two packets were to be played in the time of one.
        skipped: Dropped to catch up after a burst.
        restarts: The numbering began anew.
    """

    received: int = 0
    played: int = 0
    lost: int = 0
    copied: int = 0
    late: int = 0
    duplicates: int = 0
    waits: int = 0
    hurried: int = 0
    skipped: int = 0
    restarts: int = 0

    def plus(self, other: JitterCounters) -> JitterCounters:
        """Return the sums of two sets of counts."""
        return JitterCounters(*(getattr(self, n) + getattr(other, n) for n in self.__slots__))


class JitterBuffer:
    """Evens out what one stream's packets suffered on the way, with as little delay as they allow.

    All is measured in time, not in packets. `base` is the fastest passage of the last 5 to 10 s. A
    histogram with a memory of some 10 s holds how much later than that each packet came; its 99th
    percentile is the `target` delay, 0.64 s at most. What came later than that, or was held up by
    what did, says nothing of the next minute and is left out. While losses were seen in the last
    12 s, as many packets are added as lie between a lost one and the one it can be recovered from:
    one where the codec has redundancy, more where packets carry copies of others. A packet's delay
    is the time between the moment the fastest passage would have brought it and the pull that asks
    for it. Where a packet is missing when its turn has come:

    * its delay is below the target: wait (the stream is stretched by one pull);
    * otherwise give it up: `Missing`.

    A stream whose delay exceeds the target for 1 s, by more than a packet and a quarter of the
    target, is to be played faster in pauses (`Pace`), and after 4 s within words, too; from 200 ms
    too much on at once, by a tenth. One whose delay falls short of what far copies need is to be
    played slower in pauses. By 0.64 s and more too much, as after an outage, packets are dropped at
    once. On a clean path the target is 0: a packet waits for the next pull and no longer.

    Packets are pulled in any rhythm; one of 20 ms is meant. Sequence numbers wrap. A jump by more
    than 3000, or backwards beyond the ring, restarts the stream if the next packet confirms it.
    """

    __slots__ = (
        "_arrived",
        "_base",
        "_base_before",
        "_base_until",
        "_bins",
        "_calm_since",
        "_decay_in",
        "_first_timestamp",
        "_highest",
        "_highest_timestamp",
        "_last_loss",
        "_newest_base",
        "_next",
        "_odd",
        "_outage_end",
        "_reach",
        "_recovers",
        "_ring",
        "_spacing",
        "_started",
        "_stretched",
        "_target",
        "_units",
        "_wait_since",
        "clock_rate",
        "counters",
    )

    def __init__(self, clock_rate: int, *, recovers: bool = False) -> None:
        """Make an empty buffer.

        Args:
            clock_rate: Of the RTP timestamps, Hz.
            recovers: Lost packets can be rebuilt from the following one.
        """
        self.counters = JitterCounters()
        self.clock_rate = clock_rate
        self._recovers = recovers
        self._reach = 1
        self._spacing = _DEFAULT_SPACING
        self._units = 0  # the same in timestamps, once measured
        self._bins = [0.0] * _BINS
        self._target = 0.0
        self._decay_in = _DECAY_EVERY
        self._last_loss = float("-inf")
        self._odd = -1
        self._reset()

    def _reset(self) -> None:
        self._ring: list[Payload | None] = [None] * RING
        self._started = False
        self._arrived = False
        self._next = 0
        self._highest = 0
        self._first_timestamp = 0
        self._highest_timestamp = 0
        self._base = self._base_before = self._newest_base = float("inf")
        self._base_until = 0.0
        self._calm_since = -1.0
        self._wait_since = -1.0
        self._stretched = 0
        self._outage_end = float("-inf")

    @property
    def target(self) -> float:
        """Seconds a packet is to wait beyond the fastest passage, redundancy not counted."""
        return self._target

    @property
    def spacing(self) -> float:
        """Seconds of sound in a packet, as the timestamps say."""
        return self._spacing

    @property
    def depth(self) -> int:
        """Packets between the next to be pulled and the newest, both counted; gaps too."""
        return max(0, _distance(self._next, self._highest) + 1) if self._arrived else 0

    @property
    def held(self) -> int:
        """Packets here and not pulled yet."""
        return sum(entry is not None for entry in self._ring)

    def push(
        self, sequence: int, timestamp: int, payload: bytes, now: float, payload_type: int = 0
    ) -> None:
        """Take a packet that arrived at `now`; duplicates and late ones are counted and dropped."""
        if not self._arrived:
            self._begin(sequence, timestamp)
        ahead = (sequence - self._highest + 0x8000 & 0xFFFF) - 0x8000
        if ahead == 1:
            self._advance(sequence, timestamp, ahead)
        elif ahead > 0:
            if ahead > _MAX_GAP:
                if not self._confirm(sequence, timestamp):
                    return
            else:
                self._advance(sequence, timestamp, ahead)
        elif ahead <= -RING and not self._confirm(sequence, timestamp):
            return
        behind = (sequence - self._next + 0x8000 & 0xFFFF) - 0x8000
        lateness = self._measure(timestamp, now)
        if behind < 0:
            if self._started or behind <= -RING:
                self.counters.late += 1
                # One that came too late is the best argument for more delay: do not average it.
                self._target = max(self._target, lateness)
                return
            self._next = sequence  # overtaken before anything was played
        ring = self._ring
        held = ring[sequence & _MASK]
        if held is not None and held.sequence == sequence and not held.copied:
            self.counters.duplicates += 1
            return
        ring[sequence & _MASK] = Payload(sequence, timestamp, payload_type, payload)
        self.counters.received += 1

    def fill(
        self, sequence: int, timestamp: int, payload: bytes, payload_type: int, *, reach: int
    ) -> None:
        """Take the copy of a packet that did not come, or not yet, as the packet would have been.

        From now on a lost packet is waited for until `reach` packets later, when its last copy
        comes.
        """
        self._reach = max(1, min(reach, RING // 4))
        behind = _distance(self._next, sequence)
        if not 0 <= behind <= _distance(self._next, self._highest):
            return
        held = self._ring[sequence & _MASK]
        if held is None or held.sequence != sequence:
            entry = self._ring[sequence & _MASK] = Payload(
                sequence, timestamp, payload_type, payload
            )
            entry.copied = True

    def without_copies(self) -> None:
        """Packets carry no copies of others any more: wait for none."""
        self._reach = 1

    def _begin(self, sequence: int, timestamp: int) -> None:
        self._arrived = True
        self._next = self._highest = sequence
        self._first_timestamp = self._highest_timestamp = timestamp

    def _confirm(self, sequence: int, timestamp: int) -> bool:
        """Restart at the second packet in a row of a numbering that does not fit (RFC 3550 A.1)."""
        if self._odd != sequence:
            self._odd = sequence + 1 & 0xFFFF
            return False
        self._odd = -1
        self._reset()
        self._begin(sequence, timestamp)
        self.counters.restarts += 1
        return True

    def _advance(self, sequence: int, timestamp: int, ahead: int) -> None:
        """Move the newest end on; what falls out of the ring at the old end is lost."""
        if ahead == 1:
            units = timestamp - self._highest_timestamp & 0xFFFFFFFF
            if units != self._units:
                step = units / self.clock_rate
                if 0.0025 <= step <= 0.12:
                    self._units, self._spacing = units, step
        self._highest = sequence
        self._highest_timestamp = timestamp
        over = (sequence - self._next + 0x8000 & 0xFFFF) - 0x8000 - _MASK
        if over > 0:
            self._drop(over)

    def _measure(self, timestamp: int, now: float) -> float:
        """Note how many seconds longer the packet took than the fastest of late; 0 in an outage."""
        elapsed = (timestamp - self._first_timestamp + 0x80000000 & 0xFFFFFFFF) - 0x80000000
        if (
            not -0x40000000 <= elapsed <= 0x40000000
        ):  # long before the difference of two timestamps wraps
            self._rebase(elapsed)
            elapsed = 0
        passage = now - elapsed / self.clock_rate
        if now >= self._base_until:
            self._base_before = self._newest_base
            self._newest_base = passage
            self._base_until = now + _BASE_WINDOW
            self._base = min(self._base_before, passage)
        elif passage < self._newest_base:
            self._newest_base = passage
            if passage < self._base:
                self._base = passage
        lateness = passage - self._base
        if lateness >= _LONGEST:  # an outage, which no buffer of ours could bridge
            self._outage_end = now
        held_up = now - lateness < self._outage_end  # it was due before that ended
        if not held_up:
            self._bins[int(lateness / _BIN)] += 1.0
        self._decay_in -= 1
        if not self._decay_in:
            self._decay_in = _DECAY_EVERY
            self._forget()
        return 0.0 if held_up else lateness

    def _rebase(self, elapsed: int) -> None:
        shift = elapsed / self.clock_rate
        self._first_timestamp = self._first_timestamp + elapsed & 0xFFFFFFFF
        self._base += shift
        self._base_before += shift
        self._newest_base += shift

    def _forget(self) -> None:
        """Recompute the target and let old measurements fade."""
        bins = self._bins = [count * _DECAY for count in self._bins]
        allowed = sum(bins) * _LATE_SHARE
        index, beyond = _BINS - 1, 0.0
        while index and beyond + bins[index] <= allowed:
            beyond += bins[index]
            index -= 1
        # Falls by 5 ms a second: late ones are seen rarely, and each change of mind is heard.
        self._target = max(index * _BIN, self._target - _BIN)

    def pull(self, now: float) -> Payload | Missing | Empty:
        """Return what is to be played now: a packet, a gap to be covered, or nothing yet."""
        if not self._started:
            if not self._arrived:
                return _UNSTARTED
            self._catch_up(now)
        index = self._next & _MASK  # `_take`, without the call
        entry = self._ring[index]
        if entry is None or entry.sequence != self._next:
            return self._absent(now)
        self._ring[index] = None
        self._next = self._next + 1 & 0xFFFF
        self._played(entry, now)
        return entry

    def _catch_up(self, now: float) -> None:
        """Begin with the newest packet that has waited long enough, not with the first."""
        behind = _distance(self._next, self._highest)
        newest = self._delay(self._highest_timestamp, now)
        surplus = int((newest + behind * self._spacing - self._target) / self._spacing)
        self._drop(max(0, min(surplus, behind)))

    def _take(self) -> Payload | None:
        index = self._next & _MASK
        entry = self._ring[index]
        if entry is None or entry.sequence != self._next:
            return None
        self._ring[index] = None
        self._next = self._next + 1 & 0xFFFF
        return entry

    def _played(self, entry: Payload, now: float) -> None:
        if entry.copied:
            self.counters.copied += 1
            self.counters.lost += 1
            self._last_loss = now
        else:
            self.counters.played += 1
        self._started = True
        self._wait_since = -1.0
        self._stretched = 0
        wanted = self._wanted(now) if self._recovers else self._target
        elapsed = (entry.timestamp - self._first_timestamp + 0x80000000 & 0xFFFFFFFF) - 0x80000000
        excess = now - elapsed / self.clock_rate - self._base - wanted
        spacing = self._spacing
        # Where packets jitter, the target does too: a packet more is not worth a cut in the sound.
        slack = spacing + _BIN + max(min(spacing, self._target), self._target / 4)
        if excess < slack:
            self._calm_since = -1.0
            if self._reach * spacing > _NEAR and excess < -spacing / 2:
                entry.pace = Pace.SLOWER
        elif excess > _LONGEST:
            self._drop(min(int(excess / spacing), _distance(self._next, self._highest)))
        elif self._calm_since < 0:
            self._calm_since = now
        elif now - self._calm_since >= (_CALM if excess > _JUMP else _PATIENCE):
            self._calm_since += _BREATH if excess > _JUMP else _CALM
            entry.pace = Pace.FASTER_NOW
        elif now - self._calm_since >= _CALM:
            entry.pace = Pace.FASTER

    def _wanted(self, now: float) -> float:
        """The target, and room for what a lost packet is recovered from while packets are lost."""
        if self._recovers and now - self._last_loss < _LOSS_MEMORY:
            return self._target + self._reach * self._spacing
        return self._target

    def _delay(self, timestamp: int, now: float) -> float:
        elapsed = (timestamp - self._first_timestamp + 0x80000000 & 0xFFFFFFFF) - 0x80000000
        return now - elapsed / self.clock_rate - self._base

    def _absent(self, now: float) -> Payload | Missing | Empty:
        behind = _distance(self._next, self._highest)
        if behind < 0:
            return self._wait(now)
        expected = self._highest_timestamp - round(behind * self._spacing * self.clock_rate)
        delay = self._delay(expected & 0xFFFFFFFF, now)
        patient = self._wait_since < 0 or now - self._wait_since < _MAX_WAIT
        if delay < self._target and patient:
            return self._wait(now)
        self._last_loss = now
        if self._reach > 1 and patient and delay + _BIN < self._wanted(now):
            return self._wait(now)  # a copy may still come
        # Pauses were covered already: a gap is not covered twice, unless it can be recovered.
        wanted = self._wanted(now)
        while self._stretched and delay - self._spacing >= wanted:
            self._stretched -= 1
            delay -= self._spacing
            self._give_up()
            entry = self._take()
            if entry is not None:
                self._played(entry, now)
                return entry
        self._give_up()
        following = self._ring[self._next & _MASK]
        if following is None or following.sequence != self._next:
            return _LOST
        return Missing(following)

    def _wait(self, now: float) -> Empty:
        if not self._started:
            return _UNSTARTED
        if self._wait_since < 0:
            self._wait_since = now
        self._stretched += 1
        self.counters.waits += 1
        return _WAITING

    def _give_up(self) -> None:
        self.counters.lost += 1
        self._next = self._next + 1 & 0xFFFF

    def _drop(self, count: int) -> None:
        """Pass over `count` packets, whether they are here or not."""
        for _ in range(min(count, RING)):
            if self._take() is None:
                self._give_up()
            else:
                self.counters.skipped += 1
        if count > RING:
            self.counters.lost += count - RING
            self._next = self._next + count - RING & 0xFFFF


def _distance(older: int, newer: int) -> int:
    return (newer - older + 0x8000 & 0xFFFF) - 0x8000
