"""Extended reports of RTCP (RFC 3611): times of receivers, and what a call sounds like."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from securecall.errors import ProtocolError

PACKET_TYPE: Final = 207
UNKNOWN: Final = 127
"""In place of a number of `VoipMetrics` that is not told: levels of sound are nobody's business."""

GMIN: Final = 16
"""Packets received in a row that end a burst of losses (4.7.2)."""

_RULE: Final = "RFC 3611 3"
_TIME, _DELAYS, _METRICS = 4, 5, 7
_VOIP: Final = struct.Struct("!I4B4H4B4BBBHHH")


@dataclass(frozen=True, slots=True)
class ReceiverTime:
    """When the report was sent (4.4), NTP format, so that whoever sends nothing learns its way."""

    ntp: int


@dataclass(frozen=True, slots=True)
class DelaySince:
    """The answer to a `ReceiverTime` (4.5).

    Attributes:
        ssrc: Whose time it was.
        last: The middle 32 bits of it.
        delay: In 1/65536 seconds.
    """

    ssrc: int
    last: int
    delay: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VoipMetrics:
    """How one source sounds where it is heard (4.7); times in milliseconds, shares in 1/256.

    Attributes:
        ssrc: The source.
        loss, discard: Shares lost on the way, and that came too late.
        burst_density, gap_density: Shares missed within bursts, and between them.
        burst_ms, gap_ms: Mean lengths of both.
        round_trip_ms, end_system_ms: Delays of the way, and of this end.
        r_factor: 0 to 93, or UNKNOWN.
        mos_lq, mos_cq: Mean opinion scores times 10, 10 to 50, or UNKNOWN; without and with delay.
        buffer_ms, buffer_max_ms: What the jitter buffer aims at, and would at most.
    """

    ssrc: int
    loss: int = 0
    discard: int = 0
    burst_density: int = 0
    gap_density: int = 0
    burst_ms: int = 0
    gap_ms: int = 0
    round_trip_ms: int = 0
    end_system_ms: int = 0
    r_factor: int = UNKNOWN
    mos_lq: int = UNKNOWN
    mos_cq: int = UNKNOWN
    buffer_ms: int = 0
    buffer_max_ms: int = 0


XrBlock = ReceiverTime | DelaySince | VoipMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendedReport:
    """One packet of type 207; blocks we do not know are left out.

    Attributes:
        ssrc: Who reports.
        blocks: In order.
    """

    ssrc: int
    blocks: tuple[XrBlock, ...]


def parse_xr(body: bytes) -> ExtendedReport:
    """Read what follows the first four bytes of the packet, without padding.

    Raises:
        ProtocolError: a length does not fit.
    """
    if len(body) < 4:
        raise ProtocolError("an extended report without its source", rule=_RULE)
    blocks: list[XrBlock] = []
    at = 4
    while at < len(body):
        if at + 4 > len(body):
            raise ProtocolError("half a header in an extended report", rule=_RULE)
        kind, length = body[at], 4 * int.from_bytes(body[at + 2 : at + 4])
        data = body[at + 4 : at + 4 + length]
        at += 4 + length
        if at > len(body):
            raise ProtocolError("a block goes beyond its extended report", rule=_RULE)
        blocks += _parse_block(kind, data)
    return ExtendedReport(ssrc=int.from_bytes(body[:4]), blocks=tuple(blocks))


def _parse_block(kind: int, data: bytes) -> list[XrBlock]:
    sizes = {_TIME: 8, _METRICS: _VOIP.size}
    if kind in sizes and len(data) != sizes[kind]:
        raise ProtocolError(f"a block {kind} of {len(data)} bytes", rule="RFC 3611 4")
    if kind == _TIME:
        return [ReceiverTime(int.from_bytes(data))]
    if kind == _DELAYS:
        if len(data) % 12:
            raise ProtocolError("half an answer in an extended report", rule="RFC 3611 4.5")
        return [DelaySince(*struct.unpack_from("!III", data, n)) for n in range(0, len(data), 12)]
    if kind != _METRICS:
        return []
    v = _VOIP.unpack(data)
    return [
        VoipMetrics(
            ssrc=v[0],
            loss=v[1],
            discard=v[2],
            burst_density=v[3],
            gap_density=v[4],
            burst_ms=v[5],
            gap_ms=v[6],
            round_trip_ms=v[7],
            end_system_ms=v[8],
            r_factor=v[13],
            mos_lq=v[15],
            mos_cq=v[16],
            buffer_ms=v[19],
            buffer_max_ms=v[20],
        )
    ]


