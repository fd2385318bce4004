"""Our own clients as ordinary subscribers of a real registrar: an address and a password."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

import securecall as sc
from tests.interop import kamailio
from tests.interop.people import PASSPHRASE, hear, sip
from tests.interop.sound import tone_seconds


@pytest.fixture(scope="module", params=["MD5", "SHA-256"])
def registrar(request, tmp_path_factory, certificates):
    folder = tmp_path_factory.mktemp("registrar")
    with kamailio.running(folder, certificates, digest=request.param) as running:
        yield running


@asynccontextmanager
async def subscriber(name, registrar, folder, *, password=None):
    async with sc.open(folder / name, passphrase=PASSPHRASE, create=True) as client:
        await client.sign_in(
            sip(name),
            password=sc.Secret(password or kamailio.PASSWORDS[name]),
            server=("127.0.0.1", registrar.tls),
            authorities=registrar.certificates.authority,
        )
        yield client


async def talk(caller, callee, whom, folder, **options):
    folder.mkdir()
    async with caller.call(sip(whom), audio=sc.ToneSource(440), **options) as call:
        ring = await callee.next_call()
        async with ring.accept(audio=sc.ToneSource(620)) as answer:
            await call.connected()
            await answer.connected()
            await asyncio.gather(
                hear(call, folder / "caller.wav"), hear(answer, folder / "callee.wav")
            )
            await call.hang_up()
            assert await answer.ended() is sc.EndReason.HUNG_UP
    assert tone_seconds(folder / "caller.wav", 620) > 1.0
    assert tone_seconds(folder / "callee.wav", 440) > 1.0
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

    asyncio.run(main())
