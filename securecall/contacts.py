"""The people we know and who we are to them: trust, tickets and statements over the store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from securecall.address import ANONYMOUS, Address, Scheme, parse_address
from securecall.errors import IdentityChanged, Reason, SecurityError, TicketRefused, UsageError
from securecall.keys.device import DeviceKey
from securecall.keys.handshake import HandshakeResult, PeerClaim
from securecall.keys.statement import (
    Statement,
    StatementChange,
    build_statement,
    merge,
    next_seq,
    parse_statement,
)
from securecall.keys.ticket import Ticket
from securecall.keys.ticket_desk import TicketDesk
from securecall.keys.trust import (
    Act,
    Floor,
    How,
    Judgement,
    TrustBook,
    TrustEvent,
    TrustState,
    card_events,
    judge_bearer,
    judge_incoming,
    judge_outgoing,
    judge_ticket,
    require_not_barred,
    transition,
)
from securecall.keys.verification import safety_number
from securecall.policy import IdentityEvidence, SecurityLevel, SecurityState
from securecall.store.sqlite import Store

STATEMENT_SECONDS = 14 * 86_400
REQUIRED = "id1"
_ADDRESSES = "own-addresses"
_LAST_PORT = "last-port"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A snapshot of one person's card.

    Attributes:
        address: The address it was found by.
        addresses: Every address on the card.
        state: What the key bound to `address` is to us.
        root_fp: That key's fingerprint, b"" where none is known.
        since: Unix seconds since when it is pinned, 0 if it is not.
        how: What the state rests on.
        floor: True if calls never get less than end-to-end encryption.
    """

    address: Address
    addresses: tuple[Address, ...]
    state: TrustState = TrustState.UNKNOWN
    root_fp: bytes = b""
    since: int = 0
    how: str = ""
    floor: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _MergedClaim:
    """A peer's claim with the statement to go by (withdrawals are for ever)."""

    statement: Statement
    own_address: str


