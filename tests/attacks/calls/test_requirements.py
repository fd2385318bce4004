"""What is required of one call adds to the policy; no word of it takes anything away."""

from __future__ import annotations

import asyncio

import pytest

import securecall as sc
from securecall.testing.attacks.stage import GUARD_SECONDS, PLAIN, stranger
from securecall.testing.bus import SignalBus
from tests.attacks.calls.on_a_bus import BOB, people


@pytest.mark.parametrize("require", [sc.HOP_BY_HOP, sc.OPPORTUNISTIC, sc.E2EE])
def test_requiring_a_level_never_lowers_a_stricter_policy(tmp_path, require):
    async def main():
        policy = sc.Policy.clinical()
        async with asyncio.timeout(GUARD_SECONDS):
            async with people(tmp_path, SignalBus(), policy=policy) as (alice, bob):
                async with alice.call(BOB, require=require) as call:
                    async with (await bob.next_call()).accept():
                        await call.connected()
                        assert call.state.value == "verifying"

    asyncio.run(main())


def test_requiring_hop_by_hop_does_not_let_a_peer_without_identity_in(tmp_path):
    """Only what begins with danger_ does; the control is that it then connects."""

    async def main():
        async with asyncio.timeout(GUARD_SECONDS):
            bus = SignalBus()
            async with people(tmp_path, bus) as (alice, _), stranger(tmp_path, "eve", PLAIN) as eve:
                eve.use(BOB, bus.endpoint(BOB))
                for options, refused in (
                    ({"require": sc.HOP_BY_HOP}, True),
                    ({"policy": PLAIN}, False),
                ):
                    try:
                        async with alice.call(BOB, **options) as call:
                            async with (await eve.next_call()).accept() as answer:
                                await call.connected()
                                assert not refused
                                await answer.connected()
                    except sc.SecurityError:
                        assert refused

    asyncio.run(main())


def test_requiring_more_than_a_dangerous_policy_asks_for_identity_again(tmp_path):
    async def main():
        async with asyncio.timeout(GUARD_SECONDS):
            async with people(tmp_path, SignalBus(), policy=PLAIN) as (alice, bob):
                async with alice.call(BOB, require=sc.OPPORTUNISTIC) as call:
                    async with (await bob.next_call()).accept():
                        assert (await call.connected()).level is sc.OPPORTUNISTIC

    asyncio.run(main())


def test_there_is_no_requiring_nothing(tmp_path):
    async def main():
        async with people(tmp_path, SignalBus()) as (alice, _):
            with pytest.raises(sc.UsageError):
                alice.call(BOB, require=sc.SecurityLevel.NONE)

    asyncio.run(main())
