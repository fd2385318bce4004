"""What strangers, or a server in somebody's name, get of us by OMEMO before our user acted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from securecall.address import parse_address
from securecall.chat.message import Text
from securecall.devices import Devices
from securecall.errors import CannotOpen
from securecall.keys.omemo import Omemo
from securecall.keys.omemo_lookup import Lookup
from securecall.keys.omemo_upkeep import Upkeep
from securecall.keys.omemo_values import OMEMO, DeviceTrust
from securecall.messaging import Messaging
from securecall.testing.omemo_world import World
from tests.forge_devices import contacts_at
from tests.forge_messaging import composed
from tests.memory_history import MemoryHistory

pytestmark = pytest.mark.attack

ALICE, BOB = "alice@a.example", "bob@b.example"
WHO = parse_address(f"xmpp:{BOB}")
RECEIVES = {DeviceTrust.TRUSTED, DeviceTrust.VERIFIED}


@pytest.fixture
def contacts(tmp_path):
    found = contacts_at(tmp_path)
    yield found
    found.store.close()


class Scene:
    """Alice, with what she decided about devices, and one device that writes in Bob's name."""

    def __init__(self, contacts) -> None:
        self.world = World()
        self.devices = Devices(contacts)
        self.sent: list[object] = []

    async def begin(self) -> None:
        self.alice = await self.world.person(ALICE)
        self.bob = await self.world.person(BOB)
        self.alice.omemo._trust = self.devices.trust_of
        for part in (self.alice.omemo._lookup, self.alice.omemo._upkeep):
            part._trust = self.devices.trust_of
        self.world.server.fetched.clear()

    def messaging(self, tell=lambda _: None) -> Messaging:
        session = SimpleNamespace(
            send=lambda stanza, taken=None, again=None: self.sent.append(stanza)
        )
        own, history = parse_address(f"xmpp:{ALICE}"), MemoryHistory()
        return composed(own, session, history, self.alice.omemo, self.devices, new=tell).messaging

    async def bob_writes(self, text=b"hello"):
        sealed, *_ = await self.bob.write(text, ALICE)
        self.world.server.fetched.clear()
        return sealed

    @property
    def asked(self) -> set[str]:
        """Whose servers Alice asked anything."""
        return {one[1] for one in self.world.server.fetched} - {ALICE}


@pytest.mark.parametrize("guarded", [True, False])
def test_a_receipt_that_a_stranger_asks_for_tells_them_nothing(contacts, monkeypatch, guarded):
    """Not by what is asked of their server, either: it would learn that we are here, and when."""

    async def work() -> None:
        scene = Scene(contacts)
        await scene.begin()
        scene.alice.omemo.open_sealed(await scene.bob_writes(), BOB)
        if not guarded:  # as it was: nothing is sent to who is not trusted, but all is asked
            monkeypatch.setattr(Devices, "trust_of", lambda self, device: DeviceTrust.TRUSTED)
            monkeypatch.setattr(
                scene.alice.omemo._lookup, "_trust", lambda device: DeviceTrust.UNDECIDED
            )
        messaging = scene.messaging()
        messaging._ledger.receipts.owe(WHO, "m1")
        await messaging.acknowledge(WHO)
        assert scene.asked == (set() if guarded else {BOB})
        assert not scene.sent or not guarded

    asyncio.run(work())


@pytest.mark.parametrize("guarded", [True, False])
def test_a_message_that_cannot_be_opened_makes_us_ask_nothing_of_a_stranger(
    contacts, monkeypatch, guarded
):
    if not guarded:  # as it was
        monkeypatch.setattr(Upkeep, "_is_trusted", lambda self, jid, number: True)

    async def work() -> None:
        scene = Scene(contacts)
        await scene.begin()
        scene.alice.omemo.open_sealed(await scene.bob_writes(), BOB)
        scene.alice.omemo.revoke(BOB, scene.bob.id)
        scene.bob.omemo._state.forget()
        with pytest.raises(CannotOpen):
            sealed = await scene.bob_writes()
            keys = tuple(
                SimpleNamespace(jid=k.jid, id=k.id, data=k.data[:-1] + b"\x00", kex=k.kex)
                for k in sealed.keys
            )
            scene.alice.omemo.open_sealed(
                SimpleNamespace(
                    namespace=sealed.namespace,
                    sender=sealed.sender,
                    keys=keys,
                    iv=sealed.iv,
                    payload=sealed.payload,
                ),
                BOB,
            )
        await scene.alice.omemo.maintain()
        assert scene.asked == (set() if guarded else {BOB})

    asyncio.run(work())


