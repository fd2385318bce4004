"""The jitter buffer: order, gaps, delay, and what it counts."""

from __future__ import annotations

import itertools
import random

import pytest

from securecall.rtp.jitter import RING, Empty, JitterBuffer, Missing, Pace, Payload

TICK, STEP = 0.02, 160


class Line:
    """A buffer with a sender and a listener whose ticks are 10 ms apart."""

    def __init__(self, *, recovers=False, first=0, timestamp=0):
        self.buffer = JitterBuffer(8000, recovers=recovers)
        self.first, self.timestamp = first, timestamp

    def push(self, number, now=None):
        arrived = number * TICK if now is None else now
        self.buffer.push(
            self.first + number & 0xFFFF,
            self.timestamp + number * STEP & 0xFFFFFFFF,
            b"%d" % number,
            arrived,
        )

    def pull(self, tick):
        item = self.buffer.pull(tick * TICK + 0.01)
        if isinstance(item, Payload) and item.pace in (Pace.FASTER, Pace.FASTER_NOW):
            item = self.buffer.pull(tick * TICK + 0.01)
        if isinstance(item, Payload):
            return int(item.data)
        if isinstance(item, Missing):
            return "lost" if item.following is None else f"lost before {int(item.following.data)}"
        return "wait" if item.started else "nothing"

    def run(self, ticks, lost=(), delays=None):
        """What each tick yields; packet n is sent at tick n."""
        arrivals = sorted(
            (n * TICK + (delays[n] if delays else 0.0), n) for n in range(ticks) if n not in lost
        )
        heard = []
        for tick in range(ticks):
            while arrivals and arrivals[0][0] <= tick * TICK + 0.01:
                when, n = arrivals.pop(0)
                self.push(n, when)
            heard.append(self.pull(tick))
        return heard

    @property
    def counts(self):
        return self.buffer.counters


def test_before_the_first_packet_there_is_nothing():
    item = JitterBuffer(8000).pull(0.0)
    assert isinstance(item, Empty)
    assert not item.started


def test_on_a_clean_path_each_packet_is_played_at_the_next_tick():
    line = Line()
    assert line.run(100) == list(range(100))
    assert line.buffer.target == 0.0


@pytest.mark.parametrize("first", [0xFFF0, 0x7FF0, 0])
@pytest.mark.parametrize("timestamp", [0, 2**32 - 800, 2**31 - 800])
def test_sequence_numbers_and_timestamps_wrap(first, timestamp):
    assert Line(first=first, timestamp=timestamp).run(60) == list(range(60))


def test_a_lost_packet_costs_one_tick_and_the_delay_returns_at_once():
    heard = Line().run(12, lost={5})
    assert heard == [0, 1, 2, 3, 4, "wait", 6, 7, 8, 9, 10, 11]


def test_where_packets_carry_redundancy_a_gap_waits_for_the_one_after_it():
    heard = Line(recovers=True).run(14, lost={5, 9})
    assert heard == [0, 1, 2, 3, 4, "wait", "lost before 6", 6, 7, 8, "lost before 10", 10, 11, 12]


def test_a_burst_of_losses_is_not_covered_twice():
    heard = Line().run(12, lost={5, 6, 7})
    assert heard == [0, 1, 2, 3, 4, "wait", "wait", "wait", 8, 9, 10, 11]


def test_two_packets_out_of_order_are_played_in_order():
    line = Line()
    heard = []
    for tick, arriving in enumerate(((0,), (1,), (3, 2), (4,), (5,))):
        for n in arriving:
            line.push(n, tick * TICK)
        heard.append(line.pull(tick))
    assert heard == [0, 1, 2, 3, 4]
    assert line.counts.late == 0


def test_a_duplicate_is_counted_and_played_once():
    line = Line()
    line.push(0)
    line.push(0)
    assert [line.pull(0), line.pull(1)] == [0, "wait"]
    assert line.counts.duplicates == 1


def test_a_packet_that_comes_after_its_turn_is_counted_and_dropped():
    line = Line()
    for n in (0, 1, 3, 4, 5):
        line.push(n)
    [line.pull(t) for t in range(6)]
    line.push(2, 0.3)
    assert line.counts.late == 1
    assert line.counts.lost == 1


