from __future__ import annotations

import time
from dataclasses import replace

import pytest

from securecall.address import parse_address
from securecall.devices import Devices
from securecall.directory import Directory
from securecall.errors import IdentityMismatch, ProtocolError, Reason, SecurityError, UsageError
from securecall.keys.omemo_fingerprint import curve25519_form, fingerprint
from securecall.keys.omemo_trust import DeviceHow, Sighting
from securecall.keys.omemo_values import Device, DeviceTrust
from securecall.keys.organisation import OrganisationCode, build_organisation_code
from securecall.keys.statement import OmemoKey, parse_statement
from securecall.keys.trust import Act, How
from tests.forge_devices import BOB, NS, contacts_at, identity_key, own_statement
from tests.forge_organisation import CLINIC, word
from tests.forge_statement import root_key

OLD = "eu.siacs.conversations.axolotl"
ONE, TWO, THREE = (identity_key(n) for n in (1, 2, 3))


@pytest.fixture
def contacts(tmp_path):
    found = contacts_at(tmp_path / "alice")
    yield found
    found.store.close()


@pytest.fixture
def devices(contacts):
    return Devices(contacts)


def shown(key: bytes) -> str:
    return fingerprint(curve25519_form(key))


def test_a_device_nobody_vouched_for_is_undecided(devices):
    assert devices.device_trust(BOB, ONE) is DeviceTrust.UNDECIDED
    assert devices.notice(BOB, NS, 1, ONE) is Sighting.NEW
    assert devices.notice(BOB, NS, 1, ONE) is Sighting.KNOWN
    assert devices.device_trust(BOB, ONE) is DeviceTrust.UNDECIDED


def test_what_is_there_when_we_first_write_is_trusted_and_nothing_later(devices):
    assert devices.first_use(BOB, [ONE, TWO]) == (ONE, TWO)
    assert devices.first_use(BOB, [ONE, TWO, THREE]) == ()
    trusts = [devices.device_trust(BOB, key) for key in (ONE, TWO, THREE)]
    assert trusts == [DeviceTrust.TRUSTED, DeviceTrust.TRUSTED, DeviceTrust.UNDECIDED]


def test_writing_to_nobody_decides_nothing(devices):
    assert devices.first_use(BOB, []) == ()
    assert devices.first_use(BOB, [ONE]) == (ONE,)


def test_what_we_distrust_is_not_trusted_for_being_there(devices):
    devices.notice(BOB, NS, 1, ONE)
    devices.distrust_device(BOB, ONE)
    assert devices.first_use(BOB, [ONE, TWO]) == (TWO,)
    assert devices.device_trust(BOB, ONE) is DeviceTrust.DISTRUSTED


def test_where_our_user_chose_already_nothing_is_trusted_for_being_there(devices):
    devices.notice(BOB, NS, 1, ONE)
    devices.verify_device(BOB, ONE)
    assert devices.first_use(BOB, [ONE, TWO]) == ()
    assert devices.device_trust(BOB, TWO) is DeviceTrust.UNDECIDED


def test_comparing_a_fingerprint_verifies(devices):
    devices.notice(BOB, NS, 1, ONE)
    found = devices.verify_device(BOB, shown(ONE).upper())
    assert (found.trust, found.how, found.ids) == (DeviceTrust.VERIFIED, "digits", (1,))
    assert devices.device_trust(BOB, ONE) is DeviceTrust.VERIFIED
    with pytest.raises(UsageError):
        devices.verify_device(BOB, shown(TWO))
    with pytest.raises(ProtocolError):
        devices.verify_device(BOB, "deadbeef")


def test_a_pinned_identity_vouches_and_a_verified_one_verifies(contacts, devices):
    Directory(contacts).learn(BOB, own_statement(omemo=(1,)))
    assert devices.device_trust(BOB, ONE) is DeviceTrust.TRUSTED
    contacts.apply(contacts.event(Act.VERIFY, BOB, root_key(2).fingerprint, How.DIGITS))
    assert devices.device_trust(BOB, ONE) is DeviceTrust.VERIFIED
    assert devices.device_trust(BOB, TWO) is DeviceTrust.UNDECIDED


def test_an_identity_says_which_omemo_its_devices_have(contacts, devices):
    legacy = Device(namespace=OLD, jid=BOB.short, id=1, identity_key=ONE)
    assert not devices.is_promised(legacy)
    Directory(contacts).learn(BOB, own_statement(omemo=(1,)))
    assert devices.is_promised(legacy)
    assert not devices.is_promised(replace(legacy, identity_key=TWO))


