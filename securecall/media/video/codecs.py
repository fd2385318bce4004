"""VP8 and H.264 for calls: pictures into bytes and back, one at a time, without waiting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Final, cast

from securecall.errors import DeviceError, ProtocolError, Unsupported, UsageError
from securecall.media.video import pyav
from securecall.media.video.frames import MAX_SIDE, EncodedVideo, VideoFrame

CODECS: Final = ("VP8", "H264")
"""As RTP names them (RFC 7741, RFC 6184)."""

MIN_BITRATE: Final = 30_000
MAX_BITRATE: Final = 20_000_000
MAX_ENCODED: Final = 4 << 20
"""Bytes of an encoded picture: some ten times what one of 4096x4096 takes at 20 Mbit/s."""

_CLOCK: Final = 90_000
_NO_KEYFRAMES: Final = 1_000_000  # of its own; the other end asks for one where it needs it
_H264_ENCODERS: Final = ("libopenh264", "libx264")  # the one that is not under the GPL first
_DECODERS: Final = {"VP8": "vp8", "H264": "h264"}
# How far the rate may go from that of the opening, before the encoder is opened anew.
_VP8_SPAN: Final = 4.0
_X264_HEADROOM: Final = 2.0
_X264_SPAN: Final = 8.0
_OTHER_SPAN: Final = 1.25


def encoder_name(codec: str) -> str:
    """Return the encoder of FFmpeg's that makes this codec here.

    Raises:
        Unsupported: there is none.
        UsageError: a codec of another name.
    """
    require_codec(codec)
    names = ("libvpx",) if codec == "VP8" else _H264_ENCODERS
    for name in names:
        if name in pyav.codecs_available:
            return name
    raise Unsupported(f"FFmpeg was built without {' and '.join(names)}: no {codec} is made here")


def require_codec(codec: str) -> None:
    """Refuse a codec we do not have.

    Raises:
        UsageError: neither VP8 nor H264.
        Unsupported: PyAV is not installed.
    """
    if codec not in CODECS:
        raise UsageError(f"no video codec is called {codec!r}; there are {', '.join(CODECS)}")
    pyav.require_available()


def require_bitrate(bitrate: int) -> None:
    """Refuse a bit rate that no video has.

    Raises:
        UsageError: not 30 kbit/s to 20 Mbit/s.
    """
    if not MIN_BITRATE <= bitrate <= MAX_BITRATE:
        raise UsageError(f"{bitrate} bit/s; video takes {MIN_BITRATE} to {MAX_BITRATE}")


class FrameEncoder:
    """Encodes one picture after another, with no delay and no B-frames.

    Keyframes come first, when asked for, when the size changes, and when the bit rate leaves what
    an open encoder can follow. libvpx cannot change its bit rate through FFmpeg at all. It shares
    bits out by the time between pictures, though: told that twice as many come, it makes each half
    as large. So its clock runs faster or slower than ours, and follows within a few pictures;
    beyond a factor of 4 it is opened anew. libx264 takes a new rate up to that of its opening,
    which is therefore twice what was asked.

    Attributes:
        codec: "VP8" or "H264".
        library: FFmpeg's name of the encoder used.
        bitrate: bit/s aimed at.
        opened: Times the encoder was opened.
    """

    def __init__(self, codec: str, *, bitrate: int, fps: float = 30.0) -> None:
        """Choose codec, bit/s and the pictures per second to expect, which may differ.

        Raises:
            Unsupported: PyAV, or this encoder in it, is missing.
            UsageError: an argument is out of range.
        """
        self.library = encoder_name(codec)
        if not 1 <= fps <= 120:
            raise UsageError("1 to 120 pictures per second")
        self.codec = codec
        self.bitrate = 0
        self.opened = 0
        self._fps = Fraction(fps).limit_denominator(1001)
        self._context: pyav.VideoCodecContext | None = None
        self._size = (0, 0)
        self._base = 0  # bit/s the encoder was opened with
        self._timestamp: float | None = None
        self._clock = 0.0
        self.set_bitrate(bitrate)

    def set_bitrate(self, bitrate: int) -> None:
        """Aim at so many bit/s from the next picture on.

        Raises:
            UsageError: not 30 kbit/s to 20 Mbit/s.
        """
        require_bitrate(bitrate)
        self.bitrate = bitrate
        if self._context is None:
            return
        if not self._can_follow(bitrate):
            self._context = None
        elif self.library == "libx264":
            self._context.bit_rate = bitrate

    def _can_follow(self, bitrate: int) -> bool:
        ratio = bitrate / self._base
        if self.library == "libvpx":
            return 1 / _VP8_SPAN <= ratio <= _VP8_SPAN
        if self.library == "libx264":
            return 1 / _X264_SPAN <= ratio <= 1
        return 1 / _OTHER_SPAN <= ratio <= _OTHER_SPAN

    def encode(self, frame: VideoFrame, *, keyframe: bool = False) -> EncodedVideo | None:
        """Return the encoded picture, or None where the encoder left it out.

        Raises:
            DeviceError: FFmpeg cannot do it.
        """
        if self._context is None or frame.size != self._size:
            self._context = self._open(frame)
        picture = frame.picture()
        picture.pts, picture.time_base = self._advance(frame.timestamp), Fraction(1, _CLOCK)
        picture.pict_type = pyav.KEYFRAME if keyframe else 0
        try:
            packets = self._context.encode(picture)
        except pyav.FFmpegError as e:
            self._context = None
            raise DeviceError(f"{self.library} failed: {e}") from e
        if not packets:
            return None
        return EncodedVideo(
            data=b"".join(bytes(packet) for packet in packets),
            keyframe=packets[0].is_keyframe,
            timestamp=frame.timestamp,
            width=frame.width,
            height=frame.height,
        )

    def _advance(self, timestamp: float) -> int:
        """Return the encoder's time of a picture: later than the last by at least a tick."""
        usual = 1 / float(self._fps)
        passed = usual if self._timestamp is None else timestamp - self._timestamp
        if not 0 < passed <= 1:  # the source's clock jumped, or was paused
            passed = usual
        self._timestamp = timestamp
        pace = self.bitrate / self._base if self.library == "libvpx" else 1.0
        self._clock += max(1.0, passed * pace * _CLOCK)
        return int(self._clock)

    def _open(self, frame: VideoFrame) -> pyav.VideoCodecContext:
        headroom = _X264_HEADROOM if self.library == "libx264" else 1.0
        self._base = base = int(self.bitrate * headroom)
        self._size = frame.size
        context = cast("pyav.VideoCodecContext", pyav.CodecContext.create(self.library, "w"))
        context.width, context.height = frame.size
        context.pix_fmt = "yuv420p"
        context.time_base, context.framerate = Fraction(1, _CLOCK), self._fps
        context.bit_rate = base
        context.gop_size = _NO_KEYFRAMES
        context.max_b_frames = 0
        context.thread_count = 1  # this one; the other cores are for other pictures
        context.options = dict(_OPTIONS[self.library](base))
        try:
            context.open()
            if base != self.bitrate:
                context.bit_rate = self.bitrate
        except (pyav.FFmpegError, ValueError) as e:
            raise DeviceError(f"{self.library} cannot be opened for {frame.size}: {e}") from e
        self.opened += 1
        return context


