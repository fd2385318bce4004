"""How values are written into rows: JSON, read back as strictly as if a stranger had written it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from securecall.address import Address, Scheme
from securecall.errors import ProtocolError, StatementInvalid, StoreCorrupt
from securecall.keys.encoding import (
    build_base64url,
    build_json,
    parse_base64url,
    parse_json,
)
from securecall.keys.organisation import LastWord, parse_countersignature
from securecall.keys.statement import Statement, parse_statement
from securecall.keys.ticket_desk import OutstandingTicket
from securecall.keys.trust import AuditEntry, Binding, Contact, Floor, How, Organisation, TrustState
from securecall.secret import Secret

_MAX: Final = 1024 * 1024  # bytes; our own rows are far smaller
_Value = TypeVar("_Value")


def read_record(data: bytes, parse: Callable[[dict[str, object]], _Value]) -> _Value:
    """Read a row with one of the functions below.

    Raises:
        StoreCorrupt: the row holds something else; a version of ours with a bug wrote it.
    """
    try:
        return parse(parse_json(data, max_size=_MAX, max_depth=5))
    except (ProtocolError, StatementInvalid, KeyError, ValueError, TypeError) as e:
        raise StoreCorrupt("a row of the key store cannot be read") from e


def build_binding(binding: Binding) -> bytes:
    """Write a binding."""
    return build_json(
        {
            "address": build_parts(binding.address),
            "root": build_base64url(binding.root_fp),
            "state": binding.state.value,
            "since": binding.since,
            "how": binding.how.value,
            "rival": build_base64url(binding.rival),
        }
    )


def parse_binding(record: dict[str, object]) -> Binding:
    """Read what `build_binding` wrote."""
    return Binding(
        address=parse_parts(record["address"]),
        root_fp=parse_base64url(text(record["root"])),
        state=TrustState(text(record["state"])),
        since=integer(record["since"]),
        how=How(text(record["how"])),
        rival=parse_base64url(text(record["rival"])),
    )


def build_contact(contact: Contact) -> bytes:
    """Write a contact card."""
    return build_json(
        {
            "id": contact.id,
            "addresses": [build_parts(address) for address in contact.addresses],
            "floor": contact.floor.value,
        }
    )


def parse_contact(record: dict[str, object]) -> Contact:
    """Read what `build_contact` wrote."""
    return Contact(
        id=text(record["id"]),
        addresses=tuple(parse_parts(item) for item in items(record["addresses"])),
        floor=Floor(text(record["floor"])),
    )


def build_organisation(organisation: Organisation) -> bytes:
    """Write an organisation our user trusts."""
    return build_json(
        {
            "domain": organisation.domain,
            "root": build_base64url(organisation.root_fp),
            "since": organisation.since,
            "how": organisation.how.value,
        }
    )


def parse_organisation(record: dict[str, object]) -> Organisation:
    """Read what `build_organisation` wrote."""
    return Organisation(
        domain=text(record["domain"]),
        root_fp=parse_base64url(text(record["root"])),
        since=integer(record["since"]),
        how=How(text(record["how"])),
    )


def build_word(word: LastWord) -> bytes:
    """Write what an organisation said of an address so far."""
    return build_json(
        {
            "latest": build_base64url(word.latest.raw),
            "withdrawn": [build_base64url(root_fp) for root_fp in sorted(word.withdrawn)],
        }
    )


def parse_word(record: dict[str, object], *, unix: int) -> LastWord:
    """Read what `build_word` wrote; it holds at `unix`, unless the clock was set back."""
    return LastWord(
        latest=parse_countersignature(parse_base64url(text(record["latest"])), unix=unix),
        withdrawn=frozenset(parse_base64url(root_fp) for root_fp in texts(record["withdrawn"])),
    )


def build_audit(entry: AuditEntry) -> bytes:
    """Write what a change of trust did."""
    event = entry.event
    organisation = {"organisation": event.organisation} if event.organisation else {}
    return build_json(
        {
            "unix": event.unix,
            "who": event.who,
            "act": event.act.value,
            "how": event.how.value,
            "address": str(event.address),
            "root": build_base64url(event.root_fp),
            "before": entry.before.value,
            "after": entry.after.value,
            "floor": entry.floor.value,
            **organisation,
        }
    )


def build_ticket_record(ticket: OutstandingTicket) -> bytes:
    """Write an outstanding ticket."""
    return build_json(
        {
            "id": ticket.id,
            "secret": build_base64url(ticket.secret.reveal()),
            "expiry": ticket.expiry,
            "bearer": build_base64url(ticket.bearer),
        }
    )


def parse_ticket_record(record: dict[str, object]) -> OutstandingTicket:
    """Read what `build_ticket_record` wrote."""
    return OutstandingTicket(
        id=text(record["id"]),
        secret=Secret(parse_base64url(text(record["secret"]))),
        expiry=integer(record["expiry"]),
        bearer=parse_base64url(text(record["bearer"])),
    )


def build_known_statement(statement: Statement) -> bytes:
    """Write a statement together with what a merge narrowed it to."""
    return build_json(
        {
            "raw": build_base64url(statement.raw),
            "revoked": list(statement.revoked),
            "devices": [entry.id for entry in statement.devices],
        }
    )


def parse_known_statement(record: dict[str, object], *, unix: int) -> Statement:
    """Read what `build_known_statement` wrote; `stale` then refers to `unix`."""
    statement = parse_statement(parse_base64url(text(record["raw"])), unix=unix)
    kept = set(texts(record["devices"]))
    return statement.narrowed(
        revoked=texts(record["revoked"]),
        devices=frozenset(entry.raw for entry in statement.devices if entry.id in kept),
    )


def parse_raw(record: dict[str, object]) -> bytes:
    """Read only the bytes of the statement that `build_known_statement` wrote."""
    return parse_base64url(text(record["raw"]))


def build_parts(address: Address) -> list[object]:
    """Write an address; not as its text, which may come to be read differently some day."""
    return [address.scheme.value, address.user, address.host]


def parse_parts(value: object) -> Address:
    """Read what `build_parts` wrote, raise TypeError or ValueError else."""
    scheme, user, host = texts(value)
    return Address(Scheme(scheme), user, host)


def text(value: object) -> str:
    """Take a text, raise TypeError else."""
    if not isinstance(value, str):
        raise TypeError("text expected")
    return value


def items(value: object) -> list[object]:
    """Take a list, raise TypeError else."""
    if not isinstance(value, list):
        raise TypeError("list expected")
    return value


def texts(value: object) -> list[str]:
    """Take a list of texts, raise TypeError else."""
    return [text(item) for item in items(value)]


def integer(value: object) -> int:
    """Take an integer, raise TypeError else."""
    if type(value) is not int:
        raise TypeError("integer expected")
    return value


def integers(value: object) -> list[int]:
    """Take a list of integers, raise TypeError else."""
    return [integer(item) for item in items(value)]
