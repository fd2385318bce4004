"""A person's store: keys, trust, tickets and the log of calls, encrypted in one SQLite file.

Every call blocks for as long as the disk takes; `create`, `open` and `set_passphrase` take a
quarter of a second of computation on purpose, so run those in a thread. Threads may share a store.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, NoReturn, Self

from securecall.address import Address
from securecall.errors import LocalError, ProtocolError, StoreCorrupt, UsageError
from securecall.keys.device import DeviceKey
from securecall.keys.encoding import build_json
from securecall.keys.identity import RootKey, Signer
from securecall.keys.omemo_trust import DeviceAudit, PersonDevices
from securecall.keys.organisation import LastWord
from securecall.keys.statement import Statement
from securecall.keys.ticket_desk import OutstandingTicket
from securecall.keys.trust import AuditEntry, TrustBook, TrustState
from securecall.secret import Secret
from securecall.store import device_records, history, records
from securecall.store.disk import translated
from securecall.store.history import ChatHistory
from securecall.store.lock import DEFAULT_COST, Cost, Keeper, Lock, Needs, Rounds
from securecall.store.rows import Change, Rows

FILE: Final = "securecall.store"
FAILURE_WINDOW: Final = 86_400  # seconds; security rule: warn from 32 in 24 hours
ORGANISATION: Final = "organisation"  # a setting: whose keys these are, where it is no person
RETIRED: Final = "retired-omemo"  # setting: lines of bare JID and device id
_HISTORY: Final = "history-generation"
_FAILURES_KEPT: Final = 64
_FAILING_KEPT: Final = 512
_BARRED: Final = {TrustState.REVOKED.value: TrustState.REVOKED}
_BARRED[TrustState.DISTRUSTED.value] = TrustState.DISTRUSTED


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One line of a log.

    Attributes:
        number: Its place, from 1.
        data: What was written.
    """

    number: int
    data: bytes = field(repr=False)