def build_xr(report: ExtendedReport) -> bytes:
    """Return what `parse_xr` reads; struct.error or OverflowError where a number is too large."""
    return report.ssrc.to_bytes(4) + b"".join(_build_block(block) for block in report.blocks)


def _build_block(block: XrBlock) -> bytes:
    if isinstance(block, ReceiverTime):
        kind, data = _TIME, block.ntp.to_bytes(8)
    elif isinstance(block, DelaySince):
        kind, data = _DELAYS, struct.pack("!III", block.ssrc, block.last, block.delay)
    else:
        kind, data = _METRICS, _build_metrics(block)
    return struct.pack("!BBH", kind, 0, len(data) // 4) + data


def _build_metrics(m: VoipMetrics) -> bytes:
    levels = (UNKNOWN, UNKNOWN, UNKNOWN, GMIN)  # of signal, noise and echo: not told
    adaptive = 0xB0  # enhanced concealment, an adaptive buffer (4.7.7)
    return _VOIP.pack(
        m.ssrc,
        m.loss,
        m.discard,
        m.burst_density,
        m.gap_density,
        m.burst_ms,
        m.gap_ms,
        m.round_trip_ms,
        m.end_system_ms,
        *levels,
        m.r_factor,
        UNKNOWN,
        m.mos_lq,
        m.mos_cq,
        adaptive,
        0,
        m.buffer_ms,
        m.buffer_max_ms,
        m.buffer_max_ms,
    )


class BurstMeter:
    """Tells bursts of losses from gaps between them, packet by packet (appendix A.2).

    Attributes:
        missed: Packets lost or too late.
        count: All packets.
    """

    __slots__ = ("_c11", "_c13", "_c14", "_c22", "_c23", "_c33", "_lost", "_run", "count", "missed")

    def __init__(self) -> None:
        """Begin with nothing."""
        self.count = self.missed = 0
        self._run = self._lost = 0
        self._c11 = self._c13 = self._c14 = self._c22 = self._c23 = self._c33 = 0

    def take(self, *, missed: bool) -> None:
        """Take a packet whose turn has come."""
        self.count += 1
        if not missed:
            self._run += 1
            return
        self.missed += 1
        if self._run >= GMIN:
            if self._lost == 1:
                self._c14 += 1
            else:
                self._c13 += 1
            self._lost = 1
            self._c11 += self._run
        else:
            self._lost += 1
            if self._run == 0:
                self._c33 += 1
            else:
                self._c23 += 1
                self._c22 += self._run - 1
        self._run = 0

    def densities(self) -> tuple[int, int]:
        """Shares missed in bursts and in gaps, in 1/256."""
        c31 = self._c13
        p32 = self._c23 / (c31 + self._c23 + self._c33) if self._c23 else 0.0
        p23 = 1 - self._c22 / (self._c22 + self._c23) if self._c22 + self._c23 else 1.0
        burst = 256 * p23 / (p23 + p32) if self.missed else 0.0
        between = self._c11 + self._c14
        return min(255, int(burst)), min(255, int(256 * self._c14 / between)) if between else 0

    def lengths_ms(self, packet_ms: float) -> tuple[int, int]:
        """Mean lengths of bursts and of gaps; no burst, and one gap so far, without a loss."""
        if not self._c13:
            return 0, min(0xFFFF, round(self.count * packet_ms))
        gap = (self._c11 + self._c14 + self._c13) * packet_ms / self._c13
        everything = self._c11 + self._c14 + 2 * self._c13 + self._c22 + 2 * self._c23 + self._c33
        burst = everything * packet_ms / self._c13 - gap
        return min(0xFFFF, round(burst)), min(0xFFFF, round(gap))
