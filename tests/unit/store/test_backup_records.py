"""What stands in a backup, in which order, and what of it is believed."""

from __future__ import annotations

import pytest

from securecall.errors import LocalError, StoreCorrupt, UsageError
from securecall.keys.encoding import build_base64url, build_json
from securecall.keys.household import Household, build_household, parse_household
from securecall.keys.identity import RootKey
from securecall.secret import Secret
from securecall.store import backup as backup_module
from securecall.store.backup import check_backup, restore, write_backup
from securecall.store.backup_file import BackupWriter, read_backup
from securecall.store.lock import MINIMUM_COST, Lock
from securecall.store.sqlite import Store
from tests.forge_history import JULIET, message
from tests.forge_statement import device_key, parsed, root_key
from tests.forge_store import make_store, passphrase

WORDS = Secret("a passphrase for the backup")
LOCK = Lock(passphrase=WORDS, cost=MINIMUM_COST)
ROOT = root_key(7)


def manifest(**changes) -> bytes:
    said = {"made": 1, "root": build_base64url(ROOT.fingerprint), "device": "desk"}
    return build_json(said | changes)


def forged(file, *records: tuple[str, str, bytes]):
    """A backup of these records, under the right passphrase."""
    with file.open("wb") as out:
        writer = BackupWriter(out.write, LOCK)
        for record in records:
            writer.add(*record)
        writer.finish()
    return file


def put_back(file, folder, **how):
    given = {"backup_passphrase": WORDS, "passphrase": passphrase(), "cost": MINIMUM_COST}
    return restore(file, folder, **(given | how))


def saved(store, file):
    write_backup(store, file, WORDS, cost=MINIMUM_COST)
    with file.open("rb") as opened:
        return list(read_backup(opened, LOCK))


SAYS, SEED = ("backup", "1", manifest()), ("identity", "root-seed", ROOT.seed.reveal())
NOT_BELIEVED = {
    "nothing": [],
    "no manifest": [SEED],
    "a manifest that is none": [("backup", "1", b"[]"), SEED],
    "a manifest without a root": [("backup", "1", build_json({"made": 1, "device": "x"})), SEED],
    "a manifest of another time": [("backup", "1", manifest(made="now")), SEED],
    "a manifest of a nameless device": [("backup", "1", manifest(device=1)), SEED],
    "no identity": [SAYS, ("calls", "000000000001", b"{}")],
    "a message without a number": [SAYS, SEED, ("message", "x", b"\0{}")],
    "a message without data": [SAYS, SEED, ("message", "1", b"")],
    "a message that is none": [SAYS, SEED, ("message", "1", b"\0{}")],
}


@pytest.mark.parametrize("name", NOT_BELIEVED)
def test_a_backup_of_such_records_is_corrupt_and_leaves_nothing(tmp_path, name):
    file = forged(tmp_path / "saved", *NOT_BELIEVED[name])
    for use in (
        lambda: check_backup(file, WORDS),
        lambda: put_back(file, tmp_path / "new"),
    ):
        with pytest.raises(StoreCorrupt):
            use()
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_a_backup_by_a_newer_version_is_no_damage(tmp_path):
    file = forged(tmp_path / "saved", ("backup", "2", manifest()), SEED)
    for use in (
        lambda: check_backup(file, WORDS),
        lambda: put_back(file, tmp_path / "new"),
    ):
        with pytest.raises(LocalError, match="newer version") as caught:
            use()
        assert type(caught.value) is LocalError


def test_a_backup_that_names_another_root_than_it_holds_is_refused(tmp_path):
    says = ("backup", "1", manifest(root=build_base64url(root_key(8).fingerprint)))
    file = forged(tmp_path / "saved", says, SEED)
    with pytest.raises(LocalError, match="not the root key"):
        put_back(file, tmp_path / "new")


def test_whose_it_is_comes_first(tmp_path):
    store = make_store(tmp_path / "old")
    tables = [table for table, _, _ in saved(store, tmp_path / "saved")]
    store.close()
    assert tables[0] == "backup"
    own = [place for place, table in enumerate(tables) if table == "identity"]
    assert own == list(range(1, len(own) + 1))


