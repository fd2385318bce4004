"""I420 in a row of bytes: its planes, and the way into PyAV's pictures and out of them."""

from __future__ import annotations

from typing import Final

from securecall.media.video import pyav

_BT601: Final = 5
_OTHER_SPACES: Final = frozenset({1, 4, 7, 9})  # BT.709, FCC, SMPTE 240M, BT.2020
_LIMITED, _FULL = 1, 2


def chroma(side: int) -> int:
    """Half of a side, rounded up: that of the colour planes of I420."""
    return (side + 1) // 2


def planes(width: int, height: int) -> tuple[tuple[int, int], ...]:
    """Width and height of the three planes of I420."""
    small = (chroma(width), chroma(height))
    return ((width, height), small, small)


def to_picture(data: bytes, width: int, height: int) -> pyav.VideoFrame:
    """Return packed I420 (BT.601, limited range) as a picture of PyAV's."""
    picture = pyav.VideoFrame(width, height, "yuv420p")
    picture.colorspace, picture.color_range = _BT601, _LIMITED
    view = memoryview(data)
    start = 0
    for plane, (across, down) in zip(picture.planes, planes(width, height), strict=True):
        part = view[start : start + across * down]
        start += across * down
        stride = plane.line_size
        if stride == across:
            plane.update(part)  # type: ignore[arg-type]  # takes any buffer
            continue
        gap = bytes(stride - across)
        rows = (bytes(part[i : i + across]) for i in range(0, len(part), across))
        plane.update(b"".join(row + gap for row in rows).ljust(plane.buffer_size, b"\0"))
    return picture


def from_picture(picture: pyav.VideoFrame, size: tuple[int, int] | None = None) -> bytes:
    """Return a picture of any format as packed I420 (BT.601, limited range), scaled to `size`.

    Raises:
        av.FFmpegError: it cannot be converted.
    """
    width, height = size or (picture.width, picture.height)
    name, space = picture.format.name, picture.colorspace
    full = picture.color_range == _FULL or name.startswith("yuvj")
    other = space in _OTHER_SPACES  # what is not said, or nonsense, is taken for BT.601
    if name != "yuv420p" or full or other or (width, height) != (picture.width, picture.height):
        # The source is named, too: not every PyAV looks at what the picture says of itself.
        picture = picture.reformat(
            width,
            height,
            "yuv420p",
            src_colorspace=space if other else _BT601,
            dst_colorspace=_BT601,
            src_color_range=_FULL if full else _LIMITED,
            dst_color_range=_LIMITED,
        )
    parts: list[bytes | memoryview] = []
    for plane, (across, down) in zip(picture.planes, planes(width, height), strict=True):
        view, stride = memoryview(plane), plane.line_size
        if stride == across:
            parts.append(view[: across * down])
        else:
            parts += [view[i * stride : i * stride + across] for i in range(down)]
    return b"".join(parts)
