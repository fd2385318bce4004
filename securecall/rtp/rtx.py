"""Retransmission (RFC 4588): what was sent is kept for a while, and sent again when missed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from securecall.errors import ProtocolError

MAX_AGE: Final = 1.5
"""Seconds a packet is kept: a receiver that has waited longer wants a keyframe."""

MAX_BYTES: Final = 2 << 20
"""Bytes of payload kept."""

_OSN: Final = 2


@dataclass(frozen=True, slots=True)
class SentPacket:
    """A packet as it was sent.

    Attributes:
        sequence: Its sequence number.
        timestamp: Its timestamp.
        marker: Its marker bit.
        payload: As it stood inside SRTP: sealed by SFrame where that is on.
    """

    sequence: int
    timestamp: int
    marker: bool
    payload: bytes = field(repr=False)


@dataclass(slots=True)
class _Kept:
    packet: SentPacket
    sent_at: float
    answered_at: float = float("-inf")


class SentPackets:
    """The packets one stream sent last, and who of them is asked for again.

    Attributes:
        octets: Bytes of payload kept.
        answered: Packets given out to be sent again.
        forgotten: Asked for when they were no longer here, or never were.
        premature: Asked for within a round trip of the last answer, and so not answered.
    """

    __slots__ = (
        "_kept",
        "_max_age",
        "_max_bytes",
        "answered",
        "forgotten",
        "octets",
        "premature",
    )

    def __init__(self, *, max_bytes: int = MAX_BYTES, max_age: float = MAX_AGE) -> None:
        self._kept: dict[int, _Kept] = {}  # in the order of sending
        self._max_bytes = max_bytes
        self._max_age = max_age
        self.octets = self.answered = self.forgotten = self.premature = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, packet: SentPacket, *, now: float) -> None:
        """Keep a packet that is being sent; the oldest go where there is no room."""
        before = self._kept.pop(packet.sequence, None)
        if before is not None:
            self.octets -= len(before.packet.payload)
        self._kept[packet.sequence] = _Kept(packet, now)
        self.octets += len(packet.payload)
        self._forget(now)

    def answer(
        self, sequences: Iterable[int], *, now: float, round_trip: float
    ) -> tuple[SentPacket, ...]:
        """Return which of the packets asked for are to be sent again, in the order asked.

        Each at most once in a round trip: an answer may be on its way when it is asked for again.
        """
        self._forget(now)
        answers: list[SentPacket] = []
        for sequence in sequences:
            kept = self._kept.get(sequence)
            if kept is None:
                self.forgotten += 1
            elif now - kept.answered_at < round_trip or kept.answered_at == now:
                self.premature += 1
            else:
                kept.answered_at = now
                answers.append(kept.packet)
        self.answered += len(answers)
        return tuple(answers)

    def clear(self) -> None:
        """Forget all, as when keys or direction changed."""
        self._kept.clear()
        self.octets = 0

    def _forget(self, now: float) -> None:
        while self._kept:
            sequence = next(iter(self._kept))
            oldest = self._kept[sequence]
            if self.octets <= self._max_bytes and now - oldest.sent_at <= self._max_age:
                return
            self.octets -= len(oldest.packet.payload)
            del self._kept[sequence]


def build_rtx(packet: SentPacket) -> bytes:
    """Return the payload of a retransmission: OSN, then the payload as it was sent (4).

    Its packet bears the timestamp and marker of the original, and SSRC, payload type and sequence
    number of the retransmission stream (RFC 4588 4, SSRC-multiplexed).
    """
    return packet.sequence.to_bytes(_OSN) + packet.payload


def restore_rtx(payload: bytes) -> tuple[int, bytes] | None:
    """Return the original's sequence number and payload; None for padding, sent to probe a path.

    What comes out is still sealed by SFrame, under the original's payload type.

    Raises:
        ProtocolError: too short for an OSN.
    """
    if not payload:
        return None
    if len(payload) < _OSN:
        raise ProtocolError("retransmission without its OSN", rule="RFC 4588 4")
    return int.from_bytes(payload[:_OSN]), payload[_OSN:]