def test_jitter_raises_the_delay_until_hardly_any_packet_is_late():
    chance = random.Random(7)
    delays = [chance.uniform(0.0, 0.05) for _ in range(1500)]
    line = Line()
    heard = line.run(1500, delays=delays)
    assert 0.04 <= line.buffer.target <= 0.06
    assert sum(isinstance(h, int) for h in heard[250:]) / 1250 > 0.98


def test_the_delay_returns_when_the_path_is_clean_again():
    chance = random.Random(7)
    noisy = [chance.uniform(0.0, 0.06) for _ in range(500)]
    line = Line()
    line.run(4000, delays=noisy + [0.0] * 3500)
    assert line.buffer.target <= 0.005
    assert line.buffer.depth <= 2


def paces(late, ticks=400, first=50):
    """Which ticks asked for what, where from the 50th on every pull comes `late` seconds later."""
    line = Line()
    line.run(first)
    asked = {}
    for n in range(first, first + ticks):
        line.push(n)
        item = line.buffer.pull(n * TICK + 0.01 + late)
        if isinstance(item, Payload) and item.pace is not Pace.EVEN:
            asked.setdefault(item.pace, []).append(n - first)
    assert line.counts.skipped == 0
    return asked


def test_a_buffer_longer_than_its_target_asks_for_pauses_to_hurry_in_then_hurries_anyway():
    asked = paces(0.04)
    assert asked[Pace.FASTER][0] == pytest.approx(50, abs=2)  # a second of it
    assert asked[Pace.FASTER_NOW][0] == pytest.approx(200, abs=2)
    between = [b - a for a, b in itertools.pairwise(asked[Pace.FASTER_NOW])]
    assert between == pytest.approx([50] * len(between), abs=1)


def test_a_third_of_a_second_too_much_is_caught_up_with_without_leaving_anything_out():
    asked = paces(0.35)
    assert asked[Pace.FASTER_NOW][0] == pytest.approx(50, abs=2)
    assert asked[Pace.FASTER_NOW][1] - asked[Pace.FASTER_NOW][0] <= 11  # a tenth faster


def test_a_buffer_shorter_than_it_ought_to_be_asks_for_pauses_to_grow_in():
    line, asked = Copies(recovers=True), []
    line.reach = 10
    for n in range(60):
        if n not in (20, 23):
            line.push(n)
        item = line.buffer.pull(n * TICK + 0.01)
        if isinstance(item, Payload) and item.pace is Pace.SLOWER:
            asked.append(n)
    assert asked[0] == 22  # 20 came with it, two late; ten packets' worth is wanted
    assert asked[-1] == 59


def test_after_an_outage_the_newest_packets_are_played_not_the_old_ones():
    line = Line()
    delays = [0.0] * 50 + [1.0 - TICK * (n - 50) for n in range(50, 100)] + [0.0] * 100
    heard = line.run(200, delays=delays)
    settled = [t - h for t, h in enumerate(heard) if isinstance(h, int) and t > 130]
    assert settled
    assert max(settled) <= 16  # 320 ms, of 1000
    assert settled[-1] <= 16
    assert line.counts.skipped > 30


@pytest.mark.parametrize("seconds", [0.7, 1.0, 3.0])
def test_an_outage_teaches_no_delay(seconds):
    line, held = Line(), round(seconds / TICK)
    after = [seconds - (TICK - 1e-4) * n for n in range(held)]  # all at once, in their order
    delays = [0.0] * 50 + after + [0.0] * 100
    line.run(len(delays), delays=delays)
    assert line.buffer.target < 0.02


def test_jitter_of_half_a_second_is_evened_out():
    line = Line()
    delays = [0.5 - TICK * (n % 25) if n % 100 < 25 else 0.0 for n in range(1000)]
    heard = line.run(1000, delays=delays)
    assert 0.45 <= line.buffer.target <= 0.55
    assert all(isinstance(item, int) for item in heard[500:])


