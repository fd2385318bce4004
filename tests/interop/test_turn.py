"""Calls through coturn alone: by UDP, TCP and TLS, with both kinds of credentials."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

import securecall as sc
from securecall.calls.signaling import Answered, Offered, Trickled
from securecall.errors import CertificateError, ConnectFailed, LocalError, LoginRefused
from securecall.testing.authority import Authority
from securecall.testing.bus import SignalBus
from securecall.testing.daemons import RelayOptions, relays_of, rest_user, start_coturn
from securecall.transport.ice import IcePath
from securecall.transport.tls import PemPair
from tests.pairs.calls.test_client import ALICE, BOB, people
from tests.pairs.calls.test_ip_privacy import pin
from tests.pairs.transport.fake_servers import Deaf
from tests.pairs.transport.test_ice_restart import both_ways
from tests.pairs.transport.test_udp import Inbox

HIDDEN = sc.Policy(ip_privacy=sc.IpPrivacy.RELAY)
SHARED = sc.Secret("shared with the relay")
WAYS = ("udp", "tcp", "tls")


@asynccontextmanager
async def coturn(folder, certificates, **options):
    """A coturn on free ports; skips where it is not installed."""
    pair = PemPair(certificate=certificates.chain, key=certificates.key)
    try:
        daemon = await start_coturn(folder / "coturn", pair, RelayOptions(**options))
    except LocalError as e:
        if "not installed" in str(e):
            pytest.skip(str(e))
        raise
    async with daemon:
        yield daemon


@asynccontextmanager
async def rest(folder, certificates, **changes):
    """A coturn, and the ways to it with credentials of an hour."""
    async with coturn(folder, certificates, secret=SHARED, **changes) as daemon:
        ways = relays_of(daemon, "127.0.0.1", *rest_user(SHARED, "a"), certificates.authority)
        yield daemon, ways


async def heard(call, frames=10):
    audio = call.audio
    async with asyncio.timeout(40):
        for _ in range(frames):
            await anext(audio)


async def talk(folder, relays):
    """Two who hide from everybody talk over relays alone; returns the caller's call and offers."""
    described = []
    bus = SignalBus(mutate=lambda signal, sender: described.append(signal) or signal)
    async with people(folder, bus) as (alice, bob):
        for client in (alice, bob):
            client.use_relay(*relays)
        pin(alice, BOB, bob)
        pin(bob, ALICE, alice)
        bob.policy = HIDDEN
        async with alice.call(BOB, audio=sc.ToneSource(440), policy=HIDDEN) as call:
            ring = await bob.next_call()
            async with ring.accept(audio=sc.ToneSource(620)) as answer:
                await call.connected()
                await answer.connected()
                await heard(call)
                await heard(answer)
                await call.hang_up()
                await answer.ended()
    return call, [d.description for d in described if isinstance(d, Offered | Answered)]


@pytest.mark.parametrize("way", WAYS)
def test_two_who_hide_talk_through_the_relay_alone(way, tmp_path, certificates):
    async def main():
        async with rest(tmp_path, certificates) as (daemon, ways):
            call, descriptions = await talk(tmp_path, [ways[way]])
            for description in descriptions:
                assert {c.type for c in description.audio.candidates} == {"relay"}
            said = daemon.said()
            assert said.count("ALLOCATE processed, success") == 2
            used = daemon.ports["turns" if way == "tls" else "turn"]
            assert f"local 127.0.0.1:{used}" in said
        page = str(call.report)
        assert "A relay for the sound" in page
        assert "127.0.0.1" in page
        assert "locked sound" in page

    asyncio.run(main())


