from __future__ import annotations

import random

import pytest

from securecall.rtp.congestion import BandwidthEstimator
from securecall.rtp.feedback import DELTA_UNIT, TransportFeedback
from securecall.rtp.trend import TrendLine, Usage


def feed(trend: TrendLine, number: int, *, spacing: float = 0.02, growth: float = 0.0, at=0.0):
    """Send packets evenly; each takes `growth` seconds longer than the one before."""
    return [trend.add(at + i * spacing, 500 + at + i * (spacing + growth)) for i in range(number)]


def feedback(base: int, arrivals, *, count: int = 0, reference: int = 100) -> TransportFeedback:
    return TransportFeedback(
        sender_ssrc=1,
        media_ssrc=2,
        base_sequence=base,
        count=count or arrivals[-1][0] + 1,
        reference_time=reference,
        number=0,
        arrivals=tuple(arrivals),
    )


def test_an_even_path_is_normal():
    verdicts = feed(TrendLine(), 100)
    assert set(verdicts[2:]) == {Usage.NORMAL}
    assert verdicts[:2] == [Usage.UNKNOWN] * 2


def test_a_growing_queue_is_noticed_within_half_a_second():
    trend = TrendLine()
    feed(trend, 50)
    verdicts = feed(trend, 50, growth=0.002, at=1.0)
    assert Usage.OVER in verdicts[:25]


def test_a_queue_that_empties_is_noticed():
    trend = TrendLine()
    feed(trend, 50)
    assert Usage.UNDER in feed(trend, 50, growth=-0.002, at=1.0)


def test_jitter_is_no_trend():
    trend = TrendLine()
    verdicts = [trend.add(i * 0.02, 500 + i * 0.02 + (i * 7 % 5) * 0.002) for i in range(300)]
    assert Usage.OVER not in verdicts


