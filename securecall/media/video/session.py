"""The pictures of one call: sealed and sent, opened and shown, beside the sound on one association.

Everything happens on the event loop's thread, but for encoders and decoders, which have threads of
their own. Pictures pass only while the gate is OPEN: while words are compared people hear each other.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from securecall.errors import ProtocolError
from securecall.logs import logger
from securecall.media.clock import Clock
from securecall.media.description import Codec, Direction, Gate
from securecall.media.video.endpoints import VideoSink, VideoSource
from securecall.media.video.payloads import packetiser
from securecall.media.video.receiving import VideoReceiver
from securecall.media.video.sending import CLOCK, Outgoing, VideoSender
from securecall.media.video.statistics import VideoStatistics
from securecall.rtp.feedback import FullIntraRequest, GenericNack, PictureLoss
from securecall.rtp.packet import rtp_header, split_rtp
from securecall.rtp.rtcp import ReceiverReport, RtcpPacket, SourceDescription, build_rtcp
from securecall.rtp.rtx import restore_rtx
from securecall.rtp.sframe import SframeError, SframeReceiver, SframeSender, rtp_metadata
from securecall.rtp.srtp import FIRST_SEQUENCES, SrtpError, SrtpSession
from securecall.rtp.stream import RtcpSession

log = logger(__name__)

KEYFRAME_AGAIN: Final = 0.2  # seconds in which a keyframe is asked for once


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoTerms:
    """What was agreed for one picture; see `calls.video_lines.VideoAgreement`.

    Attributes:
        name: "" for a camera, "slides" for a screen.
        mid: Of the m-line, both ways.
        codec: What we send, with the peer's payload type.
        rtx: The peer's payload type for what is sent again, None for none.
        receive: What may come, by our payload type.
        receive_rtx: Of what comes again, by our payload type: that of what it was.
        ssrc, rtx_ssrc: Ours.
        peer_ssrcs: The peer's, as far as it said; empty where it did not.
        nack, pli, fir: What the peer understands in RTCP.
    """

    name: str
    mid: str
    codec: Codec
    rtx: int | None
    receive: dict[int, Codec]
    receive_rtx: dict[int, int]
    ssrc: int
    rtx_ssrc: int
    peer_ssrcs: frozenset[int]
    nack: bool
    pli: bool
    fir: bool


class _Line:
    """One picture, both ways."""

    def __init__(
        self, session: VideoSession, terms: VideoTerms, seal: SframeSender | None
    ) -> None:
        self.terms = terms
        self.session = session
        self.sends = self.shows = True
        metadata = rtp_metadata(terms.codec.payload_type, terms.mid)
        self.opened_by = {
            number: rtp_metadata(number, terms.mid) for number in terms.receive
        }
        now = session.clock.now()
        self.rtcp = RtcpSession(
            ssrc=terms.ssrc,
            cname=session.cname,
            clock_rate=CLOCK,
            now=now,
            chance=secrets.randbits(16) / 65536,
        )
        self.sender = VideoSender(
            terms.codec,
            packetiser(terms.codec.name, chance=secrets.randbits(32)),
            rtx=terms.rtx,
            ssrc=terms.ssrc,
            rtx_ssrc=terms.rtx_ssrc,
            sequence=secrets.randbelow(FIRST_SEQUENCES),
            rtx_sequence=secrets.randbelow(FIRST_SEQUENCES),
            timestamp=secrets.randbits(31),
            seal=_unsealed if seal is None else lambda p: seal.seal_rtp(p, metadata),
            send=self._send,
            failed=session.fail,
        )
        self.receiver = VideoReceiver(
            nack=terms.nack and bool(terms.receive_rtx),
            resend=self._resend,
            need_keyframe=self.ask_keyframe,
            failed=session.fail,
        )
        self.source: VideoSource | None = None
        self.peer_ssrc: int | None = None
        self.packets_sent = self.bytes_sent = 0
        self.packets_received = self.bytes_received = 0
        self.malformed = self.refused = self.gated = 0
        self.keyframes_asked = self.keyframes_wanted = 0
        self._asked_at = float("-inf")
        self._fir = 0

    def _send(self, packets: tuple[Outgoing, ...]) -> None:
        now = self.session.clock.now()
        if not (self.session.is_open and self.sends):
            return
        for packet in packets:
            header = rtp_header(
                packet.payload_type,
                packet.sequence,
                packet.timestamp,
                packet.ssrc,
                marker=packet.marker,
            )
            if not packet.again:
                self.rtcp.sent(packet.timestamp, len(packet.payload), now=now)
            self.bytes_sent += self.session.transmit(header + packet.payload)
            self.packets_sent += 1

    def receive(self, second: int, sequence: int, timestamp: int, ssrc: int, payload: bytes) -> None:
        number, marker = second & 0x7F, bool(second & 0x80)
        if not (self.session.is_open and self.shows):
            self.gated += 1
            return
        now = self.session.clock.now()
        original = self.terms.receive_rtx.get(number)
        if original is not None:
            try:
                restored = restore_rtx(payload)
            except ProtocolError:
                self.malformed += 1
                return
            if restored is None:
                return
            number, (sequence, payload) = original, restored
        codec = self.terms.receive[number]
        opened = self.session.open(payload, self.opened_by[number])
        if opened is None:
            self.refused += 1
            return
        if original is None:
            self.peer_ssrc = ssrc
            self.rtcp.received(ssrc, sequence, timestamp, now=now)
        self.receiver.push(
            codec,
            sequence,
            timestamp,
            opened,
            marker=marker,
            now=now,
            round_trip=self.rtcp.round_trip,
        )

    def hear(self, packets: tuple[RtcpPacket, ...], now: float) -> None:
        _ = self.rtcp.receive_rtcp(packets, now=now)
        for packet in packets:
            match packet:
                case GenericNack(media_ssrc=ssrc, sequences=sequences):
                    if ssrc == self.terms.ssrc:
                        round_trip = self.rtcp.round_trip or 0.0
                        self.sender.resend(sequences, now=now, round_trip=round_trip)
                case PictureLoss(media_ssrc=ssrc) if ssrc == self.terms.ssrc:
                    self._keyframe_wanted()
                case FullIntraRequest(requests=requests):
                    if any(ssrc == self.terms.ssrc for ssrc, _ in requests):
                        self._keyframe_wanted()
                case _:
                    pass

    def _keyframe_wanted(self) -> None:
        self.keyframes_wanted += 1
        self.sender.keyframe()

    def _resend(self, sequences: tuple[int, ...]) -> None:
        if self.peer_ssrc is not None:
            self._feed_back(
                GenericNack(
                    sender_ssrc=self.terms.ssrc, media_ssrc=self.peer_ssrc, sequences=sequences
                )
            )

    def ask_keyframe(self) -> None:
        """Ask for a picture that needs no other."""
        now, peer = self.session.clock.now(), self.peer_ssrc
        if peer is None or now - self._asked_at < KEYFRAME_AGAIN:
            return
        self._asked_at = now
        self.keyframes_asked += 1
        if self.terms.pli or not self.terms.fir:
            self._feed_back(PictureLoss(sender_ssrc=self.terms.ssrc, media_ssrc=peer))
            return
        self._fir = self._fir + 1 & 0xFF
        self._feed_back(
            FullIntraRequest(sender_ssrc=self.terms.ssrc, requests=((peer, self._fir),))
        )

    def _feed_back(self, feedback: RtcpPacket) -> None:
        ssrc = self.terms.ssrc
        self.session.transmit_rtcp(
            build_rtcp(
                (
                    ReceiverReport(ssrc=ssrc),
                    SourceDescription(cnames=((ssrc, self.session.cname),)),
                    feedback,
                )
            )
        )

    def tick(self, now: float) -> None:
        if self.sends:
            self.sender.tick(now)
        self.receiver.poll(now)
        report = self.rtcp.poll(now=now, unix=time.time(), chance=secrets.randbits(16) / 65536)
        if report is not None:
            self.session.transmit_rtcp(report)

    def stop(self) -> None:
        self.sender.stop()
        self.receiver.flush()

    def statistics(self) -> VideoStatistics:
        counters, round_trip = self.receiver.counters, self.rtcp.round_trip
        since = self.receiver.frozen_since
        frozen = counters.frozen + (self.session.clock.now() - since if since is not None else 0.0)
        return VideoStatistics(
            name=self.terms.name,
            codec=self.terms.codec.name,
            packets_sent=self.packets_sent,
            bytes_sent=self.bytes_sent,
            packets_received=self.packets_received,
            bytes_received=self.bytes_received,
            frames_sent=self.sender.frames,
            keyframes_sent=self.sender.keyframes,
            frames_received=counters.frames,
            frames_shown=self.receiver.shown,
            lost=counters.lost,
            recovered=counters.recovered,
            freezes=counters.freezes,
            frozen_seconds=frozen,
            keyframes_asked=self.keyframes_asked,
            keyframes_wanted=self.keyframes_wanted,
            refused=self.refused,
            malformed=self.malformed + counters.malformed,
            gated=self.gated,
            rtt_ms=None if round_trip is None else round_trip * 1000,
            bitrate=self.sender.bitrate,
        )


class VideoSession:
    """All pictures of one call.

    Attributes:
        clock: What drives them.
        cname: Ours, random for each call.
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
        """
        self.clock = clock
        self.cname = cname
        self._send, self._srtp = send, srtp
        self._seal, self._opener = seal, opener
        self._failed = failed
        self._lines: dict[str, _Line] = {}  # by mid
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
        for mid, (wanted, direction) in terms.items():
            line = self._lines.get(mid)
            if line is None:
                line = self._lines[mid] = _Line(self, wanted, self._seal(wanted.name))
                line.receiver.sinks = self._sinks.get(wanted.name, ())
            line.shows = direction in (Direction.SENDRECV, Direction.RECVONLY)
            line.sends = direction in (Direction.SENDRECV, Direction.SENDONLY)
            line.sender.source = self._sources.get(wanted.name) if line.sends else None
        self._numbers = frozenset(
            number
            for line in self._lines.values()
            for number in (*line.terms.receive, *line.terms.receive_rtx)
        )
        self._run(on=bool(self._lines))

    @property
    def names(self) -> frozenset[str]:
        """Which pictures there are: "" for a camera, "slides" for a screen."""
        return frozenset(line.terms.name for line in self._lines.values())

    def _run(self, *, on: bool) -> None:
        if on and not self._running:
            self.clock.add(self, self.fail)
        elif self._running and not on:
            self.clock.remove(self)
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
            for line in self._lines.values():
                line.stop()  # nothing of one verdict is sent or shown under another
        self._gate = gate

    @property
    def is_open(self) -> bool:
        """Whether pictures pass."""
        return self._gate is Gate.OPEN

    # -- packets ----------------------------------------------------------------------------------

    def takes(self, datagram: bytes) -> bool:
        """Whether this is a packet of a picture, by its payload type."""
        return len(datagram) > 1 and datagram[1] & 0x7F in self._numbers

    def receive(self, datagram: bytes) -> None:
        """Take such a packet; never raises for it."""
        try:
            packet = self._srtp.unprotect(datagram)
            second, sequence, timestamp, ssrc, payload = split_rtp(packet)
        except (SrtpError, ProtocolError):
            return  # the first is counted by SRTP; the second cannot be told apart
        line = self._line_of(second & 0x7F, ssrc)
        if line is None:
            return
        line.packets_received += 1
        line.bytes_received += len(datagram)
        line.receive(second, sequence, timestamp, ssrc, payload)

    def _line_of(self, number: int, ssrc: int) -> _Line | None:
        """By the source that the peer named; only where it named none by payload type (RFC 8843)."""
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
        now = self.clock.now()
        for line in self._lines.values():
            line.hear(packets, now)

    def open(self, payload: bytes, metadata: bytes) -> bytes | None:
        """Open the end-to-end layer; None for what does not (counted there)."""
        if self._opener is None:
            return payload
        try:
            return self._opener.open_rtp(payload, metadata)
        except SframeError:
            return None

    def transmit(self, packet: bytes) -> int:
        """Protect and send; returns the bytes of it."""
        datagram = self._srtp.protect(packet)
        self._send(datagram)
        return len(datagram)

    def transmit_rtcp(self, compound: bytes) -> None:
        """Protect and send, while pictures pass."""
        if self.is_open:
            self._send(self._srtp.protect_rtcp(compound))

    # -- time -------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Send what is due and ask for what is missing; called by the clock."""
        if self.is_open:
            for line in self._lines.values():
                line.tick(now)

    def skip(self, ticks: int) -> None:
        """Let time pass: pictures carry their own."""

    def fail(self, error: Exception) -> None:
        """Pass on what failed; the call goes on."""
        log.warning("a part of a picture failed: %s", type(error).__name__)
        self._failed(error)

    def statistics(self) -> tuple[VideoStatistics, ...]:
        """What happened so far, for each picture there is."""
        return tuple(line.statistics() for line in self._lines.values())

    def _goodbye(self, line: _Line) -> None:
        if self.is_open:
            self.transmit_rtcp(line.rtcp.goodbye(now=self.clock.now(), unix=time.time()))

    def close(self) -> None:
        """Say goodbye, stop, let go; safe to call again."""
        for line in self._lines.values():
            self._goodbye(line)
            line.stop()
        self._gate = Gate.CLOSED
        self._lines.clear()
        self._numbers = frozenset()
        self._run(on=False)
        self._sources.clear()
        self._sinks.clear()


def _unsealed(payload: bytes) -> bytes:
    return payload

