"""Calls into the telephone network: keys in the signalling, from end to end through our own server.

The phone network of these tests is a second client of ours on a gateway account.
"""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

import securecall as sc
from securecall.calls.negotiation import build_offer
from securecall.calls.report_parties import Capability, Role
from securecall.calls.signaling import Ended, Route
from securecall.media.description import Keying
from securecall.policy import GATEWAY_WORDS
from securecall.store.vault import MINIMUM_COST
from securecall.testing.bus import SignalBus
from securecall.testing.sip_server import LabServer
from tests.guard import spellings
from tests.pairs.calls.test_registered import PASSPHRASE, at, run
from tests.unit.calls.test_negotiation import ALICE, local

NUMBER = "+431234567"
DOMAIN = "lab.test"


def lab(folder):
    users = {name: sc.Secret(f"pw-{name}") for name in ("alice", "bob", NUMBER)}
    return LabServer(folder / "lab", users)


@asynccontextmanager
async def gateway(name, server, folder, *, mode="gateway", policy=None):
    home = {"passphrase": PASSPHRASE, "create": True, "cost": MINIMUM_COST}
    async with sc.open(folder / name, policy=policy, **home) as client:
        await client.sign_in(
            f"{name}@{server.domain}",
            password=sc.Secret(f"pw-{name}"),
            server=(server.host, server.port),
            authorities=server.authorities,
            provider_mode=mode,
        )
        yield client


def person(name, server, folder, **options):
    return gateway(name, server, folder, mode="proxy", **options)


@asynccontextmanager
async def connected(folder):
    """A call to a number, as both ends have it."""
    async with (
        lab(folder) as server,
        gateway("alice", server, folder) as alice,
        gateway(NUMBER, server, folder) as phone,
        alice.call(f"tel:{NUMBER}", audio=sc.ToneSource(440)) as call,
        (await phone.next_call()).accept(audio=sc.ToneSource(620)) as answer,
    ):
        await call.connected()
        await answer.connected()
        yield call, answer


async def hear(call, seconds=0.3):
    target = call.statistics().received_seconds + seconds
    while call.statistics().received_seconds < target:
        await anext(call.audio)


@pytest.mark.parametrize(
    ("mode", "keying"),
    [("gateway", Keying.SDES), ("gateway-dtls", Keying.DTLS_SRTP)],
)
def test_a_number_is_called_and_both_hear_each_other(tmp_path, mode, keying):
    async def main():
        async with (
            lab(tmp_path) as server,
            gateway("alice", server, tmp_path, mode=mode) as alice,
            gateway(NUMBER, server, tmp_path) as phone,
        ):
            async with alice.call(f"tel:{NUMBER}", audio=sc.ToneSource(440)) as call:
                ring = await phone.next_call()
                async with ring.accept(audio=sc.ToneSource(620)) as answer:
                    state = await call.connected()
                    assert (state.level, state.keying) == (sc.HOP_BY_HOP, keying)
                    assert state.words == GATEWAY_WORDS
                    assert (state.is_e2ee, state.identity) == (False, None)
                    await hear(call)
                    await hear(answer)
                    await call.hold()
                    await answer.hold()
                    await call.resume()
                    await answer.resume()
                    await hear(call)
                    await hear(answer)
                    with pytest.raises(sc.UsageError):
                        _ = call.sas
            could = {p.role: p.capability for p in call.report.parties}
            assert could[Role.OWN_PROVIDER] is Capability.HELD_KEY
            assert could[Role.GATEWAY] is Capability.HELD_KEY
            text = " ".join(str(call.report).split())
            assert GATEWAY_WORDS in text
            assert "end-to-end" not in text.lower()
            assert call.report.peer == NUMBER

    run(main)


@pytest.mark.parametrize("mode", ["proxy", "gateway"])
def test_an_ordinary_account_neither_calls_numbers_nor_rings_for_them(tmp_path, mode):
    async def main():
        async with (
            lab(tmp_path) as server,
            person("bob", server, tmp_path) as bob,
            gateway(NUMBER, server, tmp_path, mode=mode) as phone,
        ):
            with pytest.raises(sc.PolicyRefused):
                bob.call(f"tel:{NUMBER}")
            with pytest.raises(sc.PolicyRefused):
                bob.call(f"sip:{NUMBER}@{DOMAIN};user=phone")
            if mode == "gateway":  # SDES towards an ordinary account: 488, and it does not ring
                async with phone.call(at("bob", server)) as call:
                    with pytest.raises(sc.Incompatible):
                        await call.connected()
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(bob.next_call(), 0.05)

    run(main)


