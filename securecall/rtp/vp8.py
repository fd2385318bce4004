"""VP8 in RTP (RFC 7741): frames cut into payloads, put together again, and looked at."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from securecall.errors import ProtocolError, UsageError

MTU: Final = 1100
"""Bytes of a payload at most, descriptor included: room for SFrame, RTX, SRTP and TURN."""

_DESCRIPTOR: Final = "RFC 7741 4.2"
_OVERHEAD: Final = 4  # X, I, 15 bits of picture ID


@dataclass(frozen=True, slots=True)
class Vp8Descriptor:
    """What we read of what stands before the VP8 data of each packet (4.2).

    Attributes:
        start: The data begins a partition (S).
        partition: Which (PID), 0 to 7.
        picture_id: 7 or 15 bits; None where the sender does not count pictures.
    """

    start: bool
    partition: int = 0
    picture_id: int | None = None


def parse_descriptor(payload: bytes) -> tuple[Vp8Descriptor, int]:
    """Return the descriptor and its length in bytes.

    Raises:
        ProtocolError: it reaches beyond the payload, or no data follows.
    """
    try:
        descriptor, at = _parse_descriptor(payload)
    except IndexError:
        raise ProtocolError("VP8 descriptor beyond the payload", rule=_DESCRIPTOR) from None
    if at >= len(payload):
        raise ProtocolError("VP8 descriptor without data", rule=_DESCRIPTOR)
    return descriptor, at


def _parse_descriptor(payload: bytes) -> tuple[Vp8Descriptor, int]:
    first = payload[0]
    at = 1
    has = 0
    if first & 0x80:
        has = payload[1]
        at = 2
    picture_id = None
    if has & 0x80:
        picture_id = payload[at]
        at += 1
        if picture_id > 0x7F:
            picture_id = (picture_id & 0x7F) << 8 | payload[at]
            at += 1
    at += bool(has & 0x40) + bool(has & 0x30)  # layers and their numbers
    return Vp8Descriptor(bool(first & 0x10), first & 0x07, picture_id), at


def is_keyframe(frame: bytes) -> bool:
    """Whether these first bytes of a frame begin a keyframe (the inverse P bit, RFC 7741 4.3)."""
    return bool(frame) and not frame[0] & 1


class Vp8Packetiser:
    """Cuts frames into payloads of even size; all of a frame counts as its partition 0.

    RFC 7741 4.2 wants S at a frame's beginning alone, and lets partitions share packets.
    """

    __slots__ = ("_mtu", "picture_id")

    def __init__(self, *, picture_id: int, mtu: int = MTU) -> None:
        """Begin to count pictures at `picture_id`, random, 15 bits."""
        if mtu <= _OVERHEAD or not 0 <= picture_id < 0x8000:
            raise UsageError(f"picture ID {picture_id}, payloads of {mtu} bytes")
        self.picture_id = picture_id
        self._mtu = mtu

    def packetise(self, frame: bytes) -> tuple[bytes, ...]:
        """Return the payloads of the next frame; the last one's packet bears the marker.

        Raises:
            UsageError: the frame is empty.
        """
        if not frame:
            raise UsageError("an empty VP8 frame")
        tail = b"\x80" + (self.picture_id | 0x8000).to_bytes(2)
        self.picture_id = self.picture_id + 1 & 0x7FFF
        number = -(-len(frame) // (self._mtu - _OVERHEAD))
        cuts = [len(frame) * i // number for i in range(number + 1)]
        return tuple(
            (b"\x80" if begin else b"\x90") + tail + frame[begin:end]
            for begin, end in itertools.pairwise(cuts)
        )


class Vp8Depacketiser:
    """Puts frames together; what the frame buffer asks about VP8."""

    __slots__ = ()

    def begins_keyframe(self, payload: bytes) -> bool:
        """Whether this payload is the first of a keyframe; False for what is malformed."""
        try:
            descriptor, at = parse_descriptor(payload)
        except ProtocolError:
            return False
        return descriptor.start and not descriptor.partition and is_keyframe(payload[at:])

    def is_keyframe(self, frame: bytes) -> bool:
        """Whether decoding can begin with this frame."""
        return is_keyframe(frame)

    def assemble(self, payloads: Sequence[bytes]) -> bytes:
        """Return the frame whose payloads these are, in order.

        Raises:
            ProtocolError: a descriptor is malformed, the first is not the frame's beginning, or
                they are of several pictures.
        """
        parts: list[bytes] = []
        picture_id = None
        for payload in payloads:
            descriptor, at = parse_descriptor(payload)
            if not parts:
                if not descriptor.start or descriptor.partition:
                    raise ProtocolError("VP8 frame without its beginning", rule=_DESCRIPTOR)
                picture_id = descriptor.picture_id
            elif descriptor.picture_id != picture_id:
                raise ProtocolError("packets of two VP8 pictures in a frame", rule=_DESCRIPTOR)
            elif descriptor.start and not descriptor.partition:
                raise ProtocolError("VP8 frame that begins twice", rule=_DESCRIPTOR)
            parts.append(payload[at:])
        if not parts:
            raise ProtocolError("VP8 frame of no packets", rule=_DESCRIPTOR)
        return b"".join(parts)
