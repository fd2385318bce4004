"""What is written is there after the store was closed, opened again, and read by nobody else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from securecall.address import Address, Scheme, parse_address
from securecall.errors import LocalError, StoreCorrupt, UsageError
from securecall.keys.encoding import build_base64url
from securecall.keys.identity import RootKey
from securecall.keys.omemo_trust import (
    DeviceAct,
    DeviceAudit,
    DeviceEvent,
    DeviceHow,
    DeviceRecord,
    PersonDevices,
)
from securecall.keys.omemo_values import DeviceTrust
from securecall.keys.organisation import LastWord, weigh
from securecall.keys.trust import Act, How, TrustEvent, transition
from securecall.secret import Secret
from securecall.store.lock import MINIMUM_COST
from securecall.store.sqlite import Store
from securecall.store.tables import RETIRED
from tests.forge_organisation import BOB as PATIENT
from tests.forge_organisation import CLINIC, DOMAIN, parsed
from tests.forge_statement import NOW, device_key, root_key
from tests.forge_store import BOB, make_store, passphrase, reopen

JULIET = parse_address("xmpp:juliet@b.example")


class Kept:
    """A store, and the same one after it was closed and opened again."""

    def __init__(self, folder):
        self.folder, self.store = folder, None

    def made(self, **how) -> Store:
        self.store = Store.create(self.folder, passphrase(), cost=MINIMUM_COST, **how)
        return self.store

    def again(self, **how) -> Store:
        self.store.close()
        self.store = Store.open(self.folder, passphrase(), **how)
        return self.store


@pytest.fixture
def kept(tmp_path):
    found = Kept(tmp_path / "alice")
    yield found
    if found.store is not None:
        found.store.close()


class Token:
    """A signer whose key nothing can read."""

    def __init__(self, number=1):
        self._key = root_key(number)
        self.public = self._key.public

    def sign(self, data):
        return self._key.sign(data)


# -- our identity


def test_nothing_is_known_of_a_store_that_said_nothing_yet(kept):
    store = kept.made()
    assert (store.statement, store.seq, store.household, store.device_since) == (b"", 0, b"", 0)
    assert store.next_device is None
    assert (store.audit(), store.calls(), store.tickets()) == ((), (), ())
    assert store.forked_statement(bytes(64)) == b""


def test_a_statement_is_kept_with_all_it_rests_on(kept):
    store = kept.made(device_id="desk")
    store.save_setting("goes", b"x")
    store.save_next_device(device_key(8, "desk"))
    assert kept.again().next_device.public == device_key(8, "desk").public
    root, device = root_key(7), device_key(9, "desk")
    kept.store.save_statement(
        b"one",
        5,
        household=b"others",
        root=root,
        device=device,
        since=NOW,
        settings={"stays": b"y", "goes": None},
    )
    now = kept.store
    for _ in range(2):  # at once, and after a restart
        assert (now.statement, now.seq) == (b"one", 5)
        assert (now.household, now.device_since) == (b"others", NOW)
        assert (now.root.public, now.device.public) == (root_key(7).public, device.public)
        assert now.next_device is None, "it is the device's key now"
        assert (now.setting("stays"), now.setting("goes")) == (b"y", None)
        now = kept.again()


def test_a_statement_alone_leaves_the_rest_as_it_was(kept):
    store = kept.made()
    store.save_household(b"others")
    store.save_next_device(device_key(8))
    root, device = store.root.public, store.device.public
    store.save_statement(b"one", 5, since=NOW)
    store.save_statement(b"two", 6)
    store = kept.again()
    assert (store.statement, store.household, store.device_since) == (b"two", b"others", NOW)
    assert (store.root.public, store.device.public) == (root, device)
    assert store.next_device is not None


def test_a_device_that_only_knows_its_root_may_come_to_hold_it(kept):
    store = kept.made(root=RootKey.known(root_key(7).public))
    store = kept.again()
    assert not store.root.held
    for other in (root_key(8), RootKey.known(root_key(7).public)):
        with pytest.raises(UsageError):
            store.save_root(other)
    store.save_root(root_key(7))
    assert store.root.held
    assert kept.again().root.seed == root_key(7).seed


def test_a_root_in_a_token_is_not_opened_without_that_token(kept):
    kept.made(root=RootKey.from_signer(Token()))
    assert kept.again(root=Token()).root.held
    kept.store.close()
    with pytest.raises(UsageError, match="token"):
        reopen(kept.folder)
    with pytest.raises(LocalError, match="another root key"):
        Store.open(kept.folder, passphrase(), root=Token(2))


def test_a_store_without_an_identity_is_corrupt(kept):
    store = kept.made()
    store.write_restored([("identity", "root-seed", None)])
    store.close()
    with pytest.raises(StoreCorrupt, match="identity"):
        reopen(kept.folder)


@pytest.mark.parametrize(("row", "data"), [("root-public", b"none"), ("device-seed", None)])
def test_a_store_whose_keys_are_gone_is_corrupt(kept, row, data):
    store = kept.made()
    store.write_restored([("identity", "root-seed", None), ("identity", row, data)])
    store.close()
    with pytest.raises(StoreCorrupt):
        reopen(kept.folder)


# -- trust


def test_an_act_is_written_down_with_who_what_when_and_why(kept):
    store = kept.made()
    event = TrustEvent(
        act=Act.PIN, how=How.CARD, address=BOB, root_fp=bytes(64), unix=NOW, who="nurse"
    )
    book, entry = transition(store.book, event)
    store.save_trust(book, [entry])
    clinic = TrustEvent(
        act=Act.PIN_ORGANISATION,
        how=How.QR,
        address=Address(Scheme.KEY, CLINIC.fingerprint.hex()),
        root_fp=CLINIC.fingerprint,
        unix=NOW + 1,
        organisation=DOMAIN,
    )
    book, entry = transition(book, clinic)
    store.save_trust(book, [entry])
    one, two = (json.loads(line.data) for line in kept.again().audit())
    assert one == {
        "unix": NOW,
        "who": "nurse",
        "act": "pin",
        "how": "card",
        "address": str(BOB),
        "root": build_base64url(bytes(64)),
        "before": "unknown",
        "after": "pinned",
        "floor": "none",
    }
    assert (two["act"], two["organisation"], two["unix"]) == ("pin-organisation", DOMAIN, NOW + 1)
    assert [line.number for line in kept.store.audit()] == [1, 2]


def test_an_organisation_is_kept_until_it_is_forgotten(kept):
    store = kept.made()
    event = TrustEvent(
        act=Act.PIN_ORGANISATION,
        how=How.QR,
        address=Address(Scheme.KEY, CLINIC.fingerprint.hex()),
        root_fp=CLINIC.fingerprint,
        unix=NOW,
        organisation=DOMAIN,
    )
    book, entry = transition(store.book, event)
    store.save_trust(book, [entry])
    found = kept.again().book.organisations[DOMAIN]
    assert (found.domain, found.root_fp, found.since, found.how) == (
        DOMAIN,
        CLINIC.fingerprint,
        NOW,
        How.QR,
    )
    assert kept.store.book == book
    event = replace(event, act=Act.FORGET_ORGANISATION, how=How.USER)
    book, entry = transition(book, event)
    kept.store.save_trust(book, [entry])
    assert not kept.again().book.organisations


def test_a_word_of_an_organisation_is_kept_with_what_it_took_back(kept):
    store = kept.made()
    assert store.word_about(CLINIC.fingerprint, PATIENT, unix=NOW) is None
    word = LastWord(latest=parsed())
    for person in (3, 4):
        word = weigh(word, parsed(person=person, number=person, withdrawn=True))
    store.save_word(word)
    assert kept.again().word_about(CLINIC.fingerprint, PATIENT, unix=NOW) == word
    assert len(word.withdrawn) == 2
    assert kept.store.word_about(root_key(9).fingerprint, PATIENT, unix=NOW) is None
    assert kept.store.word_about(CLINIC.fingerprint, BOB, unix=NOW) is None


def test_a_row_of_trust_that_is_nonsense_is_corruption(kept):
    kept.made().write_restored([("barred", "zz", b"revoked")])
    kept.store.close()
    with pytest.raises(StoreCorrupt):
        reopen(kept.folder)


def test_only_those_who_are_barred_are_kept_as_such(kept):
    kept.made().write_restored([("barred", bytes(64).hex(), b"pinned")])
    kept.store.close()
    with pytest.raises(StoreCorrupt):
        reopen(kept.folder)


# -- OMEMO devices


def test_devices_are_kept_as_they_were_seen(kept):
    store = kept.made()
    nothing = store.devices_of(JULIET)
    assert (nothing.address, nothing.written, dict(nothing.devices)) == (JULIET, 0, {})
    first = DeviceRecord(
        key=bytes(range(32)),
        names=frozenset({("urn:xmpp:omemo:2", 7), ("eu.siacs.conversations.axolotl", 8)}),
        seen=NOW,
        trust=DeviceTrust.VERIFIED,
        how=DeviceHow.QR,
        since=NOW + 1,
        entry="phone",
    )
    second = DeviceRecord(key=bytes(32), seen=NOW + 2)
    person = PersonDevices(
        address=JULIET, written=NOW + 3, devices={first.key: first, second.key: second}
    )
    event = DeviceEvent(
        act=DeviceAct.VERIFY, address=JULIET, key=first.key, how=DeviceHow.QR, unix=NOW
    )
    audit = DeviceAudit(event=event, before=DeviceTrust.UNDECIDED, after=DeviceTrust.VERIFIED)
    store.save_devices(person, [audit, audit])
    store = kept.again()
    assert store.devices_of(JULIET) == person
    assert [line.number for line in store.audit()] == [1, 2]
    assert json.loads(store.audit()[0].data)["act"] == "verify"


def test_retired_devices_are_those_of_one_account(kept):
    store = kept.made()
    assert store.retired_omemo("a@b.example") == frozenset()
    store.save_setting(RETIRED, b"a@b.example 7\na@b.example 8\nc@b.example 9")
    assert kept.again().retired_omemo("a@b.example") == {7, 8}


# -- backups


def test_a_table_is_read_whole(tmp_path):
    store = make_store(tmp_path / "alice")
    assert store.tables == {"audit", "bindings", "calls", "contacts", "failures", "identity"}
    assert store.read_table("calls") == {"000000000001": b'{"call":1}'}
    assert store.read_table("none") == {}
    store.close()


def test_a_log_stays_in_order_beyond_nine_entries(kept):
    store = kept.made()
    numbers = [store.append_call(b"%d" % n) for n in range(1, 12)]
    assert numbers == list(range(1, 12))
    assert [line.data for line in kept.again().calls()] == [b"%d" % n for n in numbers]


def test_a_seed_kept_for_later_is_not_shown(kept):
    store = kept.made()
    store.save_next_device(device_key(8))
    assert isinstance(store.next_device.seed, Secret)
