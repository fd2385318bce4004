"""A film: sound and pictures encoded into Matroska, WebM or MP4, one frame at a time."""

from __future__ import annotations

import contextlib
import math
import os
from fractions import Fraction
from pathlib import Path
from typing import IO, Final, NamedTuple, cast

from securecall.errors import DeviceError, UsageError
from securecall.media.files import open_private
from securecall.media.frames import AudioFrame
from securecall.media.video import pyav
from securecall.media.video.codecs import encoder_name
from securecall.media.video.frames import VideoFrame

_RATE: Final = 48_000
_STEP: Final = _RATE // 50
_GAP: Final = 3 * _STEP  # samples: what is less is not filled with silence
_CLOCK: Final = 90_000
_PATIENCE: Final = 2.0  # seconds of sound that wait for the first picture, which sets the size
_SIZE: Final = (640, 360)
_BITS_PER_PIXEL: Final = 0.1
_FPS: Final = 30
_KEYFRAME_EVERY: Final = 120  # pictures: how exactly a player can jump
_AUDIO_BITRATE: Final = 48_000


class _Kind(NamedTuple):
    container: str
    video: str
    audio: str


_KINDS: Final = {
    ".mkv": _Kind("matroska", "VP8", "libopus"),
    ".webm": _Kind("webm", "VP8", "libopus"),
    ".mp4": _Kind("mp4", "H264", "aac"),
}
_OPTIONS: Final[dict[str, dict[str, str]]] = {
    "libvpx": {"deadline": "realtime", "cpu-used": "-6", "lag-in-frames": "0"},
    "libx264": {"preset": "veryfast"},
    "libopenh264": {"allow_skip_frames": "0"},
}


