"""The file of the history: who may open it, what a failing disk does to it, and what is left."""

from __future__ import annotations

import copy
import functools
import os
import pickle
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from securecall.errors import HistoryCorrupt, LocalError, StoreBusy, StoreCorrupt, UsageError
from securecall.secret import Secret
from securecall.store import history_records as records
from securecall.store import history_schema, sealing
from securecall.store.history import FILE
from securecall.store.lock import Lock
from securecall.store.sqlite import FILE as STORE
from securecall.store.sqlite import Store
from securecall.store.vault import MINIMUM_COST
from tests.forge_history import (
    DAY,
    JULIET,
    NOW,
    ROMEO,
    disk_bytes,
    edit,
    everything,
    full_message,
    message,
    open_history,
    parcel,
    stored,
)
from tests.forge_store import passphrase
from tests.paths import PROJECT

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX only")
if os.name == "posix":
    import resource


def fill(history) -> None:
    with history.transaction():
        history.add(full_message())
        history.add(message("second", conversation=ROMEO, unread=True))
        history.post(parcel("a"))
        history.set_value("v", b"1")
        history.retain(JULIET, 50)


def test_everything_is_there_after_reopening(tmp_path):
    history = open_history(tmp_path)
    fill(history)
    before, generation = everything(history), history.generation
    history.close()
    again = open_history(tmp_path)
    assert everything(again) == before
    assert again.generation == generation
    assert again.add(message("third")).number == 3
    assert again.post(parcel("b")).number == 2
    again.close()


def test_reading_and_changing_nothing_writes_nothing(tmp_path):
    history = open_history(tmp_path)
    fill(history)
    generation = history.generation
    with history.transaction():
        everything(history)
        history.remove(77)
        history.mark_read(JULIET, 0)
        history.expire(0)
    assert history.generation == generation
    history.close()


def test_a_store_opens_its_history_with_the_same_passphrase(tmp_path):
    store = Store.create(tmp_path, passphrase(), cost=MINIMUM_COST)
    history = store.open_history()
    fill(history)
    before = everything(history)
    store.set_lock(Lock(passphrase=Secret("another"), cost=MINIMUM_COST))
    store.close()
    with pytest.raises(LocalError):
        history.messages(JULIET)
    store = Store.open(tmp_path, Secret("another"))
    assert everything(store.open_history()) == before
    store.close()


def test_an_older_copy_of_the_history_is_refused(tmp_path):
    store = Store.create(tmp_path, passphrase(), cost=MINIMUM_COST)
    store.open_history().set_value("ratchet", b"1")
    store.close()
    older = (tmp_path / FILE).read_bytes()
    store = Store.open(tmp_path, passphrase())
    store.open_history().set_value("ratchet", b"2")
    store.close()
    (tmp_path / FILE).write_bytes(older)
    store = Store.open(tmp_path, passphrase())
    with pytest.raises(StoreCorrupt, match="older"):
        store.open_history()
    store.close()


def test_a_history_that_is_gone_is_missed_until_it_is_forgotten(tmp_path):
    store = Store.create(tmp_path, passphrase(), cost=MINIMUM_COST)
    fill(store.open_history())
    store.close()
    (tmp_path / FILE).unlink()
    store = Store.open(tmp_path, passphrase())
    with pytest.raises(HistoryCorrupt, match="gone"):
        store.open_history()
    assert not (tmp_path / FILE).exists()
    store.forget_history()
    assert store.open_history().conversations() == ()
    store.forget_history()
    assert store.open_history().conversations() == ()
    store.close()


@pytest.mark.parametrize(
    "damage",
    [
        ("UPDATE named SET value=zeroblob(60)",),
        ("UPDATE parcels SET value=zeroblob(60)",),
        ("DELETE FROM parcels",),
        ("UPDATE head SET value=zeroblob(60)",),
        ("DELETE FROM head",),
        ("DROP TABLE named",),
        (),
    ],
    ids=str,
)
def test_whatever_is_damaged_says_that_it_is_the_history_and_can_be_forgotten(tmp_path, damage):
    store = Store.create(tmp_path, passphrase(), cost=MINIMUM_COST)
    fill(store.open_history())
    store.close()
    if damage:
        edit(tmp_path, *damage)
    else:
        (tmp_path / FILE).write_bytes(b"no file of SQLite, however one looks at it" * 99)
    store = Store.open(tmp_path, passphrase())
    with pytest.raises(HistoryCorrupt):
        store.open_history()
    store.forget_history()
    assert store.open_history().conversations() == ()
    fill(store.open_history())
    store.close()
    store = Store.open(tmp_path, passphrase())
    assert everything(store.open_history())["parcels"]
    store.close()


