"""The audio codecs: what we can offer, and an encoder or decoder for what was agreed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from securecall.errors import ProtocolError, Unsupported, UsageError
from securecall.media import g711, g722, opus
from securecall.media.concealment import Concealer
from securecall.media.description import Codec

OPUS: Final = Codec(
    payload_type=111,
    name="opus",
    clock_rate=48000,
    channels=2,
    # RFC 7587 6.1: what we like to receive; cbr because packet sizes tell words (RFC 6562)
    parameters=(
        ("minptime", "10"), ("useinbandfec", "1"), ("usedtx", "0"), ("cbr", "1"), ("stereo", "0"),
    ),
)  # fmt: skip
"""Mono inside; the two channels and the clock are what RFC 7587 asks of every rtpmap."""

G722: Final = Codec(payload_type=9, name="G722", clock_rate=8000)
"""Sampled at 16 kHz; the clock is a mistake that RFC 3551 4.5.2 keeps for the peace."""

PCMU: Final = Codec(payload_type=0, name="PCMU", clock_rate=8000)
PCMA: Final = Codec(payload_type=8, name="PCMA", clock_rate=8000)

EVENTS: Final = "telephone-event"
"""The name of what carries digits (RFC 4733 2.4.1), on the clock of the codec beside it."""

RED: Final = "red"
"""The name of what carries copies of earlier packets beside its own (RFC 2198)."""

_RED_NUMBER: Final = 63
_EVENT_NUMBERS: Final = {48000: 110, 8000: 101}
_LAWS = ("PCMU", "PCMA")
_PRESENT: Final[Mapping[str, Callable[[], bool]]] = {
    "opus": opus.is_available,
    "g722": g722.is_available,
    "pcmu": lambda: True,
    "pcma": lambda: True,
}


class Encoder(Protocol):
    """Makes one packet from one frame of 20 ms."""

    @property
    def rate(self) -> int:
        """Of the sound, Hz."""
        ...

    @property
    def samples(self) -> int:
        """How many in a frame."""
        ...

    def encode(self, pcm: bytes) -> bytes:
        """Return the payload of one frame; always the same number of bytes."""
        ...

    def expect_loss(self, fraction: float) -> None:
        """Take the loss the listener reports, 0..1."""
        ...


class Decoder(Protocol):
    """Makes sound from packets, and from their absence."""

    @property
    def rate(self) -> int:
        """Of the sound, Hz."""
        ...

    def decode(self, payload: bytes) -> bytes:
        """Return one packet's sound; ProtocolError where it is none."""
        ...

    def conceal(self) -> bytes:
        """Return a guess at one lost packet."""
        ...

    def recover(self, following: bytes) -> bytes:
        """Return a lost packet from the one after it, or a guess."""
        ...


class G711Encoder:
    """PCMU or PCMA at 8 kHz, 160 bytes a packet."""

    rate: Final = g711.RATE
    samples: Final = g711.RATE // 50

    __slots__ = ("_compress",)

    def __init__(self, law: str) -> None:
        """Make an encoder of `law`, "PCMU" or "PCMA"."""
        self._compress = g711.compressor(law)

    def encode(self, pcm: bytes) -> bytes:
        """Return one byte a sample."""
        return self._compress(pcm)

    def expect_loss(self, fraction: float) -> None:
        """Do nothing: there is no redundancy to be had."""


class G711Decoder:
    """PCMU or PCMA at 8 kHz, with our own concealment."""

    rate: Final = g711.RATE

    __slots__ = ("_concealer", "_expand", "_last")

    def __init__(self, law: str) -> None:
        """Make a decoder of `law`, "PCMU" or "PCMA"."""
        self._expand = g711.expander(law)
        self._concealer = Concealer(g711.RATE)
        self._last = g711.RATE // 50

    def decode(self, payload: bytes) -> bytes:
        """Return two bytes for each of the payload's.

        Raises:
            ProtocolError: nothing, or more than 120 ms.
        """
        if not 0 < len(payload) <= 960:
            raise ProtocolError("a G.711 packet of no plausible length", rule="RFC 3551 4.5.14")
        self._last = len(payload)
        return self._concealer.played(self._expand(payload))

    def conceal(self) -> bytes:
        """Return a guess at one lost packet, as long as the one before it."""
        return self._concealer.conceal(self._last)

    def recover(self, following: bytes) -> bytes:
        """Return a guess; G.711 packets say nothing of each other."""
        return self._concealer.conceal(self._last)


