"""Encoder and decoder beside the event loop: a thread each, results called back on the loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Final

from securecall.errors import ProtocolError
from securecall.media.video.codecs import FrameDecoder, FrameEncoder, require_bitrate
from securecall.media.video.frames import EncodedVideo, VideoFrame
from securecall.media.video.threads import Worker

_MAX_WAITING: Final = 8


class VideoEncoder:
    """Encodes the newest picture; one that comes while the last waits takes its place.

    Everything here is called on the event loop and never waits.

    Attributes:
        bitrate: bit/s aimed at.
        dropped: Pictures that were replaced by newer ones, or left out by the encoder.
        encoded: Pictures handed to `on_encoded`.
    """

    def __init__(
        self,
        codec: str,
        on_encoded: Callable[[EncodedVideo], None],
        *,
        bitrate: int,
        fps: float = 30.0,
    ) -> None:
        """Choose codec ("VP8", "H264") and bit/s; called on the loop that `on_encoded` is for.

        Raises:
            Unsupported: PyAV, or this encoder in it, is missing.
            UsageError: an argument is out of range.
        """
        self._encoder = FrameEncoder(codec, bitrate=bitrate, fps=fps)
        self._on_encoded = on_encoded
        self._loop = asyncio.get_running_loop()
        self._worker: Worker[VideoFrame] = Worker("securecall-encoder", self._encode)
        self._keyframes_wanted = 0  # counted by the loop ...
        self._keyframes_made = 0  # ... and by the thread
        self._closed = False
        self.bitrate = bitrate
        self.dropped = 0
        self.encoded = 0

    @property
    def library(self) -> str:
        """FFmpeg's name of the encoder used, such as "libvpx"."""
        return self._encoder.library

    def submit(self, frame: VideoFrame) -> None:
        """Encode this picture next.

        Raises:
            DeviceError: the encoder failed on an earlier one.
        """
        if self._worker.error is not None:
            raise self._worker.error
        self.dropped += self._worker.replace(frame)

    def set_bitrate(self, bitrate: int) -> None:
        """Aim at so many bit/s from the next picture on.

        Raises:
            UsageError: not 30 kbit/s to 20 Mbit/s.
        """
        require_bitrate(bitrate)
        self.bitrate = bitrate

    def request_keyframe(self) -> None:
        """Make the next picture one that needs no other."""
        self._keyframes_wanted += 1

    def _encode(self, frame: VideoFrame) -> None:
        """Encode; on the thread."""
        if self.bitrate != self._encoder.bitrate:
            self._encoder.set_bitrate(self.bitrate)
        wanted = self._keyframes_wanted
        encoded = self._encoder.encode(frame, keyframe=wanted != self._keyframes_made)
        if encoded is not None:
            self._keyframes_made = wanted
        _call(self._loop, partial(self._done, encoded))

    def _done(self, encoded: EncodedVideo | None) -> None:
        if self._closed:
            return
        if encoded is None:
            self.dropped += 1
            return
        self.encoded += 1
        self._on_encoded(encoded)

    def close(self) -> None:
        """Encode nothing more, and call back no more; safe to call again."""
        self._closed = True
        self._worker.close()


class VideoDecoder:
    """Decodes what comes, in its order; whatever it is, nothing is raised.

    A picture cannot be left out without spoiling those after it. So where more than eight wait,
    and where one cannot be decoded, `on_trouble` says so, and all is dropped until a keyframe:
    ask the other end for one (RFC 4585 6.3.1).

    Attributes:
        decoded: Pictures handed to `on_frame`.
        dropped: Encoded pictures not looked at, for want of a keyframe or of time.
        failed: Encoded pictures that could not be decoded.
        waits_for_keyframe: Nothing else is decoded; so it begins.
    """

    def __init__(
        self,
        codec: str,
        on_frame: Callable[[VideoFrame], None],
        on_trouble: Callable[[ProtocolError], None] = lambda _: None,
    ) -> None:
        """Choose the codec ("VP8", "H264"); called on the loop that the callbacks are for.

        Raises:
            Unsupported: PyAV is not installed.
            UsageError: we have no such codec.
        """
        self._decoder = FrameDecoder(codec)
        self._on_frame, self._on_trouble = on_frame, on_trouble
        self._loop = asyncio.get_running_loop()
        self._worker: Worker[tuple[int, EncodedVideo]] = Worker("securecall-decoder", self._decode)
        self._closed = False
        self._group = 0  # a keyframe and what depends on it
        self.decoded = 0
        self.dropped = 0
        self.failed = 0
        self.waits_for_keyframe = True

    def submit(self, encoded: EncodedVideo) -> None:
        """Decode this next.

        Raises:
            DeviceError: this machine cannot decode at all.
        """
        if self._worker.error is not None:
            raise self._worker.error
        if self.waits_for_keyframe and not encoded.keyframe:
            self.dropped += 1
            return
        if encoded.keyframe:
            self.dropped += self._worker.clear()  # nothing after it needs those before it
            self.waits_for_keyframe = False
            self._group += 1
        elif len(self._worker) >= _MAX_WAITING:
            self.dropped += self._worker.clear() + 1
            self._lose(ProtocolError("pictures come faster than they can be decoded"))
            return
        self._worker.put((self._group, encoded))

    def _lose(self, error: ProtocolError) -> None:
        self.waits_for_keyframe = True
        self._on_trouble(error)

    def _decode(self, job: tuple[int, EncodedVideo]) -> None:
        """Decode; on the thread."""
        group, encoded = job
        try:
            frame = self._decoder.decode(encoded)
        except ProtocolError as e:
            _call(self._loop, partial(self._failed, group, e))
        else:
            if frame is not None:
                _call(self._loop, partial(self._done, frame))

    def _failed(self, group: int, error: ProtocolError) -> None:
        if self._closed:
            return
        self.failed += 1
        if group == self._group and not self.waits_for_keyframe:
            self.dropped += self._worker.clear()
            self._lose(error)

    def _done(self, frame: VideoFrame) -> None:
        if not self._closed:
            self.decoded += 1
            self._on_frame(frame)

    def close(self) -> None:
        """Decode nothing more, and call back no more; safe to call again."""
        self._closed = True
        self._worker.close()


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Call on the loop; where that has ended, nobody listens any more."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function)
