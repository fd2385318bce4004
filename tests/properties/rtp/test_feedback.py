from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.rtp.extensions import build_extensions, parse_extensions, with_extensions
from securecall.rtp.feedback import (
    FullIntraRequest,
    GenericNack,
    MaximumBitrate,
    PictureLoss,
    TransportFeedback,
)
from securecall.rtp.packet import rtp_header
from securecall.rtp.rtcp import build_rtcp, parse_rtcp

U32 = st.integers(0, 2**32 - 1)
U16 = st.integers(0, 65535)


@st.composite
def transport_feedback(draw):
    gaps = draw(st.lists(st.one_of(st.just(1), st.integers(1, 40)), max_size=60))
    steps = draw(st.lists(st.one_of(st.integers(0, 300), st.integers(-0x8000, 0x7FFF)),
                          min_size=len(gaps), max_size=len(gaps)))  # fmt: skip
    arrivals, offset, time = [], -1, 0
    for gap, step in zip(gaps, steps, strict=True):
        offset, time = offset + gap, time + step
        arrivals.append((offset, time))
    return TransportFeedback(
        sender_ssrc=draw(U32),
        media_ssrc=draw(U32),
        base_sequence=draw(U16),
        count=offset + 1 + draw(st.integers(1, 20000)),
        reference_time=draw(st.integers(0, 2**24 - 1)),
        number=draw(st.integers(0, 255)),
        arrivals=tuple(arrivals),
    )


feedback = st.one_of(
    st.builds(
        GenericNack,
        sender_ssrc=U32,
        media_ssrc=U32,
        sequences=st.lists(st.one_of(U16, st.integers(0, 20)), min_size=1, max_size=30).map(tuple),
    ),
    st.builds(PictureLoss, sender_ssrc=U32, media_ssrc=U32),
    st.builds(
        FullIntraRequest,
        sender_ssrc=U32,
        requests=st.lists(st.tuples(U32, st.integers(0, 255)), min_size=1, max_size=4).map(tuple),
    ),
    st.builds(
        MaximumBitrate,
        sender_ssrc=U32,
        bitrate=st.builds(
            lambda mantissa, exponent: mantissa << exponent,
            st.integers(0, 2**18 - 1),
            st.integers(0, 45),
        ),
        sources=st.lists(U32, max_size=4).map(tuple),
    ),
    transport_feedback(),
)


def parses_or_is_refused(data: bytes) -> None:
    try:
        parse_rtcp(data, reduced=True)
    except ProtocolError:
        return


@given(feedback)
def test_building_and_parsing_are_inverse(packet):
    assert parse_rtcp(build_rtcp((packet,)), reduced=True) == (packet,)


@given(feedback, st.data())
def test_any_change_parses_or_is_refused_as_a_protocol_error(packet, data):
    wire = bytearray(build_rtcp((packet,)))
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(8, len(wire) - 1))] = data.draw(st.integers(0, 255))
    parses_or_is_refused(bytes(wire))


@given(
    st.sampled_from((b"\x8f\xcd", b"\x81\xcd", b"\x84\xce", b"\x8f\xce", b"\xaf\xcd")),
    st.binary(max_size=120).map(lambda b: b[: len(b) & ~3]),
)
def test_any_body_parses_or_is_refused_as_a_protocol_error(head, body):
    parses_or_is_refused(head + (len(body) // 4).to_bytes(2) + body)


@given(st.dictionaries(st.integers(1, 255), st.binary(max_size=255), max_size=8))
def test_header_extensions_come_back(elements):
    header = with_extensions(rtp_header(96, 1, 2, 3), build_extensions(elements))
    assert parse_extensions(header + b"x") == elements


@given(st.sampled_from((b"\xbe\xde", b"\x10\x00", b"")), st.binary(max_size=80))
def test_any_extension_parses_or_is_refused_as_a_protocol_error(profile, data):
    packet = b"\x90\x60" + bytes(10) + profile + data
    try:
        elements = parse_extensions(packet)
    except ProtocolError:
        return
    assert sum(map(len, elements.values())) < len(packet)
