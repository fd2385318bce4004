"""The callee's side of tickets: who was invited, and who has come."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NoReturn, Protocol

from securecall.errors import TicketRefused, UsageError
from securecall.keys.identity import FINGERPRINT_SIZE
from securecall.keys.ticket import (
    SECRET_SIZE,
    Ticket,
    generate_ticket_secret,
    proof,
    ticket_id,
)
from securecall.secret import Secret

MAX_OUTSTANDING: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutstandingTicket:
    """A ticket that was handed out and is not over yet.

    Attributes:
        id: Its name, safe to log.
        secret: What its bearer proves.
        expiry: Unix seconds of the last moment it is good.
        bearer: Root fingerprint of the first who proved it, b"" before.
    """

    id: str
    secret: Secret = field(repr=False)
    expiry: int
    bearer: bytes = field(default=b"", repr=False)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError("an OutstandingTicket is never copied or serialised")


class TicketStore(Protocol):
    """Keeps outstanding tickets over a restart."""

    def save_ticket(self, ticket: OutstandingTicket) -> None:
        """Write a ticket durably before returning, over an earlier one of the same id."""
        ...

    def delete_ticket(self, ticket_id: str) -> None:
        """Forget a ticket; one that is not there is no error."""
        ...


class TicketDesk:
    """The outstanding tickets of one person, at most 64."""

    def __init__(self, store: TicketStore, tickets: Iterable[OutstandingTicket] = ()) -> None:
        """Begin with what the store kept."""
        self._store = store
        self._tickets = {ticket.id: ticket for ticket in tickets}
        # Stands in for missing tickets, so that time does not tell how many there are.
        self._nobody = Secret(os.urandom(SECRET_SIZE))

    def outstanding(self, unix: int) -> tuple[OutstandingTicket, ...]:
        """The tickets that are good at this time; a direct listener then asks for a proof."""
        return tuple(ticket for ticket in self._tickets.values() if unix <= ticket.expiry)

    def issue(self, uris: Sequence[str], *, root_fp: bytes, expiry: int, unix: int) -> Ticket:
        """Make a ticket and remember it.

        Args:
            uris: Where we can be called, in order.
            root_fp: Our own root fingerprint.
            expiry: Unix seconds of the last moment it is good.
            unix: Unix seconds now.

        Raises:
            UsageError: 64 are outstanding, or the expiry has passed.
            LocalError: the store could not keep it; it is not valid then.
        """
        self.discard_expired(unix)
        if len(self._tickets) >= MAX_OUTSTANDING:
            raise UsageError(f"{MAX_OUTSTANDING} tickets are outstanding; withdraw one first")
        if expiry < unix:
            raise UsageError("the ticket would be over before it is made")
        secret = generate_ticket_secret()
        kept = OutstandingTicket(id=ticket_id(secret), secret=secret, expiry=expiry)
        self._store.save_ticket(kept)
        self._tickets[kept.id] = kept
        return Ticket(uris=tuple(uris), root_fp=root_fp, secret=secret, expiry=expiry)

    def withdraw(self, ticket_id: str) -> None:
        """Make a ticket worthless; one that is not there is no error."""
        self._store.delete_ticket(ticket_id)
        self._tickets.pop(ticket_id, None)

    def discard_expired(self, unix: int) -> None:
        """Forget the tickets whose time is over."""
        for ticket in list(self._tickets.values()):
            if unix > ticket.expiry:
                self.withdraw(ticket.id)

    def require_proof(
        self, presented: bytes, *, bind: bytes, role: int, root_fp: bytes, unix: int
    ) -> str:
        """Accept a caller who holds a ticket, and tie the ticket to its root.

        The first valid proof ties it, durably, before this returns; the same root may come again
        until the ticket expires, nobody else ever. All secrets are tried, in constant time.

        Args:
            presented: The proof from the caller's IDENTITY.
            bind: Names the DTLS association.
            role: The call role the caller has.
            root_fp: The caller's root fingerprint, proven by its statement.
            unix: Unix seconds now.

        Returns:
            The id of the ticket.

        Raises:
            TicketRefused: wrong, used by another root, expired, withdrawn: always the same.
            LocalError: the store could not keep the bearer; nothing was accepted.
        """
        if len(root_fp) != FINGERPRINT_SIZE:
            raise UsageError("a root fingerprint has 64 bytes")
        found: OutstandingTicket | None = None
        tickets = list(self._tickets.values())
        for number in range(MAX_OUTSTANDING):
            ticket = tickets[number] if number < len(tickets) else None
            secret = ticket.secret if ticket is not None else self._nobody
            # Evaluated for every one: no early end when one fits.
            if hmac.compare_digest(proof(secret, bind, role), presented):
                found = ticket
        if (
            found is None
            or unix > found.expiry
            or not hmac.compare_digest(found.bearer or root_fp, root_fp)
        ):
            raise TicketRefused("the caller's ticket is not valid")
        if not found.bearer:
            tied = replace(found, bearer=root_fp)
            self._store.save_ticket(tied)
            self._tickets[found.id] = tied
        return found.id
