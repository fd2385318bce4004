"""H.264 in RTP (RFC 6184): access units cut into payloads, put together again, and looked at.

Sent is packetization-mode 1 (single NAL units, STAP-A, FU-A). Frames are in Annex B form: NAL units
behind start codes.
"""

from __future__ import annotations

import base64
import binascii
import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from securecall.errors import ProtocolError, UsageError

MTU: Final = 1100
"""Bytes of a payload at most: room for SFrame, RTX, SRTP and TURN."""

START_CODE: Final = b"\x00\x00\x00\x01"
"""What stands before each NAL unit in the frames that come out."""

MOST_SETS: Final = 16
"""Parameter sets that signalling may bring, and that are remembered."""

MOST_SET_BYTES: Final = 1024
"""Bytes of each; most have 10 to 40."""

NON_IDR, IDR, SPS, PPS = 1, 5, 7, 8
_STAP_A, _FU_A = 24, 28
_RULE: Final = "RFC 6184 5"


def split_annex_b(frame: bytes) -> Iterator[bytes]:
    """Yield the NAL units of a frame, without start codes and the zeros between."""
    at = frame.find(b"\x00\x00\x01")
    while at >= 0:
        begin = at + 3
        at = frame.find(b"\x00\x00\x01", begin)
        unit = frame[begin : at if at >= 0 else len(frame)].rstrip(b"\x00")
        if unit:
            yield unit


def is_keyframe(frame: bytes) -> bool:
    """Whether the first slice of an Annex B frame is one of an IDR picture."""
    for unit in split_annex_b(frame):
        if 1 <= unit[0] & 0x1F <= IDR:
            return unit[0] & 0x1F == IDR
    return False


def parse_parameter_sets(text: str) -> tuple[bytes, ...]:
    """Read `sprop-parameter-sets` (RFC 6184 8.1): NAL units, without start codes.

    They go to a decoder in front of what the peer sends, and whoever carries the description can
    write them: so nothing but parameter sets may be in them, not behind a start code either.

    Raises:
        ProtocolError: too many or too long, not base64 in its one form, or another NAL unit.
    """
    parts = text.split(",", MOST_SETS)
    if len(parts) > MOST_SETS:
        raise _no_set(f"more than {MOST_SETS}")
    return tuple(map(_parameter_set, parts))


def _parameter_set(text: str) -> bytes:
    if len(text) > MOST_SET_BYTES * 4 // 3 + 4:
        raise _no_set("one is too long")
    try:
        unit = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _no_set("not base64") from None
    if base64.b64encode(unit).decode() != text:
        raise _no_set("not base64 in its one form")
    if not 2 <= len(unit) <= MOST_SET_BYTES:
        raise _no_set("one is too short or too long")
    # H.264 7.4.1: the bit that forbids is 0, and something refers to it
    if unit[0] & 0x1F not in (SPS, PPS) or unit[0] & 0x80 or not unit[0] & 0x60:
        raise _no_set(f"a NAL unit that begins with {unit[0]:#04x}")
    if unit[-1] == 0 or any(code in unit for code in (b"\0\0\0", b"\0\0\1", b"\0\0\2")):
        raise _no_set("more than a NAL unit in one")  # H.264 7.4.1
    return unit


def _no_set(why: str) -> ProtocolError:
    return ProtocolError(f"parameter sets in signalling: {why}", rule="RFC 6184 8.1")