def test_a_long_term_user_is_let_in_and_a_wrong_password_is_not(tmp_path, certificates):
    async def main():
        users = {"alice": sc.Secret("a long-term password")}
        async with coturn(tmp_path, certificates, users=users) as daemon:
            good = relays_of(daemon, "127.0.0.1", "alice", users["alice"], certificates.authority)
            await talk(tmp_path, [good["udp"]])
            for way in WAYS:
                wrong = replace(good[way], password=sc.Secret("guessed"))
                with pytest.raises(LoginRefused, match="user and password"):
                    await gathered(wrong)

    asyncio.run(main())


async def gathered(*relays, only=True, hosts=("127.0.0.1",)):
    path = IcePath(controlling=True, turn_servers=relays, relay_only=only)
    try:
        return await path.gather(hosts)
    finally:
        await path.close()


def test_credentials_that_have_run_out_are_refused(tmp_path, certificates):
    async def main():
        async with rest(tmp_path, certificates) as (daemon, _):
            late = rest_user(SHARED, "a", expires=time.time() - 10)
            ways = relays_of(daemon, "127.0.0.1", *late, certificates.authority)
            with pytest.raises(LoginRefused):
                await gathered(ways["udp"])

    asyncio.run(main())


def test_a_relay_has_to_prove_its_name_under_an_authority_we_trust(tmp_path, certificates):
    async def main():
        (tmp_path / "other").mkdir()
        other = Authority.make(tmp_path / "other")
        async with rest(tmp_path, certificates) as (_, ways):
            tls = ways["tls"]
            assert [c.type for c in await gathered(tls)] == ["relay"]  # the control
            with pytest.raises(CertificateError):
                await gathered(replace(tls, authorities=other.pem))
            with pytest.raises(CertificateError):
                await gathered(replace(tls, authorities=None))
            with pytest.raises(ConnectFailed):
                await gathered(replace(tls, port=1))
        # a certificate of the same authority, for another name
        folder = tmp_path / "named"
        folder.mkdir()
        authority = Authority.make(folder)
        leaf = authority.issue("elsewhere.test")
        options = RelayOptions(secret=SHARED)
        async with await start_coturn(folder / "coturn", leaf, options) as daemon:
            named = relays_of(daemon, "127.0.0.1", *rest_user(SHARED, "a"), authority.pem)
            with pytest.raises(CertificateError):
                await gathered(named["tls"])

    asyncio.run(main())


def test_a_call_whose_relay_cannot_prove_its_name_is_not_placed(tmp_path, certificates):
    async def main():
        async with rest(tmp_path, certificates) as (_, ways), people(tmp_path) as (alice, _):
            alice.use_relay(replace(ways["tls"], authorities=None))
            with pytest.raises(CertificateError):
                async with alice.call(BOB, policy=HIDDEN):
                    pass

    asyncio.run(main())


def test_of_several_relays_those_that_answer_are_offered_soon(tmp_path, certificates):
    async def main():
        async with rest(tmp_path, certificates) as (_, ways):
            assert len(await gathered(*ways.values(), only=False)) == 4
            began = time.monotonic()
            deaf = replace(ways["udp"], host="192.0.2.1")
            found = await gathered(deaf, ways["tls"])
            assert [c.type for c in found] == ["relay"]
            assert time.monotonic() - began < 4.0  # of five, after which a silent one is given up

    asyncio.run(main())


