"""Digits of the telephone in RTP (RFC 4733): sent as events, a few packets each, and heard."""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass
from typing import Final

from securecall.errors import ProtocolError, UsageError

DIGITS: Final = "0123456789*#ABCD"
"""What can be pressed; the place of each is its number on the wire (3.2)."""

TONE_TICKS: Final = 8
"""Ticks of 20 ms that a digit lasts: 160 ms, more than the 40 ms any receiver needs."""

GAP_TICKS: Final = 5
"""Ticks between two digits, so that two of the same are two."""

REPEATS: Final = 3
"""Times the last packet of a digit is sent (2.5.1.4)."""

MOST_WAITING: Final = 64
"""Digits that wait to be sent at most."""

_EVENT: Final = struct.Struct("!BBH")
_VOLUME: Final = 10  # dB below the full scale, as a phone's keypad
_END: Final = 0x80


def pressable(digits: str) -> str:
    """What is on the keys, letters in upper case.

    Raises:
        UsageError: one of them is on no keypad.
    """
    pressed = digits.upper()
    strange = [digit for digit in pressed if digit not in DIGITS]
    if strange:
        raise UsageError(f"no keypad has {strange[0]!r}; there are {DIGITS}")
    return pressed


@dataclass(frozen=True, slots=True)
class Event:
    """One packet of a digit.

    Attributes:
        digit: One of `DIGITS`.
        end: The digit is over.
        duration: So far, in timestamp units.
    """

    digit: str
    end: bool
    duration: int


def build_event(event: Event) -> bytes:
    """Return the four bytes of an event (2.3)."""
    flags = _VOLUME | (_END if event.end else 0)
    return _EVENT.pack(DIGITS.index(event.digit), flags, min(event.duration, 0xFFFF))


def parse_event(payload: bytes) -> Event | None:
    """Read the first event of a payload; None for one that is no digit (a flash, a fax tone).

    What follows is left: further events, or what hides the length.

    Raises:
        ProtocolError: too short for one.
    """
    if len(payload) < _EVENT.size:
        raise ProtocolError("a telephone event of less than 4 bytes", rule="RFC 4733 2.3")
    number, flags, duration = _EVENT.unpack_from(payload)
    if number >= len(DIGITS):
        return None
    return Event(DIGITS[number], bool(flags & _END), duration)


@dataclass(frozen=True, slots=True)
class EventPacket:
    """What to send on this tick, instead of sound.

    Attributes:
        payload: Of the event.
        timestamp: Of the digit's beginning.
        marker: It is the digit's first packet.
    """

    payload: bytes
    timestamp: int
    marker: bool


class EventSender:
    """Sends digits one after the other, on the ticks of the sound they replace."""

    def __init__(self, step: int) -> None:
        """Begin with nothing to send; `step` is a tick in timestamp units."""
        self._step = step
        self._waiting: deque[str] = deque()
        self._digit = ""
        self._begin = 0
        self._ticks = 0

    @property
    def busy(self) -> bool:
        """Whether digits are being sent, or wait."""
        return bool(self._digit or self._waiting or self._ticks)

    def press(self, digits: str) -> None:
        """Send these digits after those that wait.

        Raises:
            UsageError: one of them is on no keypad, or too many wait.
        """
        pressed = pressable(digits)
        if len(self._waiting) + len(pressed) > MOST_WAITING:
            raise UsageError(f"more than {MOST_WAITING} digits wait to be sent")
        self._waiting.extend(pressed)

    def clear(self) -> None:
        """Send none of what waits."""
        self._waiting.clear()
        self._digit, self._ticks = "", 0

    def tick(self, timestamp: int) -> EventPacket | None:
        """Return what goes out on this tick, None for sound; `timestamp` is the sound's."""
        if not self._digit:
            if self._ticks:  # silence of ours between two digits: sound goes out
                self._ticks -= 1
                return None
            if not self._waiting:
                return None
            self._digit, self._begin = self._waiting.popleft(), timestamp
        self._ticks += 1
        end = self._ticks > TONE_TICKS
        duration = min(self._ticks, TONE_TICKS) * self._step
        payload = build_event(Event(self._digit, end, duration))
        packet = EventPacket(payload, self._begin, self._ticks == 1)
        if self._ticks == TONE_TICKS + REPEATS:
            self._digit, self._ticks = "", GAP_TICKS
        return packet


class EventReceiver:
    """Tells each digit once, however many of its packets come, and in whatever order."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self._heard: deque[int] = deque(maxlen=8)

    def receive(self, timestamp: int, payload: bytes) -> str:
        """Take a packet; returns its digit if it is the first of it, "" otherwise.

        Raises:
            ProtocolError: it is none.
        """
        event = parse_event(payload)
        if event is None or timestamp in self._heard:
            return ""
        self._heard.append(timestamp)
        return event.digit
