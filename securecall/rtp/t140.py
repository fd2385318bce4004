"""Real-time text (T.140) in RTP: what is typed, as it is typed, with copies of what went before.

RFC 4103 over RFC 2198. A packet is numbered as every RTP packet is; its copies are those of the
packets before it, counted backwards, and may be empty. So what is lost is known by its number.
"""

from __future__ import annotations

import unicodedata
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from securecall.errors import ProtocolError, UsageError
from securecall.rtp.red import MAX_OFFSET, Block, RedPayload, build_red, parse_red

CLOCK: Final = 1000
"""Of the RTP clock, Hz (RFC 4103 3)."""

GENERATIONS: Final = 2
"""Packets before its own whose text a packet carries again (RFC 4103 4.1)."""

BUFFER_SECONDS: Final = 0.3
"""How long text is gathered for a packet (RFC 4103 5.1)."""

PATIENCE: Final = 1.0
"""Seconds that text waits for what is missing before it (RFC 4103 5.4)."""

CPS: Final = 30
"""Characters a second over ten seconds, where the receiver names no other (RFC 4103 6)."""

LOST: Final = "\N{REPLACEMENT CHARACTER}"
"""Stands where text was lost (T.140 Addendum 1)."""

BACKSPACE: Final = "\b"
NEWLINE: Final = "\N{LINE SEPARATOR}"

_CPS_SECONDS: Final = 10.0
_TOLERANCE: Final = 0.001  # a clock of 20 ms that is a little early is not one that is 20 ms late
_MOST_IN_PACKET: Final = 75  # characters: thrice 300 bytes stay below the packetiser's 1100
_MOST_BEHIND: Final = 64  # packets beyond a gap that are kept; more, and the gap is given up
_MOST_SEQUENCE: Final = 16  # characters of a control sequence that are left out
_BYTE_ORDER: Final = "\ufeff"
_LINE_ENDS: Final = ("\r\n", "\r", "\n")


def require_text(text: str) -> str:
    """Return what is to be sent, each end of a line as U+2028.

    Raises:
        UsageError: it has control codes other than backspace, or halves of characters.
    """
    for end in _LINE_ENDS:
        text = text.replace(end, NEWLINE)
    for character in text:
        if character != BACKSPACE and unicodedata.category(character) in ("Cc", "Cs"):
            raise UsageError(f"text has no control codes, and this has U+{ord(character):04X}")
    return text.replace(_BYTE_ORDER, "")


class TextFilter:
    """Lets through what a screen may be given: text, backspace and U+2028 for the end of a line.

    Every other control code goes, and with it the sequence that it begins (ISO 6429): what a peer
    writes must never drive a terminal. Marks of byte order are T.140's way to say nothing.
    """

    def __init__(self) -> None:
        """Begin with a line."""
        self._left_out = 0  # characters of a sequence that may still be left out
        self._escaped = self._returned = False

    def take(self, text: str) -> str:
        """Return what is left of this."""
        return "".join(map(self._take, text))

    def _take(self, character: str) -> str:
        escaped, self._escaped = self._escaped, False
        returned, self._returned = self._returned, character == "\r"
        if escaped and character == "[":
            self._left_out = _MOST_SEQUENCE
            return ""
        if escaped and " " <= character <= "~":
            return ""
        if self._left_out and " " <= character <= "~":
            self._left_out = 0 if character >= "@" else self._left_out - 1
            return ""
        self._left_out = 0
        if character in "\r\n":
            return "" if character == "\n" and returned else NEWLINE
        if character == BACKSPACE:
            return character
        if character == "\x1b":
            self._escaped = True
        elif character == "\x9b":
            self._left_out = _MOST_SEQUENCE
        hidden = character == _BYTE_ORDER or unicodedata.category(character) == "Cc"
        return "" if hidden else character


@dataclass(frozen=True, slots=True)
class TextPayload:
    """What a packet carries.

    Attributes:
        data: Its own text, UTF-8.
        copies: Of the packets before it, oldest first.
    """

    data: bytes = field(repr=False)
    copies: tuple[bytes, ...] = field(default=(), repr=False)


def parse_text(payload: bytes, *, t140: int, redundant: bool) -> TextPayload:
    """Take a payload apart.

    Args:
        payload: As it was opened.
        t140: The payload type of text without copies.
        redundant: The packet is of the type with copies.

    Raises:
        ProtocolError: a header or block is cut off, or something else than text is in it.
    """
    if not redundant:
        return TextPayload(payload)
    red = parse_red(payload, keep_empty=True)
    if {red.payload_type, *(copy.payload_type for copy in red.copies)} != {t140}:
        raise ProtocolError("a packet of text carries something else", rule="RFC 4103 4.2")
    return TextPayload(red.data, tuple(copy.data for copy in red.copies))


@dataclass(frozen=True, slots=True)
class TextPacket:
    """A packet that is due.

    Attributes:
        payload: Not sealed.
        marker: The first one after a pause.
    """

    payload: bytes = field(repr=False)
    marker: bool