def test_beside_a_dead_relay_a_call_waits_for_none_and_uses_the_other(tmp_path, certificates):
    """Two calls: one finds its way directly, one by coturn; the first relay never answers."""

    async def main():
        said = []
        bus = SignalBus(mutate=lambda signal, _: said.append(signal) or signal)
        async with rest(tmp_path, certificates) as (daemon, ways), people(tmp_path, bus) as two:
            dead = await Deaf.open()
            silent = replace(ways["udp"], port=dead.address[1])
            for client in two:
                client.use_relay(silent, ways["udp"])
            pin(two[0], BOB, two[1])
            pin(two[1], ALICE, two[0])
            for policy in (sc.Policy(ip_privacy=sc.IpPrivacy.OPEN), HIDDEN):
                two[1].policy = policy
                async with two[0].call(BOB, audio=sc.ToneSource(440), policy=policy) as call:
                    async with (await two[1].next_call()).accept() as answer:
                        await call.connected()
                        await answer.connected()
                        await heard(answer)
                shown = [d for s in said if (d := getattr(s, "description", None)) is not None]
                kinds = {c.type for d in shown for c in d.audio.candidates}
                assert kinds == ({"relay"} if policy is HIDDEN else {"host"})
                assert not any(d.audio.end_of_candidates for d in shown)
                later = [s.ice for s in said if isinstance(s, Trickled)]
                assert {ice.complete for ice in later} >= {True}
                assert policy is not HIDDEN or {
                    c.type for ice in later for c in ice.candidates
                } == {"relay"}
                said.clear()
            assert "ALLOCATE processed, success" in daemon.said()
            dead.close()

    asyncio.run(main())


SIX = "::1"


@asynccontextmanager
async def both_families(folder, certificates, **options):
    """A coturn that listens on both loopbacks, and relays at them as these options say."""
    changes = {"hosts": (SIX,), "relay": "127.0.0.1", "also": SIX, **options}
    async with coturn(folder, certificates, secret=SHARED, **changes) as daemon:
        user = rest_user(SHARED, "a")
        yield {
            host: relays_of(daemon, host, *user, certificates.authority)
            for host in ("127.0.0.1", SIX)
        }


def test_a_relay_gives_an_address_of_each_family_whatever_leads_to_it(tmp_path, certificates):
    async def main():
        async with both_families(tmp_path, certificates) as ways:
            for way in (ways["127.0.0.1"]["udp"], ways[SIX]["udp"], ways[SIX]["tcp"]):
                found = await gathered(way)
                assert [c.type for c in found] == ["relay", "relay"]
                assert [c.host for c in found] == ["127.0.0.1", SIX]
                assert [c.related_address for c in found] == ["0.0.0.0", "::"]

    asyncio.run(main())


def test_of_several_relays_one_gives_an_address_of_ipv6(tmp_path, certificates):
    async def main():
        async with both_families(tmp_path, certificates) as ways:
            found = await gathered(*ways["127.0.0.1"].values())
            assert sum(":" in c.host for c in found) == 1

    asyncio.run(main())


@pytest.mark.parametrize("family", [4, 6])
def test_a_relay_of_one_family_gives_that(family, tmp_path, certificates):
    async def main():
        relay = "127.0.0.1" if family == 4 else SIX
        async with both_families(tmp_path, certificates, relay=relay, also="") as ways:
            found = await gathered(ways[SIX]["udp"])
            assert [c.host for c in found] == [relay]

    asyncio.run(main())


def test_who_has_ipv4_alone_reaches_who_has_ipv6_alone_by_a_relay(tmp_path, certificates):
    """The second has no relay: the first needs one of IPv6. The control has IPv4's alone."""

    async def main(also, works):
        folder = tmp_path / (also.strip(":") or "none")
        async with both_families(folder, certificates, also=also) as ways:
            relay = ways["127.0.0.1"]["udp"]
            four = IcePath(controlling=True, turn_servers=(relay,))
            six = IcePath(controlling=False)
            ours, theirs = await four.gather(("127.0.0.1",)), await six.gather((SIX,))
            waited = 15.0 if works else 1.5
            done = await asyncio.gather(
                four.connect(six.ufrag, six.pwd, theirs, timeout=waited),
                six.connect(four.ufrag, four.pwd, ours, timeout=waited),
                return_exceptions=True,
            )
            assert [isinstance(e, ConnectFailed) for e in done] == [not works] * 2
            if works:
                assert done == [None, None]
                inboxes = Inbox(four), Inbox(six)
                await both_ways(four, six, inboxes)
                assert four.relayed
            await four.close()
            await six.close()

    asyncio.run(main(SIX, works=True))
    asyncio.run(main("", works=False))
