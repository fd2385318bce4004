"""Which root key may speak for which address, and how that came to be believed.

What a statement lists are claims. A *binding* joins one address to one root; it is written only by
`transition`, which no incoming call reaches: calls are judged here, and judging writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

from securecall.address import ANONYMOUS, Address, Scheme
from securecall.errors import (
    AddressNotOwned,
    IdentityChanged,
    IdentityMismatch,
    Reason,
    Revoked,
    SecurityError,
    UsageError,
)
from securecall.keys.statement_content import Statement
from securecall.keys.succession import ancestors
from securecall.keys.trust_record import (
    ALLOWED,
    NEXT,
    Act,
    AuditEntry,
    Binding,
    Contact,
    Floor,
    How,
    Organisation,
    TrustBook,
    TrustEvent,
    TrustState,
)

__all__ = [
    "Act",
    "AuditEntry",
    "Binding",
    "Claim",
    "Contact",
    "Floor",
    "How",
    "Judgement",
    "Organisation",
    "TrustBook",
    "TrustEvent",
    "TrustState",
    "card_events",
    "judge_bearer",
    "judge_incoming",
    "judge_outgoing",
    "judge_ticket",
    "require_not_barred",
    "succeeded",
    "succession_events",
    "transition",
]


class Claim(Protocol):
    """What a peer proved and claimed in the identity handshake."""

    @property
    def statement(self) -> Statement:
        """Its statement, checked, and merged with what was seen before."""
        ...

    @property
    def own_address(self) -> str:
        """The address it says it has in this call."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is known of a peer that was not refused; levels are the policy's.

    Attributes:
        address: The peer's address in this call.
        root_fp: Its root.
        state: UNKNOWN (first contact), PINNED or VERIFIED.
        since: Unix seconds since when it is pinned, 0 if it is not.
        how: What the state rests on, "" at first contact.
        stale: The statement has expired.
        floor: The contact's floor.
    """

    address: Address
    root_fp: bytes = field(repr=False)
    state: TrustState
    since: int = 0
    how: str = ""
    stale: bool = False
    floor: Floor = Floor.NONE


def judge_outgoing(
    book: TrustBook, dialled: Address, claim: Claim, *, vouched: bool = False
) -> Judgement:
    """Judge who answered a call to `dialled`; writes nothing.

    Args:
        book: What is believed.
        dialled: The address called.
        claim: What the peer proved.
        vouched: The word of `book.organisation(dialled)` holds for the peer's root now.

    Raises:
        AddressNotOwned: the peer claims another address, or at first contact not this one.
        IdentityChanged: another root is bound to this address, or the matter is undecided.
        Revoked: the root was withdrawn.
        SecurityError: DISTRUSTED by the user.
    """
    return _judge(book, dialled, claim, vouched=vouched)


def judge_ticket(book: TrustBook, address: Address, root_fp: bytes, claim: Claim) -> Judgement:
    """Judge who answered a call with a ticket that names `root_fp`.

    Raises:
        IdentityMismatch: another root answered.
        AddressNotOwned, IdentityChanged, Revoked, SecurityError: as for `judge_outgoing`.
    """
    if claim.statement.root_fp != root_fp:
        raise IdentityMismatch("someone else than the maker of the ticket answered")
    return _judge(book, address, claim)


def judge_incoming(
    book: TrustBook, signalled: Address, claim: Claim, *, vouched: bool = False
) -> Judgement:
    """Judge who calls with the From address `signalled`; writes nothing, whatever comes of it.

    A caller without an address (ANONYMOUS) is held to its own `key:` address; `vouched` is as for
    `judge_outgoing`.

    Raises:
        AddressNotOwned, IdentityChanged, Revoked, SecurityError: as for `judge_outgoing`.
    """
    if signalled == ANONYMOUS:
        signalled = Address(Scheme.KEY, claim.statement.root_fp.hex())
    return _judge(book, signalled, claim, vouched=vouched)


def judge_bearer(book: TrustBook, signalled: Address, claim: Claim) -> Judgement:
    """Judge who calls with a ticket of ours; the proof itself is for `TicketDesk`.

    A ticket vouches for a key, not for an address: a bearer comes under its own `key:` address, or
    under one that is bound to its root already. Otherwise one ticket could take anybody's name.

    Raises:
        AddressNotOwned: the bearer signals an address that is not bound to its root.
        IdentityChanged, Revoked, SecurityError: as for `judge_outgoing`.
    """
    found = judge_incoming(book, signalled, claim)
    if found.state is TrustState.UNKNOWN and found.address.scheme is not Scheme.KEY:
        raise AddressNotOwned("a ticket does not give its bearer an address; call without one")
    return found


def card_events(
    book: TrustBook, address: Address, statement: Statement, *, unix: int
) -> tuple[TrustEvent, ...]:
    """Return the pins that follow where a bound root claims more addresses of the same card.

    To be applied after `address` was pinned. Claims of addresses that the user did not put on the
    card follow never: else one contact could claim everybody's address.
    """
    binding, contact = book.lookup(address), book.contact(address)
    if binding is None or contact is None or binding.root_fp != statement.root_fp:
        return ()
    if binding.state not in (TrustState.PINNED, TrustState.VERIFIED):
        return ()
    if binding.how is How.ORGANISATION:  # it speaks for this one address
        return ()
    return tuple(
        TrustEvent(act=Act.PIN, address=other, root_fp=binding.root_fp, how=How.CARD, unix=unix)
        for other in contact.addresses
        if other in statement.addresses and book.lookup(other) is None
    )


def succession_events(
    book: TrustBook, statement: Statement, *, unix: int
) -> tuple[TrustEvent, ...]:
    """Return what follows where a root proves that it came after one we have bindings of.

    The bindings of its forerunners move to it, those that are `key:` addresses get one of the new
    root beside them, and the forerunners are barred. Nothing follows for roots we do not know, nor
    beyond a barred one: whoever followed that before is the successor, and nobody else.
    """
    new = statement.root_fp
    if new in book.barred:
        return ()
    line: list[bytes] = []
    for old in reversed(ancestors(statement.successions, new)):
        if old in book.barred:
            break
        line.append(old)
    bound = [b for b in book.bindings.values() if b.root_fp in line]
    events: list[TrustEvent] = []
    for binding in bound:
        events += _inheritance(book, binding, new, unix)
    if bound:
        at = bound[0].address
        events += [
            TrustEvent(act=Act.REVOKE, address=at, root_fp=old, how=How.OWNER, unix=unix)
            for old in reversed(line)
        ]
    return tuple(events)


def succeeded(book: TrustBook, statement: Statement) -> TrustBook:
    """Return the book as it will be once the successions of a statement are written down."""
    for event in succession_events(book, statement, unix=statement.checked_at):
        book, _ = transition(book, event)
    return book


def _inheritance(book: TrustBook, binding: Binding, new: bytes, unix: int) -> list[TrustEvent]:
    address, how = binding.address, How.SUCCESSION
    if binding.how is How.ORGANISATION:
        return []  # which vouches for one key of its member, for a time, and now for another
    if address.scheme is not Scheme.KEY:
        if binding.state is TrustState.CHANGED and binding.rival != new:
            return []  # a conflict with somebody else, which our user has to decide
        return [TrustEvent(act=Act.SUCCEED, address=address, root_fp=new, how=how, unix=unix)]
    heir, card = Address(Scheme.KEY, new.hex()), book.contact(address)
    events = []
    if card is not None and book.contact(heir) is None:
        events.append(
            TrustEvent(act=Act.ADD_TO_CARD, address=heir, how=how, unix=unix, card=card.id)
        )
    if book.lookup(heir) is None:
        events.append(TrustEvent(act=Act.PIN, address=heir, root_fp=new, how=how, unix=unix))
    return events


def transition(book: TrustBook, event: TrustEvent) -> tuple[TrustBook, AuditEntry]:
    """Apply one change; the only way to another book.

    Raises:
        IdentityChanged: PIN, but another root is bound to the address.
        Revoked, SecurityError: PIN, VERIFY or ACCEPT of a root that is withdrawn or distrusted.
        UsageError: the act cannot follow here, or does not rest on such evidence.
    """
    if event.how not in ALLOWED[event.act]:
        raise UsageError(f"{event.act.value} does not rest on {event.how.value}")
    binding = book.lookup(event.address)
    before = binding.state if binding is not None else TrustState.UNKNOWN
    match event.act:
        case Act.DISTRUST | Act.REVOKE | Act.RESTORE:
            before = book.state(event.address, event.root_fp)
            after_book = _bar(book, event)
            after = after_book.state(event.address, event.root_fp)
        case Act.ADD_TO_CARD | Act.RAISE_FLOOR | Act.LIFT_FLOOR:
            after_book, after = _card(book, event), before
        case Act.PIN_ORGANISATION | Act.FORGET_ORGANISATION:
            known = book.organisations.get(event.organisation)
            before = TrustState.UNKNOWN if known is None else TrustState.PINNED
            after_book, after = _organise(book, known, event)
        case _:
            after_book, after = _bind(book, binding, event)
    entry = AuditEntry(
        event=event, before=before, after=after, floor=after_book.floor(event.address)
    )
    return after_book, entry


def _judge(book: TrustBook, address: Address, claim: Claim, *, vouched: bool = False) -> Judgement:
    statement = claim.statement
    if claim.own_address != str(address):
        raise AddressNotOwned(f"the peer of the call with {address.short} claims to be another")
    require_not_barred(book, statement.root_fp)
    binding = book.lookup(address)
    vouched = vouched and book.organisation(address) is not None
    if binding is None or _rests_on(binding, statement.root_fp, vouched=vouched):
        if address not in statement.addresses:
            raise AddressNotOwned(f"the peer's identity does not include {address.short}")
        known = binding is not None and binding.root_fp == statement.root_fp
        return Judgement(
            address=address,
            root_fp=statement.root_fp,
            state=TrustState.PINNED if vouched else TrustState.UNKNOWN,
            since=binding.since if binding is not None and known and vouched else 0,
            how=How.ORGANISATION.value if vouched else "",
            stale=statement.stale,
            floor=book.floor(address),
        )
    if binding.root_fp != statement.root_fp or binding.state is TrustState.CHANGED:
        raise IdentityChanged(
            f"{address.short} has another key than before; ask the person before you accept it"
        )
    return Judgement(
        address=address,
        root_fp=statement.root_fp,
        state=binding.state,
        since=binding.since,
        how=binding.how.value,
        stale=statement.stale,
        floor=book.floor(address),
    )


def _rests_on(binding: Binding, root_fp: bytes, *, vouched: bool) -> bool:
    """Whether an organisation's word decides, and not the binding: it was made by such a word.

    Without that word the same root is nobody's any more; with it another root may follow on it.
    """
    by_word = binding.how is How.ORGANISATION and binding.state is TrustState.PINNED
    return by_word and (vouched or binding.root_fp == root_fp)


def require_not_barred(book: TrustBook, root_fp: bytes) -> None:
    """Refuse a root that nothing may rest on any more.

    Raises:
        Revoked: it was withdrawn.
        SecurityError: the user distrusts it.
    """
    barred = book.barred.get(root_fp)
    if barred is TrustState.REVOKED:
        raise Revoked("the peer's root key was withdrawn")
    if barred is not None:
        raise SecurityError(
            "you marked the peer's key as not to be trusted", reason=Reason.DISTRUSTED
        )


def _bind(
    book: TrustBook, binding: Binding | None, event: TrustEvent
) -> tuple[TrustBook, TrustState]:
    before = binding.state if binding is not None else TrustState.UNKNOWN
    if event.act in (Act.PIN, Act.VERIFY, Act.SUCCEED):
        require_not_barred(book, event.root_fp)
    after = NEXT.get((before, event.act))
    if after is None:
        raise UsageError(f"{event.act.value} cannot follow in state {before.value}")
    if event.how is How.ORGANISATION:
        _require_organisation(book, binding, event)
    bindings = dict(book.bindings)
    if after is TrustState.UNKNOWN:
        del bindings[event.address]
        return replace(book, bindings=bindings), after
    bindings[event.address] = (
        _first_binding(book, event) if binding is None else _rebound(book, binding, event, after)
    )
    return _with_card(replace(book, bindings=bindings), event.address), after


def _require_organisation(book: TrustBook, binding: Binding | None, event: TrustEvent) -> None:
    """Let an organisation speak for its domain alone, and take back nothing but its own word."""
    if event.act is Act.PIN and event.address.host not in book.organisations:
        raise UsageError(f"no organisation you trust vouches for {event.address.short}")
    own = binding is not None and binding.how is How.ORGANISATION
    if event.act is Act.FORGET and not (own and event.address.host):
        raise UsageError("an organisation takes back nothing but its own word")


def _organise(
    book: TrustBook, known: Organisation | None, event: TrustEvent
) -> tuple[TrustBook, TrustState]:
    domain, organisations = event.organisation, dict(book.organisations)
    if not domain or event.address != Address(Scheme.KEY, event.root_fp.hex()):
        raise UsageError("an organisation has a domain, and is named by its root")
    if event.act is Act.FORGET_ORGANISATION:
        if known is None or known.root_fp != event.root_fp:
            raise UsageError(f"you do not trust an organisation {domain} with this key")
        del organisations[domain]
        kept = {
            address: binding
            for address, binding in book.bindings.items()
            if not (binding.how is How.ORGANISATION and address.host == domain)
        }
        return replace(book, organisations=organisations, bindings=kept), TrustState.UNKNOWN
    require_not_barred(book, event.root_fp)
    if known is not None and known.root_fp != event.root_fp:
        raise IdentityChanged(
            f"{domain} has another key than the one you trust; forget that first, if you are sure"
        )
    if known is None:
        organisations[domain] = Organisation(
            domain=domain, root_fp=event.root_fp, since=event.unix, how=event.how
        )
    return replace(book, organisations=organisations), TrustState.PINNED


def _first_binding(book: TrustBook, event: TrustEvent) -> Binding:
    require_not_barred(book, event.root_fp)
    if not event.root_fp:
        raise UsageError("a pin needs a root fingerprint")
    if event.address == ANONYMOUS:
        raise UsageError("the anonymous address belongs to nobody")
    if event.address.scheme is Scheme.KEY and event.address.user != event.root_fp.hex():
        raise UsageError("a key: address belongs to its own root only")
    if event.how is How.BEARER and event.address.scheme is not Scheme.KEY:
        raise UsageError("a ticket pins its bearer's key: address only")
    return Binding(
        address=event.address,
        root_fp=event.root_fp,
        state=TrustState.PINNED,
        since=event.unix,
        how=event.how,
    )


def _rebound(book: TrustBook, binding: Binding, event: TrustEvent, after: TrustState) -> Binding:
    if event.act is Act.CHANGE:
        if event.root_fp in (b"", binding.root_fp):
            raise UsageError("a change needs another root")
        return replace(binding, state=after, rival=event.root_fp)
    if event.act is Act.ACCEPT:
        if event.root_fp != binding.rival:
            raise UsageError("only the root that caused the conflict can be accepted")
        return _first_binding(book, event)
    if event.act is Act.SUCCEED:
        if event.root_fp in (b"", binding.root_fp) or binding.rival not in (b"", event.root_fp):
            raise UsageError("another root follows than the one this is about")
        return _first_binding(book, event)
    if event.root_fp != binding.root_fp:
        raise IdentityChanged(f"another key is bound to {binding.address.short}")
    if event.act is Act.PIN:
        return binding  # known already; since and how stay as they were
    return replace(binding, state=after, how=event.how, rival=b"")


def _bar(book: TrustBook, event: TrustEvent) -> TrustBook:
    if not event.root_fp:
        raise UsageError(f"{event.act.value} needs a root fingerprint")
    barred = dict(book.barred)
    if event.act is Act.RESTORE:
        if barred.get(event.root_fp) is not TrustState.DISTRUSTED:
            raise UsageError("only a distrusted root can be restored; a withdrawn one never")
        del barred[event.root_fp]
        # What was believed of it before is gone: it starts again as unknown.
        kept = {a: b for a, b in book.bindings.items() if b.root_fp != event.root_fp}
        return replace(book, barred=barred, bindings=kept)
    if barred.get(event.root_fp) is not TrustState.REVOKED:
        barred[event.root_fp] = (
            TrustState.REVOKED if event.act is Act.REVOKE else TrustState.DISTRUSTED
        )
    return replace(book, barred=barred)


def _card(book: TrustBook, event: TrustEvent) -> TrustBook:
    contacts = dict(book.contacts)
    contact = book.contact(event.address)
    if event.act is Act.ADD_TO_CARD:
        card = contacts.get(event.card)
        if card is None:
            if contact is not None or event.card != str(event.address):
                raise UsageError("there is no such card")
            return _with_card(book, event.address)
        if contact is not None and contact.id != card.id:
            if len(contact.addresses) > 1:
                raise UsageError("the address stands on another card with more addresses")
            del contacts[contact.id]
            card = replace(card, floor=max(card.floor, contact.floor, key=_strictness))
        if event.address not in card.addresses:
            card = replace(card, addresses=(*card.addresses, event.address))
        contacts[card.id] = card
        return replace(book, contacts=contacts)
    if contact is None:
        book = _with_card(book, event.address)
        contacts = dict(book.contacts)
        contact = contacts[str(event.address)]
    floor = Floor.E2EE if event.act is Act.RAISE_FLOOR else Floor.NONE
    contacts[contact.id] = replace(contact, floor=floor)
    return replace(book, contacts=contacts)


def _with_card(book: TrustBook, address: Address) -> TrustBook:
    if book.contact(address) is not None:
        return book
    contact = Contact(id=str(address), addresses=(address,))
    return replace(book, contacts={**book.contacts, contact.id: contact})


def _strictness(floor: Floor) -> int:
    return (Floor.NONE, Floor.E2EE).index(floor)