def test_a_number_is_hop_by_hop_over_an_ordinary_account_too(tmp_path):
    async def main():
        policy = sc.Policy(danger_plain_dtls=True)
        async with (
            lab(tmp_path) as server,
            person("bob", server, tmp_path, policy=policy) as bob,
            gateway(NUMBER, server, tmp_path, mode="proxy", policy=policy) as phone,
        ):
            async with bob.call(f"tel:{NUMBER}") as call:
                async with (await phone.next_call()).accept():
                    state = await call.connected()
                    assert (state.level, state.words) == (sc.HOP_BY_HOP, GATEWAY_WORDS)

    run(main)


@pytest.mark.parametrize("danger", [False, True])
def test_a_call_that_shaken_vouches_for_is_one_of_the_telephone_network(tmp_path, danger):
    """The control is the call itself: without the mark an ordinary account lets it ring."""

    async def main():
        policy = sc.Policy(danger_plain_dtls=danger)
        async with (
            lab(tmp_path) as server,
            person("bob", server, tmp_path, policy=policy) as bob,
            gateway("alice", server, tmp_path) as alice,
        ):
            (account,) = alice.accounts
            offer = build_offer(local(ALICE, 40_000))
            for mark in ("", "a.b.c;info=<https://cr.example/c.pem>;alg=ES256;ppt=shaken"):
                route = Route(sc.parse_address(at("bob", server)), identity=mark)
                leg = await account.signaling.dial(route, offer)
                told = asyncio.Queue()
                leg.listen(told.put_nowait)
                if mark and not danger:
                    signal = await told.get()
                    assert isinstance(signal, Ended) and signal.status == 488
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(bob.next_call(), 0.05)
                    continue
                ring = await bob.next_call()
                assert ring._call._machine.gateway is bool(mark)
                await ring.decline()

    run(main)


def test_whoever_was_reached_end_to_end_is_never_called_through_a_gateway(tmp_path):
    async def main():
        async with (
            lab(tmp_path) as server,
            person("alice", server, tmp_path) as alice,
            person("bob", server, tmp_path) as bob,
        ):
            async with alice.call(at("bob", server)) as call:
                async with (await bob.next_call()).accept():
                    await call.connected()
                    await call.confirm_sas()
            account = await alice.sign_in(
                f"alice@{DOMAIN}",
                password=sc.Secret("pw-alice"),
                server=(server.host, server.port),
                authorities=server.authorities,
                provider_mode="gateway",
            )
            with pytest.raises(sc.DowngradeError):
                alice.call(at("bob", server), account=account)
            with pytest.raises(sc.PolicyRefused):
                alice.call(f"tel:{NUMBER}", account=account, policy=sc.Policy.clinical())

    run(main)


def test_more_that_is_required_of_one_call_places_none(tmp_path):
    async def main():
        async with lab(tmp_path) as server, gateway("alice", server, tmp_path) as alice:
            before = server.count("INVITE", 0)
            with pytest.raises(sc.PolicyRefused):
                async with alice.call(f"tel:{NUMBER}", require=sc.E2EE):
                    raise AssertionError("it was placed")
            assert server.count("INVITE", 0) == before

    run(main)


def test_no_key_is_written_where_nobody_proved_a_name(tmp_path):
    async def main():
        async with lab(tmp_path) as server, gateway("alice", server, tmp_path) as alice:
            (account,) = alice.accounts
            flow = await account.signaling._connections.to_server()
            flow.connection.verified_name = ""
            before = server.count("INVITE", 0)
            with pytest.raises(sc.SecurityError, match="proved its name"):
                async with alice.call(f"tel:{NUMBER}"):
                    raise AssertionError("it was placed")
            assert server.count("INVITE", 0) == before

    run(main)


def test_new_keys_in_mid_call_go_on_with_the_sound(tmp_path):
    async def main():
        async with connected(tmp_path) as (call, answer):
            await hear(call)
            await hear(answer)
            # what a gateway does that was restarted: all its keys are others
            machine = answer._machine
            before = call._machine._exchange.agreed.sdes.ours.key
            renew(machine, answer._connection.fresh_keys()[0])
            fresh = machine._exchange.agreed.sdes.ours.key
            await answer.hold()
            await answer.resume()
            await hear(call)
            await hear(answer)
            assert call._machine._exchange.agreed.sdes.theirs.key == fresh
            assert call._machine._exchange.agreed.sdes.ours.key != before

    run(main)