def events_beside(codecs: Iterable[Codec]) -> tuple[Codec, ...]:
    """Return what carries digits beside these codecs: one for each clock there is."""
    rates = dict.fromkeys(codec.clock_rate for codec in codecs)
    return tuple(
        Codec(_EVENT_NUMBERS[rate], EVENTS, rate, parameters=(("0-15", ""),))
        for rate in rates
        if rate in _EVENT_NUMBERS
    )


def is_events(codec: Codec) -> bool:
    """Whether this carries digits, and no sound."""
    return codec.name.lower() == EVENTS


def is_red(codec: Codec) -> bool:
    """Whether this is sound with copies of earlier sound."""
    return codec.name.lower() == RED


def is_sound(codec: Codec) -> bool:
    """Whether this is a codec of its own, and rides on no other."""
    return not is_events(codec) and not is_red(codec)


def red_beside(codecs: Iterable[Codec], number: int = _RED_NUMBER) -> tuple[Codec, ...]:
    """Return what carries copies beside these codecs: for Opus alone, whose packets are small."""
    copied = next((codec for codec in codecs if has_recovery(codec)), None)
    if copied is None:
        return ()
    formats = "/".join([str(copied.payload_type)] * 3)  # RFC 2198 5: what is in it, block by block
    return (Codec(number, RED, copied.clock_rate, copied.channels, parameters=((formats, ""),)),)


def copies(red: Codec, codec: Codec) -> bool:
    """Whether packets of `red` carry this codec and nothing else."""
    formats = red.parameters[0][0].split("/") if red.parameters else []
    return (
        is_red(red)
        and red.clock_rate == codec.clock_rate
        and bool(formats)
        and set(formats) == {str(codec.payload_type)}
    )


def usable(names: Iterable[str]) -> tuple[str, ...]:
    """Return those of the named codecs that this machine has, in the same order.

    Raises:
        Unsupported: there is none.
        UsageError: a name means nothing to us.
    """
    wanted = tuple(names)
    for name in wanted:
        if name.lower() not in _PRESENT:
            raise UsageError(f"no codec is called {name!r}")
    found = tuple(name for name in wanted if _PRESENT[name.lower()]())
    if not found:
        raise Unsupported(f"none of the codecs {', '.join(wanted)} is installed here")
    return found


def encoder(codec: Codec, *, bitrate: int = 28000, complexity: int = 1) -> Encoder:
    """Return an encoder for an agreed codec; bit rate and complexity matter to Opus only.

    Raises:
        Unsupported: we have no such codec here.
        UsageError: an argument is out of range.
    """
    if codec.name.upper() in _LAWS:
        return G711Encoder(codec.name.upper())
    if codec.name.upper() == "G722":
        return g722.G722Encoder()
    _require_opus(codec)
    return opus.OpusEncoder(bitrate=bitrate, complexity=complexity)


def decoder(codec: Codec, *, rate: int | None = None) -> Decoder:
    """Return a decoder for an agreed codec; `rate` (Opus only) is the output's, 48 kHz if None.

    Raises:
        Unsupported: we have no such codec here.
        UsageError: the codec cannot give this rate.
    """
    if codec.name.upper() in _LAWS:
        if rate not in (None, g711.RATE):
            raise UsageError(f"G.711 gives {g711.RATE} Hz, not {rate}")
        return G711Decoder(codec.name.upper())
    if codec.name.upper() == "G722":
        if rate not in (None, g722.RATE):
            raise UsageError(f"G.722 gives {g722.RATE} Hz, not {rate}")
        return g722.G722Decoder()
    _require_opus(codec)
    return opus.OpusDecoder(rate=opus.RATE if rate is None else rate)


def has_recovery(codec: Codec) -> bool:
    """Say whether a packet may carry redundancy for the one before it."""
    return codec.name.lower() == "opus"


def _require_opus(codec: Codec) -> None:
    if codec.name.lower() != "opus":
        raise Unsupported(f"no codec {codec.name}/{codec.clock_rate} here")
