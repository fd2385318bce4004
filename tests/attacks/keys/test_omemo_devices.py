"""A5: a server adds devices of its own to people's lists, or swaps the key of one.

The control is blind trust, the default of many clients: every device on the list is written to.
"""

from __future__ import annotations

import time

import pytest

from securecall.devices import Devices
from securecall.directory import Directory
from securecall.errors import DeviceKeyChanged, IdentityMismatch, SecurityError, StoreCorrupt
from securecall.keys.omemo_fingerprint import curve25519_form
from securecall.keys.omemo_trust import DeviceAct, DeviceEvent, DeviceHow, Sighting
from securecall.keys.omemo_values import DeviceTrust
from securecall.keys.statement import OmemoKey
from securecall.keys.trust import Act, How
from securecall.store.sqlite import Store
from tests.forge_devices import BOB, EVE, NS, contacts_at, identity_key, own_statement
from tests.forge_statement import root_key
from tests.forge_store import edit, passphrase, replace_rows, rows

pytestmark = pytest.mark.attack

BOBS, SERVERS = identity_key(1), identity_key(66)
RECEIVES = {DeviceTrust.TRUSTED, DeviceTrust.VERIFIED}


@pytest.fixture
def contacts(tmp_path):
    found = contacts_at(tmp_path / "alice")
    yield found
    found.store.close()


def blind(device_list: list[bytes]) -> list[bytes]:
    """The control."""
    return list(device_list)


def written_to(devices: Devices, device_list: list[bytes]) -> list[bytes]:
    """To whom a message goes."""
    devices.first_use(BOB, device_list)
    return [key for key in device_list if devices.device_trust(BOB, key) in RECEIVES]


def test_control_the_servers_device_reads_along():
    assert blind([BOBS, SERVERS]) == [BOBS, SERVERS]


def test_a_device_that_is_added_later_reads_nothing(contacts):
    devices = Devices(contacts)
    assert written_to(devices, [BOBS]) == [BOBS]
    assert written_to(devices, [BOBS, SERVERS]) == [BOBS]
    assert written_to(devices, [SERVERS]) == []


def test_a_device_that_was_there_from_the_start_reads_nothing_where_an_identity_vouches(contacts):
    Directory(contacts).learn(BOB, own_statement(omemo=(1,)))
    assert written_to(Devices(contacts), [SERVERS, BOBS]) == [BOBS]


def test_taking_an_identity_away_does_not_make_the_server_believed(contacts):
    """It withholds what Bob publishes; what we knew of him stays."""
    Directory(contacts).learn(BOB, own_statement(omemo=(1,), age=20 * 86_400))
    devices = Devices(contacts)
    contacts.apply(contacts.event(Act.VERIFY, BOB, root_key(2).fingerprint, How.DIGITS))
    assert written_to(devices, [SERVERS, BOBS]) == [BOBS]
    # an expired statement may hide a withdrawal, so it verifies nothing
    assert devices.device_trust(BOB, BOBS) is DeviceTrust.TRUSTED


def test_a_statement_of_another_root_vouches_for_nothing(contacts):
    """The server signs one for Bob's address with a root of its own, before and after."""
    forged = own_statement(9, omemo=(66,))
    Directory(contacts).learn(BOB, own_statement(omemo=(1,)))
    with pytest.raises(SecurityError):
        Directory(contacts).learn(BOB, forged)
    assert written_to(Devices(contacts), [SERVERS]) == []


def test_a_contacts_statement_vouches_for_their_own_address_only(contacts):
    """Eve, whom we know and verified, lists a device and claims it is Bob's."""
    Directory(contacts).learn(EVE, own_statement(5, omemo=(66,), address=EVE))
    contacts.apply(contacts.event(Act.VERIFY, EVE, root_key(5).fingerprint, How.DIGITS))
    devices = Devices(contacts)
    assert devices.device_trust(EVE, SERVERS) is DeviceTrust.VERIFIED
    assert devices.device_trust(BOB, SERVERS) is DeviceTrust.UNDECIDED


@pytest.mark.parametrize("how", [How.DIRECTORY, How.CONTACT])
def test_an_identity_that_a_server_shows_after_we_wrote_undoes_nothing(contacts, monkeypatch, how):
    """Our user adds Bob after a first message; his server, honest until then, has a root for him.

    The control is a root that our user put on Bob's card: it does vouch, and Bob's phone waits.
    """
    devices, started = Devices(contacts), int(time.time())
    assert written_to(devices, [BOBS]) == [BOBS]
    for module in ("securecall.devices", "securecall.contacts"):
        monkeypatch.setattr(f"{module}.unix_now", lambda: started + 60)
    contacts.apply(contacts.event(Act.PIN, BOB, root_key(2).fingerprint, how))
    Directory(contacts).learn(BOB, own_statement(omemo=(66,)))
    attacked = how is How.CONTACT
    assert written_to(devices, [BOBS, SERVERS]) == ([SERVERS] if attacked else [BOBS])
    # people compared something: now that root is known to be Bob's
    contacts.apply(contacts.event(Act.VERIFY, BOB, root_key(2).fingerprint, How.DIGITS))
    assert written_to(devices, [BOBS, SERVERS]) == [SERVERS]


