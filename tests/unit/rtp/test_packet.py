from __future__ import annotations

import pytest

from securecall.errors import ProtocolError
from securecall.rtp.packet import rtp_header, split_rtp
from tests.paths import vectors

HEAD = bytes.fromhex("0060 0001 00000002 00000003")
# Padding, an extension and two CSRCs; marker, payload type 96, sequence 65535, SSRC 7.
FULL = (
    bytes.fromhex("b2e0 ffff ffffffff 00000007 00000001 00000002 bede 0001 10610000")
    + b"sound\0\0\3"
)


def first(byte: int, rest: bytes = b"") -> bytes:
    return bytes((byte,)) + HEAD[1:] + rest


REFUSED = {
    "empty": b"",
    "a byte short": first(0x80)[:-1],
    "version 1": first(0x40),
    "version 3": first(0xC0),
    "CSRCs beyond": first(0x8F, bytes(59)),
    "extension without header": first(0x90, bytes(3)),
    "extension beyond": first(0x90, bytes.fromhex("bede 0002 00000000")),
    "65535 words of extension": first(0x90, bytes.fromhex("bede ffff 00000000")),
    "padding of nothing": first(0xA0),
    "padding of zero": first(0xA0, b"abc\0"),
    "padding into the header": first(0xA0, b"abc\5"),
    "padding into the extension": first(0xB0, bytes.fromhex("bede 0001 00000005")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_lengths_that_lie_are_refused(name):
    with pytest.raises(ProtocolError):
        split_rtp(REFUSED[name])


def test_csrcs_extension_and_padding_are_cut_off():
    assert split_rtp(FULL) == (0x80 | 96, 65535, 2**32 - 1, 7, b"sound")


def test_a_header_of_ours_comes_back():
    header = rtp_header(0, 1, 2, 3, marker=True)
    assert header == bytes.fromhex("8080 0001 00000002 00000003")
    assert split_rtp(header + b"sound") == (0x80, 1, 2, 3, b"sound")


def test_only_padding_is_an_empty_payload():
    assert split_rtp(first(0xA0, b"\0\0\3"))[4] == b""


def test_packets_of_other_implementations_parse():
    folder = vectors("rtp_rtcp_sctp_aiortc")
    second, sequence, _, _, payload = split_rtp((folder / "rtp.bin").read_bytes())
    assert (second, sequence, len(payload)) == (0, 15743, 160)
    with_csrcs = (folder / "rtp_with_csrc.bin").read_bytes()
    assert split_rtp(with_csrcs)[4] == with_csrcs[12 + 2 * 4 :]
    assert split_rtp((folder / "rtp_only_padding.bin").read_bytes())[4] == b""
    assert split_rtp((folder / "rtp_dtmf.bin").read_bytes())[0] >> 7
