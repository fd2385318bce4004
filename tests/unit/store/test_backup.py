"""A backup holds what a person would miss, is whole or none, and is told from everything else."""

from __future__ import annotations

import os
import re
import resource
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from securecall.chat.message import Delivery
from securecall.errors import LocalError, NotPrimary, StoreCorrupt, UsageError, WrongPassphrase
from securecall.keys.identity import RootKey
from securecall.secret import Secret
from securecall.store import backup as backup_module
from securecall.store.backup import KEPT, LEFT, check_backup, restore, write_backup
from securecall.store.lock import MINIMUM_COST, Rounds
from securecall.store.sqlite import Store
from tests.forge_history import JULIET, ROMEO, full_message, message, parcel
from tests.forge_statement import NOW
from tests.forge_store import BOB, MemoryKeeper, make_store, passphrase
from tests.paths import PROJECT

BACKUP_PASSPHRASE = Secret("a passphrase for the backup")
NEW = Secret("the new machine's")


@pytest.fixture
def store(tmp_path):
    made = make_store(tmp_path / "old")
    made.save_setting("place x", b"host 5061")
    made.save_statement(b"statement", 41)
    yield made
    made.close()


def talk(store: Store, count: int = 3):
    history = store.open_history()
    for place in range(count):
        history.add(message(f"text {place}", conversation=ROMEO, unread=place == 1))
    return history


def back_up(store: Store, file: Path):
    return write_backup(store, file, BACKUP_PASSPHRASE, cost=MINIMUM_COST)


def put_back(file: Path, folder: Path, **rest):
    return restore(
        file,
        folder,
        **{
            "backup_passphrase": BACKUP_PASSPHRASE,
            "passphrase": NEW,
            "cost": MINIMUM_COST,
            **rest,
        },
    )


def test_what_a_person_would_miss_comes_back(store, tmp_path):
    file, folder = tmp_path / "saved", tmp_path / "new"
    history = talk(store)
    history.remove(2)
    history.add(full_message())
    history.add(message("on its way", own=True, delivery=Delivery.PENDING))
    history.retain(JULIET, 86_400)
    history.set_value("archive juliet@capulet.example", b"place")
    written = back_up(store, file)
    assert (written.contacts, written.messages, written.calls) == (2, 4, 1)
    assert check_backup(file, BACKUP_PASSPHRASE) == written
    assert put_back(file, folder) == written
    again = Store.open(folder, NEW)
    assert again.root.public == store.root.public
    assert (again.book, again.calls(), again.seq) == (store.book, store.calls(), 41)
    assert [line.data for line in again.audit()] == [line.data for line in store.audit()]
    assert again.setting("place x") == b"host 5061"
    assert again.failures(str(BOB), unix=NOW) == 1
    kept = again.open_history()
    there = list(history.after(0))
    there[-1] = replace(there[-1], delivery=Delivery.FAILED)
    assert [repr(m) for m in kept.after(0)] == [repr(m) for m in there]
    assert [m.text for m in kept.after(0)] == [m.text for m in there]
    assert kept.after(0)[2].file.key == there[2].file.key
    assert [m.number for m in kept.after(0)] == [1, 3, 4, 5]
    assert kept.add(message("next")).number == 6
    assert kept.retention(JULIET) == 86_400
    assert kept.value("archive juliet@capulet.example") == b"place"
    assert [m.number for m in kept.search("text")] == [3, 1]
    again.close()


def test_what_must_not_exist_twice_does_not_come_back(store, tmp_path):
    file, folder = tmp_path / "saved", tmp_path / "new"
    history = talk(store)
    history.set_value("omemo alice@a.example omemo/session/x", b"ratchet")
    history.post(parcel())
    for name in ("own-omemo", "own-passport-key", "own-next-passport-key", "sip-instance"):
        store.save_setting(name, b"old")
    back_up(store, file)
    put_back(file, folder)
    again = Store.open(folder, NEW)
    kept = again.open_history()
    assert not kept.values("omemo ")
    assert not kept.parcels()
    assert again.setting("own-omemo") is None
    assert again.setting("own-passport-key") is None
    assert again.setting("own-next-passport-key") is None
    assert again.setting("sip-instance") is None
    assert not again.tickets()
    assert again.device.id != store.device.id
    assert again.device.public != store.device.public
    again.close()


