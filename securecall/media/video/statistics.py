"""What one picture has been through: one snapshot, all numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoStatistics:
    """Counts since the picture began.

    Attributes:
        name: "" for a camera, "slides" for a screen.
        codec: What we send.
        codec_received: What came last, "" before anything did.
        packets_sent, bytes_sent: RTP datagrams out, those sent again and SRTP included.
        packets_received, bytes_received: RTP datagrams in that SRTP accepted.
        frames_sent, keyframes_sent: Pictures out.
        resent: Packets that were sent again, since the peer missed them.
        frames_received: Whole pictures in, that can be decoded.
        frames_shown: Pictures decoded and handed to the sinks.
        lost: Packets given up.
        recovered: Packets that came after they had been asked for.
        freezes, frozen_seconds: How often and how long the picture stood still for what was lost.
        keyframes_asked: Of the peer.
        keyframes_wanted: By the peer.
        refused: Packets that the end-to-end layer did not open.
        malformed: Authentic packets that were no part of a picture.
        gated: Packets dropped since the gate was not open, or on hold.
        rtt_ms: Round-trip time from RTCP, milliseconds; None before the first report.
        bitrate: What the encoder aims at, bit/s.
    """

    name: str = ""
    codec: str = ""
    codec_received: str = ""
    packets_sent: int = 0
    bytes_sent: int = 0
    packets_received: int = 0
    bytes_received: int = 0
    frames_sent: int = 0
    keyframes_sent: int = 0
    resent: int = 0
    frames_received: int = 0
    frames_shown: int = 0
    lost: int = 0
    recovered: int = 0
    freezes: int = 0
    frozen_seconds: float = 0.0
    keyframes_asked: int = 0
    keyframes_wanted: int = 0
    refused: int = 0
    malformed: int = 0
    gated: int = 0
    rtt_ms: float | None = None
    bitrate: int = 0
