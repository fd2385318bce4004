"""K2 for backups: someone edits the file, without the passphrase.

The control is chunks that are sealed one by one, as if that were enough: what is refused here goes
through there.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securecall.errors import LocalError, StoreCorrupt, WrongPassphrase
from securecall.secret import Secret
from securecall.store import lock as lock_module
from securecall.store.backup import check_backup, restore
from securecall.store.backup_file import CHUNK, LONGEST, BackupWriter, read_backup
from securecall.store.lock import MINIMUM_COST, Lock

PASSPHRASE = Secret("a passphrase for the backup")
LOCK = Lock(passphrase=PASSPHRASE, cost=MINIMUM_COST)
SEALED = CHUNK + 16
HEADER = 169
RECORDS = [("t", str(place), bytes([place]) * 30_000) for place in range(10)]


@pytest.fixture(scope="module")
def made() -> bytes:
    out = io.BytesIO()
    writer = BackupWriter(out.write, LOCK)
    for record in RECORDS:
        writer.add(*record)
    writer.finish()
    return out.getvalue()


def read(data: bytes):
    return list(read_backup(io.BytesIO(data), LOCK))


def chunks(data: bytes, header: int = HEADER) -> tuple[bytes, list[bytes]]:
    rest = data[header:]
    return data[:header], [rest[at : at + SEALED] for at in range(0, len(rest), SEALED)]


EDITS = {
    "the last chunk cut off": lambda c: c[:-1],
    "all but the first cut off": lambda c: c[:1],
    "the first cut off": lambda c: c[1:],
    "one in the middle cut out": lambda c: [*c[:2], *c[3:]],
    "two exchanged": lambda c: [c[1], c[0], *c[2:]],
    "one doubled": lambda c: [c[0], *c],
    "the last one doubled": lambda c: [*c, c[-1]],
    "the last one first": lambda c: [c[-1], *c[:-1]],
    "nothing left": lambda c: [],
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_backup_is_refused(made, name):
    header, parts = chunks(made)
    assert len(parts) == 5
    with pytest.raises(StoreCorrupt):
        read(header + b"".join(EDITS[name](parts)))


@pytest.mark.parametrize("name", EDITS)
def test_control_the_same_edit_goes_through_where_chunks_are_sealed_one_by_one(name):
    aead = AESGCM(bytes(32))
    sealed = []
    for place in range(5):
        nonce = os.urandom(12)
        sealed.append(nonce + aead.encrypt(nonce, bytes([place]), None))
    edited = EDITS[name](sealed)
    assert edited != sealed
    opened = [aead.decrypt(part[:12], part[12:], None) for part in edited]
    assert len(opened) == len(edited)


def test_control_the_untouched_backup_is_read(made):
    assert read(made) == RECORDS


def test_a_chunk_of_another_backup_under_the_same_passphrase_is_refused(made):
    out = io.BytesIO()
    writer = BackupWriter(out.write, LOCK)
    for record in RECORDS:
        writer.add(*record)
    writer.finish()
    header, parts = chunks(made)
    _, others = chunks(out.getvalue())
    with pytest.raises(StoreCorrupt):
        read(header + b"".join([parts[0], others[1], *parts[2:]]))


def test_every_place_that_is_flipped_or_cut_is_refused(made, tmp_path):
    for place in [*range(0, HEADER, 7), *range(HEADER, len(made), 39_989), len(made) - 1]:
        broken = made[:place] + bytes([made[place] ^ 0x41]) + made[place + 1 :]
        with pytest.raises(StoreCorrupt):
            read(broken)
        with pytest.raises(StoreCorrupt):
            read(made[:place])
    with pytest.raises(StoreCorrupt):
        read(made + b"\0")
    (tmp_path / "broken").write_bytes(made[:-1])
    with pytest.raises(StoreCorrupt):
        check_backup(tmp_path / "broken", PASSPHRASE)
    with pytest.raises(StoreCorrupt):
        restore(
            tmp_path / "broken",
            tmp_path / "new",
            backup_passphrase=PASSPHRASE,
            passphrase=PASSPHRASE,
            cost=MINIMUM_COST,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_lowered_costs_are_refused_before_anything_is_derived(made, monkeypatch):
    cheap = bytearray(made)
    struct.pack_into(">III", cheap, 17, 8, 1, 1)
    cheap[HEADER - 32 : HEADER] = hashlib.sha256(cheap[: HEADER - 32]).digest()

    def never(*args, **more):
        raise AssertionError("a key was derived under the attacker's parameters")

    monkeypatch.setattr(lock_module, "Argon2id", never)
    with pytest.raises(StoreCorrupt, match="altered"):
        read(bytes(cheap))


def test_a_wrong_passphrase_opens_nothing(made):
    with pytest.raises(WrongPassphrase):
        list(read_backup(io.BytesIO(made), Lock(passphrase=Secret("another"))))


def test_a_record_that_claims_to_be_endless_is_refused():
    out = io.BytesIO()
    writer = BackupWriter(out.write, LOCK)
    writer._waiting += struct.pack(">I", 2**32 - 1)
    writer.finish()
    with pytest.raises(StoreCorrupt):
        read(out.getvalue())


def test_what_could_not_be_read_again_is_not_written():
    writer = BackupWriter(io.BytesIO().write, LOCK)
    with pytest.raises(LocalError):
        writer.add("t", "k", bytes(LONGEST + 1))
