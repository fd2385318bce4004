"""K5: an old backup is restored while ratchets went on, and after a device was withdrawn."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from securecall.errors import AlreadyOpened, IdentityMismatch, SecurityError, StoreCorrupt
from securecall.events import OwnKeysChanged
from securecall.keys.identity import RootKey
from securecall.keys.omemo_legacy import OmemoLegacy
from securecall.keys.omemo_two import OmemoTwo
from securecall.keys.omemo_values import OMEMO, OMEMO_LEGACY, Sealed
from securecall.keys.statement import Statement, build_statement, merge, parse_statement
from securecall.own_identity import OwnIdentity
from securecall.secret import Secret
from securecall.store.backup import restore, write_backup
from securecall.store.history import FILE as HISTORY
from securecall.store.history import ChatHistory
from securecall.store.sqlite import Store
from securecall.store.vault import MINIMUM_COST
from securecall.testing.attacks.outcome import Attack, Outcome, control, named, ours
from securecall.testing.omemo_world import ONLY_LEGACY, ONLY_TWO, Person, World

NOW: Final = 1_764_000_000
SECRET: Final = Secret("x")
ALICE: Final = "alice@a.example"
BOB: Final = "bob@b.example"
_SCHEMES: Final = {OMEMO: OmemoTwo, OMEMO_LEGACY: OmemoLegacy}

Namespaces = tuple[str, ...]


def restored(folder: Path) -> Store:
    """The new device in `folder / "again"`, of the backup that is `folder / "saved"`."""
    restore(
        folder / "saved",
        folder / "again",
        backup_passphrase=SECRET,
        passphrase=SECRET,
        cost=MINIMUM_COST,
    )
    return Store.open(folder / "again", SECRET)


# -- ratchets -------------------------------------------------------------------------------------


class _Ratchets:
    """Where an account keeps its ratchets: among the values of the history."""

    def __init__(self, store: Store) -> None:
        self._history: ChatHistory = store.open_history()

    def load(self, key: str) -> bytes | None:
        return self._history.value(f"omemo {ALICE} {key}")

    def save(self, changes: Mapping[str, bytes | None]) -> None:
        self._history.set_values({f"omemo {ALICE} {key}": data for key, data in changes.items()})


async def _alice(world: World, store: Store, namespaces: Namespaces) -> Person:
    return await world.person(
        ALICE,
        namespaces=namespaces,
        store=_Ratchets(store),
        retired=store.retired_omemo(ALICE),
    )


async def _write(person: Person, text: bytes, to: str = BOB) -> Sealed:
    (sealed,) = await person.write(text, to)
    return sealed


def _place(sealed: Sealed) -> tuple[bytes, int]:
    """Which key of which ratchet a message was encrypted with: public key, and number."""
    (key,) = [key for key in sealed.keys if key.jid in (BOB, "")]
    header = _SCHEMES[sealed.namespace]().parse_key(key.data, kex=key.kex).message.header
    return header.ratchet_pub, header.sending_chain_length


async def _begun(
    world: World, folder: Path, namespaces: Namespaces
) -> tuple[Person, Person, Store]:
    """Alice and Bob have written to each other; Alice's ratchets lie in her folder."""
    store = Store.create(folder, SECRET, cost=MINIMUM_COST)
    alice = await _alice(world, store, namespaces)
    bob = await world.person(BOB, namespaces=namespaces)
    _ = bob.omemo.open_sealed(await _write(alice, b"hello"), ALICE)
    _ = alice.omemo.open_sealed(await _write(bob, b"hello you", ALICE), BOB)
    return alice, bob, store


async def _copied(folder: Path) -> Outcome:
    """What people do instead of a backup: a copy of the folder. Both go on with one ratchet."""
    outcome, same = Outcome(), 0
    for number, namespaces in enumerate((ONLY_TWO, ONLY_LEGACY)):
        world, home, copy = World(), folder / f"alice-{number}", folder / f"copy-{number}"
        _, bob, store = await _begun(world, home, namespaces)
        store.close()
        _ = shutil.copytree(home, copy)
        sent: list[Sealed] = []
        for place in (home, copy):
            each = Store.open(place, SECRET)
            sent.append(await _write(await _alice(world, each, namespaces), place.name.encode()))
            each.close()
        same += _place(sent[0]) == _place(sent[1]) and sent[0].payload != sent[1].payload
        _ = bob.omemo.open_sealed(sent[0], ALICE)
        try:
            _ = bob.omemo.open_sealed(sent[1], ALICE)
            outcome.problems.append("the second one opens, too")
        except AlreadyOpened:
            pass  # lost: it came as what was there already
    outcome.demand(same == 2, "they used different keys")
    outcome.got = "two messages under one key of the ratchet, in both OMEMOs; one is lost"
    return outcome


