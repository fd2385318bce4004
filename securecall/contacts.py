"""The people we know and who we are to them: trust, tickets and statements over the store."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from securecall.address import Address, Scheme, parse_address
from securecall.chat.conversation import Conversation
from securecall.chat.message import Message
from securecall.errors import IdentityChanged, SecurityError, UsageError
from securecall.keys.device import DeviceKey
from securecall.keys.encoding import parse_json
from securecall.keys.passport import PassportKey, Replays
from securecall.keys.statement import OmemoKey, build_statement, next_seq, parse_statement
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
    transition,
)
from securecall.keys.verification import safety_number
from securecall.organisations import Organisations
from securecall.secret import Secret
from securecall.store.sqlite import ORGANISATION, Store

STATEMENT_SECONDS = 14 * 86_400
REQUIRED = "id1"
_ADDRESSES = "own-addresses"
_INSTANCE = "sip-instance"
_LAST_PORT = "last-port"
_PLACE = "place "
_OMEMO = "own-omemo"
_PASSPORT = "own-passport-key"


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
        organisations: Those whose word our user takes for the keys of their staff.
    """

    def __init__(self, store: Store) -> None:
        """Begin with what the store holds; refreshes our own statement."""
        if store.setting(ORGANISATION) is not None:
            raise UsageError("these are the keys of an organisation, not of a person")
        self.store = store
        self.organisations = Organisations(store, self.apply, lambda: self.addresses)
        self.desk = TicketDesk(store, store.tickets())
        self._own: list[Address] = [self.own_key_address, *self._own_addresses()]
        self._statement, self._expires = b"", 0
        self._passport: PassportKey | None = None
        self.replays = Replays()
        # whose handshake is under way, by root and by address; see `Expectation`
        self.handshakes: dict[bytes, object] = {}
        if not self._resume():
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
        if self._expires - _now() < STATEMENT_SECONDS // 2:
            self._publish()
        return self._statement

    def own_address(self, address: Address) -> None:
        """Claim an address of an account of ours in the statement."""
        if address not in self._own:
            self._own.append(address)
            names = " ".join(str(own) for own in self._own[1:])
            self.store.save_setting(_ADDRESSES, names.encode())
            self._publish()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Our own addresses, the one that is our key first."""
        return tuple(self._own)

    @property
    def omemo(self) -> tuple[OmemoKey, ...]:
        """The OMEMO identity keys of this device, as our statement lists them."""
        kept = (self.store.setting(_OMEMO) or b"").decode().splitlines()
        return tuple(
            OmemoKey(namespace=namespace, id=int(number), identity_key=bytes.fromhex(key))
            for number, key, namespace in (line.split(" ", 2) for line in kept)
        )

    def own_omemo(self, keys: Sequence[OmemoKey]) -> None:
        """Vouch in the statement for the OMEMO identity keys of this device; one per namespace."""
        if tuple(keys) != self.omemo:
            lines = [f"{key.id} {key.identity_key.hex()} {key.namespace}" for key in keys]
            self.store.save_setting(_OMEMO, "\n".join(lines).encode())
            self._publish()

    def passport_key(self) -> PassportKey:
        """The key that signs our PASSporTs; made, kept and listed in the statement when needed."""
        if self._passport is None:
            kept = self.store.setting(_PASSPORT)
            key = PassportKey.from_scalar(Secret(kept)) if kept else PassportKey.generate()
            if not kept:
                self.store.save_setting(_PASSPORT, key.scalar.reveal())
            self._passport = key
            if not self._resume():
                self._publish()
        return self._passport

    def _own_addresses(self) -> tuple[Address, ...]:
        names = self.store.setting(_ADDRESSES) or b""
        return tuple(parse_address(name) for name in names.decode().split())

    def _resume(self) -> bool:
        """Go on with the statement of the last run, if it still says what is so."""
        raw, unix = self.store.statement, _now()
        if not raw:
            return False
        try:
            kept = parse_statement(raw, unix=unix)
        except SecurityError:  # a clock far from where it was: a new one is due
            return False
        device = self.store.device
        # One that lists a PASSporT key not asked for in this run says no more than is so.
        passport = self._passport.public if self._passport is not None else None
        same = kept.addresses == tuple(self._own) and [
            (d.id, d.public, d.omemo, None if passport is None else d.p256) for d in kept.devices
        ] == [(device.id, device.public, self.omemo, passport)]
        if not same or kept.exp - unix < STATEMENT_SECONDS // 2:
            return False
        self._statement, self._expires = raw, kept.exp
        return True

    def _publish(self) -> None:
        unix = _now()
        self._expires = unix + STATEMENT_SECONDS
        seq = next_seq(self.store.seq, unix_ms=int(time.time() * 1000))
        self._statement = build_statement(
            self.store.root,
            seq=seq,
            iat=unix,
            exp=self._expires,
            addresses=tuple(self._own),
            devices=(self.store.device,),
            require=(REQUIRED,),
            omemo={self.store.device.id: self.omemo},
            passports={self.store.device.id: self._passport} if self._passport else {},
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
        """A key is bound to this address, or an organisation told us which one it has."""
        return self.book.lookup(address) is not None or self.organisations.expects(address)

    # -- tickets ----------------------------------------------------------------------------------

    def issue_ticket(self, *, uris: Sequence[str], valid_seconds: int) -> Ticket:
        """Make a ticket and remember it, durably."""
        unix = _now()
        return self.desk.issue(uris, root_fp=self.root_fp, expiry=unix + valid_seconds, unix=unix)

    def has_open_tickets(self) -> bool:
        """Tickets are outstanding, so strangers need one."""
        return bool(self.desk.outstanding(_now()))

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
        return self.store.count_failure(str(address), unix=_now())

    # -- writing ----------------------------------------------------------------------------------

    def event(self, act: Act, address: Address, root_fp: bytes, how: How) -> TrustEvent:
        """Make a change of trust that happens now."""
        return TrustEvent(act=act, address=address, root_fp=root_fp, how=how, unix=_now())

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
            self.store.save_trust(book, tuple(entries))


def _now() -> int:
    return int(time.time())
