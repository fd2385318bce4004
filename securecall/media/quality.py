"""How good a call sounds, estimated from what is counted: the E-model (ITU-T G.107), simplified.

R = 93.2 - Id - Ie,eff. Delay costs Id (G.107 7.4, as Cole and Rosenbluth put it); loss costs
Ie,eff, the more the less a codec makes of it: Ie + (95 - Ie) * P / (P + Bpl), P in per cent, as if
losses came one by one. The mean opinion score follows from R (G.107 annex B). It is an estimate of
what people would say, 1 to 4.4, not a measurement: noise, echo and the microphone are unknown to
it.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Final

from securecall.rtp.xr import BurstMeter, VoipMetrics

BEST: Final = 93.2
"""R without any impairment."""

FRAME_AND_LOOKAHEAD: Final = 0.0265
"""Seconds that coding costs: a frame of 20 ms, and what Opus looks ahead."""

_GOOD, _FAIR = 70.0, 50.0  # G.107 annex B: some are dissatisfied; nearly all are
_WINDOW: Final = 5
_SILENCE: Final = 3
_BETTER: Final = 5
_MARGIN: Final = 3.0
_BUFFER_MAX_MS: Final = 320  # see rtp.jitter

# Ie and Bpl. Bpl fits our own scores (PESQ) at 1 to 20 % loss: with in-band redundancy for Opus,
# with concealment alone for the others. Ie of G.722 is 0 here: its band is wider than R can tell.
_CODECS: Final = {
    "opus": (0.0, 22.0),
    "g722": (0.0, 10.0),
    "pcmu": (0.0, 10.0),
    "pcma": (0.0, 10.0),
}


def rating(codec: str, *, loss: float, delay: float) -> float:
    """Return R, 0 to 93.2.

    Args:
        codec: Name of what is heard.
        loss: Share of packets that were lost or too late, 0 to 1.
        delay: Seconds from mouth to ear.
    """
    impairment, robustness = _CODECS.get(codec.lower(), _CODECS["pcmu"])
    percent = 100 * min(1.0, max(0.0, loss))
    impairment += (95 - impairment) * percent / (percent + robustness)
    milliseconds = 1000 * max(0.0, delay)
    late = 0.024 * milliseconds + 0.11 * max(0.0, milliseconds - 177.3)
    return max(0.0, BEST - late - impairment)


def score(r: float) -> float:
    """Return the mean opinion score for R: 1.0 (bad) to 4.4 (as good as a telephone gets)."""
    if r <= 0:
        return 1.0
    return 1 + 0.035 * r + 7e-6 * r * (r - 60) * (100 - r)


class Quality(enum.StrEnum):
    """How the other end sounds here, of late.

    GOOD: R of 70 and more, MOS 3.6. FAIR: R of 50 and more, MOS 2.6; words are understood.
    POOR: less than that. SILENT: nothing comes, though it should.
    """

    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"
    SILENT = "silent"


_RANK: Final = tuple(Quality)


class QualityMeter:
    """Judges the last five seconds, once a second: worse at once, better after five seconds.

    Attributes:
        quality: The verdict; GOOD at first.
    """

    __slots__ = ("_better_for", "_seconds", "quality")

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self.quality = Quality.GOOD
        self._seconds: deque[tuple[int, int]] = deque(maxlen=_WINDOW + 1)
        self._better_for = 0

    def pause(self) -> None:
        """Nothing is to be heard for now: count from anew."""
        self._seconds.clear()
        self._better_for = 0

    def judge(self, codec: str, *, received: int, missed: int, delay: float) -> bool:
        """Take a second's counts, and say whether the verdict changed.

        Args:
            codec: Name of what is heard.
            received: Packets that came, since the beginning.
            missed: Packets that were not there when their turn came, since the beginning.
            delay: Seconds from mouth to ear.
        """
        self._seconds.append((received, missed))
        found = self._found(codec, delay)
        if found is None:
            return False
        before = self.quality
        if _RANK.index(found) >= _RANK.index(before):
            self._better_for = 0
            self.quality = found
        else:
            self._better_for += 1
            if self._better_for >= _BETTER:
                self._better_for = 0
                self.quality = found
        return self.quality is not before

    def _found(self, codec: str, delay: float) -> Quality | None:
        """The verdict of the window alone; None while it is too short for one."""
        if len(self._seconds) <= 2:
            return None
        received, missed = self._seconds[-1]
        if len(self._seconds) > _SILENCE and received == self._seconds[-1 - _SILENCE][0]:
            return Quality.SILENT
        came, lacked = received - self._seconds[0][0], missed - self._seconds[0][1]
        if came + lacked <= 0:
            return None
        r = rating(codec, loss=lacked / (came + lacked), delay=delay)
        # a verdict is not given up for a hair's breadth
        good, fair = (
            limit - _MARGIN if self.quality is kept else limit
            for limit, kept in ((_GOOD, Quality.GOOD), (_FAIR, Quality.FAIR))
        )
        if r >= good:
            return Quality.GOOD
        return Quality.FAIR if r >= fair else Quality.POOR


def voip_metrics(
    ssrc: int,
    codec: str,
    *,
    bursts: BurstMeter,
    late: int,
    round_trip: float | None,
    target: float,
) -> VoipMetrics:
    """Return what is told of a source (RFC 3611 4.7).

    Args:
        ssrc: The source.
        codec: Name of what is heard.
        bursts: Which of its packets were missed.
        late: Packets that came too late, part of the missed.
        round_trip: Seconds, None where it is not known.
        target: Seconds the jitter buffer aims at.
    """
    count = max(1, bursts.count)
    missed = min(count, bursts.missed)
    late = min(late, missed)
    here = target + FRAME_AND_LOOKAHEAD
    r = rating(codec, loss=missed / count, delay=(round_trip or 0.0) / 2 + here)
    dense, sparse = bursts.densities()
    burst_ms, gap_ms = bursts.lengths_ms(20.0)
    listening = score(rating(codec, loss=missed / count, delay=0.0))
    return VoipMetrics(
        ssrc=ssrc,
        loss=min(255, 256 * (missed - late) // count),
        discard=min(255, 256 * late // count),
        burst_density=dense,
        gap_density=sparse,
        burst_ms=burst_ms,
        gap_ms=gap_ms,
        round_trip_ms=min(0xFFFF, round(1000 * (round_trip or 0.0))),
        end_system_ms=min(0xFFFF, round(1000 * here)),
        r_factor=round(r),
        mos_lq=round(10 * listening),
        mos_cq=round(10 * score(r)),
        buffer_ms=min(0xFFFF, round(1000 * target)),
        buffer_max_ms=_BUFFER_MAX_MS,
    )