def test_a_row_that_is_altered_behind_its_sum_says_so_when_it_is_read(tmp_path):
    """The sum is over the tags alone, so that opening does not read every row."""
    store = Store.create(tmp_path, passphrase(), cost=MINIMUM_COST)
    fill(store.open_history())
    store.close()
    end = "CAST(zeroblob(length(value)-16) || substr(value, -16) AS BLOB)"
    edit(tmp_path, f"UPDATE named SET value={end}")
    store = Store.open(tmp_path, passphrase())
    with pytest.raises(HistoryCorrupt, match="named"):
        store.open_history().value("v")
    store.close()


def test_nothing_of_a_forgotten_history_stays_and_nothing_else_goes(tmp_path):
    store = Store.create(tmp_path, passphrase(), cost=MINIMUM_COST)
    history = store.open_history()
    fill(history)
    root, device = store.root.fingerprint, store.device.id
    for ending in ("-journal", "-shm"):  # of a file system that has no room for a log
        (tmp_path / f"{FILE}{ending}").write_bytes(b"old")
    store.forget_history()
    with pytest.raises(LocalError, match="closed"):
        history.messages(JULIET)
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == [STORE]
    store = Store.open(tmp_path, passphrase())
    assert (store.root.fingerprint, store.device.id) == (root, device)
    store.close()


def test_a_forgotten_history_that_is_put_back_is_refused(tmp_path):
    """Its ratchets would repeat keys, and its number is higher than the new one's."""
    store = Store.create(tmp_path, passphrase(), cost=MINIMUM_COST)
    for value in (b"1", b"2", b"3"):
        store.open_history().set_value("ratchet", value)
    store.close()
    older = (tmp_path / FILE).read_bytes()
    store = Store.open(tmp_path, passphrase())
    store.forget_history()
    store.open_history()
    store.close()
    (tmp_path / FILE).write_bytes(older)
    store = Store.open(tmp_path, passphrase())
    with pytest.raises(HistoryCorrupt):
        store.open_history()
    store.close()


