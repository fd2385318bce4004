"""Voice messages: a source recorded into Ogg Opus in memory, and such a recording played again."""

from __future__ import annotations

import asyncio
import secrets
from array import array
from dataclasses import dataclass, field
from typing import Final

from securecall.errors import DeviceError, DeviceLost, ProtocolError, UsageError
from securecall.media.clock import Clock
from securecall.media.endpoints import AudioSource
from securecall.media.ogg import RATE, OggOpus, OggWriter, OpusHead, parse_ogg_opus
from securecall.media.opus import FRAME, OpusDecoder, OpusEncoder
from securecall.media.resample import Resampler

BITRATE: Final = 28000
"""Constant: the length of a message says how long somebody spoke, but not what (RFC 6562)."""

MOST_SECONDS: Final = 15 * 60.0
"""Of our own messages."""

MOST_PLAYED_SECONDS: Final = 2 * 3600.0
"""Of others' messages."""

_COMPLEXITY: Final = 10  # nobody waits for it: 20 ms of sound take about 1 ms
_PRE_SKIP: Final = 312  # what libopus looks ahead at 48 kHz: 6.5 ms
_DIRECT_RATES: Final = (8000, 12000, 16000, 24000, 48000)
_SILENCE: Final = bytes(2 * FRAME)


@dataclass(frozen=True, slots=True)
class VoiceMessage:
    """What was spoken.

    Attributes:
        data: The Ogg Opus file.
        seconds: How long it lasts.
    """

    data: bytes = field(repr=False)
    seconds: float


class VoiceRecorder:
    """Records a source, 20 ms at a time. Nothing of it is written to a disk."""

    def __init__(self, source: AudioSource, *, most_seconds: float = MOST_SECONDS) -> None:
        """Prepare; what the source has captured so far is left out.

        Raises:
            Unsupported: libopus is not there.
        """
        source.discard()
        self._source = source
        self._encoder = OpusEncoder(bitrate=BITRATE, complexity=_COMPLEXITY)
        self._writer = OggWriter(OpusHead(pre_skip=_PRE_SKIP), serial=secrets.randbits(32))
        self._out = bytearray()
        self._frames = 0
        self._most = int(most_seconds * RATE) // FRAME

    @property
    def seconds(self) -> float:
        """Recorded so far."""
        return self._frames * FRAME / RATE

    @property
    def full(self) -> bool:
        """Nothing more is taken."""
        return self._frames >= self._most

    def step(self) -> None:
        """Record 20 ms; silence where the source has nothing.

        Raises:
            DeviceError: the source broke.
        """
        if self.full:
            return
        try:
            pcm = self._source.read(FRAME, RATE) or _SILENCE
        except DeviceLost:  # what is spoken from now on comes from another
            pcm = _SILENCE
        self._out += self._writer.add(self._encoder.encode(pcm))
        self._frames += 1

    def finish(self) -> VoiceMessage:
        """Return what was recorded.

        Raises:
            UsageError: nothing was.
        """
        if not self._frames:
            raise UsageError("nothing was recorded")
        # the encoder still holds the last 6.5 ms
        self._out += self._writer.add(self._encoder.encode(_SILENCE))
        self._out += self._writer.finish(granule=_PRE_SKIP + self._frames * FRAME)
        return VoiceMessage(bytes(self._out), self.seconds)


async def record(
    source: AudioSource, stop: asyncio.Event, *, most_seconds: float = MOST_SECONDS
) -> VoiceMessage:
    """Record until told to stop, or until `most_seconds`; closes the source.

    Raises:
        UsageError: stopped before the first 20 ms.
        DeviceError: the source broke.
        Unsupported: libopus is not there.
    """
    recording = _Recording(VoiceRecorder(source, most_seconds=most_seconds), stop)
    clock = Clock.running()
    clock.add(recording, recording.fail)
    try:
        _ = await stop.wait()
    finally:
        clock.remove(recording)
        source.close()
    if recording.failed is not None:
        raise DeviceError("the recording broke off") from recording.failed
    return recording.recorder.finish()


class _Recording:
    """Recording as the clock drives it."""

    def __init__(self, recorder: VoiceRecorder, stop: asyncio.Event) -> None:
        self.recorder = recorder
        self.failed: Exception | None = None
        self._stop = stop

    def tick(self, now: float) -> None:
        if not self._stop.is_set():
            self.recorder.step()
        if self.recorder.full:
            self._stop.set()

    def skip(self, ticks: int) -> None:
        """What was not read then is read later, or was lost with the machine's sleep."""

    def fail(self, error: Exception) -> None:
        self.failed = error
        self._stop.set()


class VoiceSource:
    """Plays a recording in Ogg Opus: ours, or what a peer sent, stereo mixed to mono.

    Attributes:
        finished: Set when it has been played to its end.
        duration: Seconds of it.
    """

    def __init__(self, data: bytes, *, most_seconds: float = MOST_PLAYED_SECONDS) -> None:
        """Read the whole recording; takes some 0.1 s for every MB.

        Raises:
            ProtocolError: it is none, is damaged, or too long.
            Unsupported: libopus is not there.
        """
        self.finished = asyncio.Event()
        self._recording = parse_ogg_opus(data, most_seconds=most_seconds)
        self.duration = self._recording.seconds
        self._player: _Player | None = None
        self._rate = 0
        self._pending = bytearray()
        self._closed = False

    def read(self, samples: int, rate: int) -> bytes | None:
        """Return the next samples; at the end silence fills the frame, then None."""
        if self._closed:
            return None
        if self._player is None:
            self._player, self._rate = _Player(self._recording, rate), rate
        if rate != self._rate:
            raise UsageError("a recording is played at one rate")
        need = 2 * samples
        while len(self._pending) < need:
            more = self._player.next()
            if more is None:
                break
            self._pending += more
        if not self._pending:
            self.finished.set()
            return None
        pcm = bytes(self._pending[:need])
        del self._pending[:need]
        return pcm.ljust(need, b"\0")

    def discard(self) -> None:
        """Do nothing: a recording is not captured."""

    def close(self) -> None:
        """Play nothing more; safe to call again."""
        self._closed = True


class _Player:
    """Decodes packets in order, leaves out what precedes the beginning and follows the end."""

    def __init__(self, recording: OggOpus, rate: int) -> None:
        direct = rate if rate in _DIRECT_RATES else RATE
        self._decoder = OpusDecoder(rate=direct)
        self._resampler = Resampler(direct, rate) if direct != rate else None
        self._packets = iter(recording.packets)
        self._skip = recording.head.pre_skip * direct // RATE
        self._left = recording.samples * direct // RATE
        self._gain = 10 ** (recording.head.gain / (20 * 256))

    def next(self) -> bytes | None:
        packet = next(self._packets, None)
        if packet is None or not self._left:
            return None
        try:
            pcm = self._decoder.decode(packet)
        except ProtocolError:
            pcm = self._decoder.conceal()  # one bad packet is a click, not the end
        begin = min(self._skip, len(pcm) // 2)
        self._skip -= begin
        pcm = pcm[2 * begin : 2 * (begin + self._left)]
        self._left -= len(pcm) // 2
        if self._gain != 1.0:
            pcm = _louder(pcm, self._gain)
        if self._resampler is None:
            return pcm
        out = self._resampler.process(pcm)
        return out if self._left else out + self._resampler.flush()


def _louder(pcm: bytes, gain: float) -> bytes:
    samples = memoryview(pcm).cast("h")
    return array("h", [max(-32768, min(32767, round(s * gain))) for s in samples]).tobytes()
