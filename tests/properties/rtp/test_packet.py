from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.rtp.packet import rtp_header, split_rtp

U32 = st.integers(0, 2**32 - 1)
headers = st.tuples(st.integers(0, 127), st.integers(0, 65535), U32, U32, st.booleans())


@st.composite
def packets(draw) -> tuple[bytes, tuple[int, int, int, int, bytes]]:
    """Any packet RFC 3550 5.1 allows, beside what it is made of."""
    payload_type, sequence, timestamp, ssrc, marker = draw(headers)
    header = bytearray(rtp_header(payload_type, sequence, timestamp, ssrc, marker=marker))
    csrcs = draw(st.lists(U32, max_size=15))
    header[0] |= len(csrcs)
    wire = b"".join(struct.pack("!I", csrc) for csrc in csrcs)
    words = draw(st.none() | st.integers(0, 10))
    if words is not None:
        header[0] |= 0x10
        wire += struct.pack("!HH", draw(st.integers(0, 65535)), words)
        wire += draw(st.binary(min_size=4 * words, max_size=4 * words))
    payload, padding = draw(st.binary(max_size=300)), draw(st.integers(0, 255))
    wire += payload
    if padding:
        header[0] |= 0x20
        wire += bytes(padding - 1) + bytes((padding,))
    second = payload_type | marker << 7
    return bytes(header) + wire, (second, sequence, timestamp, ssrc, payload)


@given(packets())
def test_every_packet_the_rfc_allows_is_taken_apart(packet):
    wire, parts = packet
    assert split_rtp(wire) == parts


@given(packets(), st.data())
def test_any_change_parses_or_is_refused_as_a_protocol_error(packet, data):
    wire = bytearray(packet[0])
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    parses_or_is_refused(bytes(wire[: data.draw(st.integers(0, len(wire)))]))


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_refused_as_a_protocol_error(data):
    parses_or_is_refused(data)


def parses_or_is_refused(data: bytes) -> None:
    try:
        _, _, _, _, payload = split_rtp(data)
    except ProtocolError:
        return
    assert payload in data[12:]
