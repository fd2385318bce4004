"""The people we know and who we are to them: trust, tickets and statements over the store."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from securecall.address import Address, Scheme, parse_address
from securecall.chat.conversation import Conversation
from securecall.chat.message import Message
from securecall.clock import unix_now
from securecall.errors import IdentityChanged, IdentityMismatch, UsageError
from securecall.keys.device import DeviceKey
from securecall.keys.encoding import parse_json
from securecall.keys.passport import PassportKey, Replays
from securecall.keys.statement import OmemoKey, Statement, StatementVerdict, parse_statement
from securecall.keys.this_device import REQUIRED
from securecall.keys.ticket import Ticket
from securecall.keys.ticket_desk import TicketDesk
from securecall.keys.trust import (
    Act,
    Binding,
    Floor,
    How,
    TrustBook,
    TrustEvent,
    TrustState,
    card_events,
    require_not_barred,
    succession_events,
    transition,
)
from securecall.keys.verification import parse_verification_code, safety_number
from securecall.organisations import Organisations
from securecall.own_identity import OwnIdentity
from securecall.statements import Statements
from securecall.store.sqlite import ORGANISATION, Store

_INSTANCE = "sip-instance"
_LAST_PORT = "last-port"
_PLACE = "place "


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
        conversation: What we write to each other, None where the contact came from elsewhere than
            `Client.contact`.
    """

    address: Address
    addresses: tuple[Address, ...]
    state: TrustState = TrustState.UNKNOWN
    root_fp: bytes = b""
    since: int = 0
    how: str = ""
    floor: bool = False
    conversation: Conversation | None = field(default=None, repr=False, compare=False)

    async def send(self, text: str) -> Message:
        """Write to this person, end-to-end encrypted; see `Conversation.send`."""
        if self.conversation is None:
            raise UsageError("this person has no XMPP address that we know; add one to their card")
        return await self.conversation.send(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Another key than the pinned one was found for an address; our user has to decide.

    Attributes:
        contact: Whose address, with the key that is pinned.
        rival: Fingerprint of the other key.
        since: Unix seconds since when.
        how: Where it was found: "directory" or "outgoing-call".
    """

    contact: Contact
    rival: bytes
    since: int
    how: str


class Contacts:
    """Who we know, kept in the encrypted store; every change of trust is written as it is made.

    Attributes:
        store: Where.
        desk: Our side of tickets.
        identity: Who we are, and which devices are ours.
        statements: What others say of themselves.
        organisations: Those whose word our user takes for the keys of their staff.
    """

    def __init__(self, store: Store, *, unix: Callable[[], float] = time.time) -> None:
        """Begin with what the store holds; refreshes our own statement.

        Args:
            store: Open.
            unix: The wall clock by which our statement is renewed, in seconds.
        """
        if store.setting(ORGANISATION) is not None:
            raise UsageError("these are the keys of an organisation, not of a person")
        self.store = store
        self.organisations = Organisations(store, self.apply, lambda: self.addresses)
        self.desk = TicketDesk(store, store.tickets())
        self.identity = OwnIdentity(store, unix=unix)
        self.statements = Statements(store)
        self.replays = Replays()
        # whose handshake is under way, by root and by address; see `Expectation`
        self.handshakes: dict[bytes, object] = {}

    # -- who we are -------------------------------------------------------------------------------

    @property
    def root_fp(self) -> bytes:
        """Our root's fingerprint, 64 bytes."""
        return self.identity.root_fp

    @property
    def own_key_address(self) -> Address:
        """The address that is our root key itself."""
        return self.identity.key_address

    @property
    def device(self) -> DeviceKey:
        """The key this device takes part in calls with."""
        return self.identity.device

    @property
    def statement(self) -> bytes:
        """Our identity statement; see `OwnIdentity.statement`."""
        return self.identity.statement

    def own_address(self, address: Address) -> None:
        """Claim an address of an account of ours in the statement."""
        self.identity.own_address(address)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Our own addresses, the one that is our key first."""
        return self.identity.addresses

    @property
    def omemo(self) -> tuple[OmemoKey, ...]:
        """The OMEMO identity keys of this device, as our statement lists them."""
        return self.identity.omemo

    def own_omemo(self, keys: Sequence[OmemoKey]) -> None:
        """Vouch in the statement for the OMEMO identity keys of this device; one per namespace."""
        self.identity.own_omemo(keys)

    def passport_key(self) -> PassportKey:
        """The key that signs our PASSporTs; made, kept and listed in the statement when needed."""
        return self.identity.passport_key()

    def succeed(self) -> bytes:
        """Replace our root by a new one; see `OwnIdentity.succeed`. Outstanding tickets are void.

        Raises:
            NotPrimary: the root is not on this device.
        """
        statement = self.identity.succeed()
        self.desk = TicketDesk(self.store, ())
        return statement

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
        state = book.state(address, binding.root_fp)
        if not self._stands(binding):
            state = TrustState.UNKNOWN
        return replace(
            found,
            state=state,
            root_fp=binding.root_fp,
            since=binding.since,
            how=binding.how.value,
        )

    def _stands(self, binding: Binding) -> bool:
        """False for a key that an organisation vouched for, and does not at present."""
        return binding.how is not How.ORGANISATION or self.organisations.holds(
            binding.address, binding.root_fp
        )

    def all(self) -> tuple[Contact, ...]:
        """Every contact with a key, by address."""
        return tuple(self.find(address) for address in sorted(self.book.bindings, key=str))

    def addresses_for(self, text: str) -> tuple[Address, ...]:
        """Return whom a text can mean, the likeliest first; never empty.

        `user@host` without a scheme is an address of SIP and of XMPP at once. Where we know one of
        the two, that is meant; where we know both, both, and that they may be two people.

        Raises:
            ProtocolError: the text is no address.
        """
        if ":" in text or "@" not in text:
            return (parse_address(text),)
        both = (parse_address(f"sip:{text}"), parse_address(f"xmpp:{text}"))
        book = self.book
        known = tuple(a for a in both if book.lookup(a) is not None or book.contact(a) is not None)
        return known or both

    def conflicts(self) -> tuple[Conflict, ...]:
        """Every address for which another key was found than the pinned one; oldest first."""
        book = self.book
        found = []
        for address, binding in book.bindings.items():
            if binding.state is TrustState.CHANGED:
                since, how = self._conflict_began(address)
                contact = self.find(address)
                found.append(Conflict(contact=contact, rival=binding.rival, since=since, how=how))
        return tuple(sorted(found, key=lambda conflict: conflict.since))

    def _conflict_began(self, address: Address) -> tuple[int, str]:
        since, how = 0, ""
        for line in self.store.audit():
            entry = parse_json(line.data, max_size=65536, max_depth=3)
            if entry.get("act") == Act.CHANGE.value and entry.get("address") == str(address):
                unix, by = entry["unix"], entry["how"]
                fresh = entry.get("before") != TrustState.CHANGED.value
                if fresh and isinstance(unix, int) and isinstance(by, str):
                    since, how = unix, by
        return since, how

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

        It is so for every address of the same card that is bound to that key.

        Args:
            address: Whose key.
            how: DIGITS or QR.
            root_fp: The key that was compared.

        Raises:
            UsageError: no key of theirs is known.
            IdentityChanged: another key than the one compared is bound to the address by now.
        """
        book = self.book
        binding, card = book.lookup(address), book.contact(address)
        if binding is None:
            raise UsageError(f"no key is known for {address.short}; call them first")
        if binding.root_fp != root_fp:
            raise IdentityChanged(f"the key of {address.short} changed while you compared it")
        events = [self.event(Act.VERIFY, address, root_fp, how)]
        for other in card.addresses if card is not None else ():
            beside = book.lookup(other)
            if other == address or beside is None or beside.root_fp != root_fp:
                continue
            if beside.state is not TrustState.CHANGED:
                events.append(self.event(Act.VERIFY, other, root_fp, how))
        self.apply(*events)
        return self.find(address)

    def by_code(self, text: str) -> Contact:
        """Return the contact whose verification code this is, as scanned from their screen.

        Raises:
            ProtocolError: it is no such code.
            IdentityMismatch: it does not show our key: theirs is not the device we know, or
                somebody sits in between.
            UsageError: it is of nobody we know.
        """
        code = parse_verification_code(text)
        if code.peer != self.root_fp:
            raise IdentityMismatch("the code was made for another key than ours: do not trust it")
        for contact in self.all():
            if contact.root_fp == code.own:
                return contact
        raise UsageError("this code is of nobody whose key is known here; call them first")

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
        unix = unix_now()
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
        known = self.store.known_statement(binding.root_fp, unix=unix_now())
        return known is not None and REQUIRED in known.require

    def is_pinned(self, address: Address) -> bool:
        """A key is bound to this address, or an organisation told us which one it has."""
        return self.book.lookup(address) is not None or self.organisations.expects(address)

    # -- what others say of themselves ------------------------------------------------------------

    def take_statement(self, raw: bytes) -> StatementVerdict:
        """Take a statement of somebody we know, from a file or a code; pins nobody.

        Raises:
            StatementInvalid: it is none, or its signatures do not hold.
            Revoked, SecurityError: the root is barred, or ROLLBACK.
            UsageError: it is of nobody we know.
        """
        seen = parse_statement(raw, unix=unix_now())
        _ = self.follow(seen)
        require_not_barred(self.book, seen.root_fp)
        if not any(b.root_fp == seen.root_fp for b in self.book.bindings.values()):
            raise UsageError("this is the identity of nobody whose key is known here")
        verdict = self.statements.weigh(seen)
        self.statements.keep(verdict, seen)
        return verdict

    def follow(self, statement: Statement) -> bool:
        """Move our pins to a root that follows one we have pinned; returns whether it did."""
        events = succession_events(self.book, statement, unix=unix_now())
        if not events:
            return False
        self.apply(*events)
        heir = Address(Scheme.KEY, statement.root_fp.hex())
        for event in events:
            before = Address(Scheme.KEY, event.root_fp.hex())
            place = self.place_of(before) if event.act is Act.REVOKE else None
            if place is not None:
                self.remember_place(heir, place)
        self.statements.succeeded(statement.root_fp)
        return True

    def require_device(self, root_fp: bytes, device_id: str) -> None:
        """Refuse a device whose owner, or our user, does not stand by it any more.

        Raises:
            Revoked: the device or the root was withdrawn.
            IdentityMismatch: the owner does not list it any more.
            SecurityError: our user distrusts the root.
        """
        require_not_barred(self.book, root_fp)
        unix = unix_now()
        known = self.store.known_statement(root_fp, unix=unix)
        if known is not None and device_id:  # none, where a signature in signalling was all
            _ = known.device(device_id, unix=unix)

    # -- tickets ----------------------------------------------------------------------------------

    def issue_ticket(self, *, uris: Sequence[str], valid_seconds: int) -> Ticket:
        """Make a ticket and remember it, durably."""
        unix = unix_now()
        return self.desk.issue(uris, root_fp=self.root_fp, expiry=unix + valid_seconds, unix=unix)

    def has_open_tickets(self) -> bool:
        """Tickets are outstanding, so strangers need one."""
        return bool(self.desk.outstanding(unix_now()))

    def place_of(self, key: Address) -> tuple[str, int] | None:
        """Where a ticket for this key led to, None where none was ever used."""
        kept = self.store.setting(f"{_PLACE}{key}")
        if kept is None:
            return None
        host, _, port = kept.decode().rpartition(" ")
        return host, int(port)

    def remember_place(self, key: Address, place: tuple[str, int]) -> None:
        """Keep where a key was reached, to call it again without a ticket."""
        if self.place_of(key) != place:
            self.store.save_setting(f"{_PLACE}{key}", f"{place[0]} {place[1]}".encode())

    @property
    def last_port(self) -> int:
        """The port last listened on for direct calls, which tickets lead to; 0 before the first."""
        return int(self.store.setting(_LAST_PORT) or b"0")

    @last_port.setter
    def last_port(self, port: int) -> None:
        if port != self.last_port:
            self.store.save_setting(_LAST_PORT, str(port).encode())

    @property
    def sip_instance(self) -> str:
        """The name of this installation for SIP servers (RFC 5626 4.1); the same for ever."""
        kept = self.store.setting(_INSTANCE)
        if kept is None:
            kept = uuid.uuid4().urn.encode()
            self.store.save_setting(_INSTANCE, kept)
        return kept.decode()

    def count_burned_guess(self, address: Address) -> int:
        """Count a handshake that failed after its nonces; returns the failures in 24 hours."""
        return self.store.count_failure(str(address), unix=unix_now())

    # -- writing ----------------------------------------------------------------------------------

    def event(self, act: Act, address: Address, root_fp: bytes, how: How) -> TrustEvent:
        """Make a change of trust that happens now."""
        return TrustEvent(act=act, address=address, root_fp=root_fp, how=how, unix=unix_now())

    def apply(self, *events: TrustEvent) -> None:
        """Change trust, all or nothing, durably, with an audit entry for each real change."""
        book = self.book
        entries = []
        for event in events:
            after, entry = transition(book, event)
            if after != book:  # what was known already is not written again at every call
                book = after
                entries.append(entry)
        if entries:
            barred = set(book.barred) - set(self.book.barred)
            self.store.save_trust(book, tuple(entries))
            for root_fp in barred:
                self.statements.barred(root_fp)
