"""The book of trust as rows of the key store: read, and what of it changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from securecall.errors import StoreCorrupt
from securecall.keys.trust import TrustBook, TrustState
from securecall.store import records

if TYPE_CHECKING:
    from securecall.store.rows import Change

_BARRED: Final = {state.value: state for state in (TrustState.REVOKED, TrustState.DISTRUSTED)}


def read_book(table: Callable[[str], Mapping[str, bytes]]) -> TrustBook:
    """Read everything believed; `table` gives the rows of one.

    Raises:
        StoreCorrupt: a row is not as we write them.
    """
    bindings = [
        records.read_record(data, records.parse_binding) for data in table("bindings").values()
    ]
    contacts = [
        records.read_record(data, records.parse_contact) for data in table("contacts").values()
    ]
    organisations = [
        records.read_record(data, records.parse_organisation)
        for data in table("organisations").values()
    ]
    barred = table("barred")
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


def differences(old: TrustBook, new: TrustBook) -> list[Change]:
    """The changes of rows that make the one book the other."""
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
