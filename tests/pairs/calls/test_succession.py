"""One root follows another in calls: contacts follow too, and the old key gets nowhere."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

import securecall as sc
from securecall.contacts import Contacts
from securecall.events import ContactKeysChanged, KeysChange
from securecall.keys.trust import Act, How, TrustState
from securecall.store.sqlite import Store
from securecall.testing.bus import SignalBus
from tests.forge_store import cheap
from tests.talking import talking

PASSPHRASE = sc.Secret("correct horse battery staple")
ALICE, BOB = sc.parse_address("sip:alice@x.example"), sc.parse_address("sip:bob@x.example")


@pytest.fixture(autouse=True)
def _cheap_stores(monkeypatch):
    cheap(monkeypatch)


@asynccontextmanager
async def people(folder):
    bus = SignalBus()
    async with (
        sc.open(folder / "alice", passphrase=PASSPHRASE, create=True) as alice,
        sc.open(folder / "bob", passphrase=PASSPHRASE, create=True) as bob,
    ):
        alice.use(ALICE, bus.endpoint(ALICE))
        bob.use(BOB, bus.endpoint(BOB))
        yield alice, bob, bus


async def verified(alice, bob):
    async with talking(bob, alice, ALICE):
        pass
    bob.contacts.verify(ALICE, How.DIGITS, root_fp=alice.contacts.root_fp)
    bob.contacts.apply(bob.contacts.event(Act.RAISE_FLOOR, ALICE, b"", How.USER))


@pytest.mark.parametrize("who_calls", ["bob", "alice"])
def test_a_call_in_either_direction_carries_the_pin_over(tmp_path, who_calls):
    async def main():
        async with people(tmp_path) as (alice, bob, _):
            await verified(alice, bob)
            old, told = alice.contacts.root_fp, bob.events()
            alice.contacts.succeed()
            if who_calls == "bob":
                async with talking(bob, alice, ALICE) as (end, _):
                    state = end.security
            else:
                async with talking(alice, bob, BOB) as (_, end):
                    state = end.security
            # the word of two keys is worth a pin, and a policy that asks for more says so
            assert (state.level, state.identity.how) == (sc.E2EE, "succession")
            assert "compare again" in state.reason
            after = bob.contacts.find(ALICE)
            assert (after.state, after.root_fp) == (TrustState.PINNED, alice.contacts.root_fp)
            assert after.floor  # which stays
            assert bob.contacts.book.barred == {old: TrustState.REVOKED}
            changes = []
            while KeysChange.SUCCEEDED not in changes:
                event = await anext(told)
                if isinstance(event, ContactKeysChanged):
                    changes.append(event.change)

    asyncio.run(main())


def test_who_asks_for_a_verified_call_has_to_compare_again(tmp_path):
    async def main():
        async with people(tmp_path) as (alice, bob, _):
            await verified(alice, bob)
            async with talking(bob, alice, ALICE, require=sc.VERIFIED) as (call, _):
                assert call.security.level is sc.VERIFIED
            alice.contacts.succeed()
            async with talking(bob, alice, ALICE, require=sc.VERIFIED) as (call, _):
                assert call.security.level is sc.E2EE
                assert call.state.value == "verifying"
                assert (await call.confirm_sas()).level is sc.VERIFIED
            assert bob.contacts.find(ALICE).state is TrustState.VERIFIED

    asyncio.run(main())


def test_the_old_key_gets_nowhere_once_the_new_one_was_seen(tmp_path):
    """A thief of the old root, who was slower than its owner."""

    async def main():
        async with people(tmp_path) as (alice, bob, bus):
            await verified(alice, bob)
            words = alice.contacts.identity.phrase()
            alice.contacts.succeed()
            async with talking(bob, alice, ALICE):
                pass
            thief = tmp_path / "thief"
            sc.restore_from_phrase(thief, passphrase=PASSPHRASE, phrase=words)
            for own_successor in (False, True):
                async with sc.open(thief, passphrase=PASSPHRASE) as mallory:
                    if own_successor:
                        mallory.contacts.succeed()
                    place = ALICE
                    mallory.use(place, bus.endpoint(place))
                    ringing = asyncio.create_task(refused(bob))
                    async with mallory.call(BOB) as call:
                        with pytest.raises(sc.SecurecallError):
                            await call.connected()
                    assert isinstance(await ringing, (sc.Revoked, sc.IdentityChanged))
            assert bob.contacts.find(ALICE).root_fp == alice.contacts.root_fp

    asyncio.run(main())


def test_control_the_thief_is_alice_to_whom_the_new_key_never_reached(tmp_path):
    """What a succession cannot undo; docs/how-to/keys.md says so."""

    async def main():
        async with people(tmp_path) as (alice, bob, bus):
            await verified(alice, bob)
            words = alice.contacts.identity.phrase()
            alice.contacts.succeed()
            thief = tmp_path / "thief"
            sc.restore_from_phrase(thief, passphrase=PASSPHRASE, phrase=words)
            async with sc.open(thief, passphrase=PASSPHRASE) as mallory:
                mallory.use(ALICE, bus.endpoint(ALICE))
                async with talking(mallory, bob, BOB) as (_, taken):
                    assert taken.security.level is sc.VERIFIED

    asyncio.run(main())


async def refused(client):
    async with (await client.next_call()).accept() as call:
        try:
            await call.ended()
        except sc.SecurityError as e:
            return e
    return None


def test_a_stranger_whose_statement_names_successions_is_a_stranger(tmp_path):
    """An incoming call pins nobody, whatever chain it shows."""

    async def main():
        async with people(tmp_path) as (alice, bob, _):
            alice.contacts.succeed()
            alice.contacts.succeed()
            async with talking(alice, bob, BOB) as (_, taken):
                assert taken.security.level is sc.OPPORTUNISTIC
            assert bob.contacts.all() == ()
            assert bob.contacts.book.barred == {}

    asyncio.run(main())


def test_what_was_learnt_is_there_after_a_restart(tmp_path):
    async def main():
        async with people(tmp_path) as (alice, bob, _):
            await verified(alice, bob)
            alice.contacts.succeed()
            async with talking(bob, alice, ALICE):
                return alice.contacts.root_fp

    root_fp = asyncio.run(main())
    for name in ("bob", "alice"):
        store = Store.open(tmp_path / name, PASSPHRASE)
        contacts = Contacts(store)
        found = contacts.find(ALICE).root_fp if name == "bob" else contacts.root_fp
        assert found == root_fp
        store.close()
