"""The door of libg722: wide-band speech at 64 kbit/s (ITU-T G.722), where it is installed."""

from __future__ import annotations

from array import array
from functools import cache
from importlib import import_module
from typing import Final, Protocol, cast

from securecall.errors import ProtocolError, Unsupported, UsageError
from securecall.media.concealment import Concealer

RATE: Final = 16000
"""Samples per second, Hz; the RTP clock counts only 8000 (RFC 3551 4.5.2)."""

_FRAME: Final = RATE // 50
_BITS_PER_SECOND: Final = 64000
_MOST_BYTES: Final = 960  # 120 ms


class _Codec(Protocol):
    """One direction's state."""

    def encode(self, pcm: array[int]) -> bytes: ...  # of bytes it would take each for a sample
    def decode(self, payload: bytes) -> array[int]: ...


class _Module(Protocol):
    """What is used of the G722 package."""

    def G722(self, rate: int, bitrate: int) -> _Codec: ...  # noqa: N802  (its name)


@cache
def _module() -> _Module:
    """Import the package once.

    Raises:
        Unsupported: it is not there.
    """
    try:
        return cast("_Module", import_module("G722"))
    except ImportError as e:
        raise Unsupported("G.722 needs a package that has no wheel here: pip install G722") from e


def is_available() -> bool:
    """Say whether G.722 can be offered on this machine."""
    try:
        _module()
    except Unsupported:
        return False
    return True


class G722Encoder:
    """Mono speech at 16 kHz, 160 bytes a packet."""

    rate: Final = RATE
    samples: Final = _FRAME

    __slots__ = ("_encode",)

    def __init__(self) -> None:
        """Make an encoder.

        Raises:
            Unsupported: the package is not there.
        """
        self._encode = _module().G722(RATE, _BITS_PER_SECOND).encode

    def encode(self, pcm: bytes) -> bytes:
        """Return one packet from 320 samples s16le.

        Raises:
            UsageError: not 640 bytes.
        """
        if len(pcm) != 2 * _FRAME:
            raise UsageError("a G.722 frame here is 320 samples, 640 bytes")
        return self._encode(array("h", pcm))

    def expect_loss(self, fraction: float) -> None:
        """Do nothing: there is no redundancy to be had."""


class G722Decoder:
    """Mono speech at 16 kHz, with our own concealment.

    Any byte is two samples. The predictors know nothing of a lost packet and find back by
    themselves within some milliseconds, under the concealer's cross-fade.
    """

    rate: Final = RATE

    __slots__ = ("_concealer", "_decode", "_last")

    def __init__(self) -> None:
        """Make a decoder.

        Raises:
            Unsupported: the package is not there.
        """
        self._decode = _module().G722(RATE, _BITS_PER_SECOND).decode
        self._concealer = Concealer(RATE)
        self._last = _FRAME

    def decode(self, payload: bytes) -> bytes:
        """Return four bytes for each of the payload's.

        Raises:
            ProtocolError: nothing, or more than 120 ms.
        """
        if not 0 < len(payload) <= _MOST_BYTES:
            raise ProtocolError("a G.722 packet of no plausible length", rule="RFC 3551 4.5.2")
        self._last = 2 * len(payload)
        return self._concealer.played(bytes(self._decode(payload)))

    def conceal(self) -> bytes:
        """Return a guess at one lost packet, as long as the one before it."""
        return self._concealer.conceal(self._last)

    def recover(self, following: bytes) -> bytes:
        """Return a guess; G.722 packets say nothing of each other."""
        return self._concealer.conceal(self._last)
