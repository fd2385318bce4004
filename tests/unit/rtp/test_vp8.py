from __future__ import annotations

import pytest

from securecall.errors import ProtocolError, UsageError
from securecall.rtp.vp8 import (
    MTU,
    Vp8Depacketiser,
    Vp8Descriptor,
    Vp8Header,
    Vp8Packetiser,
    build_descriptor,
    is_keyframe,
    parse_descriptor,
    parse_header,
)

# The first bytes of a keyframe of 320x240: RFC 6386 9.1.
KEYFRAME = bytes.fromhex("102a009d012a4001f000") + bytes(100)
DELTA = bytes.fromhex("b10100") + bytes(50)

DESCRIPTORS = {
    "first byte alone": ("10aa", 1, Vp8Descriptor(start=True, long_picture_id=False)),
    "partition 3, unreferenced": (
        "23aa",
        1,
        Vp8Descriptor(start=False, partition=3, unreferenced=True, long_picture_id=False),
    ),
    # The examples of RFC 7741 4.6 have these forms.
    "short picture ID": (
        "908011aa",
        3,
        Vp8Descriptor(start=True, picture_id=0x11, long_picture_id=False),
    ),
    "long picture ID": ("80809271aa", 4, Vp8Descriptor(start=False, picture_id=0x1271)),
    "extension of nothing": ("9000aa", 2, Vp8Descriptor(start=True, long_picture_id=False)),
    "all of it": (
        "90f09271ff7faa",
        6,
        Vp8Descriptor(
            start=True,
            picture_id=0x1271,
            tl0picidx=255,
            temporal_layer=1,
            layer_sync=True,
            key_index=31,
        ),
    ),
    "key index without layer": (
        "9010e5aa",
        3,
        Vp8Descriptor(start=True, key_index=5, long_picture_id=False),
    ),
}


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_descriptors_are_read(name):
    text, length, descriptor = DESCRIPTORS[name]
    assert parse_descriptor(bytes.fromhex(text)) == (descriptor, length)


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_descriptors_cut_short_are_refused(name):
    text, length, _ = DESCRIPTORS[name]
    for cut in range(length + 1):
        with pytest.raises(ProtocolError):
            parse_descriptor(bytes.fromhex(text)[:cut])


@pytest.mark.parametrize(
    "fields",
    [
        {"partition": 8},
        {"picture_id": 0x10000},
        {"picture_id": 0x80, "long_picture_id": False},
        {"tl0picidx": 256},
        {"temporal_layer": 4},
        {"key_index": 32},
    ],
)
def test_fields_out_of_range_are_not_built(fields):
    with pytest.raises(UsageError):
        build_descriptor(Vp8Descriptor(start=True, **fields))


def test_a_keyframe_says_its_size():
    assert is_keyframe(KEYFRAME)
    assert parse_header(KEYFRAME) == Vp8Header(320, 240)
    scaled = KEYFRAME[:6] + bytes.fromhex("4041f0c0")  # scaling in the two upper bits
    assert parse_header(scaled) == Vp8Header(320, 240)


@pytest.mark.parametrize(
    "frame",
    [b"", DELTA, KEYFRAME[:9], b"\x10\x2a\x00\x9d\x01\x2b" + bytes(4), KEYFRAME[:6] + bytes(4)],
)
def test_other_frames_have_none(frame):
    with pytest.raises(ProtocolError):
        parse_header(frame)


def test_a_frame_is_cut_evenly_and_comes_back():
    frame = KEYFRAME + bytes(range(256)) * 13
    payloads = Vp8Packetiser(picture_id=5).packetise(frame)
    assert len(payloads) == 4
    assert max(map(len, payloads)) - min(map(len, payloads)) <= 1
    assert max(map(len, payloads)) <= MTU
    assert [parse_descriptor(p)[0].start for p in payloads] == [True, False, False, False]
    vp8 = Vp8Depacketiser()
    assert [vp8.begins_keyframe(p) for p in payloads] == [True, False, False, False]
    assert vp8.assemble(payloads) == frame
    assert vp8.is_keyframe(frame)


def test_pictures_are_counted_modulo_32768():
    packetiser = Vp8Packetiser(picture_id=0x7FFF)
    pictures = [parse_descriptor(packetiser.packetise(DELTA)[0])[0].picture_id for _ in range(3)]
    assert pictures == [0x7FFF, 0, 1]


def test_a_frame_that_just_fits_is_one_payload():
    assert len(Vp8Packetiser(picture_id=0).packetise(bytes(MTU - 4))) == 1
    assert len(Vp8Packetiser(picture_id=0).packetise(bytes(MTU - 3))) == 2


def test_what_does_not_belong_together_is_refused():
    packetiser = Vp8Packetiser(picture_id=5, mtu=20)
    first, second = packetiser.packetise(DELTA), packetiser.packetise(DELTA)
    vp8 = Vp8Depacketiser()
    for payloads in (
        (),
        first[1:],
        (first[0], second[1]),
        (first[0], first[0]),
        (b"\x11a",),  # begins with partition 1
        (first[0], b""),
    ):
        with pytest.raises(ProtocolError):
            vp8.assemble(payloads)


def test_partitions_may_begin_packets_of_their_own():
    assert Vp8Depacketiser().assemble([b"\x10a", b"\x00b", b"\x11c", b"\x12d"]) == b"abcd"


def test_a_keyframe_begins_with_partition_0_only():
    vp8 = Vp8Depacketiser()
    assert not vp8.begins_keyframe(b"\x11\x10")
    assert not vp8.begins_keyframe(b"\x10" + DELTA)
    assert not vp8.begins_keyframe(b"")


@pytest.mark.parametrize("arguments", [{"picture_id": 0x8000}, {"picture_id": 0, "mtu": 4}])
def test_a_packetiser_of_nonsense_is_a_mistake(arguments):
    with pytest.raises(UsageError):
        Vp8Packetiser(**arguments)


def test_an_empty_frame_is_a_mistake():
    with pytest.raises(UsageError):
        Vp8Packetiser(picture_id=0).packetise(b"")