@pytest.mark.parametrize("guarded", [True, False])
def test_lists_that_strangers_publish_are_not_kept(contacts, monkeypatch, guarded):
    """A server invents as many people as it likes, and a list of 100 devices for each."""
    if not guarded:  # as it was
        monkeypatch.setattr(Lookup, "follows", lambda self, namespace, jid: True)

    async def work() -> None:
        scene = Scene(contacts)
        await scene.begin()
        before = len(scene.alice.store.kept)
        for number in range(50):
            await scene.alice.omemo.devices_changed(
                OMEMO, f"x{number}@evil.example", dict.fromkeys(range(1, 101), "label")
            )
        assert len(scene.alice.store.kept) - before == (0 if guarded else 50)
        # of whom we had to do with, changes are taken
        scene.alice.omemo.open_sealed(await scene.bob_writes(), BOB)
        await scene.alice.omemo.devices_changed(OMEMO, BOB, {scene.bob.id: "", 5: ""})
        assert scene.alice.omemo._state.book(BOB).is_listed(5)

    asyncio.run(work())


@pytest.mark.parametrize("guarded", [True, False])
def test_who_wrote_without_being_listed_is_not_trusted_for_having_been_there(
    contacts, monkeypatch, guarded
):
    """The server wrote in Bob's name from a device that it lists only after our user wrote."""
    if not guarded:  # as it was
        monkeypatch.setattr(Omemo, "listed", Omemo.devices)

    async def work() -> None:
        scene = Scene(contacts)
        await scene.begin()
        servers = await scene.world.person(BOB)
        scene.world.server.lists[OMEMO, BOB] = {scene.bob.id: ""}
        for namespace, jid in tuple(scene.world.server.lists):
            if jid == BOB:
                scene.world.server.lists[namespace, jid].pop(servers.id, None)
        sealed, *_ = await servers.write(b"hello, it is me", ALICE)
        opened = scene.alice.omemo.open_sealed(sealed, BOB)
        messaging = scene.messaging()
        _ = await messaging.write(WHO, Text(body="hello Bob"), plain=False)
        trust = scene.devices.trust_of(opened.device)
        assert (trust in RECEIVES) is not guarded
        genuine = scene.bob.omemo.own[OMEMO]
        assert scene.devices.trust_of(genuine) in RECEIVES

    asyncio.run(work())


@pytest.mark.parametrize("guarded", [True, False])
def test_a_key_that_a_server_swapped_is_told_though_others_are_in_order(
    contacts, monkeypatch, guarded
):
    """K1: it gets nothing either way; but nobody was told, as long as one device was left."""
    if not guarded:  # as it was
        monkeypatch.setattr(Omemo, "changed", lambda self, jid: ())

    async def work() -> None:
        scene = Scene(contacts)
        await scene.begin()
        phone, servers = await scene.world.person(BOB), await scene.world.person("eve@e.example")
        told: list[object] = []
        messaging = scene.messaging(told.append)
        _ = await messaging.write(WHO, Text(body="hello Bob"), plain=False)
        assert not told
        scene.alice.omemo.revoke(BOB, phone.id)  # its session is lost, as after a restored backup
        for (namespace, jid, _), bundle in tuple(scene.world.server.bundles.items()):
            if jid == servers.jid:
                swapped = replace(bundle, jid=BOB, id=phone.id)
                scene.world.server.bundles[namespace, BOB, phone.id] = swapped
        _ = await messaging.write(WHO, Text(body="are you there?"), plain=False)
        _ = await messaging.write(WHO, Text(body="hello?"), plain=False)
        key = servers.omemo.own[OMEMO].identity_key
        assert [one.identity_key for one in told] == ([key] if guarded else [])

    asyncio.run(work())
