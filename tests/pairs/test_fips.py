"""Two clients under the fips profile call each other; no other client reaches them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import pytest

import securecall as sc
from securecall import fips
from securecall.errors import FipsError, Unsupported, UsageError
from securecall.secret import Secret
from securecall.store.lock import Lock
from securecall.store.sqlite import Store
from securecall.store.vault import MINIMUM_COST, Rounds
from securecall.transport import openssl
from securecall.transport.tls_context import (
    client_context,
    direct_client_context,
    direct_server_context,
)

PASSPHRASE = b"correct horse battery staple"


def opened(folder, *, profile="fips", policy=None):
    word = "algorithms-only" if profile == "fips" else "required"
    return sc.open(
        folder,
        passphrase=Secret(PASSPHRASE),
        create=True,
        policy=policy or sc.Policy(),
        profile=profile,
        fips=word,
    )


async def call(alice, bob, **options):
    ticket = await bob.ticket(host="127.0.0.1")
    async with alice.call(ticket, audio=sc.ToneSource(440), **options) as call:
        ring = await bob.next_call()
        async with ring.accept(audio=sc.ToneSource(620)) as answer:
            state = await call.connected()
            await anext(call.audio)
            return state, await answer.connected()


@pytest.fixture
def negotiated(monkeypatch):
    """Every handshake of OpenSSL that was completed: protocol, group, cipher."""
    found, handshake = set(), openssl.Channel.handshake

    def listen(channel):
        complete = handshake(channel)
        if complete:
            found.add((channel.protocol, channel.group, channel.cipher))
        return complete

    monkeypatch.setattr(openssl.Channel, "handshake", listen)
    return found


def test_a_call_uses_approved_algorithms_and_says_so_only_over_a_provider(
    tmp_path, monkeypatch, negotiated
):
    async def main():
        async with opened(tmp_path / "a") as alice, opened(tmp_path / "b") as bob:
            states = await call(alice, bob, require_pq=True)
            for state in states:
                assert state.level is sc.E2EE
                assert state.pq
                assert not state.fips_approved  # algorithms only
        monkeypatch.setattr(fips, "fips_provider_active", lambda: True)
        async with opened(tmp_path / "a") as alice, opened(tmp_path / "b") as bob:
            assert all(state.fips_approved for state in await call(alice, bob))

    asyncio.run(main())
    assert {(p, g.lower(), c) for p, g, c in negotiated} == {
        ("DTLSv1.2", "secp384r1", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("TLSv1.3", "secp384r1mlkem1024", "TLS_AES_256_GCM_SHA384"),
    }


def test_the_classical_suite_connects_and_is_refused_where_post_quantum_is_required(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(fips, "has_group", lambda name: False)

    async def main():
        async with opened(tmp_path / "a") as alice, opened(tmp_path / "b") as bob:
            state, _ = await call(alice, bob)
            assert state.level is sc.E2EE
            assert not state.pq
            with pytest.raises(sc.PolicyRefused, match="post-quantum"):
                await call(alice, bob, require_pq=True)

    asyncio.run(main())


@pytest.mark.parametrize("caller_is_fips", [True, False])
def test_a_client_of_the_other_profile_is_not_reached(tmp_path, caller_is_fips):
    async def main():
        profiles = ("fips", "standard") if caller_is_fips else ("standard", "fips")
        async with (
            opened(tmp_path / "a", profile=profiles[0]) as alice,
            opened(tmp_path / "b", profile=profiles[1]) as bob,
        ):
            with pytest.raises(sc.SecurecallError):
                await call(alice, bob)

    asyncio.run(main())


def test_there_is_no_chat_and_no_call_without_identity(tmp_path):
    async def main():
        async with opened(tmp_path / "a") as alice:
            with pytest.raises(Unsupported, match="OMEMO"):
                await alice.sign_in(xmpp="alice@example.com", password=Secret("x"))
            with pytest.raises(UsageError, match="fips"):
                key = f"key:{'ab' * 64}"
                alice.call(key, direct=("127.0.0.1", 1), policy=sc.Policy(danger_plain_dtls=True))

    asyncio.run(main())


def test_a_self_test_that_failed_later_ends_calling_and_signing_in(tmp_path, monkeypatch):
    async def main():
        async with opened(tmp_path / "a") as alice:
            monkeypatch.setattr(fips.LATCH, "failure", "SHA-512")
            with pytest.raises(FipsError):
                alice.call(f"key:{'ab' * 64}", direct=("127.0.0.1", 1))
            with pytest.raises(FipsError):
                await alice.sign_in("alice@example.com", password=Secret("x"))

    asyncio.run(main())


def test_the_key_store_is_opened_by_pbkdf2_alone(tmp_path):
    Store.create(tmp_path / "argon", Secret(PASSPHRASE), cost=MINIMUM_COST).close()

    async def main():
        with pytest.raises(Unsupported, match="Argon2id"):
            async with opened(tmp_path / "argon"):
                pass
        store = Store.open(tmp_path / "argon", Secret(PASSPHRASE))
        store.set_lock(Lock(passphrase=Secret(PASSPHRASE), cost=Rounds()))
        store.close()
        async with opened(tmp_path / "argon"):
            pass
        async with opened(tmp_path / "argon", profile="standard"):
            pass

    asyncio.run(main())


def test_signalling_uses_approved_suites_alone():
    """The control: the ordinary contexts agree on TLS 1.3, whose suites cannot be chosen."""
    found = {approved: shaken(approved=approved) for approved in (True, False)}
    assert found[True] == ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")
    assert found[False][0] == "TLSv1.3"
    for context in (client_context(approved=True), direct_server_context(approved=True)):
        offered = [c["name"] for c in context.get_ciphers() if c["protocol"] != "TLSv1.3"]
        assert offered
        assert all("GCM" in name for name in offered)


def shaken(*, approved):
    """What two direct contexts agree on: version, cipher."""
    wires = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = direct_client_context(approved=approved).wrap_bio(*wires)
    server = direct_server_context(approved=approved).wrap_bio(*wires[::-1], server_side=True)
    for end in (client, server, client, server, client):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return client.version(), client.cipher()[0]


def test_a_backup_is_under_what_is_approved(tmp_path):
    async def main():
        async with opened(tmp_path / "alice") as alice:
            await alice.back_up(tmp_path / "saved", passphrase=Secret(PASSPHRASE))

    asyncio.run(main())
    header = (tmp_path / "saved").read_bytes()[:49]
    assert (header[16], header[45]) == (2, 2)  # PBKDF2
    assert sc.check_backup(tmp_path / "saved", Secret(PASSPHRASE)).contacts == 0
