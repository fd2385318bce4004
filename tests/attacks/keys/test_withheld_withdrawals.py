"""A silent server brings a stolen device back, past the withdrawal of it; a backup does in trials.

The control is a root that goes by the newest statement alone, as the highest number suggests.
"""

from __future__ import annotations

import pytest

from securecall.errors import Reason, Revoked, SecurityError
from securecall.events import OwnChange, OwnKeysChanged
from securecall.keys.statement import build_statement
from securecall.testing.attacks import restored
from securecall.testing.attacks.restored import NOW, accepts


@pytest.fixture
def house(tmp_path):
    with restored.house(tmp_path) as found:
        yield found


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


def test_a_device_without_the_root_believes_a_withdrawal_that_came_late(house):
    desk = house.device("desk")
    house.join(desk, "phone")
    tablet = house.join(desk, "tablet")
    before = desk.statement
    withdrawal = desk.revoke("phone")
    tablet.take(house.unaware(desk, before, withdrawal))
    assert accepts(tablet.known, "phone")  # the control
    assert tablet.take(withdrawal)
    assert not accepts(tablet.known, "phone")
    assert "phone" not in [device.id for device in tablet.devices]
    assert house.begin(tablet._store).revoked == ("phone",)


def test_a_late_withdrawal_reaches_the_very_device(house):
    desk = house.device("desk")
    phone = house.join(desk, "phone")
    before = desk.statement
    withdrawal = desk.revoke("phone")
    phone.take(house.unaware(desk, before, withdrawal))
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


def test_a_withdrawal_outlives_the_root_it_was_signed_by(house):
    """The root that was replaced lay on two devices; the one that replaced it had not heard."""
    desk = house.device("desk")
    phone = house.join(desk, "phone")
    laptop, tablet = house.join(desk, "laptop"), house.join(desk, "tablet")
    laptop.hold_root(desk.phrase())
    tablet.take(desk.revoke("phone"))
    successor = laptop.succeed()
    assert house.read(successor).revoked == ()  # the control: nobody told it
    for device in (tablet, phone):
        assert device.take(successor)
        listed = laptop.enrol(device.request())
    assert accepts(house.contact(listed), "phone")  # and it is talked into listing it again
    tablet.take(listed)
    for seen in (tablet, house.begin(tablet._store)):
        assert seen.revoked == ("phone",)
        assert not accepts(seen.known, "phone")
        assert [device.id for device in seen.devices] == ["tablet", "laptop"]


def test_a_withdrawn_device_is_not_back_under_a_root_that_has_not_heard(house):
    desk = house.device("desk")
    phone, laptop = house.join(desk, "phone"), house.join(desk, "laptop")
    laptop.hold_root(desk.phrase())
    phone.take(desk.revoke("phone"))
    assert phone.take(laptop.succeed())
    for seen in (phone, house.begin(phone._store)):
        with pytest.raises(Revoked):
            seen.request()


def test_what_a_successor_withdraws_is_told(house):
    desk = house.device("desk")
    house.join(desk, "phone")
    tablet = house.join(desk, "tablet")
    desk.revoke("phone")
    house.told.clear()
    tablet.take(desk.succeed())
    assert OwnKeysChanged(OwnChange.REVOKED, "phone") in house.told
