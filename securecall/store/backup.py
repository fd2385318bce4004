"""Backups: everything a person would miss, in one file; and nothing that must not exist twice.

What is left out on purpose, and what follows from it when a backup is restored:
* the device's keys, the one of its PASSporTs included, and its name: the restored installation is
  a new device of the same person;
* OMEMO's keys, prekeys, sessions and stanzas not yet taken: a ratchet that is put back would
  encrypt two messages with one key. A restored account begins as a new OMEMO device, which takes
  the old one off the account's device list;
* our other devices: one may have been withdrawn since. Those that are still ours are enrolled anew;
  what was withdrawn before the backup stays so;
* tickets: one that was used after the backup was made would be good for a second person;
* keys of calls: they are never on the disk.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from securecall.chat.message import Delivery, Message
from securecall.clock import unix_now
from securecall.errors import LocalError, ProtocolError, StoreCorrupt, UsageError
from securecall.keys.encoding import build_base64url, build_json, parse_base64url, parse_json
from securecall.keys.household import build_household, parse_household
from securecall.keys.identity import RootKey, Signer
from securecall.secret import Secret
from securecall.store import history_records
from securecall.store.backup_file import BACKUP, BackupWriter, read_backup
from securecall.store.disk import sync_folder, translated
from securecall.store.history import ChatHistory
from securecall.store.lock import DEFAULT_COST, Cost, Keeper, Lock, Rounds
from securecall.store.records import integer, text
from securecall.store.sqlite import Store

FORMAT: Final = 1
KEPT: Final = frozenset(
    {
        "identity", "bindings", "contacts", "barred", "audit", "statements", "forks",
        "omemo-devices", "failures", "calls", "settings", "organisations", "words",
    }
)  # fmt: skip
LEFT: Final = frozenset({"tickets"})
_THIS_DEVICE: Final = {
    "identity": frozenset({"device-id", "device-seed", "device-next", "device-since"}),
    "settings": frozenset(
        {
            "own-omemo",
            "own-passport-key",
            "own-next-passport-key",
            "sip-instance",
            "history-generation",
            "history-key",
        }
    ),
}
_ROOTS: Final = (("identity", "root-seed"), ("identity", "root-place"))
_ARCHIVES: Final = "archive "  # names of the places in archives: what of the history's values stays
_RATCHETS, _OMEMO_IDENTITY = "omemo ", " omemo/identity"
_MESSAGES, _RETENTIONS, _VALUES, _RETIRED = "message", "retention", "value", "retired"
_MANIFEST: Final = "backup"
_BATCH: Final = 500
_NO_TEXT: Final[int] = getattr(os, "O_BINARY", 0)  # Windows
_WHAT: Final = "the backup"

Record = tuple[str, str, bytes]  # table, key, data


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What a backup holds.

    Attributes:
        made: Unix seconds when.
        root_fp: Whose it is: the root's fingerprint.
        device: The device it was made on; a restored installation is another one.
        contacts: People with a key.
        messages: Of all conversations.
        calls: What is remembered of calls.
    """

    made: int
    root_fp: bytes = field(repr=False)
    device: str
    contacts: int = 0
    messages: int = 0
    calls: int = 0


def write_backup(
    store: Store, file: str | Path, passphrase: Secret, *, cost: Cost | Rounds = DEFAULT_COST
) -> Backup:
    """Write a backup of an open store, whole and durable, or not at all; blocks until then.

    Args:
        store: Whose; it may go on being used meanwhile by other threads.
        file: Made with mode 600; an older backup there is replaced, anything else is left alone.
        passphrase: Opens the backup, whatever opens the store.
        cost: Of one try of it.

    Raises:
        LocalError: the disk refuses, or there is a file that is no backup.
        StoreCorrupt: the store was altered.
        UsageError: the passphrase is empty.
        NotPrimary: the root key is on another device: a backup without it brings nobody back.
    """
    _ = store.root.require_signer()
    file = Path(file).expanduser()
    _require_replaceable(file)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    count = {"bindings": 0, _MESSAGES: 0, "calls": 0}
    manifest = Backup(made=unix_now(), root_fp=store.root.fingerprint, device=store.device.id)
    try:
        with translated(_WHAT, file):
            number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_TEXT, 0o600)
            with os.fdopen(number, "wb") as out:
                writer = BackupWriter(out.write, Lock(passphrase=passphrase, cost=cost))
                writer.add(_MANIFEST, str(FORMAT), _build_manifest(manifest))
                for table, key, data in _everything(store):
                    writer.add(table, key, data)
                    if table in count:
                        count[table] += 1
                writer.finish()
                out.flush()
                os.fsync(out.fileno())
            draft.replace(file)
        sync_folder(_WHAT, file.parent)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    return _counted(manifest, count)


