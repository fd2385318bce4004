"""What signalling says of H.264 (RFC 6184 8): profile and level, and parameter sets."""

from __future__ import annotations

import base64
import binascii
import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from securecall.errors import ProtocolError, UsageError

MAX_PARAMETER_SETS: Final = 32
"""NAL units in sprop-parameter-sets at most."""

MAX_SPROP: Final = 8192
"""Characters of sprop-parameter-sets at most."""

LEVEL_1B: Final = 9
"""`ProfileLevel.level` of level 1b, which lies between 10 and 11."""

_RULE: Final = "RFC 6184 8.1"
_SET3: Final = 0x10


class H264Profile(enum.Enum):
    """Profiles by what decodes them (RFC 6184 table 5, and Constrained High of H.264 A.2.4.2)."""

    CONSTRAINED_BASELINE = "constrained baseline"
    BASELINE = "baseline"
    MAIN = "main"
    EXTENDED = "extended"
    CONSTRAINED_HIGH = "constrained high"
    HIGH = "high"
    HIGH_10 = "high 10"
    HIGH_422 = "high 4:2:2"
    HIGH_444 = "high 4:4:4"
    HIGH_10_INTRA = "high 10 intra"
    HIGH_422_INTRA = "high 4:2:2 intra"
    HIGH_444_INTRA = "high 4:4:4 intra"
    CAVLC_444_INTRA = "cavlc 4:4:4 intra"


# profile_idc, which bits of profile-iop count, and what they are.
_PROFILES: Final = (
    (0x42, 0x4F, 0x40, H264Profile.CONSTRAINED_BASELINE),
    (0x4D, 0x8F, 0x80, H264Profile.CONSTRAINED_BASELINE),
    (0x58, 0xCF, 0xC0, H264Profile.CONSTRAINED_BASELINE),
    (0x42, 0x4F, 0x00, H264Profile.BASELINE),
    (0x58, 0xCF, 0x80, H264Profile.BASELINE),
    (0x4D, 0xAF, 0x00, H264Profile.MAIN),
    (0x58, 0xCF, 0x00, H264Profile.EXTENDED),
    (0x64, 0xFF, 0x0C, H264Profile.CONSTRAINED_HIGH),
    (0x64, 0xFF, 0x00, H264Profile.HIGH),
    (0x6E, 0xFF, 0x00, H264Profile.HIGH_10),
    (0x7A, 0xFF, 0x00, H264Profile.HIGH_422),
    (0xF4, 0xFF, 0x00, H264Profile.HIGH_444),
    (0x6E, 0xFF, 0x10, H264Profile.HIGH_10_INTRA),
    (0x7A, 0xFF, 0x10, H264Profile.HIGH_422_INTRA),
    (0xF4, 0xFF, 0x10, H264Profile.HIGH_444_INTRA),
    (0x2C, 0xFF, 0x10, H264Profile.CAVLC_444_INTRA),
)
_LEVELS: Final = (
    10,
    LEVEL_1B,
    11,
    12,
    13,
    20,
    21,
    22,
    30,
    31,
    32,
    40,
    41,
    42,
    50,
    51,
    52,
    60,
    61,
    62,
)
_WITH_SET3: Final = (0x42, 0x4D, 0x58)  # these say level 1b by constraint_set3_flag


@dataclass(frozen=True, slots=True)
class ProfileLevel:
    """A profile-level-id: three bytes of a sequence parameter set.

    Attributes:
        profile_idc: The first byte.
        profile_iop: The second: constraint_set flags.
        level_idc: The third: ten times the level, save for level 1b.
    """

    profile_idc: int
    profile_iop: int
    level_idc: int

    @property
    def profile(self) -> H264Profile | None:
        """What it names; None where no standard does."""
        for idc, mask, value, profile in _PROFILES:
            if idc == self.profile_idc and self.profile_iop & mask == value:
                return profile
        return None

    @property
    def level(self) -> int:
        """Ten times the level, or `LEVEL_1B`."""
        says_1b = self.profile_idc in _WITH_SET3 and self.profile_iop & _SET3
        return LEVEL_1B if self.level_idc == 11 and says_1b else self.level_idc

    def with_level(self, level: int) -> ProfileLevel:
        """Return the same profile, spelled alike, at another level.

        Raises:
            UsageError: there is no such level.
        """
        if level not in _LEVELS:
            raise UsageError(f"H.264 has no level {level}")
        if self.profile_idc not in _WITH_SET3:
            return replace(self, level_idc=level)
        if level == LEVEL_1B:
            return replace(self, profile_iop=self.profile_iop | _SET3, level_idc=11)
        return replace(self, profile_iop=self.profile_iop & ~_SET3, level_idc=level)

    def __str__(self) -> str:
        return bytes((self.profile_idc, self.profile_iop, self.level_idc)).hex()


DEFAULT: Final = ProfileLevel(0x42, 0, 10)
"""What is meant where no profile-level-id is given: Baseline at level 1."""


def parse_profile_level(text: str) -> ProfileLevel:
    """Parse a profile-level-id, six hexadecimal digits.

    Raises:
        ProtocolError: they are not, or it names no level.
    """
    try:
        numbers = bytes.fromhex(text)
    except ValueError:
        numbers = b""
    if len(numbers) != 3 or len(text) != 6:
        raise ProtocolError("profile-level-id is not six hexadecimal digits", rule=_RULE)
    parsed = ProfileLevel(*numbers)
    if parsed.level not in _LEVELS:
        raise ProtocolError(f"H.264 has no level {parsed.level}", rule=_RULE)
    return parsed


def answer_profile_level(
    offered: ProfileLevel, ours: ProfileLevel, *, asymmetric: bool
) -> ProfileLevel | None:
    """Return the profile-level-id of an answer; None where the profiles differ (8.2.2).

    Args:
        offered: The peer's.
        ours: The highest that we can decode.
        asymmetric: Both sides say level-asymmetry-allowed=1: the answer says what we can receive,
            whatever the offer said. Else both send at the lower of the two levels.
    """
    if offered.profile is None or offered.profile is not ours.profile:
        return None
    if asymmetric:
        return offered.with_level(ours.level)
    return offered.with_level(min(offered.level, ours.level, key=_LEVELS.index))


def parse_sprop(text: str) -> tuple[bytes, ...]:
    """Return the NAL units of sprop-parameter-sets, base64 with commas between.

    Raises:
        ProtocolError: not base64, an empty one, not SPS or PPS and the like, or too much.
    """
    if len(text) > MAX_SPROP or text.count(",") >= MAX_PARAMETER_SETS:
        raise ProtocolError("too many parameter sets", rule=_RULE)
    units: list[bytes] = []
    for part in text.split(","):
        try:
            unit = base64.b64decode(part, validate=True)
        except (binascii.Error, ValueError):
            raise ProtocolError("parameter set is not base64", rule=_RULE) from None
        if len(unit) < 2 or unit[0] & 0x1F not in (7, 8, 13, 15):
            raise ProtocolError("sprop-parameter-sets of another NAL unit", rule=_RULE)
        units.append(unit)
    return tuple(units)


def build_sprop(units: Sequence[bytes]) -> str:
    """Return sprop-parameter-sets; the inverse of `parse_sprop`."""
    return ",".join(base64.b64encode(unit).decode() for unit in units)
