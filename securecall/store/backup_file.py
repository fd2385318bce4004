"""The file of a backup: records in order, sealed in chunks that are whole, in place, and all there.

    header as of `securecall.store.lock` | chunk | chunk | ... | last chunk
Each chunk is AES-256-GCM over 64 KiB of plaintext, the last one over 1 byte to 64 KiB. The key is
this file's alone; the nonce is the chunk's number (11 bytes) and a byte that is 1 for the last
chunk alone, so that no chunk can be cut off, exchanged, doubled or added (STREAM of Hoang,
Reyhanitabar, Rogaway and Vizar, 2015). The plaintext is a row of records:
    u32 n | table n | u32 n | key n | u32 n | data n
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securecall.errors import LocalError, StoreCorrupt
from securecall.secret import Secret
from securecall.store.lock import LEAST_BEGINNING, MOST_HEADER, Lock, Seal, header_size
from securecall.store.vault import Vault

BACKUP: Final = Seal(b"securecall-saved", "the backup")
CHUNK: Final = 65536
LONGEST: Final = 16 * 1024 * 1024  # bytes of a part of a record
_TAG: Final = 16
_KEY: Final = "backup"
_SIZE: Final = struct.Struct(">I")
_DAMAGED: Final = "the backup is damaged: nothing of it was used"


class Readable(Protocol):
    """What a backup is read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to so many bytes, b"" at the end."""
        ...


class BackupWriter:
    """Seals records; holds no more than a chunk of them."""

    def __init__(self, write: Callable[[bytes], object], lock: Lock) -> None:
        """Draw a key, and write the header.

        Args:
            write: Takes the bytes of the file, in order.
            lock: What shall open it.
        """
        vault, header = Vault.create(lock, BACKUP)
        self._write = write
        self._key = vault.subkey(_KEY)
        self._aead = AESGCM(self._key.reveal())
        self._waiting = bytearray()
        self._number = 0
        vault.wipe()
        _ = write(header)

    def add(self, table: str, key: str, data: bytes) -> None:
        """Write a record.

        Raises:
            LocalError: it is larger than `read_backup` takes, which nothing of ours is.
        """
        for part in (table.encode(), key.encode("utf-8", "surrogatepass"), data):
            if len(part) > LONGEST:
                raise LocalError(f"a row of {table} is too large for a backup")
            self._waiting += _SIZE.pack(len(part)) + part
        while len(self._waiting) > CHUNK:  # what may be the last one waits
            self._seal(CHUNK, last=False)

    def finish(self) -> None:
        """Write the last chunk; without it the file is no backup."""
        self._seal(len(self._waiting), last=True)
        self._key.wipe()

    def _seal(self, size: int, *, last: bool) -> None:
        plain = bytes(self._waiting[:size])
        del self._waiting[:size]
        _ = self._write(self._aead.encrypt(_nonce(self._number, last=last), plain, None))
        self._number += 1


def read_backup(file: Readable, lock: Lock) -> Iterator[tuple[str, str, bytes]]:
    """Yield the records of a file; what was yielded counts only when this has ended.

    Raises:
        WrongPassphrase: it is another one.
        StoreCorrupt: no backup, damaged, altered or cut off.
        LocalError: it cannot be read.
    """
    beginning = _exactly(file, LEAST_BEGINNING)
    size = header_size(beginning)
    if not beginning.startswith(BACKUP.magic) or not LEAST_BEGINNING < size <= MOST_HEADER:
        raise StoreCorrupt("this file is not a backup of securecall, or its beginning is damaged")
    vault = Vault.unlock(beginning + _exactly(file, size - LEAST_BEGINNING), lock, BACKUP)
    key = vault.subkey(_KEY)
    vault.wipe()
    try:
        yield from _records(_opened(file, key))
    finally:
        key.wipe()


def _opened(file: Readable, key: Secret) -> Iterator[bytes]:
    aead, number = AESGCM(key.reveal()), 0
    sealed = _up_to(file, CHUNK + _TAG)
    while True:
        following = _up_to(file, CHUNK + _TAG)
        if len(sealed) <= _TAG:
            raise StoreCorrupt(_DAMAGED)
        try:
            yield aead.decrypt(_nonce(number, last=not following), sealed, None)
        except InvalidTag as e:
            raise StoreCorrupt(_DAMAGED) from e
        if not following:
            return
        sealed, number = following, number + 1


def _records(chunks: Iterator[bytes]) -> Iterator[tuple[str, str, bytes]]:
    waiting, parts, place = bytearray(), list[bytes](), 0
    for chunk in chunks:
        del waiting[:place]
        place = 0
        waiting += chunk
        while len(waiting) - place >= _SIZE.size:
            (size,) = _SIZE.unpack_from(waiting, place)
            if size > LONGEST:
                raise StoreCorrupt(_DAMAGED)
            end = place + _SIZE.size + size
            if end > len(waiting):
                break
            parts.append(bytes(waiting[place + _SIZE.size : end]))
            place = end
            if len(parts) == 3:
                yield parts[0].decode(), parts[1].decode("utf-8", "surrogatepass"), parts[2]
                parts.clear()
    if parts or place != len(waiting):
        raise StoreCorrupt(_DAMAGED)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _exactly(file: Readable, size: int) -> bytes:
    data = _up_to(file, size)
    if len(data) != size:
        raise StoreCorrupt("this file is not a backup of securecall, or it was cut off")
    return data


def _up_to(file: Readable, size: int) -> bytes:
    parts: list[bytes] = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
