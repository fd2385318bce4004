"""What video looks like inside the library: pictures in I420, and those pictures encoded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from securecall.errors import Unsupported, UsageError
from securecall.media.video import i420, pyav

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

MAX_SIDE: Final = 4096
"""Pixels: nothing wider or higher is made, encoded or decoded here."""

_BLACK: Final = (b"\x10", b"\x80", b"\x80")


def i420_bytes(width: int, height: int) -> int:
    """Bytes of a picture."""
    return sum(across * down for across, down in i420.planes(width, height))


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFrame:
    """One picture: I420, BT.601 colours of limited range (luma 16 to 235).

    Attributes:
        width: Pixels, 1 to 4096.
        height: Pixels, 1 to 4096.
        data: The planes Y, U and V one after another, rows without gaps; U and V have half the
            width and height, rounded up.
        timestamp: Seconds on the clock of the source.
        audio_time: Of a picture that came in a call, seconds on the clock of the sound that is
            heard there: that of the `AudioFrame` captured with it has the same
            `timestamp / sample_rate`. None until the peer's reports tell (RFC 3550 6.4.1).
    """

    width: int
    height: int
    data: bytes = field(repr=False)
    timestamp: float = 0.0
    audio_time: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is no picture.

        Raises:
            UsageError: sides out of range, or planes of another length.
        """
        require_size(self.width, self.height)
        if len(self.data) != i420_bytes(self.width, self.height):
            raise UsageError(f"{len(self.data)} bytes are no I420 of {self.width}x{self.height}")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return (self.width, self.height)

    @property
    def planes(self) -> tuple[memoryview, memoryview, memoryview]:
        """Y, U and V, without a copy."""
        luma = self.width * self.height
        colour = i420.chroma(self.width) * i420.chroma(self.height)
        view = memoryview(self.data)
        return view[:luma], view[luma : luma + colour], view[luma + colour :]

    @classmethod
    def black(cls, width: int, height: int, *, timestamp: float = 0.0) -> VideoFrame:
        """Make a black picture.

        Raises:
            UsageError: sides out of range.
        """
        require_size(width, height)
        sizes = i420.planes(width, height)
        data = b"".join(v * (w * h) for v, (w, h) in zip(_BLACK, sizes, strict=True))
        return cls(width=width, height=height, data=data, timestamp=timestamp)

    def scaled(self, width: int, height: int) -> VideoFrame:
        """Return the picture in another size, whatever that does to its shape.

        Raises:
            UsageError: sides out of range.
            Unsupported: PyAV is not installed.
        """
        if (width, height) == self.size:
            return self
        require_size(width, height)
        data = i420.from_picture(self.picture(), (width, height))
        return replace(self, width=width, height=height, data=data)

    def fitted(self, width: int, height: int) -> VideoFrame:
        """Return the picture inside another size, its shape kept, black where nothing is left.

        Raises:
            UsageError: sides out of range.
            Unsupported: PyAV is not installed.
        """
        require_size(width, height)
        ratio = min(width / self.width, height / self.height)
        across = min(width, max(2, round(self.width * ratio / 2) * 2))
        down = min(height, max(2, round(self.height * ratio / 2) * 2))
        small = self.scaled(across, down)
        if (across, down) == (width, height):
            return small
        left, top = (width - across) // 4 * 2, (height - down) // 4 * 2
        parts: list[bytes | memoryview] = []
        outer, inner = i420.planes(width, height), i420.planes(across, down)
        layout = zip(small.planes, outer, inner, _BLACK, strict=True)
        for index, (plane, (w, h), (inner_w, inner_h), dark) in enumerate(layout):
            x, y = (left, top) if index == 0 else (left // 2, top // 2)
            before, after = dark * x, dark * (w - x - inner_w)
            parts.append(dark * (w * y))
            for row in range(inner_h):
                parts += [before, plane[row * inner_w : (row + 1) * inner_w], after]
            parts.append(dark * (w * (h - y - inner_h)))
        return replace(self, width=width, height=height, data=b"".join(parts))

    def picture(self) -> pyav.VideoFrame:
        """Return a copy as PyAV's frame, for what only PyAV can do.

        Raises:
            Unsupported: PyAV is not installed.
        """
        return i420.to_picture(self.data, self.width, self.height)

    @classmethod
    def from_picture(cls, picture: pyav.VideoFrame, *, timestamp: float = 0.0) -> VideoFrame:
        """Take over PyAV's frame, of any format.

        Raises:
            UsageError: sides out of range.
        """
        require_size(picture.width, picture.height)
        data = i420.from_picture(picture)
        return cls(width=picture.width, height=picture.height, data=data, timestamp=timestamp)

    def to_numpy(self) -> NDArray[np.uint8]:
        """Return red, green and blue as an array of height x width x 3.

        Raises:
            Unsupported: PyAV or NumPy is not installed.
        """
        try:
            return self.picture().to_ndarray(format="rgb24")  # type: ignore[return-value]  # uint8
        except ImportError as e:
            raise Unsupported("arrays of pixels need: pip install numpy") from e

    @classmethod
    def from_numpy(cls, array: NDArray[np.uint8], *, timestamp: float = 0.0) -> VideoFrame:
        """Make a frame of red, green and blue: height x width x 3, uint8.

        Raises:
            UsageError: the array has another shape or type.
            Unsupported: PyAV or NumPy is not installed.
        """
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != "uint8":
            raise UsageError("a picture is an array of height x width x 3 bytes")
        require_size(array.shape[1], array.shape[0])
        try:
            picture = pyav.VideoFrame.from_ndarray(array, format="rgb24")
        except ImportError as e:
            raise Unsupported("arrays of pixels need: pip install numpy") from e
        return cls.from_picture(picture, timestamp=timestamp)

    def to_image(self) -> Image:
        """Return the picture as Pillow's image.

        Raises:
            Unsupported: PyAV or Pillow is not installed.
        """
        try:
            image: Image = self.picture().to_image()  # type: ignore[no-untyped-call]  # PyAV's lack
        except ImportError as e:
            raise Unsupported("images need: pip install pillow") from e
        return image

    @classmethod
    def from_image(cls, image: Image, *, timestamp: float = 0.0) -> VideoFrame:
        """Make a frame of Pillow's image, of any mode.

        Raises:
            UsageError: it is too large.
            Unsupported: PyAV or Pillow is not installed.
        """
        require_size(image.width, image.height)
        try:
            picture = pyav.VideoFrame.from_image(image)  # type: ignore[no-untyped-call]  # PyAV's lack
        except ImportError as e:
            raise Unsupported("images need: pip install pillow") from e
        return cls.from_picture(picture, timestamp=timestamp)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedVideo:
    """One encoded picture, whole: what RTP cuts into packets.

    Attributes:
        data: A VP8 frame (RFC 6386), or an H.264 access unit as byte stream (Annex B).
        keyframe: It can be decoded without those before it.
        timestamp: Of the picture, seconds on the clock of the source.
        width: Pixels; 0 where only the decoder will tell.
        height: Pixels; 0 where only the decoder will tell.
    """

    data: bytes = field(repr=False)
    keyframe: bool
    timestamp: float
    width: int = 0
    height: int = 0


def require_size(width: int, height: int) -> None:
    """Refuse a size that no picture may have here.

    Raises:
        UsageError: a side is below 1 or above 4096.
    """
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise UsageError(f"a picture of {width}x{height}; sides are 1 to {MAX_SIDE}")
