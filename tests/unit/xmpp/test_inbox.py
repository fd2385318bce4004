"""A stanza that was opened is known again, whatever came between."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from xml.etree.ElementTree import Element

import pytest

from securecall.chat.message import Again, Delivered, DeviceTrust, Unreadable, Via
from securecall.keys.omemo_values import OMEMO
from securecall.testing.omemo_world import BOTH, ONLY_LEGACY, World
from securecall.xmpp.envelope import build_envelope
from securecall.xmpp.inbox import Inbox
from securecall.xmpp.jid import parse_jid
from securecall.xmpp.omemo import build_encrypted
from securecall.xmpp.unwrapped import Unwrapped
from tests.memory_history import MemoryHistory

ALICE, BOB = "alice@clinic.example", "bob@clinic.example"
TURNS = 70  # more than the ratchet remembers chains


def receipt(sealed, world):
    """The stanza as bob's server hands it over."""
    message = Element("{jabber:client}message")
    message.append(build_encrypted(sealed))
    writer = parse_jid(f"{ALICE}/desk")
    return Unwrapped(
        message=message,
        via=Via.ARCHIVE,
        conversation=writer.address,
        sender=writer.address,
        writer=writer,
        id="1",
        sent=world.now,
    )


@pytest.mark.parametrize("remembered", [True, False])
def test_what_was_opened_long_ago_is_no_broken_message(remembered):
    async def body():
        world = World()
        alice, bob = await world.person(ALICE), await world.person(BOB)
        history = MemoryHistory()
        inbox = Inbox(bob.omemo, lambda device: DeviceTrust.TRUSTED, history)

        async def write(number):
            content = Element("{urn:xmpp:receipts}received", id=str(number))
            plain = build_envelope(
                [content], sender=parse_jid(ALICE), to=parse_jid(BOB), unix=world.now, padding=""
            )
            (sealed,) = [s for s in await alice.write(plain, BOB) if s.namespace == OMEMO]
            return receipt(sealed, world)

        found = []
        for number in range(TURNS):
            found.append(await write(number))
            (arrival,) = inbox.read(found[-1], now=world.now)
            assert isinstance(arrival.said, Delivered)
            for sealed in await bob.write(b"back", ALICE):  # so the ratchet turns
                alice.omemo.open_sealed(sealed, BOB)
        if not remembered:  # the control: the ratchet alone takes the oldest for broken
            inbox = Inbox(bob.omemo, lambda device: DeviceTrust.TRUSTED, MemoryHistory())
        kinds = {
            type(arrival.said) for each in found for arrival in inbox.read(each, now=world.now)
        }
        assert kinds == ({Again} if remembered else {Again, Unreadable})

    asyncio.run(body())


@pytest.mark.parametrize("via", [Via.LIVE, Via.ARCHIVE])
@pytest.mark.parametrize("namespaces", [BOTH[:1], ONLY_LEGACY], ids=["2", "legacy"])
def test_what_says_nothing_and_cannot_be_opened_is_no_message(namespaces, via):
    async def body():
        world = World()
        alice, bob, desk = [
            await world.person(jid, namespaces=namespaces) for jid in (ALICE, BOB, BOB)
        ]
        for _ in range(2):  # so that the session is confirmed
            for reader, writer in ((bob, alice), (alice, bob)):
                (sealed,) = await writer.write(b"x", reader.jid)
                reader.omemo.open_sealed(sealed, writer.jid)
        bob.omemo.revoke(ALICE, alice.id)
        await bob.omemo.maintain()
        (sealed,) = await alice.write(b"x", BOB)
        silent = replace(sealed, payload=b"")
        for person, there_are_words in (
            (bob, "no session with this device fits"),
            (desk, "not encrypted for this device"),
        ):
            keys = tuple(key for key in sealed.keys if key.id == bob.id)
            inbox = Inbox(person.omemo, lambda device: DeviceTrust.TRUSTED, MemoryHistory())
            found = receipt(replace(silent, keys=keys), world)
            assert inbox.read(replace(found, via=via), now=world.now) == ()
            # the control: somebody's words are missed
            found = replace(receipt(replace(sealed, keys=keys), world), via=Via.LIVE)
            (arrival,) = inbox.read(found, now=world.now)
            assert there_are_words in arrival.said.why
        assert bob.omemo.is_due  # a new session is opened all the same

    asyncio.run(body())


def test_a_copy_of_what_this_very_device_wrote_is_no_broken_message():
    """A server that took it late sends it to the session that came after."""

    async def body():
        world = World()
        alice, _ = await world.person(ALICE), await world.person(BOB)
        inbox = Inbox(alice.omemo, lambda device: DeviceTrust.TRUSTED, MemoryHistory())
        (sealed,) = [s for s in await alice.write(b"", BOB) if s.namespace == OMEMO]
        copied = replace(receipt(sealed, world), own=True, via=Via.CARBON)
        (arrival,) = inbox.read(copied, now=world.now)
        assert arrival.said == Again()
        # the control: by another device of ours, and not for this one
        other = replace(copied, message=receipt(replace(sealed, sender=9), world).message)
        (arrival,) = inbox.read(other, now=world.now)
        assert isinstance(arrival.said, Unreadable)

    asyncio.run(body())
