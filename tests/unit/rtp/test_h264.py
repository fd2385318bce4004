from __future__ import annotations

import base64

import pytest

from securecall.errors import ProtocolError, UsageError
from securecall.rtp.frames import FrameBuffer
from securecall.rtp.h264 import (
    MOST_SET_BYTES,
    MOST_SETS,
    MTU,
    START_CODE,
    H264Depacketiser,
    H264Packetiser,
    is_keyframe,
    parse_parameter_sets,
    split_annex_b,
)

SPS, PPS = b"\x67\x42\xc0\x1f", b"\x68\xce\x3c\x80"
IDR, IDR_SECOND, SLICE = b"\x65\xb8" + b"a" * 50, b"\x65\x40" + b"b" * 50, b"\x41\x9a" + b"c" * 50


def annex_b(*units: bytes) -> bytes:
    return b"".join(START_CODE + unit for unit in units)


def test_start_codes_of_both_lengths_and_zeros_between_are_cut_away():
    frame = b"\x00\x00" + annex_b(SPS) + b"\x00\x00\x00" + b"\x00\x00\x01" + PPS + b"\x00"
    assert list(split_annex_b(frame)) == [SPS, PPS]
    assert list(split_annex_b(b"no start code")) == []
    assert list(split_annex_b(b"\x00\x00\x01\x00\x00\x01a")) == [b"a"]


def test_the_first_slice_says_whether_decoding_can_begin():
    assert is_keyframe(annex_b(SPS, PPS, IDR))
    assert not is_keyframe(annex_b(SPS, PPS))
    assert not is_keyframe(annex_b(SLICE, IDR))


def test_small_units_share_a_packet_and_long_ones_are_cut():
    long = b"\x65\x88" + bytes(range(1, 256)) * 10
    payloads = H264Packetiser().packetise(annex_b(SPS, PPS, long, SLICE))
    assert payloads[0] == b"\x78\x00\x04" + SPS + b"\x00\x04" + PPS
    fragments = payloads[1:-1]
    assert len(fragments) == 3
    assert {f[0] for f in fragments} == {0x7C}
    assert [f[1] for f in fragments] == [0x85, 0x05, 0x45]
    assert max(map(len, fragments)) <= MTU
    assert payloads[-1] == SLICE
    assert H264Depacketiser().assemble(payloads) == annex_b(SPS, PPS, long, SLICE)


def test_a_unit_that_just_fits_is_sent_alone():
    unit = b"\x65" + b"x" * (MTU - 1)
    assert H264Packetiser().packetise(annex_b(unit)) == (unit,)
    assert len(H264Packetiser().packetise(annex_b(unit + b"x"))) == 2


@pytest.mark.parametrize("frame", [b"", b"abc", annex_b(b"\x78abc"), annex_b(b"\x60a")])
def test_what_is_no_frame_is_a_mistake(frame):
    with pytest.raises(UsageError):
        H264Packetiser().packetise(frame)


def test_payloads_of_no_size_are_a_mistake():
    with pytest.raises(UsageError):
        H264Packetiser(mtu=7)


