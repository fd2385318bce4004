from __future__ import annotations

import copy
import os
import pickle
import resource
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from securecall.address import Address, Scheme
from securecall.errors import LocalError, StoreBusy, StoreCorrupt, UsageError, WrongPassphrase
from securecall.keys.statement import merge
from securecall.keys.ticket_desk import TicketDesk
from securecall.keys.trust import Act, Floor, How, TrustState
from securecall.secret import Secret
from securecall.store.lock import Lock
from securecall.store.rows import Rows
from securecall.store.sqlite import FILE, Store
from securecall.store.vault import MINIMUM_COST, Vault
from tests.forge_statement import NOW, device_key, parsed, root_key
from tests.forge_store import (
    BOB,
    CAROL,
    MemoryKeeper,
    change,
    lock,
    make_store,
    passphrase,
    pin,
    reopen,
)
from tests.paths import PROJECT

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX file modes and limits")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "alice"


def test_an_identity_is_kept(folder):
    store = Store.create(folder, passphrase(), cost=MINIMUM_COST)
    root, device = store.root.public, store.device
    name, public = device.id, device.public
    store.close()
    again = reopen(folder)
    assert (again.root.public, again.device.id, again.device.public) == (root, name, public)
    again.close()


def test_a_restored_root_and_a_named_device_are_used(folder):
    store = Store.create(
        folder, passphrase(), root=root_key(7), device_id="laptop", cost=MINIMUM_COST
    )
    assert (store.root.fingerprint, store.device.id) == (root_key(7).fingerprint, "laptop")
    store.close()
    assert root_key(7).sign(b"x")


def test_open_or_create_does_either(folder):
    first = Store.open_or_create(folder, passphrase(), cost=MINIMUM_COST)
    root = first.root.public
    first.close()
    second = Store.open_or_create(folder, passphrase(), cost=MINIMUM_COST)
    assert second.root.public == root
    second.close()


def test_own_statement_and_its_number_only_grow(folder):
    store = Store.create(folder, passphrase(), cost=MINIMUM_COST)
    assert (store.statement, store.seq) == (b"", 0)
    store.save_statement(b"one", 5)
    for seq in (4, 5):
        with pytest.raises(UsageError):
            store.save_statement(b"two", seq)
    store.close()
    again = reopen(folder)
    assert (again.statement, again.seq) == (b"one", 5)
    again.close()


def test_trust_is_kept_with_who_when_and_how(folder):
    store = make_store(folder)
    change(store, Act.RAISE_FLOOR, How.USER)
    change(store, Act.DISTRUST, How.USER, CAROL, 3)
    book = store.book
    store.close()
    again = reopen(folder)
    assert again.book == book
    assert again.book.state(BOB, root_key(2).fingerprint) is TrustState.VERIFIED
    assert again.book.state(CAROL, root_key(3).fingerprint) is TrustState.DISTRUSTED
    assert again.book.floor(BOB) is Floor.E2EE
    lines = [entry.data for entry in again.audit()]
    assert len(lines) == 5
    assert b'"act":"verify","how":"qr"' in lines[2]
    again.close()


def test_forgotten_bindings_are_gone_after_reopening(folder):
    store = make_store(folder)
    change(store, Act.FORGET, How.USER)
    store.close()
    again = reopen(folder)
    assert again.book.lookup(BOB) is None
    assert again.book.lookup(CAROL) is not None
    again.close()


def test_addresses_are_kept_however_they_are_spelled(folder):
    store = Store.create(folder, passphrase(), cost=MINIMUM_COST)
    for user in ("a;b", "a?b", "a%b", "\u00e4", 'a"b'):
        pin(store, Address(Scheme.SIP, user, "x.example"), 2)
    book = store.book
    store.close()
    again = reopen(folder)
    assert again.book == book
    again.close()


def test_known_statements_are_kept_as_narrowed(folder):
    store = Store.create(folder, passphrase(), cost=MINIMUM_COST)
    root = root_key()
    assert store.known_statement(root.fingerprint, unix=NOW) is None
    one = parsed(devices=[device_key(1), device_key(2)], revoked=["gone"])
    two = parsed(devices=[device_key(2), device_key(3)])
    store.save_known_statement(one)
    # whichever of the two is named, the one that is not gone by is kept beside it
    store.save_known_statement(merge(one, two).statement, forked=two.raw)
    assert store.forked_statement(root.fingerprint) == one.raw
    store.save_known_statement(merge(one, two).statement, forked=one.raw)
    store.close()
    again = reopen(folder)
    known = again.known_statement(root.fingerprint, unix=NOW)
    assert [entry.id for entry in known.devices] == ["device-2"]
    assert "gone" in known.revoked
    assert again.forked_statement(root.fingerprint) == one.raw
    assert again.known_statement(root.fingerprint, unix=NOW + 30 * 86400).stale
    again.close()


