"""Two of our clients and one real proxy between them, over TLS verified by name."""

from __future__ import annotations

import asyncio
import datetime

import pytest

import securecall as sc
from securecall.calls.report import Capability
from securecall.calls.report_parties import SERVERS
from securecall.calls.report_verify import examine, is_countersigned
from securecall.keys.trust import TrustState
from tests.interop import authority, switch
from tests.interop.people import (
    PASSPHRASE,
    hear,
    require_given_up,
    require_refused,
    signed_in,
    sip,
)
from tests.interop.sound import tone_seconds


@pytest.fixture(scope="module")
def proxy(tmp_path_factory, certificates):
    with switch.running(tmp_path_factory.mktemp("switch"), certificates) as running:
        yield running


async def talk(alice, bob, folder, **options):
    """Alice calls Bob, each hears the other's tone, Alice hangs up."""
    folder.mkdir()
    async with alice.call(sip("bob"), audio=sc.ToneSource(440), **options) as call:
        ring = await bob.next_call()
        async with ring.accept(audio=sc.ToneSource(620)) as answer:
            await call.connected()
            await answer.connected()
            await asyncio.gather(hear(call, folder / "alice.wav"), hear(answer, folder / "bob.wav"))
            await call.hang_up()
            assert await answer.ended() is sc.EndReason.HUNG_UP
    assert tone_seconds(folder / "alice.wav", 620) > 1.0
    assert tone_seconds(folder / "bob.wav", 440) > 1.0
    return call, answer


def test_first_contact_is_opportunistic_and_the_second_call_end_to_end(proxy, tmp_path):
    async def main():
        async with (
            signed_in("alice", proxy, tmp_path) as alice,
            signed_in("bob", proxy, tmp_path) as bob,
        ):
            call, answer = await talk(alice, bob, tmp_path / "first")
            assert call.security.level is sc.OPPORTUNISTIC
            assert answer.security.level is sc.OPPORTUNISTIC
            assert alice.contacts.find(sc.parse_address(sip("bob"))).state is TrustState.PINNED
            call, answer = await talk(alice, bob, tmp_path / "second")
            assert call.security.level is sc.E2EE
            assert call.security.pq
            for end in (call, answer):
                assert is_countersigned(examine(end.report.to_object()))

    asyncio.run(main())


def test_what_both_ends_signed_in_signalling_passes_through_kamailio(proxy, tmp_path):
    """PASSporTs with `mky`, in INVITE and 200."""

    async def main():
        async with (
            signed_in("alice", proxy, tmp_path) as alice,
            signed_in("bob", proxy, tmp_path) as bob,
        ):
            alice.policy = bob.policy = sc.Policy(passport=True)
            for folder in ("first", "second"):
                ends = await talk(alice, bob, tmp_path / folder)
                assert all(end.security.identity.passport for end in ends)
            assert ends[0].security.level is sc.E2EE
            alice.policy = sc.Policy()  # the control: who does not sign is not said to have
            ends = await talk(alice, bob, tmp_path / "third")
            assert not any(end.security.identity.passport for end in ends)

    asyncio.run(main())


def test_words_compared_through_kamailio_verify_the_key(proxy, tmp_path):
    async def main():
        async with (
            signed_in("alice", proxy, tmp_path) as alice,
            signed_in("bob", proxy, tmp_path) as bob,
        ):
            async with alice.call(sip("bob"), require=sc.VERIFIED) as call:
                async with (await bob.next_call()).accept() as answer:
                    await call.connected()
                    await answer.connected()
                    assert call.sas.words == answer.sas.words
                    assert (await call.confirm_sas()).level is sc.VERIFIED
                    await call.hang_up()
            call, _ = await talk(alice, bob, tmp_path / "again", require=sc.VERIFIED)
            assert call.security.level is sc.VERIFIED
            assert not call.security.sas_confirmed

    asyncio.run(main())


def test_the_report_names_the_proxy_and_what_it_could_do(proxy, tmp_path):
    async def main():
        async with (
            signed_in("alice", proxy, tmp_path) as alice,
            signed_in("bob", proxy, tmp_path) as bob,
        ):
            call, _ = await talk(alice, bob, tmp_path / "first")
            servers = [p for p in call.report.parties if p.role in SERVERS]
            assert proxy.domain in {p.name for p in servers}
            assert {p.capability for p in servers} == {Capability.COULD_SUBSTITUTE}
            call, _ = await talk(alice, bob, tmp_path / "second")
            servers = [p for p in call.report.parties if p.role in SERVERS]
            assert proxy.domain in {p.name for p in servers}
            assert {p.capability for p in servers} == {Capability.METADATA}

    asyncio.run(main())


@pytest.mark.parametrize(("how", "error"), [("decline", sc.Declined), ("busy", sc.Busy)])
def test_a_refusal_reaches_the_caller_as_what_it_is(proxy, tmp_path, how, error):
    async def main():
        async with (
            signed_in("alice", proxy, tmp_path) as alice,
            signed_in("bob", proxy, tmp_path) as bob,
        ):
            await require_refused(alice, bob, how, error)

    asyncio.run(main())


def test_a_caller_who_gives_up_stops_the_ringing(proxy, tmp_path):
    async def main():
        async with (
            signed_in("alice", proxy, tmp_path) as alice,
            signed_in("bob", proxy, tmp_path) as bob,
        ):
            await require_given_up(alice, bob)

    asyncio.run(main())


def test_an_address_nobody_has_is_unreachable(proxy, tmp_path):
    async def main():
        async with signed_in("alice", proxy, tmp_path) as alice:
            async with alice.call(sip("nobody")) as call:
                with pytest.raises(sc.Unreachable) as caught:
                    await call.connected()
            assert caught.value.reason is sc.EndReason.NOT_FOUND

    asyncio.run(main())


async def call_once(folder, port, trusted, name):
    """Call through the server on that port and say how it ended."""
    async with sc.open(folder / "alice", passphrase=PASSPHRASE, create=True) as alice:
        await alice.sign_in(
            sip=sip("alice"), server=("127.0.0.1", port), server_name=name, authorities=trusted
        )
        async with alice.call(sip("nobody")) as call:
            await call.connected()


@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_a_server_that_cannot_prove_its_name_is_told_nothing(proxy, tmp_path, wrong):
    trusted = proxy.certificates.authority
    if wrong == "authority":
        trusted = authority.make(tmp_path).authority
    name = "clinic.example" if wrong == "name" else proxy.domain
    before = proxy.requests("INVITE")
    with pytest.raises(sc.CertificateError):
        asyncio.run(call_once(tmp_path, proxy.tls, trusted, name))
    assert proxy.requests("INVITE") == before


def test_a_server_with_an_expired_certificate_is_told_nothing(tmp_path):
    for days, expected in ((-1, sc.CertificateError), (2, sc.Unreachable)):
        folder = tmp_path / str(days)
        folder.mkdir()
        made = authority.make(folder, lasting=datetime.timedelta(days=days))
        with switch.running(folder, made) as proxy:
            with pytest.raises(expected):
                asyncio.run(call_once(folder, proxy.tls, made.authority, proxy.domain))
            # the second round is the control: the same server, heard once its proof is good
            assert proxy.requests("INVITE") == (days > 0)
