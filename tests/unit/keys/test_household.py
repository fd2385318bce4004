"""What is kept of our other devices: read as it was written, or not at all."""

from __future__ import annotations

import json

import pytest

from securecall.address import parse_address
from securecall.errors import StatementInvalid, StoreCorrupt
from securecall.keys.household import Household, build_household, parse_household
from securecall.keys.statement_content import MAX_REMEMBERED, MAX_REVOKED
from tests.forge_statement import DAY, NOW, device_key, parsed, root_key

FP = root_key().fingerprint
PHONE, SIP = parse_address("sip:phone@a.example"), parse_address("sip:alice@a.example")
BOTH = parsed(devices=[device_key(1), device_key(2)])
FULL = Household(
    devices=BOTH.devices,
    addresses=(PHONE,),
    revoked=("lost",),
    former=("older",),
    granted={"device-1": NOW},
    successions=(b"step",),
)


def test_it_is_read_as_it_was_written():
    assert parse_household(build_household(FULL), FP) == FULL
    assert parse_household(b"", FP) == Household()


def test_what_was_written_before_former_roots_were_remembered_is_read():
    members = json.loads(build_household(FULL))
    del members["former"]
    assert parse_household(json.dumps(members).encode(), FP).former == ()


@pytest.mark.parametrize("name", json.loads(build_household(FULL)))
@pytest.mark.parametrize("value", ["ab", None, 1, {"a": "b"}])
def test_a_member_of_another_kind_is_corruption(name, value):
    members = json.loads(build_household(FULL)) | {name: value}
    with pytest.raises(StoreCorrupt):
        parse_household(json.dumps(members).encode(), FP)


def test_devices_of_another_root_are_corruption():
    with pytest.raises(StoreCorrupt):
        parse_household(build_household(FULL), root_key(9).fingerprint)


def test_a_newer_statement_is_taken_over_but_for_what_was_withdrawn():
    seen = parsed(
        devices=[device_key(n) for n in range(1, 5)],
        addresses=[SIP, PHONE],
        revoked=["gone"],
    )
    before = Household(revoked=("device-3",), former=("device-4",), successions=(b"kept",))
    found = before.adopt(seen, here="device-1", claimed=[SIP])
    assert [device.id for device in found.devices] == ["device-2"]
    assert found.addresses == (PHONE,)
    assert found.revoked == ("device-3", "gone")
    assert found.withdrawn == ("device-4", "device-3", "gone")
    assert found.successions == (b"kept",)


def test_of_two_statements_under_one_number_counts_what_both_list():
    other = parsed(devices=[device_key(2), device_key(3)], revoked=["gone"])
    found = FULL.meet(other)
    assert [device.id for device in found.devices] == ["device-2"]
    assert found.revoked == ("lost", "gone")


def test_a_device_goes_when_its_key_is_out_of_date_or_it_is_withdrawn():
    end = BOTH.devices[0].not_after
    assert len(FULL.at(end).devices) == 2
    assert FULL.at(end + 1).devices == ()
    left = FULL.without("device-1", "lost")
    assert [device.id for device in left.devices] == ["device-2"]
    assert left.revoked == ("lost", "device-1")
    assert left.addresses == FULL.addresses
    assert (left.device("device-1"), left.device("device-2")) == (None, BOTH.devices[1])


def test_a_newer_entry_takes_the_place_of_an_older_one():
    (newer,) = parsed(devices=[device_key(1)], not_after=NOW + 9 * DAY).devices
    found = FULL.with_device(newer, [PHONE, SIP], NOW + 5)
    assert found.devices == (BOTH.devices[1], newer)
    assert found.addresses == (PHONE, SIP)
    assert found.granted == {"device-1": NOW + 5}


def test_withdrawals_outlive_the_root_and_are_said_again_where_there_is_room():
    assert FULL.followed() == Household(former=("older", "lost"))
    said = FULL.succeeded([b"step", b"next"])
    assert (said.revoked, said.former) == (("lost",), ("older",))
    assert said.successions == (b"step", b"next")
    assert (said.devices, said.addresses, said.granted) == ((), (), {})
    for count, kept in ((MAX_REVOKED // 2, True), (MAX_REVOKED // 2 + 1, False)):
        crowd = Household(revoked=tuple(f"d{n}" for n in range(count)))
        said = crowd.succeeded([b"step"])
        assert bool(said.revoked) is kept
        assert len(said.withdrawn) == count
        assert said.successions == (b"step",)


def test_what_is_remembered_has_an_end():
    crowd = tuple(f"d{n}" for n in range(MAX_REMEMBERED))
    assert len(Household(former=crowd).withdrawn) == MAX_REMEMBERED
    with pytest.raises(StatementInvalid):
        Household(former=crowd, revoked=("one more",))
