"""RTP packets (RFC 3550 5.1): a typed view, and the few struct calls the hot path needs."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from securecall.errors import ProtocolError, UsageError

HEADER_LENGTH: Final = 12
"""Bytes of the fixed header, without CSRCs and extension."""

MAX_PACKET: Final = 2048
"""Longest datagram read from a socket or put into one, in bytes."""

_RULE: Final = "RFC 3550 5.1"
_FIXED: Final = struct.Struct("!BBHII")
_EXTENSION: Final = struct.Struct("!HH")
_ONE_BYTE_PROFILE: Final = 0xBEDE
_TWO_BYTE_PROFILES: Final = range(0x1000, 0x1010)


@dataclass(frozen=True, slots=True, kw_only=True)
class RtpPacket:
    """One RTP packet, taken apart.

    Attributes:
        payload_type: 0 to 127.
        marker: The M bit; for audio it begins a talk spurt.
        sequence: 0 to 65535.
        timestamp: Sampling instant in units of the codec's clock, modulo 2**32.
        ssrc: Synchronisation source, 32 bits.
        csrcs: At most 15 contributing sources.
        extension_profile: The 16 bits that name the header extension, or None without one.
        extension: Bytes of the header extension, a multiple of 4.
        payload: What the codec made.
        padding: Bytes of padding at the end, its last (count) byte included; 0 without.
    """

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    marker: bool = False
    csrcs: tuple[int, ...] = ()
    extension_profile: int | None = None
    extension: bytes = field(default=b"", repr=False)
    payload: bytes = field(default=b"", repr=False)
    padding: int = 0


def rtp_header(
    payload_type: int, sequence: int, timestamp: int, ssrc: int, *, marker: bool = False
) -> bytes:
    """Build the 12 bytes before a payload: version 2, no padding, extension or CSRC.

    All numbers must be in range already; `struct.error` otherwise. It is the caller's bug.
    """
    second = payload_type | 0x80 if marker else payload_type
    return _FIXED.pack(0x80, second, sequence, timestamp, ssrc)


def split_rtp(packet: bytes) -> tuple[int, int, int, int, bytes]:
    """Return second byte (marker << 7 | payload type), sequence, timestamp, SSRC and payload.

    The hot path: what the receiver of an unprotected packet needs, without an object.

    Raises:
        ProtocolError: not version 2, or lengths that do not fit the packet.
    """
    if len(packet) < HEADER_LENGTH:
        raise ProtocolError("packet shorter than an RTP header", rule=_RULE)
    first, second, sequence, timestamp, ssrc = _FIXED.unpack_from(packet)
    if first == 0x80:
        return second, sequence, timestamp, ssrc, packet[12:]
    start, end, _, _ = _bounds(packet)
    return second, sequence, timestamp, ssrc, packet[start:end]


def parse_rtp(packet: bytes) -> RtpPacket:
    """Take an RTP packet apart.

    Raises:
        ProtocolError: not version 2, or lengths that do not fit the packet.
    """
    if len(packet) < HEADER_LENGTH:
        raise ProtocolError("packet shorter than an RTP header", rule=_RULE)
    first, second, sequence, timestamp, ssrc = _FIXED.unpack_from(packet)
    start, end, extension_at, profile = _bounds(packet)
    count = first & 0x0F
    return RtpPacket(
        payload_type=second & 0x7F,
        marker=second > 0x7F,
        sequence=sequence,
        timestamp=timestamp,
        ssrc=ssrc,
        csrcs=struct.unpack_from(f"!{count}I", packet, HEADER_LENGTH),
        extension_profile=profile,
        extension=packet[extension_at:start],
        payload=packet[start:end],
        padding=len(packet) - end,
    )


def build_rtp(packet: RtpPacket) -> bytes:
    """Return the packet's bytes; the inverse of `parse_rtp`.

    Padding is written as zeros before its count byte.

    Raises:
        UsageError: a field is out of range.
    """
    _require_buildable(packet)
    first = 0x80 | len(packet.csrcs)
    extension = b""
    if packet.extension_profile is not None:
        first |= 0x10
        words = len(packet.extension) // 4
        extension = _EXTENSION.pack(packet.extension_profile, words) + packet.extension
    padding = b""
    if packet.padding:
        first |= 0x20
        padding = bytes(packet.padding - 1) + bytes((packet.padding,))
    second = packet.payload_type | (0x80 if packet.marker else 0)
    try:
        head = _FIXED.pack(first, second, packet.sequence, packet.timestamp, packet.ssrc)
        csrcs = struct.pack(f"!{len(packet.csrcs)}I", *packet.csrcs)
    except struct.error as e:
        raise UsageError(f"an RTP field is out of range: {packet!r}") from e
    return b"".join((head, csrcs, extension, packet.payload, padding))


def parse_extensions(profile: int | None, extension: bytes) -> dict[int, bytes]:
    """Return the header extension's elements by id (RFC 8285 4.2 and 4.3).

    An unknown profile yields nothing; of an id that comes twice the first counts.

    Raises:
        ProtocolError: an element reaches beyond the extension.
    """
    if profile == _ONE_BYTE_PROFILE:
        return _parse_elements(extension, two_byte=False)
    if profile in _TWO_BYTE_PROFILES:
        return _parse_elements(extension, two_byte=True)
    return {}


def build_extensions(elements: dict[int, bytes]) -> tuple[int, bytes]:
    """Return profile and bytes of a one-byte-header extension, padded to 4 bytes (RFC 8285 4.2).

    Raises:
        UsageError: an id outside 1 to 14, or a value outside 1 to 16 bytes.
    """
    parts = []
    for number, value in elements.items():
        if not (1 <= number <= 14 and 1 <= len(value) <= 16):
            raise UsageError(f"extension {number} of {len(value)} bytes has no one-byte header")
        parts.append(bytes((number << 4 | (len(value) - 1),)) + value)
    data = b"".join(parts)
    return _ONE_BYTE_PROFILE, data + bytes(-len(data) % 4)


def _bounds(packet: bytes) -> tuple[int, int, int, int | None]:
    """Return where payload begins and ends, where the extension's data begins, its profile."""
    first = packet[0]
    if first >> 6 != 2:
        raise ProtocolError(f"RTP version {first >> 6}", rule=_RULE)
    start = extension_at = HEADER_LENGTH + 4 * (first & 0x0F)
    end = len(packet)
    profile: int | None = None
    if first & 0x10:
        if start + 4 > end:
            raise ProtocolError("header extension beyond the packet", rule="RFC 3550 5.3.1")
        profile, words = _EXTENSION.unpack_from(packet, start)
        extension_at = start + 4
        start = extension_at + 4 * words
    if start > end:
        raise ProtocolError("RTP header beyond the packet", rule=_RULE)
    if first & 0x20:
        if start == end:
            raise ProtocolError("padding bit without padding", rule=_RULE)
        padding = packet[-1]
        if not 0 < padding <= end - start:
            raise ProtocolError(f"{padding} bytes of padding in {end - start}", rule=_RULE)
        end -= padding
    return start, end, extension_at, profile


