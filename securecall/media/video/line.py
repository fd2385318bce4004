"""One picture of a call, both ways: what was agreed, what is counted, and what RTCP says of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from securecall.errors import ProtocolError
from securecall.media.description import Codec
from securecall.media.synchrony import Heard, HeardAt
from securecall.media.video.payloads import packetiser
from securecall.media.video.receiving import VideoReceiver
from securecall.media.video.sending import CLOCK, CutFrame, VideoSender
from securecall.media.video.statistics import VideoStatistics
from securecall.rtp.arrivals import Lateness
from securecall.rtp.feedback import FullIntraRequest, GenericNack, PictureLoss
from securecall.rtp.packet import rtp_header
from securecall.rtp.rtcp import ReceiverReport, RtcpPacket, SourceDescription, build_rtcp
from securecall.rtp.rtx import SentPacket, SentPackets, build_rtx, restore_rtx
from securecall.rtp.sframe import SframeSender, rtp_metadata
from securecall.rtp.srtp import FIRST_SEQUENCES
from securecall.rtp.stream import RtcpSession

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
        transport_cc: Both ends' number for the header extension with transport-wide sequence
            numbers, 0 for none.
        mid_extension: The same for the one with `mid`.
        parameter_sets: Of the peer's H.264, as far as signalling brought them; left out where
            pictures are sealed end to end.
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
    transport_cc: int = 0
    mid_extension: int = 0
    parameter_sets: tuple[bytes, ...] = ()


@dataclass(slots=True)
class Departure:
    """A packet that waits to leave; numbered and sealed as it does.

    Attributes:
        line: Whose.
        payload: Not sealed; that of a packet sent before, if it is to be sent again.
        timestamp, marker: Of its header.
        captured: Monotonic seconds at which the picture was taken.
        again: What was sent before.
    """

    line: VideoLine
    payload: bytes = field(repr=False)
    timestamp: int
    marker: bool
    captured: float = 0.0
    again: SentPacket | None = None


class Surroundings(Protocol):
    """What a line asks of the session it is part of."""

    cname: str

    @property
    def is_open(self) -> bool:
        """Whether pictures pass."""
        ...

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def unix(self) -> float:
        """Seconds since 1970, the same clock for all streams of the call."""
        ...

    def open(self, payload: bytes, metadata: bytes) -> bytes | None:
        """Open the end-to-end layer; None for what does not."""
        ...

    @property
    def resumes_at(self) -> float:
        """When pictures are sent again, while a queue on the path is to empty."""
        ...

    @property
    def heard(self) -> HeardAt:
        """Tells when what the peer captured at a time of its clock is heard."""
        ...

    def queue(self, packets: list[Departure], *, keyframe: bool) -> None:
        """Have the packets of a picture leave, each in its time."""
        ...

    def queue_again(self, packet: Departure) -> None:
        """Have a packet leave again."""
        ...

    def forget_resent(self, line: VideoLine) -> None:
        """Send nothing again that waits for that: the peer has given it up."""
        ...

    def transmit_rtcp(self, compound: bytes) -> None:
        """Protect and send."""
        ...

    def fail(self, error: Exception) -> None:
        """Pass on what failed."""
        ...


class VideoLine:
    """One picture, both ways.

    Attributes:
        terms: What was agreed.
        sends, shows: What its direction lets pass.
        sender, receiver: The two ways.
        rtcp: What RTCP knows of both.
        peer_ssrc: What the peer sends it under; None before anything came.
    """

    def __init__(
        self,
        session: Surroundings,
        terms: VideoTerms,
        seal: SframeSender | None,
        *,
        after: tuple[int, int] | None = None,
    ) -> None:
        """Begin.

        Args:
            session: What it is part of.
            terms: What was agreed.
            seal: The end-to-end layer, None for none.
            after: The `numbers` of a line that went under the same sources, None for none: under
                one key no number may come twice, and SRTP sends none that lies behind.
        """
        self.terms = terms
        self.sends = self.shows = True
        self._session = session
        metadata = rtp_metadata(terms.codec.payload_type, terms.mid)
        self._seal: Callable[[bytes], bytes] | None = None
        if seal is not None:
            self._seal = lambda payload: seal.seal_rtp(payload, metadata)
        self._bound = {number: rtp_metadata(number, terms.mid) for number in terms.receive}
        first = secrets.randbelow(FIRST_SEQUENCES), secrets.randbelow(FIRST_SEQUENCES)
        self._sequence, self._rtx_sequence = after or first
        self._sent = SentPackets()
        self.rtcp = RtcpSession(
            ssrc=terms.ssrc,
            cname=session.cname,
            clock_rate=CLOCK,
            now=session.now(),
            chance=secrets.randbits(16) / 65536,
        )
        self.sender = VideoSender(
            terms.codec,
            packetiser(terms.codec.name, chance=secrets.randbits(32)),
            timestamp=secrets.randbits(31),
            cut=self._cut,
            failed=session.fail,
        )
        self.receiver = VideoReceiver(
            nack=terms.nack and bool(terms.receive_rtx),
            resend=self._ask_again,
            need_keyframe=self.ask_keyframe,
            failed=session.fail,
            heard=self._heard,
            clock=session.now,
            parameter_sets=terms.parameter_sets,
        )
        self._lateness = Lateness(CLOCK)
        self.peer_ssrc: int | None = None
        self.packets_received = self.bytes_received = 0
        self._packets_sent = self._bytes_sent = 0
        self._malformed = self._refused = self._gated = 0
        self._keyframes_asked = self._keyframes_wanted = 0
        self._asked_at = float("-inf")
        self._fir = 0

    # -- out --------------------------------------------------------------------------------------

    @property
    def numbers(self) -> tuple[int, int]:
        """The sequence numbers that come next, of what is sent and of what is sent again."""
        return self._sequence, self._rtx_sequence

    def _cut(self, frame: CutFrame) -> None:
        last = len(frame.payloads) - 1
        packets = [
            Departure(self, payload, frame.timestamp, place == last, frame.captured)
            for place, payload in enumerate(frame.payloads)
        ]
        self._session.queue(packets, keyframe=frame.keyframe)

    def depart(self, waiting: Departure, *, now: float) -> bytes:
        """Number and seal a packet that leaves; returns it without SRTP."""
        terms = self.terms
        if waiting.again is not None:
            number, payload = terms.rtx or 0, build_rtx(waiting.again)
            ssrc, sequence = terms.rtx_ssrc, self._rtx_sequence
            self._rtx_sequence = sequence + 1 & 0xFFFF
        else:
            number, ssrc, sequence = terms.codec.payload_type, terms.ssrc, self._sequence
            payload = waiting.payload if self._seal is None else self._seal(waiting.payload)
            self._sequence = sequence + 1 & 0xFFFF
            self.rtcp.sent(waiting.timestamp, len(payload), now=waiting.captured)
            if terms.rtx is not None:
                kept = SentPacket(sequence, waiting.timestamp, waiting.marker, payload)
                self._sent.keep(kept, now=now)
        return (
            rtp_header(number, sequence, waiting.timestamp, ssrc, marker=waiting.marker) + payload
        )

    def departed(self, size: int) -> None:
        """Count a datagram that was sent."""
        self._packets_sent += 1
        self._bytes_sent += size

    def hear(self, packets: tuple[RtcpPacket, ...], *, now: float, round_trip: float) -> None:
        """Do what the peer asks for in RTCP."""
        _ = self.rtcp.receive_rtcp(packets, now=now)
        for packet in packets:
            match packet:
                case GenericNack(media_ssrc=ssrc, sequences=sequences) if ssrc == self.terms.ssrc:
                    for sent in self._sent.answer(sequences, now=now, round_trip=round_trip):
                        self._session.queue_again(
                            Departure(self, sent.payload, sent.timestamp, sent.marker, again=sent)
                        )
                case PictureLoss(media_ssrc=ssrc) if ssrc == self.terms.ssrc:
                    self._keyframe_wanted()
                case FullIntraRequest(requests=requests):
                    if any(ssrc == self.terms.ssrc for ssrc, _ in requests):
                        self._keyframe_wanted()
                case _:
                    pass

    def _keyframe_wanted(self) -> None:
        self._keyframes_wanted += 1
        self._session.forget_resent(self)
        self.sender.keyframe()

    # -- in ---------------------------------------------------------------------------------------

    def receive(
        self, second: int, sequence: int, timestamp: int, ssrc: int, payload: bytes
    ) -> None:
        """Take a packet that SRTP opened."""
        number, marker = second & 0x7F, bool(second & 0x80)
        if not (self._session.is_open and self.shows):
            self._gated += 1
            return
        now = self._session.now()
        original = self.terms.receive_rtx.get(number)
        if original is not None:
            try:
                restored = restore_rtx(payload)
            except ProtocolError:
                self._malformed += 1
                return
            if restored is None:
                return
            number, (sequence, payload) = original, restored
        opened = self._session.open(payload, self._bound[number])
        if opened is None:
            self._refused += 1
            return
        if original is None:
            if self.peer_ssrc not in (None, ssrc):
                self.receiver.flush()  # its numbers are those of another stream
            self.peer_ssrc = ssrc
            self.rtcp.received(ssrc, sequence, timestamp, now=now)
        self.receiver.push(
            self.terms.receive[number],
            sequence,
            timestamp,
            opened,
            marker=marker,
            now=now,
            round_trip=self.rtcp.round_trip,
        )

    def expect(self, wanted: VideoTerms) -> None:
        """Take packets from the sources named here from now on, from any if there are none.

        And have the parameter sets that came with that.
        """
        if wanted.peer_ssrcs != self.terms.peer_ssrcs:
            self.terms = replace(self.terms, peer_ssrcs=wanted.peer_ssrcs)
        if wanted.parameter_sets != self.terms.parameter_sets:
            self.terms = replace(self.terms, parameter_sets=wanted.parameter_sets)
            self.receiver.expect(wanted.parameter_sets)

    def _heard(self, timestamp: int) -> Heard | None:
        """When the sound is heard that was captured with this picture (RFC 3550 6.4.1)."""
        source = next((s for s in self.rtcp.sources if s.ssrc == self.peer_ssrc), None)
        wall = source.wall(timestamp) if source is not None else None
        if source is None or wall is None:
            return None
        return self._session.heard(wall, source.cname)

    def _ask_again(self, sequences: tuple[int, ...]) -> None:
        ours, peer = self.terms.ssrc, self.peer_ssrc
        if peer is not None:
            self._feed_back(GenericNack(sender_ssrc=ours, media_ssrc=peer, sequences=sequences))

    def ask_keyframe(self) -> None:
        """Ask for a picture that needs no other."""
        now, ours, peer = self._session.now(), self.terms.ssrc, self.peer_ssrc
        if peer is None or now - self._asked_at < KEYFRAME_AGAIN:
            return
        self._asked_at = now
        self._keyframes_asked += 1
        if self.terms.pli or not self.terms.fir:
            self._feed_back(PictureLoss(sender_ssrc=ours, media_ssrc=peer))
            return
        self._fir = self._fir + 1 & 0xFF
        self._feed_back(FullIntraRequest(sender_ssrc=ours, requests=((peer, self._fir),)))

    def _feed_back(self, feedback: RtcpPacket) -> None:
        self._session.transmit_rtcp(compound(self.terms.ssrc, self._session.cname, feedback))

    # -- both -------------------------------------------------------------------------------------

    def lateness(self, number: int, timestamp: int) -> float:
        """Seconds that a packet took longer than others; 0 for one that was sent again."""
        if number not in self.terms.receive:
            return 0.0
        return self._lateness.measure(timestamp, now=self._session.now())

    def tick(self, now: float) -> None:
        """Fetch a picture, and do what time has made due."""
        if self.sends and now >= self._session.resumes_at:
            self.sender.tick(now)
        self.receiver.poll(now)
        if now < self.rtcp.deadline:
            return
        report = self.rtcp.poll(
            now=now, unix=self._session.unix(), chance=secrets.randbits(16) / 65536
        )
        if report is not None:
            self._session.transmit_rtcp(report)

    def stop(self) -> None:
        """Let nothing leave that was captured so far, and show nothing that came."""
        self.sender.stop()
        self.receiver.flush()
        self._sent.clear()

    def statistics(self) -> VideoStatistics:
        """What happened so far."""
        counters, round_trip = self.receiver.counters, self.rtcp.round_trip
        since = self.receiver.frozen_since
        frozen = counters.frozen + (self._session.now() - since if since is not None else 0.0)
        return VideoStatistics(
            name=self.terms.name,
            codec=self.terms.codec.name,
            packets_sent=self._packets_sent,
            bytes_sent=self._bytes_sent,
            codec_received=self.receiver.codec,
            packets_received=self.packets_received,
            bytes_received=self.bytes_received,
            frames_sent=self.sender.frames,
            keyframes_sent=self.sender.keyframes,
            resent=self._sent.answered,
            frames_received=counters.frames,
            frames_shown=self.receiver.shown,
            lost=counters.lost,
            recovered=counters.recovered,
            freezes=counters.freezes,
            frozen_seconds=frozen,
            keyframes_asked=self._keyframes_asked,
            keyframes_wanted=self._keyframes_wanted,
            refused=self._refused,
            malformed=self._malformed + counters.malformed,
            gated=self._gated,
            rtt_ms=None if round_trip is None else round_trip * 1000,
            bitrate=self.sender.bitrate,
        )


def compound(ssrc: int, cname: str, *packets: RtcpPacket) -> bytes:
    """A compound that says who speaks, and these (RFC 4585 3.1)."""
    return build_rtcp(
        (ReceiverReport(ssrc=ssrc), SourceDescription(cnames=((ssrc, cname),)), *packets)
    )
