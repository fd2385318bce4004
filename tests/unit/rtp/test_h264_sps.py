from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.rtp.h264_sdp import H264Profile
from securecall.rtp.h264_sps import parse_sps

# As x264 writes them; the size is not always a multiple of 16.
SETS = {
    "6742c00dda0507e840000003004000000f23c50aa8": (320, 240, "CONSTRAINED_BASELINE", 13),
    "6742c028da01e0089f9610000003001000000303c8f1832a": (1920, 1080, "CONSTRAINED_BASELINE", 40),
    "6742c01eda0290bf889210000003001000000303c8f162ea": (642, 362, "CONSTRAINED_BASELINE", 30),
    "67f4001e919680a02ff89840000003004000000f23c58ba8": (640, 360, "HIGH_444", 30),
    "677a000dbcb40a843c447c20000003002000000791e28554": (322, 242, "HIGH_422", 13),
}


def written(*fields: int | str, head: bytes = b"\x67\x42\xc0\x1f") -> bytes:
    """A parameter set: strings are bits, numbers are ue(v)."""
    bits = ""
    for field in fields:
        if isinstance(field, str):
            bits += field
        else:
            text = f"{field + 1:b}"
            bits += "0" * (len(text) - 1) + text
    bits += "1" + "0" * (-(len(bits) + 1) % 8)
    data = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    return head + data.replace(b"\x00\x00\x00", b"\x00\x00\x03\x00")


@pytest.mark.parametrize("text", SETS)
def test_the_size_is_known_before_any_decoder(text):
    width, height, profile, level = SETS[text]
    parsed = parse_sps(bytes.fromhex(text))
    assert (parsed.width, parsed.height) == (width, height)
    assert parsed.profile_level.profile is H264Profile[profile]
    assert parsed.profile_level.level == level


def test_fields_are_twice_as_high():
    # id, log2, order 0, its log2, references, no gaps, 40 x 15 macroblocks, fields, cropped by 1.
    unit = written(0, 0, 0, 0, 1, "0", 39, 14, "0", "0", "1", "1", 0, 0, 0, 1)
    parsed = parse_sps(unit)
    assert (parsed.width, parsed.height) == (640, 476)


def test_order_of_type_1_and_scaling_lists_are_read_over():
    order = (0, 1, "1", 0, 0, 2, 5, 6)
    unit = written(0, *order, 1, "0", 19, 14, "1", "1", "0")
    assert (parse_sps(unit).width, parse_sps(unit).height) == (320, 240)
    scaling = ("1", "1", *([0] * 16), *("0" * 7))
    high = (0, 1, 0, 0, "0", *scaling, 0, 2, 1, "0", 19, 14, "1", "1", "0")
    parsed = parse_sps(written(*high, head=b"\x67\x64\x00\x1f"))
    assert (parsed.width, parsed.height) == (320, 240)


REFUSED = {
    "empty": b"",
    "another unit": bytes.fromhex("68ce3c8000"),
    "damaged": bytes.fromhex("e742c00dda0507e84000"),
    "nothing behind the level": bytes.fromhex("6742c01f"),
    "no end of zeros": b"\x67\x42\xc0\x1f" + bytes(40),
    "wider than any level": written(0, 0, 2, 1, "0", 1055, 14, "1", "1", "0"),
    "higher than any level": written(0, 0, 2, 1, "0", 39, 600, "0", "0", "1", "0"),
    "cropped away": written(0, 0, 2, 1, "0", 0, 0, "1", "1", "1", 4, 4, 0, 0),
    "order of type 3": written(0, 0, 3, 1, "0", 39, 14, "1", "1", "0"),
    "a cycle of 256": written(0, 0, 1, "1", 0, 0, 256),
    "chroma format 4": written(0, 4, 0, 0, "00", 0, 2, head=b"\x67\x64\x00\x1f"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_encoder_writes_is_refused(name):
    with pytest.raises(ProtocolError):
        parse_sps(REFUSED[name])


def test_each_cut_is_refused_or_says_the_same():
    for text in SETS:
        unit = bytes.fromhex(text)
        whole = parse_sps(unit)
        for cut in range(len(unit)):
            try:
                assert parse_sps(unit[:cut]) == whole
            except ProtocolError:
                continue


@given(st.sampled_from((b"\x67\x42\xc0\x1f", b"\x67\x64\x00\x1f")), st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_as_a_protocol_error(head, data):
    try:
        parsed = parse_sps(head + data)
    except ProtocolError:
        return
    assert 0 < parsed.width <= 16880
    assert 0 < parsed.height <= 16880
