"""`securecall keys`: back up, check, restore, change the lock; as people and programs use them."""

from __future__ import annotations

import json
import struct

import pytest

from securecall.cli.main import run
from securecall.secret import Secret
from securecall.store import lock, sqlite
from securecall.store.sqlite import Store
from tests.forge_store import PASSPHRASE, make_store


@pytest.fixture
def files(tmp_path):
    """A home, and files with the passphrases."""
    make_store(tmp_path / "home").close()
    for name, words in (("old", PASSPHRASE), ("saved", "for the backup"), ("new", "the new one")):
        (tmp_path / f"{name}.txt").write_text(words + "\n")
    return tmp_path


def said(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def options(files, home: str, passphrase: str) -> list[str]:
    return ["--home", str(files / home), "--passphrase-file", str(files / f"{passphrase}.txt")]


def saved(files, *, words: str = "saved") -> list[str]:
    return [
        str(files / "backup"),
        "--backup-passphrase-file",
        str(files / f"{words}.txt"),
        "--json",
    ]


def test_each_guess_at_keys_or_at_a_backup_costs_64_mib_three_times(files, full_cost):
    assert run(["init", *options(files, "made", "new")]) == 0
    assert run(["keys", "backup", *saved(files), *options(files, "made", "new")]) == 0
    for found in (_header(files / "made"), (files / "backup").read_bytes()):
        assert struct.unpack_from(">BIII", found, 16) == (1, 65536, 3, 4)


def test_a_backup_is_written_checked_and_restored(files, capsys):
    assert run(["keys", "backup", *saved(files), *options(files, "home", "old")]) == 0
    written = said(capsys)
    assert (written["type"], written["contacts"], written["calls"]) == ("backup", 2, 1)
    assert run(["keys", "check", *saved(files)]) == 0
    assert said(capsys) == {**written, "type": "checked"}
    assert run(["keys", "restore", *saved(files), *options(files, "again", "new")]) == 0
    restored = said(capsys)
    assert (restored["type"], restored["root"]) == ("restored", written["root"])
    store = Store.open(files / "again", Secret("the new one"))
    assert store.root.fingerprint.hex() == written["root"]
    assert store.device.id != written["device"]
    store.close()


def test_what_goes_wrong_is_told_apart(files, capsys):
    assert run(["keys", "backup", *saved(files), *options(files, "home", "old")]) == 0
    assert run(["keys", "check", *saved(files, words="new")]) == 7
    assert said(capsys)["kind"] == "WrongPassphrase"
    data = (files / "backup").read_bytes()
    (files / "backup").write_bytes(data[:-1])
    assert run(["keys", "check", *saved(files)]) == 7
    told = said(capsys)
    assert told["kind"] == "StoreCorrupt"
    assert "backup" in told["advice"]
    assert run(["keys", "restore", *saved(files), *options(files, "home", "new")]) == 7
    assert "not empty" in said(capsys)["message"]
    assert run(["keys", "restore", *saved(files), *options(files, "again", "new")]) == 7
    assert not (files / "again").exists()


def test_people_are_told_what_a_restored_device_is(files, capsys):
    words = saved(files)[:-1]
    assert run(["keys", "backup", *words, *options(files, "home", "old")]) == 0
    assert run(["keys", "check", *words]) == 0
    assert run(["keys", "restore", *words, *options(files, "again", "new")]) == 0
    out = capsys.readouterr().out
    assert "2 contacts, 0 messages" in out
    assert "new device" in out


def test_the_lock_is_changed_and_only_the_new_passphrase_opens(files, capsys):
    new = ["--new-passphrase-file", str(files / "new.txt"), "--json"]
    assert run(["keys", "lock", *new, *options(files, "home", "old")]) == 0
    assert said(capsys)["passphrase"] is True
    assert run(["contacts", *options(files, "home", "old"), "--json"]) == 7
    assert said(capsys)["kind"] == "WrongPassphrase"
    assert run(["contacts", *options(files, "home", "new")]) == 0


def test_a_key_store_under_pbkdf2_is_made_and_opens(files, capsys):
    assert run(["init", "--pbkdf2", *options(files, "approved", "new"), "--json"]) == 0
    assert run(["contacts", *options(files, "approved", "new")]) == 0
    assert (files / "approved" / sqlite.FILE).exists()
    data = _header(files / "approved")
    assert data[16] == 2
    header = lock.parse_needs(data, lock.Seal(b"securecall-vault", ""))
    assert header.passphrase


@pytest.fixture
def ring():
    keyring = pytest.importorskip("keyring", reason="the extra keyring")
    from tests.forge_keyring import InMemory

    before = keyring.get_keyring()
    keyring.set_keyring(InMemory())
    yield keyring.get_keyring()
    keyring.set_keyring(before)


def test_a_home_in_the_keyring_asks_nobody_anything(files, ring, capsys):
    home = ["--home", str(files / "mine"), "--json"]
    assert run(["init", "--keyring", *home]) == 0
    assert run(["contacts", *home]) == 0
    unasked = ["--passphrase-file", str(files / "new.txt")]
    assert run(["contacts", *home, *unasked]) == 2
    assert "in its place" in said(capsys)["message"]
    words = ["--new-passphrase-file", str(files / "new.txt")]
    assert run(["keys", "lock", "--under", "passphrase+keyring", *words, *home]) == 0
    assert len(ring.kept) == 2  # the part of the key, and how far the store got; not the one before
    capsys.readouterr()
    assert run(["contacts", *home]) == 2
    assert "--passphrase-file" in said(capsys)["message"]
    assert run(["contacts", *home, "--passphrase-file", str(files / "new.txt")]) == 0
    assert run(["contacts", *home, "--passphrase-file", str(files / "old.txt")]) == 7
    ring.locked = True
    assert run(["contacts", *home, "--passphrase-file", str(files / "new.txt")]) == 7
    assert said(capsys)["kind"] == "LocalError"


def _header(folder) -> bytes:
    import sqlite3

    connection = sqlite3.connect(folder / sqlite.FILE)
    (data,) = connection.execute("SELECT data FROM header").fetchone()
    connection.close()
    return data
