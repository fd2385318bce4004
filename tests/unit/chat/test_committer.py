"""Changes become durable together, in order; what is refused is undone alone, or with all."""

from __future__ import annotations

import asyncio

import pytest

from securecall.chat.committer import Committer
from securecall.errors import LocalError, UsageError
from tests.memory_history import MemoryHistory


class Bench:
    def __init__(self):
        self.history = MemoryHistory()
        self.undone = 0
        self.committer = Committer(self.history, undone=self._undo)

    def _undo(self):
        self.undone += 1

    def put(self, name, data=b"x", *, error=None, patience=0.0):
        def work():
            self.history.set_value(name, data)
            if error is not None:
                raise error
            return name

        return self.committer.commit(work, patience=patience)


def run(scenario):
    async def main():
        bench = Bench()
        await scenario(bench)
        return bench

    return asyncio.run(main())


def test_what_is_asked_for_together_is_one_transaction_in_order():
    async def scenario(bench):
        assert await asyncio.gather(*(bench.put(f"{n}") for n in range(5))) == list("01234")
        assert bench.history.commits == 1
        assert list(bench.history.values("")) == list("01234")

    run(scenario)


def test_what_has_patience_goes_with_what_has_none_before_it():
    async def scenario(bench):
        for number in range(3):
            patient = asyncio.ensure_future(bench.put(f"patient {number}", patience=3600.0))
            await asyncio.sleep(0)
            assert bench.history.commits == number
            assert await bench.put(f"urgent {number}") == f"urgent {number}"
            assert await patient == f"patient {number}"
            assert bench.history.commits == number + 1
        assert list(bench.history.values(""))[:1] == ["patient 0"]

    run(scenario)


def test_patience_has_an_end():
    async def scenario(bench):
        both = (bench.put("a", patience=0.001), bench.put("b", patience=0.001))
        assert await asyncio.gather(*both) == ["a", "b"]
        assert bench.history.commits == 1

    run(scenario)


def test_more_than_fit_are_several_transactions():
    async def scenario(bench):
        _ = await asyncio.gather(*(bench.put(f"{n}") for n in range(130)))
        assert bench.history.commits == 3

    run(scenario)


def test_what_is_refused_is_undone_alone():
    async def scenario(bench):
        first, second, third = await asyncio.gather(
            bench.put("a"),
            bench.put("b", error=UsageError("no")),
            bench.put("c"),
            return_exceptions=True,
        )
        assert (first, third) == ("a", "c")
        assert isinstance(second, UsageError)
        assert set(bench.history.values("")) == {"a", "c"}
        assert bench.undone == 1

    run(scenario)


def test_a_bug_in_one_change_reaches_who_asked_and_nobody_else():
    async def scenario(bench):
        first, second = await asyncio.gather(
            bench.put("a", error=ZeroDivisionError()), bench.put("b"), return_exceptions=True
        )
        assert isinstance(first, ZeroDivisionError)
        assert second == "b"

    run(scenario)


def test_a_disk_that_refuses_undoes_all_and_tells_everybody():
    async def scenario(bench):
        bench.history.fail_next = LocalError("the disk is full")
        told = await asyncio.gather(bench.put("a"), bench.put("b"), return_exceptions=True)
        assert [type(e) for e in told] == [LocalError, LocalError]
        assert bench.history.values("") == {}
        assert bench.undone == 1
        assert await bench.put("c") == "c"

    run(scenario)


def test_who_gives_up_waiting_does_not_undo_it():
    async def scenario(bench):
        task = asyncio.ensure_future(bench.put("a"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await bench.put("b") == "b"
        assert set(bench.history.values("")) == {"a", "b"}

    run(scenario)


def test_whoever_waits_for_a_change_hears_of_it():
    async def scenario(bench):
        waiting = asyncio.ensure_future(bench.committer.changed())
        await asyncio.sleep(0)
        assert not waiting.done()
        await bench.put("a")
        async with asyncio.timeout(10):
            await waiting

    run(scenario)
