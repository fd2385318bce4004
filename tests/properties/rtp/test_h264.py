from __future__ import annotations

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
