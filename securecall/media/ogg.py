"""Ogg Opus (RFC 3533, RFC 7845): packets into pages and out of them again, without a codec."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from securecall.errors import ProtocolError, UsageError

RATE: Final = 48000
"""Of granule positions, whatever was recorded (RFC 7845 4), Hz."""

MOST_SAMPLES: Final = 5760
"""Of one packet: 120 ms (RFC 6716 3.2.5)."""

_PAGE: Final = struct.Struct("<4sBBqIIIB")
_HEAD: Final = struct.Struct("<8sBBHIhB")
_CAPTURE: Final = b"OggS"
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_MOST_SEGMENTS: Final = 255
_PACKETS_A_PAGE: Final = 50  # a second: what a page costs, and what is lost with a damaged one
_MOST_PACKET: Final = 128 * 1024  # RFC 7845 6 asks for 61440; comments may have a picture
_NOWHERE: Final = -1  # no packet ends on the page
# RFC 3533 6: generator polynomial 0x04c11db7, nothing reflected
_POLYNOMIAL: Final = 0x04C11DB7


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        crc = value << 24
        for _ in range(8):
            crc = crc << 1 ^ (_POLYNOMIAL if crc & 0x80000000 else 0)
        table.append(crc & 0xFFFFFFFF)
    return tuple(table)


_TABLE: Final = _crc_table()


def page_crc(page: bytes) -> int:
    """The checksum of a page whose checksum is zero."""
    crc, table = 0, _TABLE
    for byte in page:
        crc = (crc << 8 & 0xFFFFFFFF) ^ table[crc >> 24 ^ byte]
    return crc


@dataclass(frozen=True, slots=True)
class OpusHead:
    """What the first packet says (RFC 7845 5.1).

    Attributes:
        channels: 1 or 2.
        pre_skip: Samples at 48 kHz to leave out in the beginning.
        rate: Of the original, Hz; 0 for unknown.
        gain: Of the output, in 1/256 dB.
    """

    channels: int = 1
    pre_skip: int = 312
    rate: int = RATE
    gain: int = 0


def packet_samples(packet: bytes) -> int:
    """Samples at 48 kHz in an Opus packet, by its first byte or two (RFC 6716 3.1).

    Raises:
        ProtocolError: none, or more than 120 ms.
    """
    if not packet:
        raise ProtocolError("an empty Opus packet", rule="RFC 6716 3.4 R1")
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:  # SILK: 10, 20, 40, 60 ms
        frame = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:  # hybrid: 10, 20 ms
        frame = (480, 960)[config & 1]
    else:  # CELT: 2.5, 5, 10, 20 ms
        frame = 120 << (config & 3)
    if code == 3 and len(packet) < 2:
        raise ProtocolError("an Opus packet without its count", rule="RFC 6716 3.4 R6")
    count = (1, 2, 2)[code] if code < 3 else packet[1] & 63
    if not 0 < count * frame <= MOST_SAMPLES:
        raise ProtocolError("an Opus packet of no or too long a time", rule="RFC 6716 3.4 R5")
    return count * frame


# -- writing --------------------------------------------------------------------------------------


class OggWriter:
    """Makes a stream of Opus packets into pages. It says nothing of who made it, or when."""

    def __init__(self, head: OpusHead, *, serial: int) -> None:
        """Begin a stream; `serial` is any 32 bits, random ones."""
        self._serial = serial & 0xFFFFFFFF
        self._sequence = 0
        self._granule = 0
        self._waiting: list[bytes] = []
        self._segments = 0
        first = _HEAD.pack(b"OpusHead", 1, head.channels, head.pre_skip, head.rate, head.gain, 0)
        # the vendor must be there, but need not say anything (RFC 7845 5.2)
        tags = b"OpusTags" + struct.pack("<II", 0, 0)
        self._out = self._page([first], 0, _FIRST) + self._page([tags], 0)

    def add(self, packet: bytes) -> bytes:
        """Take a packet; return the pages that are full.

        Raises:
            ProtocolError: that is no Opus packet.
            UsageError: larger than any we make.
        """
        samples, segments = packet_samples(packet), len(packet) // 255 + 1
        if segments > _MOST_SEGMENTS:
            raise UsageError("an Opus packet that fills more than a page")
        full = len(self._waiting) == _PACKETS_A_PAGE or self._segments + segments > _MOST_SEGMENTS
        if full:
            self._out += self._page(self._waiting, self._granule)
            self._waiting, self._segments = [], 0
        self._waiting.append(packet)
        self._segments += segments
        self._granule += samples
        out, self._out = self._out, b""
        return out

    def finish(self, *, granule: int) -> bytes:
        """Return the last page; what is beyond `granule` samples is not played (RFC 7845 4.4)."""
        last = self._page(self._waiting, min(granule, self._granule), _LAST)
        out, self._out = self._out + last, b""
        return out

    def _page(self, packets: list[bytes], granule: int, flags: int = 0) -> bytes:
        lacing = b"".join(b"\xff" * (len(p) // 255) + bytes([len(p) % 255]) for p in packets)
        head = _PAGE.pack(_CAPTURE, 0, flags, granule, self._serial, self._sequence, 0, len(lacing))
        page = b"".join([head, lacing, *packets])
        self._sequence += 1
        return page[:22] + struct.pack("<I", page_crc(page)) + page[26:]


# -- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OggOpus:
    """One recording.

    Attributes:
        head: What the first packet says.
        packets: Of sound, in order.
        samples: At 48 kHz, to be played: without the pre-skip, and without what is after the end.
    """

    head: OpusHead
    packets: tuple[bytes, ...]
    samples: int

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.samples / RATE


@dataclass(frozen=True, slots=True)
class _Page:
    flags: int
    granule: int
    serial: int
    sequence: int
    segments: tuple[tuple[bytes, bool], ...]  # of packets; whether the packet ends there


def parse_ogg_opus(data: bytes, *, most_seconds: float) -> OggOpus:
    """Read a whole recording of mono or stereo Opus.

    Strict: one stream, every page whole and in order. What lacks an end mark is taken as it is.

    Raises:
        ProtocolError: it is not that, is damaged, or lasts longer than `most_seconds`.
    """
    head: OpusHead | None = None
    tagged, packets, total, end = False, list[bytes](), 0, _NOWHERE
    most = int(most_seconds * RATE) + RATE
    for packet, granule in _packets(data):
        if head is None:
            head = _parse_head(packet)
        elif not tagged:
            if packet[:8] != b"OpusTags":
                raise ProtocolError("no comments where they have to be", rule="RFC 7845 5.2")
            tagged = True
        else:
            total += packet_samples(packet)
            packets.append(packet)
            end = granule if granule != _NOWHERE else end
            if total > most:
                raise ProtocolError(f"a recording of more than {most_seconds:.0f} seconds")
    if head is None or not tagged:
        raise ProtocolError("a recording without its beginning", rule="RFC 7845 3")
    # Cut by the last position (4.4), which counts from that of the first sample (4.3); positions
    # that claim more than there is, or less than nothing, tell nothing.
    played = total if not 0 <= end <= total else end
    return OggOpus(head, tuple(packets), max(0, played - head.pre_skip))


def _parse_head(packet: bytes) -> OpusHead:
    if len(packet) < _HEAD.size or packet[:8] != b"OpusHead":
        raise ProtocolError("not a recording in Opus", rule="RFC 7845 5.1")
    _, version, channels, pre_skip, rate, gain, family = _HEAD.unpack_from(packet)
    if version > 15 or family != 0 or channels not in (1, 2):
        raise ProtocolError("a kind of Opus recording that is not played", rule="RFC 7845 5.1")
    return OpusHead(channels, pre_skip, rate, gain)


def _packets(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Every packet, with the position of its page if it is the last that ends there."""
    part, serial, expected, at = b"", -1, 0, 0
    while at < len(data):
        page, at = _parse_page(data, at)
        if serial < 0:
            serial = page.serial
        # the first page alone begins the stream; nothing is beside it, lost or out of place
        wrong = bool(page.flags & _FIRST) != (expected == 0) or page.serial != serial
        if wrong or page.sequence != expected or bool(page.flags & _CONTINUED) != bool(part):
            raise ProtocolError("pages that are not one whole stream", rule="RFC 3533 6")
        expected += 1
        ends = [i for i, (_, whole) in enumerate(page.segments) if whole]
        for i, (piece, whole) in enumerate(page.segments):
            part += piece
            if len(part) > _MOST_PACKET:
                raise ProtocolError("a packet that does not end", rule="RFC 7845 6")
            if whole:
                yield part, page.granule if i == ends[-1] else _NOWHERE
                part = b""
        if page.flags & _LAST:
            break
    if part or at < len(data):
        raise ProtocolError("something after the end, or none", rule="RFC 3533 6")


def _parse_page(data: bytes, at: int) -> tuple[_Page, int]:
    if len(data) - at < _PAGE.size:
        raise ProtocolError("a page that breaks off", rule="RFC 3533 6")
    capture, version, flags, granule, serial, sequence, crc, count = _PAGE.unpack_from(data, at)
    if capture != _CAPTURE or version:
        raise ProtocolError("not a page of Ogg", rule="RFC 3533 6")
    body = at + _PAGE.size + count
    lacing = data[at + _PAGE.size : body]
    end = body + sum(lacing)
    if len(lacing) < count or end > len(data):
        raise ProtocolError("a page that breaks off", rule="RFC 3533 6")
    if page_crc(data[at : at + 22] + bytes(4) + data[at + 26 : end]) != crc:
        raise ProtocolError("a damaged page", rule="RFC 3533 6")
    segments, begin, size = list[tuple[bytes, bool]](), body, 0
    for length in lacing:
        size += length
        if length < 255:
            segments.append((data[begin : begin + size], True))
            begin, size = begin + size, 0
    if lacing and lacing[-1] == 255:
        segments.append((data[begin:end], False))
    return _Page(flags, granule, serial, sequence, tuple(segments)), end