def test_tickets_are_kept_for_the_desk(folder):
    store = Store.create(folder, passphrase(), cost=MINIMUM_COST)
    desk = TicketDesk(store, store.tickets())
    made = desk.issue(["tls:a.example:1"], root_fp=store.root.fingerprint, expiry=NOW + 9, unix=NOW)
    gone = desk.issue(["tls:a.example:1"], root_fp=store.root.fingerprint, expiry=NOW + 9, unix=NOW)
    desk.withdraw(gone.id)
    store.close()
    again = reopen(folder)
    (kept,) = again.tickets()
    assert (kept.id, kept.secret, kept.expiry, kept.bearer) == (
        made.id,
        made.secret,
        NOW + 9,
        b"",
    )
    again.close()


def test_failed_handshakes_are_counted_for_a_day(folder):
    store = Store.create(folder, passphrase(), cost=MINIMUM_COST)
    assert [store.count_failure("a", unix=NOW + n) for n in range(3)] == [1, 2, 3]
    assert store.failures("b", unix=NOW) == 0
    store.close()
    again = reopen(folder)
    assert again.failures("a", unix=NOW + 10) == 3
    assert again.failures("a", unix=NOW + 86_401) == 1
    for _ in range(70):
        count = again.count_failure("a", unix=NOW + 10)
    assert count == 64
    again.close()


def test_calls_and_settings_are_kept(folder):
    store = Store.create(folder, passphrase(), cost=MINIMUM_COST)
    assert [store.append_call(b"one"), store.append_call(b"two")] == [1, 2]
    store.save_setting("addresses", b"[]")
    store.save_setting("other", b"x")
    store.save_setting("other", None)
    store.close()
    again = reopen(folder)
    assert [(entry.number, entry.data) for entry in again.calls()] == [(1, b"one"), (2, b"two")]
    assert (again.setting("addresses"), again.setting("other")) == (b"[]", None)
    again.close()


def test_a_new_passphrase_replaces_the_old_one(folder):
    store = make_store(folder)
    store.set_lock(Lock(passphrase=Secret("a new one, longer"), cost=MINIMUM_COST))
    store.close()
    with pytest.raises(WrongPassphrase):
        reopen(folder)
    Store.open(folder, Secret("a new one, longer")).close()


# ------------------------------------------------------------------ refusals


def test_a_wrong_passphrase_is_told_from_damage(folder):
    make_store(folder).close()
    with pytest.raises(WrongPassphrase):
        Store.open(folder, Secret("wrong"))
    reopen(folder).close()


def test_a_store_that_is_not_there_is_no_damage(folder):
    with pytest.raises(LocalError) as caught:
        reopen(folder)
    assert type(caught.value) is LocalError


def test_an_existing_store_is_never_made_again(folder):
    store = make_store(folder)
    root = store.root.public
    store.close()
    with pytest.raises(LocalError, match=r"there is a key store in .* already"):
        Store.create(folder, passphrase(), cost=MINIMUM_COST)
    again = reopen(folder)
    assert again.root.public == root
    again.close()


def test_a_store_left_half_made_is_made_anew(folder):
    folder.mkdir()
    (folder / FILE).touch()
    with pytest.raises(LocalError, match="never finished"):
        reopen(folder)
    Store.create(folder, passphrase(), cost=MINIMUM_COST).close()


def test_who_forgets_the_passphrase_at_first_makes_the_store_at_the_second_try(folder):
    with pytest.raises(UsageError, match="needs a passphrase"):
        Store.open_or_create(folder)
    Store.open_or_create(folder, passphrase(), cost=MINIMUM_COST).close()
    reopen(folder).close()


