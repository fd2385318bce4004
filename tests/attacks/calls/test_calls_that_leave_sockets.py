"""Somebody calls, and gives up while we open what the call needs: again and again.

Who helps us to a path (a relay of our XMPP server, a resolver) takes its time, and nothing may be
opened behind a call that is over. The control is a call that is not given up.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import securecall as sc
from securecall.calls import way
from securecall.calls.machine import State
from securecall.testing.attacks.stage import GUARD_SECONDS
from securecall.testing.bus import SignalBus
from tests.attacks.calls.on_a_bus import BOB, people
from tests.pairs.transport.test_ice_restart import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts sockets in /proc")
TIMES = 5


def sockets():
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found += os.readlink(entry).startswith("socket:")
    return found


@pytest.mark.parametrize("ice", [True, False])
@pytest.mark.parametrize("given_up", [False, True], ids=["control", "given up"])
def test_no_socket_is_opened_behind_a_call_that_is_over(tmp_path, monkeypatch, given_up, ice):
    answers, waits = asyncio.Event(), []
    own_hosts = way.own_hosts

    async def slowly(towards):
        if answering:
            waits.append(towards)
            await answers.wait()
        return await own_hosts(towards)

    answering = False
    monkeypatch.setattr(way, "own_hosts", slowly)

    async def main():
        nonlocal answering
        policy = sc.Policy(ice=ice)
        async with (
            asyncio.timeout(GUARD_SECONDS),
            people(tmp_path, SignalBus(), policy=policy) as (alice, bob),
        ):
            before, beginnings = sockets(), []
            for time in range(TIMES):
                answers.clear()
                answering = False
                call = alice.call(BOB)
                _ = await call.__aenter__()
                answering = True
                answer = (await bob.next_call()).accept()
                beginning = asyncio.ensure_future(answer.__aenter__())
                await until(lambda time=time: len(waits) == time + 1)
                if given_up:
                    await call.hang_up()
                    await until(lambda answer=answer: answer.state is State.ENDED)
                answers.set()
                with suppress(sc.CallFailed):
                    beginnings.append(await beginning)
                await call.hang_up()
            await asyncio.sleep(0)
            assert len(beginnings) == (0 if given_up else TIMES)
            assert sockets() == before

    asyncio.run(main())
