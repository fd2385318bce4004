"""Ways that are found while others are tried already (RFC 8838), beside servers that are silent."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager

import pytest

from securecall.errors import ConnectFailed
from securecall.secret import Secret
from securecall.transport.candidate import MAX_CANDIDATES, Candidate
from securecall.transport.ice import IcePath, TurnServer
from tests.pairs.transport.fake_servers import Deaf, Server
from tests.pairs.transport.test_ice import LOOPBACK
from tests.pairs.transport.test_ice_restart import both_ways, until
from tests.pairs.transport.test_udp import Inbox


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Nobody gives a silent server up within a test: whoever waits for one fails it."""
    monkeypatch.setattr("securecall.transport.ice_agent._GATHER_SECONDS", 3600.0)


@asynccontextmanager
async def servers(*kinds):
    """Relays of these kinds."""
    opened = [await kind.open() for kind in kinds]
    try:
        yield [
            TurnServer(host="127.0.0.1", port=server.address[1], username="u", password=Secret("p"))
            for server in opened
        ]
    finally:
        for server in opened:
            server.close()


class Ends:
    """Two paths, each of which tells the other what it finds."""

    def __init__(self, *, ours, theirs):
        self.told = {"alice": [], "bob": []}
        self.alice = IcePath(controlling=True, on_gathered=self._telling("alice"), **ours)
        self.bob = IcePath(controlling=False, on_gathered=self._telling("bob"), **theirs)

    def _telling(self, name):
        def tell(ice):
            self.told[name].append(ice)
            other = self.bob if name == "alice" else self.alice
            other.trickled(ice.ufrag, ice.pwd, ice.candidates)

        return tell

    async def connect(self):
        alice, bob = self.alice, self.bob
        ours = await alice.gather(LOOPBACK, trickle=True)
        theirs = await bob.gather(LOOPBACK, trickle=True)
        async with asyncio.timeout(20):
            await asyncio.gather(
                alice.connect(bob.ufrag, bob.pwd, theirs), bob.connect(alice.ufrag, alice.pwd, ours)
            )
        return ours, theirs

    async def close(self):
        await self.alice.close()
        await self.bob.close()


def test_a_relay_that_never_answers_delays_no_direct_way():
    async def main():
        async with servers(Deaf, Deaf) as (one, two):
            stun = ("127.0.0.1", one.port)
            ends = Ends(
                ours={"turn_servers": (one,), "stun_server": stun}, theirs={"turn_servers": (two,)}
            )
            inboxes = Inbox(ends.alice), Inbox(ends.bob)
            ours, theirs = await ends.connect()
            assert [c.type for c in (*ours, *theirs)] == ["host", "host"]
            await both_ways(ends.alice, ends.bob, inboxes)
            await until(lambda: all(ends.told.values()))
            for name in ("alice", "bob"):  # who has a way gathers no more, and says so
                assert [ice.complete for ice in ends.told[name]] == [True]
            await ends.close()

    asyncio.run(main())


def test_control_without_trickling_the_same_two_wait():
    async def main():
        async with servers(Deaf) as (deaf,):
            path = IcePath(controlling=True, turn_servers=(deaf,))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await path.gather(LOOPBACK)
            await path.close()

    asyncio.run(main())


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_where_only_a_relay_found_later_works_it_is_used(who):
    """One end's own address takes nothing, as behind a firewall; its relay is found last."""

    async def main():
        async with servers(Server) as (relay,):
            slow = {"turn_servers": (relay,)}
            ends = Ends(ours=slow if who == "alice" else {}, theirs=slow if who == "bob" else {})
            blocked, other = (ends.alice, ends.bob) if who == "alice" else (ends.bob, ends.alice)
            real, asked = blocked._used.agent._allocate, asyncio.Event()

            async def late(server, number):
                await asked.wait()
                return await real(server, number)

            blocked._used.agent._allocate = late
            inboxes = Inbox(ends.alice), Inbox(ends.bob)
            asyncio.get_running_loop().call_later(0.1, asked.set)
            gathered = blocked._used.agent._open_hosts
            blocked._used.agent._open_hosts = lambda hosts: mute(gathered(hosts), blocked)
            await ends.connect()
            assert blocked.relayed
            assert not other.relayed
            assert {c.type for c in ends.told[who][-1].candidates} == {"host", "relay"}
            await both_ways(ends.alice, ends.bob, inboxes)
            await ends.close()

    asyncio.run(main())


