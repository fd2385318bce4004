"""How good a call sounds, estimated from what is counted: the E-model (ITU-T G.107), simplified.

R = 93.2 - Id - Ie,eff. Delay costs Id (G.107 7.4, as Cole and Rosenbluth put it); loss costs
Ie,eff, the more the less a codec makes of it: Ie + (95 - Ie) * P / (P + Bpl), P in per cent, as if
losses came one by one. The mean opinion score follows from R (G.107 annex B). It is an estimate of
what people would say, 1 to 4.4, not a measurement: noise, echo and the microphone are unknown to
it.
"""

from __future__ import annotations

from typing import Final

BEST: Final = 93.2
"""R without any impairment."""

FRAME_AND_LOOKAHEAD: Final = 0.0265
"""Seconds that coding costs: a frame of 20 ms, and what Opus looks ahead."""

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
