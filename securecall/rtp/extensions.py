"""RTP header extensions (RFC 8285): one-byte and two-byte elements, and the two that we know."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from securecall.errors import ProtocolError, UsageError
from securecall.rtp.packet import HEADER_LENGTH

MID: Final = "urn:ietf:params:rtp-hdrext:sdes:mid"
"""Which m-line a packet belongs to (RFC 9143 15)."""

TRANSPORT_SEQUENCE: Final = (
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
)
"""A sequence number over all streams of a transport, whose arrivals are fed back."""

_ONE_BYTE: Final = 0xBEDE
_TWO_BYTE: Final = 0x1000  # the lower four bits are for the application
_HEAD: Final = struct.Struct("!HH")
_RULE: Final = "RFC 8285 4"


def parse_extensions(packet: bytes) -> dict[int, bytes]:
    """Return the elements of an RTP packet's header extension by their local identifiers.

    Empty where the packet has none, or one of another kind. Of an identifier that comes twice the
    first counts. `split_rtp` reads over all this; call it as well, for it checks the rest.

    Raises:
        ProtocolError: an element reaches beyond the extension, or that beyond the packet.
    """
    if len(packet) < HEADER_LENGTH:
        raise ProtocolError("packet shorter than an RTP header", rule="RFC 3550 5.1")
    if not packet[0] & 0x10:
        return {}
    start = HEADER_LENGTH + 4 * (packet[0] & 0x0F)
    if start + 4 > len(packet):
        raise ProtocolError("header extension beyond the packet", rule="RFC 3550 5.3.1")
    profile, words = _HEAD.unpack_from(packet, start)
    data = packet[start + 4 : start + 4 + 4 * words]
    if len(data) != 4 * words:
        raise ProtocolError("header extension beyond the packet", rule="RFC 3550 5.3.1")
    if profile == _ONE_BYTE:
        return _parse_elements(data, header=1)
    if profile & 0xFFF0 == _TWO_BYTE:
        return _parse_elements(data, header=2)
    return {}


def _parse_elements(data: bytes, *, header: int) -> dict[int, bytes]:
    elements: dict[int, bytes] = {}
    at, end = 0, len(data)
    while at < end:
        first = data[at]
        if not first:  # padding
            at += 1
            continue
        if header == 1:
            identifier, length = first >> 4, (first & 0x0F) + 1
            if identifier in (0, 15):  # 15, and 0 with a length: all behind is ignored (4.2)
                break
        else:
            if at + 2 > end:
                raise ProtocolError("header extension element without length", rule=_RULE)
            identifier, length = first, data[at + 1]
        at += header
        if at + length > end:
            raise ProtocolError("header extension element beyond the extension", rule=_RULE)
        elements.setdefault(identifier, data[at : at + length])
        at += length
    return elements


def build_extensions(elements: Mapping[int, bytes]) -> bytes:
    """Return the header extension, to stand behind a header made by `with_extensions`.

    One-byte elements where all fit (identifiers 1 to 14, 1 to 16 bytes), else two-byte ones. The
    latter may be sent only where the peer knows them (`extmap-allow-mixed`, RFC 8285 4.1.2).

    Raises:
        UsageError: an identifier beyond 1..255, or data longer than 255 bytes.
    """
    short = all(0 < i < 15 and 0 < len(data) <= 16 for i, data in elements.items())
    parts: list[bytes] = []
    for identifier, data in elements.items():
        if not 0 < identifier < 256 or len(data) > 255:
            raise UsageError(f"header extension element {identifier} of {len(data)} bytes")
        head = (identifier << 4 | len(data) - 1,) if short else (identifier, len(data))
        parts += [bytes(head), data]
    body = b"".join(parts)
    body += bytes(-len(body) % 4)
    return _HEAD.pack(_ONE_BYTE if short else _TWO_BYTE, len(body) // 4) + body


def with_extensions(header: bytes, extensions: bytes) -> bytes:
    """Return the bytes of `rtp_header` with an extension behind them, and the bit set for it."""
    return bytes((header[0] | 0x10,)) + header[1:] + extensions


def parse_transport_sequence(data: bytes) -> int:
    """Return the number of a `TRANSPORT_SEQUENCE` element, 16 bits.

    Raises:
        ProtocolError: not two bytes.
    """
    if len(data) != 2:
        raise ProtocolError(
            f"transport-wide sequence number of {len(data)} bytes",
            rule="draft-holmer-rmcat-transport-wide-cc-extensions-01 2",
        )
    return int.from_bytes(data)
