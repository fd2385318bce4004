"""G.711: PCMU and PCMA by table, and concealment of their lost packets."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from operator import itemgetter
from typing import Final

RATE: Final = 8000
"""Samples per second, Hz (RFC 3551 4.5.14)."""

with warnings.catch_warnings():
    # In the standard library until 3.12; later `audioop-lts`, where somebody installed it.
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        import audioop
    except ImportError:
        audioop = None  # type: ignore[assignment]  # mypy takes a module for a type of its own

_CLIP = 32635
_BIAS = 132


def _ulaw_value(code: int) -> int:
    """Expand one mu-law byte to 16 bits (ITU-T G.711, table 2; bits arrive inverted)."""
    code ^= 0xFF
    magnitude = (((code & 0x0F) << 3) + _BIAS << (code >> 4 & 7)) - _BIAS
    return -magnitude if code & 0x80 else magnitude


def _ulaw_code(sample: int) -> int:
    """Compress one 16-bit sample: sign, segment and the four bits below its leading one."""
    sign = 0x80 if sample < 0 else 0
    sample >>= 2  # the law is one of 14 bits
    magnitude = min((-sample if sample < 0 else sample) << 2, _CLIP) + _BIAS
    segment = magnitude.bit_length() - 8
    return (sign | segment << 4 | magnitude >> segment + 3 & 0x0F) ^ 0xFF


def _alaw_value(code: int) -> int:
    """Expand one A-law byte to 16 bits (ITU-T G.711, table 1; even bits arrive inverted)."""
    code ^= 0x55
    segment, step = code >> 4 & 7, code & 0x0F
    magnitude = (step << 4) + 8 if segment == 0 else (step << 4) + 0x108 << segment - 1
    return magnitude if code & 0x80 else -magnitude


def _alaw_code(sample: int) -> int:
    """Compress one 16-bit sample."""
    sign = 0 if sample < 0 else 0x80
    magnitude = ~sample if sample < 0 else sample
    segment = max(0, magnitude.bit_length() - 8)
    step = magnitude >> (segment + 3 if segment else 4) & 0x0F
    return (sign | segment << 4 | step) ^ 0x55


class _Law:
    """The tables of one law.

    `compress` is indexed by the sample as an unsigned 16-bit number; `low` and `high` give the two
    bytes of a code's little-endian sample, for `bytes.translate`.
    """

    __slots__ = ("compress", "high", "low", "silence")

    def __init__(self, value: Callable[[int], int], code: Callable[[int], int]) -> None:
        values = [value(c) & 0xFFFF for c in range(256)]
        self.low = bytes(v & 0xFF for v in values)
        self.high = bytes(v >> 8 for v in values)
        self.compress = bytes(code(s - 0x10000 if s & 0x8000 else s) for s in range(0x10000))
        self.silence = self.compress[0]


@cache
def _law(name: str) -> _Law:
    """Tables are made when first used, 40 ms each, then shared by all calls."""
    if name == "PCMU":
        return _Law(_ulaw_value, _ulaw_code)
    return _Law(_alaw_value, _alaw_code)


@cache
def _unpacker(samples: int) -> Callable[[bytes], Sequence[int]]:
    return struct.Struct(f"<{samples}H").unpack


def compressor(name: str) -> Callable[[bytes], bytes]:
    """Return the function that makes PCMU or PCMA, one byte a sample, of s16le.

    In C where there is audioop (160 samples in 0.6 us), by `table_compressor` elsewhere.
    """
    if audioop is None:
        return table_compressor(name)
    make = audioop.lin2ulaw if name == "PCMU" else audioop.lin2alaw
    return lambda pcm: make(pcm, 2)


def expander(name: str) -> Callable[[bytes], bytes]:
    """Return the function that makes s16le of PCMU or PCMA.

    In C where there is audioop (160 samples in 0.2 us), by `table_expander` elsewhere.
    """
    if audioop is None:
        return table_expander(name)
    make = audioop.ulaw2lin if name == "PCMU" else audioop.alaw2lin
    return lambda payload: make(payload, 2)


def table_compressor(name: str) -> Callable[[bytes], bytes]:
    """Return the function that makes PCMU or PCMA, one byte a sample, of s16le, in pure Python.

    One `itemgetter` over the whole frame: 160 samples in 5 us, against 8 us for a map of lookups
    (no numpy in the base install).
    """
    table = _law(name).compress

    def compress(pcm: bytes) -> bytes:
        samples = len(pcm) // 2
        if samples < 2:
            return bytes(table[s] for s in _unpacker(samples)(pcm[: samples * 2]))
        return bytes(itemgetter(*_unpacker(samples)(pcm))(table))

    return compress


def table_expander(name: str) -> Callable[[bytes], bytes]:
    """Return the function that makes s16le of PCMU or PCMA, in pure Python; 160 samples in 1 us."""
    low, high = _law(name).low, _law(name).high

    def expand(payload: bytes) -> bytes:
        pcm = bytearray(2 * len(payload))
        pcm[::2] = payload.translate(low)
        pcm[1::2] = payload.translate(high)
        return bytes(pcm)

    return expand
