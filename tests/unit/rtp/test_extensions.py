from __future__ import annotations

import pytest

from securecall.errors import ProtocolError, UsageError
from securecall.rtp.extensions import (
    build_extensions,
    parse_extensions,
    parse_transport_sequence,
    with_extensions,
)
from securecall.rtp.packet import rtp_header, split_rtp

HEADER = "90600001" + "00000002" + "00000003"
WITH_CSRC = "91600001" + "00000002" + "00000003" + "00000004"


def parse(text: str):
    return parse_extensions(bytes.fromhex(text.replace(" ", "")))


READ = {
    "none": ("8060000100000002000000037061", {}),
    "one byte": (HEADER + "bede0001 10ff2041", {1: b"\xff", 2: b"\x41"}),
    "padding between": (HEADER + "bede0002 000010ff 00200000", {1: b"\xff", 2: b"\x00"}),
    "behind a contributor": (WITH_CSRC + "bede0001 10ff0000", {1: b"\xff"}),
    "reserved 15 ends it": (HEADER + "bede0001 10fff0aa", {1: b"\xff"}),
    "0 with a length ends it": (HEADER + "bede0002 10ff01aa 20bb0000", {1: b"\xff"}),
    "the first of two counts": (HEADER + "bede0001 10011002", {1: b"\x01"}),
    "two bytes": (HEADER + "10050002 010210ff 0f000000", {1: b"\x10\xff", 15: b""}),
    "another profile": (HEADER + "abac0001 10ff2041", {}),
    "empty": (HEADER + "bede0000", {}),
}
REFUSED = {
    "shorter than a header": "9060",
    "no extension": HEADER,
    "extension beyond": HEADER + "bede0002 10ff2041",
    "one-byte element beyond": HEADER + "bede0001 000011ff",
    "two-byte element beyond": HEADER + "10000001 010310ff",
    "two-byte element without length": HEADER + "10000001 00000001",
}


@pytest.mark.parametrize("name", READ)
def test_elements_are_found(name):
    text, elements = READ[name]
    assert parse(text) == elements


@pytest.mark.parametrize("name", REFUSED)
def test_what_reaches_beyond_is_refused(name):
    with pytest.raises(ProtocolError):
        parse(REFUSED[name])


def test_a_packet_with_an_extension_is_split_as_one_without():
    block = build_extensions({3: b"\x12\x34", 4: b"0"})
    header = with_extensions(rtp_header(96, 1, 2, 3, marker=True), block)
    assert parse_extensions(header + b"payload") == {3: b"\x12\x34", 4: b"0"}
    assert split_rtp(header + b"payload") == (0xE0, 1, 2, 3, b"payload")
    assert len(block) == 12


@pytest.mark.parametrize("elements", [{15: b"a"}, {1: b""}, {1: bytes(17)}, {200: bytes(255)}])
def test_what_one_byte_cannot_say_is_said_in_two(elements):
    block = build_extensions(elements)
    assert block[:2] == b"\x10\x00"
    assert parse_extensions(with_extensions(rtp_header(0, 0, 0, 0), block)) == elements


@pytest.mark.parametrize("elements", [{0: b"a"}, {256: b"a"}, {1: bytes(256)}])
def test_what_cannot_be_said_is_a_mistake_of_the_caller(elements):
    with pytest.raises(UsageError):
        build_extensions(elements)


def test_a_transport_wide_number_is_two_bytes():
    assert parse_transport_sequence(b"\x12\x34") == 0x1234
    for data in (b"", b"\x01", b"\x01\x02\x03"):
        with pytest.raises(ProtocolError):
            parse_transport_sequence(data)
