"""Two ICE paths on loopback, and an ICE peer that shares no code with ours."""

from __future__ import annotations

import asyncio
import dataclasses

import aioice
import pytest
from aioice import stun

from securecall.errors import ConnectFailed, ProtocolError, UsageError
from securecall.secret import Secret
from securecall.transport.candidate import Candidate
from securecall.transport.ice import IcePath, TurnServer
from securecall.transport.udp import UdpPath
from tests.pairs.transport.fake_servers import Server
from tests.pairs.transport.test_udp import DTLS, RTP, Inbox, run  # noqa: F401 (a fixture)

LOOPBACK = ("127.0.0.1",)


async def gathered(**kind):
    path = IcePath(**kind)
    return path, await path.gather(LOOPBACK)


async def pair(**more):
    alice, ours = await gathered(controlling=True, **more)
    bob, theirs = await gathered(controlling=False)
    await asyncio.gather(
        alice.connect(bob.ufrag, bob.pwd, theirs), bob.connect(alice.ufrag, alice.pwd, ours)
    )
    return alice, bob


def test_two_of_us_connect_and_media_flows_both_ways(run):  # noqa: F811
    async def main():
        alice, bob = await pair()
        at_alice, at_bob = Inbox(alice), Inbox(bob)
        for sender, inbox in ((alice, at_bob), (bob, at_alice)):
            sender.send(RTP)
            sender.send(DTLS)
            await inbox.wait(2)
            assert (inbox.media, inbox.dtls) == ([RTP], [DTLS])
        await alice.close()
        await bob.close()
        alice.send(RTP)
        assert alice.counters.unsent == 1

    run(main())


def test_what_comes_before_somebody_listens_is_held():
    async def main():
        alice, bob = await pair()
        alice.send(DTLS)
        await asyncio.sleep(0)
        inbox = Inbox(bob)
        await inbox.wait(1)
        assert inbox.dtls == [DTLS]
        await alice.close()
        await bob.close()

    asyncio.run(main())


async def ordinary(path, ours, *, controlling):
    """An aioice peer that knows our candidates, and its own."""
    peer = aioice.Connection(ice_controlling=controlling)
    peer._local_candidates_start = True  # its own gathering leaves loopback out
    peer._local_candidates = await peer.get_component_candidates(1, list(LOOPBACK))
    peer._local_candidates_end = True
    peer.remote_username, peer.remote_password = path.ufrag, path.pwd
    for candidate in ours:
        fields = {f.name: getattr(candidate, f.name) for f in dataclasses.fields(candidate)}
        await peer.add_remote_candidate(aioice.Candidate(**fields))
    await peer.add_remote_candidate(None)
    theirs = [
        Candidate(c.foundation, c.component, c.transport, c.priority, c.host, c.port, c.type)
        for c in peer.local_candidates
    ]
    return peer, theirs


@pytest.mark.parametrize("controlling", [True, False])
def test_an_ordinary_aioice_peer_is_reached(controlling):
    async def main():
        path, ours = await gathered(controlling=controlling)
        peer, theirs = await ordinary(path, ours, controlling=not controlling)
        await asyncio.gather(
            path.connect(peer.local_username, peer.local_password, theirs), peer.connect()
        )
        inbox = Inbox(path)
        await peer.send(RTP)
        await inbox.wait(1)
        path.send(DTLS)
        async with asyncio.timeout(10):
            assert await peer.recv() == DTLS
        await path.close()
        await peer.close()

    asyncio.run(main())


def test_a_peer_that_refuses_at_first_may_come_by_itself():
    async def main():
        path, ours = await gathered(controlling=False)
        peer, theirs = await ordinary(path, ours, controlling=True)
        refused = asyncio.Event()
        complete, answer = path._used.agent.check_complete, peer.request_received
        path._used.agent.check_complete = lambda pair: (complete(pair), refused.set())
        peer.request_received = lambda *request: peer.respond_error(*request, (500, "Not Yet"))
        connecting = asyncio.ensure_future(
            path.connect(peer.local_username, peer.local_password, theirs)
        )
        await asyncio.wait_for(refused.wait(), 10)
        peer.request_received = answer
        await asyncio.gather(connecting, peer.connect())
        inbox = Inbox(path)
        await peer.send(RTP)
        await inbox.wait(1)
        await path.close()
        await peer.close()

    asyncio.run(main())


def test_a_peer_without_ice_is_reached_plainly():
    async def main():
        alice, _ = await gathered(controlling=True)
        bob, _ = await gathered(controlling=False)
        inbox = Inbox(bob)
        alice.connect_plain(*bob.local)
        bob.connect_plain(*alice.local)
        alice.send(RTP)
        await inbox.wait(1)
        await alice.close()
        await bob.close()

    asyncio.run(main())