def test_a_store_in_use_is_not_opened_twice(folder):
    store = make_store(folder)
    with pytest.raises(StoreBusy, match="another process"):
        reopen(folder)
    # Whatever is tried here must not give up the lock that keeps the others out.
    with pytest.raises(StoreBusy, match="another process"):
        Store.create(folder, passphrase(), cost=MINIMUM_COST)
    code = (
        "import sys; from pathlib import Path\n"
        "from securecall.secret import Secret; from securecall.store.sqlite import Store\n"
        "try: Store.open(Path(sys.argv[1]), Secret(sys.argv[2]))\n"
        "except Exception as e: print(type(e).__name__, e)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(folder), "x"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.startswith("StoreBusy")
    assert "another process" in said
    store.count_failure("a", unix=NOW)
    store.close()
    reopen(folder).close()


def test_a_newer_schema_is_not_touched(folder):
    make_store(folder).close()
    connection = sqlite3.connect(folder / FILE)
    connection.execute("PRAGMA user_version=2")
    connection.close()
    with pytest.raises(LocalError, match="newer"):
        reopen(folder)


def test_a_closed_store_says_so(folder):
    store = make_store(folder)
    store.close()
    store.close()
    with pytest.raises(LocalError, match="closed"):
        store.append_call(b"")
    with pytest.raises(LocalError, match="closed"):
        store.tickets()


def test_a_store_replaced_by_an_older_copy_is_known_by_its_generation(folder):
    store = make_store(folder)
    seen = store.generation
    store.close()
    old = (folder / FILE).read_bytes()
    store = reopen(folder)
    store.append_call(b"later")
    seen = store.generation
    store.close()
    (folder / FILE).write_bytes(old)
    again = reopen(folder)
    again.require_generation(seen - 1)
    with pytest.raises(StoreCorrupt):
        again.require_generation(seen)
    again.close()


@POSIX
def test_files_are_the_owners_alone(folder):
    store = make_store(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / FILE).stat().st_mode & 0o777 == 0o600
    store.close()
    (folder / FILE).chmod(0o644)
    reopen(folder).close()
    assert (folder / FILE).stat().st_mode & 0o777 == 0o600


def test_nothing_of_the_content_is_readable(folder):
    store = make_store(folder)
    seed, device = store.root.seed.reveal(), store.device.seed.reveal()
    store.close()
    data = (folder / FILE).read_bytes()
    for text in (b"bob", b"carol", b"b.example", b"verified", b'"call":1', seed, device):
        assert text not in data


def test_a_store_does_not_copy_or_pickle(folder):
    store = make_store(folder)
    assert repr(store) == "<Store>"
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(UsageError):
            way(store)
    store.close()


# ------------------------------------------------------------------ disks that fail


class FailingConnection(sqlite3.Connection):
    """Fails at the n-th statement, once."""

    left = -1

    def execute(self, *args):
        self.left -= 1
        if self.left == -1:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return super().execute(*args)


def test_a_write_that_fails_at_any_statement_changed_nothing_and_the_next_one_works(tmp_path):
    file = tmp_path / "rows"
    Rows.create(file, lock(), [("t", "a", b"old"), ("t", "b", b"old")]).close()
    connection = sqlite3.connect(file, isolation_level=None, factory=FailingConnection)
    (header,) = connection.execute("SELECT data FROM header").fetchone()
    rows = Rows(connection, Vault.unlock(header, lock()))
    failed = 0
    for place in range(20):
        before = rows.read_all("t")
        connection.left = place
        try:
            rows.write([("t", "a", b"%d" % place), ("t", "b", None), ("t", "c", b"new")])
        except LocalError:
            failed += 1
            connection.left = -1
            assert rows.read_all("t") == before
        connection.left = -1
        rows.write([("t", "b", b"again"), ("t", "c", None)])
    assert failed >= 6
    rows.close()
    Rows.open(file, lock()).close()


@POSIX
def test_a_full_disk_is_a_local_error_and_the_keys_stay(folder):
    store = make_store(folder)
    root = store.root.public
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (folder / FILE).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with pytest.raises(LocalError) as caught:
            store.append_call(os.urandom(4 * size))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not isinstance(caught.value, StoreCorrupt)
    assert len(store.calls()) == 1
    store.append_call(b"there is room again")
    store.close()
    again = reopen(folder)
    assert (again.root.public, len(again.calls())) == (root, 2)
    again.close()


@POSIX
def test_a_killed_process_loses_nothing_it_was_told_was_written(folder):
    make_store(folder).close()
    code = (
        "import sys; from pathlib import Path\n"
        "from securecall.secret import Secret; from securecall.store.sqlite import Store\n"
        "store = Store.open(Path(sys.argv[1]), Secret(sys.stdin.readline().strip()))\n"
        "while True: print(store.append_call(b'x' * 5000), flush=True)\n"
    )
    for lines in (1, 7, 20):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        child.stdin.write(passphrase().reveal() + b"\n")
        child.stdin.close()
        told = 0
        for _ in range(lines):
            told = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        told = max([told, *(int(line) for line in child.stdout.read().split(b"\n")[:-1])])
        child.stdout.close()
        child.wait()
        store = reopen(folder)
        assert len(store.calls()) in (told, told + 1)
        store.close()


def test_a_folder_that_cannot_be_made_is_a_local_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LocalError):
        Store.create(Path(tmp_path / "file" / "below"), passphrase(), cost=MINIMUM_COST)
    (tmp_path / "folder" / FILE).mkdir(parents=True)
    with pytest.raises(LocalError):
        reopen(tmp_path / "folder")


def test_closing_a_store_wipes_its_keys(folder):
    store = Store.create(folder, passphrase(), cost=MINIMUM_COST)
    root, device = store.root, store.device
    store.close()
    for key in (root, device):
        with pytest.raises(UsageError):
            key.sign(b"x")


def test_a_store_that_is_thrown_away_is_closed_and_its_keeper_forgets_it(folder):
    keeper = MemoryKeeper()
    store = Store.create(folder, None, keeper=keeper)
    root = store.root
    assert keeper.kept
    store.abandon()
    assert not keeper.kept
    with pytest.raises(LocalError, match="closed"):
        store.setting("x")
    with pytest.raises(UsageError):
        root.sign(b"x")
    store.abandon()