def mute(candidates, path):
    for protocol in path._used.agent._protocols:
        protocol.datagram_received = lambda *_: None
        protocol.transport.sendto = lambda *_: None
    return candidates


def test_who_hides_waits_for_a_relay_and_tells_of_relays_alone():
    async def main():
        async with servers(Deaf, Server) as (deaf, relay):
            told = []
            path = IcePath(
                controlling=True,
                turn_servers=(deaf, relay),
                stun_server=("127.0.0.1", relay.port),
                relay_only=True,
                on_gathered=told.append,
            )
            first = await path.gather(LOOPBACK, trickle=True)
            assert [c.type for c in first] == ["relay"]
            path._used.agent.enough()
            await until(lambda: told)
            assert [{c.type for c in ice.candidates} for ice in told] == [{"relay"}]
            await path.close()

    asyncio.run(main())


def test_what_is_found_keeps_its_order_and_the_last_says_that_it_is_all(monkeypatch):
    monkeypatch.setattr("securecall.transport.ice_agent._GATHER_SECONDS", 5.0)

    async def main():
        async with servers(Server, Server) as (one, two):
            told = []
            path = IcePath(
                controlling=True,
                turn_servers=(one, two),
                stun_server=("127.0.0.1", one.port),
                on_gathered=told.append,
            )
            first = await path.gather(LOOPBACK, trickle=True)
            await until(lambda: told and told[-1].complete)
            lists = [first, *(ice.candidates for ice in told)]
            for before, after in itertools.pairwise(lists):
                assert after[: len(before)] == before
            assert sorted(c.type for c in lists[-1]) == ["host", "relay", "relay", "srflx"]
            assert [ice.complete for ice in told] == [False] * (len(told) - 1) + [True]
            assert path.gathered == told[-1]
            await path.close()

    asyncio.run(main())


def host(number, address="127.0.0.1"):
    return Candidate("1", 1, "udp", 1, address, 10_000 + number, "host")


def test_candidates_of_another_generation_change_nothing_and_many_are_cut_short():
    async def main():
        path = IcePath(controlling=True)
        await path.gather(LOOPBACK)
        path.trickled("early", "p" * 22, [host(0)])  # of nobody
        with pytest.raises(ConnectFailed):
            await path.connect("peer", "q" * 22, [host(1)], timeout=0.05)
        known = path._used.agent._remote_candidates
        assert [c.port for c in known] == [10_001]
        path.trickled("peer", "p" * 22, [host(2)])
        path.trickled("another", "q" * 22, [host(2)])
        assert len(known) == 1
        for many in range(100):
            path.trickled("peer", "q" * 22, [host(1), *map(host, range(many, many + 100))])
        path.trickled("peer", "q" * 22, [host(5000, "224.0.0.1"), host(5001, "x.local")])
        assert len(known) == MAX_CANDIDATES
        await path.close()

    asyncio.run(main())


def test_candidates_that_come_before_the_answer_s_are_kept_for_it():
    async def main():
        alice, bob = IcePath(controlling=True), IcePath(controlling=False)
        ours, theirs = await alice.gather(LOOPBACK), await bob.gather(LOOPBACK)
        alice.trickled(bob.ufrag, bob.pwd, theirs)
        async with asyncio.timeout(20):
            await asyncio.gather(
                alice.connect(bob.ufrag, bob.pwd, ()), bob.connect(alice.ufrag, alice.pwd, ours)
            )
        await alice.close()
        await bob.close()

    asyncio.run(main())


def test_closing_while_a_relay_is_asked_leaves_nothing_behind():
    async def main():
        async with servers(Deaf) as (deaf,):
            told = []
            path = IcePath(controlling=True, turn_servers=(deaf,), on_gathered=told.append)
            await path.gather(LOOPBACK, trickle=True)
            await path.close()
            assert told == []
            given_up = IcePath(controlling=True, turn_servers=(deaf,), relay_only=True)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await given_up.gather(LOOPBACK, trickle=True)
            await given_up.close()
            await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert left == set()

    asyncio.run(main())
