"""What is written down about trust: bindings, contact cards, and the acts that change them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from securecall.address import Address


class TrustState(enum.StrEnum):
    """What a root key is to us, for one address."""

    UNKNOWN = "unknown"
    PINNED = "pinned"
    VERIFIED = "verified"
    CHANGED = "changed"
    REVOKED = "revoked"
    DISTRUSTED = "distrusted"


class Floor(enum.StrEnum):
    """The least a call with a contact must reach; only the user lowers it."""

    NONE = "none"
    E2EE = "e2ee"


class Act(enum.StrEnum):
    """What changes trust; each is done by our user or by a call our user placed."""

    PIN = "pin"
    VERIFY = "verify"
    UNVERIFY = "unverify"
    CHANGE = "change"
    ACCEPT = "accept"
    KEEP = "keep"
    FORGET = "forget"
    DISTRUST = "distrust"
    RESTORE = "restore"
    REVOKE = "revoke"
    SUCCEED = "succeed"
    ADD_TO_CARD = "add-to-card"
    RAISE_FLOOR = "raise-floor"
    LIFT_FLOOR = "lift-floor"
    PIN_ORGANISATION = "pin-organisation"
    FORGET_ORGANISATION = "forget-organisation"


class How(enum.StrEnum):
    """By what evidence. There is no word for an incoming call: it changes nothing."""

    FIRST_CALL = "first-call"  # a call we placed was completed
    CONTACT = "contact"  # the user put this key on a contact card
    CARD = "card"  # claimed by a root bound to another address of the same card
    DIRECTORY = "directory"  # the address's own authority, not asked because of a call
    LINK = "link"  # a ticket that came as text
    BEARER = "bearer"  # the bearer of a ticket of ours, after both DONEs
    QR = "qr"
    DIGITS = "digits"
    SAS = "sas"
    IMPORT = "import"
    ORGANISATION = "organisation"  # the word of an organisation whose root our user pinned
    OUTGOING_CALL = "outgoing-call"
    USER = "user"
    OWNER = "owner"  # the root's own signed word
    SUCCESSION = "succession"  # the pinned root and the one that follows it signed that it does


_PINS: Final = frozenset(
    {
        How.FIRST_CALL,
        How.CONTACT,
        How.CARD,
        How.DIRECTORY,
        How.LINK,
        How.BEARER,
        How.QR,
        How.IMPORT,
        How.ORGANISATION,
        How.SUCCESSION,  # for the key: address of the root that follows
    }
)
_CHECKS: Final = frozenset({How.QR, How.DIGITS, How.SAS, How.IMPORT})
ALLOWED: Final[Mapping[Act, frozenset[How]]] = MappingProxyType(
    {
        Act.PIN: _PINS,
        Act.VERIFY: _CHECKS,
        Act.UNVERIFY: frozenset({How.USER}),
        Act.CHANGE: frozenset({How.DIRECTORY, How.OUTGOING_CALL}),
        Act.ACCEPT: frozenset({How.USER}),
        Act.KEEP: frozenset({How.USER}),
        # an organisation takes back its own word, and nothing else
        Act.FORGET: frozenset({How.USER, How.ORGANISATION}),
        Act.DISTRUST: frozenset({How.USER}),
        Act.RESTORE: frozenset({How.USER}),
        Act.REVOKE: frozenset({How.OWNER, How.USER}),
        Act.SUCCEED: frozenset({How.SUCCESSION}),
        Act.ADD_TO_CARD: frozenset({How.USER, How.SUCCESSION}),
        Act.RAISE_FLOOR: frozenset({How.OUTGOING_CALL, How.USER}),
        Act.LIFT_FLOOR: frozenset({How.USER}),
        Act.PIN_ORGANISATION: frozenset({How.USER, How.QR}),
        Act.FORGET_ORGANISATION: frozenset({How.USER}),
    }
)
# Acts on one binding. What is missing is refused: nothing is verified before it is pinned, and
# nothing but the user's word leads out of CHANGED.
NEXT: Final[Mapping[tuple[TrustState, Act], TrustState]] = MappingProxyType(
    {
        (TrustState.UNKNOWN, Act.PIN): TrustState.PINNED,
        (TrustState.PINNED, Act.PIN): TrustState.PINNED,
        (TrustState.VERIFIED, Act.PIN): TrustState.VERIFIED,
        (TrustState.PINNED, Act.VERIFY): TrustState.VERIFIED,
        (TrustState.VERIFIED, Act.VERIFY): TrustState.VERIFIED,
        (TrustState.VERIFIED, Act.UNVERIFY): TrustState.PINNED,
        (TrustState.PINNED, Act.CHANGE): TrustState.CHANGED,
        (TrustState.VERIFIED, Act.CHANGE): TrustState.CHANGED,
        (TrustState.CHANGED, Act.CHANGE): TrustState.CHANGED,
        (TrustState.CHANGED, Act.ACCEPT): TrustState.PINNED,
        (TrustState.CHANGED, Act.KEEP): TrustState.PINNED,
        # Whoever held the old key signed it, a thief perhaps: that is worth a pin, never more.
        (TrustState.PINNED, Act.SUCCEED): TrustState.PINNED,
        (TrustState.VERIFIED, Act.SUCCEED): TrustState.PINNED,
        (TrustState.CHANGED, Act.SUCCEED): TrustState.PINNED,
        (TrustState.PINNED, Act.FORGET): TrustState.UNKNOWN,
        (TrustState.VERIFIED, Act.FORGET): TrustState.UNKNOWN,
        (TrustState.CHANGED, Act.FORGET): TrustState.UNKNOWN,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """An address joined to a root.

    Attributes:
        address: Whose trust this is.
        root_fp: Fingerprint of the root that speaks for it.
        state: PINNED, VERIFIED or CHANGED; roots that are barred stand in `TrustBook.barred`.
        since: Unix seconds since when this root is pinned here.
        how: What the present state rests on.
        rival: In CHANGED: fingerprint of the other root, else b"".
    """

    address: Address
    root_fp: bytes = field(repr=False)
    state: TrustState
    since: int
    how: How
    rival: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A person's card.

    Attributes:
        id: Stable name of the card: the first address put on it.
        addresses: All of them, put there by our user.
        floor: The least a call with any of them must reach.
    """

    id: str
    addresses: tuple[Address, ...]
    floor: Floor = Floor.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    """An organisation whose word our user takes for the keys of its staff.

    Attributes:
        domain: Its; it speaks for addresses there alone.
        root_fp: Fingerprint of the root it signs with.
        since: Unix seconds since when our user trusts it.
        how: USER, or QR where its code was scanned.
    """

    domain: str
    root_fp: bytes = field(repr=False)
    since: int
    how: How


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustEvent:
    """One change of trust.

    Attributes:
        act: What is done.
        address: To which address.
        root_fp: With which root; the new one for PIN, CHANGE, ACCEPT and SUCCEED. b"" where none
            is meant.
        how: By what evidence.
        unix: When, Unix seconds.
        who: Who decided: a user name, or "" for the owner of this store.
        card: For ADD_TO_CARD: id of the card.
        organisation: For PIN_ORGANISATION and FORGET_ORGANISATION: its domain; `address` is then
            the `key:` address of its root.
    """

    act: Act
    address: Address
    root_fp: bytes = field(default=b"", repr=False)
    how: How
    unix: int
    who: str = ""
    card: str = ""
    organisation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """What a change did: who, when, how, from where to where."""

    event: TrustEvent
    before: TrustState
    after: TrustState
    floor: Floor


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustBook:
    """Everything believed; immutable.

    Attributes:
        bindings: By address.
        contacts: Cards, by id.
        barred: Roots that are REVOKED or DISTRUSTED, whatever address they show.
        organisations: Those whose word our user takes, by domain.
    """

    bindings: Mapping[Address, Binding] = field(default_factory=dict)
    contacts: Mapping[str, Contact] = field(default_factory=dict)
    barred: Mapping[bytes, TrustState] = field(default_factory=dict, repr=False)
    organisations: Mapping[str, Organisation] = field(default_factory=dict)

    def lookup(self, address: Address) -> Binding | None:
        """Return the binding of an address, None where no root is known."""
        return self.bindings.get(address)

    def organisation(self, address: Address) -> Organisation | None:
        """Return the organisation that may vouch for an address, None where our user trusts none.

        It does not speak for whom our user knows by other means.
        """
        binding = self.bindings.get(address)
        if binding is not None and binding.how is not How.ORGANISATION:
            return None
        return self.organisations.get(address.host) if address.host else None

    def contact(self, address: Address) -> Contact | None:
        """Return the card an address stands on."""
        for contact in self.contacts.values():
            if address in contact.addresses:
                return contact
        return None

    def floor(self, address: Address) -> Floor:
        """Return the floor of the contact with this address, before any root is known."""
        contact = self.contact(address)
        return Floor.NONE if contact is None else contact.floor

    def state(self, address: Address, root_fp: bytes) -> TrustState:
        """Return what a root is to us for an address; `root_fp` must have been proven."""
        if root_fp in self.barred:
            return self.barred[root_fp]
        binding = self.bindings.get(address)
        if binding is None:
            return TrustState.UNKNOWN
        return binding.state if binding.root_fp == root_fp else TrustState.CHANGED
