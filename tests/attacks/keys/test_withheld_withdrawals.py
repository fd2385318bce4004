"""Bringing a stolen device back, past the withdrawal of it: by an old backup, or a silent server.

The control is a root that goes by the newest statement alone, as the highest number suggests.
"""

from __future__ import annotations

import pytest

from securecall.errors import IdentityMismatch, Reason, Revoked, SecurityError
from securecall.events import OwnChange, OwnKeysChanged
from securecall.keys.identity import RootKey
from securecall.keys.statement import build_statement, merge, parse_statement
from securecall.own_identity import OwnIdentity
from securecall.secret import Secret
from securecall.store.backup import restore, write_backup
from securecall.store.sqlite import Store
from securecall.store.vault import MINIMUM_COST
from tests.forge_statement import NOW

SECRET = Secret("x")


class House:
    """Devices of one person on one clock, which goes on by a second with each look at it."""

    def __init__(self, folder):
        self.folder, self.stores, self.told, self.now = folder, [], [], NOW

    def unix(self) -> float:
        self.now += 1
        return float(self.now)

    def begin(self, store) -> OwnIdentity:
        self.stores.append(store)
        identity = OwnIdentity(store, unix=self.unix)
        identity.watch(self.told.append)
        return identity

    def device(self, name, root=None) -> OwnIdentity:
        place = self.folder / name
        return self.begin(Store.create(place, SECRET, root=root, device_id=name, cost=MINIMUM_COST))

    def join(self, desk, name) -> OwnIdentity:
        found = self.device(name, RootKey.known(desk.root_public))
        found.take(desk.enrol(found.request()))
        return found

    def read(self, raw):
        return parse_statement(raw, unix=self.now + 60)

    def contact(self, *seen):
        """What somebody believes who was shown these statements, in this order."""
        known = None
        for raw in seen:
            known = merge(known, self.read(raw)).statement
        return known


@pytest.fixture
def house(tmp_path):
    found = House(tmp_path)
    yield found
    for store in found.stores:
        store.close()


def accepts(known, device_id: str) -> bool:
    try:
        known.device(device_id, unix=NOW + 60)
    except SecurityError:
        return False
    return True


def unaware(house, desk, before, withdrawal: bytes) -> bytes:
    """What the control signs: the devices of before, under a number after the withdrawal's."""
    after = house.read(withdrawal)
    own = before.device("desk", unix=NOW)
    return build_statement(
        desk._store.root, seq=after.seq + 1, iat=after.iat, exp=after.exp,
        addresses=before.addresses, devices=[desk.device], not_after=own.not_after,
        others=[device for device in before.devices if device.id != "desk"],
    )  # fmt: skip


def test_the_root_on_another_device_cannot_be_kept_from_a_withdrawal(house):
    desk = house.device("desk")
    house.join(desk, "phone")
    laptop = house.join(desk, "laptop")
    laptop.hold_root(desk.phrase())
    withdrawal = desk.revoke("phone")
    laptop.rotate()  # the server keeps the withdrawal from it until then
    assert accepts(house.contact(laptop.statement), "phone")  # the control: nobody told it
    assert house.read(laptop.statement).seq > house.read(withdrawal).seq
    house.told.clear()
    assert laptop.take(withdrawal)
    assert house.told == [OwnKeysChanged(OwnChange.REVOKED, "phone")]
    assert not accepts(house.contact(laptop.statement), "phone")
    assert laptop.revoked == house.read(laptop.statement).revoked == ("phone",)
    assert house.begin(laptop._store).revoked == ("phone",)  # it was written down
    with pytest.raises(SecurityError) as old:  # the second time it is no news
        laptop.take(withdrawal)
    assert old.value.reason is Reason.ROLLBACK
    assert desk.take(laptop.statement)
    assert not laptop.take(desk.statement)  # they agree: there is no end of signing


def test_a_backup_from_before_a_withdrawal_brings_nobody_back(house, tmp_path):
    desk = house.device("desk")
    house.join(desk, "phone")
    house.join(desk, "lost")
    tablet = house.join(desk, "tablet")
    desk.revoke("lost")
    before, claimed = desk.known, desk.addresses
    write_backup(desk._store, tmp_path / "saved", SECRET, cost=MINIMUM_COST)
    withdrawal = desk.revoke("phone")
    control = unaware(house, desk, before, withdrawal)
    assert not accepts(house.contact(withdrawal, control), "phone")
    assert accepts(house.contact(control), "phone")  # the control: what the backup lists
    restore(
        tmp_path / "saved",
        tmp_path / "again",
        backup_passphrase=SECRET,
        passphrase=SECRET,
        cost=MINIMUM_COST,
    )
    again = house.begin(Store.open(tmp_path / "again", SECRET))
    first = again.statement
    assert house.read(first).seq > house.read(withdrawal).seq
    assert [device.id for device in house.read(first).devices] == [again.device.id]
    assert not accepts(house.contact(first), "phone")  # nor the desk, before it heard of anything
    assert again.revoked == ("lost",)  # what was withdrawn before the backup stays so
    assert again.addresses == claimed
    assert again.take(withdrawal)
    assert set(house.read(again.statement).revoked) == {"lost", "phone"}
    with pytest.raises(IdentityMismatch):  # devices that are still ours ask again, and are back
        tablet.take(again.statement)
    tablet.take(again.enrol(tablet.request()))
    assert accepts(house.contact(first, again.statement), "tablet")
    assert tablet.revoked == again.revoked


def test_a_device_without_the_root_believes_a_withdrawal_that_came_late(house):
    desk = house.device("desk")
    house.join(desk, "phone")
    tablet = house.join(desk, "tablet")
    before = desk.known
    withdrawal = desk.revoke("phone")
    tablet.take(unaware(house, desk, before, withdrawal))
    assert accepts(tablet.known, "phone")  # the control
    assert tablet.take(withdrawal)
    assert not accepts(tablet.known, "phone")
    assert "phone" not in [device.id for device in tablet.devices]
    assert house.begin(tablet._store).revoked == ("phone",)


def test_a_late_withdrawal_reaches_the_very_device(house):
    desk = house.device("desk")
    phone = house.join(desk, "phone")
    before = desk.known
    withdrawal = desk.revoke("phone")
    phone.take(unaware(house, desk, before, withdrawal))
    _ = phone.statement  # the control: the newest one lists it
    house.told.clear()
    assert phone.take(withdrawal)
    assert house.told == [OwnKeysChanged(OwnChange.WITHDRAWN, "phone")]
    with pytest.raises(Revoked):
        _ = phone.statement
    with pytest.raises(Revoked):
        _ = house.begin(phone._store).statement


def test_a_withdrawal_under_a_number_used_twice_holds_without_the_root(house):
    desk = house.device("desk")
    house.join(desk, "phone")
    tablet = house.join(desk, "tablet")
    own = house.read(tablet.statement)
    desk_entry = own.device("desk", unix=NOW)
    fork = build_statement(
        desk._store.root, seq=own.seq, iat=own.iat, exp=own.exp, addresses=own.addresses,
        devices=[desk.device], not_after=desk_entry.not_after, revoked=["phone"],
        others=[device for device in own.devices if device.id == "tablet"],
    )  # fmt: skip
    assert accepts(tablet.known, "phone")  # the control: what it had taken before
    house.told.clear()
    assert tablet.take(fork)
    assert house.told == [
        OwnKeysChanged(OwnChange.REVOKED, "phone"),
        OwnKeysChanged(OwnChange.FORK),
    ]
    for seen in (tablet, house.begin(tablet._store)):
        assert seen.revoked == ("phone",)
        assert not accepts(seen.known, "phone")
