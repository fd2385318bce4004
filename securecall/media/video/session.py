"""The pictures of one call: sealed and sent, opened and shown, beside the sound on one association.

Everything happens on the event loop's thread, but for encoders and decoders, which have threads of
their own. Pictures pass only while the gate is OPEN: to compare words, people hear each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from securecall.errors import ProtocolError
from securecall.logs import logger
from securecall.media.clock import Clock
from securecall.media.description import Direction, Gate
from securecall.media.synchrony import HeardAt
from securecall.media.video.endpoints import VideoSink, VideoSource
from securecall.media.video.line import Departure, VideoLine, VideoTerms, compound
from securecall.media.video.statistics import VideoStatistics
from securecall.rtp.arrivals import ArrivalLog
from securecall.rtp.congestion import BandwidthEstimator
from securecall.rtp.extensions import (
    build_extensions,
    parse_extensions,
    parse_transport_sequence,
    with_extensions,
)
from securecall.rtp.feedback import MaximumBitrate, TransportFeedback
from securecall.rtp.pacer import MULTIPLIER, Pacer
from securecall.rtp.packet import HEADER_LENGTH, split_rtp
from securecall.rtp.rtcp import RtcpPacket
from securecall.rtp.sframe import SframeError, SframeReceiver, SframeSender
from securecall.rtp.srtp import SrtpError, SrtpSession

log = logger(__name__)

OVERHEAD: Final = 90
"""Bytes around a payload: IP, UDP, RTP with its extension, SFrame, SRTP."""

WITHOUT_ESTIMATE: Final = 600_000
"""Bit/s where the peer tells nothing of arrivals."""

LEAST: Final = 40_000
"""Bit/s that an encoder is asked for at least."""


class VideoSession:
    """All pictures of one call.

    Attributes:
        cname: Ours, random for each call.
        heard: Tells when what the peer captured at a time of its clock is heard.
        estimator: How much the path takes, as far as the peer tells.
    """

    def __init__(
        self,
        clock: Clock,
        send: Callable[[bytes], object],
        srtp: SrtpSession,
        *,
        cname: str,
        seal: Callable[[str], SframeSender | None],
        opener: SframeReceiver | None,
        failed: Callable[[Exception], None],
        heard: HeardAt = lambda _wall, _cname: None,
    ) -> None:
        """Prepare; nothing moves before the gate is open and pictures were agreed on.

        Args:
            clock: What drives them.
            send: Puts a datagram on the path.
            srtp: The keys of the path, both ways; shared with the sound.
            cname: Ours.
            seal: The end-to-end layer for a camera ("") or a screen ("slides"): the same object for
                the same name throughout the call, for its counter must never begin again.
            opener: That of the peer, None where there is none.
            failed: Told what a source, a sink or a codec raised; the call goes on without it.
            heard: Tells when the sound is heard that was captured with a picture.
        """
        self.cname = cname
        self.heard = heard
        self.estimator = BandwidthEstimator()
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._pacer: Pacer[Departure] = Pacer(self.estimator.target)
        self._timer: asyncio.TimerHandle | None = None
        self._arrivals: ArrivalLog | None = None
        self._useful = 0.9  # share of what leaves that an encoder made
        self._ceiling = float("inf")  # what the peer said it takes at most
        self._send, self._srtp = send, srtp
        self._seal, self._opener = seal, opener
        self._failed = failed
        self._lines: dict[str, VideoLine] = {}  # by mid
        self._after: dict[int, tuple[int, int]] = {}  # by SSRC, where pictures that went ended
        self._sources: dict[str, VideoSource] = {}
        self._sinks: dict[str, tuple[VideoSink, ...]] = {}
        self._gate = Gate.CLOSED
        self._numbers: frozenset[int] = frozenset()
        self._running = False

    # -- what was agreed --------------------------------------------------------------------------

    def agree(self, terms: dict[str, tuple[VideoTerms, Direction]]) -> None:
        """Have these pictures, by mid, and no other.

        Raises:
            Unsupported: a codec is not available here.
        """
        for mid in [m for m in self._lines if m not in terms]:
            line = self._lines.pop(mid)
            self._goodbye(line)
            line.stop()
            self._after[line.terms.ssrc] = line.numbers
        for mid, (wanted, direction) in terms.items():
            if self._opener is not None and wanted.parameter_sets:
                # nothing reaches a decoder that is not sealed as the picture is
                wanted = replace(wanted, parameter_sets=())
            if mid not in self._lines:
                seal, after = self._seal(wanted.name), self._after.get(wanted.ssrc)
                self._lines[mid] = VideoLine(self, wanted, seal, after=after)
                self._lines[mid].receiver.sinks = self._sinks.get(wanted.name, ())
            line = self._lines[mid]
            line.expect(wanted)
            shows = direction in (Direction.SENDRECV, Direction.RECVONLY)
            if line.shows and not shows:
                line.receiver.flush()  # what came already is not shown later
            line.shows = shows
            line.sends = direction in (Direction.SENDRECV, Direction.SENDONLY)
            line.sender.source = self._sources.get(wanted.name) if line.sends else None
        self._numbers = frozenset(
            number
            for line in self._lines.values()
            for number in (*line.terms.receive, *line.terms.receive_rtx)
        )
        self._run(on=bool(self._lines))
        self._share()

    def _run(self, *, on: bool) -> None:
        if on and not self._running:
            self._clock.add(self, self.fail)
        elif self._running and not on:
            self._clock.remove(self)
        self._running = on

    # -- sources and sinks ------------------------------------------------------------------------

    def show(self, source: VideoSource | None, name: str = "") -> None:
        """Send these pictures from now on, or black once and then nothing."""
        if source is None:
            _ = self._sources.pop(name, None)
        else:
            self._sources[name] = source
        for line in self._lines.values():
            if line.terms.name == name and line.sends:
                line.sender.source = source

    def add_sink(self, sink: VideoSink, name: str = "") -> None:
        """Give the peer's pictures to a sink, too."""
        self._set_sinks(name, (*self._sinks.get(name, ()), sink))

    def remove_sink(self, sink: VideoSink) -> None:
        """Give it nothing more; nothing happens if it is not one."""
        for name, sinks in tuple(self._sinks.items()):
            self._set_sinks(name, tuple(s for s in sinks if s is not sink))

    def _set_sinks(self, name: str, sinks: tuple[VideoSink, ...]) -> None:
        self._sinks[name] = sinks
        for line in self._lines.values():
            if line.terms.name == name:
                first = sinks and not line.receiver.sinks
                line.receiver.sinks = sinks
                if first:  # what came so far was not decoded
                    line.receiver.flush()
                    line.ask_keyframe()

    # -- the gate ---------------------------------------------------------------------------------

    @property
    def gate(self) -> Gate:
        """Whether pictures may pass; only OPEN lets them."""
        return self._gate

    @gate.setter
    def gate(self, gate: Gate) -> None:
        if (gate is Gate.OPEN) is not self.is_open:
            self._pacer.clear()
            for line in self._lines.values():
                line.stop()  # nothing of one verdict is sent or shown under another
        self._gate = gate

    @property
    def is_open(self) -> bool:
        """Whether pictures pass."""
        return self._gate is Gate.OPEN

    @property
    def resumes_at(self) -> float:
        """When pictures are sent again, while a queue on the path is to empty."""
        return self.estimator.drained_at

    # -- packets ----------------------------------------------------------------------------------

    def takes(self, datagram: bytes) -> bool:
        """Whether this is a packet of a picture: by its payload type, and by its source.

        For linphone numbers the formats of sound and pictures alike, against RFC 9143 9.1. What a
        peer that names its sources sends from another is no picture.
        """
        if len(datagram) < HEADER_LENGTH or (number := datagram[1] & 0x7F) not in self._numbers:
            return False
        return self._line_of(number, int.from_bytes(datagram[8:12])) is not None

    def receive(self, datagram: bytes) -> None:
        """Take such a packet; never raises for it."""
        try:
            packet = self._srtp.unprotect(datagram)
            second, sequence, timestamp, ssrc, payload = split_rtp(packet)
            line = self._line_of(second & 0x7F, ssrc)
            if line is None:
                return
            if line.terms.transport_cc and packet[0] & 0x10:
                late = line.lateness(second & 0x7F, timestamp)
                self._arrived(packet, line, ssrc, late)
        except (SrtpError, ProtocolError):
            return  # the first is counted by SRTP
        line.packets_received += 1
        line.bytes_received += len(datagram)
        line.receive(second, sequence, timestamp, ssrc, payload)

    def _arrived(self, packet: bytes, line: VideoLine, ssrc: int, lateness: float) -> None:
        number = parse_extensions(packet).get(line.terms.transport_cc)
        if number is None or not self.is_open:
            return
        if self._arrivals is None:
            self._arrivals = ArrivalLog(sender_ssrc=line.terms.ssrc, media_ssrc=ssrc)
        self._arrivals.receive(parse_transport_sequence(number), now=self.now(), lateness=lateness)

    def _line_of(self, number: int, ssrc: int) -> VideoLine | None:
        """By the source that the peer named; where it named none, by payload type (RFC 8843)."""
        fallback = None
        for line in self._lines.values():
            terms = line.terms
            if number not in terms.receive and number not in terms.receive_rtx:
                continue
            if ssrc in terms.peer_ssrcs:
                return line
            if not terms.peer_ssrcs and fallback is None:
                fallback = line
        return fallback

    def hear(self, packets: tuple[RtcpPacket, ...]) -> None:
        """Take what came in RTCP, opened."""
        if not self.is_open:
            return
        now = self.now()
        for packet in packets:
            match packet:
                case TransportFeedback():
                    _ = self.estimator.receive(packet, now=now)
                    self._share()
                case MaximumBitrate(bitrate=bitrate):
                    self._ceiling = float(bitrate)
                    self._share()
                case _:
                    pass
        for line in self._lines.values():
            round_trip = line.rtcp.round_trip or self.estimator.round_trip
            line.hear(packets, now=now, round_trip=round_trip)

    def _share(self) -> None:
        """Split what the path takes between the pictures."""
        lines = [line for line in self._lines.values() if line.sends]
        told = any(line.terms.transport_cc for line in lines)
        target = min(self.estimator.target if told else WITHOUT_ESTIMATE, self._ceiling)
        self._pacer.bitrate = round(target)
        self._pacer.multiplier = 1.0 if told and self.estimator.congested else MULTIPLIER
        for line in lines:
            line.sender.set_bitrate(max(LEAST, round(self._useful * target / len(lines))))

    def open(self, payload: bytes, metadata: bytes) -> bytes | None:
        """Open the end-to-end layer; None for what does not (counted there)."""
        if self._opener is None:
            return payload
        try:
            return self._opener.open_rtp(payload, metadata)
        except SframeError:
            return None

    def queue(self, packets: list[Departure], *, keyframe: bool) -> None:
        """Have the packets of a picture leave, each in its time."""
        if not self.is_open:
            return
        sized = [(packet, len(packet.payload) + OVERHEAD) for packet in packets]
        octets = sum(size for _, size in sized)
        self._useful += (1 - len(sized) * OVERHEAD / octets - self._useful) / 30
        if self._pacer.push_frame(sized, keyframe=keyframe) and not keyframe:
            packets[0].line.sender.keyframe()
        self._drain()

    def queue_again(self, packet: Departure) -> None:
        """Have a packet leave again, before any picture."""
        self._pacer.push_resent(packet, len(packet.payload) + OVERHEAD)
        self._drain()

    def forget_resent(self, line: VideoLine) -> None:
        """Send nothing again that waits for that: the peer has given it up."""
        self._pacer.forget_resent(lambda waiting: waiting.line is line)

    def _drain(self) -> None:
        """Send what is due, and come back for the rest."""
        now = self.now()
        resumes_at = self.resumes_at
        for waiting in self._pacer.pull(now=now) if now >= resumes_at else ():
            line = waiting.line
            if not (self.is_open and line.sends and self._lines.get(line.terms.mid) is line):
                continue
            packet = line.depart(waiting, now=now)
            elements: dict[int, bytes] = {}
            if line.terms.mid_extension:
                elements[line.terms.mid_extension] = line.terms.mid.encode()
            if line.terms.transport_cc:
                number = self.estimator.sent(len(packet) + OVERHEAD - HEADER_LENGTH, now=now)
                elements[line.terms.transport_cc] = number.to_bytes(2)
            if elements:
                header = with_extensions(packet[:HEADER_LENGTH], build_extensions(elements))
                packet = header + packet[HEADER_LENGTH:]
            datagram = self._srtp.protect(packet)
            self._send(datagram)
            line.departed(len(datagram))
        deadline = max(self._pacer.deadline, resumes_at)
        if self._timer is None and deadline != float("inf"):
            self._timer = self._loop.call_at(deadline, self._due)

    def _due(self) -> None:
        self._timer = None
        self._drain()

    def transmit_rtcp(self, compound: bytes) -> None:
        """Protect and send, while pictures pass."""
        if self.is_open:
            self._send(self._srtp.protect_rtcp(compound))

    # -- time -------------------------------------------------------------------------------------

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.now()

    def unix(self) -> float:
        """Seconds since 1970, the same clock for all streams of the call."""
        return self._clock.unix()

    def tick(self, now: float) -> None:
        """Fetch what is due and ask for what is missing; called by the clock."""
        if not self.is_open:
            return
        for line in self._lines.values():
            line.tick(now)
        arrivals = self._arrivals
        if arrivals is not None and now >= arrivals.deadline:
            for feedback in arrivals.poll(now=now):
                self.transmit_rtcp(compound(feedback.sender_ssrc, self.cname, feedback))

    def skip(self, ticks: int) -> None:
        """Let time pass: pictures carry their own."""

    def fail(self, error: Exception) -> None:
        """Pass on what failed; the call goes on."""
        log.warning("a part of a picture failed: %s", type(error).__name__)
        self._failed(error)

    def statistics(self) -> tuple[VideoStatistics, ...]:
        """What happened so far, for each picture there is."""
        return tuple(line.statistics() for line in self._lines.values())

    def _goodbye(self, line: VideoLine) -> None:
        if self.is_open:
            self.transmit_rtcp(line.rtcp.goodbye(now=self.now(), unix=self._clock.unix()))

    def close(self) -> None:
        """Say goodbye, stop, let go; safe to call again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pacer.clear()
        for line in self._lines.values():
            self._goodbye(line)
            line.stop()
        self._gate = Gate.CLOSED
        self._lines.clear()
        self._numbers = frozenset()
        self._run(on=False)
        self._sources.clear()
        self._sinks.clear()
