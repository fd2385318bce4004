"""What OMEMO's upkeep leaves alone: crowds, and devices that show no keys of theirs."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from securecall.errors import CannotOpen
from securecall.keys.omemo_upkeep import _MAX_PENDING
from securecall.keys.omemo_values import OMEMO
from securecall.testing.omemo_world import ONLY_TWO, Person, World

ALICE, BOB, MALLORY = "alice@a.example", "bob@b.example", "mallory@m.example"


async def broken(world: World) -> tuple[Person, Person]:
    """Two people; Bob lost his session and could not open what Alice wrote."""
    alice, bob = [await world.person(jid, namespaces=ONLY_TWO) for jid in (ALICE, BOB)]
    for writer, reader in ((alice, bob), (bob, alice)):
        for sealed in await writer.write(b"hello", reader.jid):
            reader.omemo.open_sealed(sealed, writer.jid)
    bob.omemo.revoke(ALICE, alice.id)
    for sealed in await alice.write(b"lost", BOB):
        with pytest.raises(CannotOpen):
            bob.omemo.open_sealed(sealed, ALICE)
    return alice, bob


def gone(world: World, place: tuple[str, str, int]) -> None:
    del world.server.bundles[place]


def of_somebody_else(world: World, place: tuple[str, str, int]) -> None:
    others = next(b for (_, jid, _), b in world.server.bundles.items() if jid == MALLORY)
    world.server.bundles[place] = others


def under_another_key(world: World, place: tuple[str, str, int]) -> None:
    others = next(b for (_, jid, _), b in world.server.bundles.items() if jid == MALLORY)
    world.server.bundles[place] = replace(others, jid=place[1], id=place[2])


def not_signed(world: World, place: tuple[str, str, int]) -> None:
    bundle = world.server.bundles[place]
    world.server.bundles[place] = replace(bundle, signature=bytes(64))


@pytest.mark.parametrize("shown", [gone, of_somebody_else, under_another_key, not_signed])
def test_no_session_is_begun_with_keys_that_are_not_the_devices(shown):
    async def body():
        world = World()
        await world.person(MALLORY, namespaces=ONLY_TWO)
        alice, bob = await broken(world)
        place = (OMEMO, ALICE, alice.id)
        good = world.server.bundles[place]
        shown(world, place)
        await bob.omemo.maintain()
        assert world.server.sent == []
        assert not bob.omemo.is_due, "once is enough; the next message of hers asks again"
        world.server.bundles[place] = good
        world.now += 3601
        for sealed in await alice.write(b"lost too", BOB):
            with pytest.raises(CannotOpen):
                bob.omemo.open_sealed(sealed, ALICE)
        await bob.omemo.maintain()
        assert world.deliver(alice) == 1, "control: with its own keys there is a session again"

    asyncio.run(body())


def test_a_crowd_that_waits_is_bounded_and_who_came_first_is_served():
    async def body():
        world = World()
        alice, bob = await broken(world)
        upkeep = bob.omemo._upkeep
        for number in range(1, _MAX_PENDING + 50):
            upkeep.owe_session((OMEMO, MALLORY, number))
            upkeep.owe_reply((OMEMO, MALLORY, number))
        assert len(upkeep._broken) == _MAX_PENDING
        assert len(upkeep._replies) == _MAX_PENDING
        asked = len(world.server.fetched)
        await bob.omemo.maintain()
        assert world.deliver(alice) == 1
        strangers = [f for f in world.server.fetched[asked:] if MALLORY in f]
        assert strangers == [], "strangers are asked nothing"
        assert not bob.omemo.is_due

    asyncio.run(body())
