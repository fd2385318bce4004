"""The system's keyring as keeper, over a keyring of the test's own."""

from __future__ import annotations

import traceback

import pytest

from securecall.errors import LocalError, StoreCorrupt, UsageError, WrongPassphrase
from securecall.secret import Secret
from securecall.store.lock import MINIMUM_COST, KeeperKind
from securecall.store.sqlite import FILE, Store
from securecall.store.system_keyring import SystemKeyring
from tests.forge_store import passphrase
from tests.guard import spellings

pytest.importorskip("keyring", reason="the extra keyring")
from tests.forge_keyring import InMemory

SECRET = bytes(range(100, 132))


@pytest.fixture
def ring():
    return InMemory()


@pytest.fixture
def keeper(ring):
    return SystemKeyring(ring)


def test_what_is_kept_is_given_back_until_it_is_forgotten(keeper, ring):
    note = keeper.keep(Secret(SECRET))
    assert keeper.fetch(note) == Secret(SECRET)
    assert keeper.kind is KeeperKind.KEYRING
    assert keeper.generation(note) == 0
    keeper.keep_generation(note, 7)
    assert keeper.generation(note) == 7
    keeper.forget(note)
    keeper.forget(note)
    assert not ring.kept
    with pytest.raises(LocalError, match="nothing"):
        keeper.fetch(note)


def test_two_stores_have_two_names(keeper):
    assert keeper.keep(Secret(SECRET)) != keeper.keep(Secret(SECRET))


def test_a_keyring_that_keeps_nothing_is_noticed_before_it_matters(keeper, ring):
    ring.forgetful = True
    with pytest.raises(LocalError):
        keeper.keep(Secret(SECRET))


def test_a_locked_keyring_is_a_local_error(keeper, ring):
    note = keeper.keep(Secret(SECRET))
    ring.locked = True
    for use in (
        lambda: keeper.keep(Secret(SECRET)),
        lambda: keeper.fetch(note),
        lambda: keeper.forget(note),
        lambda: keeper.generation(note),
        lambda: keeper.keep_generation(note, 1),
    ):
        with pytest.raises(LocalError):
            use()


def test_nonsense_in_the_keyring_is_an_error_that_does_not_show_it(keeper, ring):
    note = keeper.keep(Secret(SECRET))
    ring.kept["securecall", note.decode()] = SECRET.hex() + "!"
    ring.kept["securecall", f"{note.decode()} generation"] = "many"
    try:
        keeper.fetch(note)
    except LocalError:
        shown = traceback.format_exc()
    assert not any(spelling in shown for spelling in spellings(SECRET))
    with pytest.raises(LocalError):
        keeper.generation(note)


@pytest.mark.parametrize("with_passphrase", [False, True])
def test_a_store_opens_with_its_keyring_and_not_without(tmp_path, keeper, ring, with_passphrase):
    words = passphrase() if with_passphrase else None
    store = Store.create(tmp_path / "a", words, keeper=keeper, cost=MINIMUM_COST)
    root = store.root.public
    store.close()
    store = Store.open(tmp_path / "a", words, keeper=keeper)
    assert store.root.public == root
    store.close()
    with pytest.raises(UsageError):
        Store.open(tmp_path / "a", passphrase())
    if with_passphrase:
        with pytest.raises(WrongPassphrase):
            Store.open(tmp_path / "a", Secret("other"), keeper=keeper)
    ring.locked = True
    with pytest.raises(LocalError):
        Store.open(tmp_path / "a", words, keeper=keeper)


def test_an_older_copy_of_the_file_is_noticed(tmp_path, keeper):
    Store.create(tmp_path / "a", None, keeper=keeper).close()
    old = (tmp_path / "a" / FILE).read_bytes()
    store = Store.open(tmp_path / "a", keeper=keeper)
    store.save_setting("x", b"y")
    store.close()
    (tmp_path / "a" / FILE).write_bytes(old)
    with pytest.raises(StoreCorrupt):
        Store.open(tmp_path / "a", keeper=keeper)


@pytest.mark.parametrize("chained", [False, True])
def test_a_keyring_that_is_a_plain_file_is_refused(ring, chained):
    plain = type("PlaintextKeyring", (), {"__module__": "keyrings.alt.file"})()
    chain = type("Chainer", (), {"backends": [ring, plain]})()
    with pytest.raises(LocalError, match="unencrypted"):
        SystemKeyring(chain if chained else plain)


@pytest.mark.parametrize(
    "name",
    [
        "store {0} generation",
        "/home/alice/.securecall",
        "store {1}",
        " store {0}",
        "store {0}\n",
        "",
    ],
)
def test_an_entry_that_keep_never_made_is_not_even_asked_for(keeper, ring, name):
    note = keeper.keep(Secret(SECRET)).decode().removeprefix("store ")
    other = name.format(note, note.upper())
    if other == f"store {note}":
        other = "store 0123456789ABCDEF"
    ring.kept["securecall", other] = SECRET.hex()  # though a key lies there
    for use in (keeper.fetch, keeper.forget, keeper.generation):
        with pytest.raises(LocalError, match="no part of its key"):
            use(other.encode())
    with pytest.raises(LocalError, match="no part of its key"):
        keeper.keep_generation(other.encode(), 1)
    assert ring.kept["securecall", other] == SECRET.hex()


@pytest.mark.parametrize(
    "kept", ["", "15", SECRET.hex()[2:], SECRET.hex() + "00", SECRET.hex(" "), SECRET.hex() + "\n"]
)
def test_what_is_no_whole_key_is_none(keeper, ring, kept):
    note = keeper.keep(Secret(SECRET))
    ring.kept["securecall", note.decode()] = kept
    with pytest.raises(LocalError, match="no key"):
        keeper.fetch(note)


def test_a_keyring_that_gives_back_another_key_is_noticed_before_it_matters(keeper, ring):
    ring.set_password = lambda service, name, kept: ring.kept.update({(service, name): "00" * 32})
    with pytest.raises(LocalError, match="something else"):
        keeper.keep(Secret(SECRET))


def test_a_file_that_is_encrypted_is_a_keyring():
    sealed = type("EncryptedKeyring", (InMemory,), {"__module__": "keyrings.alt.file"})()
    note = SystemKeyring(sealed).keep(Secret(SECRET))
    assert SystemKeyring(sealed).fetch(note) == Secret(SECRET)


def test_a_passphrase_is_made_once_and_kept(keeper, ring):
    with pytest.raises(LocalError, match="no passphrase for /home/alice"):
        keeper.passphrase_of("/home/alice")
    made = keeper.passphrase_of("/home/alice", make=True)
    assert len(made.reveal()) >= 43, "32 random bytes"
    assert keeper.passphrase_of("/home/alice", make=True) == made
    assert keeper.passphrase_of("/home/alice") == made
    assert keeper.passphrase_of("/home/bob", make=True) != made
    assert {service for service, _ in ring.kept} == {"securecall"}
    ring.kept.clear()
    ring.forgetful = True
    with pytest.raises(LocalError):
        keeper.passphrase_of("/home/alice", make=True)


def test_errors_of_the_keyring_do_not_carry_its_words(keeper, ring):
    note = keeper.keep(Secret(SECRET))
    ring.locked = True
    with pytest.raises(LocalError, match=r"^the keyring did not work: KeyringLocked$"):
        keeper.fetch(note)
    assert repr(keeper) == "<SystemKeyring>"
