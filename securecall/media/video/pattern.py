"""A test picture that tells its number: moving, the same every time, made without PyAV."""

from __future__ import annotations

import math
from typing import Final

from securecall.errors import UsageError
from securecall.media.video.frames import VideoFrame, require_size
from securecall.media.video.i420 import chroma

_CELLS: Final = 32  # across the top: 4 to find it, 20 of the number, 8 to check
_SYNC: Final = 0b1010
_NUMBER_BITS: Final = 20
_STRIP: Final = 8  # the height's part that the strip takes
_DARK, _BRIGHT = 16, 235
_LEAST: Final = (64, 32)
# White, yellow, cyan, green, magenta, red, blue at 75 %, as Y, U and V (BT.601, limited range).
_BARS: Final = (
    (180, 128, 128), (162, 44, 142), (131, 156, 44), (112, 72, 58),
    (84, 184, 198), (65, 100, 212), (35, 212, 114),
)  # fmt: skip
_TILE: Final = 64


def _texture() -> tuple[bytes, ...]:
    """Rows of grey noise, smooth enough for an encoder to have some work, and no more."""
    state, rows = 1, []
    for _ in range(_TILE):
        row, level = bytearray(), 128.0
        for _ in range(_TILE):
            state = (state * 1103515245 + 12345) & 0x7FFFFFFF
            level += ((state >> 16) % 97 - 48 - (level - 128.0)) * 0.35
            row.append(int(level))
        rows.append(bytes(row))
    return tuple(rows)


_NOISE: Final = _texture()


class TestPattern:
    """Colour bars, a texture that drifts, a band that flickers, and the number of the frame.

    The number stands on top as 32 black and white cells as wide as a 32nd of the picture, which
    survive scaling and hard compression; `read_frame_number` reads it. Its clock is the caller's:
    frame n is due n/fps seconds after the first `read`, and what is asked for late was skipped.

    Attributes:
        live: False: nobody speaks here.
    """

    __test__ = False  # to pytest, which takes the name for its own
    live: Final = False

    def __init__(self, width: int = 640, height: int = 360, fps: float = 30.0) -> None:
        """Choose size and pictures per second.

        Raises:
            UsageError: smaller than 64x32, larger than 4096x4096, or not 1 to 120 a second.
        """
        require_size(width, height)
        if width < _LEAST[0] or height < _LEAST[1] or not 1 <= fps <= 120:
            raise UsageError("a test pattern has at least 64x32 pixels and 1 to 120 pictures/s")
        self._width, self._height, self.fps = width, height, fps
        self._begun: float | None = None
        self._last = -1
        self._closed = False
        self._bars = tuple(
            bytes(_BARS[x * len(_BARS) // w][plane] for x in range(w))
            for plane, w in enumerate((width, chroma(width), chroma(width)))
        )
        self._noise = tuple(row * (width // _TILE + 2) for row in _NOISE)

    def read(self, now: float) -> VideoFrame | None:
        """Return the newest frame due that was not read yet."""
        if self._closed:
            return None
        if self._begun is None:
            self._begun = now
        number = math.floor((now - self._begun) * self.fps + 1e-6)
        if number <= self._last:
            return None
        self._last = number
        return self.frame(number, timestamp=self._begun + number / self.fps)

    def frame(self, number: int, *, timestamp: float | None = None) -> VideoFrame:
        """Return the frame of this number, at number/fps unless said otherwise."""
        width, height = self._width, self._height
        strip, bars = height // _STRIP, height // 2
        flicker = height - height // 16
        rows = [_strip(number, width)] * strip + [self._bars[0]] * (bars - strip)
        drift, hop = number * 2, number * 7 + number * number % 31
        for y in range(bars, height):
            shift = hop + y * 5 if y >= flicker else drift
            row = self._noise[(y + (number if y >= flicker else 0)) % _TILE]
            rows.append(row[shift % _TILE : shift % _TILE + width])
        grey_above, grey_below = chroma(strip), chroma(height) - chroma(bars)
        across = chroma(width)
        for bar in self._bars[1:]:
            rows += [b"\x80" * (across * grey_above), bar * (chroma(bars) - grey_above)]
            rows.append(b"\x80" * (across * grey_below))
        return VideoFrame(
            width=width,
            height=height,
            data=b"".join(rows),
            timestamp=number / self.fps if timestamp is None else timestamp,
        )

    def discard(self) -> None:
        """Do nothing: a pattern is not captured."""

    def close(self) -> None:
        """Show nothing more; safe to call again."""
        self._closed = True


def _check(number: int) -> int:
    """Eight bits that no other number nearby has, and that are not those of a black strip."""
    value = 0xA5
    for shift in (0, 8, 16):
        value = (value * 31 + (number >> shift & 0xFF) + 7) & 0xFF
    return value


def _strip(number: int, width: int) -> bytes:
    number &= (1 << _NUMBER_BITS) - 1
    word = (_SYNC << _NUMBER_BITS | number) << 8 | _check(number)
    cells = [_BRIGHT if word >> (_CELLS - 1 - i) & 1 else _DARK for i in range(_CELLS)]
    return bytes(cells[x * _CELLS // width] for x in range(width))


def read_frame_number(frame: VideoFrame) -> int | None:
    """Return the number a test pattern shows, or None where none can be read with certainty.

    It was drawn modulo 2^20. Scaled and compressed pictures are read, as long as a cell is two
    pixels wide; a wrong number gets past the check once in 4000 damaged strips.
    """
    width, strip = frame.width, frame.height // _STRIP
    if width < 2 * _CELLS or strip < 2:
        return None
    luma = frame.planes[0]
    lines = range(strip // 4, max(strip // 4 + 1, strip * 3 // 4))
    word = 0
    for cell in range(_CELLS):
        left, right = -(-cell * width // _CELLS), -(-(cell + 1) * width // _CELLS)
        margin = (right - left) // 4
        first, end = left + margin, right - margin
        total = sum(sum(luma[y * width + first : y * width + end]) for y in lines)
        word = word << 1 | (total > 128 * (end - first) * len(lines))
    number = word >> 8 & (1 << _NUMBER_BITS) - 1
    if word >> (8 + _NUMBER_BITS) != _SYNC or word & 0xFF != _check(number):
        return None
    return number
