from __future__ import annotations

import pytest

from securecall.errors import ProtocolError, UsageError
from securecall.rtp.vp8 import (
    MTU,
    Vp8Depacketiser,
    Vp8Descriptor,
    Vp8Packetiser,
    is_keyframe,
    parse_descriptor,
)

# The first bytes of a keyframe of 320x240: RFC 6386 9.1.
KEYFRAME = bytes.fromhex("102a009d012a4001f000") + bytes(100)
DELTA = bytes.fromhex("b10100") + bytes(50)

DESCRIPTORS = {
    "first byte alone": ("10aa", 1, Vp8Descriptor(start=True)),
    "partition 3, unreferenced": ("23aa", 1, Vp8Descriptor(start=False, partition=3)),
    # The examples of RFC 7741 4.6 have these forms.
    "short picture ID": ("908011aa", 3, Vp8Descriptor(start=True, picture_id=0x11)),
    "long picture ID": ("80809271aa", 4, Vp8Descriptor(start=False, picture_id=0x1271)),
    "extension of nothing": ("9000aa", 2, Vp8Descriptor(start=True)),
    "all of it": ("90f09271ff7faa", 6, Vp8Descriptor(start=True, picture_id=0x1271)),
    "key index without layer": ("9010e5aa", 3, Vp8Descriptor(start=True)),
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


def test_the_first_bit_says_whether_decoding_can_begin():
    assert is_keyframe(KEYFRAME)
    assert not is_keyframe(DELTA)
    assert not is_keyframe(b"")


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