REFUSED = {
    "no payload": [],
    "empty": [b""],
    "damaged": [b"\xe5abc"],
    "type 0": [b"\x60a"],
    "STAP-B": [b"\x79\x00\x00\x00\x01a"],
    "MTAP16": [b"\x7a\x00\x00\x00\x01a"],
    "FU-B": [b"\x7d\x85\x00\x00a"],
    "type 31": [b"\x7fabc"],
    "empty STAP-A": [b"\x78"],
    "STAP-A with a unit beyond": [b"\x78\x00\x03ab"],
    "STAP-A with half a length": [b"\x78\x00\x02ab\x00"],
    "STAP-A with an empty unit": [b"\x78\x00\x00"],
    "STAP-A in a STAP-A": [b"\x78\x00\x04\x78\x00\x01a"],
    "empty FU-A": [b"\x7c\x85"],
    "FU-A that begins and ends": [b"\x7c\xc5a"],
    "FU-A of a STAP-A": [b"\x7c\x98a", b"\x7c\x58a"],
    "FU-A without beginning": [b"\x7c\x05a", b"\x7c\x45a"],
    "FU-A without end": [b"\x7c\x85a", b"\x7c\x05a"],
    "FU-A that begins twice": [b"\x7c\x85a", b"\x7c\x85a"],
    "FU-A of two types": [b"\x7c\x85a", b"\x7c\x41a"],
    "FU-A interrupted": [b"\x7c\x85a", b"\x67ab", b"\x7c\x45a"],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_together_is_refused(name):
    with pytest.raises(ProtocolError):
        H264Depacketiser().assemble(REFUSED[name])
    assert not any(H264Depacketiser().begins_keyframe(p) for p in REFUSED[name][:1])


def test_an_idr_picture_counts_once_there_were_parameter_sets():
    h264 = H264Depacketiser()
    assert not h264.begins_keyframe(IDR)
    assert h264.begins_keyframe(SPS)
    assert not h264.begins_keyframe(IDR)
    assert not h264.begins_keyframe(PPS)
    assert h264.begins_keyframe(IDR)
    assert H264Depacketiser().begins_keyframe(b"\x78\x00\x04" + SPS + b"\x00\x04" + PPS)


def test_only_the_first_slice_of_an_idr_picture_begins_it():
    h264 = H264Depacketiser()
    for unit in (SPS, PPS):
        h264.begins_keyframe(unit)
    assert not h264.begins_keyframe(IDR_SECOND)
    assert h264.begins_keyframe(b"\x7c\x85" + IDR[1:])
    assert not h264.begins_keyframe(b"\x7c\x85" + IDR_SECOND[1:])
    assert not h264.begins_keyframe(b"\x7c\x05" + IDR[1:])
    assert not h264.begins_keyframe(SLICE)


def through(buffer: FrameBuffer, frames, sequence: int = 0):
    got = []
    for timestamp, frame in enumerate(frames):
        payloads = H264Packetiser(mtu=30).packetise(frame)
        for number, payload in enumerate(payloads, start=1):
            last = number == len(payloads)
            got += buffer.push(sequence, timestamp, payload, marker=last, now=0.0)
            sequence += 1
    return [frame.data for frame in got]


def test_the_frame_buffer_begins_with_parameter_sets():
    key, delta = annex_b(SPS, PPS, IDR, IDR_SECOND), annex_b(SLICE)
    buffer = FrameBuffer(H264Depacketiser())
    assert through(buffer, [delta, annex_b(IDR), key, delta, annex_b(IDR)]) == [
        key,
        delta,
        annex_b(SPS, PPS, IDR),
    ]


OTHER_SPS, OTHER_PPS = b"\x67\x42\xc0\x0d\x91", b"\x68\xee\x3c\x80"


def said(*units: bytes) -> str:
    return ",".join(base64.b64encode(unit).decode() for unit in units)


def test_parameter_sets_are_read_from_signalling():
    assert parse_parameter_sets(said(SPS, PPS)) == (SPS, PPS)
    # as telephones write it (RFC 6184 8.2.1)
    assert parse_parameter_sets("Z0IACpZTBYmI,aMljiA==") == (
        bytes.fromhex("6742000a9653058988"), bytes.fromhex("68c96388"),
    )  # fmt: skip
    most = PPS * (MOST_SET_BYTES // len(PPS))
    assert parse_parameter_sets(said(*[most] * MOST_SETS)) == (most,) * MOST_SETS


@pytest.mark.parametrize(
    "text",
    [
        "",
        said(SPS) + ",",
        "," + said(SPS),
        said(*[PPS] * (MOST_SETS + 1)),
        said(PPS * (MOST_SET_BYTES // len(PPS)) + b"\x80"),
        "A" * 10_000_000,
        "Z0LAHw",  # no padding
        "Z0LAHx==",  # bits beyond the end
        "Z0 LAHw==",
        "Z0LAHw==\n",
        "Z0LAH_==",
        "Z0LAHw==Z0LAHw==",
        "\xe9",
        said(b"\x67"),
        said(SPS, b""),
        said(IDR),  # a picture in the name of the peer
        said(b"\x06" + PPS),
        said(b"\x6f" + SPS[1:]),  # of layers that were not agreed on
        said(b"\x78\x00\x04" + SPS),
        said(b"\xe7" + SPS[1:]),
        said(b"\x07" + SPS[1:]),
        said(SPS + b"\x00\x00\x01" + IDR),  # and one behind a start code
        said(SPS + b"\x00\x00\x00\x01" + IDR),
        said(SPS + b"\x00\x00\x02"),
        said(SPS + b"\x00"),
    ],
)
def test_what_is_no_parameter_set_is_refused(text):
    with pytest.raises(ProtocolError):
        parse_parameter_sets(text)


def shown(h264: H264Depacketiser, *units: bytes) -> bytes:
    return h264.assemble(H264Packetiser().packetise(annex_b(*units)))


def test_a_picture_without_its_parameter_sets_gets_those_of_the_signalling():
    h264 = H264Depacketiser((SPS, PPS))
    assert h264.begins_keyframe(IDR)
    assert not H264Depacketiser().begins_keyframe(IDR)  # the control
    assert not H264Depacketiser((SPS,)).begins_keyframe(IDR)
    assert shown(h264, IDR) == annex_b(SPS, PPS, IDR)
    assert shown(h264, SLICE) == annex_b(SLICE)
    assert shown(h264, IDR) == annex_b(SPS, PPS, IDR)


def test_once_the_stream_brings_its_own_the_signalling_counts_no_more():
    h264 = H264Depacketiser((SPS, PPS))
    own = annex_b(OTHER_SPS, OTHER_PPS, IDR)
    assert shown(h264, OTHER_SPS, OTHER_PPS, IDR) == own
    assert shown(h264, IDR) == own
    h264.expect((SPS, PPS))
    assert shown(h264, IDR) == own


def test_signalling_may_bring_others_while_the_stream_brings_none():
    h264 = H264Depacketiser()
    h264.expect((SPS, PPS))
    assert h264.begins_keyframe(IDR)
    h264.expect((OTHER_SPS, OTHER_PPS))
    assert shown(h264, IDR) == annex_b(OTHER_SPS, OTHER_PPS, IDR)


def test_parameter_sets_that_come_one_by_one_are_put_together():
    h264 = H264Depacketiser((SPS, PPS))
    assert shown(h264, OTHER_PPS, IDR) == annex_b(SPS, PPS, OTHER_PPS, IDR)
    assert shown(h264, OTHER_PPS, IDR) == annex_b(SPS, PPS, OTHER_PPS, IDR)
    assert shown(h264, OTHER_SPS) == annex_b(OTHER_SPS)
    assert shown(h264, OTHER_PPS) == annex_b(OTHER_PPS)
    assert shown(h264, IDR) == annex_b(OTHER_SPS, OTHER_PPS, IDR)


def test_a_stream_cannot_have_us_remember_without_end():
    h264 = H264Depacketiser()
    shown(h264, SPS)
    many = [b"\x68" + bytes((number,)) for number in range(1, MOST_SETS + 1)]
    for unit in many[:-1]:
        shown(h264, unit)
    assert shown(h264, IDR) == annex_b(SPS, *many[:-1], IDR)
    shown(h264, many[-1])
    assert shown(h264, IDR) == annex_b(IDR)
    shown(h264, SPS + b"a" * MOST_SET_BYTES)
    assert shown(h264, IDR) == annex_b(IDR)
    shown(h264, SPS, PPS)
    assert shown(h264, IDR) == annex_b(SPS, PPS, IDR)
