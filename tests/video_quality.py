"""How alike two pictures are, and which of the received belongs to which of the sent."""

from __future__ import annotations

from fractions import Fraction

from av.filter import Graph

from securecall.media.video.frames import VideoFrame
from securecall.media.video.pattern import TestPattern, read_frame_number


def ssim(one: VideoFrame, other: VideoFrame) -> float:
    """Structural similarity of two pictures of one size, all planes: 1.0 is the same (FFmpeg)."""
    graph = Graph()
    ends = [
        graph.add_buffer(
            width=f.width, height=f.height, format="yuv420p", time_base=Fraction(1, 1000)
        )
        for f in (one, other)
    ]
    compare, out = graph.add("ssim"), graph.add("buffersink")
    for index, end in enumerate(ends):
        end.link_to(compare, 0, index)
    compare.link_to(out)
    graph.configure()
    for end, frame in zip(ends, (one, other), strict=True):
        picture = frame.picture()
        picture.pts, picture.time_base = 0, Fraction(1, 1000)
        end.push(picture)
        end.push(None)
    return float(out.pull().metadata["lavfi.ssim.All"])


def similarities(
    sent: dict[int, VideoFrame], received: list[VideoFrame]
) -> list[tuple[int | None, float]]:
    """For each received test picture its number, and how alike it is to the sent one of that.

    A received picture of another size is scaled to that of the sent one first. Where no number
    can be read, or none such was sent, the number is None and the likeness 0.
    """
    found: list[tuple[int | None, float]] = []
    for frame in received:
        number = read_frame_number(frame)
        if number is None or number not in sent:
            found.append((None, 0.0))
            continue
        original = sent[number]
        found.append((number, ssim(original, frame.scaled(*original.size))))
    return found


class KeptPattern:
    """The moving test picture as a source that remembers what it showed, by number."""

    live = False

    def __init__(self, width: int, height: int, fps: int) -> None:
        self._pattern = TestPattern(width, height, fps)
        self.frames: dict[int, VideoFrame] = {}

    def read(self, now: float) -> VideoFrame | None:
        frame = self._pattern.read(now)
        number = read_frame_number(frame) if frame is not None else None
        if frame is not None and number is not None:
            self.frames[number] = frame
        return frame

    def discard(self) -> None:
        self._pattern.discard()

    def close(self) -> None:
        self._pattern.close()
