"""U5 and U6: claiming somebody else's address, and calling in under it first.

The control is trust as most messengers keep it: whoever shows a signed claim first owns the name.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from securecall.address import Address, parse_address
from securecall.errors import AddressNotOwned, IdentityChanged, Reason, UsageError
from securecall.keys.statement import Statement
from securecall.keys.trust import (
    Act,
    How,
    TrustBook,
    TrustEvent,
    TrustState,
    card_events,
    judge_bearer,
    judge_incoming,
    judge_outgoing,
    transition,
)
from tests.forge_statement import NOW, parsed, root_key

BOB = parse_address("sip:bob@b.example")
EVE = parse_address("sip:eve@e.example")
BOB_ROOT, EVE_ROOT = root_key(2), root_key(5)


@dataclass(frozen=True)
class Claimed:
    statement: Statement
    own_address: str


def bob() -> Claimed:
    return Claimed(parsed(BOB_ROOT, addresses=[BOB]), str(BOB))


def eve_as_bob() -> Claimed:
    return Claimed(parsed(EVE_ROOT, addresses=[EVE, BOB]), str(BOB))


def done(book: TrustBook, act: Act, how: How, address: Address, root) -> TrustBook:
    event = TrustEvent(act=act, how=how, address=address, root_fp=root.fingerprint, unix=NOW)
    return transition(book, event)[0]


def verified_eve() -> TrustBook:
    book = done(TrustBook(), Act.PIN, How.FIRST_CALL, EVE, EVE_ROOT)
    return done(book, Act.VERIFY, How.QR, EVE, EVE_ROOT)


@dataclass
class NaiveTrust:
    """Trust on first use of whatever is claimed; trust belongs to the root."""

    owner: dict[Address, bytes] = field(default_factory=dict)
    verified: set[bytes] = field(default_factory=set)

    def meet(self, claimed: Claimed) -> str:
        root = claimed.statement.root_fp
        for address in claimed.statement.addresses:
            if self.owner.setdefault(address, root) != root:
                return "changed"
        return "verified" if root in self.verified else "pinned"


def test_a_verified_contact_that_claims_bobs_address_is_nobody_there():
    book = verified_eve()
    found = judge_outgoing(book, BOB, eve_as_bob())
    assert (found.state, found.how) == (TrustState.UNKNOWN, "")
    # and Bob's reachability is what it was
    assert judge_outgoing(book, BOB, bob()).state is TrustState.UNKNOWN


def test_control_where_trust_belongs_to_the_root_eve_is_a_verified_bob():
    naive = NaiveTrust(verified={EVE_ROOT.fingerprint})
    assert naive.meet(eve_as_bob()) == "verified"
    assert naive.meet(bob()) == "changed"


def test_a_server_that_routes_bobs_calls_to_eve_is_found_out():
    book = done(verified_eve(), Act.PIN, How.FIRST_CALL, BOB, BOB_ROOT)
    with pytest.raises(IdentityChanged):
        judge_outgoing(book, BOB, eve_as_bob())
    # Eve, honest about herself, at Bob's address
    honest = Claimed(parsed(EVE_ROOT, addresses=[EVE]), str(EVE))
    with pytest.raises(AddressNotOwned) as caught:
        judge_outgoing(book, BOB, honest)
    assert caught.value.reason is Reason.ADDRESS_NOT_OWNED
    # at first contact, too, when she does not claim it
    with pytest.raises(AddressNotOwned):
        judge_outgoing(verified_eve(), BOB, Claimed(honest.statement, str(BOB)))
    # Bob's trust is untouched
    assert judge_outgoing(book, BOB, bob()).state is TrustState.PINNED


def test_claims_beyond_the_card_never_become_bindings():
    book = verified_eve()
    assert card_events(book, EVE, eve_as_bob().statement, unix=NOW) == ()
    assert book.lookup(BOB) is None


def test_a_spoofed_from_before_the_real_bob_leaves_no_trace():
    book = TrustBook()
    found = judge_incoming(book, BOB, eve_as_bob())
    assert (found.state, found.floor.value) == (TrustState.UNKNOWN, "none")
    assert book == TrustBook()
    # no evidence exists by which that call could be written down
    with pytest.raises(ValueError, match="incoming"):
        How("incoming-call")
    # the real Bob, called later, is a first contact and not a change
    assert judge_outgoing(book, BOB, bob()).state is TrustState.UNKNOWN
    pinned = done(book, Act.PIN, How.FIRST_CALL, BOB, BOB_ROOT)
    assert judge_outgoing(pinned, BOB, bob()).state is TrustState.PINNED


def test_control_where_the_first_caller_is_pinned_the_real_bob_is_the_impostor():
    naive = NaiveTrust()
    assert naive.meet(eve_as_bob()) == "pinned"
    assert naive.meet(bob()) == "changed"


def test_words_compared_in_a_call_that_came_in_do_not_pin_the_address():
    event = TrustEvent(
        act=Act.VERIFY, how=How.SAS, address=BOB, root_fp=EVE_ROOT.fingerprint, unix=NOW
    )
    with pytest.raises(UsageError):
        transition(TrustBook(), event)


def test_a_spoofed_from_with_a_pinned_name_is_refused_and_changes_nothing():
    book = done(TrustBook(), Act.PIN, How.FIRST_CALL, BOB, BOB_ROOT)
    with pytest.raises(IdentityChanged):
        judge_incoming(book, BOB, eve_as_bob())
    assert judge_incoming(book, BOB, bob()).state is TrustState.PINNED


def test_a_ticket_does_not_buy_bobs_name():
    with pytest.raises(AddressNotOwned):
        judge_bearer(TrustBook(), BOB, eve_as_bob())
    with pytest.raises(UsageError):
        done(TrustBook(), Act.PIN, How.BEARER, BOB, EVE_ROOT)
    # control: pinned under the name she signalled, Eve is Bob from then on
    poisoned = done(TrustBook(), Act.PIN, How.CONTACT, BOB, EVE_ROOT)
    with pytest.raises(IdentityChanged):
        judge_outgoing(poisoned, BOB, bob())
