"""What somebody unknown can make us keep by calling, and giving up, again and again."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from securecall.address import parse_address
from securecall.calls.machine import State
from securecall.errors import Busy
from securecall.ringing import MOST_RINGING
from securecall.testing.attacks.stage import GUARD_SECONDS, stranger
from securecall.testing.bus import SignalBus
from tests.attacks.calls.on_a_bus import ALICE, BOB, people


def test_calls_that_gave_up_are_not_kept_for_an_application_that_does_not_look(tmp_path):
    async def main():
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, SignalBus()) as (alice, bob):
            for _ in range(3 * MOST_RINGING):
                async with alice.call(BOB) as call:
                    await call.ringing()
            assert bob._ringing._waiting.qsize() <= MOST_RINGING
            async with alice.call(BOB):
                ring = await bob.next_call()  # the one that still rings is found
                assert not ring.over

    asyncio.run(main())


def test_an_answer_that_was_cancelled_refuses_the_call_and_frees_its_place(tmp_path, monkeypatch):
    async def main():
        bus = SignalBus()
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, bus) as (alice, bob):
            async with alice.call(BOB) as call:
                accepted = (await bob.next_call()).accept()

                reached = asyncio.Event()

                async def never(**_kwargs):
                    reached.set()
                    await asyncio.Event().wait()

                monkeypatch.setattr(accepted._connection, "open", never)
                taking = asyncio.create_task(accepted.__aenter__())
                await reached.wait()
                taking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await taking
                assert accepted.state is State.ENDED
                assert not bob.calls
                with pytest.raises(Exception, match="declined"):
                    await call.connected()

    asyncio.run(main())


def test_a_call_that_was_cancelled_while_dialling_frees_its_place(tmp_path):
    async def main():
        bus = SignalBus()
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, bus) as (alice, _bob):
            reached = asyncio.Event()

            async def never(*_args):
                reached.set()
                await asyncio.Event().wait()

            alice._accounts[0].signaling.dial = never
            dialling = asyncio.create_task(alice.call(BOB).__aenter__())
            await reached.wait()
            assert alice.calls
            dialling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dialling
            assert not alice.calls

    asyncio.run(main())


def test_strangers_who_let_it_ring_do_not_make_a_known_caller_hear_busy(tmp_path):
    async def main():
        bus = SignalBus()
        async with (
            asyncio.timeout(GUARD_SECONDS),
            people(tmp_path, bus) as (alice, bob),
            stranger(tmp_path, "mallory") as mallory,
        ):
            async with bob.call(ALICE) as call, (await alice.next_call()).accept():
                await call.connected()  # Bob called Alice once: her key is known
            mallory_at = parse_address("sip:mallory@example.com")
            mallory.use(mallory_at, bus.endpoint(mallory_at))
            async with AsyncExitStack() as ringing:
                for _ in range(MOST_RINGING):
                    await ringing.enter_async_context(mallory.call(BOB))
                    assert not (await bob.next_call()).known
                with pytest.raises(Busy):  # control: one stranger more is one too many
                    async with mallory.call(BOB) as one_more:
                        await one_more.connected()
                async with alice.call(BOB):
                    assert (await bob.next_call()).known

    asyncio.run(main())
