"""What the key store holds, table by table: our identity, trust, devices, tickets, calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from securecall.address import Address
from securecall.errors import LocalError, ProtocolError, StoreCorrupt, UsageError
from securecall.keys.device import DeviceKey
from securecall.keys.encoding import build_json
from securecall.keys.identity import RootKey, Signer
from securecall.keys.omemo_trust import DeviceAudit, PersonDevices
from securecall.keys.organisation import LastWord
from securecall.keys.statement import Statement
from securecall.keys.ticket_desk import OutstandingTicket
from securecall.keys.trust import AuditEntry, TrustBook
from securecall.secret import Secret
from securecall.store import device_records, records
from securecall.store.book_rows import differences, read_book
from securecall.store.rows import Change, Rows

FAILURE_WINDOW: Final = 86_400  # seconds; security rule: warn from 32 in 24 hours
RETIRED: Final = "retired-omemo"  # setting: lines of bare JID and device id
_FAILURES_KEPT: Final = 64
_FAILING_KEPT: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One line of a log.

    Attributes:
        number: Its place, from 1.
        data: What was written.
    """

    number: int
    data: bytes = field(repr=False)


class Tables:
    """What an open store holds, and every way to change it; each is one write, whole or not at all.

    Attributes:
        root: Our root key; on a device that does not hold it, only whose it is.
        device: This device's key.
    """

    def __init__(self, rows: Rows, root: Signer | None) -> None:
        """Read our keys and the book; `root` is the root key where it lies in a token."""
        self._rows = rows
        self.root = self._read_root(root)
        self.device = DeviceKey.from_seed(
            self._required("device-id").decode(), self._secret("device-seed")
        )
        self._book = read_book(rows.read_all)

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
            changes += root_rows(root)
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
        self._rows.write(root_rows(root))
        self.root = root

    # -- trust ------------------------------------------------------------------------------------

    @property
    def book(self) -> TrustBook:
        """Everything believed, as last written."""
        return self._book

    def save_trust(self, book: TrustBook, entries: Sequence[AuditEntry]) -> None:
        """Write a book that `transition` made, and what it did, in one step."""
        changes = differences(self._book, book)
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
        """Return the OMEMO devices of an account that this one takes the place of."""
        lines = [line.split(" ") for line in (self.setting(RETIRED) or b"").decode().splitlines()]
        return frozenset(int(number) for whose, number in lines if whose == jid)

    def retire_omemo(self, gone: Iterable[tuple[str, int]]) -> None:
        """Keep OMEMO devices, each by account and number, that this one takes the place of."""
        before = (self.setting(RETIRED) or b"").decode().splitlines()
        lines = [*before, *(f"{jid} {number}" for jid, number in gone)]
        self.save_setting(RETIRED, "\n".join(dict.fromkeys(lines)).encode())

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

    def append_call(
        self, data: bytes, *, number: int | None = None, drop: Iterable[int] = ()
    ) -> int:
        """Keep what is remembered of a call, and forget others; returns its number.

        Who knows the next number spares us reading all calls.
        """
        if number is None:
            number = max((int(key) for key in self._rows.read_all("calls")), default=0) + 1
        self._rows.write((("calls", _log_key(number), data), *_dropped(drop)))
        return number

    def drop_calls(self, numbers: Iterable[int]) -> None:
        """Forget these calls."""
        self._rows.write(_dropped(numbers))

    def calls(self) -> tuple[LogEntry, ...]:
        """What is remembered of calls, oldest first."""
        return self._log("calls")

    def setting(self, name: str) -> bytes | None:
        """Return a setting of the application layer, None if it was never saved."""
        return self._rows.read("settings", name)

    def save_setting(self, name: str, data: bytes | None) -> None:
        """Keep a setting; None removes it."""
        self.save_settings({name: data})

    def save_settings(self, settings: Mapping[str, bytes | None]) -> None:
        """Keep several, in one step; None removes one."""
        self._rows.write([("settings", name, data) for name, data in settings.items()])

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

    def _log(self, table: str) -> tuple[LogEntry, ...]:
        found = sorted(self._rows.read_all(table).items())
        return tuple(LogEntry(number=int(key), data=data) for key, data in found)

    def _next(self, table: str) -> int:
        return self._rows.count(table) + 1


def root_rows(root: RootKey) -> tuple[Change, ...]:
    """The rows of a root; those of another kind must not stay beside them."""
    seed = root.seed.reveal() if root.has_seed else None
    return (
        ("identity", "root-seed", seed),
        ("identity", "root-public", None if root.has_seed else root.public),
        ("identity", "root-place", b"token" if root.held and not root.has_seed else None),
    )


def _dropped(calls: Iterable[int]) -> tuple[Change, ...]:
    return tuple(("calls", _log_key(number), None) for number in calls)


def _log_key(number: int) -> str:
    return f"{number:012d}"
