from __future__ import annotations

import io
import zipfile

from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.rtp.vp8 import (
    Vp8Depacketiser,
    Vp8Descriptor,
    Vp8Packetiser,
    parse_descriptor,
)
from tests.paths import vectors


def reads_or_refuses(data: bytes) -> None:
    vp8 = Vp8Depacketiser()
    vp8.begins_keyframe(data)
    for read in (parse_descriptor, lambda d: vp8.assemble([d, d])):
        try:
            read(data)
        except ProtocolError:
            continue


@given(
    st.booleans(),
    st.integers(0, 7),
    st.none() | st.integers(0, 0x7FFF),
    st.none() | st.integers(0, 255),
    st.none() | st.integers(0, 255),
)
def test_what_we_do_not_read_is_read_over(start, partition, picture_id, lowest, layer):
    has, tail = 0, b""
    if picture_id is not None:
        has |= 0x80
        tail += (picture_id | 0x8000).to_bytes(2)
    if lowest is not None:
        has |= 0x40
        tail += bytes((lowest,))
    if layer is not None:
        has |= 0x30
        tail += bytes((layer,))
    wire = bytes((0x80 | start << 4 | partition, has)) + tail
    assert parse_descriptor(wire + b"x") == (
        Vp8Descriptor(start=start, partition=partition, picture_id=picture_id),
        len(wire),
    )


@given(st.binary(min_size=1, max_size=3000), st.integers(5, 1100), st.integers(0, 0x7FFF))
def test_frames_come_back(frame, mtu, picture_id):
    payloads = Vp8Packetiser(picture_id=picture_id, mtu=mtu).packetise(frame)
    assert max(map(len, payloads)) <= mtu
    assert Vp8Depacketiser().assemble(payloads) == frame


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused_as_a_protocol_error(data):
    reads_or_refuses(data)


def test_a_payload_that_broke_others_cut_at_each_byte_and_flipped():
    path = vectors("fuzz_pjsip", "fuzz-vpx_seed_corpus.zip")
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as z:
        seeds = [z.read(name) for name in z.namelist() if name[-1] != "/"]
    for seed in seeds:
        for cut in range(len(seed)):
            reads_or_refuses(seed[:cut])
            reads_or_refuses(seed[:cut] + bytes((seed[cut] ^ 0xFF,)) + seed[cut + 1 :])
