"""Calls whose relays are silent, or slow: what works does not wait for them (RFC 8838)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import securecall as sc
from securecall.calls.signaling import Answered, Offered, Trickled
from securecall.testing.bus import SignalBus
from securecall.transport.ice_agent import IceAgent
from tests.pairs.calls.test_client import ALICE, BOB, people
from tests.pairs.calls.test_ip_privacy import on_loopback, pin  # noqa: F401 (a fixture)
from tests.pairs.calls.test_moving import Place, heard, moved
from tests.pairs.transport.fake_servers import Deaf, Server

OPEN = sc.Policy(ip_privacy=sc.IpPrivacy.OPEN)


def relay(server):
    return sc.TurnServer(
        host="127.0.0.1", port=server.address[1], username="u", password=sc.Secret("p")
    )


@asynccontextmanager
async def two(folder, *kinds, change=lambda signal, _sender: signal):
    """Two who know these relays and each other, and all that each said."""
    said = []

    def note(signal, sender):
        signal = change(signal, sender)
        said.append((sender, signal))
        return signal

    opened = [await kind.open() for kind in kinds]
    try:
        async with people(folder, SignalBus(mutate=note)) as (alice, bob):
            for client, address, other in ((alice, BOB, bob), (bob, ALICE, alice)):
                stun = ("127.0.0.1", opened[-1].address[1])
                client.use_relay(*map(relay, opened), stun=stun)
                pin(client, address, other)
            yield alice, bob, said
    finally:
        for server in opened:
            server.close()


async def talk(alice, bob, *, seen=lambda *_: None, **options):
    async with alice.call(BOB, audio=sc.ToneSource(440), **options) as call:
        ring = await bob.next_call()
        async with ring.accept(audio=sc.ToneSource(620)) as answer:
            await call.connected()
            await answer.connected()
            async with asyncio.timeout(20):
                for side in (call, answer):
                    heard = side.audio
                    for _ in range(5):
                        await anext(heard)
            seen(call, answer)
            return call, answer


def descriptions(said):
    return [s.description for _, s in said if isinstance(s, Offered | Answered)]


def trickled(said):
    return [(sender, s) for sender, s in said if isinstance(s, Trickled)]


def test_a_silent_relay_delays_neither_the_ringing_nor_the_sound(tmp_path, monkeypatch):
    """Whoever waited for it would wait for an hour."""
    monkeypatch.setattr("securecall.transport.ice_agent._GATHER_SECONDS", 3600.0)

    async def main():
        async with two(tmp_path, Deaf) as (alice, bob, said):
            async with asyncio.timeout(20):
                await talk(alice, bob, policy=OPEN)
            for description in descriptions(said):
                assert {c.type for c in description.audio.candidates} == {"host"}
                assert not description.audio.end_of_candidates
            for _, told in trickled(said):  # a way was found, so nothing more is gathered
                assert told.ice.complete
                assert {c.type for c in told.ice.candidates} == {"host"}
            assert {sender for sender, _ in trickled(said)} == {"caller", "callee"}

    asyncio.run(main())


def test_control_who_may_not_trickle_gets_all_at_once_and_is_waited_for(tmp_path, monkeypatch):
    """Half trickle: where no proof of identity is asked for, anything may answer."""
    monkeypatch.setattr("securecall.transport.ice_agent._GATHER_SECONDS", 0.3)
    lax = sc.Policy(danger_plain_dtls=True, ip_privacy=sc.IpPrivacy.OPEN)

    def plain(signal, _sender):
        if isinstance(signal, Offered | Answered):
            return replace(signal, description=replace(signal.description, trickle=False))
        return signal

    async def main():
        async with two(tmp_path, Deaf, change=plain) as (alice, bob, said):
            bob.policy = lax
            await talk(alice, bob, policy=lax)
            assert [d.audio.end_of_candidates for d in descriptions(said)] == [True, True]
            assert trickled(said) == []

    asyncio.run(main())


def test_a_relay_found_later_is_told_used_and_named_in_the_report(tmp_path, monkeypatch):
    """The callee's own address takes nothing: only what its relay, found later, brings."""
    second_is_blocked(monkeypatch)

    async def main():
        async with two(tmp_path, Server) as (alice, bob, said):
            used = []

            def seen(call, answer):
                used.extend(end._connection.way.path.relayed for end in (call, answer))

            call, answer = await talk(alice, bob, policy=OPEN, seen=seen)
            assert used == [False, True]
            (told, *_) = [t for sender, t in trickled(said) if sender == "callee"]
            assert {c.type for c in descriptions(said)[1].audio.candidates} == {"host"}
            assert {c.type for c in told.ice.candidates} == {"host", "relay"}
            for end in (call, answer):
                assert "127.0.0.1" in end._connection.way.relays

    asyncio.run(main())


def second_is_blocked(monkeypatch):
    """Of the second of two who gather, own sockets take and send nothing, as behind a firewall."""
    real, seen = IceAgent._open_hosts, []

    def blocked(agent, hosts):
        candidates = real(agent, hosts)
        seen.append(agent)
        if len(seen) == 2:
            for protocol in agent._protocols:
                protocol.datagram_received = lambda *_: None
                protocol.transport.sendto = lambda *_: None
        return candidates

    monkeypatch.setattr(IceAgent, "_open_hosts", blocked)


def test_a_call_that_moves_waits_for_no_silent_relay(tmp_path, monkeypatch):
    monkeypatch.setattr("securecall.transport.ice_agent._GATHER_SECONDS", 3600.0)
    place = Place(monkeypatch)

    async def main():
        async with two(tmp_path, Deaf) as (alice, bob, said):
            async with alice.call(BOB, audio=sc.ToneSource(440), policy=OPEN) as call:
                ring = await bob.next_call()
                async with ring.accept(audio=sc.ToneSource(620)) as answer:
                    await call.connected()
                    await answer.connected()
                    for end, host in ((call, "127.0.0.2"), (answer, "127.0.0.3")):
                        place.host = host
                        end.network_changed()
                        await moved(end, host)
                        await heard(call)
                        await heard(answer)
            generations = {told.ice.ufrag for _, told in trickled(said)}
            assert len(generations) >= 4
            assert all(told.ice.complete for _, told in trickled(said))

    asyncio.run(main())
