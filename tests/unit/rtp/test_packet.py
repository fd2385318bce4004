from __future__ import annotations

import pytest

from securecall.errors import ProtocolError, UsageError
from securecall.rtp.packet import (
    RtpPacket,
    build_extensions,
    build_rtp,
    parse_extensions,
    parse_rtp,
    rtp_header,
    split_rtp,
)
from tests.paths import vectors

HEAD = bytes.fromhex("0060 0001 00000002 00000003")
FULL = RtpPacket(
    payload_type=96,
    marker=True,
    sequence=65535,
    timestamp=2**32 - 1,
    ssrc=7,
    csrcs=(1, 2),
    extension_profile=0xBEDE,
    extension=b"\x10a\0\0",
    payload=b"sound",
    padding=3,
)


def first(byte: int, rest: bytes = b"") -> bytes:
    return bytes((byte,)) + HEAD[1:] + rest


REFUSED = {
    "empty": b"",
    "a byte short": first(0x80)[:-1],
    "version 1": first(0x40),
    "version 3": first(0xC0),
    "CSRCs beyond": first(0x8F, bytes(59)),
    "extension without header": first(0x90, bytes(3)),
    "extension beyond": first(0x90, bytes.fromhex("bede 0002 00000000")),
    "65535 words of extension": first(0x90, bytes.fromhex("bede ffff 00000000")),
    "padding of nothing": first(0xA0),
    "padding of zero": first(0xA0, b"abc\0"),
    "padding into the header": first(0xA0, b"abc\5"),
    "padding into the extension": first(0xB0, bytes.fromhex("bede 0001 00000005")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_lengths_that_lie_are_refused(name):
    for parse in (parse_rtp, split_rtp):
        with pytest.raises(ProtocolError):
            parse(REFUSED[name])


def test_every_field_comes_back():
    wire = build_rtp(FULL)
    assert parse_rtp(wire) == FULL
    assert split_rtp(wire) == (0x80 | 96, 65535, 2**32 - 1, 7, b"sound")


def test_the_short_way_builds_the_same_header():
    packet = RtpPacket(payload_type=0, marker=True, sequence=1, timestamp=2, ssrc=3)
    assert rtp_header(0, 1, 2, 3, marker=True) == build_rtp(packet)


def test_only_padding_is_an_empty_payload():
    packet = parse_rtp(first(0xA0, b"\0\0\3"))
    assert (packet.payload, packet.padding) == (b"", 3)


@pytest.mark.parametrize(
    "change",
    [
        {"payload_type": 128},
        {"sequence": 65536},
        {"timestamp": -1},
        {"csrcs": (0,) * 16},
        {"padding": 256},
        {"extension_profile": None},
        {"extension_profile": 1 << 16},
        {"extension": b"abc"},
    ],
)
def test_fields_out_of_range_are_not_built(change):
    fields = {name: getattr(FULL, name) for name in FULL.__slots__} | change
    with pytest.raises(UsageError):
        build_rtp(RtpPacket(**fields))


def test_extension_elements_come_back():
    profile, data = build_extensions({1: b"0", 14: bytes(16)})
    assert len(data) % 4 == 0
    assert parse_extensions(profile, data) == {1: b"0", 14: bytes(16)}
    assert parse_extensions(0x1000, b"\x05\x02ab\0\x06\x00\0") == {5: b"ab", 6: b""}
    assert parse_extensions(0x1234, b"whatever") == {}
    assert parse_extensions(0xBEDE, b"\x10a\xf0zzz") == {1: b"a"}


@pytest.mark.parametrize(
    ("profile", "data"), [(0xBEDE, b"\x13abc"), (0x1000, b"\1"), (0x1000, b"\1\2a")]
)
def test_extension_elements_beyond_the_extension_are_refused(profile, data):
    with pytest.raises(ProtocolError):
        parse_extensions(profile, data)


@pytest.mark.parametrize("elements", [{0: b"a"}, {15: b"a"}, {1: b""}, {1: bytes(17)}])
def test_extension_elements_without_a_one_byte_form_are_not_built(elements):
    with pytest.raises(UsageError):
        build_extensions(elements)


def test_packets_of_other_implementations_parse():
    folder = vectors("rtp_rtcp_sctp_aiortc")
    packet = parse_rtp((folder / "rtp.bin").read_bytes())
    assert (packet.payload_type, packet.sequence, len(packet.payload)) == (0, 15743, 160)
    assert parse_rtp((folder / "rtp_with_csrc.bin").read_bytes()).csrcs == (2882400001, 3735928559)
    padded = parse_rtp((folder / "rtp_only_padding.bin").read_bytes())
    assert (padded.payload, padded.padding) == (b"", 224)
    assert parse_rtp((folder / "rtp_dtmf.bin").read_bytes()).marker
