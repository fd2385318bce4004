"""Whose bundle a server may show, and what is remembered of many people."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from securecall.errors import NoDevices
from securecall.keys import omemo_lookup, omemo_state
from securecall.keys.omemo_values import OMEMO, OMEMO_LEGACY, Device
from securecall.testing.omemo_world import BOTH, ONLY_TWO, World

ALICE, BOB, MALLORY = "alice@a.example", "bob@b.example", "mallory@m.example"


@pytest.mark.parametrize("empty", [False, True])
def test_a_bundle_has_to_be_the_one_that_was_asked_for_and_to_have_prekeys(empty):
    async def body():
        world = World()
        alice, bob, _ = [
            await world.person(jid, namespaces=ONLY_TWO) for jid in (ALICE, BOB, MALLORY)
        ]
        place = (OMEMO, BOB, bob.id)
        true = world.server.bundles[place]
        others = next(b for (_, jid, _), b in world.server.bundles.items() if jid == MALLORY)
        world.server.bundles[place] = replace(true, prekeys={}) if empty else others
        with pytest.raises(NoDevices, match="not the bundle that was asked for"):
            await alice.omemo.prepare([BOB])
        world.server.bundles[place] = true
        (sealed,) = await alice.write(b"hello", BOB)
        assert bob.omemo.open_sealed(sealed, ALICE).plaintext == b"hello"

    asyncio.run(body())


def test_worse_keys_in_use_are_given_up_once_their_owner_says_there_are_better_ones():
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        listed = world.server.lists.pop((OMEMO, BOB))
        for _ in range(2):  # there is a session: the second message asks the server nothing
            (sealed,) = await alice.write(b"hello", BOB)
            assert sealed.namespace == OMEMO_LEGACY
            bob.omemo.open_sealed(sealed, ALICE)
        alice.trust.promised = {device.identity_key for device in bob.omemo.own.values()}
        with pytest.raises(NoDevices, match="its owner has keys for"):
            await alice.omemo.prepare([BOB])
        await alice.omemo.devices_changed(OMEMO, BOB, listed)
        (sealed,) = await alice.write(b"hello", BOB)
        assert sealed.namespace == OMEMO

    asyncio.run(body())


def test_more_people_than_are_remembered_are_written_to_all_the_same(monkeypatch):
    monkeypatch.setattr(omemo_lookup, "_MAX_ARRANGED", 2)
    monkeypatch.setattr(omemo_state, "_CACHED", 2)

    async def body():
        world = World()
        alice = await world.person(ALICE, namespaces=ONLY_TWO)
        friends = [
            await world.person(f"friend{n}@f.example", namespaces=ONLY_TWO) for n in range(4)
        ]
        for text in (b"1", b"2"):
            for friend in friends:
                (sealed,) = await alice.write(text, friend.jid)
                assert friend.omemo.open_sealed(sealed, ALICE).plaintext == text
                assert [d.id for d in alice.omemo._state.devices(friend.jid)] == [friend.id]
        assert len(alice.omemo._lookup._arranged) <= 2
        assert len(alice.omemo._state._cache) <= 2
        assert len(alice.omemo._state._devices) <= 2

    asyncio.run(body())


def test_of_changed_keys_the_latest_are_remembered():
    async def body():
        world = World()
        alice = await world.person(ALICE, namespaces=BOTH)
        lookup = alice.omemo._lookup
        most = omemo_lookup._MAX_CHANGED
        for number in range(1, most + 3):
            lookup.note_changed(Device(namespace=OMEMO, jid=BOB, id=number, identity_key=bytes(32)))
        assert list(lookup.changed) == [(BOB, number) for number in range(3, most + 3)]

    asyncio.run(body())
