"""The door of libopus: finds it, binds it, and hands out encoders and decoders."""

from __future__ import annotations

import ctypes.util
import importlib.util
import math
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, cast

import cffi

from securecall.errors import ProtocolError, Unsupported, UsageError

RATE: Final = 48000
"""The RTP clock of Opus, whatever is inside (RFC 7587 4.1), Hz."""

FRAME: Final = 960
"""Samples in 20 ms at 48 kHz."""

_APPLICATION_VOIP = 2048
_SET_BITRATE, _SET_VBR, _SET_COMPLEXITY = 4002, 4006, 4010
_SET_INBAND_FEC, _SET_PACKET_LOSS, _SET_DTX = 4012, 4014, 4016
_SET_SIGNAL, _SIGNAL_VOICE = 4024, 3001
_SET_MAX_BANDWIDTH, _WIDEBAND, _FULLBAND = 4008, 1103, 1105
_FULLBAND_FROM = 40000
_MAX_PACKET = 1275
_MAX_MILLISECONDS = 120
_MAX_LOSS_PERCENT = 10
_NEGLIGIBLE_PERCENT = 0.2
_LOSSY_COMPLEXITY = 5
_RATES = (8000, 12000, 16000, 24000, 48000)

_DECLARATIONS = """
typedef struct OpusEncoder OpusEncoder;
typedef struct OpusDecoder OpusDecoder;
const char *opus_strerror(int error);
OpusEncoder *opus_encoder_create(int32_t rate, int channels, int application, int *error);
int32_t opus_encode(OpusEncoder *st, const int16_t *pcm, int frame_size,
                    unsigned char *data, int32_t max_data_bytes);
int opus_encoder_ctl(OpusEncoder *st, int request, ...);
void opus_encoder_destroy(OpusEncoder *st);
OpusDecoder *opus_decoder_create(int32_t rate, int channels, int *error);
int opus_decode(OpusDecoder *st, const unsigned char *data, int32_t len,
                int16_t *pcm, int frame_size, int decode_fec);
void opus_decoder_destroy(OpusDecoder *st);
"""

if TYPE_CHECKING:
    _Pointer = cffi.FFI.CData


class _Library(Protocol):
    """The functions declared above, as cffi binds them."""

    def opus_strerror(self, error: int) -> _Pointer: ...
    def opus_encoder_create(
        self, rate: int, channels: int, application: int, error: _Pointer
    ) -> _Pointer: ...
    def opus_encode(
        self, st: _Pointer, pcm: _Pointer, size: int, data: _Pointer, limit: int
    ) -> int: ...
    def opus_encoder_ctl(self, st: _Pointer, request: int, value: _Pointer) -> int: ...
    def opus_encoder_destroy(self, st: _Pointer) -> None: ...
    def opus_decoder_create(self, rate: int, channels: int, error: _Pointer) -> _Pointer: ...
    def opus_decode(
        self,
        st: _Pointer,
        data: bytes | _Pointer,
        size: int,
        pcm: _Pointer,
        frame_size: int,
        fec: int,
    ) -> int: ...
    def opus_decoder_destroy(self, st: _Pointer) -> None: ...


_ffi = cffi.FFI()
_ffi.cdef(_DECLARATIONS)


def _candidates() -> list[str]:
    """Where libopus may lie: the wheel beside us first, then the system."""
    found: list[str] = []
    spec = importlib.util.find_spec("opuslib_next")  # found, never imported: only its library
    suffix = {"win32": "dll", "darwin": "dylib"}.get(sys.platform, "so")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "_native" / f"libopus.{suffix}"
        if path.is_file():
            found.append(str(path))
        found.extend(str(p) for p in sorted((Path(folder) / "_native").glob(f"*opus*.{suffix}")))
    system = ctypes.util.find_library("opus")
    return [*dict.fromkeys(found), *([system] if system else [])]


@cache
def _library() -> _Library:
    """Load libopus once.

    Raises:
        Unsupported: it is not there.
    """
    for name in _candidates():
        try:
            return cast("_Library", _ffi.dlopen(name))
        except OSError:
            continue
    raise Unsupported("Opus needs libopus: pip install opuslib-next-bundled (or the system's own)")


def is_available() -> bool:
    """Say whether Opus can be offered on this machine."""
    try:
        _library()
    except Unsupported:
        return False
    return True


def _text(pointer: _Pointer) -> str:
    raw = _ffi.string(pointer)
    return raw.decode("ascii", "replace") if isinstance(raw, bytes) else str(raw)


