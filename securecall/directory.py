"""What people publish of themselves at their own address, and what it teaches us."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from securecall.address import Address
from securecall.clock import unix_now
from securecall.contacts import Contacts
from securecall.errors import AddressNotOwned, IdentityChanged, Reason, SecurityError
from securecall.keys.statement import Statement, StatementChange, parse_statement
from securecall.keys.trust import Act, How, TrustState, card_events, require_not_barred


class Published(enum.StrEnum):
    """What a statement that came unasked was to us."""

    SAME = "same"
    NEWER = "newer"
    FORK = "fork"  # two statements under one number: somebody else may sign with their root
    STRANGER = "stranger"  # nobody we know; nothing was kept
    SUCCESSOR = "successor"  # of a root that follows the pinned one, which signed that it does
    OTHER_KEY = "other-key"  # of another root than the pinned one; ask for it to see


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What an address's own statement taught us.

    Attributes:
        statement: The one to go by.
        change: How it relates to the last one.
        state: What its root is to us, for this address.
        first: The root was pinned just now.
    """

    statement: Statement
    change: StatementChange
    state: TrustState
    first: bool


class Directory:
    """Statements from the places where their owners publish them (PEP), weighed and kept."""

    def __init__(self, contacts: Contacts) -> None:
        """Learn for these contacts."""
        self._contacts = contacts

    def learn(self, address: Address, raw: bytes) -> Learned:
        """Take the statement that our user asked for, by adding or refreshing a contact.

        Never to be called because of a message or call that came in: it pins.

        Args:
            address: Whose place it was fetched from.
            raw: What was there.

        Raises:
            StatementInvalid: it is none, or its signatures do not hold.
            AddressNotOwned: it does not claim the address it was found at.
            IdentityChanged: another root is pinned; the conflict was written down, durably.
            Revoked: the root was withdrawn.
            SecurityError: SELF_IDENTITY, DISTRUSTED or ROLLBACK; nothing was written.
        """
        contacts = self._contacts
        seen = parse_statement(raw, unix=unix_now())
        self._require_another(seen)
        if address not in seen.addresses:
            raise AddressNotOwned(f"what {address.short} publishes is not its own identity")
        _ = contacts.follow(seen)
        require_not_barred(contacts.book, seen.root_fp)
        binding = contacts.book.lookup(address)
        if binding is not None and (
            binding.root_fp != seen.root_fp or binding.state is TrustState.CHANGED
        ):
            if seen.root_fp not in (binding.root_fp, binding.rival):
                contacts.apply(contacts.event(Act.CHANGE, address, seen.root_fp, How.DIRECTORY))
            raise IdentityChanged(
                f"{address.short} publishes another key than before; ask the person before you "
                "accept it"
            )
        change, statement = self._merge(seen)
        contacts.apply(contacts.event(Act.PIN, address, seen.root_fp, How.DIRECTORY))
        contacts.apply(*card_events(contacts.book, address, statement, unix=unix_now()))
        return Learned(
            statement=statement,
            change=change,
            state=contacts.book.state(address, seen.root_fp),
            first=binding is None,
        )

    def notice(self, address: Address, raw: bytes) -> Published:
        """Take a statement that somebody published and our server passed on unasked.

        It can renew and withdraw what a pinned root said; it pins nothing and begins no conflict.

        Args:
            address: At whose place it was published, as our server says.
            raw: What was published.

        Raises:
            StatementInvalid: it is none, or its signatures do not hold.
            AddressNotOwned: it does not claim the address any more.
            SecurityError: ROLLBACK, an older one than before is shown.
        """
        contacts = self._contacts
        binding = contacts.book.lookup(address)
        if binding is None:
            return Published.STRANGER
        seen = parse_statement(raw, unix=unix_now())
        if address in seen.addresses:
            _ = contacts.follow(seen)
        now = contacts.book.lookup(address)
        # What was followed may be somebody else's root, shown at an address that he claims as well.
        if now is None or now.root_fp != seen.root_fp:
            return Published.OTHER_KEY
        if address not in seen.addresses:
            raise AddressNotOwned(f"the identity of {address.short} gave that address up")
        change, _ = self._merge(seen)
        if now.root_fp != binding.root_fp:
            return Published.SUCCESSOR
        return {
            StatementChange.SAME: Published.SAME,
            StatementChange.FORK: Published.FORK,
        }.get(change, Published.NEWER)

    def _merge(self, seen: Statement) -> tuple[StatementChange, Statement]:
        statements = self._contacts.statements
        verdict = statements.weigh(seen)
        statements.keep(verdict, seen)
        return verdict.change, verdict.statement

    def _require_another(self, seen: Statement) -> None:
        if seen.root_fp == self._contacts.root_fp:
            raise SecurityError("this address publishes our own key", reason=Reason.SELF_IDENTITY)