class T140Sender:
    """Cuts what is typed into packets: none is due while nobody types (RFC 4103 5).

    Attributes:
        waiting: Characters that have not left.
    """

    def __init__(self, t140: int, *, redundant: bool = True, cps: int = CPS) -> None:
        """Begin.

        Args:
            t140: The peer's payload type of text.
            redundant: It takes copies.
            cps: Characters a second that it takes.
        """
        self._t140 = t140
        self._generations = GENERATIONS if redundant else 0
        self._most = max(1, round(cps * _CPS_SECONDS))
        self._text = ""
        self._history: deque[tuple[float, bytes]] = deque(maxlen=GENERATIONS)
        self._left: deque[tuple[float, int]] = deque()  # when how many characters left
        self._due = float("-inf")
        self._idle = True
        self.clear()

    @property
    def waiting(self) -> int:
        """Characters that have not left."""
        return len(self._text)

    def push(self, text: str) -> None:
        """Have this text leave, after `require_text`."""
        self._text += text

    def clear(self) -> None:
        """Forget: nothing that was typed so far is sent, or sent again."""
        self._text = ""
        self._history.extend([(float("-inf"), b"")] * GENERATIONS)
        self._idle = True

    def poll(self, *, now: float) -> TextPacket | None:
        """Return the packet that is due, if one is; to be asked every 20 ms or so."""
        if now < self._due - _TOLERANCE:
            return None
        while self._left and self._left[0][0] <= now - _CPS_SECONDS:
            _ = self._left.popleft()
        room = self._most - sum(count for _, count in self._left)
        text = self._text[: max(0, min(_MOST_IN_PACKET, room))]
        again = self._generations and any(data for _, data in self._history)
        if not text and not again:
            self._idle = True
            return None
        self._text = self._text[len(text) :]
        if text:
            self._left.append((now, len(text)))
        data, marker = text.encode(), self._idle
        self._idle, self._due = False, now + BUFFER_SECONDS
        payload = self._wrap(data, now) if self._generations else data
        self._history.append((now, data))
        return TextPacket(payload, marker)

    def _wrap(self, data: bytes, now: float) -> bytes:
        copies = (
            Block(self._t140, round(min(MAX_OFFSET, (now - then) * CLOCK)), copy)
            for then, copy in self._history
        )
        return build_red(RedPayload(self._t140, data, tuple(copies)), keep_empty=True)


class T140Receiver:
    """Puts packets of one source in order; copies stand in for what is lost.

    Attributes:
        lost: Packets whose text is missing, copies and all.
    """

    def __init__(self) -> None:
        """Begin; the first packet that comes says where."""
        self.lost = 0
        self._next: int | None = None  # number, without wrapping, of what is to be shown
        self._blocks: dict[int, bytes] = {}  # by number, beyond a gap
        self._gap_at: float | None = None
        self._filter = TextFilter()

    def receive(self, sequence: int, payload: TextPayload, *, now: float) -> str:
        """Take a packet; returns the text that can be shown now.

        Args:
            sequence: Of its RTP header.
            payload: What it carries.
            now: Seconds on a clock that only goes forward.
        """
        if self._next is None:  # what the first packet repeats was sent in this call, too
            self._next = sequence - len(payload.copies)
        ahead = (sequence - self._next + 0x8000 & 0xFFFF) - 0x8000
        number = self._next + ahead
        shown = ""
        if ahead > _MOST_BEHIND:
            shown = self._skip_to(number - len(payload.copies))
        blocks = (*payload.copies, payload.data)
        for place, data in enumerate(blocks, number - len(payload.copies)):
            if place >= self._next:
                _ = self._blocks.setdefault(place, data)
        shown += self._deliver()
        self._watch(now)
        return shown

    def poll(self, *, now: float) -> str:
        """Return what has waited long enough for what is missing before it."""
        if self._gap_at is None or now < self._gap_at + PATIENCE:
            return ""
        shown = self._skip_to(min(self._blocks))
        shown += self._deliver()
        self._gap_at = None
        self._watch(now)
        return shown

    def _watch(self, now: float) -> None:
        if not self._blocks:
            self._gap_at = None
        elif self._gap_at is None:
            self._gap_at = now

    def _skip_to(self, number: int) -> str:
        """Give up what has not come before that; returns what has, and marks for what has not."""
        shown: list[str] = []
        at = self._next or 0
        for place in (*sorted(p for p in self._blocks if p < number), number):
            if place > at:
                shown.append(LOST)
                self.lost += place - at
            if place < number:
                shown.append(self._show(self._blocks.pop(place)))
            at = place + 1
        self._next = number
        return "".join(shown)

    def _deliver(self) -> str:
        shown: list[str] = []
        while self._next is not None and self._next in self._blocks:
            shown.append(self._show(self._blocks.pop(self._next)))
            self._next += 1
        return "".join(shown)

    def _show(self, data: bytes) -> str:
        return self._filter.take(data.decode(errors="replace"))