def check_backup(file: str | Path, passphrase: Secret) -> Backup:
    """Read all of a backup, as restoring it would, and change nothing.

    Raises:
        WrongPassphrase: it is another one.
        StoreCorrupt: no backup, damaged, altered or cut off.
        LocalError: it cannot be read.
    """
    manifest, records = None, _records(file, passphrase)
    count = {"bindings": 0, _MESSAGES: 0, "calls": 0}
    has_root = False
    for table, key, data in records:
        if table == _MANIFEST:
            manifest = _parse_manifest(key, data)
        else:
            _ = _message(table, key, data)
        has_root = has_root or (table, key) in _ROOTS
        if table in count:
            count[table] += 1
    if manifest is None or not has_root:
        raise StoreCorrupt("the backup holds no identity")
    return _counted(manifest, count)


def restore(
    file: str | Path,
    folder: str | Path,
    *,
    backup_passphrase: Secret,
    passphrase: Secret | None,
    keeper: Keeper | None = None,
    root: Signer | None = None,
    cost: Cost | Rounds = DEFAULT_COST,
) -> Backup:
    """Make a folder out of a backup, all of it or nothing: a new device of the same person.

    Args:
        file: The backup.
        folder: Of the new store; it must be empty, or not be there.
        backup_passphrase: Opens the backup.
        passphrase: Is to open the new store; None where the keeper alone is.
        keeper: Keeps a part of its key.
        root: The root key, if it lies in a token; no backup has it then.
        cost: Of one try of the passphrase.

    Raises:
        WrongPassphrase: the backup does not open with this.
        StoreCorrupt: no backup, damaged, altered or cut off.
        LocalError: the folder is not empty, the disk refuses, or the keeper does.
        UsageError: nothing would open the new store.
    """
    folder = Path(folder).expanduser()
    with translated("the folder", folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise LocalError(f"{folder} is not empty; a backup is restored into a new folder")
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Beside it, so that what came to be half-way is never taken for a store.
    stage = folder.parent / f".{folder.name}.restoring-{secrets.token_hex(4)}"
    try:
        backup = _fill(
            stage,
            _records(file, backup_passphrase),
            Lock(passphrase=passphrase, keeper=keeper, cost=cost),
            root,
        )
        with translated("the folder", folder):
            sync_folder("the folder", stage)
            if folder.exists():
                folder.rmdir()
            stage.rename(folder)
        sync_folder("the folder", folder.parent)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return backup


def _require_replaceable(file: Path) -> None:
    with translated(_WHAT, file):
        if not file.exists():
            return
        if file.is_file():
            with file.open("rb") as there:
                if there.read(len(BACKUP.magic)) == BACKUP.magic:
                    return
    raise LocalError(f"{file} is there and no backup; it is left alone")


def _everything(store: Store) -> Iterator[Record]:
    for table in sorted(store.tables & KEPT, key=lambda name: (name != "identity", name)):
        left = _THIS_DEVICE.get(table, frozenset())
        for key, data in store.read_table(table).items():
            if key not in left:
                yield table, key, data
    if store.setting("history-generation") is not None:
        yield from _conversations(store.open_history())


def _conversations(history: ChatHistory) -> Iterator[Record]:
    number, last = 0, history.last_number
    while number < last:
        page = history.after(number, count=_BATCH)
        if not page:
            break
        for message in page:
            number = message.number
            yield (
                _MESSAGES,
                str(number),
                bytes([message.unread]) + history_records.build_message(message),
            )
    for name, value in history.values(_RATCHETS).items():
        if name.endswith(_OMEMO_IDENTITY):  # of which nothing but the number goes into a backup
            jid = name[len(_RATCHETS) : -len(_OMEMO_IDENTITY)]
            yield _RETIRED, f"{jid} {int.from_bytes(value[:4], 'big')}", b""
    for address, seconds in history.retentions().items():
        person = history_records.Person(address, retention=seconds)
        yield _RETENTIONS, "", history_records.build_person(person)
    for name, value in history.values(_ARCHIVES).items():
        yield _VALUES, name, value


def _fill(stage: Path, records: Iterator[Record], lock: Lock, signer: Signer | None) -> Backup:
    first = next(records, ("", "", b""))
    if first[0] != _MANIFEST:
        raise StoreCorrupt("the backup does not say what it holds")
    manifest = _parse_manifest(first[1], first[2])
    count = {"bindings": 0, _MESSAGES: 0, "calls": 0}
    root, begun = _root(records, signer)
    store = Store.create(stage, lock.passphrase, keeper=lock.keeper, root=root, cost=lock.cost)
    try:
        if store.root.fingerprint != manifest.root_fp:
            raise LocalError("this is not the root key that the backup is of")
        for batch in _batches(itertools.chain(begun, records)):
            _write(store, batch)
            for table, _, _ in batch:
                if table in count:
                    count[table] += 1
    except BaseException:
        store.abandon()
        raise
    store.close()
    return _counted(manifest, count)


def _root(records: Iterator[Record], signer: Signer | None) -> tuple[RootKey, list[Record]]:
    """The root key of a backup, and the records up to it: the identity comes first."""
    begun: list[Record] = []
    for record in records:
        begun.append(record)
        if record[:2] == ("identity", "root-seed"):
            return RootKey.from_seed(Secret(record[2])), begun
        if record[:2] == ("identity", "root-place"):
            if signer is None:
                raise UsageError("the root key of this backup lies in a token; restore with that")
            return RootKey.from_signer(signer), begun
    raise StoreCorrupt("the backup holds no identity")


def _write(store: Store, batch: list[Record]) -> None:
    rows = [
        _alone(store, change)
        for change in batch
        if change[0] in KEPT and change[1] not in _THIS_DEVICE.get(change[0], frozenset())
    ]
    if rows:
        store.write_restored(rows)
    gone = [key.rpartition(" ") for table, key, _ in batch if table == _RETIRED]
    if gone:
        store.retire_omemo((jid, int(number)) for jid, _, number in gone)
    rest = [change for change in batch if change[0] in (_MESSAGES, _RETENTIONS, _VALUES)]
    if not rest:
        return
    history = store.open_history()
    with history.transaction():
        for table, key, data in rest:
            message = _message(table, key, data)
            if message is not None:
                if message.own and message.delivery is Delivery.PENDING:
                    # What was to be sent was encrypted by a device that is no more.
                    message = replace(message, delivery=Delivery.FAILED)
                history.put_back(message)
            elif table == _RETENTIONS:
                person = history_records.parse_person(data)
                history.retain(person.address, person.retention)
            elif key.startswith(_ARCHIVES):
                history.set_value(key, data)


def _alone(store: Store, row: Record) -> Record:
    """Without our other devices: of the ones that were withdrawn since, this row knows nothing."""
    table, key, data = row
    if (table, key) != ("identity", "household"):
        return row
    household = parse_household(data, store.root.fingerprint)
    return table, key, build_household(replace(household, devices=()))


def _batches(
    records: Iterable[Record],
) -> Iterator[list[Record]]:
    batch: list[Record] = []
    for record in records:
        batch.append(record)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _records(name: str | Path, passphrase: Secret) -> Iterator[Record]:
    file = Path(name).expanduser()
    with translated(_WHAT, file), file.open("rb") as opened:
        yield from read_backup(opened, Lock(passphrase=passphrase))


def _build_manifest(backup: Backup) -> bytes:
    return build_json(
        {
            "made": backup.made,
            "root": build_base64url(backup.root_fp),
            "device": backup.device,
        }
    )


def _parse_manifest(key: str, data: bytes) -> Backup:
    if key != str(FORMAT):
        raise LocalError("the backup was made by a newer version of securecall")
    try:
        record = parse_json(data, max_size=4096, max_depth=2)
        return Backup(
            made=integer(record["made"]),
            root_fp=parse_base64url(text(record["root"])),
            device=text(record["device"]),
        )
    except (ProtocolError, KeyError, TypeError) as e:
        raise StoreCorrupt("what the backup says of itself cannot be read") from e


def _message(table: str, key: str, data: bytes) -> Message | None:
    """The message in a record, None if it holds something else."""
    if table != _MESSAGES:
        return None
    if not key.isdecimal() or not data:
        raise StoreCorrupt("a message of the backup has no number")
    return history_records.parse_message(data[1:], number=int(key), unread=data[0] != 0)


def _counted(backup: Backup, count: dict[str, int]) -> Backup:
    return replace(
        backup,
        contacts=count["bindings"],
        messages=count[_MESSAGES],
        calls=count["calls"],
    )