def test_an_identity_beats_having_been_there_first(contacts, devices):
    devices.first_use(BOB, [ONE, TWO])
    contacts.apply(contacts.event(Act.PIN, BOB, root_key(2).fingerprint, How.CONTACT))
    Directory(contacts).learn(BOB, own_statement(omemo=(1,)))
    assert devices.device_trust(BOB, ONE) is DeviceTrust.TRUSTED
    assert devices.device_trust(BOB, TWO) is DeviceTrust.UNDECIDED
    devices.trust_device(BOB, TWO)  # until our user says so: a phone with another application
    assert devices.device_trust(BOB, TWO) is DeviceTrust.TRUSTED


def test_where_an_identity_vouches_the_server_pins_nothing(contacts, devices):
    Directory(contacts).learn(BOB, own_statement(omemo=(1,)))
    assert devices.first_use(BOB, [ONE, TWO]) == ()
    assert devices.device_trust(BOB, TWO) is DeviceTrust.UNDECIDED
    contacts.forget(BOB)  # and not later either, when nobody vouches any more
    assert devices.first_use(BOB, [ONE, TWO]) == ()
    assert devices.device_trust(BOB, TWO) is DeviceTrust.UNDECIDED


def test_an_identity_that_lists_no_devices_says_nothing_of_them(contacts, devices):
    Directory(contacts).learn(BOB, own_statement())
    assert devices.first_use(BOB, [ONE]) == (ONE,)
    assert devices.device_trust(BOB, ONE) is DeviceTrust.TRUSTED


def test_a_key_that_rests_on_an_organisation_vouches_while_its_word_holds(
    contacts, devices, monkeypatch
):
    contacts.organisations.trust(build_organisation_code(OrganisationCode(BOB.host, CLINIC.public)))
    contacts.apply(contacts.event(Act.PIN, BOB, root_key(2).fingerprint, How.ORGANISATION))
    Directory(contacts).learn(BOB, own_statement(omemo=(1,)))
    assert devices.device_trust(BOB, ONE) is DeviceTrust.UNDECIDED  # nothing was said
    contacts.organisations.take(word(unix=int(time.time()), address=BOB))
    assert devices.device_trust(BOB, ONE) is DeviceTrust.TRUSTED
    later = int(time.time()) + 8 * 86_400
    monkeypatch.setattr("securecall.organisations.unix_now", lambda: later)
    monkeypatch.setattr("securecall.devices.unix_now", lambda: later)
    assert devices.device_trust(BOB, ONE) is DeviceTrust.UNDECIDED


def test_a_withdrawn_device_is_distrusted_though_people_compared_it(contacts, devices):
    directory = Directory(contacts)
    directory.learn(BOB, own_statement(omemo=(1,), device=7, age=100))
    devices.notice(BOB, NS, 1, ONE)
    devices.verify_device(BOB, ONE)
    assert devices.device_trust(BOB, ONE) is DeviceTrust.VERIFIED
    directory.notice(BOB, own_statement(omemo=(2,), device=8, revoked=("device-7",)))
    assert devices.device_trust(BOB, ONE) is DeviceTrust.DISTRUSTED
    assert devices.device_trust(BOB, TWO) is DeviceTrust.TRUSTED


def test_a_conflict_of_identities_ends_what_rested_on_them(contacts, devices):
    directory = Directory(contacts)
    directory.learn(BOB, own_statement(omemo=(1,)))
    with pytest.raises(SecurityError):
        directory.learn(BOB, own_statement(3, omemo=(2,)))
    assert devices.device_trust(BOB, ONE) is DeviceTrust.UNDECIDED
    assert devices.device_trust(BOB, TWO) is DeviceTrust.UNDECIDED


def test_a_distrusted_identity_takes_its_devices_along(contacts, devices):
    Directory(contacts).learn(BOB, own_statement(omemo=(1,)))
    contacts.apply(contacts.event(Act.DISTRUST, BOB, root_key(2).fingerprint, How.USER))
    assert devices.device_trust(BOB, ONE) is DeviceTrust.DISTRUSTED


def test_another_key_under_one_device_id_is_never_silent(devices):
    devices.notice(BOB, NS, 1, ONE)
    devices.first_use(BOB, [ONE])
    assert devices.notice(BOB, NS, 1, TWO) is Sighting.KEY_CHANGED
    assert devices.device_trust(BOB, TWO) is DeviceTrust.UNDECIDED
    assert [d.ids for d in devices.listing(BOB)] == [(), (1,)]
    assert [d.fingerprint for d in devices.undecided(BOB)] == [shown(TWO)]


