"""K5: an old backup is restored while the ratchets went on; no key may serve twice.

The control is what people do instead: a copy of the whole folder. Both then encrypt with the same
key of the same ratchet.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping

import pytest

from securecall.errors import AlreadyOpened, StoreCorrupt
from securecall.keys.omemo_legacy import OmemoLegacy
from securecall.keys.omemo_two import OmemoTwo
from securecall.keys.omemo_values import OMEMO, OMEMO_LEGACY, Sealed
from securecall.secret import Secret
from securecall.store.backup import restore, write_backup
from securecall.store.history import FILE as HISTORY
from securecall.store.history import ChatHistory
from securecall.store.lock import MINIMUM_COST
from securecall.store.sqlite import Store
from securecall.testing.omemo_world import ONLY_LEGACY, ONLY_TWO, Person, World
from tests.forge_store import passphrase

ALICE, BOB = "alice@a.example", "bob@b.example"
SCHEMES = {OMEMO: OmemoTwo, OMEMO_LEGACY: OmemoLegacy}
SAVED = Secret("for the backup")
EACH = pytest.mark.parametrize("namespaces", [ONLY_TWO, ONLY_LEGACY])


class Ratchets:
    """Where an account keeps its ratchets: among the values of the history."""

    def __init__(self, history: ChatHistory) -> None:
        self.history = history

    def load(self, key: str) -> bytes | None:
        return self.history.value(f"omemo {ALICE} {key}")

    def save(self, changes: Mapping[str, bytes | None]) -> None:
        self.history.set_values({f"omemo {ALICE} {key}": data for key, data in changes.items()})


async def write(person: Person, text: bytes, namespaces) -> Sealed:
    recipients = await person.omemo.prepare([BOB])
    (sealed,) = person.omemo.seal(dict.fromkeys(namespaces, text), recipients)
    return sealed


def place(sealed: Sealed) -> tuple[bytes, int]:
    """Which key of which ratchet a message was encrypted with: public key, and number."""
    (key,) = [key for key in sealed.keys if key.jid in (BOB, "")]
    header = SCHEMES[sealed.namespace]().parse_key(key.data, kex=key.kex).message.header
    return header.ratchet_pub, header.sending_chain_length


async def begun(world: World, folder, namespaces) -> tuple[Person, Person, Store]:
    """Alice and Bob have written to each other; Alice's ratchets lie in her folder."""
    store = Store.create(folder, passphrase(), cost=MINIMUM_COST)
    alice = await world.person(ALICE, namespaces=namespaces, store=Ratchets(store.open_history()))
    bob = await world.person(BOB, namespaces=namespaces)
    bob.omemo.open_sealed(await write(alice, b"hello", namespaces), ALICE)
    recipients = await bob.omemo.prepare([ALICE])
    (answer,) = bob.omemo.seal(dict.fromkeys(namespaces, b"hello you"), recipients)
    alice.omemo.open_sealed(answer, BOB)
    return alice, bob, store


@EACH
def test_a_restored_backup_uses_no_key_again(tmp_path, namespaces):
    async def body():
        world = World()
        alice, bob, store = await begun(world, tmp_path / "alice", namespaces)
        write_backup(store, tmp_path / "saved", SAVED, cost=MINIMUM_COST)
        went_on = [await write(alice, b"%d" % n, namespaces) for n in range(3)]
        for sealed in went_on:
            bob.omemo.open_sealed(sealed, ALICE)
        restore(
            tmp_path / "saved",
            tmp_path / "again",
            backup_passphrase=SAVED,
            passphrase=passphrase(),
            cost=MINIMUM_COST,
        )
        restored = Store.open(tmp_path / "again", passphrase())
        assert restored.retired_omemo(ALICE) == {alice.id}
        assert not restored.retired_omemo(BOB)
        again = await world.person(
            ALICE,
            namespaces=namespaces,
            store=Ratchets(restored.open_history()),
            retired=restored.retired_omemo(ALICE),
        )
        assert again.id != alice.id
        keys = {device.identity_key for device in alice.omemo.own.values()}
        assert keys.isdisjoint(device.identity_key for device in again.omemo.own.values())
        first = await write(again, b"it is me", namespaces)
        assert place(first)[0] not in {place(sealed)[0] for sealed in went_on}
        assert bob.omemo.open_sealed(first, ALICE).plaintext == b"it is me"
        # whoever has the old device gets no more of what is written
        assert set(world.server.lists[namespaces[0], ALICE]) == {again.id}
        assert (namespaces[0], ALICE, again.id) in world.server.bundles
        for each in (store, restored):
            each.close()

    asyncio.run(body())


@EACH
def test_control_a_copy_of_the_folder_encrypts_with_the_same_key(tmp_path, namespaces):
    async def body():
        world = World()
        _, bob, store = await begun(world, tmp_path / "alice", namespaces)
        store.close()
        shutil.copytree(tmp_path / "alice", tmp_path / "copy")
        sent, stores = [], []
        for name in ("alice", "copy"):
            each = Store.open(tmp_path / name, passphrase())
            person = await world.person(
                ALICE, namespaces=namespaces, store=Ratchets(each.open_history())
            )
            sent.append(await write(person, name.encode(), namespaces))
            stores.append(each)
        assert place(sent[0]) == place(sent[1])
        assert sent[0].payload != sent[1].payload  # two messages, one key of the ratchet
        assert bob.omemo.open_sealed(sent[0], ALICE).plaintext == b"alice"
        with pytest.raises(AlreadyOpened):
            bob.omemo.open_sealed(sent[1], ALICE)
        for each in stores:
            each.close()

    asyncio.run(body())


def test_an_old_history_beside_the_newest_key_store_is_refused(tmp_path):
    store = Store.create(tmp_path / "alice", passphrase(), cost=MINIMUM_COST)
    store.open_history().set_value("omemo x", b"old")
    store.close()
    old = (tmp_path / "alice" / HISTORY).read_bytes()
    store = Store.open(tmp_path / "alice", passphrase())
    store.open_history().set_value("omemo x", b"new")
    store.close()
    (tmp_path / "alice" / HISTORY).write_bytes(old)
    store = Store.open(tmp_path / "alice", passphrase())
    with pytest.raises(StoreCorrupt):
        store.open_history()
    store.close()