async def _used_once(namespaces: Namespaces, folder: Path) -> Outcome:
    """Three messages after the backup, then one of the restored device."""
    outcome, world = Outcome(got="other keys, another device; the old one is off the list"), World()
    alice, bob, store = await _begun(world, folder / "alice", namespaces)
    write_backup(store, folder / "saved", SECRET, cost=MINIMUM_COST)
    went_on = [await _write(alice, b"%d" % n) for n in range(3)]
    for sealed in went_on:
        _ = bob.omemo.open_sealed(sealed, ALICE)
    after = restored(folder)
    outcome.demand(after.retired_omemo(ALICE) == {alice.id}, "the old device is not remembered")
    outcome.demand(not after.retired_omemo(BOB), "Bob's device is taken for one of hers")
    again = await _alice(world, after, namespaces)
    outcome.demand(again.id != alice.id, "it has the old device's number")
    keys = {device.identity_key for device in alice.omemo.own.values()}
    fresh = keys.isdisjoint(device.identity_key for device in again.omemo.own.values())
    outcome.demand(fresh, "it has the old device's identity key")
    first = await _write(again, b"it is me")
    used = {_place(sealed)[0] for sealed in went_on}
    outcome.demand(_place(first)[0] not in used, "a key of the ratchet is used twice")
    read = bob.omemo.open_sealed(first, ALICE).plaintext
    outcome.demand(read == b"it is me", "Bob cannot read it")
    # whoever has the old device gets no more of what is written
    listed = set(world.server.lists[namespaces[0], ALICE])
    outcome.demand(listed == {again.id}, "the old device is listed")
    outcome.demand(
        (namespaces[0], ALICE, again.id) in world.server.bundles, "nobody can write to her"
    )
    for each in (store, after):
        each.close()
    return outcome


async def _old_history(folder: Path) -> Outcome:
    """Ratchets of last week, put beside the keys of today."""
    home, outcome = folder / "alice", Outcome(got="nothing of it is loaded")
    Store.create(home, SECRET, cost=MINIMUM_COST).close()
    kept: list[bytes] = []
    for value in (b"old", b"new"):
        store = Store.open(home, SECRET)
        store.open_history().set_value("omemo x", value)
        store.close()
        kept.append((home / HISTORY).read_bytes())
    _ = (home / HISTORY).write_bytes(kept[0])
    return _put_back(outcome, home)


def _put_back(outcome: Outcome, home: Path) -> Outcome:
    """Judge whether a history of before is refused, which lies where the newer one did."""
    store = Store.open(home, SECRET)
    try:
        _ = store.open_history()
        outcome.problems.append("the history of before was believed")
    except StoreCorrupt as e:
        outcome.refusals = (named(e),)
    finally:
        store.close()
    return outcome


async def _forgotten(folder: Path) -> Outcome:
    """A history that was given up, and then put back, beside the new one that began."""
    outcome, world = Outcome(got="another device; the history before opens no more"), World()
    home = folder / "alice"
    alice, bob, store = await _begun(world, home, ONLY_TWO)
    old = alice.id
    store.close()
    before = (home / HISTORY).read_bytes()
    store = Store.open(home, SECRET)
    store.retire_omemo([(ALICE, old)])
    store.forget_history()
    again = await _alice(world, store, ONLY_TWO)
    read = bob.omemo.open_sealed(await _write(again, b"it is me"), ALICE).plaintext
    outcome.demand(read == b"it is me", "Bob cannot read the new device")
    await bob.omemo.devices_changed(OMEMO, ALICE, world.server.lists[OMEMO, ALICE])
    _ = again.omemo.open_sealed(await _write(bob, b"hello again", ALICE), BOB)
    outcome.demand(again.id != old, "it has the old device's number")
    outcome.demand(set(world.server.lists[OMEMO, ALICE]) == {again.id}, "the old device is listed")
    store.close()
    _ = (home / HISTORY).write_bytes(before)  # its number is higher than the new one's
    return _put_back(outcome, home)


# -- devices --------------------------------------------------------------------------------------


