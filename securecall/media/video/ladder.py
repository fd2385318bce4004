"""Which size and rate of pictures suit a bit rate, and when to change them."""

from __future__ import annotations

from typing import Final, NamedTuple


class Rung(NamedTuple):
    """A size in pixels, and pictures per second."""

    width: int
    height: int
    fps: int


_RUNGS: Final = (
    (1_500_000, Rung(1280, 720, 30)),
    (900_000, Rung(960, 540, 30)),
    (450_000, Rung(640, 360, 30)),
    (220_000, Rung(640, 360, 15)),
    (0, Rung(320, 180, 15)),
)
"""From how many bit/s on: each gives a pixel some 0.06 bit. With less, fewer pixels look better
than coarser ones."""

_SURPLUS: Final = 1.2


def ladder(bitrate: float) -> Rung:
    """Return what suits so many bit/s, for sources of 16:9."""
    return next((rung for least, rung in _RUNGS if bitrate >= least), _RUNGS[-1][1])


class Ladder:
    """The ladder with a memory: down at once, up only with a fifth more than the rung needs.

    An estimate that swings about a threshold would otherwise change the size, and with it cost
    a keyframe, every time.

    Attributes:
        rung: Where we stand.
    """

    __slots__ = ("rung",)

    def __init__(self, bitrate: float) -> None:
        """Begin with what suits `bitrate`."""
        self.rung = ladder(bitrate)

    def step(self, bitrate: float) -> Rung:
        """Take the bit rate there is now, and return where that leads."""
        if ladder(bitrate) < self.rung:
            self.rung = ladder(bitrate)
        else:
            self.rung = max(self.rung, ladder(bitrate / _SURPLUS))
        return self.rung