class Token:
    def __init__(self, number=1):
        self._key = root_key(number)
        self.public = self._key.public

    def sign(self, data):
        return self._key.sign(data)


def test_a_root_in_a_token_is_put_back_with_that_token_alone(tmp_path):
    root = RootKey.from_signer(Token())
    store = Store.create(tmp_path / "old", passphrase(), root=root, cost=MINIMUM_COST)
    records = saved(store, tmp_path / "saved")
    store.close()
    assert not any(key == "root-seed" for _, key, _ in records)
    with pytest.raises(UsageError, match="token"):
        put_back(tmp_path / "saved", tmp_path / "new")
    with pytest.raises(LocalError, match="not the root key"):
        put_back(tmp_path / "saved", tmp_path / "new", root=Token(2))
    put_back(tmp_path / "saved", tmp_path / "new", root=Token())
    again = Store.open(tmp_path / "new", passphrase(), root=Token())
    assert again.root.public == Token().public
    again.close()


def omemo_identity(number: int) -> bytes:
    return number.to_bytes(4, "big") + bytes(32)


def test_of_the_omemo_device_only_its_number_is_kept_however_often_one_restores(tmp_path):
    store = make_store(tmp_path / "0")
    for number in (7, 8):
        history = store.open_history()
        history.set_value("omemo a@b.example omemo/identity", omemo_identity(number))
        history.set_value("omemo a@b.example omemo/session/2/1/c@d.example", b"ratchet")
        history.set_value("archive a@b.example", b"place")
        file, folder = tmp_path / f"saved{number}", tmp_path / f"{number}"
        records = saved(store, file)
        store.close()
        assert ("retired", f"a@b.example {number}", b"") in records
        assert not any(b"ratchet" in data for _, _, data in records)
        put_back(file, folder)
        store = Store.open(folder, passphrase())
        assert store.open_history().values("omemo ") == {}
        assert store.open_history().values("archive ") == {"archive a@b.example": b"place"}
    assert store.retired_omemo("a@b.example") == {7, 8}
    store.close()


def test_a_backup_of_many_messages_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(backup_module, "_BATCH", 3)
    store = make_store(tmp_path / "old")
    history = store.open_history()
    for number in range(6):
        history.add(message(str(number)))
    history.remove(4)
    saved(store, tmp_path / "saved")
    store.close()
    found = put_back(tmp_path / "saved", tmp_path / "new")
    assert (found.contacts, found.messages, found.calls) == (2, 5, 1)
    again = Store.open(tmp_path / "new", passphrase())
    assert [m.text for m in again.open_history().messages(JULIET)] == ["0", "1", "2", "4", "5"]
    again.close()


def test_a_device_that_is_restored_knows_of_no_other_devices_but_of_withdrawals(tmp_path):
    store = Store.create(tmp_path / "old", passphrase(), root=root_key(), cost=MINIMUM_COST)
    seen = parsed(devices=[device_key(1), device_key(2)])
    household = Household(devices=seen.devices, revoked=("lost",))
    store.save_household(build_household(household))
    saved(store, tmp_path / "saved")
    store.close()
    put_back(tmp_path / "saved", tmp_path / "new")
    again = Store.open(tmp_path / "new", passphrase())
    found = parse_household(again.household, again.root.fingerprint)
    assert (found.devices, found.revoked) == ((), ("lost",))
    again.close()


def test_secrets_of_the_old_device_are_not_taken_even_out_of_a_forged_backup(tmp_path):
    file = forged(
        tmp_path / "saved",
        SAYS,
        SEED,
        ("identity", "device-id", b"desk"),
        ("identity", "device-seed", b"s" * 32),
        ("settings", "own-passport-key", b"p" * 32),
        ("settings", "place", b"host"),
        ("tickets", "t", b"{}"),
        ("unheard of", "k", b"v"),
    )
    put_back(file, tmp_path / "new")
    again = Store.open(tmp_path / "new", passphrase())
    assert again.device.id != "desk"
    assert again.device.seed.reveal() != b"s" * 32
    assert (again.setting("own-passport-key"), again.setting("place")) == (None, b"host")
    assert again.tickets() == ()
    assert "unheard of" not in again.tables
    again.close()