def test_what_was_said_under_a_key_is_not_heard_twice_when_a_gateway_returns_to_it(tmp_path):
    async def main():
        recorded = []

        async with connected(tmp_path) as (call, answer):
            take = call._connection.sound.receive
            path = call._connection.way.path
            path.listen(dtls=path.deliverer.dtls, media=lambda d: (recorded.append(d), take(d)))
            await hear(call)
            old, machine = list(recorded), answer._machine
            first = machine._exchange.agreed.sdes
            renew(machine, answer._connection.fresh_keys()[0])
            await answer.hold()
            renew(machine, first.ours, past=())
            answer._connection._srtp = None  # whose packets do not matter any more
            await answer.resume()
            assert call._machine._exchange.agreed.sdes.theirs.key == first.ours.key
            before = call.statistics()
            for datagram in old:
                take(datagram)
            after = call.statistics()
            assert len(old) > 5
            assert after.packets_received == before.packets_received

    run(main)


def test_changes_that_bring_no_new_keys_cost_none(tmp_path):
    """A gateway may ask for any number of changes; those with new keys are counted."""

    async def main():
        async with connected(tmp_path) as (call, answer):
            held = []
            for _ in range(3):
                await answer.hold()
                await answer.resume()
                held.append(len(call._connection._written))
            assert len(set(held)) == 1

    run(main)


def renew(machine, line, **changes):
    """Have a machine believe that this key of ours was agreed on."""
    agreed = machine._exchange.agreed
    keys = replace(agreed.sdes, ours=replace(line, tag=1), **changes)
    machine._exchange = replace(machine._exchange, agreed=replace(agreed, sdes=keys))


def test_a_wrong_mode_is_a_usage_error(tmp_path):
    async def main():
        async with sc.open(tmp_path / "a", passphrase=PASSPHRASE, create=True) as alice:
            with pytest.raises(sc.UsageError, match="provider_mode"):
                await alice.sign_in("alice@lab.test", provider_mode="trunk")

    run(main)


def test_the_keys_of_a_call_are_gone_when_it_is_over(tmp_path):
    async def main():
        async with (
            lab(tmp_path) as server,
            gateway("alice", server, tmp_path) as alice,
            gateway(NUMBER, server, tmp_path) as phone,
        ):
            async with alice.call(f"tel:{NUMBER}") as call:
                async with (await phone.next_call()).accept() as answer:
                    await call.connected()
                    line = call._machine._exchange.agreed.sdes.ours
                    key = line.key.reveal()
                    await answer.connected()
                    await answer.hold()  # both say all their keys again
                    await call.hold()
                    assert base64.b64encode(key)[:8] in call._leg._session.descriptions.body
            for end in (call, answer):
                for line in (
                    end._machine._exchange.agreed.sdes.ours,
                    end._machine._exchange.agreed.sdes.theirs,
                ):
                    with pytest.raises(sc.UsageError):
                        line.key.reveal()
                session = end._leg._session
                told = (session.descriptions.body, session.invite.body)
                assert not any(text in repr(told) for text in spellings(key))

    run(main)


def test_nobody_but_a_number_is_called_through_the_gateway_that_was_signed_in_first(tmp_path):
    async def main():
        bus = SignalBus()
        own, trunk = (sc.parse_address(f"sip:alice@{h}.example") for h in ("clinic", "phones"))
        home = {"passphrase": PASSPHRASE, "create": True, "cost": MINIMUM_COST}
        async with sc.open(tmp_path / "alice", **home) as alice:
            gateway = alice.use(trunk, bus.endpoint(trunk), provider_mode="gateway")
            account_for = alice._open.calling.account_for
            far = sc.parse_address("sip:bob@elsewhere.example")
            assert account_for(far, None) is gateway  # there is nothing else
            proxy = alice.use(own, bus.endpoint(own))
            assert account_for(far, None) is proxy
            assert account_for(sc.parse_address("sip:carol@clinic.example"), None) is proxy
            assert account_for(sc.parse_address("sip:reception@phones.example"), None) is gateway
            assert account_for(sc.parse_address(f"tel:{NUMBER}"), None) is gateway
            assert account_for(far, gateway) is gateway  # as wished

    run(main)
