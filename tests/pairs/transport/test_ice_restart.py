"""Another way for a path in use: new credentials and sockets, and what works goes on meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from securecall.errors import ConnectFailed, ProtocolError, UsageError
from securecall.transport import ice
from tests.pairs.transport.test_ice import LOOPBACK, pair
from tests.pairs.transport.test_udp import RTP, Inbox

ELSEWHERE = ("127.0.0.2",)


async def moved(alice, bob, hosts=ELSEWHERE):
    """Alice asks for another way, Bob answers with one of his."""
    ours, theirs = await alice.regather(hosts), await bob.regather(LOOPBACK)
    await asyncio.gather(
        alice.reconnect(theirs.ufrag, theirs.pwd, theirs.candidates),
        bob.reconnect(ours.ufrag, ours.pwd, ours.candidates),
    )
    return ours, theirs


async def until(holds):
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)


async def both_ways(alice, bob, inboxes):
    for sender, inbox in ((alice, inboxes[1]), (bob, inboxes[0])):
        before = len(inbox.media)
        sender.send(RTP)
        await inbox.wait(before + 1)


def test_the_way_moves_and_media_goes_on_both_ways():
    async def main():
        alice, bob = await pair()
        inboxes = Inbox(alice), Inbox(bob)
        await both_ways(alice, bob, inboxes)
        first = alice.local
        ours, _ = await moved(alice, bob)
        assert alice.local[0] == "127.0.0.2"
        assert (alice.ufrag, alice.pwd) == (ours.ufrag, ours.pwd)
        await both_ways(alice, bob, inboxes)
        await moved(alice, bob, LOOPBACK)
        assert alice.local[0] == "127.0.0.1"
        assert alice.local != first
        await both_ways(alice, bob, inboxes)
        await alice.close()
        await bob.close()

    asyncio.run(main())


def test_what_is_on_its_way_to_the_old_sockets_is_heard_and_then_they_are_closed(monkeypatch):
    monkeypatch.setattr(ice, "LINGER_SECONDS", 0.1)

    async def main():
        alice, bob = await pair()
        inboxes = Inbox(alice), Inbox(bob)
        await both_ways(alice, bob, inboxes)
        late = bob._used.transmit
        old = alice._used.agent._protocols[0].transport
        await moved(alice, bob)
        before = len(inboxes[0].media)
        late(RTP)
        await inboxes[0].wait(before + 1)
        await until(old.is_closing)
        await both_ways(alice, bob, inboxes)
        await alice.close()
        await bob.close()

    asyncio.run(main())


def test_a_restart_that_comes_to_nothing_leaves_the_way_there_is():
    async def main():
        alice, bob = await pair()
        inboxes = Inbox(alice), Inbox(bob)
        with pytest.raises(UsageError):
            await alice.reconnect("abcd", "p" * 22, ())
        theirs = await bob.regather(LOOPBACK)
        bob.give_up_restart()
        await until(lambda: not bob._closing)
        await alice.regather(ELSEWHERE)
        with pytest.raises(ConnectFailed):
            await alice.reconnect(theirs.ufrag, theirs.pwd, theirs.candidates, timeout=0.2)
        await both_ways(alice, bob, inboxes)
        await alice.regather(ELSEWHERE)
        with pytest.raises(ProtocolError):
            await alice.reconnect("a", "p" * 22, theirs.candidates)
        with pytest.raises(ConnectFailed):
            await alice.regather(("192.0.2.9",))  # not ours
        await both_ways(alice, bob, inboxes)
        await alice.close()
        await bob.close()

    asyncio.run(main())


def test_of_several_restarts_the_latest_counts():
    async def main():
        alice, bob = await pair()
        inboxes = Inbox(alice), Inbox(bob)
        first = await alice.regather(ELSEWHERE)
        theirs = await bob.regather(LOOPBACK)
        early = asyncio.ensure_future(alice.reconnect(theirs.ufrag, theirs.pwd, theirs.candidates))
        await asyncio.sleep(0)
        second, _ = await moved(alice, bob, ("127.0.0.3",))
        assert first.ufrag != second.ufrag
        with pytest.raises(ConnectFailed):
            await early
        assert alice.local[0] == "127.0.0.3"
        await both_ways(alice, bob, inboxes)
        await alice.close()
        await bob.close()

    asyncio.run(main())


def test_a_way_that_was_lost_sends_nothing_until_there_is_another():
    async def main():
        lost = asyncio.Queue()
        doubts = []
        alice, bob = await pair(
            on_lost=lost.put_nowait,
            on_doubt=lambda: doubts.append(1),
            consent_interval=0.05,
            consent_seconds=0.3,
        )
        answer = bob._used.agent.request_received
        bob._used.agent.request_received = lambda *_: None  # somebody on the way drops checks
        inboxes = Inbox(alice), Inbox(bob)
        async with asyncio.timeout(10):
            assert await lost.get() == "consent"
        assert doubts, "it was in doubt before"
        before = alice.counters.unsent
        alice.send(RTP)
        assert alice.counters.unsent == before + 1
        bob._used.agent.request_received = answer
        await moved(alice, bob)
        await both_ways(alice, bob, inboxes)
        assert lost.empty(), "the old way was told of once, the new one lives"
        await alice.close()
        await bob.close()

    asyncio.run(main())


def test_the_roles_stay_what_they_were():
    async def main():
        alice, bob = await pair()
        await moved(bob, alice, LOOPBACK)  # asked for by the controlled side
        assert alice._used.agent.ice_controlling
        assert not bob._used.agent.ice_controlling
        await alice.close()
        await bob.close()

    asyncio.run(main())
