"""What an audio stream has been through: one snapshot, all numbers."""

from __future__ import annotations

from dataclasses import dataclass

from securecall.media.quality import FRAME_AND_LOOKAHEAD, Quality, rating, score
from securecall.media.video.statistics import VideoStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioStatistics:
    """Counts since the stream began, unless said otherwise.

    Attributes:
        packets_sent, bytes_sent: RTP datagrams out, SRTP included, IP and UDP not.
        packets_received, bytes_received: RTP datagrams in that SRTP accepted.
        lost: Packets that were not there when their turn came.
        late: Of these, those that came after all.
        duplicates: Packets that came twice and passed SRTP, as no honest network does.
        concealed: Gaps and pauses covered by a guess.
        recovered: Gaps filled from the redundancy of the next packet (or, where it carried
            none, by libopus' guess).
        copied: Gaps filled with the whole copy that a later packet carried (RFC 2198).
        hurried: Times the stream was shortened by a packet to catch up.
        replayed: Datagrams refused as replays, by SRTP or SFrame.
        forged: Datagrams refused as not authentic, by SRTP or SFrame.
        malformed: Authentic packets that were no RTP, RTCP or codec payload.
        unknown: Authentic packets of a payload type that was not agreed.
        gated: Packets dropped since the gate was closed, or RTCP where none was agreed.
        jitter_ms: Interarrival jitter (RFC 3550 A.8), milliseconds.
        delay_ms: What the jitter buffer aims at, milliseconds.
        rtt_ms: Round-trip time from RTCP, milliseconds; None before the first report, and in a call
            without RTCP.
        loss_reported: Share of our packets that the peer misses, 0..1, smoothed; 0 without RTCP.
        sent_seconds: Sound sent.
        received_seconds: Sound played, guesses included.
        bitrate_sent, bitrate_received: Bit/s of the last five seconds or fewer, counted as bytes.
        codec: What is sent, and so, as a rule, received.
        quality: How the other end sounded in the last five seconds.
        peer_mos: How we sound there, by the other end's own estimate (RFC 3611); None if it
            tells nothing of it.
        pictures: Of each picture of the call; freezes stand there.
    """

    packets_sent: int = 0
    bytes_sent: int = 0
    packets_received: int = 0
    bytes_received: int = 0
    lost: int = 0
    late: int = 0
    duplicates: int = 0
    concealed: int = 0
    recovered: int = 0
    copied: int = 0
    hurried: int = 0
    replayed: int = 0
    forged: int = 0
    malformed: int = 0
    unknown: int = 0
    gated: int = 0
    jitter_ms: float = 0.0
    delay_ms: float = 0.0
    rtt_ms: float | None = None
    loss_reported: float = 0.0
    sent_seconds: float = 0.0
    received_seconds: float = 0.0
    bitrate_sent: int = 0
    bitrate_received: int = 0
    codec: str = ""
    quality: Quality = Quality.GOOD
    peer_mos: float | None = None
    pictures: tuple[VideoStatistics, ...] = ()

    @property
    def mos(self) -> float | None:
        """How good the other end sounds here: an estimate, 1.0 to 4.4 (see `media.quality`).

        None before anything was received. Loss counts over the whole call, but where there was a
        copy; the way there is half the round trip, where that is known.
        """
        expected = self.packets_received + self.lost - self.late
        if not self.packets_received or expected <= 0:
            return None
        missed = max(0, self.lost - self.copied)
        way = mouth_to_ear(self.rtt_ms, self.delay_ms)
        return round(score(rating(self.codec, loss=missed / expected, delay=way)), 2)


def mouth_to_ear(rtt_ms: float | None, delay_ms: float) -> float:
    """Seconds, estimated: half a round trip if that is known, what is waited for, and coding."""
    return (rtt_ms or 0.0) / 2000 + delay_ms / 1000 + FRAME_AND_LOOKAHEAD