def _require_buildable(packet: RtpPacket) -> None:
    if not 0 <= packet.payload_type <= 127:
        raise UsageError(f"payload type {packet.payload_type} is not in 0 to 127")
    if len(packet.csrcs) > 15:
        raise UsageError(f"{len(packet.csrcs)} CSRCs; RTP has room for 15")
    if not 0 <= packet.padding <= 255:
        raise UsageError(f"{packet.padding} bytes of padding; RTP counts to 255")
    if packet.extension_profile is None:
        if packet.extension:
            raise UsageError("a header extension needs its profile")
    elif not 0 <= packet.extension_profile <= 0xFFFF:
        raise UsageError(f"extension profile {packet.extension_profile} is not 16 bits")
    if len(packet.extension) % 4 or len(packet.extension) > 4 * 0xFFFF:
        raise UsageError(f"a header extension of {len(packet.extension)} bytes")


def _parse_elements(data: bytes, *, two_byte: bool) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at, end = 0, len(data)
    while at < end:
        if not data[at]:  # a byte of padding between elements
            at += 1
            continue
        if two_byte:
            if at + 2 > end:
                raise ProtocolError("extension element without its length", rule="RFC 8285 4.3")
            number, length = data[at], data[at + 1]
            at += 2
        else:
            number, length = data[at] >> 4, (data[at] & 0x0F) + 1
            at += 1
            if number == 15:  # reserved: what follows is not looked at (RFC 8285 4.2)
                break
        if at + length > end:
            raise ProtocolError("extension element beyond the extension", rule="RFC 8285 4.1")
        if number:
            found.setdefault(number, data[at : at + length])
        at += length
    return found