class H264Packetiser:
    """Cuts access units into payloads."""

    __slots__ = ("_mtu",)

    def __init__(self, *, mtu: int = MTU) -> None:
        """Cut into payloads of at most `mtu` bytes."""
        if mtu < 8:
            raise UsageError(f"payloads of {mtu} bytes")
        self._mtu = mtu

    def packetise(self, frame: bytes) -> tuple[bytes, ...]:
        """Return the payloads of a frame in Annex B form; the last one's packet bears the marker.

        Raises:
            UsageError: no NAL unit is in it, or one is of a type that stands for no NAL unit.
        """
        payloads: list[bytes] = []
        waiting: list[bytes] = []
        size = 1
        for unit in split_annex_b(frame):
            if not 1 <= unit[0] & 0x1F <= 23:
                raise UsageError(f"NAL unit of type {unit[0] & 0x1F}")
            if waiting and size + 2 + len(unit) > self._mtu:
                payloads.append(_aggregate(waiting))
                waiting, size = [], 1
            if len(unit) > self._mtu:
                payloads += self._fragment(unit)
            else:
                waiting.append(unit)
                size += 2 + len(unit)
        if waiting:
            payloads.append(_aggregate(waiting))
        if not payloads:
            raise UsageError("an H.264 frame without NAL unit")
        return tuple(payloads)

    def _fragment(self, unit: bytes) -> list[bytes]:
        """Cut a NAL unit evenly into FU-As (5.8)."""
        room = self._mtu - 2
        number = -(-(len(unit) - 1) // room)
        cuts = [1 + (len(unit) - 1) * i // number for i in range(number + 1)]
        indicator, kind = unit[0] & 0xE0 | _FU_A, unit[0] & 0x1F
        return [
            bytes((indicator, kind | (begin == 1) << 7 | (end == len(unit)) << 6)) + unit[begin:end]
            for begin, end in itertools.pairwise(cuts)
        ]


def _aggregate(units: list[bytes]) -> bytes:
    """Return a NAL unit alone, or several in a STAP-A (5.7.1)."""
    if len(units) == 1:
        return units[0]
    header = max(unit[0] & 0x60 for unit in units) | _STAP_A
    return bytes((header,)) + b"".join(len(unit).to_bytes(2) + unit for unit in units)


class H264Depacketiser:
    """Puts frames together; what the frame buffer asks about H.264.

    A picture with which decoding can begin is an IDR picture. Streams that refresh by and by and
    have none (recovery point SEI) are not shown.

    An IDR picture that comes without its parameter sets gets those that are known: what the stream
    brought last, and until it brings some, what signalling did. So a decoder can begin anywhere.
    """

    __slots__ = ("_brought", "_has_pps", "_has_sps", "_sets")

    def __init__(self, parameter_sets: Sequence[bytes] = ()) -> None:
        """Begin with what signalling brought, see `parse_parameter_sets`."""
        self._brought = self._has_sps = self._has_pps = False
        self._sets: tuple[bytes, ...] = ()
        self.expect(parameter_sets)

    def expect(self, parameter_sets: Sequence[bytes]) -> None:
        """Signalling brings these from now on; of no use once the stream brought its own.

        What comes in the stream is sealed end to end, and what comes in signalling is not.
        """
        if self._brought:
            return
        self._sets = tuple(parameter_sets)
        kinds = {unit[0] & 0x1F for unit in self._sets}
        self._has_sps |= SPS in kinds
        self._has_pps |= PPS in kinds

    def begins_keyframe(self, payload: bytes) -> bool:
        """Whether parameter sets or an IDR picture begin here; False for what is malformed.

        An IDR picture without parameter sets counts once there have been any.
        """
        try:
            beginnings = _beginnings(payload)
        except ProtocolError:
            return False
        begins = False
        for unit in beginnings:
            kind = unit[0] & 0x1F
            if kind == SPS:
                self._has_sps = begins = True
            elif kind == PPS:
                self._has_pps = True
            elif kind == IDR and self._has_sps and self._has_pps:
                # first_mb_in_slice is 0: a picture may have several slices (H.264 7.3.3).
                begins |= len(unit) > 1 and unit[1] > 0x7F
        return begins

    def is_keyframe(self, frame: bytes) -> bool:
        """Whether decoding can begin with this frame."""
        return is_keyframe(frame)

    def assemble(self, payloads: Sequence[bytes]) -> bytes:
        """Return the frame in Annex B form whose payloads these are, in order.

        Frames are to come in order, too: each may bring the parameter sets of the next.

        Raises:
            ProtocolError: a payload is malformed, of another packetization-mode, or a fragment
                lacks its neighbours.
        """
        parts: list[bytes] = []
        fragmented = 0  # type of the NAL unit whose fragments are coming
        for payload in payloads:
            kind = _kind(payload)
            if kind == _FU_A:
                begins, ends, inner = _fragment_header(payload)
                if begins == bool(fragmented) or (fragmented and inner != fragmented):
                    raise ProtocolError("FU-A without its neighbours", rule="RFC 6184 5.8")
                if begins:
                    parts += [START_CODE, bytes((payload[0] & 0xE0 | inner,))]
                parts.append(payload[2:])
                fragmented = 0 if ends else inner
                continue
            if fragmented:
                raise ProtocolError("FU-A without its end", rule="RFC 6184 5.8")
            for unit in _units(payload, kind):
                parts += [START_CODE, unit]
        if fragmented or not parts:
            raise ProtocolError("H.264 frame without its end", rule="RFC 6184 5.8")
        return self._completed(b"".join(parts))

    def _completed(self, frame: bytes) -> bytes:
        """Note the parameter sets of a frame; what begins without gets those that are known."""
        brought: list[bytes] = []
        first = 0  # type of the first slice
        for unit in split_annex_b(frame):
            kind = unit[0] & 0x1F
            if kind in (SPS, PPS):
                brought.append(unit)
            elif NON_IDR <= kind <= IDR:
                first = kind
                break
        complete = any(unit[0] & 0x1F == SPS for unit in brought)
        known = () if complete else tuple(unit for unit in self._sets if unit not in brought)
        if brought:
            self._remember((*known, *brought))
        if first != IDR:
            return frame
        return b"".join(START_CODE + unit for unit in known) + frame

    def _remember(self, sets: tuple[bytes, ...]) -> None:
        self._brought = True
        small = len(sets) <= MOST_SETS and max(map(len, sets)) <= MOST_SET_BYTES
        self._sets = sets if small else ()  # some of them could be older than what is left out


def _kind(payload: bytes) -> int:
    if not payload:
        raise ProtocolError("empty H.264 payload", rule=_RULE)
    if payload[0] & 0x80:
        raise ProtocolError("H.264 payload said to be damaged", rule="RFC 6184 1.3")
    return payload[0] & 0x1F


def _fragment_header(payload: bytes) -> tuple[bool, bool, int]:
    """Return whether the fragment is a NAL unit's first, its last, and the type of that."""
    if len(payload) < 3:
        raise ProtocolError("empty FU-A", rule="RFC 6184 5.8")
    header = payload[1]
    if header > 0xBF:
        raise ProtocolError("FU-A that begins and ends", rule="RFC 6184 5.8")
    if not 1 <= header & 0x1F <= 23:
        raise ProtocolError(f"FU-A of a NAL unit of type {header & 0x1F}", rule="RFC 6184 5.8")
    return header > 0x7F, bool(header & 0x40), header & 0x1F


def _units(payload: bytes, kind: int) -> list[bytes]:
    """Return the NAL units of a payload that is no fragment."""
    if 1 <= kind <= 23:
        return [payload]
    if kind != _STAP_A:
        raise ProtocolError(f"H.264 payload of type {kind}", rule="RFC 6184 5.4")
    units: list[bytes] = []
    at, end = 1, len(payload)
    while at < end:
        stop = at + 2 + int.from_bytes(payload[at : at + 2])
        if stop > end or stop <= at + 2:
            raise ProtocolError("NAL unit beyond its STAP-A", rule="RFC 6184 5.7.1")
        unit = payload[at + 2 : stop]
        if not 1 <= _kind(unit) <= 23:
            raise ProtocolError("STAP-A of what is no NAL unit", rule="RFC 6184 5.7.1")
        units.append(unit)
        at = stop
    if not units:
        raise ProtocolError("empty STAP-A", rule="RFC 6184 5.7.1")
    return units


def _beginnings(payload: bytes) -> list[bytes]:
    """Return the NAL units that begin in a payload, one of them perhaps not whole."""
    kind = _kind(payload)
    if kind != _FU_A:
        return _units(payload, kind)
    begins, _, inner = _fragment_header(payload)
    return [bytes((inner,)) + payload[2:]] if begins else []
