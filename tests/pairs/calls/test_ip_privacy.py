"""Who learns whose IP address: strangers a relay's alone, and nobody any if that is wished."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

import securecall as sc
from securecall.calls.signaling import Answered
from securecall.errors import ConnectFailed, UsageError
from securecall.keys.trust import Act, How
from securecall.testing.bus import SignalBus
from tests.pairs.calls.test_client import ALICE, BOB, people
from tests.pairs.transport.fake_servers import Server

HIDDEN = sc.Policy(ip_privacy=sc.IpPrivacy.RELAY)
OPEN = sc.Policy(ip_privacy=sc.IpPrivacy.OPEN)


@pytest.fixture(autouse=True)
def on_loopback(monkeypatch):
    """The relay of these tests reaches nothing else."""

    async def own_hosts(_towards):
        return ("127.0.0.1",)

    monkeypatch.setattr("securecall.calls.way.own_hosts", own_hosts)


@asynccontextmanager
async def with_relay(tmp_path):
    """Two who know one relay, what each described of itself, and the relay."""
    described = {}

    def note(signal, sender):
        if isinstance(signal, Answered):
            described[sender] = signal.description
        return signal

    bus = SignalBus(mutate=note)
    server = await Server.open()
    relay = sc.TurnServer(
        host="127.0.0.1", port=server.address[1], username="u", password=sc.Secret("p")
    )
    try:
        async with people(tmp_path, bus) as (alice, bob):
            for client in (alice, bob):
                client.use_relay(relay)
            yield alice, bob, described, server
    finally:
        server.close()


async def talk(alice, bob, described, **options):
    """A call in which both hear something; returns the kinds of candidates each showed."""
    async with alice.call(BOB, audio=sc.ToneSource(440), **options) as call:
        ring = await bob.next_call()
        async with ring.accept(audio=sc.ToneSource(620)) as answer:
            described["caller"] = answer._offer
            await call.connected()
            await answer.connected()
            for side in (call, answer):
                heard = side.audio
                for _ in range(5):
                    await anext(heard)
    return {who: {c.type for c in d.audio.candidates} for who, d in described.items()}


def pin(client, address, other):
    root = other.contacts.root_fp
    client.contacts.apply(client.contacts.event(Act.PIN, address, root, How.CONTACT))


def run(scenario):
    asyncio.run(scenario())


def test_strangers_see_the_relay_alone_and_those_whose_key_is_known_more(tmp_path):
    async def main():
        async with with_relay(tmp_path) as (alice, bob, described, server):
            shown = await talk(alice, bob, described)
            assert shown == {"caller": {"relay"}, "callee": {"relay"}}
            for description in described.values():
                (c, *_) = description.audio.candidates
                assert description.audio.host == c.host
                assert (c.related_address, c.related_port) == ("0.0.0.0", 9)
            assert server.relayed > 0
            pin(bob, ALICE, alice)
            shown = await talk(alice, bob, described)  # Alice pinned Bob by the first call
            assert "host" in shown["caller"]
            assert "host" in shown["callee"]

    run(main)


def test_who_hides_from_everybody_hides_from_friends_too(tmp_path):
    async def main():
        async with with_relay(tmp_path) as (alice, bob, described, _):
            pin(alice, BOB, bob)
            pin(bob, ALICE, alice)
            shown = await talk(alice, bob, described, policy=HIDDEN)
            assert shown["caller"] == {"relay"}
            assert "host" in shown["callee"]

    run(main)


def test_who_is_open_shows_strangers_everything(tmp_path):
    async def main():
        async with with_relay(tmp_path) as (alice, bob, described, _):
            shown = await talk(alice, bob, described, policy=OPEN)
            assert "host" in shown["caller"]
            assert shown["callee"] == {"relay"}

    run(main)


def test_without_a_relay_nothing_of_ours_leaves_if_that_is_wished(tmp_path):
    async def main():
        rung = []
        bus = SignalBus(mutate=lambda signal, sender: rung.append(signal) or signal)
        async with people(tmp_path, bus) as (alice, bob):
            with pytest.raises(ConnectFailed, match="use_relay"):
                async with alice.call(BOB, policy=HIDDEN):
                    pass
            assert rung == []
            assert bus.legs == []
            async with alice.call(BOB, audio=sc.ToneSource(440)) as call:  # the control
                ring = await bob.next_call()
                async with ring.accept():
                    await call.connected()

    run(main)


def test_direct_calls_are_not_made_and_not_taken_by_who_hides(tmp_path):
    async def main():
        async with people(tmp_path) as (alice, bob):
            ticket = await bob.ticket(host="127.0.0.1")
            with pytest.raises(UsageError, match="IP"):
                alice.call(ticket, policy=HIDDEN)
        async with sc.open(
            tmp_path / "c", passphrase=sc.Secret("c" * 20), create=True, policy=HIDDEN
        ) as hiding:
            with pytest.raises(UsageError, match="IP"):
                await hiding.listen("127.0.0.1")
            with pytest.raises(UsageError, match="IP"):
                await hiding.ticket(host="127.0.0.1")

    run(main)


def test_hiding_without_ice_contradicts_itself():
    with pytest.raises(UsageError):
        sc.Policy(ip_privacy=sc.IpPrivacy.RELAY, ice=False)


@pytest.mark.parametrize("word", ["relay", "RELAY", "", None, True])
def test_a_word_that_only_sounds_like_hiding_is_refused(word):
    assert HIDDEN.ip_privacy is sc.IpPrivacy.RELAY
    with pytest.raises(UsageError, match="IpPrivacy"):
        sc.Policy(ip_privacy=word)


LAZY = sc.Policy(ice=False, ip_privacy=sc.IpPrivacy.OPEN)


@pytest.mark.parametrize(
    ("policy", "relayed"), [(sc.Policy(), True), (HIDDEN, True), (OPEN, False)]
)
def test_a_caller_who_leaves_ice_out_learns_the_relay_alone_too(tmp_path, policy, relayed):
    """The last is the control: whoever is open is reached without the relay."""

    async def main():
        async with with_relay(tmp_path) as (alice, bob, described, server):
            bob.policy = policy
            shown = await talk(alice, bob, described, policy=LAZY)
            assert shown == {"caller": set(), "callee": set()}
            assert (server.relayed > 0) is relayed

    run(main)


def test_a_caller_who_leaves_ice_out_learns_nothing_where_there_is_no_relay(tmp_path):
    async def main():
        described = []
        bus = SignalBus(mutate=lambda signal, sender: described.append(signal) or signal)
        async with people(tmp_path, bus) as (alice, bob):
            bob.policy = HIDDEN
            async with alice.call(BOB, policy=LAZY):
                with pytest.raises(ConnectFailed, match="use_relay"):
                    async with (await bob.next_call()).accept():
                        pass
            assert not any(isinstance(signal, Answered) for signal in described)

    run(main)
