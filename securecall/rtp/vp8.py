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
_HEADER: Final = "RFC 6386 9.1"
_START_CODE: Final = b"\x9d\x01\x2a"
_OVERHEAD: Final = 4  # X, I, 15 bits of picture ID


@dataclass(frozen=True, slots=True, kw_only=True)
class Vp8Descriptor:
    """What stands before the VP8 data of each packet (4.2).

    Attributes:
        start: The data begins a partition (S).
        partition: Which (PID), 0 to 7.
        unreferenced: No other frame needs this one (N).
        picture_id: 7 or 15 bits; None where the sender does not count pictures.
        long_picture_id: It has 15 bits.
        tl0picidx: Running number of frames of the lowest temporal layer, 8 bits.
        temporal_layer: TID, 0 to 3; with `layer_sync` (Y): it needs nothing but the lowest layer.
        key_index: Running number of keyframes (KEYIDX), 5 bits.
    """

    start: bool
    partition: int = 0
    unreferenced: bool = False
    picture_id: int | None = None
    long_picture_id: bool = True
    tl0picidx: int | None = None
    temporal_layer: int | None = None
    layer_sync: bool = False
    key_index: int | None = None


@dataclass(frozen=True, slots=True)
class Vp8Header:
    """What the first bytes of a keyframe say of it, in pixels before scaling."""

    width: int
    height: int


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
    picture_id = tl0picidx = temporal_layer = key_index = None
    wide = layer_sync = False
    if has & 0x80:
        picture_id = payload[at]
        at += 1
        wide = picture_id > 0x7F
        if wide:
            picture_id = (picture_id & 0x7F) << 8 | payload[at]
            at += 1
    if has & 0x40:
        tl0picidx = payload[at]
        at += 1
    if has & 0x30:
        octet = payload[at]
        at += 1
        if has & 0x20:
            temporal_layer, layer_sync = octet >> 6, bool(octet & 0x20)
        if has & 0x10:
            key_index = octet & 0x1F
    descriptor = Vp8Descriptor(
        start=bool(first & 0x10),
        partition=first & 0x07,
        unreferenced=bool(first & 0x20),
        picture_id=picture_id,
        long_picture_id=wide,
        tl0picidx=tl0picidx,
        temporal_layer=temporal_layer,
        layer_sync=layer_sync,
        key_index=key_index,
    )
    return descriptor, at


def build_descriptor(descriptor: Vp8Descriptor) -> bytes:
    """Return the descriptor's bytes; the inverse of `parse_descriptor`.

    Raises:
        UsageError: a field is out of range.
    """
    tail = bytearray()
    has = 0
    try:
        if descriptor.picture_id is not None:
            has |= 0x80
            if descriptor.long_picture_id:
                tail += (descriptor.picture_id | 0x8000).to_bytes(2)
            else:
                tail.append(_within(descriptor.picture_id, 0x7F))
        if descriptor.tl0picidx is not None:
            has |= 0x40
            tail.append(descriptor.tl0picidx)
        if descriptor.temporal_layer is not None or descriptor.key_index is not None:
            octet = descriptor.layer_sync << 5
            if descriptor.temporal_layer is not None:
                has |= 0x20
                octet |= _within(descriptor.temporal_layer, 3) << 6
            if descriptor.key_index is not None:
                has |= 0x10
                octet |= _within(descriptor.key_index, 0x1F)
            tail.append(octet)
    except (OverflowError, ValueError) as e:
        raise UsageError(f"a field of a VP8 descriptor is out of range: {e}") from e
    first = descriptor.unreferenced << 5 | descriptor.start << 4 | _within(descriptor.partition, 7)
    return bytes((first | 0x80, has)) + tail if has else bytes((first,))


def _within(value: int, highest: int) -> int:
    if not 0 <= value <= highest:
        raise UsageError(f"{value} in a VP8 descriptor, where {highest} is the most")
    return value


def is_keyframe(frame: bytes) -> bool:
    """Whether these first bytes of a frame begin a keyframe (the inverse P bit, RFC 7741 4.3)."""
    return bool(frame) and not frame[0] & 1


def parse_header(frame: bytes) -> Vp8Header:
    """Return the size of a keyframe.

    Raises:
        ProtocolError: no keyframe, or not a whole header.
    """
    if not is_keyframe(frame):
        raise ProtocolError("not a VP8 keyframe", rule=_HEADER)
    if len(frame) < 10 or frame[3:6] != _START_CODE:
        raise ProtocolError("VP8 keyframe without its start code", rule=_HEADER)
    width = int.from_bytes(frame[6:8], "little") & 0x3FFF
    height = int.from_bytes(frame[8:10], "little") & 0x3FFF
    if not width or not height:
        raise ProtocolError("VP8 keyframe of no size", rule=_HEADER)
    return Vp8Header(width, height)


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