def _vpx_options(bitrate: int) -> Mapping[str, str]:
    return {
        "deadline": "realtime",
        "cpu-used": "-8",  # negative: this speed, whatever else the machine is doing
        "lag-in-frames": "0",
        "error-resilient": "1",
        "minrate": str(bitrate),  # with maxrate: constant
        "maxrate": str(bitrate),
        "bufsize": str(bitrate),  # one second, filled to 0.6 at first: a good first picture
        "rc_init_occupancy": str(bitrate * 3 // 5),
        "qmin": "4",
        "qmax": "60",
        "undershoot-pct": "95",
        "overshoot-pct": "15",
        "max-intra-rate": "900",  # % of a picture's share; with less the next one is as large
        "static-thresh": "1",
        "auto-alt-ref": "0",
    }


def _x264_options(bitrate: int) -> Mapping[str, str]:
    return {
        "preset": "veryfast",
        "tune": "zerolatency",
        "profile": "baseline",
        "forced-idr": "1",
        "sc_threshold": "0",
        "maxrate": str(bitrate),  # as large as the bit rate: only so can that be changed later
        "bufsize": str(bitrate // 8),  # a quarter of a second of what was asked: no huge keyframe
    }


def _openh264_options(bitrate: int) -> Mapping[str, str]:
    return {
        "profile": "constrained_baseline",
        "rc_mode": "bitrate",
        "allow_skip_frames": "1",  # or it takes half as much again as it was given
        "maxrate": str(bitrate),
    }


_OPTIONS: Final[Mapping[str, Callable[[int], Mapping[str, str]]]] = {
    "libvpx": _vpx_options,
    "libx264": _x264_options,
    "libopenh264": _openh264_options,
}


class FrameDecoder:
    """Decodes one picture after another; what a stranger sends may be anything.

    Attributes:
        codec: "VP8" or "H264".
    """

    def __init__(self, codec: str) -> None:
        """Choose the codec.

        Raises:
            Unsupported: PyAV is not installed.
            UsageError: we have no such codec.
        """
        require_codec(codec)
        self.codec = codec
        self._context = self._open()

    def _open(self) -> pyav.VideoCodecContext:
        created = pyav.CodecContext.create(_DECODERS[self.codec], "r")
        context = cast("pyav.VideoCodecContext", created)
        context.thread_count = 1  # with more, pictures come late
        # Refused before memory is taken: a header of ten bytes can claim 16383x16383.
        context.options = {"max_pixels": str(MAX_SIDE * MAX_SIDE), "flags": "+low_delay"}
        context.open()
        return context

    def decode(self, encoded: EncodedVideo) -> VideoFrame | None:
        """Return the picture, or None where this was not shown or not the whole of one.

        Raises:
            ProtocolError: it cannot be decoded, or is larger than 4096x4096 or 4 MB. The next
                keyframe can be decoded all the same.
        """
        if not encoded.data or len(encoded.data) > MAX_ENCODED:
            raise ProtocolError(f"an encoded picture of {len(encoded.data)} bytes")
        try:
            pictures = self._context.decode(pyav.Packet(encoded.data))
        except pyav.FFmpegError as e:
            self._context = self._open()  # what state it is in, nobody promises
            raise ProtocolError(f"{self.codec} that cannot be decoded: {e}") from e
        if not pictures:
            return None
        picture = pictures[-1]
        if picture.is_corrupt:
            raise ProtocolError(f"{self.codec} with a hole in it")
        if max(picture.width, picture.height) > MAX_SIDE:
            raise ProtocolError(f"a picture of {picture.width}x{picture.height}")
        try:
            return VideoFrame.from_picture(picture, timestamp=encoded.timestamp)
        except (pyav.FFmpegError, ValueError) as e:  # its header may name any format of pixels
            raise ProtocolError(f"{self.codec} in colours that cannot be shown: {e}") from e
