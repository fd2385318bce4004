"""What opens a key store: a passphrase, a keeper, both; and what does not."""

from __future__ import annotations

import hashlib
import struct

import pytest

from securecall.errors import LocalError, StoreCorrupt, UsageError, WrongPassphrase
from securecall.secret import Secret
from securecall.store import lock as lock_module
from securecall.store.lock import (
    MINIMUM_COST,
    KeeperKind,
    Lock,
    Rounds,
    Seal,
    build_header,
    header_size,
    open_header,
    parse_needs,
)
from securecall.store.sqlite import Store
from tests.forge_store import MemoryKeeper, passphrase

SEAL = Seal(b"securecall-tests", "the file")
DEK = bytes(range(32))
PASS = Secret("pass")


def locks(keeper: MemoryKeeper) -> dict[str, Lock]:
    return {
        "passphrase": Lock(passphrase=PASS, cost=MINIMUM_COST),
        "keeper": Lock(keeper=keeper),
        "both": Lock(passphrase=PASS, keeper=keeper, cost=MINIMUM_COST),
        "pbkdf2": Lock(passphrase=PASS, cost=Rounds()),
        "pbkdf2 and keeper": Lock(passphrase=PASS, keeper=keeper, cost=Rounds()),
    }


ALL = list(locks(MemoryKeeper()))


@pytest.mark.parametrize("name", ALL)
def test_a_header_opens_with_what_it_was_made_for_and_says_what_that_is(name):
    keeper = MemoryKeeper()
    lock = locks(keeper)[name]
    header = build_header(Secret(DEK), lock, SEAL)
    assert header_size(header[:49]) == len(header)
    assert open_header(header, lock, SEAL).reveal() == DEK
    needs = parse_needs(header, SEAL)
    assert needs.passphrase == (lock.passphrase is not None)
    assert needs.keeper == (KeeperKind.NONE if lock.keeper is None else KeeperKind.KEYRING)


@pytest.mark.parametrize("name", ALL)
def test_every_flipped_bit_of_a_header_is_damage_and_nothing_is_derived(name, monkeypatch):
    lock = locks(MemoryKeeper())[name]
    header = build_header(Secret(DEK), lock, SEAL)
    monkeypatch.setattr(lock_module, "_keys", None)  # whoever calls it fails
    for place in range(len(header)):
        broken = bytearray(header)
        broken[place] ^= 1
        with pytest.raises(StoreCorrupt):
            open_header(bytes(broken), lock, SEAL)
    for part in (0, 40, 49, len(header) - 1):
        with pytest.raises(StoreCorrupt):
            open_header(header[:part], lock, SEAL)


def test_neither_half_opens_what_needs_both():
    keeper, other = MemoryKeeper(), MemoryKeeper()
    both = Lock(passphrase=PASS, keeper=keeper, cost=MINIMUM_COST)
    header = build_header(Secret(DEK), both, SEAL)
    with pytest.raises(UsageError):
        open_header(header, Lock(passphrase=PASS), SEAL)
    with pytest.raises(UsageError):
        open_header(header, Lock(keeper=keeper), SEAL)
    with pytest.raises(WrongPassphrase):
        open_header(header, Lock(passphrase=Secret("other"), keeper=keeper), SEAL)
    other.keep(Secret(bytes(32)))  # under the same note, something else
    with pytest.raises(WrongPassphrase):
        open_header(header, Lock(passphrase=PASS, keeper=other), SEAL)
    keeper.failing = True
    with pytest.raises(LocalError):
        open_header(header, both, SEAL)


def test_a_keeper_that_keeps_something_else_is_no_wrong_passphrase():
    keeper, other = MemoryKeeper(), MemoryKeeper()
    header = build_header(Secret(DEK), Lock(keeper=keeper), SEAL)
    other.keep(Secret(bytes(32)))
    with pytest.raises(LocalError) as caught:
        open_header(header, Lock(keeper=other), SEAL)
    assert not isinstance(caught.value, WrongPassphrase | StoreCorrupt)
    with pytest.raises(UsageError):  # a token is no keyring
        open_header(header, Lock(keeper=MemoryKeeper(KeeperKind.TOKEN)), SEAL)


@pytest.mark.parametrize("size", [0, 1, 31, 33])
def test_what_a_keeper_gives_out_must_be_a_whole_key(size, monkeypatch):
    keeper = MemoryKeeper()
    header = build_header(Secret(DEK), Lock(keeper=keeper), SEAL)
    keeper.kept = dict.fromkeys(keeper.kept, bytes(size))
    monkeypatch.setattr(lock_module, "_keys", None)  # nothing is derived from it
    with pytest.raises(LocalError, match="no key"):
        open_header(header, Lock(keeper=keeper), SEAL)


