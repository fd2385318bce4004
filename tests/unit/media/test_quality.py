"""The estimate of how a call sounds: where it is known what comes out, and that worse is worse."""

from __future__ import annotations

import pytest

from securecall.media.quality import BEST, Quality, QualityMeter, rating, score
from securecall.media.statistics import AudioStatistics


def test_the_best_of_telephones():
    """G.107 annex B: R of 93.2 is 4.41; 50 is 2.58; 0 and less is 1."""
    assert round(score(BEST), 2) == 4.41
    assert round(score(50), 2) == 2.58
    assert score(0) == score(-5) == 1.0


@pytest.mark.parametrize(
    ("codec", "loss", "heard"),
    [
        ("opus", 0.0, 4.41),
        ("opus", 0.05, 3.78),
        ("opus", 0.10, 3.41),
        ("opus", 0.20, 2.45),
        ("PCMU", 0.05, 3.20),
    ],
)
def test_the_estimate_is_near_what_pesq_heard(codec, loss, heard):
    assert score(rating(codec, loss=loss, delay=0.0)) == pytest.approx(heard, abs=0.15)


def test_more_loss_and_more_delay_are_never_better():
    for codec in ("opus", "G722", "PCMA", "something else"):
        by_loss = [rating(codec, loss=loss / 50, delay=0.1) for loss in range(51)]
        by_delay = [rating(codec, loss=0.01, delay=delay / 20) for delay in range(60)]
        assert by_loss == sorted(by_loss, reverse=True)
        assert by_delay == sorted(by_delay, reverse=True)
        assert min(*by_loss, *by_delay) >= 0


def test_a_call_of_which_nothing_was_heard_has_no_score():
    assert AudioStatistics().mos is None
    good = AudioStatistics(packets_received=100, codec="opus", delay_ms=40, rtt_ms=20)
    lossy = AudioStatistics(packets_received=100, lost=10, codec="opus", delay_ms=40, rtt_ms=20)
    unknown = AudioStatistics(packets_received=100, codec="opus", delay_ms=40)
    assert 4.3 < good.mos < 4.41
    assert lossy.mos < 3.6
    assert unknown.mos >= good.mos


def judged(meter, seconds, *, loss=0.0, packets=50, delay=0.05, state=None):
    """The verdict after each second in which so many came and that share was missed."""
    state = state if state is not None else [0, 0]
    found = []
    for _ in range(seconds):
        missed = round(packets * loss)
        state[0] += packets - missed
        state[1] += missed
        changed = meter.judge("opus", received=state[0], missed=state[1], delay=delay)
        found.append((meter.quality, changed))
    return found


def test_a_call_that_gets_worse_is_told_at_once_and_one_that_mends_after_a_while():
    meter, state = QualityMeter(), [0, 0]
    assert {c for _, c in judged(meter, 20, state=state)} == {False}
    worse = judged(meter, 6, loss=0.2, state=state)
    assert [q for q, changed in worse if changed] == [Quality.FAIR, Quality.POOR]
    assert worse[-1][0] is Quality.POOR
    better = judged(meter, 15, state=state)
    assert 4 <= next(second for second, (_, changed) in enumerate(better) if changed) <= 9
    assert better[-1][0] is Quality.GOOD


def test_a_verdict_does_not_flutter_about_its_limit():
    meter, state = QualityMeter(), [0, 0]
    changes = 0
    for second in range(120):
        loss = 0.08 if second % 2 else 0.04
        changes += sum(c for _, c in judged(meter, 1, loss=loss, state=state))
    assert changes <= 1


def test_a_peer_that_falls_silent_is_told_of_unless_it_should_be():
    meter, state = QualityMeter(), [0, 0]
    judged(meter, 10, state=state)
    silent = judged(meter, 4, packets=0, state=state)
    assert [q for q, changed in silent if changed] == [Quality.SILENT]
    meter, state = QualityMeter(), [0, 0]
    judged(meter, 10, state=state)
    meter.pause()
    assert {c for _, c in judged(meter, 3, state=state)} == {False}


def test_a_long_way_is_heard_without_any_loss():
    meter = QualityMeter()
    assert judged(meter, 5, delay=0.6)[-1][0] is not Quality.GOOD
