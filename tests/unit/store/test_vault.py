from __future__ import annotations

import copy
import hashlib
import pickle
import struct

import pytest

from securecall.errors import StoreCorrupt, Unsupported, UsageError, WrongPassphrase
from securecall.secret import Secret
from securecall.store.lock import Lock
from securecall.store.vault import DEFAULT_COST, MINIMUM_COST, Cost, Rounds, Vault, row_digest


@pytest.fixture(scope="module")
def made():
    return Vault.create(Lock(passphrase=Secret("pass"), cost=MINIMUM_COST))


def resummed(header: bytes) -> bytes:
    return header[:-32] + hashlib.sha256(header[:-32]).digest()


def with_cost(header: bytes, cost: Cost) -> bytes:
    data = bytearray(header)
    struct.pack_into(">III", data, 17, cost.memory, cost.iterations, cost.lanes)
    return resummed(bytes(data))


def test_the_right_passphrase_opens_the_same_vault(made):
    vault, header = made
    again = Vault.unlock(header, Lock(passphrase=Secret("pass")))
    assert again.unseal("t", b"n", 1, vault.seal("t", b"n", 1, b"data")) == b"data"
    assert again.row_name("t", "k") == vault.row_name("t", "k")


def test_a_wrong_passphrase_is_named_so(made):
    with pytest.raises(WrongPassphrase):
        Vault.unlock(made[1], Lock(passphrase=Secret("other")))


def test_another_passphrase_can_be_set_and_ends_the_old_one(made):
    vault, _ = made
    header = vault.header(Lock(passphrase=Secret("new"), cost=MINIMUM_COST))
    again = Vault.unlock(header, Lock(passphrase=Secret("new")))
    assert again.unseal("t", b"n", 1, vault.seal("t", b"n", 1, b"data")) == b"data"
    with pytest.raises(WrongPassphrase):
        Vault.unlock(header, Lock(passphrase=Secret("pass")))


def test_a_damaged_header_is_not_called_a_wrong_passphrase(made):
    header = made[1]
    for place in range(len(header)):
        broken = bytearray(header)
        broken[place] ^= 1
        with pytest.raises(StoreCorrupt):
            Vault.unlock(bytes(broken), Lock(passphrase=Secret("pass")))
    for size in (0, 1, len(header) - 1):
        with pytest.raises(StoreCorrupt):
            Vault.unlock(header[:size], Lock(passphrase=Secret("pass")))
    with pytest.raises(StoreCorrupt):
        Vault.unlock(header + b"\0", Lock(passphrase=Secret("pass")))


@pytest.mark.parametrize(
    "cost",
    [
        Cost(8, 3, 4),
        Cost(65536, 1, 4),
        Cost(65536, 3, 0),
        Cost(2**31, 3, 4),
        Cost(65536, 1000, 4),
        Cost(65536, 3, 200),
    ],
)
def test_costs_out_of_bounds_are_refused_on_both_sides(made, cost):
    with pytest.raises(UsageError):
        made[0].header(Lock(passphrase=Secret("pass"), cost=cost))
    with pytest.raises(StoreCorrupt):
        Vault.unlock(with_cost(made[1], cost), Lock(passphrase=Secret("pass")))


def test_the_default_cost_is_the_specified_one():
    assert Cost(65536, 3, 4) == DEFAULT_COST


def test_a_wrapped_key_that_was_exchanged_is_corruption(made):
    other = Vault.create(Lock(passphrase=Secret("pass"), cost=MINIMUM_COST))[1]
    swapped = made[1][:77] + other[77:]
    with pytest.raises(StoreCorrupt):
        Vault.unlock(resummed(swapped), Lock(passphrase=Secret("pass")))


def test_an_empty_passphrase_is_refused():
    with pytest.raises(UsageError):
        Vault.create(Lock(passphrase=Secret(b""), cost=MINIMUM_COST))


def test_a_row_opens_only_in_its_place_and_version(made):
    vault, _ = made
    sealed = vault.seal("bindings", b"bob", 7, b"data")
    assert vault.unseal("bindings", b"bob", 7, sealed) == b"data"
    for place in (
        ("contacts", b"bob", 7),
        ("bindings", b"carol", 7),
        ("bindings", b"bob", 6),
        ("bindingsb", b"ob", 7),
    ):
        with pytest.raises(StoreCorrupt):
            vault.unseal(*place, sealed)
    for broken in (b"", sealed[:27], sealed[:-1], sealed + b"\0", bytes(len(sealed))):
        with pytest.raises(StoreCorrupt):
            vault.unseal("bindings", b"bob", 7, broken)


def test_the_same_data_is_never_sealed_alike(made):
    vault, _ = made
    assert len({vault.seal("t", b"n", 1, b"data") for _ in range(100)}) == 100


def test_the_head_tells_every_set_of_rows_apart(made):
    vault, _ = made
    one = ("t", b"a", row_digest(1, b"x"))
    two = ("t", b"b", row_digest(1, b"x"))
    mac = vault.head(5, [one, two])
    vault.require_head(mac, 5, [one, two])
    for counter, digests in (
        (4, [one, two]),
        (5, [one]),
        (5, []),
        (5, [one, two, two]),
        (5, [one, ("u", b"b", two[2])]),
        (5, [one, ("t", b"b", row_digest(2, b"x"))]),
    ):
        with pytest.raises(StoreCorrupt):
            vault.require_head(mac, counter, digests)


def test_a_vault_does_not_print_copy_or_pickle(made):
    vault, _ = made
    assert "Secret" not in repr(vault)
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(UsageError):
            way(vault)


def test_a_wiped_vault_opens_nothing():
    vault, _ = Vault.create(Lock(passphrase=Secret("pass"), cost=MINIMUM_COST))
    sealed = vault.seal("t", b"n", 1, b"data")
    vault.wipe()
    with pytest.raises(UsageError):
        vault.unseal("t", b"n", 1, sealed)


def test_a_vault_under_pbkdf2_opens_and_its_header_cannot_be_made_cheaper(made):
    vault, header = Vault.create(Lock(passphrase=Secret("pass"), cost=Rounds()))
    again = Vault.unlock(header, Lock(passphrase=Secret("pass"), approved=True))
    assert again.unseal("t", b"n", 1, vault.seal("t", b"n", 1, b"data")) == b"data"
    with pytest.raises(WrongPassphrase):
        Vault.unlock(header, Lock(passphrase=Secret("other"), approved=True))
    for iterations in (1, 209_999, 10_000_001):
        with pytest.raises(StoreCorrupt):
            Vault.unlock(with_cost(header, Cost(0, iterations, 0)), Lock(passphrase=Secret("pass")))
    with pytest.raises(WrongPassphrase):  # within bounds, but not what was derived
        Vault.unlock(with_cost(header, Cost(0, 210_001, 0)), Lock(passphrase=Secret("pass")))
    with pytest.raises(StoreCorrupt):
        Vault.unlock(with_cost(header, Cost(19456, 210_000, 0)), Lock(passphrase=Secret("pass")))
    with pytest.raises(Unsupported):
        Vault.unlock(made[1], Lock(passphrase=Secret("pass"), approved=True))
    with pytest.raises(UsageError):
        Vault.create(Lock(passphrase=Secret("pass"), cost=Rounds(iterations=209_999)))
