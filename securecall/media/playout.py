"""The receiving half of an audio stream: packets in, an even flow of sound out."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from securecall.errors import ProtocolError
from securecall.media import codecs
from securecall.media.codecs import Decoder
from securecall.media.description import Codec
from securecall.rtp.jitter import Empty, JitterBuffer, JitterCounters, Missing, Pace, Payload
from securecall.rtp.red import RedPayload
from securecall.rtp.xr import BurstMeter

_STRIDE = 48  # samples, of which one is looked at
_FADE = 0.995  # of what is loud, at each packet
_QUIET = 0.08  # of what is loud, and below
_LONGEST_PAUSE = 50  # packets that are covered by a guess before there is nothing to hear at all


@dataclass(slots=True)
class PlayoutCounters:
    """What was played instead of what was sent, in packets.

    Attributes:
        concealed: Guessed.
        recovered: Taken from the following packet's redundancy.
        malformed: Refused by the codec, then guessed.
        restarts: The peer changed its SSRC or to a codec of another clock.
    """

    concealed: int = 0
    recovered: int = 0
    malformed: int = 0
    restarts: int = 0


class Playout:
    """Holds one stream's jitter buffer and decoders; each `pull` is 20 ms of sound.

    Packets of any length are cut and joined to frames of 20 ms. Several codecs may alternate.

    Attributes:
        counters: What was played instead of what was sent.
        bursts: Which packets were missed, in bursts or by themselves.
        ssrc: Whose sound it is; None before any came.
        rate: Hz of the sound that comes out; may change with the codec.
    """

    __slots__ = (
        "_codecs",
        "_current",
        "_decoder",
        "_decoders",
        "_empty",
        "_end",
        "_jitter",
        "_jitter_before",
        "_left",
        "_loud",
        "_need",
        "_rate_wanted",
        "_slower",
        "_with_copies",
        "bursts",
        "counters",
        "rate",
        "ssrc",
    )

    def __init__(self, accepted: Mapping[int, Codec], *, opus_rate: int | None = None) -> None:
        """Begin with nothing received.

        Args:
            accepted: Payload type -> codec, for all that may be received; at least one.
            opus_rate: Hz that Opus is decoded to; 48000 if None.

        Raises:
            Unsupported: a codec is not available here.
            UsageError: Opus does not know this rate.
        """
        self._codecs = dict(accepted)
        self._decoders: dict[int, Decoder] = {}
        self._rate_wanted = opus_rate
        self.ssrc: int | None = None
        self._end: int | None = None  # RTP timestamp after what was decoded last
        self.counters = PlayoutCounters()
        self.bursts = BurstMeter()
        self._jitter_before = JitterCounters()
        first = next(iter(self._codecs))
        self._current = first
        self._jitter = self._buffer(self._codecs[first])
        self._decoder = self._use(first)
        self.rate = self._decoder.rate
        self._need = self.rate // 50 * 2
        self._left = b""
        self._empty = 0
        self._with_copies = False
        self._loud = 0.0
        self._slower = False

    @staticmethod
    def _buffer(codec: Codec) -> JitterBuffer:
        return JitterBuffer(codec.clock_rate, recovers=codecs.has_recovery(codec))

    def _use(self, payload_type: int) -> Decoder:
        """Return the decoder of a payload type, made when first needed, and make it current."""
        decoder = self._decoders.get(payload_type)
        if decoder is None:
            codec = self._codecs[payload_type]
            rate = self._rate_wanted if codecs.has_recovery(codec) else None
            decoder = self._decoders[payload_type] = codecs.decoder(codec, rate=rate)
        self._current, self._decoder = payload_type, decoder
        self.rate = decoder.rate
        self._need = decoder.rate // 50 * 2
        return decoder

    def push(
        self, ssrc: int, sequence: int, timestamp: int, payload_type: int, data: bytes, now: float
    ) -> None:
        """Take an authentic packet of an accepted payload type."""
        if ssrc != self.ssrc:
            if self.ssrc is not None:
                self._restart(self._codecs[payload_type])
            self.ssrc = ssrc
        elif self._codecs[payload_type].clock_rate != self._jitter.clock_rate:
            self._restart(self._codecs[payload_type])
        self._jitter.push(sequence, timestamp, data, now, payload_type)
        if self._with_copies:
            self._with_copies = False
            self._jitter.without_copies()

    def push_red(
        self, ssrc: int, sequence: int, timestamp: int, packet: RedPayload, now: float
    ) -> None:
        """Take an authentic packet and the copies it carries; those of no use are passed over."""
        self._with_copies = False
        self.push(ssrc, sequence, timestamp, packet.payload_type, packet.data, now)
        jitter = self._jitter
        step = round(jitter.spacing * jitter.clock_rate)
        distances = [divmod(copy.offset, step) for copy in packet.copies]
        reach = max((count for count, odd in distances if not odd), default=1)
        for copy, (count, odd) in zip(packet.copies, distances, strict=True):
            known = self._codecs.get(copy.payload_type)
            if odd or not count or known is None or known.clock_rate != jitter.clock_rate:
                continue
            jitter.fill(
                sequence - count & 0xFFFF,
                timestamp - copy.offset & 0xFFFFFFFF,
                copy.data,
                copy.payload_type,
                reach=reach,
            )
        self._with_copies = True

    def _restart(self, codec: Codec) -> None:
        self._remember()
        self._end = None
        self._jitter = self._buffer(codec)
        self.counters.restarts += 1

    def _remember(self) -> None:
        self._jitter_before = self.jitter_counters()

    def flush(self) -> None:
        """Forget everything that was received, what the decoders remember of it included."""
        if self.ssrc is None:
            return  # nothing was: a decoder of Opus is a tenth of a millisecond's work
        self._remember()
        self._decoders.clear()
        self._use(self._current)
        self._jitter = self._buffer(self._codecs[self._current])
        self._left, self._end, self._slower = b"", None, False

    @property
    def position(self) -> int | None:
        """RTP timestamp of the first sample of what `pull` returned last; None where unknown."""
        if self._end is None:
            return None
        return self._end - self._units(len(self._left) + self._need) & 0xFFFFFFFF

    @property
    def clock_rate(self) -> int:
        """Of the RTP timestamps, Hz."""
        return self._jitter.clock_rate

    def _units(self, octets: int) -> int:
        return octets // 2 * self._jitter.clock_rate // self.rate

    def jitter_counters(self) -> JitterCounters:
        """Return the counts of all jitter buffers so far."""
        return self._jitter_before.plus(self._jitter.counters)

    @property
    def target(self) -> float:
        """Seconds the jitter buffer aims at."""
        return self._jitter.target

    def pull(self, now: float) -> bytes | None:
        """Return the next 20 ms s16le mono at `rate`, or None while nothing has come yet."""
        if not self._left:
            pcm = self._next(now)
            if pcm is None or len(pcm) == self._need:
                return pcm
            self._left = pcm
        return self._assemble(now)

    def _assemble(self, now: float) -> bytes | None:
        """Cut or join packets that do not last 20 ms."""
        parts, rate = self._left, self.rate
        while len(parts) < self._need:
            pcm = self._next(now)
            if pcm is None:
                parts += bytes(self._need - len(parts))
            elif self.rate != rate:  # another codec began: what is left of the old one is dropped
                parts, rate = pcm, self.rate
            else:
                parts += pcm
        self._left = parts[self._need :]
        return parts[: self._need]

    def _next(self, now: float) -> bytes | None:
        if self._slower:
            self._slower = False
            return self._decoder.conceal()
        item = self._jitter.pull(now)
        if isinstance(item, Payload):
            self._empty = 0
            self.bursts.take(missed=item.copied)
            pcm = self._decode(item)
            self._end = item.timestamp + self._units(len(pcm))
            return self._paced(pcm, item.pace, now)
        if isinstance(item, Empty):
            if not item.started:
                return None
            self._empty += 1
            if self._empty > _LONGEST_PAUSE:
                return None
            self.counters.concealed += 1
            return self._decoder.conceal()
        self.bursts.take(missed=True)
        pcm = self._fill(item)
        if self._end is not None:
            self._end += self._units(len(pcm))
        return pcm

    def _decode(self, item: Payload) -> bytes:
        if item.payload_type != self._current:
            self._use(item.payload_type)
        try:
            return self._decoder.decode(item.data)
        except ProtocolError:
            self.counters.malformed += 1
            return self._decoder.conceal()

    def _fill(self, gap: Missing) -> bytes:
        following = gap.following
        if following is not None and following.payload_type == self._current:
            try:
                pcm = self._decoder.recover(following.data)
            except ProtocolError:
                pass  # counted when its own turn comes
            else:
                self.counters.recovered += 1
                return pcm
        self.counters.concealed += 1
        return self._decoder.conceal()

    def _paced(self, pcm: bytes, pace: Pace, now: float) -> bytes:
        """Play on evenly, or, where nothing is lost by it, faster or slower."""
        peak = max(memoryview(pcm).cast("h")[::_STRIDE], default=0)
        self._loud = max(peak, self._loud * _FADE)
        if pace is Pace.EVEN:
            return pcm
        if pace is Pace.FASTER_NOW:
            return self._hurry(pcm, now)
        if peak > self._loud * _QUIET:
            return pcm
        if pace is Pace.FASTER:
            return self._hurry(pcm, now)
        self._slower = True
        return pcm

    def _hurry(self, pcm: bytes, now: float) -> bytes:
        """Play two packets in the time of one: fade from the first into the second."""
        rate = self.rate
        other = self._jitter.pull(now)
        if not isinstance(other, Payload):
            return pcm if isinstance(other, Empty) else pcm + self._fill(other)
        self._jitter.counters.hurried += 1
        following = self._decode(other)
        self._end = other.timestamp + self._units(len(following))
        if self.rate != rate or len(following) != len(pcm):
            return following if self.rate != rate else pcm + following
        return _fade(pcm, following)


@cache
def _shape(samples: int) -> struct.Struct:
    return struct.Struct(f"<{samples}h")


def _fade(first: bytes, second: bytes) -> bytes:
    shape = _shape(len(first) // 2)
    count = len(first) // 2
    pairs = zip(shape.unpack(first), shape.unpack(second), strict=True)
    return shape.pack(*((a * (count - i) + b * i) // count for i, (a, b) in enumerate(pairs)))
