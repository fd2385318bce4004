"""What a peer or a server can make of the end of a call: a false account, an open gate, a hang."""

from __future__ import annotations

import asyncio

import pytest

import securecall as sc
from securecall.calls import connection
from securecall.calls.machine import State
from securecall.calls.signaling import Ended
from securecall.clock import loop_now
from securecall.media.description import Gate
from securecall.testing.attacks.stage import GUARD_SECONDS, stranger
from securecall.testing.bus import SignalBus
from tests.attacks.calls.on_a_bus import BOB, hear, people


def withhold_ends(signal, _sender):
    return None if isinstance(signal, Ended) else signal


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(connection, "GOODBYE_SECONDS", 0.2)


async def ended_without_a_bye(call):
    """The call ends though no BYE ever comes, and from the goodbye on nothing more is sent."""
    await call._connection._settled.wait()
    assert call._connection.gate is Gate.CLOSED
    sent = call.statistics().packets_sent
    with pytest.raises(sc.PeerVanished):
        await call.ended()
    assert call.statistics().packets_sent == sent


def test_a_peer_cannot_have_a_short_account_signed_and_talk_on(tmp_path, impatient):
    """Whoever has the account signed is hanging up: the signed length is the length."""

    async def main():
        bus = SignalBus(mutate=withhold_ends)
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, bus) as (alice, bob):
            async with alice.call(BOB, audio=sc.ToneSource(440)) as call:
                async with (await bob.next_call()).accept(audio=sc.ToneSource(620)) as liar:
                    await call.connected()
                    await hear(call)
                    cheat = liar._connection
                    cheat._perform(cheat._link.propose_record(now=loop_now()))
                    await ended_without_a_bye(call)
                    record = call.report.record
                    assert record.theirs is not None
                    assert call.report.media_seconds[0] <= record.record.lasted / 10 + 0.5

    asyncio.run(main())


def test_the_gate_closes_when_the_peer_closes_its_channel_and_the_server_hides_the_bye(
    tmp_path, impatient
):
    async def main():
        bus = SignalBus(mutate=withhold_ends)
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, bus) as (alice, bob):
            async with alice.call(BOB, audio=sc.ToneSource(440)) as call:
                async with (await bob.next_call()).accept(audio=sc.ToneSource(620)) as answer:
                    await call.connected()
                    await hear(call)
                    leaving = answer._connection
                    leaving._perform(leaving._link.close(now=loop_now()))
                    await ended_without_a_bye(call)

    asyncio.run(main())


def test_a_store_that_fails_while_the_peer_is_judged_ends_the_call_with_its_own_error(tmp_path):
    async def main():
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, SignalBus()) as (alice, bob):

            def full(*_args, **_kwargs):
                raise sc.LocalError("the disk is full")

            alice.contacts.store.known_statement = full
            with pytest.raises(sc.LocalError, match="disk"):
                async with alice.call(BOB) as call:
                    async with (await bob.next_call()).accept():
                        await call.connected()

    asyncio.run(main())


def silence_accounts(call):
    """The peer never answers a request to sign: hanging up waits its whole patience for it."""
    call._connection._countersigner.receive = lambda *_args, **_kwargs: ()


def test_a_hang_up_that_is_cancelled_has_hung_up(tmp_path):
    async def main():
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, SignalBus()) as (alice, bob):
            async with alice.call(BOB) as call:
                async with (await bob.next_call()).accept() as answer:
                    await call.connected()
                    await answer.connected()
                    silence_accounts(answer)
                    leaving = asyncio.create_task(call.hang_up())
                    await asyncio.sleep(0)
                    leaving.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await leaving
                    assert call.state is State.ENDED
                    assert await answer.ended() is sc.EndReason.HUNG_UP

    asyncio.run(main())


def test_a_client_that_is_cancelled_while_it_closes_keeps_no_key_open(tmp_path):
    async def main():
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, SignalBus()):
            async with stranger(tmp_path, "carol") as carol:
                root = carol.contacts.store.root
                calls = carol._open.announcer.calls
                calls.add(Stuck())
                leaving = asyncio.create_task(carol.__aexit__(None, None, None))
                await asyncio.sleep(0)
                leaving.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await leaving
                assert not len(root.seed)
                calls.clear()

    asyncio.run(main())


class Stuck:
    """A call that cannot be hung up."""

    async def hang_up(self):
        await asyncio.Event().wait()
