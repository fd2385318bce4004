"""Rows that open, and hold something else than their place says: no stranger can write them."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from dataclasses import replace

import pytest

from securecall.address import parse_address
from securecall.errors import LocalError, StoreCorrupt, UsageError
from securecall.keys.omemo_trust import DeviceAct, DeviceAudit, DeviceEvent, DeviceHow
from securecall.keys.omemo_values import DeviceTrust
from securecall.secret import Secret
from securecall.store import history_file, records, sealing, tables
from securecall.store import history_records as history_records
from securecall.store.device_records import build_device_audit
from securecall.store.lock import MINIMUM_COST, Lock
from securecall.store.rows import Rows
from securecall.store.vault import Vault
from tests.forge_history import JULIET, ROMEO, message, open_history
from tests.forge_statement import NOW
from tests.forge_store import BOB, make_store, passphrase

NO_BINDING = [
    b"",
    b"[]",
    b"{}",
    b'{"address":"sip:bob@b.example"}',
    b'{"address":["sip","bob"]}',
    b'{"address":["sip","bob",1]}',
    b'{"address":["smtp","bob","b.example"]}',
]


@pytest.mark.parametrize("data", NO_BINDING)
def test_a_row_that_is_no_binding_is_not_read(data):
    with pytest.raises(StoreCorrupt):
        records.read_record(data, records.parse_binding)


@pytest.mark.parametrize(
    ("take", "good", "bad"),
    [
        (records.text, "a", (1, None, b"a", ["a"])),
        (records.items, ["a"], ("a", 1, {}, None)),
        (records.texts, ["a"], (["a", 1], "a")),
        (records.integer, 1, (True, 1.0, "1", None)),
        (records.integers, [1], ([1, True], 1)),
    ],
)
def test_values_of_rows_have_one_type_each(take, good, bad):
    assert take(good) == good
    for value in bad:
        with pytest.raises(TypeError):
            take(value)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"1", b"\xff", b'{"number":true}'])
def test_a_row_that_is_no_message_is_not_read(data):
    with pytest.raises(StoreCorrupt):
        history_records.parse_person(data)


def test_values_of_the_history_have_one_type_each():
    assert history_records._number(1.5) == 1.5
    assert history_records._truth(False) is False
    for take, values in (
        (history_records._number, (True, "1", None)),
        (history_records._truth, (0, 1, None, "")),
        (history_records._members, ([], "a", None)),
    ):
        for value in values:
            with pytest.raises(TypeError):
                take(value)
    for value in ("1", None, b"1"):
        with pytest.raises(StoreCorrupt):
            history_file.whole(value)
    for value in ("1", None, 1):
        with pytest.raises(StoreCorrupt):
            history_file._blob(value)


def test_closed_keys_open_nothing_and_say_so():
    keys = sealing.Keys(Secret(bytes(range(32))))
    place = (1, 1)
    sealed = keys.seal("messages", place, b"text")
    assert keys.unseal("messages", place, sealed) == b"text"
    for broken in (None, "text", b"", sealed[: sealing.TAG]):
        with pytest.raises(StoreCorrupt):
            keys.unseal("messages", place, broken)
    keys.wipe()
    for use in (
        lambda: keys.seal("messages", place, b"text"),
        lambda: keys.unseal("messages", place, sealed),
    ):
        with pytest.raises(LocalError):
            use()


def test_remembered_names_are_few_and_the_same_when_made_again(monkeypatch):
    monkeypatch.setattr(sealing, "_MOST_NAMES", 3)
    keys = sealing.Keys(Secret(bytes(range(32))))
    made = {n: keys.name("conversation", n) for n in range(8)}
    assert len(keys._names) <= 3
    assert {n: keys.name("conversation", n) for n in range(8)} == made
    assert len(set(made.values())) == 8


def test_what_is_remembered_of_a_history_is_bounded_and_nothing_hangs_on_it(tmp_path, monkeypatch):
    monkeypatch.setattr(history_file, "_MOST_TERMS", 2)
    monkeypatch.setattr(history_file, "_MOST_REMEMBERED", 40)
    values = {f"name {n}": bytes([n]) * 30 for n in range(6)}
    with closing(open_history(tmp_path)) as history:
        with history.transaction():
            numbers = [history.add(message(f"number {n}")).number for n in range(6)]
        for name, value in values.items():
            history.set_value(name, value)
        assert history.values("name") == values
        with history.transaction():
            history.remove(numbers[2])
            for name in values:
                history.set_value(name, b"new")
    with closing(open_history(tmp_path)) as history:
        assert [m.text for m in history.messages(JULIET)] == [
            f"number {n}" for n in (0, 1, 3, 4, 5)
        ]
        assert history.values("name") == dict.fromkeys(values, b"new")


def test_a_value_or_a_person_under_another_name_is_noticed(tmp_path, monkeypatch):
    with closing(open_history(tmp_path)) as history:
        history.set_value("one", b"1")
        history.retain(JULIET, 60)
        true = history_records.parse_person
        monkeypatch.setattr(history_records, "parse_value", lambda data: ("two", b"1"))
        monkeypatch.setattr(
            history_records, "parse_person", lambda data: replace(true(data), address=ROMEO)
        )
        with pytest.raises(StoreCorrupt):
            history.value("one")
        with pytest.raises(StoreCorrupt):
            history.retention(JULIET)


def test_failures_of_many_forged_names_do_not_fill_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_FAILING_KEPT", 4)
    store = make_store(tmp_path / "alice")
    for number in range(12):
        assert store.count_failure(f"sip:{number}@b.example", unix=1_000_000) == 1
    assert store._rows.count("failures") <= 4
    assert store.count_failure("sip:11@b.example", unix=1_000_001) == 2
    # those that are a day old go first
    later = 1_000_000 + tables.FAILURE_WINDOW + 1
    assert store.count_failure("sip:new@b.example", unix=later) == 1
    assert store.failures("sip:11@b.example", unix=later) == 0
    store.close()


def test_a_header_of_another_kind_is_not_opened():
    lock = Lock(passphrase=passphrase(), cost=MINIMUM_COST)
    vault, header = Vault.create(lock)
    vault.wipe()
    for place, value in ((0, b"X"), (16, b"\x03")):
        changed = header[:place] + value + header[place + 1 : -32]
        with pytest.raises(StoreCorrupt):
            Vault.unlock(changed + hashlib.sha256(changed).digest(), lock)


def test_a_row_found_under_another_key_is_noticed(tmp_path, monkeypatch):
    store = make_store(tmp_path / "alice")
    true = Rows._opened
    monkeypatch.setattr(Rows, "_opened", lambda self, *a: ("other", true(self, *a)[1]))
    with pytest.raises(StoreCorrupt):
        store.failures(str(BOB), unix=NOW)
    store.close()


def test_an_act_on_a_device_is_written_down_whole():
    event = DeviceEvent(
        act=DeviceAct.VERIFY,
        address=parse_address("xmpp:bob@b.example"),
        key=bytes(range(32)),
        how=DeviceHow.QR,
        unix=NOW,
        who="alice",
    )
    audit = DeviceAudit(event=event, before=DeviceTrust.UNDECIDED, after=DeviceTrust.VERIFIED)
    assert json.loads(build_device_audit(audit)) == {
        "unix": NOW,
        "who": "alice",
        "act": "verify",
        "how": "qr",
        "address": "xmpp:bob@b.example",
        "device": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        "before": "undecided",
        "after": "verified",
    }


def test_a_key_seals_as_many_rows_as_is_safe_and_no_more(monkeypatch):
    keys = sealing.Keys(Secret(bytes(range(32))))
    assert keys.seals == 0
    monkeypatch.setattr(sealing, "MOST_SEALS", 3)
    for count in (1, 2, 3):
        keys.seal("messages", (1, count), b"text")
        assert keys.seals == count
    with pytest.raises(LocalError, match="begin a new one"):
        keys.seal("messages", (1, 4), b"text")
    assert keys.seals == 3


def test_a_seal_and_a_name_are_of_one_key_and_one_place():
    keys, others = (sealing.Keys(Secret(bytes([n]) * 32)) for n in (1, 2))
    sealed = keys.seal("messages", (1, 2), b"text")
    for reader, table, place in (
        (others, "messages", (1, 2)),
        (keys, "parcels", (1, 2)),
        (keys, "messages", (2, 1)),
        (keys, "messages", (1, 2, 0)),
    ):
        with pytest.raises(StoreCorrupt):
            reader.unseal(table, place, sealed)
    terms = {
        end.term(table, place, data)
        for end in (keys, others)
        for table in ("messages", "parcels")
        for place in ((1, 2), (2, 1))
        for data in (sealed, keys.seal("messages", (1, 2), b"text"))
    }
    assert len(terms) == 16
    assert keys.term("messages", (1, 2), sealed) == keys.term(
        "messages", (1, 2), sealed[-sealing.TAG :]
    )
    assert all(0 <= term < sealing.MODULUS for term in terms)
    names = {keys.name(*asked) for asked in (("a", "b", "c"), ("a", "bc"), ("ab", "c"), ("a",))}
    assert len(names | {others.name("a")}) == 5
    assert all(-(2**63) <= name < 2**63 for name in names)
    assert keys.name("a", "\ud800") != keys.name("a", "?")


def test_the_secret_the_keys_were_made_of_is_wiped():
    secret = Secret(bytes(range(32)))
    sealing.Keys(secret)
    with pytest.raises(UsageError, match="wiped"):
        secret.reveal()


def test_a_closed_history_holds_no_keys(tmp_path):
    history = open_history(tmp_path)
    keys = history._file._keys
    history.close()
    with pytest.raises(LocalError):
        keys.seal("messages", (1, 1), b"text")
    with pytest.raises(UsageError):
        keys.name("a")
