from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.rtp.packet import RtpPacket, build_rtp, parse_extensions, parse_rtp, split_rtp

U32 = st.integers(0, 2**32 - 1)
packets = st.builds(
    RtpPacket,
    payload_type=st.integers(0, 127),
    marker=st.booleans(),
    sequence=st.integers(0, 65535),
    timestamp=U32,
    ssrc=U32,
    csrcs=st.lists(U32, max_size=15).map(tuple),
    extension_profile=st.integers(0, 65535),
    extension=st.binary(max_size=40).map(lambda b: b[: len(b) & ~3]),
    payload=st.binary(max_size=300),
    padding=st.integers(0, 255),
)


@given(packets)
def test_building_and_parsing_are_inverse(packet):
    wire = build_rtp(packet)
    assert parse_rtp(wire) == packet
    assert split_rtp(wire)[4] == packet.payload


@given(packets, st.data())
def test_any_change_parses_or_is_refused_as_a_protocol_error(packet, data):
    wire = bytearray(build_rtp(packet))
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    both_ways_agree(bytes(wire[: data.draw(st.integers(0, len(wire)))]))


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_refused_as_a_protocol_error(data):
    both_ways_agree(data)


def both_ways_agree(data: bytes) -> None:
    try:
        packet = parse_rtp(data)
    except ProtocolError:
        packet = None
    try:
        short = split_rtp(data)
    except ProtocolError:
        short = None
    assert (packet is None) == (short is None)
    if packet is None or short is None:
        return
    assert short == (
        packet.payload_type | packet.marker << 7,
        packet.sequence,
        packet.timestamp,
        packet.ssrc,
        packet.payload,
    )
    with contextlib.suppress(ProtocolError):
        parse_extensions(packet.extension_profile, packet.extension)


@given(st.sampled_from([0xBEDE, 0x1000, 0x100F]), st.binary(max_size=80))
def test_any_extension_parses_or_is_refused_as_a_protocol_error(profile, data):
    try:
        elements = parse_extensions(profile, data)
    except ProtocolError:
        return
    assert sum(map(len, elements.values())) <= len(data)
