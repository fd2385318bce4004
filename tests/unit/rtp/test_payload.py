"""How long an Opus packet lasts, from its first bytes."""

from __future__ import annotations

import pytest

from securecall.errors import ProtocolError
from securecall.rtp.payload import opus_duration


@pytest.mark.parametrize(
    ("packet", "ms"),
    [
        (b"\x00", 10),  # SILK NB 10 ms, one frame
        (b"\x08x", 20),
        (b"\x18x", 60),
        (b"\x19x", 120),  # two of 60 ms, equal
        (b"\x60x", 10),  # hybrid
        (b"\x80x", 2.5),  # CELT
        (b"\xfcx", 20),
        (b"\xfex", 40),  # two frames, unequal
        (b"\xff\x06x", 120),
        (b"\x83\x01", 2.5),
    ],
)
def test_the_first_byte_tells(packet, ms):
    assert opus_duration(packet) * 1000 == pytest.approx(ms)


@pytest.mark.parametrize("packet", [b"", b"\x03", b"\x03\x00", b"\xff\x07", b"\x1b\x03"])
def test_impossible_packets_are_refused(packet):
    with pytest.raises(ProtocolError):
        opus_duration(packet)
