"""Someone who can write the folder, and reads the head of its file, puts a store of theirs there.

They have neither the passphrase nor the keyring, but they know what lies in one of its entries: the
generation that the file itself shows. The control takes a keyring's entry by whatever name, of
whatever length, and for a passphrase whatever is given.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from types import SimpleNamespace

import pytest

from securecall.errors import LocalError, UsageError
from securecall.secret import Secret
from securecall.store import lock as lock_module
from securecall.store.lock import MINIMUM_COST, parse_needs
from securecall.store.sqlite import FILE, Store
from securecall.store.vault import STORE
from tests.forge_store import MemoryKeeper, passphrase

pytest.importorskip("keyring", reason="the extra keyring")
from securecall.store import system_keyring
from securecall.store.system_keyring import SystemKeyring
from tests.forge_keyring import InMemory


class Known(MemoryKeeper):
    """Keeps nothing: the victim's keyring has it already."""

    def __init__(self, note: bytes, value: bytes) -> None:
        super().__init__()
        self.note, self.value = note, value

    def keep(self, secret: Secret) -> bytes:
        assert secret.reveal() == self.value
        self.numbers[self.note] = 0
        return self.note


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """The victim's keyring and root; in the victim's folder, the attacker's store and its root."""
    keeper = SystemKeyring(InMemory())
    victim = Store.create(tmp_path / "v", passphrase(), keeper=keeper, cost=MINIMUM_COST)
    while victim.generation < 12:
        victim.save_setting("x", b"%d" % victim.generation)
    ours = victim.root.fingerprint
    victim.close()
    connection = sqlite3.connect(tmp_path / "v" / FILE)
    ((counter,),) = connection.execute("SELECT counter FROM head")
    ((header,),) = connection.execute("SELECT data FROM header")
    connection.close()
    known = Known(parse_needs(header, STORE).note + b" generation", bytes.fromhex(str(counter)))
    real = lock_module.os.urandom
    with monkeypatch.context() as patch:  # so that the "random" bytes are the known ones
        fixed = SimpleNamespace(urandom=lambda n: known.value if n == 32 else real(n))
        patch.setattr(lock_module, "os", fixed)
        evil = Store.create(tmp_path / "evil", None, keeper=known)
    theirs = evil.root.fingerprint
    evil.close()
    shutil.copy(tmp_path / "evil" / FILE, tmp_path / "v" / FILE)
    return tmp_path / "v", keeper, ours, theirs


def unprotect(monkeypatch, *, names: bool = True) -> None:
    if names:
        monkeypatch.setattr(system_keyring, "_NAME", re.compile(b".*"))
    monkeypatch.setattr(system_keyring, "_KEPT", re.compile(".*"))
    monkeypatch.setattr(lock_module, "KEPT", 1)


def test_control_it_opens_where_any_entry_will_do_and_no_passphrase_is_given(scene, monkeypatch):
    folder, keeper, ours, theirs = scene
    unprotect(monkeypatch)
    store = Store.open(folder, keeper=keeper)
    assert store.root.fingerprint == theirs != ours
    store.close()


def test_a_store_in_our_store_s_place_is_refused(scene):
    folder, keeper, _, _ = scene
    with pytest.raises(UsageError, match="in its place"):
        Store.open(folder, passphrase(), keeper=keeper)
    with pytest.raises(LocalError, match="no part of its key"):
        Store.open(folder, keeper=keeper)


def test_each_protection_refuses_it_alone(scene, monkeypatch):
    folder, keeper, _, _ = scene
    with monkeypatch.context() as patch:
        unprotect(patch)
        with pytest.raises(UsageError, match="in its place"):
            Store.open(folder, passphrase(), keeper=keeper)
    with monkeypatch.context() as patch:
        unprotect(patch, names=False)
        with pytest.raises(LocalError, match="no part of its key"):
            Store.open(folder, keeper=keeper)
    with monkeypatch.context() as patch:
        patch.setattr(system_keyring, "_NAME", re.compile(b".*"))
        with pytest.raises(LocalError, match="no key"):
            Store.open(folder, keeper=keeper)
        patch.setattr(system_keyring, "_KEPT", re.compile(".*"))
        with pytest.raises(LocalError, match="is no key"):
            Store.open(folder, keeper=keeper)
