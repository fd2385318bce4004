"""What a payload says without being decoded: how long it lasts."""

from __future__ import annotations

from typing import Final

from securecall.errors import ProtocolError

STATIC_AUDIO: Final = {0: ("PCMU", 8000), 8: ("PCMA", 8000), 9: ("G722", 8000)}
"""Payload types that need no rtpmap (RFC 3551 6): number -> name, RTP clock in Hz."""

_SILK_MS = (10.0, 20.0, 40.0, 60.0)
_HYBRID_MS = (10.0, 20.0)
_CELT_MS = (2.5, 5.0, 10.0, 20.0)
_LONGEST_MS = 120.0


def opus_duration(payload: bytes) -> float:
    """Return how many seconds of sound an Opus packet holds (RFC 6716 3.1, 3.2).

    Raises:
        ProtocolError: no packet, or one longer than 120 ms.
    """
    if not payload:
        raise ProtocolError("an empty Opus packet", rule="RFC 6716 3.4 R1")
    config, code = payload[0] >> 3, payload[0] & 3
    if config < 12:
        frame = _SILK_MS[config & 3]
    elif config < 16:
        frame = _HYBRID_MS[config & 1]
    else:
        frame = _CELT_MS[config & 3]
    if code < 2:
        return frame * (code + 1) / 1000
    if code == 2:
        return frame * 2 / 1000
    if len(payload) < 2:
        raise ProtocolError("an Opus packet without its frame count", rule="RFC 6716 3.4 R6")
    count = payload[1] & 0x3F
    if not count or frame * count > _LONGEST_MS:
        raise ProtocolError("an Opus packet of no plausible length", rule="RFC 6716 3.2.5 R5")
    return frame * count / 1000
