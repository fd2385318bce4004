from __future__ import annotations

import pytest

from securecall.errors import ProtocolError, UsageError
from securecall.rtp.h264_sdp import (
    DEFAULT,
    LEVEL_1B,
    MAX_PARAMETER_SETS,
    H264Profile,
    answer_profile_level,
    build_sprop,
    parse_profile_level,
    parse_sprop,
)

# RFC 6184 table 5, and what browsers and phones offer.
PROFILES = {
    "42e01f": H264Profile.CONSTRAINED_BASELINE,
    "42c01f": H264Profile.CONSTRAINED_BASELINE,
    "42F01F": H264Profile.CONSTRAINED_BASELINE,
    "4d801f": H264Profile.CONSTRAINED_BASELINE,
    "58c01f": H264Profile.CONSTRAINED_BASELINE,
    "42001f": H264Profile.BASELINE,
    "42a01f": H264Profile.BASELINE,
    "58a01f": H264Profile.BASELINE,
    "4d001f": H264Profile.MAIN,
    "4d401f": H264Profile.MAIN,
    "58001f": H264Profile.EXTENDED,
    "640c1f": H264Profile.CONSTRAINED_HIGH,
    "64001f": H264Profile.HIGH,
    "6e001f": H264Profile.HIGH_10,
    "7a101f": H264Profile.HIGH_422_INTRA,
    "2c101f": H264Profile.CAVLC_444_INTRA,
    "42e11f": None,
    "4d201f": None,
    "ff001f": None,
}


@pytest.mark.parametrize("text", PROFILES)
def test_profiles_are_told_by_what_decodes_them(text):
    parsed = parse_profile_level(text)
    assert parsed.profile is PROFILES[text]
    assert str(parsed) == text.lower()


@pytest.mark.parametrize("text", ["", "42e0", "42e01", "42e01fff", "42 e0 ", "zze01f", "42e0ff"])
def test_what_is_no_profile_level_id_is_refused(text):
    with pytest.raises(ProtocolError):
        parse_profile_level(text)


def test_level_1b_is_spelled_in_two_ways():
    assert parse_profile_level("42f00b").level == LEVEL_1B
    assert parse_profile_level("42e00b").level == 11
    assert parse_profile_level("640009").level == LEVEL_1B
    assert str(parse_profile_level("42e01f").with_level(LEVEL_1B)) == "42f00b"
    assert str(parse_profile_level("42f00b").with_level(31)) == "42e01f"
    assert str(parse_profile_level("64001f").with_level(LEVEL_1B)) == "640009"


def test_there_are_no_other_levels():
    with pytest.raises(UsageError):
        DEFAULT.with_level(33)


ANSWERS = [
    # offered, ours, both allow asymmetry, answer
    ("42e01f", "42e01f", False, "42e01f"),
    ("42e00d", "42e01f", False, "42e00d"),
    ("42e034", "42e01f", False, "42e01f"),
    ("42e00d", "42e01f", True, "42e01f"),
    ("42e034", "42e01f", True, "42e01f"),
    ("4d801f", "42e01e", False, "4d801e"),  # the same profile, spelled as in the offer
    ("42f00b", "42e01f", False, "42f00b"),
    ("42e00b", "42f00b", False, "42f00b"),
    ("420010", "42e01f", False, None),
    ("64001f", "42e01f", True, None),
    ("ff001f", "ff001f", True, None),
]


@pytest.mark.parametrize(("offered", "ours", "asymmetric", "answer"), ANSWERS)
def test_the_answer_has_the_profile_of_the_offer_and_a_level_both_can(
    offered, ours, asymmetric, answer
):
    offered = offered.replace("420010", str(DEFAULT))
    got = answer_profile_level(
        parse_profile_level(offered), parse_profile_level(ours), asymmetric=asymmetric
    )
    assert (None if got is None else str(got)) == answer


def test_parameter_sets_come_back():
    text = "Z0LAFtkA2D3n4QAAAwABAAADADyPFi5I,aMuDyyA="
    units = parse_sprop(text)
    assert [unit[0] for unit in units] == [0x67, 0x68]
    assert build_sprop(units) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Z0LAFg==,",
        "Z0LA!g==",
        "Z0LAF",
        "ZQ==",
        "ZbgA",
        "Z0LÄ",
        ",".join(["Z0LA"] * 33),
        "A" * 9000,
    ],
)
def test_other_parameter_sets_are_refused(text):
    with pytest.raises(ProtocolError):
        parse_sprop(text)


def test_as_many_as_the_limit_are_taken():
    assert len(parse_sprop(",".join(["Z0LA"] * MAX_PARAMETER_SETS))) == MAX_PARAMETER_SETS
