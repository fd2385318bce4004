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
    build_descriptor,
    parse_descriptor,
    parse_header,
)
from tests.paths import vectors

descriptors = st.builds(
    Vp8Descriptor,
    start=st.booleans(),
    partition=st.integers(0, 7),
    unreferenced=st.booleans(),
    picture_id=st.integers(0, 0x7FFF),
    tl0picidx=st.none() | st.integers(0, 255),
    temporal_layer=st.integers(0, 3),
    layer_sync=st.booleans(),
    key_index=st.none() | st.integers(0, 31),
)


def reads_or_refuses(data: bytes) -> None:
    vp8 = Vp8Depacketiser()
    vp8.begins_keyframe(data)
    for read in (parse_descriptor, parse_header, lambda d: vp8.assemble([d, d])):
        try:
            read(data)
        except ProtocolError:
            continue


@given(descriptors)
def test_descriptors_come_back(descriptor):
    wire = build_descriptor(descriptor)
    assert parse_descriptor(wire + b"x") == (descriptor, len(wire))


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
