"""Changing the sample rate of mono sound with a linear-phase filter, in pure Python."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from operator import mul
from typing import Final, cast

_CROSSINGS: Final = 12
_ROLL_OFF: Final = 0.92
_BETA: Final = 7.0
_MAX_PHASES: Final = 640


def _sum_of_products(weights: Sequence[float], values: Sequence[float]) -> float:
    total: float = sum(map(mul, weights, values))
    return total


# math.sumprod is new in 3.12 and four times as fast.
_product = cast(
    "Callable[[Sequence[float], Sequence[float]], float]",
    getattr(math, "sumprod", _sum_of_products),
)


class Resampler:
    """Turns s16le mono of one rate into another, piece by piece.

    A windowed-sinc filter of 12 zero crossings to each side (Kaiser window, pass band to 92 % of
    the lower Nyquist frequency, aliases below -65 dB), one set of weights for each phase of the
    reduced ratio. A second of sound takes some 4 ms of CPU where one rate is a multiple of the
    other; else, to 48 kHz, some 50 (15 from Python 3.12 on); equal rates cost nothing.
    """

    __slots__ = (
        "_down", "_filters", "_half", "_past", "_position", "_up", "_whole", "source", "target",
    )  # fmt: skip

    def __init__(self, source: int, target: int) -> None:
        """Prepare for a stream from `source` Hz to `target` Hz.

        Rates without a common divisor are matched to the nearest ratio with 640 phases at most.
        """
        common = math.gcd(source, target)
        up, down = target // common, source // common
        if up > _MAX_PHASES:
            down, up = round(down * _MAX_PHASES / up), _MAX_PHASES
        self.source, self.target = source, target
        self._up, self._down = up, down
        self._filters, self._half = _design(up, down)
        self._past: list[int] = [0] * (self._half - 1)
        self._whole = _WholeRatio(up, down) if 1 in (up, down) and up != down else None
        self._position = 0  # of the next output, in 1/up input samples, from the first of _past

    def process(self, pcm: bytes) -> bytes:
        """Return what the stream so far yields anew; the filter's delay stays inside."""
        if self._up == self._down:
            return pcm
        if self._whole is not None:
            return self._whole.process(pcm)
        past = self._past
        past.extend(memoryview(pcm).cast("h"))
        up, down, filters, width = self._up, self._down, self._filters, 2 * self._half
        position, out = self._position, list[int]()
        available = len(past) - width
        at, phase = divmod(position, up)
        while at <= available:
            out.append(round(_product(filters[phase], past[at : at + width])))
            position += down
            at, phase = divmod(position, up)
        used = min(at, len(past))
        del past[:used]
        self._position = position - used * up
        if out and (max(out) > 32767 or min(out) < -32768):
            out = [max(-32768, min(32767, value)) for value in out]
        return struct.pack(f"<{len(out)}h", *out)

    def flush(self) -> bytes:
        """Return what the filter still holds, at the end of the stream."""
        return self.process(bytes(2 * self._half))


