"""Packets of browsers and gateways, read in place."""

from __future__ import annotations

import io
import zipfile

import pytest

from securecall.rtp.extensions import parse_extensions, parse_transport_sequence
from securecall.rtp.feedback import FullIntraRequest, MaximumBitrate, PictureLoss
from securecall.rtp.packet import split_rtp
from securecall.rtp.rtcp import parse_rtcp
from securecall.rtp.vp8 import parse_descriptor
from tests.paths import vectors


def packet(name: str) -> bytes:
    path = vectors("fuzz_rtp_rtcp_sdp", "janus_corpora.zip")
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as z:
        return z.read(name)


SOURCES = (591751049, 591751050, 591751051)
FEEDBACK = {
    "1meetecho/pli": PictureLoss(sender_ssrc=2349375581, media_ssrc=4077955174),
    "2webrtc/15": MaximumBitrate(sender_ssrc=0x12345678, bitrate=522022, sources=()),
    "2webrtc/41": FullIntraRequest(sender_ssrc=0x12345678, requests=((591751049, 13),)),
    "2webrtc/44": MaximumBitrate(sender_ssrc=0x12345678, bitrate=522022, sources=SOURCES),
}


@pytest.mark.parametrize("name", FEEDBACK)
def test_feedback_of_others_is_understood(name):
    assert parse_rtcp(packet(f"rtcp_fuzzer/{name}.rtcp"), reduced=True) == (FEEDBACK[name],)


def test_a_browsers_packet_of_vp8_has_its_time_its_number_and_its_picture():
    data = packet("rtp_fuzzer/1meetecho/rtp_1_video-with-ext")
    elements = parse_extensions(data)
    # abs-send-time: seconds, 6.18 bits of fixed point
    assert int.from_bytes(elements[2]) / (1 << 18) == pytest.approx(2.71998596)
    assert parse_transport_sequence(elements[3]) == 12361
    second, sequence, _, _, payload = split_rtp(data)
    assert (second, sequence, len(payload)) == (0x80 | 96, 33323, 1129)
    descriptor, length = parse_descriptor(payload)
    assert (descriptor.start, descriptor.picture_id, length) == (False, 6686, 4)