def test_every_table_of_the_store_was_decided_about():
    written = set()
    for name in ("sqlite", "tables", "book_rows", "rows"):
        source = (PROJECT / "securecall" / "store" / f"{name}.py").read_text()
        written |= set(re.findall(r'[\[(]"([a-z-]+)", (?!")\w', source))
        written |= set(re.findall(r'_next\("([a-z-]+)"\)', source))
        written |= set(re.findall(r'\("(identity)",', source))
        written |= set(re.findall(r'rows\["([a-z-]+)",', source))
    assert written >= {"identity", "audit", "tickets", "omemo-devices", "bindings", "barred"}
    assert written == KEPT | LEFT


def test_a_wrong_passphrase_is_told_from_damage_and_from_other_files(store, tmp_path):
    file = tmp_path / "saved"
    back_up(store, file)
    for use in (check_backup, lambda f, p: put_back(f, tmp_path / "new", backup_passphrase=p)):
        with pytest.raises(WrongPassphrase, match="backup"):
            use(file, Secret("another"))
        (tmp_path / "other").write_bytes(b"something else, long enough to be anything" * 9)
        with pytest.raises(StoreCorrupt, match="not a backup"):
            use(tmp_path / "other", BACKUP_PASSPHRASE)
        (tmp_path / "other").write_bytes(b"")
        with pytest.raises(StoreCorrupt):
            use(tmp_path / "other", BACKUP_PASSPHRASE)
        with pytest.raises(LocalError) as caught:
            use(tmp_path / "absent", BACKUP_PASSPHRASE)
        assert not isinstance(caught.value, StoreCorrupt)
    assert not (tmp_path / "new").exists()


def test_a_backup_is_the_owners_alone_and_shows_nothing(store, tmp_path):
    file = tmp_path / "saved"
    talk(store)
    back_up(store, file)
    if os.name == "posix":
        assert file.stat().st_mode & 0o777 == 0o600
    data = file.read_bytes()
    for word in (store.root.seed.reveal(), str(BOB).encode(), b"text 1", store.device.id.encode()):
        assert word not in data


def test_an_older_backup_is_replaced_and_nothing_else_is(store, tmp_path):
    file = tmp_path / "saved"
    back_up(store, file)
    store.append_call(b"{}")
    assert back_up(store, file).calls == 2
    assert check_backup(file, BACKUP_PASSPHRASE).calls == 2
    (tmp_path / "thesis").write_bytes(b"years of work")
    (tmp_path / "folder").mkdir()
    for name in ("thesis", "folder"):
        with pytest.raises(LocalError, match="left alone"):
            back_up(store, tmp_path / name)
    assert (tmp_path / "thesis").read_bytes() == b"years of work"


def test_a_backup_is_restored_into_an_empty_folder_alone(store, tmp_path):
    file = tmp_path / "saved"
    back_up(store, file)
    with pytest.raises(LocalError, match="not empty"):
        put_back(file, tmp_path / "old")
    (tmp_path / "empty").mkdir()
    put_back(file, tmp_path / "empty")
    put_back(file, tmp_path / "deep" / "down")
    Store.open(tmp_path / "deep" / "down", NEW).close()
    with pytest.raises(UsageError):
        put_back(file, tmp_path / "none", passphrase=None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "empty", "old", "saved"]


def test_a_restored_store_can_be_held_by_a_keeper(store, tmp_path):
    file, keeper = tmp_path / "saved", MemoryKeeper()
    back_up(store, file)
    put_back(file, tmp_path / "new", passphrase=None, keeper=keeper)
    again = Store.open(tmp_path / "new", keeper=keeper)
    assert again.root.public == store.root.public
    again.close()


