"""One picture on its way in: from opened packets to frames on the sinks, and what to ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Final

from securecall.errors import ProtocolError
from securecall.media.description import Codec
from securecall.media.synchrony import Heard
from securecall.media.video.coders import VideoDecoder
from securecall.media.video.endpoints import VideoSink
from securecall.media.video.frames import EncodedVideo, VideoFrame
from securecall.media.video.payloads import frame_format
from securecall.media.video.presenting import Presenter
from securecall.rtp.frames import (
    FrameBuffer,
    FrameCounters,
    FrameFormat,
    KeyframeNeeded,
    Output,
    ReceivedFrame,
    Resend,
)
from securecall.rtp.h264 import H264Depacketiser

CLOCK: Final = 90_000


class VideoReceiver:
    """Puts frames together, decodes them and hands them out, in step with the sound.

    The codec is what the peer sends now, among those that were agreed; a change of it begins anew.

    Attributes:
        sinks: Who gets the pictures.
        codec: What came last, "" before anything did.
    """

    def __init__(
        self,
        *,
        nack: bool,
        resend: Callable[[tuple[int, ...]], None],
        need_keyframe: Callable[[], None],
        failed: Callable[[Exception], None],
        heard: Callable[[int], Heard | None] = lambda _: None,
        clock: Callable[[], float] | None = None,
        parameter_sets: tuple[bytes, ...] = (),
    ) -> None:
        """Prepare.

        Args:
            nack: The peer sends again what is asked for.
            resend: Ask the peer for these packets.
            need_keyframe: Ask it for a keyframe.
            failed: Told when a sink or the decoder raised; a sink that raised is taken out.
            heard: When the sound that goes with an RTP timestamp is heard; None where nobody knows.
            clock: Monotonic seconds; that of the last `push` or `poll` without it.
            parameter_sets: Of the peer's H.264, as far as signalling brought them.
        """
        self._nack = nack
        self._resend, self._need_keyframe, self._failed = resend, need_keyframe, failed
        self.codec = ""
        self._parameter_sets = parameter_sets
        self._format: FrameFormat | None = None
        self._buffer: FrameBuffer | None = None
        self._decoder: VideoDecoder | None = None
        self._presenter = Presenter(heard, self._give)
        self._clock = clock
        self._last_timestamp: int | None = None
        self._elapsed = self._base = 0
        self._now = 0.0
        self._past = FrameCounters()  # of buffers that were thrown away
        self.sinks: tuple[VideoSink, ...] = ()
        self.shown = 0

    @property
    def counters(self) -> FrameCounters:
        """What happened so far."""
        return self._past if self._buffer is None else _sum(self._past, self._buffer.counters)

    @property
    def frozen_since(self) -> float | None:
        """When the picture froze; None while it moves, and before there was one."""
        return self._buffer.frozen_since if self._buffer is not None else None

    def push(
        self,
        codec: Codec,
        sequence: int,
        timestamp: int,
        payload: bytes,
        *,
        marker: bool,
        now: float,
        round_trip: float | None,
    ) -> None:
        """Take an opened packet of this codec."""
        if codec.name != self.codec:
            self.flush()
            self.codec = codec.name
        buffer = self._buffer
        if buffer is None:
            self._format = frame_format(codec.name, self._parameter_sets)
            buffer = self._buffer = FrameBuffer(self._format, nack=self._nack)
        self._now = now
        if round_trip is not None:
            buffer.round_trip = round_trip
        self._perform(buffer.push(sequence, timestamp, payload, marker=marker, now=now))

    def expect(self, parameter_sets: tuple[bytes, ...]) -> None:
        """Signalling brings these parameter sets of the peer's H.264 from now on."""
        self._parameter_sets = parameter_sets
        if isinstance(self._format, H264Depacketiser):
            self._format.expect(parameter_sets)

    def poll(self, now: float) -> None:
        """Do what time has made due."""
        self._now = now
        self._presenter.poll(now)
        if self._buffer is not None and now >= self._buffer.deadline:
            self._perform(self._buffer.poll(now))

    def flush(self) -> None:
        """Forget all that is not shown yet: the next picture is one that needs no other."""
        self._past = self.counters
        if self._decoder is not None:
            self._decoder.close()
        self._buffer = self._format = self._decoder = None
        self._last_timestamp = None
        self._presenter.clear()

    def _perform(self, outputs: tuple[Output, ...]) -> None:
        for output in outputs:
            match output:
                case ReceivedFrame():
                    self._decode(output)
                case Resend(sequences=sequences):
                    self._resend(sequences)
                case KeyframeNeeded():
                    self._need_keyframe()

    def _decode(self, frame: ReceivedFrame) -> None:
        if not self.sinks:
            return
        try:
            decoder = self._decoder
            if decoder is None:
                decoder = self._decoder = VideoDecoder(self.codec, self._show, self._trouble)
            decoder.submit(
                EncodedVideo(
                    data=frame.data,
                    keyframe=frame.keyframe,
                    timestamp=self._seconds(frame.timestamp),
                )
            )
        except Exception as e:  # noqa: BLE001 - what PyAV has; the call goes on without a picture
            self.sinks = ()
            self._failed(e)

    def _seconds(self, timestamp: int) -> float:
        if self._last_timestamp is not None:
            ahead = (timestamp - self._last_timestamp + 2**31 & 0xFFFFFFFF) - 2**31
            self._elapsed += ahead
        else:
            self._base = timestamp - self._elapsed
        self._last_timestamp = timestamp
        return self._elapsed / CLOCK

    def _trouble(self, error: ProtocolError) -> None:
        del error  # counted by the decoder; a keyframe mends it, and is asked for until it comes
        if self._buffer is not None:
            self._perform(self._buffer.decoder_failed(self._now))

    def _show(self, frame: VideoFrame) -> None:
        timestamp = self._base + round(frame.timestamp * CLOCK) & 0xFFFFFFFF
        now = self._now if self._clock is None else self._clock()
        self._presenter.take(frame, timestamp, now=now)

    def _give(self, frame: VideoFrame) -> None:
        self.shown += 1
        for sink in self.sinks:
            try:
                sink.write(frame)
            except Exception as e:  # noqa: BLE001 - the application's code; the call goes on
                self.sinks = tuple(s for s in self.sinks if s is not sink)
                self._failed(e)


def _sum(one: FrameCounters, other: FrameCounters) -> FrameCounters:
    names = (field.name for field in fields(FrameCounters))
    return FrameCounters(**{name: getattr(one, name) + getattr(other, name) for name in names})
