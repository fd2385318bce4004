"""Calls handed over: three of ours through Kamailio, and baresip both sent on and sending."""

from __future__ import annotations

import asyncio

import pytest

import securecall as sc
from securecall.events import TransferRequested
from tests.interop import baresip, kamailio
from tests.interop.people import hear, sip, subscriber
from tests.interop.sound import tone_seconds

PLAIN = sc.Policy(danger_plain_dtls=True)  # baresip proves no identity


@pytest.fixture(scope="module")
def proxy(tmp_path_factory, certificates):
    with kamailio.running(tmp_path_factory.mktemp("registrar"), certificates) as running:
        yield running


@pytest.fixture
def phone(tmp_path, proxy):
    with baresip.several(tmp_path, proxy) as start:
        yield start


async def asked(events):
    async for event in events:
        if isinstance(event, TransferRequested):
            return event
    raise AssertionError("the events ended")


@pytest.mark.parametrize("attended", [False, True])
def test_three_of_ours_through_kamailio(proxy, tmp_path, attended):
    async def main():
        async with (
            asyncio.timeout(40),
            subscriber("alice", proxy, tmp_path) as alice,
            subscriber("bob", proxy, tmp_path) as bob,
            subscriber("carol", proxy, tmp_path) as carol,
            alice.call(sip("bob")) as to_bob,
            (await bob.next_call()).accept() as bobs,
        ):
            await to_bob.connected()
            await bobs.connected()
            events = bob.events()
            to_carol = carols = None
            if attended:
                to_carol = await alice.call(sip("carol")).__aenter__()
                carols = await (await carol.next_call()).accept().__aenter__()
                await to_carol.connected()
                await carols.connected()
            handing = asyncio.create_task(to_bob.transfer(to_carol or sip("carol")))
            request = await asked(events)
            assert request.replaces is attended
            async with request.accept(audio=sc.ToneSource(440)) as new:
                ring = await carol.next_call()
                assert ring.replaces is carols
                async with ring.accept(replace=attended) as third:
                    await new.connected()
                    await hear(third, tmp_path / "heard.wav")
                    await handing
                    assert await bobs.ended() is sc.EndReason.HUNG_UP
                    if carols is not None:
                        assert await carols.ended() is sc.EndReason.HUNG_UP
        assert tone_seconds(tmp_path / "heard.wav", 440) > 1.0

    asyncio.run(main())


def test_baresip_goes_where_we_send_it_and_says_how_that_went(phone, proxy, tmp_path):
    bob = phone("bob", encryption="dtls_srtp")
    bob.wait_registered()

    async def main():
        async with (
            asyncio.timeout(40),
            subscriber("alice", proxy, tmp_path, policy=PLAIN) as alice,
            subscriber("carol", proxy, tmp_path, policy=PLAIN) as carol,
            alice.call(sip("bob"), audio=sc.ToneSource(620)) as call,
        ):
            await call.connected()
            handing = asyncio.create_task(call.transfer(sip("carol")))
            ring = await carol.next_call()
            assert str(ring.caller) == sip("bob")
            async with ring.accept(audio=sc.ToneSource(620)) as third:
                await hear(third, tmp_path / "heard.wav")
                await handing
                assert call.state.value == "ended"
        assert tone_seconds(tmp_path / "heard.wav", 440.0) > 1.0

    asyncio.run(main())


def test_baresip_says_that_nobody_was_reached_and_our_call_goes_on(phone, proxy, tmp_path):
    bob = phone("bob", encryption="dtls_srtp")
    bob.wait_registered()

    async def main():
        async with (
            asyncio.timeout(40),
            subscriber("alice", proxy, tmp_path, policy=PLAIN) as alice,
            subscriber("carol", proxy, tmp_path, policy=PLAIN) as carol,
            alice.call(sip("bob"), audio=sc.ToneSource(620)) as call,
        ):
            await call.connected()
            carol.do_not_disturb = True
            with pytest.raises(sc.NotTransferred) as caught:
                await call.transfer(sip("carol"))
            assert caught.value.reason is sc.EndReason.BUSY
            assert call.state.value == "active"

    asyncio.run(main())


def test_baresip_sends_us_and_we_go_where_our_person_says(phone, proxy, tmp_path):
    bob = phone("bob", encryption="dtls_srtp")
    bob.wait_registered()

    async def main():
        async with (
            asyncio.timeout(40),
            subscriber("alice", proxy, tmp_path, policy=PLAIN) as alice,
            subscriber("carol", proxy, tmp_path) as carol,
            alice.call(sip("bob"), audio=sc.ToneSource(620)) as call,
        ):
            await call.connected()
            events = alice.events()
            bob.command("transfer", sip("carol"))
            request = await asked(events)
            assert request.address == sc.parse_address(sip("carol"))
            # to Carol under a policy of its own: with proof of who she is
            async with request.accept(audio=sc.ToneSource(620), policy=sc.Policy()) as new:
                async with (await carol.next_call()).accept() as third:
                    assert (await new.connected()).identity is not None
                    await third.connected()
                    # once it heard of the 200 it leaves, and baresip 1.0 says no BYE
                    with pytest.raises(sc.PeerVanished):
                        await call.ended()

    asyncio.run(main())
