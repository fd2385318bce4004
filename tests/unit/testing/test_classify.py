from __future__ import annotations

import pytest

from securecall.testing.classify import Kind, classify, is_rtcp


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (0, Kind.STUN),
        (3, Kind.STUN),
        (4, Kind.UNKNOWN),
        (16, Kind.UNKNOWN),  # ZRTP
        (19, Kind.UNKNOWN),
        (20, Kind.DTLS),
        (63, Kind.DTLS),
        (64, Kind.UNKNOWN),  # TURN channels
        (79, Kind.UNKNOWN),
        (127, Kind.UNKNOWN),
        (128, Kind.RTP),
        (191, Kind.RTP),
        (192, Kind.UNKNOWN),
        (255, Kind.UNKNOWN),
    ],
)
def test_the_first_byte_decides(first, kind):
    assert classify(bytes((first, 0))) is kind


@pytest.mark.parametrize(
    ("second", "rtcp"),
    [(0, False), (127, False), (191, False), (192, True), (200, True), (223, True), (224, False)],
)
def test_the_second_byte_tells_rtcp_from_rtp(second, rtcp):
    datagram = bytes((0x80, second))
    assert is_rtcp(datagram) is rtcp
    assert classify(datagram) is (Kind.RTCP if rtcp else Kind.RTP)


def test_short_datagrams_are_classified_without_reading_beyond():
    assert classify(b"") is Kind.UNKNOWN
    assert classify(b"\x80") is Kind.RTP
    assert not is_rtcp(b"\x80")


def test_every_first_byte_has_a_kind():
    pairs = [bytes((first, second)) for first in range(256) for second in (0, 200)]
    assert {classify(pair) for pair in pairs} == {*Kind}
