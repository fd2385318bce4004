"""Who may ring while somebody is busy, or does not want to be disturbed."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

import securecall as sc
from securecall.events import CallEnded, CallMissed, KeepingFailed

PASSPHRASE = sc.Secret("correct horse battery staple")


@asynccontextmanager
async def people(folder):
    async with (
        sc.open(folder / "alice", passphrase=PASSPHRASE, create=True) as alice,
        sc.open(folder / "bob", passphrase=PASSPHRASE, create=True) as bob,
        sc.open(folder / "carol", passphrase=PASSPHRASE, create=True) as carol,
    ):
        yield alice, bob, carol


async def missed(events):
    async with asyncio.timeout(10):
        return await anext(e async for e in events if isinstance(e, CallMissed))


def test_nobody_rings_who_does_not_want_to_be_disturbed(tmp_path):
    async def main():
        async with people(tmp_path) as (alice, bob, _):
            ticket = await bob.ticket(host="127.0.0.1")
            bob.do_not_disturb = True
            told = asyncio.ensure_future(missed(bob.events()))
            await asyncio.sleep(0)
            with pytest.raises(sc.Busy):
                async with alice.call(ticket) as call:
                    await call.connected()
            assert (await told).why == "do not disturb"
            assert bob.calls == ()
            (refused,) = bob.call_history.calls()
            assert (refused.missed, refused.known, refused.ended) == (
                True,
                False,
                sc.EndReason.BUSY,
            )
            (tried,) = alice.call_history.calls()
            assert (tried.missed, tried.outgoing, tried.ended) == (False, True, sc.EndReason.BUSY)
            bob.do_not_disturb = False  # control: the same call
            async with alice.call(ticket) as call:
                async with (await bob.next_call()).accept():
                    assert (await call.connected()).level is sc.E2EE
                    _ = await anext(call.audio)
            for end, outgoing in ((alice, True), (bob, False)):
                newest = end.call_history.calls()[0]
                assert (newest.level, newest.outgoing, newest.missed) == (sc.E2EE, outgoing, False)
                assert newest.talked > 0
                assert newest.address.startswith("key:")
                assert newest.ended is sc.EndReason.HUNG_UP

    asyncio.run(main())


@pytest.mark.parametrize("waiting", [True, False])
def test_a_second_caller_waits_or_hears_busy_as_the_policy_says(tmp_path, waiting):
    async def main():
        async with people(tmp_path) as (alice, bob, carol):
            bob.policy = replace(bob.policy, call_waiting=waiting)
            first, second = [await bob.ticket(host="127.0.0.1") for _ in range(2)]
            async with alice.call(first) as call:
                ring = await bob.next_call()
                assert not ring.waiting
                async with ring.accept() as answer:
                    await call.connected()
                    await answer.connected()
                    async with carol.call(second) as late:
                        if waiting:
                            ring = await bob.next_call()
                            assert ring.waiting
                            await ring.busy()
                        with pytest.raises(sc.Busy):
                            await late.connected()
                    assert call.security.level is sc.E2EE

    asyncio.run(main())


def test_a_call_that_nobody_took_is_missed_and_a_disk_that_refuses_is_told(tmp_path, monkeypatch):
    def refuse(*_args, **_more):
        raise sc.LocalError("the disk is full")

    async def rung_out(alice, bob, ticket):
        """What Bob is told when she gives up."""
        events, told = bob.events(), []
        async with alice.call(ticket) as call:
            _ = await bob.next_call()
            await call.hang_up()
        async with asyncio.timeout(10):
            while CallEnded not in told:
                told.append(type(await anext(events)))
        return told

    async def main():
        async with people(tmp_path) as (alice, bob, _):
            ticket = await bob.ticket(host="127.0.0.1")
            assert KeepingFailed not in await rung_out(alice, bob, ticket)
            monkeypatch.setattr(bob.contacts.store, "append_call", refuse)
            assert KeepingFailed in await rung_out(alice, bob, ticket)
            assert [past.missed for past in bob.call_history.calls()] == [True]

    asyncio.run(main())
