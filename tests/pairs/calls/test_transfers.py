"""Three people at one server, of whom one hands another over; each call keeps its own keys."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

import securecall as sc
from securecall.calls.signaling import TransferStep
from securecall.errors import NotTransferred, UsageError
from securecall.events import CallEnded, TransferProgressed, TransferRequested
from securecall.store.lock import MINIMUM_COST
from securecall.store.sqlite import Store
from tests.pairs.calls.test_registered import PASSPHRASE, at, lab, person, run

TONE = 440


async def event_of(events, kind):
    async for event in events:
        if isinstance(event, kind):
            return event
    raise AssertionError("the events ended")


@asynccontextmanager
async def three(folder, **options):
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(lab(folder))
        for name in ("alice", "bob", "carol"):
            store = Store.create(folder / name, PASSPHRASE, device_id=name, cost=MINIMUM_COST)
            store.close()
        people = [
            await stack.enter_async_context(person(name, server, folder, **options))
            for name in ("alice", "bob", "carol")
        ]
        yield server, *people


@asynccontextmanager
async def talking(caller, callee, address):
    """A call in progress between two."""
    async with caller.call(address, audio=sc.ToneSource(TONE)) as call:
        async with (await callee.next_call()).accept(audio=sc.ToneSource(TONE)) as answer:
            await call.connected()
            await answer.connected()
            yield call, answer


def test_a_blind_transfer_makes_a_new_call_and_ends_the_old_one(tmp_path):
    async def main():
        async with three(tmp_path) as (server, alice, bob, carol):
            async with talking(alice, bob, at("bob", server)) as (call, answer):
                events, hers = bob.events(), alice.events()
                handing = asyncio.create_task(call.transfer(at("carol", server)))
                asked = await event_of(events, TransferRequested)
                assert asked.address == sc.parse_address(at("carol", server))
                assert (asked.call, asked.waits, asked.replaces) == (answer, True, False)
                async with asked.accept(audio=sc.ToneSource(TONE), text=True) as new:
                    ring = await carol.next_call()
                    assert ring.writes
                    assert ring.caller == sc.parse_address(at("bob", server))
                    assert ring.replaces is None
                    assert not handing.done()
                    assert answer.state.value == "active"  # until it is known how that ends
                    async with ring.accept(audio=sc.ToneSource(TONE)) as third:
                        assert (await new.connected()).level is sc.OPPORTUNISTIC
                        await third.connected()
                        await handing
                        assert await answer.ended() is sc.EndReason.HUNG_UP
                        assert call.state.value == "ended"
                        assert new.sas.words == third.sas.words != call.sas.words
                        await anext(third.audio)
                steps = []
                while TransferStep.ANSWERED not in steps:
                    steps.append((await event_of(hers, TransferProgressed)).step)
                assert steps[0] is TransferStep.TRYING
                kinds = [e.kind.value for e in answer.report.events]
                assert "transfer-asked" in kinds

    run(main)


def test_in_an_attended_transfer_two_calls_become_one(tmp_path):
    async def main():
        async with three(tmp_path, policy=sc.Policy(call_waiting=False)) as (
            server,
            alice,
            bob,
            carol,
        ):
            async with talking(alice, bob, at("bob", server)) as (to_bob, bobs):
                async with talking(alice, carol, at("carol", server)) as (to_carol, carols):
                    events = bob.events()
                    handing = asyncio.create_task(to_bob.transfer(to_carol))
                    asked = await event_of(events, TransferRequested)
                    assert asked.replaces
                    async with asked.accept() as new:
                        ring = await carol.next_call()
                        assert ring.replaces is carols  # and she is busy for anybody else
                        assert carols.state.value == "active"
                        async with ring.accept(replace=True) as third:
                            await new.connected()
                            await third.connected()
                            await handing
                            for gone in (bobs, carols):
                                assert await gone.ended() is sc.EndReason.HUNG_UP
                            assert third.state.value == new.state.value == "active"
                            assert third.sas.words == new.sas.words

    run(main)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("declines", sc.EndReason.DECLINED),
        ("carol is busy", sc.EndReason.BUSY),
        ("nobody is there", sc.EndReason.NOT_FOUND),
        ("hangs up", sc.EndReason.HUNG_UP),
    ],
)
def test_a_transfer_that_comes_to_nothing_leaves_the_call_as_it_is(tmp_path, act, reason):
    async def main():
        async with three(tmp_path) as (server, alice, bob, carol):
            async with talking(alice, bob, at("bob", server)) as (call, answer):
                events = bob.events()
                whom = "nobody" if act == "nobody is there" else "carol"
                handing = asyncio.create_task(call.transfer(at(whom, server)))
                asked = await event_of(events, TransferRequested)
                with pytest.raises(UsageError, match="under way"):
                    await call.transfer(at("carol", server))
                if act == "declines":
                    asked.decline()
                elif act == "hangs up":
                    await answer.hang_up()
                else:
                    new = asked.accept()
                    with pytest.raises(sc.CallFailed):
                        async with new:
                            if whom == "carol":
                                ring = await carol.next_call()
                                await (ring.busy() if "busy" in act else ring.decline())
                            await new.connected()
                with pytest.raises(NotTransferred) as caught:
                    await handing
                assert caught.value.reason is reason
                if act != "hangs up":
                    assert call.state.value == answer.state.value == "active"
                    await call.hold()  # and it can be changed like any other
                    await call.resume()

    run(main)


def test_who_asks_to_take_a_place_gets_none_by_being_answered(tmp_path):
    async def main():
        async with three(tmp_path) as (server, alice, bob, carol):
            async with talking(alice, bob, at("bob", server)) as (to_bob, _):
                async with talking(alice, carol, at("carol", server)) as (to_carol, carols):
                    events = bob.events()
                    handing = asyncio.create_task(to_bob.transfer(to_carol))
                    asked = await event_of(events, TransferRequested)
                    async with asked.accept() as new:
                        ring = await carol.next_call()
                        await ring.decline()
                        with pytest.raises(NotTransferred):
                            await handing
                        with pytest.raises(sc.CallFailed):
                            await new.connected()
                    assert carols.state.value == to_carol.state.value == "active"

    run(main)


def test_the_new_call_is_held_to_what_is_known_of_whom_it_leads_to(tmp_path):
    """A policy that asks for more than the new call reaches ends that one, and no other."""

    async def main():
        async with three(tmp_path) as (server, alice, bob, carol):
            async with talking(alice, bob, at("bob", server)) as (call, answer):
                events = bob.events()
                handing = asyncio.create_task(call.transfer(at("carol", server)))
                asked = await event_of(events, TransferRequested)
                new = asked.accept(require=sc.E2EE)
                with pytest.raises(sc.SecurityError):
                    async with new:
                        async with (await carol.next_call()).accept():
                            await new.connected()
                with pytest.raises(NotTransferred) as caught:
                    await handing
                assert caught.value.reason is sc.EndReason.INCOMPATIBLE  # 488, no more
                assert call.state.value == answer.state.value == "active"

    run(main)


def test_what_cannot_be_a_transfer_is_refused_before_anything_is_sent(tmp_path):
    async def main():
        async with three(tmp_path) as (server, alice, bob, _):
            early = alice.call(at("bob", server))
            with pytest.raises(UsageError, match="in progress"):
                await early.transfer(at("carol", server))
            async with talking(alice, bob, at("bob", server)) as (call, answer):
                for whom in ("tel:+441632960000", "sip:anonymous@anonymous.invalid", call, early):
                    with pytest.raises(UsageError):
                        await call.transfer(whom)
                with pytest.raises(sc.ProtocolError):
                    await call.transfer("sip:carol@192.0.2.7")
                assert server.count("REFER", 0) == 0
                assert not answer.report.refused
                with pytest.raises(UsageError, match="place"):
                    sc.IncomingCall(
                        answer,
                        alice.address,
                        sc.E2EE,
                        known=True,
                        called=bob.address,
                        waiting=False,
                    ).accept(replace=True)

    run(main)


def test_whoever_is_called_may_say_that_they_are_elsewhere(tmp_path):
    """A redirection ends the call; whom it names is called by whoever decides so."""

    async def main():
        from securecall.calls import signaling
        from securecall.testing.bus import SignalBus

        bus, clients = SignalBus(), []
        async with AsyncExitStack() as stack:
            for name in ("alice", "bob", "carol"):
                client = sc.open(tmp_path / name, passphrase=sc.Secret("a long one"), create=True)
                clients.append(await stack.enter_async_context(client))
                address = sc.parse_address(f"sip:{name}@example.com")
                clients[-1].use(address, bus.endpoint(address))
            alice, bob, carol = clients
            events = alice.events()
            async with alice.call("sip:bob@example.com") as call:
                _ = await bob.next_call()
                led = sc.parse_address("sip:carol@example.com")
                bus.legs[0].inject(signaling.TransferRequested(str(led), led))
                bus.legs[0].inject(signaling.Ended(sc.EndReason.UNREACHABLE, 302))
                with pytest.raises(sc.CallFailed):
                    await call.connected()
            asked = await event_of(events, TransferRequested)
            _ = await event_of(events, CallEnded)
            assert (asked.waits, len(bus.legs)) == (False, 2)
            async with asked.accept() as new, (await carol.next_call()).accept():
                await new.connected()

    run(main)
