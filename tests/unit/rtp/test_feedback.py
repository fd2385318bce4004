from __future__ import annotations

import pytest

from securecall.errors import ProtocolError, UsageError
from securecall.rtp.feedback import (
    FullIntraRequest,
    GenericNack,
    MaximumBitrate,
    PictureLoss,
    TransportFeedback,
)
from securecall.rtp.rtcp import UnknownRtcp, build_rtcp, parse_rtcp

SSRCS = "00000001" + "00000002"


def parse(text: str):
    (packet,) = parse_rtcp(bytes.fromhex(text), reduced=True)
    return packet


def transport(fields: str):
    return parse(f"8fcd{2 + len(fields) // 8:04x}" + SSRCS + fields)


def arrivals(count, *pairs, base=10, reference=7):
    return TransportFeedback(
        sender_ssrc=1,
        media_ssrc=2,
        base_sequence=base,
        count=count,
        reference_time=reference,
        number=9,
        arrivals=pairs,
    )


REFUSED = {
    "no media source": "81cd000100000001",
    "NACK of nothing": "81cd0002" + SSRCS,
    "PLI with parameters": "81ce0003" + SSRCS + "00000000",
    "FIR of nothing": "84ce0002" + SSRCS,
    "FIR with half an entry": "84ce0003" + SSRCS + "00000003",
    "TWCC cut in its header": "8fcd0003" + SSRCS + "000a0001",
    "TWCC about nothing": "8fcd0004" + SSRCS + "000a0000" + "00000709",
    "TWCC without chunk": "8fcd0004" + SSRCS + "000a0001" + "00000709",
    "TWCC with a run of none": "8fcd0005" + SSRCS + "000a0001" + "00000709" + "20000000",
    "TWCC run of reserved": "8fcd0005" + SSRCS + "000a0001" + "00000709" + "60010000",
    "TWCC vector with reserved": "8fcd0005" + SSRCS + "000a0001" + "00000709" + "f0000000",
    "TWCC small delta missing": "8fcd0005" + SSRCS + "000a0003" + "00000709" + "20030000",
    "TWCC large delta cut": "8fcd0005" + SSRCS + "000a0002" + "00000709" + "40020000",
    "TWCC run longer than the packet": "8fcd0005" + SSRCS + "000affff" + "00000709" + "3fff3fff",
    "TWCC with a tail": "8fcd0006" + SSRCS + "000a0001" + "00000709" + "00010000" + "00000000",
    "REMB without bitrate": "8fce0003" + SSRCS + "52454d42",
    "REMB with fewer sources": "8fce0004" + SSRCS + "52454d42" + "01000001",
    "REMB with more sources": "8fce0005" + SSRCS + "52454d42" + "00000001" + "00000001",
    "REMB beyond 63 bits": "8fce0004" + SSRCS + "52454d42" + "00ffffff",
    "padding longer than the packet": "afcd0005" + SSRCS + "000a0001" + "00000709" + "000100ff",
    "padding of none": "afcd0005" + SSRCS + "000a0001" + "00000709" + "00010000",
}


@pytest.mark.parametrize("name", REFUSED)
def test_broken_feedback_is_refused(name):
    with pytest.raises(ProtocolError):
        parse(REFUSED[name])


def test_a_nack_names_the_first_and_those_of_its_mask():
    assert parse("81cd0003" + SSRCS + "fffe8003").sequences == (0xFFFE, 0xFFFF, 0, 14)


def test_a_nack_takes_as_few_words_as_order_allows():
    nack = GenericNack(sender_ssrc=1, media_ssrc=2, sequences=(65530, 65535, 4, 10, 11))
    assert build_rtcp((nack,)).hex() == "81cd0004" + SSRCS + "fffa8210" + "000b0000"


def test_a_pli_is_three_words():
    assert parse("81ce0002" + SSRCS) == PictureLoss(sender_ssrc=1, media_ssrc=2)


def test_a_fir_names_stream_and_command():
    fir = parse("84ce0004" + "00000001" + "00000000" + "0000000305000000")
    assert fir == FullIntraRequest(sender_ssrc=1, requests=((3, 5),))


def test_a_remb_is_a_mantissa_and_an_exponent():
    remb = parse("8fce0005" + SSRCS + "52454d42" + "010bffff" + "00000003")
    assert remb == MaximumBitrate(sender_ssrc=1, bitrate=0x3FFFF << 2, sources=(3,))


def test_other_feedback_is_carried_unread():
    other = parse("8fce0003" + SSRCS + "4f4f4f4f")
    assert isinstance(other, UnknownRtcp)
    assert isinstance(parse("83cd0002" + SSRCS), UnknownRtcp)


def test_a_run_of_small_deltas():
    got = transport("000a0003" + "00000709" + "2003" + "04" + "00" + "ff" + "000000")
    assert got == arrivals(3, (0, 4), (1, 4), (2, 259))


def test_a_vector_of_one_bit_symbols_and_what_is_behind_the_count():
    got = transport("000a0003" + "00000709" + "afff" + "01" + "02")
    assert got == arrivals(3, (0, 1), (2, 3))


def test_a_vector_of_two_bit_symbols_with_deltas_that_go_back():
    got = transport("000a0004" + "00000709" + "d840" + "10" + "fff0" + "01" + "0000")
    assert got == arrivals(4, (0, 16), (1, 0), (3, 1))


def test_runs_of_missing_packets_cost_nothing():
    got = transport("000affff" + "00000709" + "1fff" * 8 + "2007" + "01" * 7 + "000000")
    assert (got.count, len(got.arrivals), got.arrivals[0]) == (65535, 7, (65528, 1))


def test_the_filling_of_browsers_is_taken_in_the_middle_of_a_compound():
    feedback = "afcd0005" + SSRCS + "000a0001" + "00000709" + "20010401"
    got = parse_rtcp(bytes.fromhex(feedback + "81ce0002" + SSRCS), reduced=True)
    assert got == (arrivals(1, (0, 4)), PictureLoss(sender_ssrc=1, media_ssrc=2))


def test_chunks_are_runs_where_runs_are_shorter():
    mixed = [(i, i) for i in range(20)] + [(30, 30), (32, 400), (33, 401)]
    feedback = arrivals(40, *mixed)
    wire = build_rtcp((feedback,))
    assert wire[20:28].hex() == "2014" + "000a" + "d240" + "0003"
    assert parse_rtcp(wire, reduced=True) == (feedback,)


@pytest.mark.parametrize(
    "packet",
    [
        GenericNack(sender_ssrc=1, media_ssrc=2, sequences=()),
        GenericNack(sender_ssrc=1, media_ssrc=2, sequences=(65536,)),
        GenericNack(sender_ssrc=2**32, media_ssrc=2, sequences=(1,)),
        PictureLoss(sender_ssrc=-1, media_ssrc=2),
        FullIntraRequest(sender_ssrc=1, requests=()),
        FullIntraRequest(sender_ssrc=1, requests=((1, 256),)),
        arrivals(0),
        arrivals(65536),
        arrivals(1, (1, 0)),
        arrivals(3, (1, 0), (1, 1)),
        arrivals(1, (0, 0x8000)),
        arrivals(1, reference=1 << 24),
        MaximumBitrate(sender_ssrc=1, bitrate=2**63, sources=()),
        MaximumBitrate(sender_ssrc=1, bitrate=1, sources=(0,) * 256),
    ],
)
def test_fields_out_of_range_are_not_built(packet):
    with pytest.raises(UsageError):
        build_rtcp((packet,))