class Contacts:
    """Who we know, kept in the encrypted store; every change of trust is written as it is made."""

    def __init__(self, store: Store) -> None:
        """Begin with what the store holds; refreshes our own statement."""
        self.store = store
        self.desk = TicketDesk(store, store.tickets())
        self._own: list[Address] = [self.own_key_address, *self._own_addresses()]
        self._statement = b""
        self.handshakes: dict[bytes, Expectation] = {}
        self._publish()

    # -- who we are -------------------------------------------------------------------------------

    @property
    def root_fp(self) -> bytes:
        """Our root's fingerprint, 64 bytes."""
        return self.store.root.fingerprint

    @property
    def own_key_address(self) -> Address:
        """The address that is our root key itself."""
        return Address(Scheme.KEY, self.root_fp.hex())

    @property
    def device(self) -> DeviceKey:
        """The key this device takes part in calls with."""
        return self.store.device

    @property
    def statement(self) -> bytes:
        """Our identity statement, renewed when half of its life is over."""
        if parse_statement(self._statement, unix=_now()).exp - _now() < STATEMENT_SECONDS // 2:
            self._publish()
        return self._statement

    def own_address(self, address: Address) -> None:
        """Claim an address of an account of ours in the statement."""
        if address not in self._own:
            self._own.append(address)
            names = " ".join(str(own) for own in self._own[1:])
            self.store.save_setting(_ADDRESSES, names.encode())
            self._publish()

    def _own_addresses(self) -> tuple[Address, ...]:
        names = self.store.setting(_ADDRESSES) or b""
        return tuple(parse_address(name) for name in names.decode().split())

    def _publish(self) -> None:
        unix = _now()
        seq = next_seq(self.store.seq, unix_ms=int(time.time() * 1000))
        self._statement = build_statement(
            self.store.root,
            seq=seq,
            iat=unix,
            exp=unix + STATEMENT_SECONDS,
            addresses=tuple(self._own),
            devices=(self.store.device,),
            require=(REQUIRED,),
        )
        self.store.save_statement(self._statement, seq)

    # -- people -----------------------------------------------------------------------------------

    @property
    def book(self) -> TrustBook:
        """Everything believed, as an immutable value."""
        return self.store.book

    def find(self, address: Address) -> Contact:
        """Return the contact behind an address, known or not."""
        book = self.book
        card, binding = book.contact(address), book.lookup(address)
        found = Contact(
            address=address,
            addresses=card.addresses if card else (address,),
            floor=book.floor(address) is Floor.E2EE,
        )
        if binding is None:
            return found
        return replace(
            found,
            state=book.state(address, binding.root_fp),
            root_fp=binding.root_fp,
            since=binding.since,
            how=binding.how.value,
        )

    def all(self) -> tuple[Contact, ...]:
        """Every contact with a key, by address."""
        return tuple(self.find(address) for address in sorted(self.book.bindings, key=str))

    def safety_number(self, address: Address) -> str:
        """Return the 60 digits to compare with this person.

        Raises:
            UsageError: no key of theirs is known.
        """
        binding = self.book.lookup(address)
        if binding is None:
            raise UsageError(f"no key is known for {address.short}; call them first")
        return safety_number(self.root_fp, binding.root_fp)

    def verify(self, address: Address, how: How, *, root_fp: bytes) -> Contact:
        """The user compared a safety number or a code: the key is verified.

        Args:
            address: Whose key.
            how: DIGITS or QR.
            root_fp: The key that was compared.

        Raises:
            UsageError: no key of theirs is known.
            IdentityChanged: another key than the one compared is bound to the address by now.
        """
        binding = self.book.lookup(address)
        if binding is None:
            raise UsageError(f"no key is known for {address.short}; call them first")
        if binding.root_fp != root_fp:
            raise IdentityChanged(f"the key of {address.short} changed while you compared it")
        self.apply(self.event(Act.VERIFY, address, binding.root_fp, how))
        return self.find(address)

    def add_address(self, person: Address, address: Address) -> Contact:
        """Put another address on a person's card, because they told us so.

        Where their key claims that address, it is held to that key from now on.

        Raises:
            UsageError: no key of theirs is known, or the address stands on somebody else's card.
        """
        book = self.book
        binding, card = book.lookup(person), book.contact(person)
        if binding is None or card is None:
            raise UsageError(f"no key is known for {person.short}; call them first")
        added = replace(self.event(Act.ADD_TO_CARD, address, b"", How.USER), card=card.id)
        self.apply(added)
        unix = _now()
        statement = self.store.known_statement(binding.root_fp, unix=unix)
        if statement is not None:
            self.apply(*card_events(self.book, person, statement, unix=unix))
        return self.find(address)

    def forget(self, address: Address) -> None:
        """Drop the key of an address; the next call can only be used to compare words, first."""
        binding = self.book.lookup(address)
        if binding is not None:
            self.apply(self.event(Act.FORGET, address, binding.root_fp, How.USER))

    def lift_floor(self, address: Address) -> None:
        """Let calls with this contact get less than end-to-end encryption; logged."""
        self.apply(self.event(Act.LIFT_FLOOR, address, b"", How.USER))

    def has_floor(self, address: Address) -> bool:
        """Calls with this address never get less than end-to-end encryption."""
        book = self.book
        if book.floor(address) is Floor.E2EE:
            return True
        binding = book.lookup(address)
        if binding is None:
            return False
        known = self.store.known_statement(binding.root_fp, unix=_now())
        return known is not None and REQUIRED in known.require

    def is_pinned(self, address: Address) -> bool:
        """A key is bound to this address."""
        return self.book.lookup(address) is not None

    # -- tickets ----------------------------------------------------------------------------------

    def issue_ticket(self, *, uris: Sequence[str], valid_seconds: int) -> Ticket:
        """Make a ticket and remember it, durably."""
        unix = _now()
        return self.desk.issue(uris, root_fp=self.root_fp, expiry=unix + valid_seconds, unix=unix)

    def has_open_tickets(self) -> bool:
        """Tickets are outstanding, so strangers need one."""
        return bool(self.desk.outstanding(_now()))

    @property
    def last_port(self) -> int:
        """The port last listened on for direct calls, which tickets lead to; 0 before the first."""
        return int(self.store.setting(_LAST_PORT) or b"0")

    @last_port.setter
    def last_port(self, port: int) -> None:
        if port != self.last_port:
            self.store.save_setting(_LAST_PORT, str(port).encode())

    # -- judging one call -------------------------------------------------------------------------

    def expect_outgoing(self, dialled: Address) -> Expectation:
        """What to hold the peer of a call to `dialled` to."""
        return Expectation(self, dialled)

    def expect_ticket(self, ticket: Ticket, dialled: Address, how: How) -> Expectation:
        """What to hold the peer of a call with a ticket to; `how` is LINK or QR."""
        return Expectation(self, dialled, ticket=ticket, how=how)

    def expect_incoming(self, signalled: Address, *, direct: bool) -> Expectation:
        """What to hold a caller to; a direct one needs a ticket while tickets are open."""
        return Expectation(self, signalled, incoming=True, direct=direct)

    def count_burned_guess(self, address: Address) -> int:
        """Count a handshake that failed after its nonces; returns the failures in 24 hours."""
        return self.store.count_failure(str(address), unix=_now())

    # -- writing ----------------------------------------------------------------------------------

    def event(self, act: Act, address: Address, root_fp: bytes, how: How) -> TrustEvent:
        """Make a change of trust that happens now."""
        return TrustEvent(act=act, address=address, root_fp=root_fp, how=how, unix=_now())

    def apply(self, *events: TrustEvent) -> None:
        """Change trust, all or nothing, durably, with an audit entry each."""
        book = self.book
        entries = []
        for event in events:
            book, entry = transition(book, event)
            entries.append(entry)
        self.store.save_trust(book, tuple(entries))