def test_the_threshold_follows_what_the_path_is_like():
    calm, shaky = TrendLine(), TrendLine()
    feed(calm, 300)
    for i in range(600):
        shaky.add(i * 0.02, 500 + i * 0.02 + (i // 20 % 2) * 0.03)
    assert calm.threshold == pytest.approx(0.006)
    assert shaky.threshold > calm.threshold


def test_what_was_sent_together_is_one_group():
    trend = TrendLine()
    for i in range(100):
        for k in range(5):
            trend.add(i * 0.033 + k * 0.0005, i * 0.033 + k * 0.008)  # 8 ms each on the wire
    assert trend.usage is Usage.NORMAL


def test_what_a_link_held_back_and_let_go_at_once_is_one_group():
    trend = TrendLine()
    for i in range(300):
        release = (i // 6 + 1) * 0.06  # six packets, sent 10 ms apart, arrive within 2 ms
        late = 0.05 if i // 6 % 7 == 3 else 0.0
        trend.add(i * 0.01, 500 + release + late + i % 6 * 0.0004)
        assert trend.usage is not Usage.OVER


def test_one_spike_says_nothing_of_what_the_path_is_like():
    trend = TrendLine()
    feed(trend, 100)
    before = trend.threshold
    for i in range(4):
        trend.add(2.0 + i * 0.02, 504.5 + i * 0.02)
    assert trend.trend > before + 0.015
    assert trend.threshold == before


def test_a_clock_that_jumped_is_no_congestion():
    trend = TrendLine()
    feed(trend, 50)
    trend.add(1.02, 600.0)
    trend.add(1.04, 600.02)
    assert trend.trend == 0.0


def ride(
    estimator: BandwidthEstimator,
    seconds: float,
    *,
    lose=lambda n: False,
    start=0.0,
    rate=0,
    delay=lambda now: 0.02,
):
    """Send at the target, or at `rate`, over a path of such delays; feedback each 100 ms."""
    now, sent = start, []
    while now < start + seconds:
        step_end = now + 0.1
        while now < step_end:
            number = estimator.sent(1100, now=now)
            sent.append((number, now))
            now += 8800 / (rate or estimator.target)
        base = sent[0][0]
        reference = int(sent[0][1] / 0.064)
        arrivals = [
            (n - base & 0xFFFF, int((at + delay(at) - reference * 0.064) / 0.00025))
            for n, at in sent
            if not lose(n)
        ]
        if arrivals:
            count = (sent[-1][0] - base & 0xFFFF) + 1
            message = feedback(base, arrivals, count=count, reference=reference)
            estimator.receive(message, now=now + delay(now))
        sent = []
    return now


def test_an_empty_path_lets_it_rise_to_the_maximum_and_no_further():
    estimator = BandwidthEstimator(start=300_000, maximum=2_000_000)
    ride(estimator, 10.0)
    assert (estimator.target, estimator.congestions, estimator.loss) == (2_000_000, 0, 0.0)
    assert estimator.round_trip < 0.15


def test_it_rises_by_half_in_a_second_until_congestion_was_met():
    estimator = BandwidthEstimator(start=300_000)
    ride(estimator, 2.5)
    assert 500_000 < estimator.target < 900_000


def test_it_does_not_rise_far_above_what_an_encoder_really_sends():
    estimator = BandwidthEstimator(start=300_000)
    ride(estimator, 20.0, rate=200_000)
    assert 300_000 <= estimator.target < 350_000


def test_a_growing_queue_lowers_it_once_in_a_round_trip_and_an_emptying_one_lets_it_wait():
    estimator = BandwidthEstimator(start=1_000_000)
    now = ride(estimator, 3.0, delay=lambda now: 0.15)
    assert estimator.congestions == 0
    begun = now
    now = ride(estimator, 1.5, start=now, delay=lambda now: 0.15 + 0.1 * (now - begun))
    assert 1 <= estimator.congestions <= 8
    lowered, begun = estimator.target, now
    ride(estimator, 1.0, start=now, delay=lambda now: 0.3 - 0.15 * (now - begun))
    assert estimator.target <= lowered * 1.01


def test_much_loss_lowers_and_little_does_not():
    half, little = BandwidthEstimator(start=500_000), BandwidthEstimator(start=500_000)
    ride(half, 5.0, lose=lambda n: n % 2 == 0)
    ride(little, 5.0, lose=lambda n: n % 50 == 0)
    assert half.target < 250_000
    assert half.loss > 0.3
    assert little.target > 1_000_000
    assert 0.0 < little.loss < 0.05


def test_it_does_not_fall_below_the_minimum():
    estimator = BandwidthEstimator(start=300_000, minimum=80_000)
    ride(estimator, 30.0, lose=lambda n: n % 3 != 0)
    assert estimator.target == 80_000


def test_silence_halves_it_each_second():
    estimator = BandwidthEstimator(start=800_000)
    for tenth in range(35):
        estimator.sent(1100, now=tenth / 10)
    assert estimator.target == 100_000


def test_after_an_outage_it_rises_fast():
    estimator = BandwidthEstimator(start=800_000)
    now = ride(estimator, 5.0)
    before = estimator.target
    now = ride(estimator, 6.0, lose=lambda n: True, start=now)
    assert estimator.target < before / 10
    ride(estimator, 12.0, start=now)
    assert estimator.target > before / 2


def test_numbers_begin_at_0_and_wrap():
    estimator = BandwidthEstimator()
    numbers = [estimator.sent(1, now=0.0) for _ in range(65537)]
    assert numbers[0] == 0
    assert numbers[-2:] == [65535, 0]


@pytest.mark.parametrize(("told", "loss"), [(True, 0.0), (False, 0.3 * 14 / 59)])
def test_what_is_told_by_the_next_feedback_was_late_and_what_is_not_was_lost(told, loss):
    estimator = BandwidthEstimator(start=1_000_000)
    for at in range(60):
        estimator.sent(1000, now=at * 0.01)
    estimator.receive(feedback(0, [(i, i * 40) for i in range(0, 30, 2)]), now=0.2)
    if told:
        estimator.receive(feedback(1, [(i, i * 40 + 40) for i in range(0, 29, 2)]), now=0.3)
    estimator.receive(feedback(30, [(i, 1200 + i * 40) for i in range(30)]), now=0.7)
    assert estimator.loss == pytest.approx(loss)


def test_feedback_on_what_was_never_sent_changes_nothing():
    estimator = BandwidthEstimator()
    assert estimator.receive(feedback(500, [(0, 1), (5, 900)], count=65535), now=1.0) == 300_000


def test_the_same_happens_twice():
    targets = []
    for _ in range(2):
        estimator = BandwidthEstimator()
        ride(estimator, 8.0, lose=lambda n: n % 13 == 0)
        targets.append(estimator.target)
    assert targets[0] == targets[1]


def test_a_queue_that_stands_full_lowers_it_though_it_does_not_grow():
    estimator = BandwidthEstimator(start=1_000_000)
    now = ride(estimator, 3.0, delay=lambda now: 0.05)
    before = estimator.target
    assert not estimator.congested
    now = ride(estimator, 3.0, start=now, delay=lambda now: 0.25)
    assert estimator.congested
    assert estimator.target < 0.3 * before
    ride(estimator, 3.0, start=now, delay=lambda now: 0.05)
    assert not estimator.congested


def test_a_way_that_has_become_longer_is_no_queue_for_ever():
    estimator = BandwidthEstimator(start=1_000_000)
    now = ride(estimator, 3.0, delay=lambda now: 0.05)
    now = ride(estimator, 35.0, start=now, delay=lambda now: 0.25)
    assert not estimator.congested
    lowest = estimator.target
    ride(estimator, 20.0, start=now, delay=lambda now: 0.25)
    assert estimator.target > lowest


def test_jitter_is_no_standing_queue():
    estimator = BandwidthEstimator(start=1_000_000)
    ride(estimator, 20.0, delay=lambda now: 0.05 + 0.15 * (now * 977 % 1))
    assert estimator.standing < 0.05


def narrowed(passages, *, target=800_000):
    """An estimator told each 0.1 s of packets of 1000 bytes sent every 10 ms, by their passages."""
    estimator = BandwidthEstimator(start=target)
    waiting = sorted((n * 0.01 + p, n) for n, p in enumerate(passages))
    sprang = []
    for n in range(len(passages)):
        if n * 0.01 >= estimator.drained_at:
            estimator.sent(1000, now=n * 0.01)
        if n % 10:
            continue
        here = sorted((i, at) for at, i in waiting if at <= n * 0.01)
        waiting = [w for w in waiting if w[0] > n * 0.01]
        if here:
            ticks = [(i - here[0][0], round((5 + at) / DELTA_UNIT)) for i, at in here]
            estimator.receive(feedback(here[0][0], ticks, reference=0), now=n * 0.01 + 0.02)
        if estimator.drained_at > max(n * 0.01, sprang[-1][3] if sprang else 0.0):
            until = estimator.drained_at
            sprang.append((n * 0.01, until - n * 0.01, estimator.target, until))
    return estimator, sprang


def test_where_a_queue_springs_up_nothing_is_sent_until_it_is_gone():
    # from the second second on half of what is sent passes: 10 ms more each time
    estimator, sprang = narrowed([0.02] * 200 + [0.02 + 0.01 * n for n in range(60)])
    at, pause, target, _ = sprang[0]
    assert 2.1 <= at <= 2.3
    assert 0.1 <= pause <= 0.5
    assert 0.5 * 400_000 <= target <= 400_000
    assert estimator.congestions >= 1


def test_a_path_of_much_jitter_hardly_stops_a_picture():
    chance = random.Random(7)
    _, sprang = narrowed([0.02 + chance.random() * 0.15 for _ in range(1000)])
    assert sum(pause for _, pause, _, _ in sprang) < 0.05 * 10.0


def test_a_path_that_became_a_little_longer_stops_no_picture():
    _, sprang = narrowed([0.02] * 200 + [0.06] * 200)
    assert sprang == []
