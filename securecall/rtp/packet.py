"""RTP packets (RFC 3550 5.1), in the few struct calls the hot path needs."""

from __future__ import annotations

import struct
from typing import Final

from securecall.errors import ProtocolError

HEADER_LENGTH: Final = 12
"""Bytes of the fixed header, without CSRCs and extension."""

MAX_PACKET: Final = 2048
"""Longest datagram read from a socket or put into one, in bytes."""

_RULE: Final = "RFC 3550 5.1"
_FIXED: Final = struct.Struct("!BBHII")
_EXTENSION: Final = struct.Struct("!HH")


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
    start, end = _bounds(packet)
    return second, sequence, timestamp, ssrc, packet[start:end]


def _bounds(packet: bytes) -> tuple[int, int]:
    """Return where the payload begins and ends, behind CSRCs and extension, before padding."""
    first = packet[0]
    if first >> 6 != 2:
        raise ProtocolError(f"RTP version {first >> 6}", rule=_RULE)
    start = HEADER_LENGTH + 4 * (first & 0x0F)
    end = len(packet)
    if first & 0x10:
        if start + 4 > end:
            raise ProtocolError("header extension beyond the packet", rule="RFC 3550 5.3.1")
        _, words = _EXTENSION.unpack_from(packet, start)
        start += 4 + 4 * words
    if start > end:
        raise ProtocolError("RTP header beyond the packet", rule=_RULE)
    if first & 0x20:
        if start == end:
            raise ProtocolError("padding bit without padding", rule=_RULE)
        padding = packet[-1]
        if not 0 < padding <= end - start:
            raise ProtocolError(f"{padding} bytes of padding in {end - start}", rule=_RULE)
        end -= padding
    return start, end