class House:
    """Devices of one person on one clock, which goes on by a second with each look at it.

    Attributes:
        stores: Of all of them, in the order they came.
        told: What any of them said of our keys.
        now: Unix seconds.
    """

    def __init__(self, folder: Path) -> None:
        """Begin without any, in this folder."""
        self.stores: list[Store] = []
        self.told: list[OwnKeysChanged] = []
        self.now = NOW
        self._folder = folder

    def unix(self) -> float:
        """The clock."""
        self.now += 1
        return float(self.now)

    def begin(self, store: Store) -> OwnIdentity:
        """The identity in a store."""
        self.stores.append(store)
        identity = OwnIdentity(store, unix=self.unix)
        _ = identity.watch(self.told.append)
        return identity

    def device(self, name: str, root: RootKey | None = None) -> OwnIdentity:
        """A new device; with a root of its own unless one is given."""
        place = self._folder / name
        return self.begin(Store.create(place, SECRET, root=root, device_id=name, cost=MINIMUM_COST))

    def join(self, desk: OwnIdentity, name: str) -> OwnIdentity:
        """A new device, enrolled by the one that holds the root."""
        found = self.device(name, RootKey.known(desk.root_public))
        _ = found.take(desk.enrol(found.request()))
        return found

    def read(self, raw: bytes) -> Statement:
        """A statement, checked."""
        return parse_statement(raw, unix=self.now + 60)

    def contact(self, *seen: bytes) -> Statement:
        """What somebody believes who was shown these statements, in this order."""
        known = self.read(seen[0])
        for raw in seen[1:]:
            known = merge(known, self.read(raw)).statement
        return known

    def unaware(self, desk: OwnIdentity, listed: bytes, withdrawal: bytes) -> bytes:
        """What the control signs: the devices listed before, numbered after the withdrawal."""
        root = next(store.root for store in self.stores if store.root.held)
        before = self.read(listed)
        after, own = self.read(withdrawal), before.device(desk.device.id, unix=NOW)
        return build_statement(
            root,
            seq=after.seq + 1,
            iat=after.iat,
            exp=after.exp,
            addresses=before.addresses,
            devices=[desk.device],
            not_after=own.not_after,
            others=[device for device in before.devices if device.id != own.id],
        )

    def close(self) -> None:
        """Close every store."""
        for store in self.stores:
            store.close()


@contextmanager
def house(folder: Path) -> Iterator[House]:
    """One that is closed in the end."""
    found = House(folder)
    try:
        yield found
    finally:
        found.close()


def accepts(known: Statement, device_id: str) -> bool:
    """Whether a contact that believes this speaks with that device."""
    try:
        _ = known.device(device_id, unix=NOW + 60)
    except SecurityError:
        return False
    return True


async def _newest_alone(folder: Path) -> Outcome:
    """A root that goes by what its backup lists, and a contact who has seen no more than that."""
    outcome = Outcome(got="the stolen phone is Alice's again")
    with house(folder) as h:
        desk = h.device("desk")
        _ = h.join(desk, "phone")
        before = desk.statement
        withdrawal = desk.revoke("phone")
        listed = h.unaware(desk, before, withdrawal)
        outcome.demand(accepts(h.contact(listed), "phone"), "it is not")
        outcome.demand(not accepts(h.contact(withdrawal, listed), "phone"), "nothing was withdrawn")
    return outcome


async def _stays_away(folder: Path) -> Outcome:
    """One device withdrawn before the backup, one after it."""
    outcome = Outcome(got="neither is back; the others ask again, and are")
    with house(folder) as h:
        desk = h.device("desk")
        for name in ("phone", "lost"):
            _ = h.join(desk, name)
        tablet = h.join(desk, "tablet")
        _ = desk.revoke("lost")
        claimed = desk.addresses
        write_backup(h.stores[0], folder / "saved", SECRET, cost=MINIMUM_COST)
        withdrawal = desk.revoke("phone")
        again = h.begin(restored(folder))
        first = again.statement
        outcome.demand(h.read(first).seq > h.read(withdrawal).seq, "contacts take it for old")
        listed = [device.id for device in h.read(first).devices]
        outcome.demand(listed == [again.device.id], f"it lists {listed}")
        # before it heard of anything
        outcome.demand(not accepts(h.contact(first), "phone"), "the phone is back")
        outcome.demand(again.revoked == ("lost",), "what the backup knew is forgotten")
        outcome.demand(again.addresses == claimed, "its addresses are lost")
        outcome.demand(again.take(withdrawal), "the withdrawal is no news to it")
        outcome.demand(
            set(h.read(again.statement).revoked) == {"lost", "phone"}, "it does not say so"
        )
        try:
            _ = tablet.take(again.statement)
            outcome.problems.append("a device that it does not list takes it")
        except IdentityMismatch as e:
            outcome.refusals = (named(e),)
        _ = tablet.take(again.enrol(tablet.request()))
        known = h.contact(first, again.statement)
        outcome.demand(accepts(known, "tablet"), "a device that is still ours is locked out")
        outcome.demand(not accepts(known, "phone"), "the phone is back in the end")
        outcome.demand(tablet.revoked == again.revoked, "its devices do not agree")
    return outcome


K5: Final[Attack] = (
    control("a copy of the folder", _copied),
    control("a root that signs what it was restored with", _newest_alone),
    ours("ratchets, OMEMO 2", partial(_used_once, ONLY_TWO)),
    ours("ratchets, its predecessor", partial(_used_once, ONLY_LEGACY)),
    ours("an old history beside the newest keys", _old_history),
    ours("a history that was forgotten, put back", _forgotten),
    ours("withdrawn devices", _stays_away),
)
