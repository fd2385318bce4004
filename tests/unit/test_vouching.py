"""What a clinic does with its key, and what its staff does with its words."""

from __future__ import annotations

import time

import pytest

from securecall.address import parse_address
from securecall.contacts import Contacts
from securecall.errors import StoreCorrupt, UsageError
from securecall.keys.organisation import parse_countersignature, parse_organisation_code
from securecall.store.sqlite import Store
from securecall.store.vault import MINIMUM_COST
from securecall.vouching import VouchingKey
from tests.forge_devices import contacts_at
from tests.forge_organisation import BOB, CODE, DOMAIN, word
from tests.forge_statement import root_key
from tests.forge_store import passphrase

ROOT = root_key(2).fingerprint
ANNA = parse_address("xmpp:anna@clinic.example")


def create(folder, domain=DOMAIN):
    return VouchingKey.create(folder, passphrase(), domain=domain, cost=MINIMUM_COST)


def read(data):
    return parse_countersignature(data, unix=int(time.time()))


def test_a_clinic_vouches_withdraws_and_remembers_both(tmp_path):
    with create(tmp_path) as clinic:
        code = parse_organisation_code(clinic.code)
        first, second = read(clinic.vouch(BOB, ROOT)), read(clinic.vouch(BOB, ROOT, days=3))
        assert second.seq > first.seq
        assert (second.exp - second.iat, second.organisation_fp) == (3 * 86400, code.fingerprint)
        clinic.vouch(ANNA, root_key(3).fingerprint)
        gone = read(clinic.withdraw(BOB))
        assert gone.withdrawn
        assert (gone.root_fp, gone.seq > second.seq) == (ROOT, True)
    with VouchingKey.open(tmp_path, passphrase()) as clinic:
        assert parse_organisation_code(clinic.code) == code
        assert [(i.address, i.withdrawn) for i in clinic.issued()] == [(BOB, True), (ANNA, False)]
        with pytest.raises(UsageError, match="for ever"):
            clinic.vouch(BOB, ROOT)
        with pytest.raises(UsageError, match="nobody"):
            clinic.withdraw(BOB)
        anew = read(clinic.vouch(BOB, root_key(4).fingerprint))
        assert anew.seq > gone.seq
        with pytest.raises(UsageError, match="for ever"):  # nor after somebody else had the address
            clinic.vouch(BOB, ROOT)
        for address, days in ((parse_address("sip:bob@other.example"), 14), (ANNA, 15)):
            with pytest.raises(UsageError):
                clinic.vouch(address, ROOT, days=days)


def test_a_key_store_is_a_persons_or_an_organisations(tmp_path):
    create(tmp_path / "clinic").close()
    store = Store.open(tmp_path / "clinic", passphrase())
    with pytest.raises(UsageError, match="organisation"):
        Contacts(store)
    store.close()
    contacts_at(tmp_path / "alice").store.close()
    with pytest.raises(UsageError, match="person"):
        VouchingKey.open(tmp_path / "alice", passphrase())
    with pytest.raises(UsageError, match="not a domain"):
        create(tmp_path / "nowhere", domain="Clinic example")
    assert not (tmp_path / "nowhere").exists()


def test_what_was_written_of_issued_words_is_read_strictly(tmp_path):
    with create(tmp_path) as clinic:
        clinic._store.save_setting("issued", b'{"issued":[1]}')
        with pytest.raises(StoreCorrupt):
            clinic.issued()


def test_our_own_word_is_shown_until_it_expires_or_is_withdrawn(tmp_path):
    contacts = contacts_at(tmp_path)
    ours, unix = contacts.organisations, int(time.time())
    with create(tmp_path / "clinic") as clinic:
        mine = clinic.vouch(BOB, contacts.root_fp)
        with pytest.raises(UsageError, match="no address of yours"):
            ours.take(mine)
        contacts.own_address(BOB)
        newer = clinic.vouch(BOB, contacts.root_fp)
        ours.take(newer + b"\n")
        assert (ours.own_word(BOB), ours.own_word(ANNA)) == (newer, b"")
        with pytest.raises(UsageError, match="newer"):
            ours.take(mine)
        ours.take(clinic.withdraw(BOB))
        assert ours.own_word(BOB) == b""
    contacts.store.save_setting(f"own-word {BOB}", word(unix=unix - 20 * 86400))
    assert ours.own_word(BOB) == b""
    contacts.store.close()


def test_whom_we_trust_outlives_the_process_and_is_audited(tmp_path):
    contacts = contacts_at(tmp_path)
    contacts.organisations.trust(CODE, scanned=True)
    contacts.organisations.trust(CODE)  # known: nothing is written again
    said = word(unix=int(time.time()))
    contacts.organisations.take(said)
    contacts.store.close()
    contacts = contacts_at(tmp_path)
    (found,) = contacts.organisations.all()
    assert (found.domain, found.how.value) == (DOMAIN, "qr")
    assert contacts.organisations.holds(BOB, ROOT)
    assert not contacts.organisations.holds(BOB, root_key(3).fingerprint)
    contacts.organisations.forget(DOMAIN)
    with pytest.raises(UsageError):
        contacts.organisations.forget(DOMAIN)
    acts = [line.data for line in contacts.store.audit()]
    assert [b'"organisation":"clinic.example"' in line for line in acts] == [True, True]
    contacts.store.close()