def test_a_history_in_use_is_not_opened_twice(tmp_path):
    history = open_history(tmp_path)
    with pytest.raises(StoreBusy, match="another process"):
        open_history(tmp_path)
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.forge_history import open_history\n"
        "try: open_history(Path(sys.argv[1]))\n"
        "except Exception as e: print(type(e).__name__, e)\n"
    )
    child = [sys.executable, "-c", code, str(tmp_path)]
    said = subprocess.run(child, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert said.startswith("StoreBusy")
    assert "another process" in said
    fill(history)
    history.close()
    open_history(tmp_path).close()


def test_a_newer_history_is_not_touched(tmp_path):
    open_history(tmp_path).close()
    edit(tmp_path, "PRAGMA user_version=99")
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(LocalError, match="newer") as caught:
        open_history(tmp_path)
    assert not isinstance(caught.value, StoreCorrupt)
    assert (tmp_path / FILE).read_bytes() == before


def test_an_older_schema_is_brought_up_to_date_in_one_step(tmp_path, monkeypatch):
    history = open_history(tmp_path)
    fill(history)
    before = everything(history)
    history.close()
    edit(tmp_path, "DROP TABLE opened", "PRAGMA user_version=1")
    steps = history_schema.MIGRATIONS
    monkeypatch.setattr(history_schema, "MIGRATIONS", {1: (*steps[1], "no statement")})
    with pytest.raises(StoreCorrupt):
        open_history(tmp_path)
    monkeypatch.setattr(history_schema, "MIGRATIONS", steps)
    for _ in range(2):  # and not once more when it is opened next
        again = open_history(tmp_path)
        assert everything(again) == before
        again.close()


def test_a_history_left_half_made_is_made_anew(tmp_path):
    (tmp_path / FILE).touch()
    history = open_history(tmp_path)
    fill(history)
    history.close()


def test_a_closed_history_says_so(tmp_path):
    history = open_history(tmp_path)
    fill(history)
    history.close()
    history.close()
    for act in (
        lambda: history.messages(JULIET),
        lambda: history.add(message("a")),
        lambda: history.value("v"),
        lambda: history.search("a"),
        lambda: history.was_opened(b"mark"),
        lambda: history.opened(b"mark"),
        lambda: history.conversations(),
        history.parcels,
    ):
        with pytest.raises(LocalError, match="closed"):
            act()


def test_a_history_closed_in_the_middle_of_a_change_has_not_changed(tmp_path):
    for within in (False, True):
        history = open_history(tmp_path)
        with pytest.raises(LocalError, match="closed"), history.transaction():
            history.set_value("v", b"half")
            if within:
                with history.transaction():
                    history.close()
            history.close()
    history = open_history(tmp_path)
    assert history.values("") == {}
    history.close()


def test_a_history_does_not_copy_or_pickle(tmp_path):
    history = open_history(tmp_path)
    assert repr(history) == "<ChatHistory>"
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(UsageError):
            way(history)
    history.close()


@POSIX
def test_files_are_the_owners_alone(tmp_path):
    before = os.umask(0)
    try:
        history = open_history(tmp_path)
        fill(history)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        history.close()
    finally:
        os.umask(before)
    assert modes == {FILE: 0o600, f"{FILE}-wal": 0o600}


def test_a_message_that_cannot_be_written_changes_nothing(tmp_path):
    history = open_history(tmp_path)
    for wrong in ({"sent": float("nan")}, {"edited": float("inf")}):
        with pytest.raises(UsageError):
            history.add(message("a", **wrong))
    assert history.conversations() == ()
    assert history.add(message("b")).number == 1
    history.close()


def test_numbers_beyond_the_countable_find_nothing_and_break_nothing(tmp_path):
    history = open_history(tmp_path)
    kept = history.add(message("a", unread=True, expires=2**70, sent=1e300))
    assert history.messages(JULIET, before=2**70, count=2**70) == (kept,)
    assert history.after(2**70) == ()
    history.remove(2**70)
    history.taken(-(2**62))
    history.mark_read(JULIET, 2**70)
    history.retain(JULIET, 2**62)
    assert history.unread(JULIET) == 0
    assert history.expire(-1e300) == ()
    assert [each.number for each in history.expire(1e299)] == [kept.number]
    history.close()


def test_the_key_is_not_used_more_often_than_is_safe(tmp_path, monkeypatch):
    history = open_history(tmp_path)
    history.set_value("v", b"1")
    monkeypatch.setattr(sealing, "MOST_SEALS", 6)
    history.close()
    again = open_history(tmp_path)  # the count outlives the process
    with pytest.raises(LocalError, match="good for"):
        for _ in range(4):
            again.set_value("v", b"2")
    assert again.value("v") in (b"1", b"2")
    again.close()


def test_threads_wait_for_a_transaction_of_another(tmp_path):
    history = open_history(tmp_path)
    inside, seen = threading.Event(), []

    def other() -> None:
        inside.wait()
        seen.append(history.value("v"))
        history.set_value("w", b"other")

    thread = threading.Thread(target=other)
    thread.start()
    with history.transaction():
        history.set_value("v", b"half")
        inside.set()
        history.set_value("v", b"whole")
    thread.join()
    assert seen == [b"whole"]
    assert history.values("") == {"v": b"whole", "w": b"other"}
    history.close()


# -- what is deleted ------------------------------------------------------------------------------


def ends_with_no_trace(tmp_path, history, delete) -> None:
    sealed = [bytes(row[8]) for row in history_rows(tmp_path)]
    delete(history)
    left = disk_bytes(tmp_path)
    assert sealed
    for blob in sealed:
        # Whole, and in pieces: a long row lies on several pages.
        for start in range(0, len(blob) - 16, 48):
            assert blob[start : start + 16] not in left


def history_rows(tmp_path):
    """The rows of an open history: a copy of its file and log is another file."""
    copied = tmp_path.parent / f"{tmp_path.name}-copy"
    copied.mkdir(exist_ok=True)
    for path in tmp_path.iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    return stored(copied, "messages")


@pytest.mark.parametrize("size", [10, 9000])
def test_a_removed_message_is_gone_from_file_and_log(tmp_path, size):
    history = open_history(tmp_path)
    history.add(message("x" * size))
    ends_with_no_trace(tmp_path, history, lambda history: history.remove(1))
    history.close()


def test_expired_messages_are_gone_from_file_and_log(tmp_path):
    history = open_history(tmp_path)
    for place in range(600):
        history.add(message(f"w{place}", expires=int(NOW) + place * DAY))
    ends_with_no_trace(tmp_path, history, lambda history: history.expire(NOW + 800 * DAY))
    assert stored_names(tmp_path, history) == []
    history.close()


def stored_names(tmp_path, history):
    history.close()
    return stored(tmp_path, "people")


def test_what_a_correction_replaced_is_gone_from_file_and_log(tmp_path):
    history = open_history(tmp_path)
    kept = history.add(message("what I should not have said"))
    ends_with_no_trace(
        tmp_path, history, lambda history: history.replace(replace(kept, text="hello"))
    )
    history.close()


# -- disks that fail ------------------------------------------------------------------------------


NEVER = -(10**9)


class FailingConnection(sqlite3.Connection):
    """Fails at the n-th statement, and from then on, or once."""

    left = -1
    code = sqlite3.SQLITE_FULL
    for_good = False

    def execute(self, *args):
        type(self).left -= 1
        if self.left == -1 or (self.for_good and self.left < -1):
            error = sqlite3.OperationalError("the disk is at fault")
            error.sqlite_errorcode = self.code
            raise error
        return super().execute(*args)


@pytest.fixture
def failing(monkeypatch):
    connect = functools.partial(sqlite3.connect, factory=FailingConnection)
    monkeypatch.setattr(sqlite3, "connect", connect)
    FailingConnection.left, FailingConnection.for_good = NEVER, False
    FailingConnection.code = sqlite3.SQLITE_FULL
    return FailingConnection


def change_all(history, place: int) -> None:
    with history.transaction():
        kept = history.add(message(f"new {place}", id="x", unread=True))
        with history.transaction():
            history.replace(replace(kept, text="changed"))
            history.remove(history.messages(ROMEO)[0].number)
        history.add(message("b", conversation=ROMEO))
        history.mark_read(JULIET, 10**6)
        history.post(parcel("b"))
        history.taken(history.parcels()[0].number)
        history.set_value("v", b"2")
        history.set_value("w", None)
        history.retain(JULIET, 60 + place)
        history.expire(NOW + place)


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY]
)
def test_a_change_that_fails_at_any_statement_changed_nothing(tmp_path, failing, code):
    history = open_history(tmp_path)
    fill(history)
    failing.code = code
    failed = 0
    for place in range(200):
        before = everything(history)
        failing.left = place
        try:
            change_all(history, place)
        except StoreCorrupt:
            pytest.fail("a disk that refuses is no damage")
        except LocalError:
            failed += 1
            failing.left = NEVER
            assert everything(history) == before
        reached = failing.left < 0
        failing.left = NEVER
        if not reached:
            break
        change_all(history, place)
    else:
        pytest.fail("it never came to the end")
    assert failed > 30
    before = everything(history)
    history.close()
    again = open_history(tmp_path)
    assert everything(again) == before
    again.close()


