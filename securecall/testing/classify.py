"""Tells STUN, DTLS, RTP and RTCP on one port apart (RFC 7983, RFC 5761)."""

from __future__ import annotations

import enum


class Kind(enum.Enum):
    """What a datagram claims to be; nothing of it is verified."""

    STUN = "stun"
    DTLS = "dtls"
    RTP = "rtp"
    RTCP = "rtcp"
    UNKNOWN = "unknown"


def classify(datagram: bytes) -> Kind:
    """Return what the first two bytes of a datagram claim it to be."""
    if not datagram:
        return Kind.UNKNOWN
    first = datagram[0]
    if 127 < first < 192:
        return Kind.RTCP if is_rtcp(datagram) else Kind.RTP
    if 19 < first < 64:
        return Kind.DTLS
    return Kind.STUN if first < 4 else Kind.UNKNOWN


def is_rtcp(datagram: bytes) -> bool:
    """Tell RTCP from RTP by the second byte, 192 to 223 (RFC 5761 4).

    So the RTP payload types 64 to 95 cannot be used on a path that carries both.
    """
    return len(datagram) > 1 and 191 < datagram[1] < 224