class Film:
    """One file being written; made at the first picture, or after two seconds of sound.

    Attributes:
        encoder: FFmpeg's encoder of the pictures.
        left_out: Pictures that came no later than the one before them.
    """

    def __init__(self, path: Path, *, audio: bool, size: tuple[int, int] | None) -> None:
        """Say where to; nothing is written yet.

        Raises:
            UsageError: the name ends with none of .mkv, .webm and .mp4.
            Unsupported: PyAV, or this encoder in it, is missing.
        """
        kind = _KINDS.get(path.suffix.lower())
        if kind is None:
            raise UsageError(f"a video is recorded as {', '.join(_KINDS)}, not as {path.name!r}")
        self.encoder = encoder_name(kind.video)
        self._path, self._kind = path, kind
        self._wanted_size, self._has_audio = size, audio
        self._held: list[tuple[float, AudioFrame]] = []
        self._file: IO[bytes] | None = None
        self._container: pyav.OutputContainer | None = None
        self._video: pyav.VideoStream | None = None
        self._audio: pyav.AudioStream | None = None
        self._resamplers: dict[tuple[int, int], pyav.AudioResampler] = {}
        self._samples = 0
        self._last_pts = -1
        self.left_out = 0

    @property
    def seconds(self) -> float:
        """How long it is so far, 0.0 while nothing came."""
        return max(0.0, self._last_pts / _CLOCK, self._samples / _RATE)

    def add_picture(self, seconds: float, frame: VideoFrame) -> None:
        """Show a picture from this time of the film on.

        Raises:
            DeviceError: the file cannot be written.
        """
        try:
            self._start(frame.size, seconds)
            self._picture(seconds, frame)
        except (pyav.FFmpegError, OSError) as e:
            raise self._failed(e) from e

    def add_sound(self, seconds: float, frame: AudioFrame) -> None:
        """Let sound begin at this time of the film, or right after what is there already.

        Raises:
            DeviceError: the file cannot be written.
        """
        try:
            if self._container is None:
                self._held.append((seconds, frame))
                if seconds - self._held[0][0] >= _PATIENCE:
                    self._start(_SIZE, math.inf)
            else:
                self._sound(seconds, frame)
        except (pyav.FFmpegError, OSError) as e:
            raise self._failed(e) from e

    def finish(self) -> None:
        """Write what the encoders still hold and what makes the file whole; once.

        Raises:
            DeviceError: the file cannot be written.
        """
        try:
            if self._held:
                self._start(_SIZE, math.inf)
            if self._container is None or self._video is None:
                return
            self._container.mux(self._video.encode(None))
            if self._audio is not None:
                if not self._samples:
                    self._silence(_STEP)  # a track without anything is no valid one
                self._container.mux(self._audio.encode(None))
            self._container.close()
            if self._file is not None:
                self._file.close()
        except (pyav.FFmpegError, OSError) as e:
            raise self._failed(e) from e

    def _failed(self, error: Exception) -> DeviceError:
        """Let go of the file, whatever it says to that."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        return DeviceError(f"cannot record to {self._path}: {error}")

    def _start(self, size: tuple[int, int], first: float) -> None:
        """Make the file and its streams, and write what waited for the picture at `first`."""
        if self._container is not None:
            return
        width, height = ((side + 1) // 2 * 2 for side in self._wanted_size or size)
        self._file = os.fdopen(open_private(self._path, os.O_RDWR), "w+b")
        container = pyav.open(self._file, "w", format=self._kind.container)
        options = _OPTIONS[self.encoder]
        video = cast("pyav.VideoStream", container.add_stream(self.encoder, _FPS, options))
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        context = video.codec_context
        context.time_base = Fraction(1, _CLOCK)
        context.bit_rate = int(width * height * _FPS * _BITS_PER_PIXEL)
        context.gop_size, context.max_b_frames = _KEYFRAME_EVERY, 0
        context.thread_count = 1  # with libvpx's own, small pictures took eight times as long
        if self._has_audio:
            added = container.add_stream(self._kind.audio, _RATE, layout="mono")
            self._audio = cast("pyav.AudioStream", added)
            self._audio.codec_context.bit_rate = _AUDIO_BITRATE
        self._container, self._video = container, video
        held, self._held = self._held, []
        if held and held[0][0] + 1 / _FPS < first:  # nothing was seen so far
            self._picture(held[0][0], VideoFrame.black(width, height))
        for seconds, frame in held:
            self._sound(seconds, frame)

    def _picture(self, seconds: float, frame: VideoFrame) -> None:
        if self._container is None or self._video is None:
            return
        pts = round(seconds * _CLOCK)
        if pts <= self._last_pts:
            self.left_out += 1
            return
        self._last_pts = pts
        picture = frame.fitted(self._video.width, self._video.height).picture()
        picture.pts, picture.time_base = pts, Fraction(1, _CLOCK)
        self._container.mux(self._video.encode(picture))

    def _sound(self, seconds: float, frame: AudioFrame) -> None:
        """Append sound; before it silence where there is a gap, none of it where it is late."""
        gap = round(seconds * _RATE) - self._samples
        if gap >= _GAP:
            self._silence(gap)
        elif gap <= -_GAP:
            return
        key = (frame.sample_rate, frame.channels)
        resampler = self._resamplers.get(key)
        if resampler is None:
            resampler = pyav.AudioResampler(format="s16", layout="mono", rate=_RATE)
            self._resamplers[key] = resampler
        layout = "mono" if frame.channels == 1 else "stereo"
        count = len(frame.samples) // (2 * frame.channels)
        sound = pyav.AudioFrame(format="s16", layout=layout, samples=count)
        sound.planes[0].update(frame.samples)
        sound.sample_rate = frame.sample_rate
        sound.pts = None
        for piece in resampler.resample(sound):
            self._append(piece)

    def _silence(self, samples: int) -> None:
        while samples > 0:
            count = min(samples, _STEP)
            piece = pyav.AudioFrame(format="s16", layout="mono", samples=count)
            piece.planes[0].update(bytes(piece.planes[0].buffer_size))
            self._append(piece)
            samples -= count

    def _append(self, piece: pyav.AudioFrame) -> None:
        if self._container is None or self._audio is None:
            return
        piece.sample_rate, piece.time_base = _RATE, Fraction(1, _RATE)
        piece.pts = self._samples
        self._samples += piece.samples
        self._container.mux(self._audio.encode(piece))