def test_an_error_that_is_caught_inside_does_not_save_half_a_change(tmp_path, failing):
    history = open_history(tmp_path)
    fill(history)
    before = everything(history)
    with pytest.raises(LocalError, match="undone"), history.transaction():
        history.set_value("a", b"1")
        failing.left = 1
        with pytest.raises(LocalError):
            history.set_value("b", b"2")
        failing.left = NEVER
        with pytest.raises(LocalError):
            history.set_value("c", b"3")
    assert everything(history) == before
    history.set_value("a", b"1")
    assert history.value("a") == b"1"
    history.close()


def test_a_step_that_fails_half_way_is_not_kept_by_whoever_catches_that(tmp_path, monkeypatch):
    history = open_history(tmp_path)
    fill(history)
    before = everything(history)
    build = records.build_value

    def breaking(name, data):
        if name == "b":
            raise UsageError("refused half-way")
        return build(name, data)

    monkeypatch.setattr(records, "build_value", breaking)
    with pytest.raises(LocalError, match="half-way"), history.transaction():
        with pytest.raises(UsageError):
            history.set_values({"a": b"1", "b": b"1"})
    assert everything(history) == before
    with history.transaction():
        with pytest.raises(UsageError), history.transaction():  # undone alone
            history.set_values({"a": b"1", "b": b"1"})
        history.set_value("c", b"1")
        with pytest.raises(UsageError):  # it had written nothing
            history.set_value("b", b"1")
    assert (history.value("a"), history.value("c")) == (None, b"1")
    history.close()


def test_a_message_costs_few_statements_and_a_value_read_again_none(tmp_path, failing):
    history = open_history(tmp_path)
    fill(history)

    def statements(act):
        failing.left = 10**6
        act()
        done = 10**6 - failing.left
        failing.left = NEVER
        return done

    with history.transaction():
        history.add(message("first", id="1"))
        history.set_value("ratchet", b"1")
        assert statements(lambda: history.add(message("second", id="2"))) == 1
        assert statements(lambda: history.set_value("ratchet", b"2")) == 1
        assert statements(lambda: history.post(parcel("p"))) == 2
        assert statements(lambda: history.taken(history.last_number)) <= 2
    assert statements(lambda: history.value("ratchet")) == 0
    history.close()