def test_an_identity_shown_late_withdraws_devices_all_the_same(contacts, monkeypatch):
    devices, started, directory = Devices(contacts), int(time.time()), Directory(contacts)
    assert written_to(devices, [BOBS]) == [BOBS]
    for module in ("securecall.devices", "securecall.contacts"):
        monkeypatch.setattr(f"{module}.unix_now", lambda: started + 60)
    directory.learn(BOB, own_statement(omemo=(1,), device=7, age=100))
    devices.notice(BOB, NS, 1, BOBS)
    assert written_to(devices, [BOBS]) == [BOBS]
    directory.notice(BOB, own_statement(device=8, revoked=("device-7",)))
    assert written_to(devices, [BOBS]) == []


def test_another_key_under_a_known_id_is_seen_and_reads_nothing(contacts):
    devices = Devices(contacts)
    devices.notice(BOB, NS, 7, BOBS)
    assert written_to(devices, [BOBS]) == [BOBS]
    assert devices.notice(BOB, NS, 7, SERVERS) is Sighting.KEY_CHANGED
    assert written_to(devices, [SERVERS]) == []
    assert issubclass(DeviceKeyChanged, SecurityError)


def test_a_code_scanned_from_bob_exposes_the_servers_key(contacts):
    devices = Devices(contacts)
    devices.notice(BOB, NS, 7, SERVERS)
    with pytest.raises(IdentityMismatch):
        devices.verify_code(f"xmpp:bob@b.example?omemo-sid-7={curve25519_form(BOBS).hex()}")
    assert devices.device_trust(BOB, SERVERS) is DeviceTrust.UNDECIDED


def test_a_flood_of_devices_pushes_no_decision_out(contacts):
    devices = Devices(contacts)
    devices.notice(BOB, NS, 1, BOBS)
    devices.first_use(BOB, [BOBS])
    devices.notice(BOB, NS, 2, SERVERS)
    devices.distrust_device(BOB, SERVERS)
    devices.notice_all(BOB, NS, {n: identity_key(n) for n in range(3, 200)})
    assert len(devices.listing(BOB)) == 64
    assert devices.device_trust(BOB, BOBS) is DeviceTrust.TRUSTED
    assert devices.device_trust(BOB, SERVERS) is DeviceTrust.DISTRUSTED


def test_who_lists_more_devices_than_are_kept_keeps_nobody_from_writing(contacts):
    """The member of a room could else; sixty-four are trusted, and the others get nothing."""
    devices = Devices(contacts)
    many = [identity_key(n) for n in range(1, 80)]
    assert written_to(devices, many) == many[:64]
    assert devices.notice(BOB, NS, 79, many[78]) is Sighting.NEW  # it is told of all the same
    assert devices.notice(BOB, NS, 1, many[78]) is Sighting.NEW
    assert written_to(devices, many) == many[:64]
    with pytest.raises(SecurityError):  # the control: our user would be told that it is too much
        devices._apply(
            devices._person(BOB),
            [
                DeviceEvent(
                    act=DeviceAct.TRUST,
                    address=BOB,
                    key=curve25519_form(many[70]),
                    how=DeviceHow.USER,
                    unix=int(time.time()),
                )
            ],
        )


def test_our_own_list_is_no_way_in_either(contacts):
    """The server adds a device to our account, to get copies of what we write."""
    own = contacts.own_key_address
    contacts.own_omemo((OmemoKey(namespace=NS, id=1, identity_key=BOBS),))
    devices = Devices(contacts)
    assert devices.device_trust(own, BOBS) is DeviceTrust.VERIFIED
    assert devices.device_trust(own, SERVERS) is DeviceTrust.UNDECIDED


# ------------------------------------------------------------------ the file


def decided(folder) -> None:
    contacts = contacts_at(folder)
    devices = Devices(contacts)
    devices.first_use(BOB, [BOBS])
    contacts.store.close()


def test_an_older_row_put_back_is_noticed(tmp_path):
    """Before the user barred the device; with its version, so that the row itself opens."""
    decided(tmp_path)
    before = rows(tmp_path, "omemo-devices")
    contacts = contacts_at(tmp_path)
    Devices(contacts).distrust_device(BOB, BOBS)
    contacts.store.close()
    replace_rows(tmp_path, "omemo-devices", before)
    with pytest.raises(StoreCorrupt):
        Store.open(tmp_path, passphrase())


def test_a_row_that_was_removed_to_be_trusted_anew_is_noticed(tmp_path):
    decided(tmp_path)
    assert edit(tmp_path, "DELETE FROM sealed WHERE tbl='omemo-devices'") == 1
    with pytest.raises(StoreCorrupt):
        Store.open(tmp_path, passphrase())
