from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.rtp.extensions import parse_extensions
from securecall.rtp.packet import split_rtp
from securecall.rtp.rtcp import (
    Bye,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    UnknownRtcp,
    build_rtcp,
    parse_rtcp,
)
from tests.paths import vectors

U32 = st.integers(0, 2**32 - 1)
TEXT = st.text(max_size=60).filter(lambda text: len(text.encode()) < 256)
blocks = st.lists(
    st.builds(
        ReportBlock,
        ssrc=U32,
        fraction_lost=st.integers(0, 255),
        cumulative_lost=st.integers(-(2**23), 2**23 - 1),
        highest_sequence=U32,
        jitter=U32,
        last_sr=U32,
        delay_since_last_sr=U32,
    ),
    max_size=4,
).map(tuple)
reports = st.one_of(
    st.builds(
        SenderReport,
        ssrc=U32,
        ntp=st.integers(0, 2**64 - 1),
        timestamp=U32,
        packets=U32,
        octets=U32,
        reports=blocks,
    ),
    st.builds(ReceiverReport, ssrc=U32, reports=blocks),
)
others = st.one_of(
    reports,
    st.builds(SourceDescription, cnames=st.lists(st.tuples(U32, TEXT), max_size=4).map(tuple)),
    st.builds(Bye, sources=st.lists(U32, max_size=4).map(tuple), reason=TEXT),
    st.builds(
        UnknownRtcp,
        packet_type=st.sampled_from((192, 204, 208, 223)),
        count=st.integers(0, 31),
        body=st.binary(max_size=40).map(lambda b: b[: len(b) & ~3]),
    ),
)
compounds = st.tuples(reports, st.lists(others, max_size=4)).map(lambda t: (t[0], *t[1]))


def parses_or_is_refused(data: bytes) -> None:
    for reduced in (False, True):
        try:
            packets = parse_rtcp(data, reduced=reduced)
        except ProtocolError:
            continue
        assert packets


@given(compounds)
def test_building_and_parsing_are_inverse(packets):
    assert parse_rtcp(build_rtcp(packets)) == packets


@given(compounds, st.data())
def test_any_change_parses_or_is_refused_as_a_protocol_error(packets, data):
    wire = bytearray(build_rtcp(packets))
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    parses_or_is_refused(bytes(wire[: data.draw(st.integers(0, len(wire)))]))


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_refused_as_a_protocol_error(data):
    parses_or_is_refused(data)
    parses_or_is_refused(b"\x81\xca" + data)
    parses_or_is_refused(b"\x81\xc8" + data)


def corpus() -> list[tuple[str, ...]]:
    return [
        ("fuzz_rtp_rtcp_sdp", "janus_corpora.zip"),
        ("fuzz_pjsip", "fuzz-rtcp_seed_corpus.zip"),
        ("fuzz_pjsip", "fuzz-rtp_seed_corpus.zip"),
        ("fuzz_pjsip", "fuzz-srtp_seed_corpus.zip"),
    ]


@pytest.mark.parametrize("parts", corpus(), ids=lambda parts: parts[1])
def test_packets_that_broke_others_cut_at_each_byte_and_flipped(parts):
    with zipfile.ZipFile(io.BytesIO(vectors(*parts).read_bytes())) as z:
        seeds = [z.read(n)[:1500] for n in z.namelist() if "sdp" not in n and n[-1] != "/"]
    seeds += [p.read_bytes() for p in vectors("rtp_rtcp_sctp_aiortc").glob("rt*.bin")]
    for seed in seeds:
        step = max(1, len(seed) // 100)
        for cut in range(0, len(seed) + 1, step):
            flipped = bytearray(seed)
            if cut < len(seed):
                flipped[cut] ^= 0xFF
            for data in (seed[:cut], bytes(flipped)):
                parses_or_is_refused(data)
                for read in (split_rtp, parse_extensions):
                    try:
                        read(data)
                    except ProtocolError:
                        continue
