"""Two ends and a link that is too narrow; the figures stand in docs/decisions/0110."""

from __future__ import annotations

import pytest

from tests.bottleneck import Link, Run, simulate

KBIT, MBIT = 1e3, 1e6
WIDTHS = [300 * KBIT, 1 * MBIT]


def fits(run: Run, begin: float, end: float, width: float, *, lost: float = 0.0) -> None:
    """It uses the link, and nobody waits for it."""
    assert 0.75 <= run.target(begin, end) / width <= 1.0
    assert run.throughput(begin, end) >= 0.75 * (1 - lost) * width
    mean, most = run.queue(begin, end)
    assert mean < 0.03
    assert most < 0.1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loss", [0.0, 0.02])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_constant_link_is_used_and_its_queue_stays_short(width, loss, seed):
    link = Link(lambda now: width, loss=lambda now: loss)
    run = simulate(link, 40.0, seed=seed)
    fits(run, 10.0, 40.0, width, lost=loss)


@pytest.mark.parametrize("loss", [0.0, 0.02])
def test_a_link_that_narrows_and_widens_is_followed(loss):
    link = Link(lambda now: 300 * KBIT if 30 <= now < 60 else MBIT, loss=lambda now: loss)
    run = simulate(link, 100.0)
    fits(run, 15.0, 30.0, MBIT, lost=loss)
    assert run.queue(33.0, 34.0)[0] < 0.2  # the queue that stood there is gone in 3 s
    fits(run, 36.0, 60.0, 300 * KBIT, lost=loss)
    fits(run, 75.0, 100.0, MBIT, lost=loss)


@pytest.mark.parametrize("width", WIDTHS)
def test_jitter_is_not_taken_for_congestion(width):
    fits(simulate(Link(lambda now: width, jitter=0.02), 40.0), 10.0, 40.0, width)


@pytest.mark.parametrize("seed", range(3))
def test_five_per_cent_of_random_loss_are_not_taken_for_ten(seed):
    run = simulate(Link(lambda now: MBIT, loss=lambda now: 0.05), 40.0, seed=seed)
    assert run.target(10.0, 40.0) > 0.5 * MBIT


def test_a_long_way_takes_no_more_than_a_little_longer():
    fits(simulate(Link(lambda now: MBIT, delay=0.15), 40.0), 15.0, 40.0, MBIT)


def test_an_outage_is_recovered_from():
    link = Link(lambda now: MBIT, loss=lambda now: float(20 < now < 25))
    run = simulate(link, 60.0)
    assert run.target(25.2, 26.0) < 100 * KBIT
    fits(run, 38.0, 60.0, MBIT)


@pytest.mark.parametrize("width", WIDTHS)
def test_control_who_heeds_nothing_fills_the_queue(width):
    link = Link(lambda now: width)
    run = simulate(link, 20.0, rate=int(1.2 * width))
    assert run.queue(10.0, 20.0)[0] > 0.4
    assert link.dropped > 20


def test_the_same_run_gives_the_same_targets():
    first, second = (simulate(Link(lambda now: MBIT, jitter=0.01), 10.0) for _ in range(2))
    assert first.targets == second.targets
