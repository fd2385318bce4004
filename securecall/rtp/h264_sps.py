"""What an H.264 sequence parameter set says of its pictures (H.264 7.3.2.1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from securecall.errors import ProtocolError
from securecall.rtp.h264_sdp import ProfileLevel

MAX_SPS: Final = 1024
"""Bytes of a parameter set that are looked at."""

_RULE: Final = "H.264 7.3.2.1.1"
_SPS: Final = 7
# Profiles whose parameter sets say more of colours (7.3.2.1.1).
_HIGH: Final = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
_MAX_MACROBLOCKS: Final = 1055  # along a side, at level 6.2: sqrt(8 * 139264) (A.3.1)


@dataclass(frozen=True, slots=True)
class SequenceParameters:
    """Size of the pictures in pixels, and what a decoder of them must be able to do."""

    profile_level: ProfileLevel
    width: int
    height: int


class _Bits:
    """Reads from an RBSP, most significant bit first; ends with a ProtocolError."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data)
        self._left = 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ProtocolError("parameter set ends too early", rule=_RULE)
        return self._value >> self._left & (1 << count) - 1

    def golomb(self) -> int:
        """Read ue(v) (9.1)."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 31:
                raise ProtocolError("number beyond 32 bits", rule="H.264 9.1")
        return (1 << zeros) - 1 + self.read(zeros)

    def signed(self) -> int:
        """Read se(v) (9.1.1)."""
        number = self.golomb()
        return (number + 1) // 2 if number & 1 else -(number // 2)


def parse_sps(unit: bytes) -> SequenceParameters:
    """Parse a NAL unit of type 7.

    Raises:
        ProtocolError: it is another, it ends too early, or the size is none that H.264 has.
    """
    if len(unit) < 5 or unit[0] & 0x9F != _SPS:
        raise ProtocolError("not a sequence parameter set", rule=_RULE)
    # Bytes that keep start codes from appearing inside (7.4.1).
    rbsp = unit[:MAX_SPS].replace(b"\x00\x00\x03", b"\x00\x00")
    profile_level = ProfileLevel(rbsp[1], rbsp[2], rbsp[3])
    bits = _Bits(rbsp[4:])
    bits.golomb()  # seq_parameter_set_id
    chroma = _read_high(bits) if rbsp[1] in _HIGH else 1
    _read_order(bits)
    bits.golomb()  # max_num_ref_frames
    bits.read(1)  # gaps_in_frame_num_value_allowed_flag
    columns, rows = bits.golomb() + 1, bits.golomb() + 1
    frame_only = bits.read(1)
    if not frame_only:
        bits.read(1)  # mb_adaptive_frame_field_flag
    bits.read(1)  # direct_8x8_inference_flag
    width, height = 16 * columns, 16 * rows * (2 - frame_only)
    if columns > _MAX_MACROBLOCKS or height > 16 * _MAX_MACROBLOCKS:
        raise ProtocolError("pictures larger than any level allows", rule="H.264 A.3.1")
    if bits.read(1):
        unit_x = 2 if chroma in (1, 2) else 1
        unit_y = (2 if chroma == 1 else 1) * (2 - frame_only)
        left, right, top, bottom = (bits.golomb() for _ in range(4))
        width -= unit_x * (left + right)
        height -= unit_y * (top + bottom)
    if width <= 0 or height <= 0:
        raise ProtocolError("nothing is left of the picture", rule=_RULE)
    return SequenceParameters(profile_level, width, height)


def _read_high(bits: _Bits) -> int:
    """Read over what the higher profiles say; return chroma_format_idc, 0 for separate planes."""
    chroma = bits.golomb()
    if chroma > 3:
        raise ProtocolError(f"chroma_format_idc {chroma}", rule=_RULE)
    separate = bits.read(1) if chroma == 3 else 0
    bits.golomb()  # bit_depth_luma_minus8
    bits.golomb()  # bit_depth_chroma_minus8
    bits.read(1)  # qpprime_y_zero_transform_bypass_flag
    if bits.read(1):
        for index in range(12 if chroma == 3 else 8):
            if bits.read(1):
                _read_scaling(bits, 16 if index < 6 else 64)
    return 0 if separate else chroma


def _read_scaling(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) & 0xFF
        last = following or last


def _read_order(bits: _Bits) -> None:
    bits.golomb()  # log2_max_frame_num_minus4
    kind = bits.golomb()  # pic_order_cnt_type
    if kind == 0:
        bits.golomb()
    elif kind == 1:
        bits.read(1)
        bits.signed()
        bits.signed()
        cycle = bits.golomb()
        if cycle > 255:
            raise ProtocolError(f"{cycle} frames in a cycle", rule="H.264 7.4.2.1.1")
        for _ in range(cycle):
            bits.signed()
    elif kind > 2:
        raise ProtocolError(f"pic_order_cnt_type {kind}", rule=_RULE)