class Expectation:
    """Holds one call's peer to what we know; judging writes nothing, `secured` does."""

    def __init__(
        self,
        contacts: Contacts,
        address: Address,
        *,
        ticket: Ticket | None = None,
        how: How = How.FIRST_CALL,
        incoming: bool = False,
        direct: bool = False,
    ) -> None:
        """Made by `Contacts`."""
        self._contacts = contacts
        self._address = address
        self._ticket = ticket
        self._how = how
        self._incoming = incoming
        self._direct = direct
        self._judgement: Judgement | None = None
        self._bearer = False
        self._merged: Statement | None = None
        self._forked = b""

    def judge(self, claim: PeerClaim) -> None:
        """Refuse a peer that is not who it has to be; called before our own identity is shown.

        Raises:
            SecurityError: of the kind that fits.
        """
        contacts = self._contacts
        known = contacts.store.known_statement(claim.root_fp, unix=_now())
        verdict = merge(known, claim.statement)
        merged = verdict.statement
        merged.device(claim.device.id, unix=_now())
        self._require_alone(claim.root_fp, str(self._address).encode())
        self._merged = merged
        if verdict.change is StatementChange.FORK:
            self._forked = claim.statement.raw
        held = _MergedClaim(statement=merged, own_address=claim.own_address)
        book = contacts.book
        if self._incoming:
            bearer = self._direct and bool(claim.ticket_proof)
            judge = judge_bearer if bearer else judge_incoming
            self._judgement = judge(book, self._address, held)
            if self._direct:
                self._judge_bearer(claim)
        elif self._ticket is not None:
            self._judgement = judge_ticket(book, self._address, self._ticket.root_fp, held)
        else:
            self._judgement = judge_outgoing(book, self._address, held)

    def _require_alone(self, root_fp: bytes, address: bytes) -> None:
        """Let one handshake at a time run with one root or address: more would be more guesses.

        Raises:
            SecurityError: another handshake with this root or address is under way.
        """
        handshakes = self._contacts.handshakes
        names = (root_fp,) if self._address == ANONYMOUS else (root_fp, address)
        if any(handshakes.setdefault(name, self) is not self for name in names):
            raise SecurityError(
                "another call with the same person is being connected; try again in a moment",
                reason=Reason.HANDSHAKE_FAILED,
            )

    def settled(self) -> None:
        """The handshake is over, one way or the other; the next one may begin."""
        handshakes = self._contacts.handshakes
        for root_fp in [root for root, held in handshakes.items() if held is self]:
            del handshakes[root_fp]

    def _judge_bearer(self, claim: PeerClaim) -> None:
        contacts = self._contacts
        if claim.ticket_proof:
            contacts.desk.require_proof(
                claim.ticket_proof,
                bind=claim.bind,
                role=claim.call_role,
                root_fp=claim.root_fp,
                unix=_now(),
            )
            self._bearer = True
        elif contacts.has_open_tickets() and self._require_judgement().state is TrustState.UNKNOWN:
            raise TicketRefused("the caller's ticket is not valid")

    def evidence(self, result: HandshakeResult) -> IdentityEvidence:
        """Join the proof with what is known of the key.

        Raises:
            Revoked, SecurityError: the key lost its trust since it was judged.
        """
        judgement = self._require_judgement()
        require_not_barred(self._contacts.book, judgement.root_fp)
        state, since, how = judgement.state, judgement.since, judgement.how
        if self._ticket is not None and self._how is How.QR:
            state, how = TrustState.VERIFIED, How.QR.value
        elif state is TrustState.UNKNOWN and (self._ticket is not None or self._bearer):
            state, how = TrustState.PINNED, (How.BEARER if self._bearer else How.LINK).value
        return IdentityEvidence(
            root_fp=judgement.root_fp,
            device_id=result.peer_device_id,
            trust=state,
            since=since,
            how=how,
            stale=judgement.stale,
            group=result.group,
        )

    def secured(self, result: HandshakeResult, state: SecurityState) -> None:
        """The gate is to open: write what this call taught us, and nothing for a stranger's call.

        Raises:
            Revoked, SecurityError: the key lost its trust since it was judged.
        """
        contacts, judgement = self._contacts, self._require_judgement()
        address, root_fp = judgement.address, judgement.root_fp
        require_not_barred(contacts.book, root_fp)
        if self._incoming and not self._bearer:
            if judgement.state is not TrustState.UNKNOWN:
                self._remember_statement()
            return
        self._remember_statement()
        how = How.BEARER if self._bearer else self._how
        events = [contacts.event(Act.PIN, address, root_fp, how)]
        if not self._incoming and self._ticket is not None and self._how is How.QR:
            events.append(contacts.event(Act.VERIFY, address, root_fp, How.QR))
        if not self._incoming and state.level >= SecurityLevel.E2EE:
            events.append(contacts.event(Act.RAISE_FLOOR, address, b"", How.OUTGOING_CALL))
        contacts.apply(*events)

    def confirmed(self, result: HandshakeResult) -> None:
        """The user compared the words of this call: the key is verified.

        On a call that came in from an address not bound to this key yet, the key itself is verified
        (its `key:` address); whose address it may use is not for a call to say.
        """
        contacts, judgement = self._contacts, self._require_judgement()
        address, root_fp = judgement.address, judgement.root_fp
        events = []
        if contacts.book.lookup(address) is None:
            if self._incoming:
                address = Address(Scheme.KEY, root_fp.hex())
            events.append(contacts.event(Act.PIN, address, root_fp, How.CONTACT))
        events.append(contacts.event(Act.VERIFY, address, root_fp, How.SAS))
        contacts.apply(*events)
        self._remember_statement()
        if not self._incoming:
            more = card_events(contacts.book, address, result.peer.statement, unix=_now())
            contacts.apply(*more)

    def _remember_statement(self) -> None:
        if self._merged is not None:
            self._contacts.store.save_known_statement(self._merged, forked=self._forked)

    def _require_judgement(self) -> Judgement:
        if self._judgement is None:
            raise SecurityError(
                "the peer was not judged before its keys were used", reason=Reason.IDENTITY_MISSING
            )
        return self._judgement


def _now() -> int:
    return int(time.time())
