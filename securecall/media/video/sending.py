"""One picture on its way out: from the source's frames to payloads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from securecall.media.description import Codec
from securecall.media.video.coders import VideoEncoder
from securecall.media.video.endpoints import VideoSource
from securecall.media.video.frames import EncodedVideo, VideoFrame
from securecall.media.video.ladder import Ladder
from securecall.media.video.payloads import Packetiser

CLOCK: Final = 90_000
FIRST_BITRATE: Final = 600_000
KEYFRAME_SECONDS: Final = 0.3
"""At most one keyframe in so long, however often the peer asks: each is as large as ten others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutFrame:
    """One encoded picture, cut for RTP, not sealed and not numbered yet.

    Attributes:
        payloads: In order; the last one's packet bears the marker.
        timestamp: Of all of them.
        captured: Monotonic seconds at which the picture was taken from its source.
        keyframe: It needs no other.
    """

    payloads: tuple[bytes, ...]
    timestamp: int
    captured: float
    keyframe: bool


class VideoSender:
    """Encodes one source and cuts it into packets; sends nothing without one.

    A camera that is switched off shows black once, then nothing leaves: whoever is on the other
    side sees no face that froze, and nobody on the way learns more than that it is off.

    Attributes:
        source: What is shown, None for nothing.
        frames: Sent.
        keyframes: Part of `frames`.
    """

    def __init__(
        self,
        codec: Codec,
        packetiser: Packetiser,
        *,
        timestamp: int,
        cut: Callable[[CutFrame], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Prepare.

        Args:
            codec: What is sent.
            packetiser: Of that codec.
            timestamp: Random.
            cut: Given each picture as it is to be sent.
            failed: Told when the source or the encoder failed; it is let go of.
        """
        self._codec = codec
        self._packetiser = packetiser
        self._base = timestamp
        self._cut, self._failed = cut, failed
        self._encoder: VideoEncoder | None = None
        self._source: VideoSource | None = None
        self._bitrate = FIRST_BITRATE
        self._ladder = Ladder(FIRST_BITRATE)
        self._due = 0.0
        self._wanted = False
        self._last_keyframe = float("-inf")
        self._blank: VideoFrame | None = None  # to be shown once
        self._size = (640, 360)
        self._now = 0.0
        self.timestamp = timestamp
        self.frames = 0
        self.keyframes = 0

    @property
    def source(self) -> VideoSource | None:
        """What is shown, None for nothing."""
        return self._source

    @source.setter
    def source(self, source: VideoSource | None) -> None:
        if source is not None:
            source.discard()
            self._blank = None
            self._wanted = True
        elif self._source is not None and self._encoder is not None:
            self._blank = VideoFrame.black(*self._size)
            self._wanted = True
        self._source = source

    @property
    def bitrate(self) -> int:
        """What the encoder aims at, bit/s."""
        return self._bitrate

    @property
    def dropped(self) -> int:
        """Pictures that were not encoded, for want of time."""
        return self._encoder.dropped if self._encoder is not None else 0

    def tick(self, now: float) -> None:
        """Fetch the newest picture, if one is due, and have it encoded."""
        self._now = now
        frame = self._next(now)
        if frame is None:
            return
        try:
            encoder = self._encoder
            if encoder is None:
                encoder = self._encoder = VideoEncoder(
                    self._codec.name, self._encoded, bitrate=self._bitrate
                )
            blank = self._source is None  # and no shadow of what was before it may be left
            if blank or (self._wanted and now - self._last_keyframe >= KEYFRAME_SECONDS):
                self._wanted = False
                self._last_keyframe = now
                encoder.request_keyframe()
            encoder.submit(frame)
        except Exception as e:  # noqa: BLE001 - a device, or what PyAV has; the call goes on
            self._fail(e)

    def _next(self, now: float) -> VideoFrame | None:
        if self._source is None:
            blank, self._blank = self._blank, None
            return None if blank is None else replace(blank, timestamp=now)
        rung = self._ladder.step(self._bitrate)
        try:
            frame = self._source.read(now)
        except Exception as e:  # noqa: BLE001 - the application's code; the call goes on
            self._fail(e)
            return None
        if frame is None or now < self._due:
            return None
        # a third of a frame early is on time: ticks and cameras beat against each other
        self._due = max(self._due, now - 1 / rung.fps) + 0.67 / rung.fps
        fitted = _within(frame, rung.width, rung.height)
        self._size = fitted.size
        return replace(fitted, timestamp=now)

    def _fail(self, error: Exception) -> None:
        self._source = None
        self.close()
        self._failed(error)

    def _encoded(self, encoded: EncodedVideo) -> None:
        self.timestamp = self._base + round(encoded.timestamp * CLOCK) & 0xFFFFFFFF
        self.frames += 1
        self.keyframes += encoded.keyframe
        payloads = self._packetiser.packetise(encoded.data)
        self._cut(
            CutFrame(
                payloads=payloads,
                timestamp=self.timestamp,
                captured=encoded.timestamp,
                keyframe=encoded.keyframe,
            )
        )

    def keyframe(self) -> None:
        """Make the next picture one that needs no other, as the peer asks for."""
        self._wanted = True
        if self._source is None and self._encoder is not None:
            self._blank = VideoFrame.black(*self._size)

    def set_bitrate(self, bitrate: int) -> None:
        """Aim at so many bit/s."""
        self._bitrate = bitrate
        if self._encoder is not None:
            self._encoder.set_bitrate(bitrate)

    def stop(self) -> None:
        """Let nothing that was captured so far leave."""
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None
        self._blank = None
        self._wanted = True
        if self._source is not None:
            self._source.discard()

    def close(self) -> None:
        """Stop, and let go of the source; the application closes it."""
        self.stop()
        self._source = None


def _within(frame: VideoFrame, width: int, height: int) -> VideoFrame:
    """The picture in its own shape, no larger than this, and no larger than it was."""
    ratio = min(1.0, width / frame.width, height / frame.height)
    return frame.scaled(*(max(2, round(side * ratio / 2) * 2) for side in frame.size))
