"""What RTCP knows of a stream: loss, jitter, round trip, and when to report (RFC 3550 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from securecall.rtp.rtcp import (
    Bye,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceDescription,
    build_rtcp,
)
from securecall.rtp.xr import DelaySince, ExtendedReport, ReceiverTime, VoipMetrics, XrBlock

REPORT_INTERVAL: Final = 5.0
"""Seconds between reports, times 0.5 to 1.5 by chance (RFC 3550 6.2)."""

FIRST_REPORT: Final = 0.5
"""Seconds after our first packet in which its time is told, or nothing keeps step (RFC 6051 2)."""

LOSS_INTERVAL: Final = 1.0
"""Seconds after the last report from which on fresh loss is reported at once."""

MAX_SOURCES: Final = 8
"""Sources counted; packets of further ones are not."""

_MAX_DROPOUT: Final = 3000
_MAX_MISORDER: Final = 100
_NTP_EPOCH: Final = 2_208_988_800  # from 1900 to 1970
_REMEMBERED: Final = 8
_RISE: Final = 0.5
_FALL: Final = 0.2


class ReceivedSource:
    """One source we hear: sequence numbers extended, loss and jitter (RFC 3550 A.1, A.3, A.8).

    There is no probation: whoever gets here has been authenticated by SRTP.

    Attributes:
        ssrc: The source.
        received: Packets that came, late and repeated ones included.
        highest: Highest sequence number, extended by 65536 for each cycle.
        cname: Who it is, by its own word; "" before it said so.
    """

    __slots__ = (
        "_base",
        "_clock_rate",
        "_expected_prior",
        "_jitter",
        "_jumped_to",
        "_last_sr",
        "_last_sr_at",
        "_received_prior",
        "_transit",
        "_wall",
        "cname",
        "highest",
        "received",
        "ssrc",
    )

    def __init__(self, ssrc: int, clock_rate: int, sequence: int) -> None:
        """Begin with the first packet's sequence number; `receive` it afterwards."""
        self.ssrc = ssrc
        self._clock_rate = clock_rate
        self._jitter = 0.0
        self._transit: int | None = None
        self._last_sr = 0
        self._last_sr_at = 0.0
        self._wall: tuple[float, int] | None = None
        self.cname = ""
        self._jumped_to: int | None = None
        self._base = self.highest = sequence
        self.received = self._expected_prior = self._received_prior = 0

    def receive(self, sequence: int, timestamp: int, *, now: float) -> None:
        """Count a packet."""
        ahead = sequence - self.highest & 0xFFFF
        if ahead < _MAX_DROPOUT:
            self.highest += ahead
        elif ahead <= 0x10000 - _MAX_MISORDER:
            # Too far to be order or loss: believed once the packet after it follows.
            if sequence != self._jumped_to:
                self._jumped_to = sequence + 1 & 0xFFFF
                return
            self._restart(sequence)
        self.received += 1
        transit = int(now * self._clock_rate) - timestamp & 0xFFFFFFFF
        if self._transit is not None:
            difference = transit - self._transit & 0xFFFFFFFF
            if difference > 0x7FFFFFFF:
                difference = 0x100000000 - difference
            self._jitter += (difference - self._jitter) / 16
        self._transit = transit

    def receive_report(self, ntp: int, timestamp: int, *, now: float) -> None:
        """Note when a sender report came, for the round trip, and what time it tells."""
        self._last_sr, self._last_sr_at = ntp >> 16 & 0xFFFFFFFF, now
        self._wall = ntp / 2**32, timestamp

    def wall(self, timestamp: int) -> float | None:
        """Seconds on the sender's clock at which this was captured; None before it told any."""
        if self._wall is None:
            return None
        seconds, then = self._wall
        elapsed = (timestamp - then + 0x80000000 & 0xFFFFFFFF) - 0x80000000
        return seconds + elapsed / self._clock_rate

    @property
    def expected(self) -> int:
        """Packets sent, as far as sequence numbers tell."""
        return self.highest - self._base + 1

    @property
    def lost(self) -> int:
        """Packets lost since the beginning; negative where some came twice."""
        return self.expected - self.received

    @property
    def jitter(self) -> float:
        """Interarrival jitter in seconds."""
        return self._jitter / self._clock_rate

    @property
    def has_fresh_loss(self) -> bool:
        """Whether packets are missing that no report has told of."""
        return self.expected - self._expected_prior > self.received - self._received_prior

    def report(self, *, now: float) -> ReportBlock:
        """Return what to tell the source, and begin its next interval."""
        expected = self.expected - self._expected_prior
        lost = expected - (self.received - self._received_prior)
        self._expected_prior, self._received_prior = self.expected, self.received
        delay = int((now - self._last_sr_at) * 65536) if self._last_sr else 0
        return ReportBlock(
            ssrc=self.ssrc,
            fraction_lost=min(255, lost * 256 // expected) if lost > 0 else 0,
            cumulative_lost=max(-0x800000, min(0x7FFFFF, self.lost)),
            highest_sequence=self.highest & 0xFFFFFFFF,
            jitter=min(0xFFFFFFFF, int(self._jitter)),
            last_sr=self._last_sr,
            delay_since_last_sr=min(0xFFFFFFFF, delay),
        )

    def _restart(self, sequence: int) -> None:
        self._base = self.highest = sequence
        self.received = self._expected_prior = self._received_prior = 0
        self._jumped_to = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLeft:
    """The peer said BYE for a source we hear.

    Attributes:
        ssrc: The source.
        reason: What it gave as a reason; text of the peer's.
    """

    ssrc: int
    reason: str


class RtcpSession:
    """The RTCP side of one m-line: one stream of ours, and those of the peer.

    The caller counts packets in (`sent`, `received`), hands in what RTCP came, and asks `poll` when
    `deadline` has passed.

    Attributes:
        ssrc: Ours.
        deadline: When `poll` next has something to send, in monotonic seconds.
        round_trip: Seconds to the peer and back; None before the first answer.
        reported: What the peer said last of what it hears of us; None before it did.
        peer_metrics: How we sound to the peer, by its own word; None before it said so.
        packets_sent: RTP packets of ours.
        octets_sent: Bytes of payload in them.
    """

    __slots__ = (
        "_clock_rate",
        "_cname",
        "_last_report",
        "_last_sent_at",
        "_last_timestamp",
        "_loss",
        "_packets_at_report",
        "_sources",
        "_sr_times",
        "_times_heard",
        "deadline",
        "octets_sent",
        "packets_sent",
        "peer_metrics",
        "reported",
        "round_trip",
        "ssrc",
    )

    def __init__(
        self, *, ssrc: int, cname: str, clock_rate: int, now: float, chance: float
    ) -> None:
        """Begin.

        Args:
            ssrc: Ours, random, 32 bits.
            cname: Ours, random for each call: it would link calls otherwise (RFC 7022).
            clock_rate: Timestamp units in a second.
            now: Monotonic seconds.
            chance: Random, 0 to 1: when the first report is due.
        """
        self.ssrc = ssrc
        self.packets_sent = 0
        self.octets_sent = 0
        self.round_trip: float | None = None
        self.reported: ReportBlock | None = None
        self.deadline = now + REPORT_INTERVAL / 2 * (0.5 + chance)
        self._cname = cname
        self._clock_rate = clock_rate
        self._sources: dict[int, ReceivedSource] = {}
        self._last_report = now
        self._last_timestamp = 0
        self._last_sent_at = now
        self._packets_at_report = 0
        self._loss = 0.0
        self._sr_times: dict[int, float] = {}
        self._times_heard: dict[int, tuple[int, float]] = {}  # of receivers, to be answered
        self.peer_metrics: VoipMetrics | None = None

    def sent(self, timestamp: int, octets: int, *, now: float) -> None:
        """Count an RTP packet of ours.

        Args:
            timestamp: Its own.
            octets: Its payload's.
            now: Monotonic seconds at which what it carries was captured; what a picture then waits
                for its encoder and its turn must not count, or it keeps no step with the sound.
        """
        if not self.packets_sent:
            self.deadline = min(self.deadline, now + FIRST_REPORT)
        self.packets_sent += 1
        self.octets_sent += octets
        self._last_timestamp, self._last_sent_at = timestamp, now

    def received(self, ssrc: int, sequence: int, timestamp: int, *, now: float) -> None:
        """Count an RTP packet of the peer, after SRTP accepted it."""
        source = self._sources.get(ssrc)
        if source is None:
            if len(self._sources) >= MAX_SOURCES or ssrc == self.ssrc:
                return
            source = self._sources[ssrc] = ReceivedSource(ssrc, self._clock_rate, sequence)
        following = source.highest + 1
        source.receive(sequence, timestamp, now=now)
        # A packet in its order makes no new loss.
        if source.highest != following and source.has_fresh_loss and now < self.deadline:
            self.deadline = max(now, min(self.deadline, self._last_report + LOSS_INTERVAL))

    def receive_rtcp(self, packets: tuple[RtcpPacket, ...], *, now: float) -> tuple[PeerLeft, ...]:
        """Learn from the peer's reports; return which of its sources left."""
        left: list[PeerLeft] = []
        for packet in packets:
            self._learn_source(packet, now=now)
            if isinstance(packet, SenderReport | ReceiverReport):
                for block in packet.reports:
                    if block.ssrc == self.ssrc:
                        self._learn(block, now=now)
            elif isinstance(packet, ExtendedReport):
                self._learn_extended(packet, now=now)
            elif isinstance(packet, Bye):
                left += [
                    PeerLeft(ssrc=ssrc, reason=packet.reason)
                    for ssrc in packet.sources
                    if self._sources.pop(ssrc, None) is not None
                ]
        return tuple(left)

    def poll(
        self,
        *,
        now: float,
        unix: float,
        chance: float,
        extended: tuple[XrBlock, ...] = (),
        times: bool = False,
    ) -> bytes | None:
        """Return a compound to protect and send, or None before `deadline`.

        Args:
            now: Monotonic seconds.
            unix: Wall time, seconds since 1970.
            chance: Random, 0 to 1; spreads the next report.
            extended: Blocks of an extended report (RFC 3611) beside it.
            times: The peer takes what tells receivers the round trip (RFC 3611 4.4, 4.5).
        """
        if now < self.deadline:
            return None
        self._last_report = now
        self.deadline = now + REPORT_INTERVAL * (0.5 + chance)
        report = self._report(now=now, unix=unix)
        if times:
            silent = isinstance(report[0], ReceiverReport)
            extended = (*extended, *self._times(now=now, unix=unix, silent=silent))
        if not extended:
            return build_rtcp(report)
        return build_rtcp((*report, ExtendedReport(ssrc=self.ssrc, blocks=extended)))

    def goodbye(self, *, now: float, unix: float, reason: str = "") -> bytes:
        """Return the compound that ends our stream."""
        return build_rtcp(
            (*self._report(now=now, unix=unix), Bye(sources=(self.ssrc,), reason=reason))
        )

    def expected_loss(self) -> float:
        """Return the share of our packets the peer will miss, 0 to 1, smoothed.

        Rises fast and falls slowly: redundancy that comes late helps nobody.
        """
        return self._loss

    @property
    def sources(self) -> tuple[ReceivedSource, ...]:
        """The peer's sources."""
        return tuple(self._sources.values())

    def _learn_source(self, packet: RtcpPacket, *, now: float) -> None:
        """What a source says of itself: its time, and who it is."""
        if isinstance(packet, SenderReport):
            source = self._sources.get(packet.ssrc)
            if source is not None:
                source.receive_report(packet.ntp, packet.timestamp, now=now)
        elif isinstance(packet, SourceDescription):
            for ssrc, cname in packet.cnames:
                if ssrc in self._sources:
                    self._sources[ssrc].cname = cname

    def _learn(self, block: ReportBlock, *, now: float) -> None:
        self.reported = block
        loss = block.fraction_lost / 256
        self._loss += (loss - self._loss) * (_RISE if loss > self._loss else _FALL)
        sent_at = self._sr_times.get(block.last_sr)
        if sent_at is not None:
            # By our own monotonic clock: wall time may jump, and LSR is the peer's word.
            round_trip = now - sent_at - block.delay_since_last_sr / 65536
            if round_trip >= 0:
                self.round_trip = round_trip

    def _learn_extended(self, report: ExtendedReport, *, now: float) -> None:
        for block in report.blocks:
            match block:
                case ReceiverTime(ntp=ntp):
                    if len(self._times_heard) < MAX_SOURCES or report.ssrc in self._times_heard:
                        self._times_heard[report.ssrc] = ntp >> 16 & 0xFFFFFFFF, now
                case DelaySince(ssrc=ssrc, last=last, delay=delay):
                    sent_at = self._sr_times.get(last)
                    if ssrc == self.ssrc and sent_at is not None:
                        self.round_trip = max(0.0, now - sent_at - delay / 65536)
                case VoipMetrics(ssrc=ssrc):
                    if ssrc == self.ssrc:
                        self.peer_metrics = block

    def _times(self, *, now: float, unix: float, silent: bool) -> tuple[XrBlock, ...]:
        """Our time, if no sender report has it, and answers to the times we heard."""
        answers = [
            DelaySince(ssrc, last, min(0xFFFFFFFF, int((now - heard_at) * 65536)))
            for ssrc, (last, heard_at) in self._times_heard.items()
        ]
        self._times_heard.clear()
        return (*((ReceiverTime(self._remember(now, unix)),) if silent else ()), *answers)

    def _remember(self, now: float, unix: float) -> int:
        """Note when this time is sent, and return it as NTP writes it."""
        ntp = int((unix + _NTP_EPOCH) * 2**32) & (2**64 - 1)
        self._sr_times[ntp >> 16 & 0xFFFFFFFF] = now
        if len(self._sr_times) > _REMEMBERED:
            del self._sr_times[next(iter(self._sr_times))]
        return ntp

    def _report(self, *, now: float, unix: float) -> tuple[RtcpPacket, ...]:
        reports = tuple(source.report(now=now) for source in self._sources.values())
        description = SourceDescription(cnames=((self.ssrc, self._cname),))
        if self.packets_sent == self._packets_at_report:
            return ReceiverReport(ssrc=self.ssrc, reports=reports), description
        self._packets_at_report = self.packets_sent
        ntp = self._remember(now, unix)
        elapsed = int((now - self._last_sent_at) * self._clock_rate)
        report = SenderReport(
            ssrc=self.ssrc,
            ntp=ntp,
            timestamp=self._last_timestamp + elapsed & 0xFFFFFFFF,
            packets=self.packets_sent & 0xFFFFFFFF,
            octets=self.octets_sent & 0xFFFFFFFF,
            reports=reports,
        )
        return report, description
