"""A reliable byte stream over DTLS records, both ways: what carries the inner TLS (no I/O).

One record is `0x5C | kind u8 (1 data, 2 ack) | offset u32 big-endian | data`, data 1..1000
bytes. An ack carries no data; its offset is the next byte expected. Every data record is
acknowledged at once. At most 8 KiB are under way; a stream ends at 64 KiB. The first byte that
arrives for an offset wins: what the bytes mean is authenticated above, by TLS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from securecall.errors import ProtocolError

MARK: Final = 0x5C
LARGEST_FRAGMENT: Final = 1000
WINDOW: Final = 8192
LARGEST_STREAM: Final = 65536
FIRST_RESEND: Final = 0.25  # seconds
SLOWEST_RESEND: Final = 2.0
_HEADER: Final = 6
_DATA, _ACK = 1, 2
_DUPLICATES: Final = 3


@dataclass(frozen=True, slots=True)
class Arrival:
    """What one record brought.

    Attributes:
        data: Bytes of the stream, in order, that are new.
        records: What to send now.
    """

    data: bytes
    records: tuple[bytes, ...]


class Carriage:
    """One end of the stream pair; memory is bounded by the window and the stream's limit."""

    def __init__(self) -> None:
        self._unsent = bytearray()
        self._under_way = bytearray()
        self._acknowledged = 0  # offset of the first byte of _under_way
        self._pause = FIRST_RESEND
        self._duplicates = 0
        self._resent_early = False
        self._resend_at: float | None = None
        self._expected = 0  # offset of the first byte of the receive window
        self._window = bytearray(WINDOW)
        self._present = bytearray(WINDOW)
        self._early = False  # the window holds what cannot be delivered yet

    @property
    def deadline(self) -> float | None:
        """When to call `timeout`, None for never."""
        return self._resend_at

    @property
    def idle(self) -> bool:
        """Everything sent so far has been acknowledged."""
        return not self._under_way and not self._unsent

    @property
    def received(self) -> int:
        """How many bytes of the peer's stream were delivered."""
        return self._expected

    def send(self, data: bytes, now: float) -> tuple[bytes, ...]:
        """Append to our stream; return the records the window allows now.

        Raises:
            ProtocolError: the stream would pass 64 KiB.
        """
        total = self._acknowledged + len(self._under_way) + len(self._unsent) + len(data)
        if total > LARGEST_STREAM:
            raise _broken("our stream would pass 64 KiB")
        self._unsent += data
        return self._fill(now)

    def receive(self, record: bytes, now: float) -> Arrival:
        """Take one record.

        Raises:
            ProtocolError: it breaks a rule; the handshake is over.
        """
        if len(record) < _HEADER or record[0] != MARK:
            raise _broken("not a carriage record")
        offset = int.from_bytes(record[2:_HEADER], "big")
        data = record[_HEADER:]
        if record[1] == _DATA:
            return self._take_data(offset, data)
        if record[1] == _ACK:
            if data:
                raise _broken("an ack with data")
            return Arrival(b"", self._take_ack(offset, now))
        raise _broken(f"a record of unknown kind {record[1]}")

    def timeout(self, now: float) -> tuple[bytes, ...]:
        """Resend the first unacknowledged fragment if its time has come."""
        if self._resend_at is None or now < self._resend_at:
            return ()
        self._pause = min(2 * self._pause, SLOWEST_RESEND)
        self._resend_at = now + self._pause
        return (self._first_fragment(),)

    def _fill(self, now: float) -> tuple[bytes, ...]:
        records = []
        while self._unsent and len(self._under_way) < WINDOW:
            size = min(LARGEST_FRAGMENT, WINDOW - len(self._under_way), len(self._unsent))
            fragment = bytes(self._unsent[:size])
            del self._unsent[:size]
            records.append(_record(_DATA, self._acknowledged + len(self._under_way), fragment))
            self._under_way += fragment
        if records and self._resend_at is None:
            self._resend_at = now + self._pause
        return tuple(records)

    def _take_data(self, offset: int, data: bytes) -> Arrival:
        if not 0 < len(data) <= LARGEST_FRAGMENT:
            raise _broken(f"a data record with {len(data)} bytes")
        after = offset + len(data)
        if after > LARGEST_STREAM:
            raise _broken("the peer's stream passes 64 KiB")
        new = b""
        if after <= self._expected + WINDOW and after > self._expected:
            new = self._place(offset, data)
        return Arrival(new, (_record(_ACK, self._expected),))

    def _place(self, offset: int, data: bytes) -> bytes:
        """Fill the gaps of the window with what is new; return what is now in order."""
        start = max(offset, self._expected)
        data = data[start - offset :]
        if start == self._expected and not self._early:  # as nearly always: nothing waits
            self._expected += len(data)
            return data
        base = start - self._expected
        position = 0
        while position < len(data):
            gap = self._present.find(0, base + position, base + len(data))
            if gap < 0:
                break
            end = self._present.find(1, gap, base + len(data))
            end = base + len(data) if end < 0 else end
            self._window[gap:end] = data[gap - base : end - base]
            self._present[gap:end] = b"\x01" * (end - gap)
            position = end - base
        whole = self._present.find(0)
        whole = WINDOW if whole < 0 else whole
        new = bytes(self._window[:whole])
        del self._window[:whole], self._present[:whole]
        self._window += bytes(whole)
        self._present += bytes(whole)
        self._early = self._present.find(1) >= 0
        self._expected += whole
        return new

    def _take_ack(self, offset: int, now: float) -> tuple[bytes, ...]:
        if offset > self._acknowledged + len(self._under_way):
            raise _broken("an ack of what was never sent")
        if offset < self._acknowledged or not self._under_way:
            return ()
        if offset > self._acknowledged:
            del self._under_way[: offset - self._acknowledged]
            self._acknowledged = offset
            self._pause = FIRST_RESEND
            self._duplicates = 0
            self._resent_early = False
            self._resend_at = now + self._pause if self._under_way else None
            return self._fill(now)
        self._duplicates += 1
        if self._duplicates < _DUPLICATES or self._resent_early:
            return ()
        self._resent_early = True  # once until progress: an ack storm causes one record
        return (self._first_fragment(),)

    def _first_fragment(self) -> bytes:
        fragment = bytes(self._under_way[:LARGEST_FRAGMENT])
        return _record(_DATA, self._acknowledged, fragment)


def _record(kind: int, offset: int, data: bytes = b"") -> bytes:
    return bytes((MARK, kind)) + offset.to_bytes(4, "big") + data


def _broken(message: str) -> ProtocolError:
    return ProtocolError(message, rule="securecall-id/1 carriage")