def test_a_passphrase_is_not_passed_over():
    keeper = MemoryKeeper()
    header = build_header(Secret(DEK), Lock(keeper=keeper), SEAL)
    assert open_header(header, Lock(keeper=keeper), SEAL).reveal() == DEK
    keeper.failing = True  # it is not even asked
    with pytest.raises(UsageError, match="in its place"):
        open_header(header, Lock(passphrase=PASS, keeper=keeper), SEAL)


def test_what_nothing_opens_is_not_made():
    with pytest.raises(UsageError):
        build_header(Secret(DEK), Lock(), SEAL)
    with pytest.raises(UsageError):
        build_header(Secret(DEK), Lock(passphrase=Secret(b""), keeper=MemoryKeeper()), SEAL)
    for rounds in (1000, 209_999, 10_000_001):
        with pytest.raises(UsageError):
            build_header(Secret(DEK), Lock(passphrase=PASS, cost=Rounds(rounds)), SEAL)


@pytest.mark.parametrize(
    ("place", "form", "value"),
    [
        (21, ">I", 1000),  # PBKDF2 made cheap
        (17, ">I", 65536),  # memory where there is none
        (45, ">B", 0),  # no passphrase at all
        (45, ">B", 3),
        (46, ">B", 9),
    ],
)
def test_an_altered_and_summed_header_is_refused_before_anything_is_derived(
    place, form, value, monkeypatch
):
    lock = Lock(passphrase=PASS, cost=Rounds())
    header = bytearray(build_header(Secret(DEK), lock, SEAL))
    struct.pack_into(form, header, place, value)
    header[-32:] = hashlib.sha256(header[:-32]).digest()
    monkeypatch.setattr(lock_module, "_keys", None)
    with pytest.raises(StoreCorrupt):
        open_header(bytes(header), lock, SEAL)


def test_the_file_of_another_kind_is_refused():
    lock = Lock(passphrase=PASS, cost=MINIMUM_COST)
    header = build_header(Secret(DEK), lock, SEAL)
    with pytest.raises(StoreCorrupt):
        open_header(header, lock, Seal(b"securecall-vault", "the key store"))


def test_what_opens_a_store_is_changed_without_sealing_a_row_anew(tmp_path):
    keeper = MemoryKeeper()
    store = Store.create(tmp_path / "a", passphrase(), cost=MINIMUM_COST)
    root, generation = store.root.public, store.generation
    store.set_lock(Lock(keeper=keeper))
    assert store.generation == generation
    store.close()
    with pytest.raises(UsageError):
        Store.open(tmp_path / "a", passphrase())
    store = Store.open(tmp_path / "a", keeper=keeper)
    assert store.root.public == root
    store.set_lock(Lock(passphrase=Secret("new"), cost=MINIMUM_COST))
    assert not keeper.kept  # what opened the store before is forgotten
    store.close()
    assert not Store.needs(tmp_path / "a").keeper
    store = Store.open(tmp_path / "a", Secret("new"))
    store.close()


def test_a_keeper_that_refuses_leaves_the_store_as_it_was(tmp_path):
    keeper = MemoryKeeper()
    keeper.failing = True
    store = Store.create(tmp_path / "a", passphrase(), cost=MINIMUM_COST)
    with pytest.raises(LocalError):
        store.set_lock(Lock(keeper=keeper))
    store.close()
    Store.open(tmp_path / "a", passphrase()).close()


@pytest.mark.parametrize("keeper", [None, MemoryKeeper()], ids=["alone", "with a keeper"])
def test_an_empty_passphrase_is_named_and_nothing_is_kept_for_it(keeper):
    with pytest.raises(UsageError, match="the file needs a passphrase"):
        build_header(Secret(DEK), Lock(passphrase=Secret(b""), keeper=keeper), SEAL)
    assert keeper is None or not keeper.kept


@pytest.mark.parametrize("kind", [KeeperKind.KEYRING, KeeperKind.TOKEN])
def test_what_is_missing_is_named(kind):
    keeper = MemoryKeeper(kind)
    header = build_header(Secret(DEK), Lock(keeper=keeper), SEAL)
    name = kind.name.lower()
    with pytest.raises(UsageError, match=f"of the file is kept in a {name}$"):
        open_header(header, Lock(), SEAL)
    for note in keeper.kept:
        keeper.kept[note] = b"short"
    with pytest.raises(LocalError, match=f"^what the {name} keeps for the file is no key$"):
        open_header(header, Lock(keeper=keeper), SEAL)
