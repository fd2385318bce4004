"""Sealing and opening one file piece by piece."""

from __future__ import annotations

import hashlib
import math

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securecall.chat import sealing
from securecall.chat.message import SharedFile
from securecall.chat.sealing import CBC_256, GCM_256, Opener, Sealer, most_sealed, padded
from securecall.errors import FileNotIntact, ProtocolError, UsageError
from securecall.secret import Secret
from tests.unit.chat.shared_files import cbc, describe, opened, seal

SIZES = (0, 1, 15, 16, 17, 255, 4096, 100_000)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pad", [True, False])
def test_what_was_sealed_opens_to_the_same(size, pad):
    plain = bytes(range(256)) * (size // 256 + 1)
    sealer, sealed = seal(plain[:size], pad=pad)
    assert opened(sealed, describe(sealer)) == plain[:size]


@pytest.mark.parametrize("size", SIZES)
def test_without_padding_it_is_what_one_shot_gcm_makes(size):
    plain = b"p" * size
    sealer, sealed = seal(plain, pad=False)
    assert AESGCM(sealer.key.reveal()).decrypt(sealer.iv, sealed, None) == plain
    assert len(sealed) == size + 16 == sealer.sealed_size


def test_every_file_has_a_key_and_an_iv_of_its_own():
    made = [Sealer() for _ in range(8)]
    assert len({s.key.reveal() for s in made}) == len({s.iv for s in made}) == 8
    assert {(len(s.key), len(s.iv)) for s in made} == {(32, 12)}


def test_the_hashes_are_those_of_plaintext_and_ciphertext():
    sealer, sealed = seal(b"words", pad=True)
    assert sealer.sha256 == hashlib.sha256(b"words").digest()
    assert sealer.cipher_sha256 == hashlib.sha256(sealed).digest()


def reference(size):
    """PADMÉ as its paper writes it (Nikitin and others, PETS 2019, algorithm 1)."""
    exponent = math.floor(math.log2(size))
    last = exponent - (math.floor(math.log2(exponent)) + 1)
    mask = (1 << max(last, 0)) - 1
    return (size + mask) & ~mask


def test_padding_is_that_of_the_paper():
    sizes = [*range(2, 5000), 10**6, 10**6 + 1, 2**32 - 1, 2**32, 2**32 + 1]
    assert [padded(s) for s in sizes] == [reference(s) for s in sizes]
    assert (padded(0), padded(1)) == (0, 1)


def test_padding_costs_at_most_12_percent_and_leaves_few_lengths():
    grown = {padded(s) for s in range(1_000_000, 1_100_000)}
    assert len(grown) <= 5
    assert max(padded(s) / s for s in range(2, 100_000)) <= 1.12


def test_padded_ciphertext_has_a_padded_length():
    _, sealed = seal(b"x" * 99_991, pad=True)
    assert len(sealed) == padded(99_991 + 16) > 99_991 + 16


def test_a_file_of_more_than_4_gib_is_refused(monkeypatch):
    monkeypatch.setattr(sealing, "LARGEST", 10)
    sealer = Sealer()
    sealer.update(b"0123456789")
    with pytest.raises(UsageError, match="4 GiB"):
        sealer.update(b"x")


def test_a_stranger_cannot_make_it_go_on_for_ever(monkeypatch):
    sealer, sealed = seal(b"x" * 100_000, pad=False)
    monkeypatch.setattr(sealing, "LARGEST", 1000)
    monkeypatch.setattr(sealing, "_SPARE", 0)
    with pytest.raises(FileNotIntact, match="longer"):
        opened(sealed, describe(sealer, size=None))


def test_the_older_iv_of_16_bytes_opens():
    key, iv = bytes(32), bytes(range(16))
    sealed = AESGCM(key).encrypt(iv, b"old", None)
    assert opened(sealed, SharedFile(url="", key=Secret(key), iv=iv, cipher="")) == b"old"


@pytest.mark.parametrize("size", SIZES)
def test_cbc_is_opened_where_a_hash_vouches_for_it(size):
    plain = b"c" * size
    sealed, shared = cbc(plain)
    assert opened(sealed, shared) == plain


BAD = {
    "AES-128": {"key": Secret(bytes(16))},
    "no key": {"key": Secret(b"")},
    "IV of 8": {"iv": bytes(8)},
    "unknown cipher": {"cipher": "urn:xmpp:ciphers:rot13:0"},
    "AES-128 by name": {"cipher": "urn:xmpp:ciphers:aes-128-gcm-nopadding:0"},
    "CBC with an IV of 12": {"cipher": CBC_256, "sha256": bytes(32)},
    "CBC without a hash": {"cipher": CBC_256, "iv": bytes(16)},
    "SHA-1": {"sha256": bytes(20)},
    "SHA-1 of the ciphertext": {"cipher_sha256": bytes(20)},
    "5 GiB": {"size": 5 << 30},
    "negative": {"size": -1},
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_what_cannot_be_opened_is_refused_before_the_first_byte(change):
    good = {"url": "", "key": Secret(bytes(32)), "iv": bytes(12), "cipher": GCM_256}
    with pytest.raises(ProtocolError):
        Opener(SharedFile(**(good | change)))


def test_how_much_ciphertext_is_taken_follows_the_size_that_was_said():
    shared = SharedFile(url="", key=Secret(bytes(32)), iv=bytes(12), size=1000)
    assert 1016 <= most_sealed(shared, 10**9) < 100_000
    link = SharedFile(url="", key=Secret(bytes(32)), iv=bytes(12), cipher="")
    assert most_sealed(link, 5000) == 5016