def test_only_what_our_user_decided_for_by_hand_is_chosen(devices):
    def device(number):
        return Device(namespace=NS, jid=BOB.short, id=number, identity_key=identity_key(number))

    for number in range(1, 5):
        devices.notice(BOB, NS, number, identity_key(number))
    devices.first_use(BOB, [identity_key(1)])
    devices.trust_device(BOB, identity_key(2))
    devices.trust_device(BOB, identity_key(3))
    devices.distrust_device(BOB, identity_key(3))
    assert [n for n in range(1, 6) if devices.is_chosen(device(n))] == [2]
    assert devices.trust_of(device(1)) is DeviceTrust.TRUSTED
    devices.verify_device(BOB, identity_key(1))
    assert devices.is_chosen(device(1))


def test_one_device_in_two_versions_of_omemo_is_one_device(devices):
    devices.notice(BOB, NS, 1, ONE)
    assert devices.notice(BOB, OLD, 1, ONE) is Sighting.KNOWN
    assert len(devices.listing(BOB)) == 1


def test_only_restoring_leads_out_of_distrust(devices):
    devices.notice(BOB, NS, 1, ONE)
    devices.distrust_device(BOB, ONE)
    for act in (devices.trust_device, devices.verify_device):
        with pytest.raises(SecurityError) as refused:
            act(BOB, ONE)
        assert refused.value.reason is Reason.DISTRUSTED
    assert devices.restore_device(BOB, ONE).trust is DeviceTrust.UNDECIDED
    assert devices.verify_device(BOB, ONE, DeviceHow.QR).trust is DeviceTrust.VERIFIED


def test_a_code_verifies_all_of_its_devices_or_none(contacts, devices):
    bob = Devices(contacts)
    code = f"xmpp:bob@b.example?omemo-sid-1={curve25519_form(ONE).hex()}"
    devices.notice(BOB, NS, 1, ONE)
    (found,) = bob.verify_code(code)
    assert (found.trust, found.how) == (DeviceTrust.VERIFIED, "qr")
    more = f"{code};omemo-sid-2={curve25519_form(TWO).hex()}"
    devices.notice(BOB, NS, 2, THREE)
    with pytest.raises(IdentityMismatch):
        bob.verify_code(more)
    assert devices.device_trust(BOB, TWO) is DeviceTrust.UNDECIDED
    with pytest.raises(UsageError):
        bob.verify_code("xmpp:bob@b.example")


def test_decisions_outlive_the_process_and_are_audited(tmp_path):
    contacts = contacts_at(tmp_path)
    devices = Devices(contacts)
    devices.first_use(BOB, [ONE, TWO])
    devices.distrust_device(BOB, TWO)
    contacts.store.close()
    contacts = contacts_at(tmp_path)
    devices = Devices(contacts)
    assert devices.device_trust(BOB, ONE) is DeviceTrust.TRUSTED
    assert devices.device_trust(BOB, TWO) is DeviceTrust.DISTRUSTED
    assert devices.first_use(BOB, [THREE]) == ()
    assert [b'"act":"first-write"' in e.data for e in contacts.store.audit()] == [True, True, False]
    contacts.store.close()


def test_our_statement_vouches_for_our_devices(contacts, devices):
    keys = (
        OmemoKey(namespace=NS, id=7, identity_key=ONE),
        OmemoKey(namespace=OLD, id=7, identity_key=ONE),
    )
    own = parse_address("xmpp:alice@a.example")
    contacts.own_address(own)
    seq = contacts.store.seq
    contacts.own_omemo(keys)
    assert contacts.omemo == keys
    assert contacts.store.seq > seq
    contacts.own_omemo(keys)
    (entry,) = parse_statement(
        contacts.statement, unix=contacts.event(Act.PIN, own, b"", How.QR).unix
    ).devices
    assert entry.omemo == keys
    assert devices.device_trust(own, ONE) is DeviceTrust.VERIFIED
    assert devices.device_trust(own, TWO) is DeviceTrust.UNDECIDED
    assert devices.own_code(own) == f"xmpp:alice@a.example?omemo-sid-7={curve25519_form(ONE).hex()}"


def test_our_statement_is_not_made_anew_at_every_start(tmp_path):
    contacts = contacts_at(tmp_path)
    contacts.own_omemo((OmemoKey(namespace=NS, id=7, identity_key=ONE),))
    seq = contacts.store.seq
    contacts.store.close()
    again = contacts_at(tmp_path)
    assert again.store.seq == seq
    again.store.close()
