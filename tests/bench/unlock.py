"""Unlocking a key store on this disk: `unlock [CONTACTS]`, 500 unless said.

Prints milliseconds of wall clock, the fastest of several: `derive`, from the passphrase to the key;
`open`, everything after it for a person with so many contacts, each with a card, a statement and an
entry in the log; `contacts`, the same as an application begins with it; `list`, all of them read;
`backup` and `restore` of it, without deriving. `bytes` is the file's size.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from securecall.address import parse_address
from securecall.contacts import Contacts
from securecall.keys.identity import RootKey
from securecall.keys.statement import build_statement, parse_statement
from securecall.keys.trust import Act, AuditEntry, How, TrustEvent, transition
from securecall.secret import Secret
from securecall.store.backup import restore, write_backup
from securecall.store.lock import DEFAULT_COST, MINIMUM_COST, Lock, Seal, build_header, open_header
from securecall.store.sqlite import FILE, Store
from tests.bench.measure import answer
from tests.forge_store import MemoryKeeper

SEAL = Seal(b"securecall-bench", "the file")
NOW = int(time.time())


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    lock = Lock(passphrase=Secret("a passphrase"), cost=DEFAULT_COST)
    header = build_header(Secret(bytes(32)), lock, SEAL)
    derive = fastest(lambda: open_header(header, lock, SEAL))
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        # A keeper, so that nothing is derived of a passphrase: what is left is the opening.
        folder, keeper = Path(name) / "store", MemoryKeeper()
        store = Store.create(folder, None, keeper=keeper)
        fill(store, count)
        _ = Contacts(store).statement
        store.close()
        opened = fastest(lambda: Store.open(folder, keeper=keeper), after=Store.close)
        begun = fastest(
            lambda: Contacts(Store.open(folder, keeper=keeper)), after=lambda c: c.store.close()
        )
        contacts = Contacts(Store.open(folder, keeper=keeper))
        listed = fastest(contacts.all)
        cheap, saved, again = Secret("of the backup"), Path(name) / "saved", Path(name) / "again"
        derived = fastest(
            lambda: build_header(Secret(bytes(32)), Lock(passphrase=cheap, cost=MINIMUM_COST), SEAL)
        )
        backup = fastest(
            lambda: write_backup(contacts.store, saved, cheap, cost=MINIMUM_COST), rounds=3
        )
        contacts.store.close()
        begin = time.perf_counter()
        restore(saved, again, backup_passphrase=cheap, passphrase=None, keeper=keeper)
        restored = (time.perf_counter() - begin) * 1000
        size = (folder / FILE).stat().st_size
    answer(
        derive_ms=derive,
        open_ms=opened,
        contacts_ms=begun,
        list_ms=listed,
        backup_ms=backup - derived,
        restore_ms=restored - derived,
        bytes=size,
    )


def fill(store: Store, count: int) -> None:
    """Pin so many people, as calls with each would have."""
    book, entries = store.book, list[AuditEntry]()
    for place in range(count):
        root = RootKey.generate()
        address = parse_address(f"sip:person{place}@bench.example")
        raw = build_statement(
            root,
            seq=NOW * 1000,
            iat=NOW,
            exp=NOW + 14 * 86_400,
            addresses=(address,),
            devices=(store.device,),
        )
        store.save_known_statement(parse_statement(raw, unix=NOW))
        for act, how in ((Act.PIN, How.FIRST_CALL), (Act.VERIFY, How.DIGITS)):
            event = TrustEvent(
                act=act, how=how, address=address, root_fp=root.fingerprint, unix=NOW
            )
            book, entry = transition(book, event)
            entries.append(entry)
    store.save_trust(book, entries)


def fastest(
    act: Callable[[], object], *, after: Callable[..., object] | None = None, rounds: int = 7
) -> float:
    """Milliseconds of the fastest round; `after` is not counted."""
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        made = act()
        taken.append((time.perf_counter() - begun) * 1000)
        if after is not None:
            after(made)
    return min(taken)


if __name__ == "__main__":
    main()
