"""Our own clients as ordinary subscribers of a real registrar: an address and a password."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

import securecall as sc
from securecall.events import RegistrationChanged
from tests.interop import kamailio
from tests.interop.people import (
    PASSPHRASE,
    hear_tone,
    require_given_up,
    require_refused,
    sip,
    subscriber,
)


@pytest.fixture(scope="module", params=["MD5", "SHA-256"])
def registrar(request, tmp_path_factory, certificates):
    folder = tmp_path_factory.mktemp("registrar")
    with kamailio.running(folder, certificates, digest=request.param) as running:
        yield running


async def talk(caller, callee, whom, folder, **options):
    folder.mkdir()
    async with caller.call(sip(whom), audio=sc.ToneSource(440), **options) as call:
        ring = await callee.next_call()
        async with ring.accept(audio=sc.ToneSource(620)) as answer:
            await call.connected()
            await answer.connected()
            await asyncio.gather(
                hear_tone(call, folder / "caller.wav", 620),
                hear_tone(answer, folder / "callee.wav", 440),
            )
            await call.hang_up()
            assert await answer.ended() is sc.EndReason.HUNG_UP
    return call, answer


def test_two_subscribers_call_each_other(registrar, tmp_path):
    async def main():
        async with (
            subscriber("alice", registrar, tmp_path) as alice,
            subscriber("bob", registrar, tmp_path) as bob,
        ):
            assert alice.accounts[0].state is sc.RegistrationState.REGISTERED
            call, _ = await talk(alice, bob, "bob", tmp_path / "there")
            assert call.security.level is sc.OPPORTUNISTIC
            call, _ = await talk(bob, alice, "alice", tmp_path / "back")
            call, _ = await talk(alice, bob, "bob", tmp_path / "again")
            assert call.security.level is sc.E2EE
            # Signed in signalling: the second INVITE, with credentials, carries it on.
            alice.policy = bob.policy = sc.Policy(passport=True)
            ends = await talk(alice, bob, "bob", tmp_path / "signed")
            assert all(end.security.identity.passport for end in ends)

    asyncio.run(main())


def test_who_comes_by_websocket_and_who_comes_by_tls_call_each_other(registrar, tmp_path):
    async def main():
        wss = "wss://127.0.0.1:{port}/sip"
        async with (
            subscriber("alice", registrar, tmp_path, server=wss) as alice,
            subscriber("bob", registrar, tmp_path) as bob,
        ):
            await talk(alice, bob, "bob", tmp_path / "there")
            await talk(bob, alice, "alice", tmp_path / "back")
            call, answer = await talk(alice, bob, "bob", tmp_path / "again")
            assert (call.security.level, answer.security.level) == (sc.E2EE, sc.E2EE)

    asyncio.run(main())


@pytest.mark.parametrize(("name", "password"), [("alice", "wrong"), ("nobody", "pw-nobody")])
def test_a_wrong_password_and_an_unknown_user_are_told_at_once(registrar, tmp_path, name, password):
    async def main():
        with pytest.raises(sc.LoginRefused):
            async with subscriber(name, registrar, tmp_path, password=password):
                pass

    asyncio.run(main())


@pytest.mark.parametrize(("how", "error"), [("decline", sc.Declined), ("busy", sc.Busy)])
def test_a_refusal_reaches_the_caller_as_what_it_is(registrar, tmp_path, how, error):
    async def main():
        async with (
            subscriber("alice", registrar, tmp_path) as alice,
            subscriber("bob", registrar, tmp_path) as bob,
        ):
            await require_refused(alice, bob, how, error)

    asyncio.run(main())


def test_a_caller_who_gives_up_stops_the_ringing(registrar, tmp_path):
    async def main():
        async with (
            subscriber("alice", registrar, tmp_path) as alice,
            subscriber("bob", registrar, tmp_path) as bob,
        ):
            await require_given_up(alice, bob)

    asyncio.run(main())


def test_somebody_who_signed_out_is_not_there(registrar, tmp_path):
    async def main():
        async with subscriber("alice", registrar, tmp_path) as alice:
            async with subscriber("bob", registrar, tmp_path) as bob:
                await bob.sign_out(bob.accounts[0])
                async with alice.call(sip("bob")) as call:
                    with pytest.raises(sc.CallFailed) as caught:
                        await call.connected()
                assert caught.value.reason is sc.EndReason.NO_ANSWER

    asyncio.run(main())


async def registered_again(events):
    """Wait until the account was lost and is back."""
    lost = False
    async for event in events:
        if isinstance(event, RegistrationChanged):
            if lost and event.state is sc.RegistrationState.REGISTERED:
                return
            lost = lost or event.state is sc.RegistrationState.CONNECTING


def test_registration_and_call_survive_a_restart_of_the_proxy(registrar, tmp_path):
    async def main():
        async with (
            subscriber("alice", registrar, tmp_path) as alice,
            subscriber("bob", registrar, tmp_path) as bob,
        ):
            back = [
                asyncio.ensure_future(registered_again(client.events())) for client in (alice, bob)
            ]
            async with alice.call(sip("bob"), audio=sc.ToneSource(440)) as call:
                async with (await bob.next_call()).accept(audio=sc.ToneSource(620)) as answer:
                    await call.connected()
                    await answer.connected()
                    await asyncio.to_thread(registrar.child.restart, registrar.tls)
                    async with asyncio.timeout(60):
                        await asyncio.gather(*back)
                    await hear_tone(call, tmp_path / "heard.wav", 620)
                    await call.hang_up()
                    # The fresh proxy does not know the connection that the old one named in our
                    # Contact, so the BYE may not arrive; the signed goodbye between the ends does.
                    with suppress(sc.PeerVanished):
                        assert await answer.ended() is sc.EndReason.HUNG_UP
            await talk(bob, alice, "alice", tmp_path / "after")

    asyncio.run(main())


def test_a_listener_between_client_and_registrar_is_refused_before_the_password(
    registrar, certificates, tmp_path
):
    """The registrar shows a certificate for another name: nothing of the account is said."""

    async def main():
        async with sc.open(tmp_path / "alice", passphrase=PASSPHRASE, create=True) as alice:
            with pytest.raises(sc.CertificateError):
                await alice.sign_in(
                    "sip:alice@elsewhere.example",
                    password=sc.Secret("pw-alice"),
                    server=("127.0.0.1", registrar.tls),
                    authorities=certificates.authority,
                )
            assert alice.accounts == ()

    asyncio.run(main())