def test_a_disk_that_fails_for_good_closes_the_history(tmp_path, failing):
    history = open_history(tmp_path)
    fill(history)
    before = everything(history)
    failing.left, failing.for_good, failing.code = 3, True, sqlite3.SQLITE_IOERR
    with pytest.raises(LocalError):
        change_all(history, 1)
    failing.left, failing.for_good = NEVER, False
    with pytest.raises(LocalError, match="closed"):
        history.messages(JULIET)
    history.close()
    again = open_history(tmp_path)
    assert everything(again) == before
    again.close()


def test_search_does_not_need_a_disk_that_can_be_written(tmp_path, failing):
    history = open_history(tmp_path)
    with history.transaction():
        for place in range(600):
            history.add(message(f"word{place}"))
    history.close()
    edit(tmp_path, "DELETE FROM pages")
    history = open_history(tmp_path)
    for left in range(20):
        failing.left = left
        try:
            found = history.search("word7")
        except LocalError:
            continue  # it could not even read
        assert [each.text for each in found][-1] == "word7"
    history.close()


@POSIX
def test_a_full_disk_is_a_local_error_and_everything_stays(tmp_path):
    history = open_history(tmp_path)
    fill(history)
    before = everything(history)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    failed = 0
    for limit in range(0, 400_000, 9_973):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with history.transaction():
                history.add(message("x" * 150_000))
                history.set_value("v", os.urandom(100_000))
        except StoreCorrupt:
            pytest.fail("a disk that refuses is no damage")
        except LocalError:
            failed += 1
            assert everything(history) == before
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        before = everything(history)
    assert failed > 10
    history.set_value("w", b"there is room again")
    before = everything(history)
    history.close()
    again = open_history(tmp_path)
    assert everything(again) == before
    again.close()


def test_every_beginning_of_the_log_is_a_state_there_was(tmp_path):
    history = open_history(tmp_path)
    states = [everything(history)]
    for place in range(4):
        with history.transaction():
            history.add(message(f"m{place}", conversation=(JULIET, ROMEO)[place % 2]))
            history.set_value("ratchet", b"%d" % place)
            history.post(parcel(f"m{place}"))
        states.append(everything(history))
    file, log = (tmp_path / FILE).read_bytes(), (tmp_path / f"{FILE}-wal").read_bytes()
    history.close()
    torn = tmp_path / "torn"
    torn.mkdir()
    seen = []
    for end in [*range(0, len(log), 3001), len(log)]:
        for tail in (b"", b"\xa5" * 700, log[end : end + 8].ljust(4096, b"\0")):
            (torn / FILE).write_bytes(file)
            (torn / f"{FILE}-wal").write_bytes(log[:end] + tail)
            try:
                history = open_history(torn)
            except StoreCorrupt:
                pytest.fail("a torn log is no damage")
            place = states.index(everything(history))
            assert not seen or place >= max(seen) - (tail != b"")
            seen.append(place)
            history.close()
    assert seen[-1] == len(states) - 1
    assert set(seen) >= {1, 2, 3, 4}


@POSIX
def test_a_killed_process_loses_nothing_it_was_told_was_written(tmp_path):
    for lines in (1, 9, 40):
        kill_one_writer(tmp_path, lines)


WRITER = """
import sys; from pathlib import Path
from tests.forge_history import *
history = open_history(Path(sys.argv[1]))
while True:
    with history.transaction():
        kept = history.add(message("x" * 3000, id="i", archive_id="a"))
        history.set_value("ratchet", b"%d" % kept.number)
        history.set_value("other", bytes(2000) + b"%d" % kept.number)
        history.post(parcel(str(kept.number)))
    if kept.number % 5 == 0:
        history.remove(kept.number - 4)
        history.taken(kept.number - 4)
    print(kept.number, flush=True)
"""


def kill_one_writer(folder, lines: int) -> None:
    """Kill a process that writes, at some moment after so many of its lines."""
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)], cwd=PROJECT, stdout=subprocess.PIPE
    )
    told = 0
    for _ in range(lines):
        told = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    told = max([told, *(int(line) for line in child.stdout.read().split(b"\n")[:-1])])
    child.stdout.close()
    child.wait()
    history = open_history(folder)
    last = history.messages(JULIET, count=1)[0].number
    assert last in (told, told + 1)
    assert history.value("ratchet") == b"%d" % last
    assert history.value("other") == bytes(2000) + b"%d" % last
    assert history.parcels()[-1].id == str(last)
    assert not any(each.unreadable for each in history.messages(JULIET, count=1000))
    history.close()


@pytest.mark.soak
@pytest.mark.timeout(1800)  # a guard against hanging: minutes on a busy machine
@POSIX
def test_two_hundred_kills_lose_nothing(tmp_path):
    for place in range(200):
        kill_one_writer(tmp_path, 1 + place * 7 % 41)
