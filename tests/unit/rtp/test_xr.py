"""Extended reports: bytes, refusals, and what is a burst (RFC 3611)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.rtp.rtcp import ReceiverReport, build_rtcp, parse_rtcp
from securecall.rtp.xr import (
    BurstMeter,
    DelaySince,
    ExtendedReport,
    ReceiverTime,
    VoipMetrics,
    build_xr,
    parse_xr,
)

U8, U16, U32 = st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
METRICS = st.builds(
    VoipMetrics,
    ssrc=U32,
    **dict.fromkeys(("loss", "discard", "burst_density", "gap_density"), U8),
    **dict.fromkeys(("burst_ms", "gap_ms", "round_trip_ms", "end_system_ms"), U16),
    **dict.fromkeys(("r_factor", "mos_lq", "mos_cq"), U8),
    **dict.fromkeys(("buffer_ms", "buffer_max_ms"), U16),
)
BLOCKS = st.one_of(
    st.builds(ReceiverTime, st.integers(0, 2**64 - 1)),
    st.builds(DelaySince, U32, U32, U32),
    METRICS,
)
REPORTS = st.builds(ExtendedReport, ssrc=U32, blocks=st.lists(BLOCKS, max_size=6).map(tuple))


@given(REPORTS)
def test_what_is_built_is_read_back(report):
    assert parse_xr(build_xr(report)) == report
    compound = (ReceiverReport(ssrc=1), report)
    assert parse_rtcp(build_rtcp(compound)) == compound


@given(st.binary(max_size=80))
def test_any_bytes_are_a_report_or_refused(data):
    with contextlib.suppress(ProtocolError):
        parse_xr(data)


def test_the_layout_of_voip_metrics_is_that_of_the_rfc():
    block = VoipMetrics(ssrc=0x01020304, loss=1, discard=2, r_factor=80, mos_lq=40, buffer_ms=60)
    built = build_xr(ExtendedReport(ssrc=9, blocks=(block,)))
    assert built[4:8] == bytes((7, 0, 0, 8))  # 4.7: type, reserved, eight words
    assert len(built) == 4 + 4 + 32
    assert built[8:14] == bytes((1, 2, 3, 4, 1, 2))
    assert built[24:28] == bytes((127, 127, 127, 16))  # levels of sound are not told; Gmin
    assert built[28:32] == bytes((80, 127, 40, 127))
    assert built[34:36] == (60).to_bytes(2)


def test_blocks_of_another_kind_are_passed_over():
    other = bytes((1, 0, 0, 1)) + b"abcd"
    assert parse_xr(bytes(4) + other).blocks == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0",
        bytes(4) + b"\x04\0",
        bytes(4) + bytes((4, 0, 0, 2)) + b"four",
        bytes(4) + bytes((4, 0, 0, 1)) + b"four",
        bytes(4) + bytes((5, 0, 0, 2)) + b"eight888",
        bytes(4) + bytes((7, 0, 0, 1)) + b"four",
    ],
)
def test_what_is_no_extended_report_is_refused(data):
    with pytest.raises(ProtocolError):
        parse_xr(data)


def metered(pattern):
    meter = BurstMeter()
    for mark in pattern:
        meter.take(missed=mark == "x")
    return meter


def test_without_loss_there_is_one_long_gap():
    meter = metered("." * 100)
    assert meter.densities() == (0, 0)
    assert meter.lengths_ms(20.0) == (0, 2000)


def test_losses_close_together_are_a_burst_and_one_alone_is_none():
    meter = metered(("." * 100 + "xx.x" + "." * 100 + "x") * 10 + "." * 20)
    burst, gap = meter.densities()
    assert 0.5 < burst / 256 <= 1.0
    assert 0.0 < gap / 256 < 0.02
    burst_ms, gap_ms = meter.lengths_ms(20.0)
    assert 20 <= burst_ms <= 200
    assert gap_ms > 1000
    alone = metered(("." * 99 + "x") * 20)
    assert alone.lengths_ms(20.0)[0] <= 40