def test_a_peer_that_goes_silent_is_lost_once(run):  # noqa: F811
    async def main():
        lost = asyncio.Queue()
        alice, bob = await pair(on_lost=lost.put_nowait, consent_interval=0.05, consent_seconds=0.3)
        await bob.close()
        async with asyncio.timeout(10):
            assert await lost.get() == "consent"
        alice.send(RTP)
        assert alice.counters.unsent == 1
        await alice.close()
        assert lost.empty()

    run(main())


def test_a_peer_that_answers_keeps_the_path_alive():
    async def main():
        lost = []
        alice, bob = await pair(on_lost=lost.append, consent_interval=0.01, consent_seconds=0.3)
        checks = asyncio.Queue()
        answer = bob._used.agent.request_received
        bob._used.agent.request_received = lambda *a: (checks.put_nowait(a), answer(*a))
        async with asyncio.timeout(10):
            for _ in range(60):  # longer than without an answer it would live
                await checks.get()
        assert lost == []
        await alice.close()
        await bob.close()
        assert lost == []

    asyncio.run(main())


def test_candidates_say_nothing_about_the_private_address():
    async def main():
        path, candidates = await gathered(controlling=True)
        assert [c.foundation for c in candidates] == ["1"]
        assert candidates[0].related_address is None
        await path.close()

    asyncio.run(main())


def test_relay_only_without_a_relay_offers_nothing():
    async def main():
        path = IcePath(controlling=True, relay_only=True)
        with pytest.raises(ConnectFailed):
            await path.gather(LOOPBACK)
        await path.close()

    asyncio.run(main())


def test_misuse_is_told():
    async def main():
        path = IcePath(controlling=True)
        with pytest.raises(UsageError):
            path.local  # noqa: B018
        with pytest.raises(UsageError):
            path.connect_plain("127.0.0.1", 9)
        with pytest.raises(UsageError):
            await path.gather(["localhost"])
        await path.close()
        await path.close()
        other, _ = await gathered(controlling=True)
        with pytest.raises(UsageError):
            await other.gather(LOOPBACK)
        with pytest.raises(UsageError):
            other.connect_plain("peer.example", 9)
        await other.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("ufrag", "pwd"),
    [
        ("", "p" * 22),
        ("abc", "p" * 22),
        ("u" * 257, "p" * 22),
        ("abcd", "p" * 21),
        ("abcd", "p" * 257),
        ("ab cd", "p" * 22),
        ("abcd\n", "p" * 22),
        ("abcd", "p" * 4096),
    ],
)
def test_malformed_credentials_are_refused(ufrag, pwd):
    async def main():
        path, _ = await gathered(controlling=True)
        with pytest.raises(ProtocolError):
            await path.connect(ufrag, pwd, ())
        await path.close()

    asyncio.run(main())


NOWHERE = [Candidate("1", 1, "udp", 1, host, 9, "host") for host in ("a.local", "0.0.0.0")]


@pytest.mark.parametrize("controlling", [True, False])
@pytest.mark.parametrize("theirs", [[], NOWHERE], ids=["none", "names"])
def test_a_peer_that_names_no_address_of_its_own_is_waited_for(controlling, theirs):
    async def main():
        path, ours = await gathered(controlling=controlling)
        peer, _ = await ordinary(path, ours, controlling=not controlling)
        connecting = asyncio.ensure_future(
            path.connect(peer.local_username, peer.local_password, theirs)
        )
        await asyncio.sleep(0)  # it has begun, with nothing to check
        await asyncio.gather(connecting, peer.connect())
        inbox = Inbox(path)
        await peer.send(RTP)
        await inbox.wait(1)
        await path.close()
        await peer.close()

    asyncio.run(main())


def test_a_peer_without_a_usable_candidate_that_never_comes_fails_in_time():
    async def main():
        path, _ = await gathered(controlling=True)
        with pytest.raises(ConnectFailed):
            await path.connect("abcd", "p" * 22, NOWHERE, timeout=0.1)
        await path.close()

    asyncio.run(main())


def test_a_peer_that_never_answers_fails_in_time():
    async def main():
        path, _ = await gathered(controlling=True)
        silent, theirs = await gathered(controlling=False)
        await silent.close()
        with pytest.raises(ConnectFailed):
            await path.connect("abcd", "p" * 22, theirs, timeout=0.1)
        await path.close()

    asyncio.run(main())


def test_a_reflexive_candidate_hides_where_it_comes_from():
    async def main():
        server = await Server.open()
        path = IcePath(controlling=True, stun_server=server.address)
        host, reflexive = await path.gather(LOOPBACK)
        assert (host.type, host.foundation) == ("host", "1")
        assert (reflexive.type, reflexive.foundation) == ("srflx", "2")
        assert (reflexive.host, reflexive.port) == ("203.0.113.7", 7777)
        assert (reflexive.related_address, reflexive.related_port) == ("0.0.0.0", 9)
        await path.close()
        server.close()

    asyncio.run(main())


