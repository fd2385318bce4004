"""A call that was given up while it was being dialled reaches nobody."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

import securecall as sc
from securecall.calls.signaling import Leg, Route
from securecall.events import CallEnded
from securecall.media.description import Description
from securecall.testing.attacks.stage import GUARD_SECONDS
from securecall.testing.bus import SignalBus
from tests.attacks.calls.on_a_bus import BOB, people


@pytest.mark.parametrize("given_up", [False, True], ids=["control", "given up"])
def test_it_does_not_go_on_ringing_and_nobody_can_take_it(tmp_path, monkeypatch, given_up):
    async def main():
        bus = SignalBus()
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, bus) as (alice, bob):
            connecting, connected = asyncio.Event(), asyncio.Event()
            signaling = alice.accounts[0].signaling
            dial = signaling.dial

            async def slowly(route: Route, offer: Description) -> Leg:
                connecting.set()
                await connected.wait()
                return await dial(route, offer)

            monkeypatch.setattr(signaling, "dial", slowly)
            events = bob.events()
            call = alice.call(BOB)
            beginning = asyncio.ensure_future(call.__aenter__())
            await connecting.wait()
            if given_up:
                await call.hang_up()
            connected.set()
            with suppress(sc.CallFailed):
                _ = await beginning
            if given_up:
                event = await anext(events)
                assert isinstance(event, CallEnded)
                assert bob.calls == ()
            else:
                assert not (await bob.next_call()).over
                await call.hang_up()

    asyncio.run(main())
