"""The bad network of the test kit does what it is told, and the same each time."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from securecall.errors import UsageError
from securecall.testing.impairment import (
    CLEAN,
    HEADERS,
    HELD_BACK,
    INTERNATIONAL,
    MODERATE,
    SPIKY_LOSS,
    Bursts,
    Impairer,
    Impairment,
    outage,
)

STEP = 0.02


def travel(stages, count=4000, *, seed=1, size=160, step=STEP):
    """Send numbered datagrams; return the impairer and (number, sent at, arrived at, datagram)."""
    path = Impairer(stages, chance=random.Random(seed))
    come = []
    for number in range(count):
        now = number * step
        while path.deadline <= now:
            at = path.deadline
            come += [(at, d) for d in path.arrived(now=at)]
        path.send(number.to_bytes(4) * (size // 4), now=now)
    while path.deadline < float("inf"):
        at = path.deadline
        come += [(at, d) for d in path.arrived(now=at)]
    return path, [(int.from_bytes(d[:4]), at) for at, d in come]


def test_a_clean_path_changes_nothing():
    path, come = travel(CLEAN, 100)
    assert come == [(n, n * STEP) for n in range(100)]
    assert (path.counters.sent, path.counters.arrived, path.counters.lost) == (100, 100, 0)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_losses_by_themselves_are_as_many_as_asked_for_and_do_not_cling(share):
    _, come = travel(Impairment(loss=share), 10_000)
    there = {n for n, _ in come}
    gone = [n for n in range(10_000) if n not in there]
    assert len(gone) / 10_000 == pytest.approx(share, rel=0.15)
    followed = sum(b == a + 1 for a, b in pairwise(gone)) / len(gone)
    assert followed == pytest.approx(share, abs=0.07)


def test_bursts_are_as_long_and_as_many_as_asked_for():
    _, come = travel(Impairment(bursts=Bursts.of(0.1, 3.0)), 15_000)
    there = {n for n, _ in come}
    gone = [n for n in range(15_000) if n not in there]
    begun = sum(n - 1 in there for n in gone)
    assert len(gone) / 15_000 == pytest.approx(0.1, rel=0.15)
    assert len(gone) / begun == pytest.approx(3.0, rel=0.1)


def test_a_bad_state_may_let_some_through_and_a_good_one_lose_some():
    _, come = travel(Impairment(bursts=Bursts(0.5, 0.5, inside=0.4, outside=0.2)), 10_000)
    assert 1 - len(come) / 10_000 == pytest.approx(0.3, rel=0.1)


def test_delay_and_jitter_are_those_asked_for_and_keep_the_order():
    _, come = travel(Impairment(delay=0.1, jitter=0.01), 3000, step=0.1)  # far apart: no queue
    delays = [at - n * 0.1 for n, at in come]
    mean = sum(delays) / len(delays)
    spread = (sum((d - mean) ** 2 for d in delays) / len(delays)) ** 0.5
    assert mean == pytest.approx(0.1, abs=0.002)
    assert spread == pytest.approx(0.01, rel=0.25)
    assert max(delays) <= 0.1 + 0.06 + 1e-9
    assert sorted(delays)[1500] < mean  # a tail of late ones, not of early ones
    _, close = travel(Impairment(delay=0.1, jitter=0.05), 2000, step=0.001)
    assert [n for n, _ in close] == list(range(2000))


def test_reordered_ones_are_overtaken_and_nothing_else_is():
    path, come = travel(Impairment(reorder=0.05), 4000)
    late = {n for n, at in come if at > n * STEP}
    assert len(late) == path.counters.reordered == pytest.approx(200, rel=0.25)
    assert all(at - n * STEP == pytest.approx(HELD_BACK) for n, at in come if n in late)
    order = [n for n, _ in come]
    assert order != sorted(order)
    assert sorted(order) == list(range(4000))


def test_duplicates_come_twice_and_corrupted_ones_differ_by_one_bit():
    path = Impairer(Impairment(duplicate=0.1, corrupt=0.2), chance=random.Random(3))
    original = bytes(range(100))
    for _ in range(2000):
        path.send(original, now=0.0)
    come = path.arrived(now=0.0)
    assert len(come) == 2000 + path.counters.duplicated
    assert path.counters.duplicated == pytest.approx(200, rel=0.25)
    assert path.counters.corrupted == pytest.approx(400, rel=0.25)
    flipped = [sum((a ^ b).bit_count() for a, b in zip(d, original, strict=True)) for d in come]
    assert set(flipped) == {0, 1}


def test_a_narrow_link_passes_its_rate_and_drops_what_its_queue_cannot_hold():
    rate, size = 100_000, 472
    path, come = travel(Impairment(rate=rate, queue=0.2), 2000, size=size)  # 200 kbit/s are sent
    seconds = come[-1][1] - come[0][1]
    assert 8 * (size + HEADERS) * (len(come) - 1) / seconds == pytest.approx(rate, rel=0.01)
    assert path.counters.dropped == 2000 - len(come) > 900
    waits = [at - n * STEP for n, at in come]
    assert max(waits) <= 0.2 + 2 * 8 * (size + HEADERS) / rate


def test_the_queue_of_a_link_that_grew_wide_again_is_not_overtaken():
    _, come = travel(((0.0, Impairment(rate=50_000)), (1.0, CLEAN)), 100, size=472)
    assert [n for n, _ in come] == sorted(n for n, _ in come)


def test_an_outage_lasts_as_long_as_asked_for():
    _, come = travel(outage(Impairment(delay=0.05), begin=1.0, seconds=2.0), 300)
    numbers = [n for n, _ in come]
    assert numbers == [*range(50), *range(150, 300)]


def test_the_same_seed_gives_the_same_run_and_another_one_another():
    _, once = travel(INTERNATIONAL, 500, seed=7)
    _, again = travel(INTERNATIONAL, 500, seed=7)
    _, other = travel(INTERNATIONAL, 500, seed=8)
    assert once == again != other


def test_the_profiles_are_what_they_are_named_after():
    path, come = travel(MODERATE, 5_000)
    assert path.counters.lost / 5_000 == pytest.approx(0.05, rel=0.15)
    assert sum(at - n * STEP for n, at in come) / len(come) == pytest.approx(0.105, abs=0.01)
    path, _ = travel(INTERNATIONAL, 10_000)
    assert path.counters.lost / 10_000 == pytest.approx(0.107, rel=0.15)
    path, come = travel(SPIKY_LOSS, 1500)
    there = {n for n, _ in come}
    assert path.counters.lost == sum(n not in there for n in range(500, 1000))
    assert path.counters.lost / 500 == pytest.approx(0.3, rel=0.25)


def test_no_more_is_on_its_way_than_there_is_room_for():
    path = Impairer(Impairment(delay=1.0), chance=random.Random(1), room=10)
    for _ in range(25):
        path.send(b"x", now=0.0)
    assert (path.counters.dropped, len(path.arrived(now=1.0))) == (15, 10)


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda: Impairment(loss=1.1),
        lambda: Impairment(reorder=-0.1),
        lambda: Impairment(delay=-1.0),
        lambda: Bursts(0.1, 2.0),
        lambda: Bursts.of(1.0, 3.0),
        lambda: Bursts.of(0.1, 0.5),
        lambda: Impairer((), chance=random.Random(1)),
        lambda: Impairer(((1.0, CLEAN), (0.0, CLEAN)), chance=random.Random(1)),
    ],
)
def test_what_no_network_does_is_refused(nonsense):
    with pytest.raises(UsageError):
        nonsense()
