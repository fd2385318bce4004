"""The test pattern at both ends of a call: as pages draw it, and recognised in what came."""

from __future__ import annotations

import base64
import io

from PIL import Image

from securecall.media.video.frames import VideoFrame
from securecall.media.video.pattern import TestPattern, read_frame_number
from tests.video_quality import ssim

SIZE = (320, 180)
FPS = 15
ALIKE = 0.65  # SSIM; black has 0.39, and what was encoded without haste 0.9 and more


def pattern() -> TestPattern:
    """What either end shows."""
    return TestPattern(*SIZE, FPS)


def drawn(count: int) -> list[str]:
    """The first pictures of it, as addresses that a page can load."""
    found = []
    for number in range(count):
        png = io.BytesIO()
        pattern().frame(number).to_image().save(png, "PNG")
        found.append("data:image/png;base64," + base64.b64encode(png.getvalue()).decode())
    return found


def read_png(png: bytes, box: tuple[int, int, int, int] | None = None) -> VideoFrame:
    """A picture, or a part of it: left, upper, right, lower."""
    return VideoFrame.from_image(Image.open(io.BytesIO(png)).crop(box))


def likeness(frame: VideoFrame) -> tuple[int | None, float]:
    """The number a picture shows, and how alike it is to the picture of that number (SSIM)."""
    number = read_frame_number(frame)
    if number is None:
        return None, 0.0
    return number, ssim(pattern().frame(number), frame.scaled(*SIZE))


def brightest(frame: VideoFrame) -> int:
    """Luma of the brightest pixel: 16 where all is black."""
    return max(frame.planes[0])