def test_a_pause_of_the_sender_is_waited_for_and_loses_nothing():
    line = Line()
    for n in range(10):
        line.push(n)
        line.pull(n)
    # discontinuous transmission: the sequence goes on, the timestamp jumps
    for n in range(10, 20):
        line.buffer.push(n, (n + 50) * STEP, b"%d" % n, (n + 50) * TICK)
        heard = line.pull(n + 50)
        assert heard == n
    assert line.counts.lost == 0


def test_a_jump_restarts_the_stream_only_if_the_next_packet_confirms_it():
    line = Line()
    line.run(20)
    line.buffer.push(30000, 0, b"odd", 0.4)
    assert line.counts.restarts == 0
    line.buffer.push(40000, 0, b"0", 0.42)
    line.buffer.push(40001, STEP, b"1", 0.44)
    assert line.counts.restarts == 1
    assert line.buffer.pull(0.45).data == b"1"


def test_never_more_than_the_ring_is_held():
    line = Line()
    for n in range(10 * RING):
        line.push(n, n * 0.001)
    assert line.buffer.depth <= RING


def test_packets_of_60_ms_are_measured_as_such():
    buffer = JitterBuffer(48000)
    for n in range(10):
        buffer.push(n, n * 2880, b"x", n * 0.06)
        assert isinstance(buffer.pull(n * 0.06 + 0.01), Payload)
    assert buffer.spacing == pytest.approx(0.06)


def test_the_passage_stays_right_over_days_of_timestamps():
    buffer = JitterBuffer(48000)
    number = 0
    for hour in range(0, 60, 2):
        for _ in range(3):
            now = hour * 3600 + number % 3 * TICK
            buffer.push(number & 0xFFFF, int(now * 48000) & 0xFFFFFFFF, b"x", now)
            item = buffer.pull(now + 0.01)
            assert isinstance(item, Payload)
            number += 1
    assert buffer.target == 0.0


class Copies(Line):
    """A line whose packets carry copies of those two and four before them."""

    reach = 4

    def push(self, number, now=None):
        super().push(number, now)
        for distance in (4, 2):
            if number >= distance:
                self.buffer.fill(
                    self.first + number - distance & 0xFFFF,
                    self.timestamp + (number - distance) * STEP & 0xFFFFFFFF,
                    b"%d" % (number - distance),
                    0,
                    reach=self.reach,
                )


@pytest.mark.parametrize("first", [0, 65530])
def test_a_lost_packet_waits_for_its_copy_once_and_then_nothing_is_missed(first):
    line = Copies(recovers=True, first=first)
    heard = line.run(60, lost={5, 10, 15, 20, 30, 31, 32, 40})
    assert [item for item in heard if item != "wait"] == list(range(56))
    # two packets later comes the copy of one, four packets later that of the first of three
    assert [tick for tick, item in enumerate(heard) if item == "wait"] == [5, 6, 32, 33]
    assert (line.counts.lost, line.counts.copied, line.counts.duplicates) == (8, 8, 0)


def test_where_packets_carry_copies_no_more_none_is_waited_for():
    line = Copies(recovers=True)
    line.run(20, lost={5})
    line.buffer.without_copies()
    for n in range(20, 40):
        Line.push(line, n)
    heard = [line.pull(tick) for tick in range(20, 40)]
    assert heard == [*range(18, 38)]
    Line.push(line, 41)
    assert [line.pull(tick) for tick in (40, 41, 42)] == [38, 39, "lost before 41"]


def test_an_original_that_comes_after_its_copy_is_no_duplicate():
    line = Copies(recovers=True)
    heard = []
    for tick, arriving in enumerate(((0,), (1,), (3,), (4, 2), (5,), (6,))):
        for number in arriving:
            line.push(number, tick * TICK)
        heard.append(line.pull(tick))
    assert heard == [0, 1, "wait", 2, 3, 4]
    assert (line.counts.duplicates, line.counts.copied) == (0, 0)


def test_a_copy_of_what_was_played_or_lies_far_off_changes_nothing():
    line = Line(recovers=True)
    for n in range(3):
        line.push(n)
    assert [line.pull(0), line.pull(1)] == [0, 1]
    for sequence in (0, 5, 40_000):
        line.buffer.fill(sequence, sequence * STEP, b"9", 0, reach=4)
    assert line.buffer.held == 1
    assert line.pull(2) == 2
