"""The clock, on a loop whose time the test moves."""

from __future__ import annotations

import asyncio
import heapq

import pytest

from securecall.media.clock import SLOTS, Clock


class Loop(asyncio.SelectorEventLoop):
    """A loop that never waits: time jumps to the next timer, plus what the test adds."""

    def __init__(self):
        super().__init__()
        self.moment = 1000.0
        self._selector.select = self._no_wait(self._selector.select)

    def _no_wait(self, select):
        def jump(timeout):
            if timeout and self._scheduled:
                self.moment = max(self.moment, self._scheduled[0]._when)
            return select(0)

        return jump

    def time(self):
        return self.moment


def run(scenario):
    loop = Loop()
    try:
        return loop.run_until_complete(scenario())
    finally:
        loop.close()


class Stream:
    def __init__(self, act=None):
        self.times, self.skipped, self.act = [], 0, act

    def tick(self, now):
        self.times.append(now)
        if self.act is not None:
            self.act(len(self.times))

    def skip(self, ticks):
        self.skipped += ticks


def failed(error):
    raise AssertionError(error)


def test_a_stream_is_driven_every_20_ms_without_drift():
    async def scenario():
        clock, stream = Clock(), Stream()
        clock.add(stream, failed)
        begun = clock.now()
        await asyncio.sleep(100.01)
        clock.remove(stream)
        assert len(stream.times) == 5000
        assert stream.times[-1] - begun == pytest.approx(100.0, abs=1e-6)
        assert clock.late_ticks == clock.skipped_ticks == 0

    run(scenario)


@pytest.mark.parametrize(("streams", "moments"), [(1, 1), (24, 1), (25, 2), (120, 5), (480, SLOTS)])
def test_many_streams_are_spread_over_the_tick(streams, moments):
    async def scenario():
        clock, all_of_them = Clock(), [Stream() for _ in range(streams)]
        for stream in all_of_them:
            clock.add(stream, failed)
        await asyncio.sleep(1.0)
        assert {len(s.times) for s in all_of_them} <= {49, 50}
        assert len({round(s.times[3], 4) for s in all_of_them}) == moments
        for stream in all_of_them:
            clock.remove(stream)
        assert clock.streams == 0

    run(scenario)


def test_a_short_hold_up_is_caught_up_with():
    async def scenario():
        loop = asyncio.get_running_loop()

        def hold_up(tick):
            if tick == 10:
                loop.moment += 0.07

        clock, stream = Clock(), Stream(hold_up)
        clock.add(stream, failed)
        await asyncio.sleep(1.0)
        clock.remove(stream)
        assert len(stream.times) in (49, 50)
        assert stream.skipped == 0
        assert clock.late_ticks == 3

    run(scenario)


def test_after_a_long_sleep_the_missed_ticks_are_skipped_not_sent_in_a_burst():
    async def scenario():
        loop = asyncio.get_running_loop()

        def sleep(tick):
            if tick == 10:
                loop.moment += 8 * 3600.0

        clock, stream = Clock(), Stream(sleep)
        clock.add(stream, failed)
        await asyncio.sleep(0.5)
        await asyncio.sleep(0.5)
        clock.remove(stream)
        assert len(stream.times) < 60
        assert stream.skipped == clock.skipped_ticks == pytest.approx(8 * 3600 * 50, abs=2)
        assert all(
            b - a < 8 * 3600 + 1 for a, b in zip(stream.times, stream.times[1:], strict=False)
        )

    run(scenario)


def test_a_stream_that_raises_is_taken_out_and_the_others_go_on():
    async def scenario():
        def explode(tick):
            raise ZeroDivisionError

        told = []
        clock, bad, good = Clock(), Stream(explode), Stream()
        clock.add(bad, told.append)
        clock.add(good, failed)
        await asyncio.sleep(0.5)
        clock.remove(good)
        assert [type(e) for e in told] == [ZeroDivisionError]
        assert len(bad.times) == 1
        assert len(good.times) >= 24

    run(scenario)


def test_whoever_is_told_of_a_failure_and_fails_stops_nobody():
    async def scenario():
        def explode(error):
            raise ZeroDivisionError

        clock, bad, good = Clock(), Stream(explode), Stream()
        clock.add(bad, explode)
        clock.add(good, failed)
        await asyncio.sleep(0.5)
        clock.remove(good)
        assert len(good.times) >= 24

    run(scenario)


def test_streams_may_leave_and_join_in_a_tick():
    async def scenario():
        clock, late = Clock(), Stream()

        def swap(tick):
            if tick == 3:
                clock.remove(first)
                clock.add(late, failed)

        first = Stream(swap)
        clock.add(first, failed)
        await asyncio.sleep(0.5)
        clock.remove(late)
        assert len(first.times) == 3
        assert len(late.times) >= 20

    run(scenario)


def test_an_idle_clock_sets_no_timer():
    async def scenario():
        loop = asyncio.get_running_loop()
        clock, stream = Clock(), Stream()
        clock.add(stream, failed)
        clock.add(stream, failed)
        assert clock.streams == 1
        clock.remove(stream)
        clock.remove(stream)
        await asyncio.sleep(0.1)
        assert [t for t in heapq.nsmallest(9, loop._scheduled) if not t.cancelled()] == []
        clock.add(stream, failed)
        await asyncio.sleep(0.1)
        clock.remove(stream)
        assert stream.times

    run(scenario)


def test_everybody_in_a_loop_gets_the_same_clock_and_another_loop_another():
    async def scenario():
        return Clock.running(), Clock.running()

    one, two = run(scenario)
    assert one is two
    other, _ = run(scenario)
    assert other is not one