def test_a_server_that_does_not_answer_costs_its_candidate_only(monkeypatch):
    monkeypatch.setattr("securecall.transport.ice_agent._GATHER_SECONDS", 0.05)

    async def main():
        silent = await UdpPath.open("127.0.0.1")
        path = IcePath(controlling=True, stun_server=silent.local)
        assert [c.type for c in await path.gather(LOOPBACK)] == ["host"]
        await path.close()
        await silent.close()

    asyncio.run(main())


def test_relay_only_shows_the_relay_alone_and_media_goes_through_it():
    async def main():
        server = await Server.open()
        relay = TurnServer(
            host="127.0.0.1", port=server.address[1], username="u", password=Secret("p")
        )
        alice = IcePath(controlling=True, turn_servers=[relay], relay_only=True)
        ours = await alice.gather(LOOPBACK)
        assert [(c.type, c.related_address, c.related_port) for c in ours] == [
            ("relay", "0.0.0.0", 9)
        ]
        bob, theirs = await gathered(controlling=False)
        await asyncio.gather(
            alice.connect(bob.ufrag, bob.pwd, theirs), bob.connect(alice.ufrag, alice.pwd, ours)
        )
        at_alice, at_bob = Inbox(alice), Inbox(bob)
        before = server.relayed
        for number in range(20):
            alice.send(b"\x80" + bytes((number,)))
            bob.send(b"\x80" + bytes((number,)))
        await at_bob.wait(20)
        await at_alice.wait(20)
        assert at_bob.media == at_alice.media == [b"\x80" + bytes((n,)) for n in range(20)]
        assert server.relayed >= before + 20
        assert "password" not in repr(relay)
        await alice.close()
        await bob.close()
        server.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "mapped", [("0.0.0.0", 7777), ("224.0.0.1", 7777), ("255.255.255.255", 7777), ("127.0.0.1", 0)]
)
def test_what_a_stun_server_says_of_us_has_to_be_an_address(mapped):
    async def main():
        server = await Server.open()
        server.mapped = mapped
        path = IcePath(controlling=True, stun_server=server.address)
        assert [c.type for c in await path.gather(LOOPBACK)] == ["host"]
        await path.close()
        server.mapped = ("203.0.113.7", 7777)  # the control
        path = IcePath(controlling=True, stun_server=server.address)
        assert [c.type for c in await path.gather(LOOPBACK)] == ["host", "srflx"]
        await path.close()
        server.close()

    asyncio.run(main())


def test_a_relay_that_refuses_for_ever_is_asked_twice():
    async def main():
        asked = []
        server = await Server.open()

        def refuse(data, addr):
            request = stun.parse_message(data)
            asked.append(request)
            answer = stun.Message(
                message_method=request.message_method,
                message_class=stun.Class.ERROR,
                transaction_id=request.transaction_id,
            )
            answer.attributes["ERROR-CODE"] = (438, "Stale Nonce") if len(asked) > 1 else (401, "")
            answer.attributes["REALM"] = "relay.test"
            answer.attributes["NONCE"] = str(len(asked)).encode()
            server.transport.sendto(bytes(answer), addr)

        server.datagram_received = refuse
        relay = TurnServer(
            host="127.0.0.1", port=server.address[1], username="u", password=Secret("p")
        )
        path = IcePath(controlling=True, turn_servers=[relay], relay_only=True)
        with pytest.raises(ConnectFailed, match="438"):
            await path.gather(LOOPBACK)
        assert len(asked) == 2
        await path.close()
        server.close()

    asyncio.run(main())


def test_what_the_peer_may_use_is_listened_to_whatever_was_nominated():
    async def main():
        alice, ours = await gathered(controlling=True)
        bob = IcePath(controlling=False)
        theirs = await bob.gather(("127.0.0.1", "127.0.0.2"))
        await asyncio.gather(
            alice.connect(bob.ufrag, bob.pwd, theirs), bob.connect(alice.ufrag, alice.pwd, ours)
        )
        places, agent = {(c.host, c.port) for c in theirs}, alice._used.agent
        gave_up = asyncio.ensure_future(asyncio.sleep(60))
        gave_up.cancel()
        for remote in agent._remote_candidates:  # where another pair was nominated meanwhile
            pair = agent._find_pair(agent._protocols[0], remote)
            if pair is None:
                pair = aioice.ice.CandidatePair(agent._protocols[0], remote)
                agent._check_list.append(pair)
            pair.state, pair.task = pair.State.IN_PROGRESS, gave_up
            agent._hurried.add((pair.protocol.id, pair.remote_addr))
        alice._used.validated.clear()
        for protocol in bob._used.agent._protocols:  # as one does whose pairs were answered late
            pair = aioice.ice.CandidatePair(protocol, bob._used.agent._remote_candidates[0])
            await bob._used.agent.check_start(pair)
        async with asyncio.timeout(10):
            while not places <= alice._used.validated:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        await alice.close()
        await bob.close()

    asyncio.run(main())
