from __future__ import annotations

import base64
import io
import zipfile

from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.rtp.h264 import (
    START_CODE,
    H264Depacketiser,
    H264Packetiser,
    is_keyframe,
    parse_parameter_sets,
    split_annex_b,
)
from tests.paths import vectors

# No emulated start code inside, no zero at the end: as H.264 7.4.1 has it.
bodies = st.binary(max_size=400).map(lambda b: b.replace(b"\x00", b"\x03") + b"\x80")
units = st.builds(
    lambda nri, kind, body: bytes((nri << 5 | kind,)) + body,
    st.integers(0, 3),
    st.integers(1, 23),
    bodies,
)


def reads_or_refuses(payloads: list[bytes]) -> None:
    h264 = H264Depacketiser()
    for payload in payloads:
        h264.begins_keyframe(payload)
    try:
        frame = h264.assemble(payloads)
    except ProtocolError:
        return
    assert frame.startswith(START_CODE)


@given(st.lists(units, min_size=1, max_size=6), st.integers(8, 300))
def test_frames_come_back(parts, mtu):
    frame = b"".join(START_CODE + unit for unit in parts)
    payloads = H264Packetiser(mtu=mtu).packetise(frame)
    assert max(map(len, payloads)) <= mtu
    assert H264Depacketiser().assemble(payloads) == frame
    assert list(split_annex_b(frame)) == parts


heads = st.sampled_from((b"\x78", b"\x7c\x85", b"\x7c\x45", b"\x7c\x05", b"\x65", b""))


@given(st.lists(st.builds(bytes.__add__, heads, st.binary(max_size=12)), max_size=4))
def test_any_payloads_are_read_or_refused_as_a_protocol_error(payloads):
    reads_or_refuses(payloads)


@given(st.binary(max_size=60))
def test_any_frame_is_read(frame):
    is_keyframe(frame)


def test_payloads_of_others_cut_at_each_byte_and_flipped():
    path = vectors("fuzz_pjsip", "fuzz-h264_seed_corpus.zip")
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as z:
        seeds = [z.read(name) for name in z.namelist() if name[-1] != "/"]
    seeds += [p.read_bytes()[:200] for p in vectors("rtp_rtcp_sctp_aiortc").glob("h264*.bin")]
    for seed in seeds:
        for cut in range(len(seed)):
            reads_or_refuses([seed[:cut]])
            reads_or_refuses([seed[:cut] + bytes((seed[cut] ^ 0xFF,)) + seed[cut + 1 :]])


base64s = st.binary(max_size=20).map(lambda b: base64.b64encode(b).decode())
sets = st.builds(
    bytes.__add__, st.sampled_from((b"\x67", b"\x68", b"\x65")), st.binary(max_size=12)
)
texts = st.one_of(
    st.text(max_size=40),
    st.lists(base64s, max_size=20).map(",".join),
    st.lists(sets.map(lambda b: base64.b64encode(b).decode()), max_size=20).map(",".join),
)


@given(texts)
def test_any_parameter_sets_are_units_of_those_types_alone_or_refused(text):
    try:
        read = parse_parameter_sets(text)
    except ProtocolError:
        return
    stream = b"".join(START_CODE + unit for unit in read)
    assert tuple(split_annex_b(stream)) == read  # nothing hides in one of them
    assert {unit[0] & 0x1F for unit in read} <= {7, 8}
    assert ",".join(base64.b64encode(unit).decode() for unit in read) == text
    h264 = H264Depacketiser(read)
    reads_or_refuses([b"\x65\x88"])
    assert h264.assemble([b"\x65\x88"]) == stream + START_CODE + b"\x65\x88"
