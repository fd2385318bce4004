"""RTCP (RFC 3550 6): sender and receiver reports, source descriptions, goodbyes, feedback."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from securecall.errors import ProtocolError, UsageError
from securecall.rtp.feedback import PSFB, RTPFB, Feedback, build_feedback, parse_feedback
from securecall.rtp.xr import PACKET_TYPE as XR
from securecall.rtp.xr import ExtendedReport, build_xr, parse_xr

MAX_ITEMS: Final = 64
"""Packets in a compound that are looked at; a compound of more is refused."""

_RULE: Final = "RFC 3550 6"
_SR, _RR, _SDES, _BYE = 200, 201, 202, 203
_CNAME: Final = 1
_REPORT: Final = struct.Struct("!IIIIII")
_SENDER_INFO: Final = struct.Struct("!QIII")
_MAX_COUNT: Final = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportBlock:
    """What a receiver says about one source it hears.

    Attributes:
        ssrc: The source reported on.
        fraction_lost: Share of packets lost since the last report, in 1/256, 0 to 255.
        cumulative_lost: Packets lost since the beginning, -2**23 to 2**23 - 1.
        highest_sequence: Highest sequence number received, extended by its cycles to 32 bits.
        jitter: Interarrival jitter in timestamp units.
        last_sr: Middle 32 bits of the last sender report's NTP time; 0 before any came.
        delay_since_last_sr: Time since it came, in 1/65536 seconds; 0 before any came.
    """

    ssrc: int
    fraction_lost: int
    cumulative_lost: int
    highest_sequence: int
    jitter: int
    last_sr: int = 0
    delay_since_last_sr: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderReport:
    """What a sender says about its stream, and about those it hears (6.4.1).

    Attributes:
        ssrc: The sender.
        ntp: Time of sending, NTP format: seconds since 1900 in the upper 32 bits.
        timestamp: The same instant in RTP timestamp units.
        packets: RTP packets sent, modulo 2**32.
        octets: Bytes of payload sent, modulo 2**32.
        reports: At most 31.
    """

    ssrc: int
    ntp: int
    timestamp: int
    packets: int
    octets: int
    reports: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverReport:
    """What somebody who sends nothing says about those it hears (6.4.2)."""

    ssrc: int
    reports: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDescription:
    """The canonical names of sources (6.5); other items are read over.

    Attributes:
        cnames: Pairs of SSRC and CNAME; empty text where a chunk had none.
    """

    cnames: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bye:
    """Sources that leave (6.6).

    Attributes:
        sources: At most 31 SSRCs.
        reason: Text for people, possibly empty.
    """

    sources: tuple[int, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownRtcp:
    """A packet of a type that is not ours to understand.

    Attributes:
        packet_type: 192 to 223, save those above and the kinds of feedback that are known.
        count: The five bits of the header.
        body: What follows the first four bytes, padding removed.
    """

    packet_type: int
    count: int
    body: bytes


RtcpPacket = (
    SenderReport
    | ReceiverReport
    | SourceDescription
    | Bye
    | Feedback
    | ExtendedReport
    | UnknownRtcp
)


def parse_rtcp(data: bytes, *, reduced: bool = False) -> tuple[RtcpPacket, ...]:
    """Parse a compound packet.

    Args:
        data: Everything the datagram carried, decrypted.
        reduced: Accept a compound that does not begin with a report (RFC 5506).

    Raises:
        ProtocolError: a length does not fit, or the rules of compounds are broken (A.2).
    """
    packets: list[RtcpPacket] = []
    at, end = 0, len(data)
    if not end or end % 4:
        raise ProtocolError("RTCP is not whole words", rule=_RULE)
    while at < end:
        if len(packets) == MAX_ITEMS:
            raise ProtocolError(f"more than {MAX_ITEMS} packets in a compound", rule=_RULE)
        first, kind = data[at], data[at + 1]
        stop = at + 4 + 4 * int.from_bytes(data[at + 2 : at + 4])
        if first >> 6 != 2:
            raise ProtocolError(f"RTCP version {first >> 6}", rule=_RULE)
        if not 192 <= kind <= 223:
            raise ProtocolError(f"RTCP packet type {kind}", rule="RFC 5761 4")
        if not at and not reduced and kind not in (_SR, _RR):
            raise ProtocolError("a compound begins with a report", rule="RFC 3550 6.1")
        if stop > end:
            raise ProtocolError("RTCP packet beyond the datagram", rule=_RULE)
        body = data[at + 4 : stop]
        if first & 0x20:
            body = _without_padding(body, last=stop == end, words=kind != RTPFB)
        packets.append(_parse_one(kind, first & 0x1F, body))
        at = stop
    return tuple(packets)


def build_rtcp(packets: Sequence[RtcpPacket]) -> bytes:
    """Return the compound's bytes; the inverse of `parse_rtcp`.

    Raises:
        UsageError: nothing to build, or a field is out of range.
    """
    if not packets:
        raise UsageError("an RTCP compound holds at least one packet")
    try:
        return b"".join(_build_one(packet) for packet in packets)
    except (struct.error, OverflowError) as e:
        raise UsageError(f"an RTCP field is out of range: {e}") from e


def _without_padding(body: bytes, *, last: bool, words: bool) -> bytes:
    """Remove padding; browsers fill up transport feedback by 1 to 3 bytes, wherever it stands."""
    if not last and words:
        raise ProtocolError("padding before the end of a compound", rule="RFC 3550 6.4.1")
    padding = body[-1] if body else 0
    if not padding or (words and padding % 4) or padding > len(body):
        raise ProtocolError(f"{padding} bytes of RTCP padding in {len(body)}", rule=_RULE)
    return body[:-padding]


def _parse_one(kind: int, count: int, body: bytes) -> RtcpPacket:
    if kind == _SR:
        _require(body, 24 + 24 * count)
        ntp, timestamp, packets, octets = _SENDER_INFO.unpack_from(body, 4)
        return SenderReport(
            ssrc=int.from_bytes(body[:4]),
            ntp=ntp,
            timestamp=timestamp,
            packets=packets,
            octets=octets,
            reports=_parse_reports(body, 24, count),
        )
    if kind == _RR:
        _require(body, 4 + 24 * count)
        ssrc = int.from_bytes(body[:4])
        return ReceiverReport(ssrc=ssrc, reports=_parse_reports(body, 4, count))
    if kind == _SDES:
        return _parse_sdes(body, count)
    if kind == _BYE:
        return _parse_bye(body, count)
    if kind == XR:
        return parse_xr(body)
    feedback = parse_feedback(kind, count, body) if kind in (RTPFB, PSFB) else None
    return feedback or UnknownRtcp(packet_type=kind, count=count, body=body)


def _require(body: bytes, length: int) -> None:
    if len(body) < length:
        raise ProtocolError(f"{len(body)} bytes of RTCP where {length} are needed", rule=_RULE)


def _parse_reports(body: bytes, at: int, count: int) -> tuple[ReportBlock, ...]:
    reports = []
    for start in range(at, at + 24 * count, 24):
        ssrc, lost, highest, jitter, last_sr, delay = _REPORT.unpack_from(body, start)
        cumulative = lost & 0xFFFFFF
        reports.append(
            ReportBlock(
                ssrc=ssrc,
                fraction_lost=lost >> 24,
                cumulative_lost=cumulative - (1 << 24) if cumulative >> 23 else cumulative,
                highest_sequence=highest,
                jitter=jitter,
                last_sr=last_sr,
                delay_since_last_sr=delay,
            )
        )
    return tuple(reports)


def _parse_sdes(body: bytes, count: int) -> SourceDescription:
    cnames: list[tuple[int, str]] = []
    at, end = 0, len(body)
    for _ in range(count):
        _require(body, at + 8)  # an SSRC and at least the null item, padded
        ssrc = int.from_bytes(body[at : at + 4])
        at += 4
        cname = ""
        while True:
            if at >= end:
                raise ProtocolError("SDES chunk without its end", rule="RFC 3550 6.5")
            if not body[at]:
                break
            _require(body, at + 2)
            stop = at + 2 + body[at + 1]
            _require(body, stop)
            if body[at] == _CNAME and not cname:
                cname = body[at + 2 : stop].decode("utf-8", "replace")
            at = stop
        at += 4 - at % 4  # the null item reaches to the next word
        _require(body, at)
        cnames.append((ssrc, cname))
    return SourceDescription(cnames=tuple(cnames))


def _parse_bye(body: bytes, count: int) -> Bye:
    at = 4 * count
    _require(body, at)
    sources = struct.unpack_from(f"!{count}I", body)
    reason = b""
    if at < len(body):
        stop = at + 1 + body[at]
        _require(body, stop)
        reason = body[at + 1 : stop]
    return Bye(sources=sources, reason=reason.decode("utf-8", "replace"))


def _build_one(packet: RtcpPacket) -> bytes:
    match packet:
        case SenderReport():
            info = _SENDER_INFO.pack(packet.ntp, packet.timestamp, packet.packets, packet.octets)
            body = packet.ssrc.to_bytes(4) + info + _build_reports(packet.reports)
            return _framed(_SR, len(packet.reports), body)
        case ReceiverReport():
            body = packet.ssrc.to_bytes(4) + _build_reports(packet.reports)
            return _framed(_RR, len(packet.reports), body)
        case SourceDescription():
            body = b"".join(_build_chunk(ssrc, cname) for ssrc, cname in packet.cnames)
            return _framed(_SDES, len(packet.cnames), body)
        case Bye():
            body = struct.pack(f"!{len(packet.sources)}I", *packet.sources)
            if packet.reason:
                reason = packet.reason.encode()
                body += len(reason).to_bytes(1) + reason
                body += bytes(-len(body) % 4)
            return _framed(_BYE, len(packet.sources), body)
        case ExtendedReport():
            return _framed(XR, 0, build_xr(packet))
        case UnknownRtcp():
            return _framed(packet.packet_type, packet.count, packet.body)
        case _:
            return _framed(*build_feedback(packet))


def _build_reports(reports: tuple[ReportBlock, ...]) -> bytes:
    return b"".join(
        struct.pack(
            "!IB3sIIII",
            report.ssrc,
            report.fraction_lost,
            report.cumulative_lost.to_bytes(3, signed=True),
            report.highest_sequence,
            report.jitter,
            report.last_sr,
            report.delay_since_last_sr,
        )
        for report in reports
    )


def _build_chunk(ssrc: int, cname: str) -> bytes:
    text = cname.encode()
    item = bytes((_CNAME,)) + len(text).to_bytes(1) + text if text else b""
    chunk = ssrc.to_bytes(4) + item
    return chunk + bytes(4 - len(chunk) % 4)


def _framed(kind: int, count: int, body: bytes) -> bytes:
    if not 0 <= count <= _MAX_COUNT or len(body) % 4:
        raise UsageError(f"RTCP type {kind}: {count} entries in {len(body)} bytes")
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body
