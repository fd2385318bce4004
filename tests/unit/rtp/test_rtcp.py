from __future__ import annotations

import pytest

from securecall.errors import ProtocolError, UsageError
from securecall.rtp.feedback import GenericNack, PictureLoss
from securecall.rtp.rtcp import (
    MAX_ITEMS,
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

BLOCK = ReportBlock(
    ssrc=1,
    fraction_lost=255,
    cumulative_lost=-5,
    highest_sequence=2**32 - 1,
    jitter=7,
    last_sr=8,
    delay_since_last_sr=9,
)
SENDER = SenderReport(ssrc=2, ntp=2**64 - 1, timestamp=3, packets=4, octets=5, reports=(BLOCK,))
EMPTY = "80c9000100000001"

REFUSED = {
    "empty": "",
    "half a word": "80c9",
    "not whole words": EMPTY + "00",
    "version 1": "40c9000100000001",
    "RTP payload type": "8060000100000001",
    "type 224": EMPTY + "80e00000",
    "begins with SDES": "80ca0000",
    "length beyond": "80c9000200000001",
    "RR without SSRC": "80c90000",
    "RR without its block": "81c9000100000001",
    "SR cut": "80c8000500000001" + "00" * 16,
    "SR without its block": "81c8000600000001" + "00" * 20,
    "BYE without source": EMPTY + "81cb0000",
    "BYE reason beyond": EMPTY + "81cb000200000001" + "04616263",
    "SDES without source": EMPTY + "81ca0000",
    "SDES without null": EMPTY + "81ca000200000001" + "01020000",
    "SDES item beyond": EMPTY + "81ca000200000001" + "01ff6162",
    "SDES item without length": EMPTY + "81ca000300000001" + "0105616263646501",
    "padding of nothing": "a0c9000100000000",
    "padding of five": "a0c9000200000001" + "00000005",
    "padding too long": "a0c9000200000001" + "0000000c",
    "padding in the middle": "a0c9000200000001" + "00000004" + EMPTY,
    "too many": EMPTY * (MAX_ITEMS + 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_broken_compounds_are_refused(name):
    with pytest.raises(ProtocolError):
        parse_rtcp(bytes.fromhex(REFUSED[name]))


def test_every_field_comes_back():
    packets = (
        SENDER,
        ReceiverReport(ssrc=4, reports=(BLOCK, BLOCK)),
        SourceDescription(cnames=((1, "a"), (2, "four"), (3, ""), (4, "é" * 127))),
        Bye(sources=(1, 2), reason="so long"),
        Bye(sources=()),
        UnknownRtcp(packet_type=206, count=9, body=b"12345678"),
        PictureLoss(sender_ssrc=1, media_ssrc=2),
    )
    assert parse_rtcp(build_rtcp(packets)) == packets


def test_a_full_compound_of_empty_reports_is_taken():
    assert len(parse_rtcp(bytes.fromhex(EMPTY) * MAX_ITEMS)) == MAX_ITEMS


def test_a_reduced_compound_is_taken_where_agreed():
    bye = bytes.fromhex("81cb000100000007")
    assert parse_rtcp(bye, reduced=True) == (Bye(sources=(7,)),)


def test_padding_is_removed():
    (report,) = parse_rtcp(bytes.fromhex("a0c90002 00000001 00000004"))
    assert report == ReceiverReport(ssrc=1)


@pytest.mark.parametrize(
    "packets",
    [
        (),
        (Bye(sources=(1,) * 32),),
        (Bye(sources=(2**32,)),),
        (Bye(sources=(), reason="x" * 256),),
        (SourceDescription(cnames=((1, "x" * 256),)),),
        (ReceiverReport(ssrc=-1),),
        (SenderReport(ssrc=1, ntp=2**64, timestamp=0, packets=0, octets=0),),
        (UnknownRtcp(packet_type=205, count=0, body=b"abc"),),
    ],
)
def test_fields_out_of_range_are_not_built(packets):
    with pytest.raises(UsageError):
        build_rtcp(packets)


@pytest.mark.parametrize(
    "name", ["bye_invalid", "rr_invalid", "rtpfb_invalid", "sdes_source_truncated"]
)
def test_others_invalid_packets_are_refused(name):
    data = vectors("rtp_rtcp_sctp_aiortc", f"rtcp_{name}.bin").read_bytes()
    with pytest.raises(ProtocolError):
        parse_rtcp(data, reduced=True)


def test_others_valid_packets_are_taken():
    data = vectors("rtp_rtcp_sctp_aiortc", "rtcp_rtpfb.bin").read_bytes()
    (feedback,) = parse_rtcp(data, reduced=True)
    assert isinstance(feedback, GenericNack)
    assert (feedback.sender_ssrc, feedback.media_ssrc) == (2336520123, 4145934052)
    assert feedback.sequences == (12, 32, 39, 54, 76, 110, 123, 142, 183, 187, 223, 236, 271, 292)
    data = vectors("rtp_rtcp_sctp_aiortc", "rtcp_bye_padding.bin").read_bytes()
    assert parse_rtcp(data, reduced=True) == (Bye(sources=()),)
