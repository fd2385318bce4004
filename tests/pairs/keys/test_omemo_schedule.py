"""Two people with two devices each, over a network that loses, delays, doubles and repeats."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from securecall.errors import AlreadyOpened, CannotOpen, NotForUs
from securecall.keys.omemo_legacy import OmemoLegacy
from securecall.keys.omemo_session import MAX_SESSIONS, MAX_SKIPPED
from securecall.keys.omemo_two import OmemoTwo
from securecall.keys.omemo_values import OMEMO, OMEMO_LEGACY, Sealed
from securecall.testing.omemo_world import Person, World

ALICE, BOB = "alice@a.example", "bob@b.example"
SCHEMES = {OMEMO: OmemoTwo, OMEMO_LEGACY: OmemoLegacy}


@dataclass
class Used:
    """Every message key that encrypted something, and how often."""

    keys: Counter[bytes] = field(default_factory=Counter)

    def watch(self, monkeypatch: pytest.MonkeyPatch, namespace: str) -> None:
        aead = SCHEMES[namespace].aead
        encrypt = aead.encrypt

        async def counting(plaintext: bytes, key: bytes, associated_data: bytes) -> bytes:
            self.keys[key] += 1
            return await encrypt(plaintext, key, associated_data)

        monkeypatch.setattr(aead, "encrypt", staticmethod(counting))


@dataclass
class Channel:
    """What is under way to one device; each entry is a sender and a message."""

    chance: random.Random
    reader: Person
    waiting: list[tuple[str, Sealed]] = field(default_factory=list)
    seen: list[tuple[str, Sealed]] = field(default_factory=list)
    opened: Counter[bytes] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def put(self, sender: str, sealed: Sealed) -> bool:
        if self.chance.random() < 0.03:
            return False
        self.waiting.append((sender, sealed))
        if self.chance.random() < 0.05:
            self.waiting.append((sender, sealed))
        return True

    def take(self, everything: bool = False) -> None:
        while self.waiting and (everything or self.chance.random() < 0.8):
            place = 0 if self.chance.random() < 0.7 else self.chance.randrange(len(self.waiting))
            self.receive(*self.waiting.pop(place))
        if self.seen and self.chance.random() < 0.05:
            self.receive(*self.chance.choice(self.seen))

    def receive(self, sender: str, sealed: Sealed) -> None:
        try:
            opened = self.reader.omemo.open_sealed(sealed, sender)
        except (AlreadyOpened, CannotOpen, NotForUs) as e:
            self.refused[type(e).__name__] += 1
            return
        self.seen.append((sender, sealed))
        if opened.plaintext is not None:
            self.opened[opened.plaintext] += 1


async def play(namespace: str, count: int, seed: int) -> None:
    chance = random.Random(seed)
    world = World()
    people = [await world.person(j, namespaces=(namespace,)) for j in (ALICE, ALICE, BOB, BOB)]
    for person in people:
        for jid in (ALICE, BOB):
            await person.omemo.devices_changed(namespace, jid, world.server.lists[namespace, jid])
    for writer in people:  # published in between, so that no two take the same prekey
        (sealed,) = await writer.write(b"first", BOB if writer.jid == ALICE else ALICE)
        for reader in people:
            if reader is not writer:
                reader.omemo.open_sealed(sealed, writer.jid)
                await reader.omemo.maintain()
        world.deliver(*people)
    channels = {person.id: Channel(chance, person) for person in people}
    expected: dict[int, set[bytes]] = {number: set() for number in channels}
    for number in range(count):
        writer = chance.choice(people)
        text = b"message %d" % number
        recipients = await writer.omemo.prepare([BOB if writer.jid == ALICE else ALICE])
        (sealed,) = writer.omemo.seal({namespace: text}, recipients)
        assert {key.id for key in sealed.keys} == set(channels) - {writer.id}
        for key in sealed.keys:
            if channels[key.id].put(writer.jid, sealed):
                expected[key.id].add(text)
        for channel in channels.values():
            channel.take()
        if chance.random() < 0.2:
            await chance.choice(people).omemo.maintain()
            waiting, world.server.sent = world.server.sent, []
            for sender, empty, _ in waiting:
                channels[empty.keys[0].id].put(sender, empty)
    for channel in channels.values():
        channel.take(everything=True)
    for number, channel in channels.items():
        assert set(channel.opened) == expected[number]
        assert set(channel.opened.values()) == {1}
        assert channel.refused["AlreadyOpened"] > 0
    for person in people:
        for name, data in person.store.kept.items():
            if "/session/" in name:
                assert len(data) < MAX_SESSIONS * (MAX_SKIPPED * 72 + 2000)


@pytest.mark.parametrize("namespace", [OMEMO, OMEMO_LEGACY])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_message_that_arrives_opens_exactly_once(namespace, seed, monkeypatch):
    used = Used()
    used.watch(monkeypatch, namespace)
    asyncio.run(play(namespace, 250, seed))
    assert len(used.keys) > 700
    assert set(used.keys.values()) == {1}


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("namespace", [OMEMO, OMEMO_LEGACY])
def test_ten_thousand_messages(namespace, monkeypatch):
    used = Used()
    used.watch(monkeypatch, namespace)
    asyncio.run(play(namespace, 10_000, 7))
    assert set(used.keys.values()) == {1}


@pytest.mark.parametrize("namespace", [OMEMO, OMEMO_LEGACY])
def test_control_what_leaves_before_its_transaction_commits_uses_a_key_twice(
    namespace, monkeypatch
):
    # Why the head of keys/omemo.py forbids it, and proof that the counting above would see it.
    used = Used()
    used.watch(monkeypatch, namespace)

    async def body():
        world = World()
        alice = await world.person(ALICE, namespaces=(namespace,))
        bob = await world.person(BOB, namespaces=(namespace,))
        for sealed in await alice.write(b"hello", BOB):
            bob.omemo.open_sealed(sealed, ALICE)
        with alice.store.rolled_back():
            (leaked,) = await alice.write(b"left too early", BOB)
        (sealed,) = await alice.write(b"after a restart", BOB)
        assert leaked != sealed

    asyncio.run(body())
    assert max(used.keys.values()) == 2
