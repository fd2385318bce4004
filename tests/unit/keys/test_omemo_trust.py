"""What a device is to us, derived from a root's statement and from what our user decided."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecall.address import parse_address
from securecall.errors import ProtocolError
from securecall.keys.omemo_fingerprint import curve25519_form
from securecall.keys.omemo_trust import (
    BoundRoot,
    DeviceHow,
    DeviceRecord,
    PersonDevices,
    judge_device,
    note_statement,
    promises,
)
from securecall.keys.omemo_values import OMEMO, OMEMO_LEGACY, DeviceTrust
from securecall.keys.statement import OmemoKey
from securecall.keys.statement_content import Statement
from securecall.keys.trust_record import TrustState
from tests.forge_devices import identity_key
from tests.forge_statement import DAY, NOW, device_key, parsed

HIM = parse_address("xmpp:bob@b.example")
KEY, OTHER = curve25519_form(identity_key(1)), curve25519_form(identity_key(2))
NO_KEY = b"\x01" + bytes(31)  # of small order: it has no Curve25519 form
UNDECIDED, TRUSTED = DeviceTrust.UNDECIDED, DeviceTrust.TRUSTED
VERIFIED, DISTRUSTED = DeviceTrust.VERIFIED, DeviceTrust.DISTRUSTED
PINNED, PROVEN = TrustState.PINNED, TrustState.VERIFIED


def listing(*keys: bytes, namespace: str = OMEMO) -> Statement:
    """A statement with one device, which has these OMEMO keys."""
    device = device_key()
    omemo = [OmemoKey(namespace=namespace, id=7, identity_key=key) for key in keys]
    return parsed(devices=[device], omemo={device.id: omemo})


LISTED, CALLS_ONLY, ELSEWHERE = listing(identity_key(1)), listing(), listing(identity_key(2))
STALE = replace(LISTED, checked_at=LISTED.exp + 1)
WITHDRAWN = replace(LISTED, revoked=(LISTED.devices[0].id,))


def person(trust: DeviceTrust, how: DeviceHow | None, entry: str = "") -> PersonDevices:
    record = DeviceRecord(key=KEY, seen=1, trust=trust, how=how, since=1, entry=entry)
    return PersonDevices(address=HIM, devices={KEY: record})


def judged(person: PersonDevices, state: TrustState, statement: Statement | None) -> DeviceTrust:
    bound = BoundRoot(state=state, statement=statement)
    return judge_device(person, KEY, bound, unix=NOW)


@pytest.mark.parametrize("state", [TrustState.REVOKED, TrustState.DISTRUSTED])
@pytest.mark.parametrize("trust", [UNDECIDED, TRUSTED, VERIFIED])
def test_a_root_that_fell_takes_along_what_it_lists_whatever_our_user_decided(state, trust):
    by_hand = person(trust, DeviceHow.DIGITS)
    assert judged(by_hand, state, LISTED) is DISTRUSTED
    assert judged(by_hand, state, ELSEWHERE) is trust, "control: that device is none of its own"
    assert judged(by_hand, state, None) is trust


@pytest.mark.parametrize("state", [TrustState.REVOKED, TrustState.DISTRUSTED, TrustState.CHANGED])
def test_having_been_there_first_counts_for_nothing_beside_a_root_that_does_not_hold(state):
    assert judged(person(TRUSTED, DeviceHow.WROTE), state, ELSEWHERE) is UNDECIDED


@pytest.mark.parametrize(
    ("decided", "state", "statement", "expected"),
    [
        (TRUSTED, PROVEN, LISTED, VERIFIED),
        (TRUSTED, PINNED, LISTED, TRUSTED),
        (TRUSTED, PROVEN, STALE, TRUSTED),  # it may hide that the device was withdrawn since
        (TRUSTED, PROVEN, ELSEWHERE, TRUSTED),
        (VERIFIED, PINNED, LISTED, VERIFIED),  # a root that is only pinned takes nothing back
        (VERIFIED, PROVEN, ELSEWHERE, VERIFIED),
        (TRUSTED, PINNED, None, TRUSTED),
    ],
)
def test_what_our_user_decided_is_raised_by_a_verified_root_and_never_lowered(
    decided, state, statement, expected
):
    assert judged(person(decided, DeviceHow.USER), state, statement) is expected


def test_a_root_without_statement_or_without_omemo_says_nothing_about_chat():
    first = person(TRUSTED, DeviceHow.WROTE)
    for statement in (None, CALLS_ONLY):
        assert judged(first, PROVEN, statement) is TRUSTED
        assert judged(PersonDevices(address=HIM), PROVEN, statement) is UNDECIDED
    assert judged(first, PROVEN, ELSEWHERE) is UNDECIDED, "control: it speaks of other devices"


def test_a_withdrawn_device_stays_distrusted_though_no_statement_lists_its_key_any_more():
    device = LISTED.devices[0].id
    noted = note_statement(
        person(VERIFIED, DeviceHow.QR), BoundRoot(state=PROVEN, statement=LISTED)
    )
    assert noted.devices[KEY].entry == device
    without_key = replace(CALLS_ONLY, revoked=(device,))
    assert judged(noted, PROVEN, without_key) is DISTRUSTED
    assert judged(person(VERIFIED, DeviceHow.QR), PROVEN, without_key) is VERIFIED, "control"


def test_a_device_is_vouched_for_no_longer_than_its_entry_lasts():
    (entry,) = LISTED.devices
    short = replace(LISTED, devices=(replace(entry, not_after=NOW),))
    bound = BoundRoot(state=PROVEN, statement=short)
    nobody = PersonDevices(address=HIM)
    assert judge_device(nobody, KEY, bound, unix=NOW) is VERIFIED
    assert judge_device(nobody, KEY, bound, unix=NOW + 1) is UNDECIDED
    assert judged(nobody, PROVEN, WITHDRAWN) is UNDECIDED
    assert entry.not_after > NOW + DAY, "control: the entry itself lasts"


def test_a_key_that_is_none_vouches_for_nothing_and_hides_no_other():
    (entry,) = LISTED.devices
    bad = OmemoKey(namespace=OMEMO, id=6, identity_key=NO_KEY)
    with pytest.raises(ProtocolError):
        curve25519_form(NO_KEY)
    mixed = replace(LISTED, devices=(replace(entry, omemo=(bad, *entry.omemo)),))
    bound = BoundRoot(state=PROVEN, statement=mixed)
    assert judge_device(PersonDevices(address=HIM), KEY, bound, unix=NOW) is VERIFIED
    assert promises(bound, OMEMO, KEY)
    assert note_statement(person(UNDECIDED, None), bound).devices[KEY].entry == entry.id


def test_a_statement_promises_a_device_in_the_namespace_it_names_it_in_alone():
    bound = BoundRoot(state=PINNED, statement=LISTED)
    assert promises(bound, OMEMO, KEY)
    assert not promises(bound, OMEMO_LEGACY, KEY)
    assert not promises(bound, OMEMO, OTHER)
    assert not promises(BoundRoot(state=PINNED, statement=CALLS_ONLY), OMEMO, KEY)
    assert not promises(BoundRoot(state=PINNED, statement=None), OMEMO, KEY)
    two = replace(LISTED, devices=(*ELSEWHERE.devices, *LISTED.devices))
    assert promises(BoundRoot(state=PINNED, statement=two), OMEMO, KEY), "the second device's"
