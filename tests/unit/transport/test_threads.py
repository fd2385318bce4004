"""Work in a thread that nobody has to clean up under."""

from __future__ import annotations

import asyncio
import threading

import pytest

from securecall.transport.threads import in_thread


def test_what_comes_of_the_work_is_passed_on():
    async def main():
        assert await in_thread(divmod, 7, 2) == (3, 1)
        assert await in_thread(int, "11", base=2) == 3
        with pytest.raises(ZeroDivisionError):
            await in_thread(divmod, 7, 0)

    asyncio.run(main())


@pytest.mark.parametrize("fails", [False, True])
def test_who_is_cancelled_waits_until_the_work_is_done(fails):
    begun, go_on, done = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        go_on.wait()
        done.append(1)
        if fails:
            raise ValueError

    async def main():
        task = asyncio.create_task(in_thread(work))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done

    asyncio.run(main())