class OpusEncoder:
    """Mono speech at 48 kHz, 20 ms a packet, every packet of the same size.

    Constant bit rate and no discontinuous transmission, since sizes and pauses betray what is
    said (RFC 6562). In-band redundancy (FEC) is bought with `expect_loss`; it and the complexity it
    needs make a packet cost four times as much, and change what is in it, never its size. Below
    40 kbit/s the sound is limited to wide band (8 kHz), the best use of so few bits for speech.
    """

    samples: Final = FRAME
    rate: Final = RATE

    __slots__ = (
        "_bitrate",
        "_complexity",
        "_encode",
        "_from_buffer",
        "_loss",
        "_packet",
        "_state",
        "_view",
    )

    def __init__(self, *, bitrate: int = 28000, complexity: int = 1) -> None:
        """Make an encoder.

        Args:
            bitrate: 6000..128000 bit/s; a packet has bitrate / 400 bytes.
            complexity: 0 (cheap) to 10, while the listener misses nothing; at least 5 while it
                does. On a clean path 5 costs three times as much as 1 and is hardly heard (PESQ
                4.39 and 4.33); at 5 % loss the redundancy needs it (3.67 and 2.75).

        Raises:
            Unsupported: libopus is not there.
            UsageError: an argument is out of range.
        """
        if not 6000 <= bitrate <= 128000 or not 0 <= complexity <= 10:
            raise UsageError("Opus takes 6000..128000 bit/s and complexity 0..10")
        library = _library()
        error = _ffi.new("int *")
        state = library.opus_encoder_create(RATE, 1, _APPLICATION_VOIP, error)
        _require_ok(int(error[0]))
        self._state = _ffi.gc(state, library.opus_encoder_destroy)
        self._bitrate = bitrate
        self._complexity = complexity
        self._loss = 0
        for request, value in (
            (_SET_BITRATE, bitrate),
            (_SET_VBR, 0),
            (_SET_DTX, 0),
            (_SET_COMPLEXITY, complexity),
            (_SET_SIGNAL, _SIGNAL_VOICE),
            # Left to itself libopus takes 28 kbit/s for full band, which leaves no bits for
            # redundancy at 1 to 5 % loss (PESQ 2.69 instead of 3.67 at 5 %).
            (_SET_MAX_BANDWIDTH, _WIDEBAND if bitrate < _FULLBAND_FROM else _FULLBAND),
        ):
            self._set(request, value)
        self._packet = _ffi.new("unsigned char[]", _MAX_PACKET)
        self._view = _ffi.buffer(self._packet, bitrate // 400)
        self._encode = library.opus_encode
        self._from_buffer = _ffi.from_buffer

    def _set(self, request: int, value: int) -> None:
        _require_ok(_library().opus_encoder_ctl(self._state, request, _ffi.cast("int", value)))

    @property
    def size(self) -> int:
        """Bytes of every packet."""
        return self._bitrate // 400

    def encode(self, pcm: bytes) -> bytes:
        """Return one packet from 960 samples s16le.

        Raises:
            UsageError: not 1920 bytes.
        """
        if len(pcm) != 2 * FRAME:
            raise UsageError("an Opus frame here is 960 samples, 1920 bytes")
        got = self._encode(
            self._state, self._from_buffer("int16_t[]", pcm), FRAME, self._packet, len(self._view)
        )
        if got != len(self._view):
            _require_ok(got)
            raise UsageError("libopus broke its constant bit rate")  # would betray speech
        packet: bytes = self._view[:]
        return packet

    def expect_loss(self, fraction: float) -> None:
        """Tell the encoder the loss its listener sees, 0..1, from RTCP; capped at 10 %.

        Above the cap more redundancy costs more quality than it saves at this bit rate.
        """
        percent = min(_MAX_LOSS_PERCENT, math.ceil(fraction * 100 - _NEGLIGIBLE_PERCENT))
        percent = max(0, percent)
        if percent == self._loss:
            return
        self._loss = percent
        lossy = max(self._complexity, _LOSSY_COMPLEXITY)
        self._set(_SET_COMPLEXITY, lossy if percent else self._complexity)
        self._set(_SET_INBAND_FEC, 1 if percent else 0)
        self._set(_SET_PACKET_LOSS, percent)


class OpusDecoder:
    """Mono sound out of Opus packets of any kind, with concealment and in-band FEC."""

    __slots__ = ("_decode", "_last", "_out", "_state", "_view", "rate", "samples")

    def __init__(self, *, rate: int = RATE) -> None:
        """Make a decoder whose output has `rate` Hz: 8000, 12000, 16000, 24000 or 48000.

        Raises:
            Unsupported: libopus is not there.
            UsageError: another rate.
        """
        if rate not in _RATES:
            raise UsageError(f"Opus decodes to {_RATES} Hz, not {rate}")
        library = _library()
        error = _ffi.new("int *")
        state = library.opus_decoder_create(rate, 1, error)
        _require_ok(int(error[0]))
        self._state = _ffi.gc(state, library.opus_decoder_destroy)
        self._decode = library.opus_decode
        self.rate = rate
        self.samples = rate // 50
        self._last = self.samples
        self._out = _ffi.new("int16_t[]", rate * _MAX_MILLISECONDS // 1000)
        self._view = _ffi.buffer(self._out)

    def decode(self, payload: bytes) -> bytes:
        """Return the sound of one packet, s16le.

        Raises:
            ProtocolError: not an Opus packet.
        """
        if not payload:  # which libopus would take for a loss of the longest kind
            raise ProtocolError("an empty Opus packet", rule="RFC 6716 3.4 R1")
        got = self._decode(self._state, payload, len(payload), self._out, len(self._out), 0)
        if got < 0:
            raise ProtocolError(f"not an Opus packet: {_error(got)}", rule="RFC 6716 3.4")
        self._last = got
        pcm: bytes = self._view[: 2 * got]
        return pcm

    def conceal(self) -> bytes:
        """Return a guess at one lost packet, as long as the one before it."""
        return self._guess(_ffi.NULL, 0, 0)

    def recover(self, following: bytes) -> bytes:
        """Return a lost packet from the redundancy in the one after it.

        Where `following` carries none, libopus conceals instead.

        Raises:
            ProtocolError: not an Opus packet.
        """
        if not following:
            raise ProtocolError("an empty Opus packet", rule="RFC 6716 3.4 R1")
        return self._guess(following, len(following), 1)

    def _guess(self, data: bytes | _Pointer, size: int, fec: int) -> bytes:
        got = self._decode(self._state, data, size, self._out, self._last, fec)
        if got < 0:
            raise ProtocolError(f"not an Opus packet: {_error(got)}", rule="RFC 6716 3.4")
        pcm: bytes = self._view[: 2 * got]
        return pcm


def _error(code: int) -> str:
    return _text(_library().opus_strerror(code))


def _require_ok(code: int) -> None:
    if code < 0:
        raise UsageError(f"libopus refuses: {_error(code)}")