class Store:
    """An open store.

    Attributes:
        root: Our root key; on a device that does not hold it, only whose it is.
        device: This device's key.
    """

    def __init__(
        self, folder: Path, rows: Rows, keeper: Keeper | None, root: Signer | None = None
    ) -> None:
        """Use `create`, `open` or `open_or_create`."""
        self._folder = folder
        self._rows = rows
        self._keeper = keeper
        self._opening = threading.Lock()
        self._require_kept_generation()
        self._history: ChatHistory | None = None
        self.root = self._read_root(root)
        self.device = DeviceKey.from_seed(
            self._required("device-id").decode(), self._secret("device-seed")
        )
        self._book = self._read_book()

    def __repr__(self) -> str:
        return "<Store>"

    @classmethod
    def create(
        cls,
        folder: Path,
        passphrase: Secret | None,
        *,
        keeper: Keeper | None = None,
        root: RootKey | None = None,
        device_id: str = "",
        cost: Cost | Rounds = DEFAULT_COST,
    ) -> Self:
        """Make a store with an identity in it.

        Args:
            folder: Made with mode 700 where it does not exist.
            passphrase: The only way in; nobody can reset it. None where the keeper alone opens it.
            keeper: Keeps a part of the key outside of the file; from then on the file alone, even
                with the passphrase, opens nothing, and an older copy of it is noticed.
            root: Of an identity that is restored, or that another device holds; None draws a new
                one.
            device_id: Name of this device; "" draws one.
            cost: Of one try of the passphrase.

        Raises:
            LocalError: there is a store already, or the disk refuses.
            UsageError: the passphrase is empty, or there is neither one nor a keeper.
        """
        _make_folder(folder)
        device = DeviceKey.generate(device_id or f"d-{secrets.token_hex(4)}")
        root = root or RootKey.generate()
        rows = Rows.create(
            folder / FILE,
            Lock(passphrase=passphrase, keeper=keeper, cost=cost),
            (
                *_root_rows(root),
                ("identity", "device-id", device.id.encode()),
                ("identity", "device-seed", device.seed.reveal()),
                ("identity", "seq", b"0"),
            ),
        )
        return cls(folder, rows, keeper, root.signer)

    @staticmethod
    def needs(folder: Path) -> Needs:
        """Return what opens the store of a folder; raises as `open` does."""
        return Rows.needs_of(folder / FILE)

    @classmethod
    def open(
        cls,
        folder: Path,
        passphrase: Secret | None = None,
        *,
        keeper: Keeper | None = None,
        root: Signer | None = None,
        approved: bool = False,
    ) -> Self:
        """Open a store; all of it is checked before any of it is used.

        Args:
            folder: Where it is.
            passphrase: If it asks for one.
            keeper: If it asks for one.
            root: The root key, if it lies in a token.
            approved: Refuse one that Argon2id opens, as the fips profile does.

        Raises:
            Unsupported: `approved`, and Argon2id opens it.
            WrongPassphrase: it is another one.
            UsageError: the store asks for a passphrase or a keeper that is not given.
            StoreCorrupt: damaged, altered, or older than the keeper remembers.
            LocalError: not there, in use by another process, or not readable; or the keeper does
                not work.
        """
        lock = Lock(passphrase=passphrase, keeper=keeper, approved=approved)
        rows = Rows.open(folder / FILE, lock)
        try:
            return cls(folder, rows, keeper, root)
        except BaseException:
            rows.close()
            raise

    @classmethod
    def open_or_create(
        cls,
        folder: Path,
        passphrase: Secret | None = None,
        *,
        keeper: Keeper | None = None,
        root: Signer | None = None,
        cost: Cost | Rounds = DEFAULT_COST,
    ) -> Self:
        """Open the store of a folder, or make one where there is none."""
        if (folder / FILE).exists():
            approved = isinstance(cost, Rounds)
            return cls.open(folder, passphrase, keeper=keeper, root=root, approved=approved)
        made = None if root is None else RootKey.from_signer(root)
        return cls.create(folder, passphrase, keeper=keeper, root=made, cost=cost)

    def set_passphrase(self, passphrase: Secret, *, cost: Cost | Rounds = DEFAULT_COST) -> None:
        """Change the passphrase; older copies of the file still open with the older one."""
        self.set_lock(Lock(passphrase=passphrase, keeper=self._keeper, cost=cost))

    def set_lock(self, lock: Lock) -> None:
        """Let something else open the store from now on: only the wrapped key is written anew.

        Older copies of the file still open with what opened them, unless that was a keeper: it
        forgets its part.

        Raises:
            UsageError: nothing would open it.
            LocalError: the disk or the new keeper refused; what opened it before still does.
        """
        before, keeper = self._rows.needs, self._keeper
        self._rows.rewrap(lock)
        self._keeper = lock.keeper
        self._keep_generation()
        if keeper is not None:
            # Where it does not work now, it keeps what opens nothing that is here any more.
            with contextlib.suppress(LocalError):
                keeper.forget(before.note)

    def close(self) -> None:
        """Release the files and wipe the keys; may be called again."""
        if self._history is not None:
            # Where the disk refuses, an older number stays, which is no less true.
            with contextlib.suppress(LocalError):
                self._save_history_generation(self._history)
            self._history.close()
        with contextlib.suppress(LocalError):  # as above; or it is closed already
            self._keep_generation()
        self._rows.close()
        self.root.wipe()
        self.device.seed.wipe()

    def abandon(self) -> None:
        """Close a store that is to be thrown away: its keeper forgets its part."""
        if self._keeper is not None:
            with contextlib.suppress(LocalError):
                self._keeper.forget(self._rows.needs.note)
            self._keeper = None
        self.close()

    @property
    def generation(self) -> int:
        """Number of the last write: keep it elsewhere to detect that an old file was put back."""
        return self._rows.counter

    def require_generation(self, least: int) -> None:
        """Refuse a store older than one that was open before.

        Raises:
            StoreCorrupt: the whole file was replaced by an older one.
        """
        if self._rows.counter < least:
            raise StoreCorrupt("the key store was replaced by an older copy of itself")

    def _require_kept_generation(self) -> None:
        if self._keeper is not None:
            self.require_generation(self._keeper.generation(self._rows.needs.note))
            self._keep_generation()

    def _keep_generation(self) -> None:
        if self._keeper is not None:
            self._keeper.keep_generation(self._rows.needs.note, self._rows.counter)

    # -- the history of conversations -------------------------------------------------------------

    def open_history(self) -> ChatHistory:
        """Open what is kept of conversations, or begin it; once, and closed with this store.

        Raises:
            StoreCorrupt: damaged, altered, or replaced by an older copy.
            LocalError: gone although there was one, in use by another process, or the disk refuses.
        """
        with self._opening:
            if self._history is None:
                self._history = self._opened_history()
            return self._history

    def _opened_history(self) -> ChatHistory:
        known = int(self.setting(_HISTORY) or 0)
        if known and not (self._folder / history.FILE).exists():
            raise LocalError("the history is gone: put it back, or forget it and begin a new one")
        opened = ChatHistory.open(self._folder, self._rows.subkey("history"))
        try:
            opened.require_generation(known)
            self._save_history_generation(opened)
        except BaseException:
            opened.close()
            raise
        return opened

    def forget_history(self) -> None:
        """Delete everything kept of conversations, for good, so that a new history can begin."""
        if self._history is not None:
            self._history.close()
            self._history = None
        with translated("the history"):
            for ending in ("", "-wal"):
                (self._folder / f"{history.FILE}{ending}").unlink(missing_ok=True)
        self.save_setting(_HISTORY, None)

    def _save_history_generation(self, opened: ChatHistory) -> None:
        self.save_setting(_HISTORY, str(opened.generation).encode())

    # -- our identity -----------------------------------------------------------------------------

    @property
    def statement(self) -> bytes:
        """Our latest own statement, b"" before the first."""
        return self._rows.read("identity", "statement") or b""

    @property
    def seq(self) -> int:
        """The highest sequence number ever used for a statement of ours."""
        return int(self._required("seq"))

    @property
    def household(self) -> bytes:
        """What is kept of our other devices, b"" before there were any."""
        return self._rows.read("identity", "household") or b""

    @property
    def device_since(self) -> int:
        """Unix seconds when this device's key was made, 0 where that was not written down."""
        return int(self._rows.read("identity", "device-since") or b"0")

    @property
    def next_device(self) -> DeviceKey | None:
        """The key that is to replace this device's, once the root vouches for it."""
        seed = self._rows.read("identity", "device-next")
        return None if seed is None else DeviceKey.from_seed(self.device.id, Secret(seed))

    def save_next_device(self, device: DeviceKey) -> None:
        """Keep a key that is to replace this device's."""
        self._rows.write((("identity", "device-next", device.seed.reveal()),))

    def save_statement(
        self,
        raw: bytes,
        seq: int,
        *,
        household: bytes | None = None,
        root: RootKey | None = None,
        device: DeviceKey | None = None,
        since: int | None = None,
        settings: Mapping[str, bytes | None] = MappingProxyType({}),
    ) -> None:
        """Keep our new statement, and with it what it says, in one step; before anyone sees it.

        Args:
            raw: The statement.
            seq: Its number.
            household: What is kept of our other devices.
            root: Another root: our own successor, or the same one, held from now on.
            device: Another key of this device.
            since: Unix seconds when the device's key was made.
            settings: Further settings that it rests on; None removes one.

        Raises:
            UsageError: the number does not grow.
        """
        if seq <= self.seq:
            raise UsageError("a new statement needs a higher sequence number")
        changes: list[Change] = [
            ("identity", "statement", raw),
            ("identity", "seq", str(seq).encode()),
        ]
        if household is not None:
            changes.append(("identity", "household", household))
        if since is not None:
            changes.append(("identity", "device-since", str(since).encode()))
        if root is not None:
            changes += _root_rows(root)
        if device is not None:
            changes.append(("identity", "device-seed", device.seed.reveal()))
            changes.append(("identity", "device-next", None))
        changes += [("settings", name, data) for name, data in settings.items()]
        self._rows.write(changes)
        # Calls in progress go on with the key they began with: it is not wiped here.
        self.root, self.device = root or self.root, device or self.device

    def save_household(self, household: bytes) -> None:
        """Keep what is known of our other devices where no statement of ours says it yet."""
        self._rows.write((("identity", "household", household),))

    def save_root(self, root: RootKey) -> None:
        """Keep the key of our root on this device, which only knew whose it is.

        Raises:
            UsageError: it is another root, or not the key itself.
        """
        if root.fingerprint != self.root.fingerprint or not root.held:
            raise UsageError("this is not the key of our root")
        self._rows.write(_root_rows(root))
        self.root = root

    # -- trust ------------------------------------------------------------------------------------

    @property
    def book(self) -> TrustBook:
        """Everything believed, as last written."""
        return self._book

    def save_trust(self, book: TrustBook, entries: Sequence[AuditEntry]) -> None:
        """Write a book that `transition` made, and what it did, in one step."""
        changes = _differences(self._book, book)
        number = self._next("audit")
        for place, entry in enumerate(entries, start=number):
            changes.append(("audit", _log_key(place), records.build_audit(entry)))
        self._rows.write(changes)
        self._book = book

    def audit(self) -> tuple[LogEntry, ...]:
        """Every change of trust, JSON, oldest first."""
        return self._log("audit")

    def known_statement(self, root_fp: bytes, *, unix: int) -> Statement | None:
        """Return the last statement seen of a root, as narrowed by what came before.

        Raises:
            StoreCorrupt: it does not hold at `unix`: the clock was set back by more than a day.
        """
        data = self._rows.read("statements", root_fp.hex())
        if data is None:
            return None
        return records.read_record(
            data, lambda record: records.parse_known_statement(record, unix=unix)
        )

    def save_known_statement(self, statement: Statement, *, forked: bytes = b"") -> None:
        """Keep the statement of a `StatementVerdict`.

        Args:
            statement: To go by from now on.
            forked: In case of FORK, either of the two statements under one number: the other one
                is kept as evidence beside the one to go by.
        """
        name = statement.root_fp.hex()
        if forked == statement.raw:
            before = self._rows.read("statements", name)
            forked = b"" if before is None else records.read_record(before, records.parse_raw)
        changes: list[Change] = [("statements", name, records.build_known_statement(statement))]
        if forked:
            changes.append(("forks", name, forked))
        self._rows.write(changes)

    def forked_statement(self, root_fp: bytes) -> bytes:
        """Return the evidence of a fork, b"" if there was none."""
        return self._rows.read("forks", root_fp.hex()) or b""

    # -- organisations ----------------------------------------------------------------------------

    def word_about(self, organisation_fp: bytes, address: Address, *, unix: int) -> LastWord | None:
        """Return what the organisation with this root said of an address, None for nothing yet.

        Raises:
            StoreCorrupt: it does not hold at `unix`: the clock was set back by more than a day.
        """
        data = self._rows.read("words", f"{organisation_fp.hex()} {address}")
        if data is None:
            return None
        return records.read_record(data, lambda record: records.parse_word(record, unix=unix))

    def save_word(self, word: LastWord) -> None:
        """Keep what an organisation said, as `organisation.weigh` made it."""
        latest = word.latest
        name = f"{latest.organisation_fp.hex()} {latest.address}"
        self._rows.write((("words", name, records.build_word(word)),))

    # -- OMEMO devices ----------------------------------------------------------------------------

    def devices_of(self, address: Address) -> PersonDevices:
        """Return what is known of a person's OMEMO devices."""
        data = self._rows.read("omemo-devices", str(address))
        if data is None:
            return PersonDevices(address=address)
        return records.read_record(data, device_records.parse_person)

    def save_devices(self, person: PersonDevices, audits: Sequence[DeviceAudit] = ()) -> None:
        """Write what is known of a person's devices, and what was decided, in one step."""
        row = ("omemo-devices", str(person.address), device_records.build_person(person))
        number = self._next("audit")
        lines = [
            ("audit", _log_key(place), device_records.build_device_audit(audit))
            for place, audit in enumerate(audits, start=number)
        ]
        self._rows.write([row, *lines])

    def retired_omemo(self, jid: str) -> frozenset[int]:
        """Return the OMEMO devices of an account that this one, restored, takes the place of."""
        lines = [line.split(" ") for line in (self.setting(RETIRED) or b"").decode().splitlines()]
        return frozenset(int(number) for whose, number in lines if whose == jid)

    # -- tickets ----------------------------------------------------------------------------------

    def tickets(self) -> tuple[OutstandingTicket, ...]:
        """All tickets that were saved and not deleted."""
        return tuple(
            records.read_record(data, records.parse_ticket_record)
            for data in self._rows.read_all("tickets").values()
        )

    def save_ticket(self, ticket: OutstandingTicket) -> None:
        """Write a ticket, over an earlier one of the same id."""
        self._rows.write((("tickets", ticket.id, records.build_ticket_record(ticket)),))

    def delete_ticket(self, ticket_id: str) -> None:
        """Forget a ticket; one that is not there is no error."""
        self._rows.write((("tickets", ticket_id, None),))

    # -- failed handshakes ------------------------------------------------------------------------

    def failures(self, who: str, *, unix: int) -> int:
        """Count the handshakes with an address that failed after NONCE in the last 24 hours."""
        return len(self._failures(who, unix))

    def count_failure(self, who: str, *, unix: int) -> int:
        """Note such a failure, and return the new count (at most 64); warn from 32."""
        if self._rows.count("failures") >= _FAILING_KEPT:  # forged names must not fill the disk
            others = list(self._rows.read_all("failures"))
            stale = [other for other in others if not self._failures(other, unix)]
            drop = stale or others[: _FAILING_KEPT // 2]
            self._rows.write([("failures", other, None) for other in drop])
        times = [*self._failures(who, unix), unix][-_FAILURES_KEPT:]
        self._rows.write((("failures", who, build_json({"times": times})),))
        return len(times)

    def _failures(self, who: str, unix: int) -> list[int]:
        data = self._rows.read("failures", who)
        if data is None:
            return []
        times = records.read_record(data, lambda record: records.integers(record["times"]))
        return [time for time in times if time > unix - FAILURE_WINDOW]

    # -- backups ----------------------------------------------------------------------------------

    @property
    def tables(self) -> frozenset[str]:
        """The tables that have rows."""
        return self._rows.tables

    def read_table(self, table: str) -> dict[str, bytes]:
        """Return all rows of a table, by key, for a backup."""
        return self._rows.read_all(table)

    def write_restored(self, changes: Sequence[Change]) -> None:
        """Write rows of a backup, of which nothing here was read yet; open the store anew then."""
        self._rows.write(changes)

    # -- calls, settings --------------------------------------------------------------------------

    def append_call(self, report: bytes) -> int:
        """Keep the report of a call; returns its number."""
        number = self._next("calls")
        self._rows.write((("calls", _log_key(number), report),))
        return number

    def calls(self) -> tuple[LogEntry, ...]:
        """All reports of calls, oldest first."""
        return self._log("calls")

    def setting(self, name: str) -> bytes | None:
        """Return a setting of the application layer, None if it was never saved."""
        return self._rows.read("settings", name)

    def save_setting(self, name: str, data: bytes | None) -> None:
        """Keep a setting; None removes it."""
        self._rows.write((("settings", name, data),))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError("a Store is never copied or serialised")

    def _required(self, key: str) -> bytes:
        data = self._rows.read("identity", key)
        if data is None:
            raise StoreCorrupt("the key store holds no identity: it was never finished")
        return data

    def _read_root(self, signer: Signer | None) -> RootKey:
        if self._rows.read("identity", "root-place") is not None:
            if signer is None:
                raise UsageError("the root key of this store lies in a token; open it with that")
            if signer.public != self._required("root-public"):
                raise LocalError("the token holds another root key than the one of this store")
            return RootKey.from_signer(signer)
        seed = self._rows.read("identity", "root-seed")
        if seed is not None:
            return RootKey.from_seed(Secret(seed))
        try:
            return RootKey.known(self._required("root-public"))
        except ProtocolError as e:
            raise StoreCorrupt("the key store holds no root key") from e

    def _secret(self, key: str) -> Secret:
        return Secret(self._required(key))

    def _read_book(self) -> TrustBook:
        bindings = [
            records.read_record(data, records.parse_binding)
            for data in self._rows.read_all("bindings").values()
        ]
        contacts = [
            records.read_record(data, records.parse_contact)
            for data in self._rows.read_all("contacts").values()
        ]
        organisations = [
            records.read_record(data, records.parse_organisation)
            for data in self._rows.read_all("organisations").values()
        ]
        barred = self._rows.read_all("barred")
        try:
            roots = {bytes.fromhex(key): _BARRED[data.decode()] for key, data in barred.items()}
        except (ValueError, KeyError) as e:
            raise StoreCorrupt("a row of the key store cannot be read") from e
        return TrustBook(
            bindings={binding.address: binding for binding in bindings},
            contacts={contact.id: contact for contact in contacts},
            barred=roots,
            organisations={found.domain: found for found in organisations},
        )

    def _log(self, table: str) -> tuple[LogEntry, ...]:
        found = sorted(self._rows.read_all(table).items())
        return tuple(LogEntry(number=int(key), data=data) for key, data in found)

    def _next(self, table: str) -> int:
        return self._rows.count(table) + 1


def _root_rows(root: RootKey) -> tuple[Change, ...]:
    """The rows of a root; those of another kind must not stay beside them."""
    seed = root.seed.reveal() if root.has_seed else None
    return (
        ("identity", "root-seed", seed),
        ("identity", "root-public", None if root.has_seed else root.public),
        ("identity", "root-place", b"token" if root.held and not root.has_seed else None),
    )


def _differences(old: TrustBook, new: TrustBook) -> list[Change]:
    before = _book_rows(old)
    after = _book_rows(new)
    removed: list[Change] = [(table, key, None) for table, key in before.keys() - after.keys()]
    return removed + [
        (table, key, data)
        for (table, key), data in after.items()
        if before.get((table, key)) != data
    ]


def _book_rows(book: TrustBook) -> dict[tuple[str, str], bytes]:
    rows = {
        ("bindings", str(address)): records.build_binding(binding)
        for address, binding in book.bindings.items()
    }
    for contact in book.contacts.values():
        rows["contacts", contact.id] = records.build_contact(contact)
    for organisation in book.organisations.values():
        rows["organisations", organisation.domain] = records.build_organisation(organisation)
    for root_fp, state in book.barred.items():
        rows["barred", root_fp.hex()] = state.value.encode()
    return rows


def _log_key(number: int) -> str:
    return f"{number:012d}"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Only a folder that is ours alone is narrowed; a shared one keeps its mode.
        if os.name == "posix" and not any(folder.iterdir()):
            folder.chmod(0o700)
    except OSError as e:
        raise LocalError(f"the folder {folder} cannot be made: {e.strerror}") from e