def test_an_empty_passphrase_makes_no_backup(store, tmp_path):
    with pytest.raises(UsageError):
        write_backup(store, tmp_path / "saved", Secret(b""))
    assert [p.name for p in tmp_path.iterdir()] == ["old"]


def test_a_device_without_the_root_makes_no_backup_that_nothing_could_restore(tmp_path):
    root = RootKey.known(RootKey.generate().public)
    store = Store.create(tmp_path / "phone", passphrase(), root=root, cost=MINIMUM_COST)
    with pytest.raises(NotPrimary):
        write_backup(store, tmp_path / "saved", passphrase(), cost=MINIMUM_COST)
    assert not (tmp_path / "saved").exists()
    store.close()


def test_a_backup_under_pbkdf2_opens(store, tmp_path):
    write_backup(store, tmp_path / "saved", BACKUP_PASSPHRASE, cost=Rounds())
    assert check_backup(tmp_path / "saved", BACKUP_PASSPHRASE).calls == 1


def test_a_long_history_is_written_and_read_in_chunks(store, tmp_path):
    file = tmp_path / "saved"
    history = store.open_history()
    with history.transaction():
        for place in range(1200):
            history.add(message(f"{place} " + "x" * 200))
    assert back_up(store, file).messages == 1200
    assert file.stat().st_size > 5 * 65536
    put_back(file, tmp_path / "new")
    again = Store.open(tmp_path / "new", NEW)
    assert again.open_history().after(0, count=2000) == history.after(0, count=2000)
    again.close()


def test_a_disk_that_refuses_leaves_the_older_backup_and_no_rest(store, tmp_path, monkeypatch):
    file = tmp_path / "saved"
    back_up(store, file)
    before = file.read_bytes()

    def full(number):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(backup_module.os, "fsync", full)
        with pytest.raises(LocalError, match="No space"):
            back_up(store, file)
        with pytest.raises(LocalError, match="No space"):
            put_back(file, tmp_path / "new")
    assert file.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old", "saved"]


@pytest.mark.skipif(os.name != "posix", reason="POSIX limits")
def test_a_disk_that_is_full_in_the_middle_is_a_local_error(store, tmp_path):
    history = store.open_history()
    with history.transaction():
        for place in range(600):
            history.add(message(f"{place} " + "x" * 500))
    file = tmp_path / "saved"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        with pytest.raises(LocalError):
            back_up(store, file)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        back_up(store, file)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        with pytest.raises(LocalError) as caught:
            put_back(file, tmp_path / "new")
        assert not isinstance(caught.value, StoreCorrupt | WrongPassphrase)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old", "saved"]


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_restore_that_breaks_off_leaves_nothing_anywhere(store, tmp_path, monkeypatch, batch):
    file, keeper, written = tmp_path / "saved", MemoryKeeper(), []
    history = store.open_history()
    with history.transaction():
        for place in range(1200):
            history.add(message(str(place)))
    back_up(store, file)

    def cut(batches):
        for each in batches:
            written.append(each)
            if len(written) == batch:
                raise KeyboardInterrupt
            yield each

    whole = backup_module._batches
    monkeypatch.setattr(backup_module, "_batches", lambda records: cut(whole(records)))
    with pytest.raises(KeyboardInterrupt):
        put_back(file, tmp_path / "new", passphrase=None, keeper=keeper)
    assert not keeper.kept
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old", "saved"]


def test_a_backup_of_a_store_in_use_is_whole(store, tmp_path):
    history = store.open_history()
    history.add(message("first"))
    stop = threading.Event()

    def write():
        while not stop.is_set():
            history.add(message("more"))
            store.append_call(b"{}")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        written = back_up(store, tmp_path / "saved")
    finally:
        stop.set()
        writer.join()
    assert check_backup(tmp_path / "saved", BACKUP_PASSPHRASE) == written
    assert put_back(tmp_path / "saved", tmp_path / "new") == written
