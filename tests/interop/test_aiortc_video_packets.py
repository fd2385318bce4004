"""Payloads, feedback, header extensions and retransmissions against aiortc, without a network."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

aiortc_rtp = pytest.importorskip("aiortc.rtp", reason="aiortc is not installed")
av = pytest.importorskip("av", reason="PyAV is not installed")

from aiortc.codecs import h264 as their_h264  # noqa: E402
from aiortc.codecs import vpx as their_vp8  # noqa: E402
from aiortc.jitterbuffer import JitterFrame  # noqa: E402
from aiortc.rtcrtpparameters import (  # noqa: E402
    RTCRtpHeaderExtensionParameters,
    RTCRtpParameters,
)

from securecall.rtp.extensions import (  # noqa: E402
    MID,
    build_extensions,
    parse_extensions,
    with_extensions,
)
from securecall.rtp.feedback import (  # noqa: E402
    FullIntraRequest,
    GenericNack,
    MaximumBitrate,
    PictureLoss,
)
from securecall.rtp.h264 import H264Depacketiser, H264Packetiser, split_annex_b  # noqa: E402
from securecall.rtp.packet import rtp_header, split_rtp  # noqa: E402
from securecall.rtp.rtcp import build_rtcp, parse_rtcp  # noqa: E402
from securecall.rtp.rtx import SentPacket, build_rtx, restore_rtx  # noqa: E402
from securecall.rtp.vp8 import Vp8Depacketiser, Vp8Packetiser, parse_descriptor  # noqa: E402

ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"


def picture(number: int):
    """A picture that moves, hard to compress."""
    frame = av.VideoFrame(320, 240, "yuv420p")
    dice = random.Random(number)
    for plane in frame.planes:
        plane.update(dice.randbytes(plane.buffer_size))
    frame.pts, frame.time_base = number * 3000, Fraction(1, 90000)
    return frame


def parse(packet):
    (ours,) = parse_rtcp(bytes(packet), reduced=True)
    (theirs,) = aiortc_rtp.RtcpPacket.parse(build_rtcp((ours,)))
    assert bytes(theirs) == bytes(packet)
    return ours


def test_feedback_is_read_and_written_alike():
    assert parse(
        aiortc_rtp.RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=2, lost=[7, 9, 40, 65535])
    ) == GenericNack(sender_ssrc=1, media_ssrc=2, sequences=(7, 9, 40, 65535))
    assert parse(aiortc_rtp.RtcpPsfbPacket(fmt=1, ssrc=1, media_ssrc=2)) == PictureLoss(
        sender_ssrc=1, media_ssrc=2
    )
    fci = bytes.fromhex("0000000305000000")
    assert parse(
        aiortc_rtp.RtcpPsfbPacket(fmt=4, ssrc=1, media_ssrc=0, fci=fci)
    ) == FullIntraRequest(sender_ssrc=1, requests=((3, 5),))
    fci = aiortc_rtp.pack_remb_fci(1_048_572, [5, 6])
    assert parse(
        aiortc_rtp.RtcpPsfbPacket(fmt=15, ssrc=1, media_ssrc=0, fci=fci)
    ) == MaximumBitrate(sender_ssrc=1, bitrate=1_048_572, sources=(5, 6))


@pytest.mark.parametrize("elements", [{1: b"v0", 3: b"\x00\x12\x34"}, {1: b"v0", 20: b"abc"}])
def test_header_extensions_are_read_and_written_alike(elements):
    block = build_extensions(elements)
    profile, value = int.from_bytes(block[:2]), block[4:]
    assert dict(aiortc_rtp.unpack_header_extensions(profile, value)) == elements
    profile, value = aiortc_rtp.pack_header_extensions(list(elements.items()))
    wire = profile.to_bytes(2) + (len(value) // 4).to_bytes(2) + value
    assert parse_extensions(with_extensions(rtp_header(96, 1, 2, 3), wire)) == elements


def test_a_packet_with_mid_and_time_is_read_by_name():
    parameters = RTCRtpParameters(
        headerExtensions=[
            RTCRtpHeaderExtensionParameters(id=1, uri=MID),
            RTCRtpHeaderExtensionParameters(id=2, uri=ABS_SEND_TIME),
        ]
    )
    extensions = aiortc_rtp.HeaderExtensionsMap()
    extensions.configure(parameters)
    block = build_extensions({1: b"v0", 2: b"\x06\x00\x00"})
    wire = with_extensions(rtp_header(96, 1, 2, 3, marker=True), block) + b"picture"
    theirs = aiortc_rtp.RtpPacket.parse(wire, extensions)
    assert theirs.extensions.mid == "v0"
    assert theirs.extensions.abs_send_time == 0x60000
    assert theirs.payload == b"picture"
    again = theirs.serialize(extensions)
    assert parse_extensions(again)[1] == b"v0"
    assert split_rtp(again)[-1] == b"picture"


def test_a_retransmission_is_made_and_undone_alike():
    original = aiortc_rtp.RtpPacket(
        payload_type=96, sequence_number=700, timestamp=5, ssrc=1, payload=b"sealed", marker=1
    )
    theirs = aiortc_rtp.wrap_rtx(original, payload_type=97, sequence_number=3, ssrc=2)
    assert theirs.payload == build_rtx(SentPacket(700, 5, True, b"sealed"))
    assert restore_rtx(theirs.payload) == (700, b"sealed")


def test_vp8_of_their_encoder_is_put_together_and_ours_is_decoded_by_theirs():
    encoder, decoder = their_vp8.Vp8Encoder(), their_vp8.Vp8Decoder()
    packetiser, vp8 = Vp8Packetiser(picture_id=0x7FFF), Vp8Depacketiser()
    for number in range(3):
        payloads, _ = encoder.encode(picture(number))
        assert len(payloads) > 1
        assert [vp8.begins_keyframe(p) for p in payloads] == [not number] + [False] * (
            len(payloads) - 1
        )
        frame = vp8.assemble(payloads)
        ours = packetiser.packetise(frame)
        assert b"".join(their_vp8.vp8_depayload(p) for p in ours) == frame
        their = their_vp8.VpxPayloadDescriptor.parse(ours[0])[0]
        assert their.picture_id == parse_descriptor(ours[0])[0].picture_id
        (decoded,) = decoder.decode(JitterFrame(data=frame, timestamp=number * 3000))
        assert (decoded.width, decoded.height) == (320, 240)


def test_h264_of_their_encoder_is_put_together_and_ours_is_read_by_theirs():
    encoder = their_h264.H264Encoder()
    h264, packetiser = H264Depacketiser(), H264Packetiser()
    for number in range(3):
        payloads, _ = encoder.encode(picture(number), force_keyframe=not number)
        frame = h264.assemble(payloads)
        assert h264.is_keyframe(frame) == (not number)
        assert b"".join(their_h264.h264_depayload(p) for p in payloads) == frame
        ours = packetiser.packetise(frame)
        theirs = b"".join(their_h264.h264_depayload(p) for p in ours)
        assert list(split_annex_b(theirs)) == list(split_annex_b(frame))