class _WholeRatio:
    """The same filter where one rate is a multiple of the other: all samples in a few products.

    A stretch of samples is one long integer with 48 bits for each, a phase of the filter another;
    their product holds in each 48 bits the sum of products for one place (Kronecker substitution).
    Weights are whole numbers of 2**-16, so the result stands in the third and fourth byte.
    """

    __slots__ = ("_down", "_past", "_phases", "_taps", "_up")

    def __init__(self, up: int, down: int) -> None:
        filters, half = _design(up, down)
        phases = filters if down == 1 else [filters[0][r::down] for r in range(down)]
        self._up, self._down = up, down
        self._taps = len(phases[0])
        self._phases = [
            sum(round(w * 0x10000) << _LANE * i for i, w in enumerate(reversed(weights)))
            for weights in phases
        ]
        self._past = bytes(2 * (half - 1))

    def process(self, pcm: bytes) -> bytes:
        past = self._past + pcm
        up, down, taps = self._up, self._down, self._taps
        count = (len(past) // 2 - taps * down) // down + 1
        if count <= 0:
            self._past = past
            return b""
        self._past = past[2 * count * down :]
        if down == 1:
            lanes = _spread(past)
            out = array("h", bytes(2 * count * up))
            for phase, weights in enumerate(self._phases):
                out[phase::up] = _gather(lanes * weights, taps, count)
            return out.tobytes()
        samples, used = array("h", past), (count + taps - 1) * down
        parts = (_spread(samples[r:used:down].tobytes()) for r in range(down))
        return _gather(sum(map(mul, parts, self._phases)), taps, count).tobytes()


_LANE: Final = 48
_ABOVE: Final = 1 << _LANE - 1  # makes a lane positive, whatever it holds
_CENTRE: Final = 0x8000_8000  # half of a sample's range, and half a bit to round by


@lru_cache(maxsize=32)  # stretches of sound may have any length
def _ones(lanes: int) -> int:
    return int.from_bytes(b"\1\0\0\0\0\0" * lanes, "little")


def _spread(pcm: bytes) -> int:
    """One lane for each sample, signs and all."""
    wide = bytearray(3 * len(pcm))
    wide[0::6] = pcm[0::2]
    wide[1::6] = pcm[1::2].translate(_FLIPPED)
    return int.from_bytes(wide, "little") - 0x8000 * _ones(len(pcm) // 2)


def _gather(product: int, taps: int, count: int) -> array[int]:
    """The `count` lanes that the whole filter covers, as samples."""
    lanes = count + 2 * taps - 2
    raw = (product + (_ABOVE + _CENTRE) * _ones(lanes)).to_bytes(6 * lanes, "little")
    raw = raw[6 * (taps - 1) : 6 * (taps - 1 + count)]
    if raw[4::6].count(0) == count == raw[5::6].count(0x80):
        pcm = bytearray(2 * count)
        pcm[0::2] = raw[2::6]
        pcm[1::2] = raw[3::6].translate(_FLIPPED)
        return array("h", pcm)
    values = (int.from_bytes(raw[i : i + 6], "little") for i in range(0, len(raw), 6))
    return array("h", [max(0, min(0xFFFF, v - _ABOVE >> 16)) - 0x8000 for v in values])


_FLIPPED: Final = bytes(b ^ 0x80 for b in range(256))


@cache
def _design(up: int, down: int) -> tuple[list[list[float]], int]:
    """Return the weights of each phase, and half their number."""
    scale = min(1.0, up / down)
    half = math.ceil(_CROSSINGS / scale)
    cutoff = scale * _ROLL_OFF
    filters = []
    for phase in range(up):
        offset = phase / up
        weights = []
        for tap in range(2 * half):
            x = tap - (half - 1) - offset
            weights.append(_sinc(cutoff * x) * _kaiser(x / half))
        total = sum(weights)
        filters.append([w / total for w in weights])
    return filters, half


def _sinc(x: float) -> float:
    return math.sin(math.pi * x) / (math.pi * x) if x else 1.0


def _kaiser(x: float) -> float:
    return _bessel(_BETA * math.sqrt(max(0.0, 1 - x * x)))


def _bessel(x: float) -> float:
    """The modified Bessel function I0, by its series."""
    term = total = 1.0
    for k in range(1, 30):
        term *= (x / (2 * k)) ** 2
        total += term
    return total


def to_mono(pcm: bytes, channels: int) -> bytes:
    """Return the mean of interleaved s16le channels."""
    if channels == 1:
        return pcm
    view = memoryview(pcm)[: len(pcm) - len(pcm) % (2 * channels)].cast("h")
    mixed = [
        sum(group) // channels
        for group in zip(*(view[c::channels] for c in range(channels)), strict=True)
    ]
    return array("h", mixed).tobytes()
