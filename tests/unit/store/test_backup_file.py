"""The file of a backup: any way its bytes come in, and up to the longest of its records."""

from __future__ import annotations

import io

import pytest

from securecall.errors import LocalError, StoreCorrupt
from securecall.secret import Secret
from securecall.store import backup_file
from securecall.store.backup_file import CHUNK, BackupWriter, read_backup
from securecall.store.lock import LEAST_BEGINNING, MINIMUM_COST, Lock

LOCK = Lock(passphrase=Secret("words"), cost=MINIMUM_COST)


class Dripping:
    """A pipe that never has more than a few bytes ready."""

    def __init__(self, data: bytes, most: int) -> None:
        self._file, self._most = io.BytesIO(data), most

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, self._most))


def written(*records: tuple[str, str, bytes]) -> bytes:
    parts: list[bytes] = []
    writer = BackupWriter(parts.append, LOCK)
    for record in records:
        writer.add(*record)
    writer.finish()
    return b"".join(parts)


def read(data: bytes) -> list[tuple[str, str, bytes]]:
    return list(read_backup(io.BytesIO(data), LOCK))


@pytest.mark.parametrize("most", [7, 4096, CHUNK + 1])
def test_it_may_come_in_pieces(most):
    records = [("one", "a", b"x" * CHUNK), ("two", "\ud800", b""), ("three", "", b"y" * CHUNK)]
    assert list(read_backup(Dripping(written(*records), most), LOCK)) == records


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_a_record_ends_wherever_it_ends(size):
    fixed = 12 + len("t") + len("k")
    records = [("t", "k", bytes(size - fixed))]
    assert read(written(*records)) == records


def test_a_record_is_as_long_as_may_be_and_no_longer(monkeypatch):
    monkeypatch.setattr(backup_file, "LONGEST", 10)
    data = written(("t", "k", bytes(10)))
    assert read(data) == [("t", "k", bytes(10))]
    for record in (("t", "k", bytes(11)), ("t", "k" * 11, b""), ("t" * 11, "k", b"")):
        with pytest.raises(LocalError, match="too large"):
            written(record)
    monkeypatch.setattr(backup_file, "LONGEST", 9)
    with pytest.raises(StoreCorrupt):
        read(data)


def test_nothing_is_a_backup_of_nothing():
    assert written() != written(("t", "k", b""))
    for data in (b"", written()[:-1], written() + b"!"):
        with pytest.raises(StoreCorrupt):
            read(data)


@pytest.mark.parametrize("place", [0, LEAST_BEGINNING - 2], ids=["another kind", "no end"])
def test_what_cannot_be_a_backup_is_read_no_further_than_to_see_that(place):
    data = written()
    data = data[:16] + b"\x02" + data[17:]  # a header with a note, whose length comes last
    file = io.BytesIO(data[:place] + b"\xff\xff" + data[place + 2 :] + bytes(70_000))
    with pytest.raises(StoreCorrupt, match="not a backup"):
        list(read_backup(file, LOCK))
    assert file.tell() == LEAST_BEGINNING
