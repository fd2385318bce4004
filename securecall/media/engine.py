"""One audio stream of one call: on every tick a frame goes out and a frame is played."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from securecall.errors import ProtocolError, Unsupported, UsageError
from securecall.logs import logger
from securecall.media import codecs
from securecall.media.clock import Clock as Clock
from securecall.media.description import Codec, Direction
from securecall.media.description import Gate as Gate
from securecall.media.ends import Ends
from securecall.media.frames import TICK
from securecall.media.playout import Playout
from securecall.media.quality import Quality, QualityMeter, voip_metrics
from securecall.media.statistics import AudioStatistics as AudioStatistics
from securecall.media.statistics import mouth_to_ear
from securecall.media.synchrony import Heard, SoundTime
from securecall.rtp.events import EventPacket, EventReceiver, EventSender, parse_event
from securecall.rtp.extensions import build_extensions, with_extensions
from securecall.rtp.packet import rtp_header, split_rtp
from securecall.rtp.red import RedSender, parse_red
from securecall.rtp.rtcp import RtcpPacket, parse_rtcp
from securecall.rtp.sframe import (
    IntegrityAlarm,
    SframeError,
    SframeFailure,
    SframeReceiver,
    SframeSender,
    rtp_metadata,
)
from securecall.rtp.srtp import Rejection, SrtpError, SrtpSession
from securecall.rtp.stream import RtcpSession
from securecall.rtp.xr import VoipMetrics

log = logger(__name__)

_TICKS_PER_SECOND: Final = 50


class AudioSession(Ends):
    """Sends one source, plays into any number of sinks, and measures both ways.

    Everything happens on the event loop's thread, in `receive` (called by the path as it drains
    its socket) and `tick` (called by the clock). While the gate is open one packet leaves on every
    tick: the source's sound, or silence where it has none or the stream is muted, always of one
    size. The gate is CLOSED at first.
    """

    def __init__(
        self,
        clock: Clock,
        send: Callable[[bytes], object],
        srtp: SrtpSession,
        *,
        codec: Codec,
        receive_codecs: Iterable[Codec],
        ssrc: int,
        sequence: int,
        timestamp: int,
        cname: str,
        mid: str = "",
        mid_extension: int = 0,
        rtcp: bool = True,
        sframe_send: SframeSender | None = None,
        sframe_receive: SframeReceiver | None = None,
        on_alarm: Callable[[IntegrityAlarm], None] | None = None,
        on_failure: Callable[[Exception], None] | None = None,
        on_rtcp: Callable[[tuple[RtcpPacket, ...]], None] | None = None,
        events: int | None = None,
        on_digit: Callable[[str], None] | None = None,
        on_quality: Callable[[Quality], None] | None = None,
        red: int | None = None,
        congested: Callable[[], bool] = lambda: False,
        extended_reports: tuple[str, ...] = (),
        opus_bitrate: int = 28000,
        opus_complexity: int = 1,
        opus_rate: int | None = None,
    ) -> None:
        """Prepare a stream; nothing moves before `start`.

        Args:
            clock: What drives it.
            send: Puts a datagram on the path; called synchronously.
            srtp: The keys of the path, both ways.
            codec: What we send, with the peer's payload type.
            receive_codecs: What the peer may send, with our payload types; at least one.
            ssrc: Ours, random, 32 bits.
            sequence: Our first, random, 0..65535.
            timestamp: Our first, random, 32 bits.
            cname: Ours, random for each call (RFC 7022 4.2).
            mid: The m-line's a=mid, "" if it has none.
            mid_extension: The peer's number for the header extension that says it in each packet,
                0 for none.
            rtcp: RTCP was agreed for the path. Without it none is sent and none is heard: the loss
                the peer sees and the round trip stay unknown, so Opus sends no redundancy.
            sframe_send: Our end-to-end layer; both directions have one, or neither.
            sframe_receive: The peer's.
            on_alarm: Told when media of the peer fails authentication too often.
            on_failure: Told what a source, a sink or the path raised; a source or sink that
                raised anything but `DeviceLost` is taken out, the call goes on.
            on_rtcp: Given every compound that came, opened, for others on the same path.
            events: The peer's payload type for digits, None where it takes none.
            on_digit: Told each digit that the peer presses.
            on_quality: Told how the peer sounds from now on, where that has changed.
            red: The peer's payload type for packets with copies of earlier ones (RFC 2198), None
                where it takes none. What the peer may send is in `receive_codecs`.
            congested: Tells whether a queue stands on the path; copies would lengthen it.
            extended_reports: What the peer wants to be told in RTCP (RFC 3611 5): "voip-metrics",
                "rcvr-rtt=all"; others are passed over.
            opus_bitrate: Of the encoder, bit/s.
            opus_complexity: Of the encoder, 0..10, while the peer reports no loss; see OpusEncoder.
            opus_rate: Hz of what the sinks get from Opus; 48000 if None.

        Raises:
            Unsupported: a codec is not available here.
            UsageError: a number is out of range, or only one direction has SFrame.
        """
        if (sframe_send is None) != (sframe_receive is None):
            raise UsageError("SFrame protects both directions or none")
        self._clock = clock
        self._send = send
        self._srtp = srtp
        self._protect, self._unprotect = srtp.protect, srtp.unprotect
        self._encoder = codecs.encoder(codec, bitrate=opus_bitrate, complexity=opus_complexity)
        self._encode = self._encoder.encode
        super().__init__(self._encoder.samples, self._encoder.rate)
        self._payload_type, self._codec = codec.payload_type, codec.name
        self._step = round(codec.clock_rate * TICK)
        self._ssrc, self._sequence, self._timestamp = ssrc, sequence, timestamp
        self._marker = True
        self._exchanges_rtcp = rtcp
        self._rtcp = RtcpSession(
            ssrc=ssrc,
            cname=cname,
            clock_rate=codec.clock_rate,
            now=clock.now(),
            chance=_chance(),
        )
        self._sframe_receive = sframe_receive
        self._seal = None if sframe_send is None else sframe_send.seal_rtp
        self._metadata = rtp_metadata(codec.payload_type, mid)
        agreed = {c.payload_type: c for c in receive_codecs}
        accepted = {number: c for number, c in agreed.items() if codecs.is_sound(c)}
        self._red_numbers = {number for number, c in agreed.items() if codecs.is_red(c)}
        self._bound = {number: rtp_metadata(number, mid) for number in agreed}
        self._digits = EventSender(self._step)
        self._mid = mid
        self._on_digit = on_digit
        self._heard = EventReceiver()
        self._event_numbers = {number for number, c in agreed.items() if codecs.is_events(c)}
        self._payload_length = self._events_heard = 0
        self._copies: RedSender | None = None
        self._events: int | None = None
        self._red: int | None = None
        self._events_metadata = self._red_metadata = b""
        self.set_companions(events=events, red=red)
        self._congested = congested
        self._tells_metrics = "voip-metrics" in extended_reports
        self._tells_times = "rcvr-rtt=all" in extended_reports
        self._open = None if sframe_receive is None else sframe_receive.open_rtp
        self._accepted = accepted.keys()
        self._playout = Playout(accepted, opus_rate=opus_rate)
        self._sound_time = SoundTime()
        named = {mid_extension: mid.encode()} if mid and mid_extension else {}
        self._extensions = build_extensions(named) if named else b""
        self._on_quality, self._meter = on_quality, QualityMeter()
        self._octets: deque[tuple[int, int]] = deque(maxlen=6)  # second by second, sent, received
        self._on_alarm, self._on_failure, self._on_rtcp = on_alarm, on_failure, on_rtcp
        self._gate = Gate.CLOSED
        self._ticks = 0
        self._packets_sent = self._bytes_sent = 0
        self._packets_received = self._bytes_received = 0
        self._malformed = self._unknown = self._gated = self._played = 0
        self._closed = False
        self._peer_left = False

    @property
    def peer_left(self) -> bool:
        """Whether the peer said BYE in RTCP; signalling decides what that means."""
        return self._peer_left

    @property
    def gate(self) -> Gate:
        """Whether media may pass."""
        return self._gate

    @gate.setter
    def gate(self, gate: Gate) -> None:
        gate = Gate(gate)
        if self._gate is Gate.CLOSED or gate is Gate.CLOSED:
            self._playout.flush()  # nothing received under one verdict is played under another
            self._sound_time.forget()
            self._digits.clear()
            if self._copies is not None:
                self._copies.clear()
            if self._source is not None:
                self._source.discard()
            self._marker = True
        self._gate = gate

    def set_direction(self, direction: Direction) -> None:
        """As `Ends.set_direction`; what is sent, or played, next begins anew."""
        played = self._plays
        super().set_direction(direction)
        self._marker = True
        if played and not self._plays:
            self._playout.flush()  # what came already is not heard later
            self._sound_time.forget()

    def set_companions(self, *, events: int | None, red: int | None) -> None:
        """Send digits and copies under these numbers of the peer's from now on; None sends none."""
        if events != self._events:
            self._digits.clear()
        if (self._copies is None) is not (red is None):
            fresh = RedSender(self._payload_type, self._step)
            self._copies = None if red is None else fresh
        self._events, self._events_metadata = events, rtp_metadata(events or 0, self._mid)
        self._red, self._red_metadata = red, rtp_metadata(red or 0, self._mid)

    def rekeyed(self) -> None:
        """The path's SRTP has other keys: use them."""
        self._protect, self._unprotect = self._srtp.protect, self._srtp.unprotect

    def start(self) -> None:
        """Let the clock drive this stream."""
        if self._closed:
            raise UsageError("this audio stream is over")
        self._clock.add(self, self._fail)

    def close(self) -> None:
        """Say BYE if the gate is open, stop, and let go of the keys; safe to call again."""
        if self._closed:
            return
        self._closed = True
        self._clock.remove(self)
        if self._exchanges_rtcp and self._gate is not Gate.CLOSED:
            goodbye = self._rtcp.goodbye(now=self._clock.now(), unix=self._clock.unix())
            self._send(self._srtp.protect_rtcp(goodbye))
        self._gate = Gate.CLOSED
        self._playout.flush()
        self._let_go()
        self._srtp.close()
        self._protect, self._unprotect = self._srtp.protect, self._srtp.unprotect

    def receive(self, datagram: bytes) -> None:
        """Take a datagram of the path that was classified as RTP or RTCP; never raises for it."""
        if self._closed:
            return
        if len(datagram) > 1 and 192 <= datagram[1] <= 223:  # RFC 5761 4
            self._receive_rtcp(datagram)
            return
        try:
            packet = self._unprotect(datagram)
        except SrtpError:
            return  # counted by the session
        self._packets_received += 1
        self._bytes_received += len(datagram)
        if self._gate is Gate.CLOSED or not self._plays:
            # SRTP went first so that its rollover counter follows the stream.
            self._gated += 1
            return
        self._accept(packet)

    def _accept(self, packet: bytes) -> None:
        try:
            second, sequence, timestamp, ssrc, payload = split_rtp(packet)
        except ProtocolError:
            self._malformed += 1
            return
        payload_type = second & 0x7F
        metadata = self._bound.get(payload_type)
        if metadata is None:
            self._unknown += 1
            return
        now = self._clock.now()
        if self._open is not None:
            try:
                payload = self._open(payload, metadata)
            except SframeError:
                return  # counted by the receiver
        if payload_type in self._event_numbers:
            self._hear_digit(ssrc, sequence, timestamp, payload)
            return
        if payload_type in self._red_numbers:
            self._hear_copies(ssrc, sequence, timestamp, payload, now)
            return
        self._rtcp.received(ssrc, sequence, timestamp, now=now)
        self._playout.push(ssrc, sequence, timestamp, payload_type, payload, now)

    def _hear_copies(
        self, ssrc: int, sequence: int, timestamp: int, payload: bytes, now: float
    ) -> None:
        try:
            packet = parse_red(payload)
        except ProtocolError:
            self._malformed += 1
            return
        if packet.payload_type not in self._accepted:
            self._unknown += 1
            return
        self._rtcp.received(ssrc, sequence, timestamp, now=now)
        self._playout.push_red(ssrc, sequence, timestamp, packet, now)

    def _hear_digit(self, ssrc: int, sequence: int, timestamp: int, payload: bytes) -> None:
        try:
            digit = self._heard.receive(timestamp, payload)
            event = parse_event(payload)
        except ProtocolError:
            self._malformed += 1
            return
        self._events_heard += 1
        duration = event.duration if event is not None else 0
        now = self._clock.now()
        self._rtcp.received(ssrc, sequence, timestamp + duration & 0xFFFFFFFF, now=now)
        if digit and self._on_digit is not None:
            self._on_digit(digit)

    def press(self, digits: str) -> None:
        """Send digits as events, instead of sound while each lasts.

        Raises:
            Unsupported: the peer takes none this way.
            UsageError: they are on no keypad, or too many wait.
        """
        if self._events is None:
            raise Unsupported("the other end takes no digits (RFC 4733)")
        self._digits.press(digits)

    @property
    def takes_digits(self) -> bool:
        """Whether the peer takes digits within the sound."""
        return self._events is not None

    @property
    def pressing(self) -> bool:
        """Whether digits are on their way."""
        return self._digits.busy

    def forget_digits(self) -> None:
        """Send none of those that are on their way."""
        self._digits.clear()

    def _receive_rtcp(self, datagram: bytes) -> None:
        if not self._exchanges_rtcp or self._gate is Gate.CLOSED:
            self._gated += 1
            return
        try:
            # Chromium sends transport-wide feedback by itself, whether that was agreed or not.
            packets = parse_rtcp(self._srtp.unprotect_rtcp(datagram), reduced=True)
        except SrtpError:
            return  # counted by the session
        except ProtocolError:
            self._malformed += 1
            return
        if self._rtcp.receive_rtcp(packets, now=self._clock.now()):
            self._peer_left = True
        if self._on_rtcp is not None:
            self._on_rtcp(packets)

    def tick(self, now: float) -> None:
        """Send a frame and play a frame; called by the clock."""
        self._ticks += 1
        is_open = self._gate is not Gate.CLOSED
        if is_open and self._sends:
            self._transmit(now)
        else:
            self._timestamp = self._timestamp + self._step & 0xFFFFFFFF
        if is_open:
            if self._plays:
                self._play(now)
            if self._exchanges_rtcp and now >= self._rtcp.deadline:
                self._report(now)
        if not self._ticks % _TICKS_PER_SECOND:
            self._look_after(now)

    def skip(self, ticks: int) -> None:
        """Let time pass without a packet."""
        self._timestamp = self._timestamp + ticks * self._step & 0xFFFFFFFF
        self._marker = True

    def _transmit(self, now: float) -> None:
        payload = self._encode(self._read())
        payload_type, metadata = self._payload_type, self._metadata
        copies = self._copies
        if copies is not None:
            wrapped = copies.wrap(self._timestamp, payload)
            copies.keep(self._timestamp, payload)
            if wrapped is not None:
                payload, payload_type, metadata = wrapped, self._red or 0, self._red_metadata
        self._payload_length = len(payload)
        pressed = self._digits.tick(self._timestamp) if self._digits.busy else None
        if pressed is not None:
            self._transmit_event(pressed, now)
            return
        if self._seal is not None:
            payload = self._seal(payload, metadata)
        header = rtp_header(
            payload_type, self._sequence, self._timestamp, self._ssrc, marker=self._marker
        )
        self._marker = False
        self._dispatch(header, payload, now)

    def _transmit_event(self, event: EventPacket, now: float) -> None:
        """Send a packet of a digit; under SFrame it is as long as one of sound."""
        payload = event.payload
        if self._seal is not None:
            payload += bytes(self._payload_length - len(payload))
            payload = self._seal(payload, self._events_metadata)
        header = rtp_header(
            self._events or 0, self._sequence, event.timestamp, self._ssrc, marker=event.marker
        )
        self._marker = True  # of the sound that follows
        self._dispatch(header, payload, now)

    def _dispatch(self, header: bytes, payload: bytes, now: float) -> None:
        self._rtcp.sent(self._timestamp, len(payload), now=now)
        self._sequence = self._sequence + 1 & 0xFFFF
        self._timestamp = self._timestamp + self._step & 0xFFFFFFFF
        if self._extensions:
            header = with_extensions(header, self._extensions)
        datagram = self._protect(header + payload)
        self._packets_sent += 1
        self._bytes_sent += len(datagram)
        self._send(datagram)

    def _play(self, now: float) -> None:
        pcm = self._playout.pull(now)
        if pcm is None:
            return
        played, playout = self._played, self._playout
        self._played = played + 1
        self._sound_time.played(
            playout.ssrc, playout.position, playout.clock_rate, seconds=played * TICK, now=now
        )
        self._deliver(pcm, playout.rate, played)

    def heard(self, wall: float, cname: str) -> Heard | None:
        """Return when what the peer captured at this time of its clock is heard here.

        Args:
            wall: By the sender reports of a source that goes by `cname`.
            cname: The same as that of the sound, or nothing is known.
        """
        return self._sound_time.find(wall, cname, self._rtcp.sources)

    def _report(self, now: float) -> None:
        if now < self._rtcp.deadline:  # nearly always: chance and metrics are not for the asking
            return
        report = self._rtcp.poll(
            now=now,
            unix=self._clock.unix(),
            chance=_chance(),
            extended=self._metrics() if self._tells_metrics else (),
            times=self._tells_times,
        )
        if report is not None:
            self._send(self._srtp.protect_rtcp(report))

    def _metrics(self) -> tuple[VoipMetrics, ...]:
        """How the peer sounds here, for the peer."""
        sources, playout = self._rtcp.sources, self._playout
        if not sources or not self._plays:
            return ()
        metrics = voip_metrics(
            sources[-1].ssrc,
            self._codec,
            bursts=playout.bursts,
            late=playout.jitter_counters().late,
            round_trip=self._rtcp.round_trip,
            target=playout.target,
        )
        return (metrics,)

    def _look_after(self, now: float) -> None:
        """What is due once a second."""
        loss = self._rtcp.expected_loss()
        if self._copies is not None:
            self._copies.expect_loss(
                loss,
                now=now,
                round_trip=self._rtcp.round_trip,
                congested=self._congested(),
                report=self._rtcp.reported,
            )
        self._encoder.expect_loss(loss)
        self._octets.append((self._bytes_sent, self._bytes_received))
        self._judge()
        if self._sframe_receive is None:
            return
        alarm = self._sframe_receive.check_integrity(now=now)
        if alarm is not None and self._on_alarm is not None:
            self._on_alarm(alarm)

    def _judge(self) -> None:
        """Notice where the peer sounds better or worse than it did."""
        if self._gate is Gate.CLOSED or not self._plays:
            self._meter.pause()
            return
        jitter, round_trip = self._playout.jitter_counters(), self._rtcp.round_trip
        changed = self._meter.judge(
            self._codec,
            received=self._packets_received,
            missed=jitter.lost - jitter.copied,
            delay=mouth_to_ear(
                None if round_trip is None else round_trip * 1000, self._playout.target * 1000
            ),
        )
        if changed and self._on_quality is not None:
            self._on_quality(self._meter.quality)

    def _bitrate(self, direction: int) -> int:
        if len(self._octets) < 2:
            return 0
        octets = self._octets[-1][direction] - self._octets[0][direction]
        return 8 * octets // (len(self._octets) - 1)

    def _fail(self, error: Exception) -> None:
        log.warning("a part of an audio stream failed: %s", type(error).__name__)
        if self._on_failure is not None:
            self._on_failure(error)

    def statistics(self) -> AudioStatistics:
        """Return what happened so far."""
        jitter, playout = self._playout.jitter_counters(), self._playout.counters
        refused = self._srtp.counters.refused
        replayed = refused[Rejection.REPLAYED] + refused[Rejection.TOO_OLD]
        forged = refused[Rejection.AUTHENTICATION]
        if self._sframe_receive is not None:
            failures = self._sframe_receive.failures
            replayed += failures[SframeFailure.REPLAYED] + failures[SframeFailure.TOO_OLD]
            forged += failures[SframeFailure.AUTHENTICATION] + failures[SframeFailure.PLAINTEXT]
        round_trip = self._rtcp.round_trip
        return AudioStatistics(
            packets_sent=self._packets_sent,
            bytes_sent=self._bytes_sent,
            packets_received=self._packets_received,
            bytes_received=self._bytes_received,
            lost=max(0, jitter.lost - self._events_heard),  # digits stand in the place of sound
            late=jitter.late,
            duplicates=jitter.duplicates,
            concealed=playout.concealed,
            recovered=playout.recovered,
            copied=jitter.copied,
            hurried=jitter.hurried,
            replayed=replayed,
            forged=forged,
            malformed=self._malformed + playout.malformed,
            unknown=self._unknown,
            gated=self._gated,
            jitter_ms=max((s.jitter * 1000 for s in self._rtcp.sources), default=0.0),
            rtt_ms=None if round_trip is None else round_trip * 1000,
            loss_reported=self._rtcp.expected_loss(),
            delay_ms=self._playout.target * 1000,
            sent_seconds=self._packets_sent * TICK,
            received_seconds=self._played * TICK,
            bitrate_sent=self._bitrate(0),
            bitrate_received=self._bitrate(1),
            codec=self._codec,
            quality=self._meter.quality,
            peer_mos=_tenth(self._rtcp.peer_metrics),
        )


def _tenth(metrics: VoipMetrics | None) -> float | None:
    known = metrics is not None and 10 <= metrics.mos_cq <= 50
    return metrics.mos_cq / 10 if metrics is not None and known else None


def _chance() -> float:
    return secrets.randbits(16) / 65536
