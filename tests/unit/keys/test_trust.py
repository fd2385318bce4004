from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass, replace

import pytest

from securecall.address import ANONYMOUS, Address, Scheme, parse_address
from securecall.errors import (
    AddressNotOwned,
    IdentityChanged,
    IdentityMismatch,
    Reason,
    Revoked,
    SecurityError,
    UsageError,
)
from securecall.keys.statement import Statement
from securecall.keys.trust import (
    Act,
    Floor,
    How,
    TrustBook,
    TrustEvent,
    TrustState,
    card_events,
    judge_bearer,
    judge_incoming,
    judge_outgoing,
    judge_ticket,
    transition,
)
from securecall.keys.trust_record import ALLOWED, NEXT
from tests.forge_statement import DAY, NOW, parsed, root_key

BOB = parse_address("sip:bob@b.example")
BOB_XMPP = parse_address("xmpp:bob@x.example")
CAROL = parse_address("sip:carol@c.example")
ROOT, OTHER = root_key(1), root_key(2)


@dataclass(frozen=True)
class Claimed:
    statement: Statement
    own_address: str


def claim(*addresses: Address, root=ROOT, own: Address = BOB, unix: int = NOW) -> Claimed:
    return Claimed(parsed(root, addresses=list(addresses or (BOB,)), unix=unix), str(own))


def event(act: Act, how: How, address: Address = BOB, root=ROOT, **more) -> TrustEvent:
    fingerprint = root.fingerprint if root is not None else b""
    return TrustEvent(act=act, how=how, address=address, root_fp=fingerprint, unix=NOW, **more)


def book(*events: TrustEvent) -> TrustBook:
    result = TrustBook()
    for item in events:
        result, _ = transition(result, item)
    return result


PIN = event(Act.PIN, How.FIRST_CALL)
VERIFY = event(Act.VERIFY, How.SAS)
CHANGE = event(Act.CHANGE, How.DIRECTORY, root=OTHER)
PINNED = book(PIN)
VERIFIED = book(PIN, VERIFY)
CHANGED = book(PIN, VERIFY, CHANGE)
BOOKS = {
    TrustState.UNKNOWN: TrustBook(),
    TrustState.PINNED: PINNED,
    TrustState.VERIFIED: VERIFIED,
    TrustState.CHANGED: CHANGED,
}


def test_first_contact_is_unknown_if_the_root_claims_the_address():
    found = judge_outgoing(TrustBook(), BOB, claim())
    assert (found.state, found.since, found.how) == (TrustState.UNKNOWN, 0, "")
    assert judge_incoming(TrustBook(), BOB, claim()).state is TrustState.UNKNOWN


def test_first_contact_with_a_root_that_does_not_claim_the_address_is_refused():
    for judge in (judge_outgoing, judge_incoming):
        with pytest.raises(AddressNotOwned) as caught:
            judge(TrustBook(), BOB, claim(CAROL))
        assert caught.value.reason is Reason.ADDRESS_NOT_OWNED


def test_a_peer_that_says_it_is_someone_else_than_dialled_is_refused():
    with pytest.raises(AddressNotOwned):
        judge_outgoing(PINNED, BOB, claim(BOB, CAROL, own=CAROL))


def test_a_pinned_root_is_pinned_since_its_pin():
    found = judge_outgoing(PINNED, BOB, claim())
    assert (found.state, found.since, found.how) == (TrustState.PINNED, NOW, "first-call")
    assert judge_incoming(PINNED, BOB, claim()).state is TrustState.PINNED


def test_a_bound_root_needs_no_claim():
    # the binding is ours; that the statement dropped the address is the owner's affair
    assert judge_outgoing(PINNED, BOB, claim(CAROL)).state is TrustState.PINNED


def test_another_root_at_a_bound_address_is_a_change():
    for judge in (judge_outgoing, judge_incoming):
        with pytest.raises(IdentityChanged):
            judge(PINNED, BOB, claim(root=OTHER))


def test_in_conflict_neither_root_is_taken():
    for root in (ROOT, OTHER):
        with pytest.raises(IdentityChanged):
            judge_outgoing(CHANGED, BOB, claim(root=root))


def test_a_verified_root_is_nothing_at_another_address():
    assert judge_outgoing(VERIFIED, CAROL, claim(CAROL, own=CAROL)).state is TrustState.UNKNOWN


def test_a_stale_statement_is_told():
    assert judge_outgoing(PINNED, BOB, claim(unix=NOW + 8 * DAY)).stale


def test_barred_roots_are_refused_everywhere():
    for act, how, kind, reason in (
        (Act.DISTRUST, How.USER, SecurityError, Reason.DISTRUSTED),
        (Act.REVOKE, How.OWNER, Revoked, Reason.REVOKED),
    ):
        barred = book(PIN, event(act, how))
        for address in (BOB, CAROL):
            with pytest.raises(kind) as caught:
                judge_outgoing(barred, address, claim(address, own=address))
            assert caught.value.reason is reason
        with pytest.raises(kind):
            transition(barred, event(Act.PIN, How.CONTACT, CAROL))


def test_a_distrusted_root_restored_begins_as_unknown_and_a_withdrawn_one_never_comes_back():
    restored = book(PIN, VERIFY, event(Act.DISTRUST, How.USER), event(Act.RESTORE, How.USER))
    assert restored.state(BOB, ROOT.fingerprint) is TrustState.UNKNOWN
    revoked = book(PIN, event(Act.REVOKE, How.OWNER), event(Act.DISTRUST, How.USER))
    assert revoked.state(BOB, ROOT.fingerprint) is TrustState.REVOKED
    with pytest.raises(UsageError):
        transition(revoked, event(Act.RESTORE, How.USER))


def test_a_ticket_is_answered_by_its_root_only():
    key = parse_address("key:" + ROOT.fingerprint.hex())
    found = judge_ticket(TrustBook(), key, ROOT.fingerprint, claim(key, own=key))
    assert (found.state, found.root_fp) == (TrustState.UNKNOWN, ROOT.fingerprint)
    with pytest.raises(IdentityMismatch):
        judge_ticket(TrustBook(), key, OTHER.fingerprint, claim(key, own=key))
    with pytest.raises(AddressNotOwned):
        judge_ticket(TrustBook(), key, ROOT.fingerprint, claim(BOB, own=key))


def test_a_ticket_does_not_override_a_pin():
    with pytest.raises(IdentityChanged):
        judge_ticket(PINNED, BOB, OTHER.fingerprint, claim(root=OTHER))


def test_a_caller_without_address_is_held_to_its_key():
    key = parse_address("key:" + ROOT.fingerprint.hex())
    assert judge_incoming(TrustBook(), ANONYMOUS, claim(key, own=key)).address == key
    with pytest.raises(AddressNotOwned):
        judge_incoming(TrustBook(), ANONYMOUS, claim(BOB, own=BOB))


def test_judging_changes_nothing():
    for known in BOOKS.values():
        before = [dict(known.bindings), dict(known.contacts), dict(known.barred)]
        for judge in (judge_outgoing, judge_incoming):
            for root in (ROOT, OTHER):
                with contextlib.suppress(SecurityError):
                    judge(known, BOB, claim(root=root))
        assert [known.bindings, known.contacts, known.barred] == before


@pytest.mark.parametrize("act", [act for (_, act) in NEXT])
@pytest.mark.parametrize("state", BOOKS)
def test_the_table_is_what_happens(state, act):
    how = sorted(ALLOWED[act])[-1]
    root = OTHER if act in (Act.CHANGE, Act.ACCEPT, Act.SUCCEED) else ROOT
    if (state, act) in NEXT:
        after, entry = transition(BOOKS[state], event(act, how, root=root))
        bound = ROOT if act is Act.CHANGE else root
        assert after.state(BOB, bound.fingerprint) is NEXT[state, act]
        assert (entry.before, entry.after) == (state, NEXT[state, act])
        assert (entry.event.unix, entry.event.how) == (NOW, how)
    else:
        with pytest.raises(UsageError):
            transition(BOOKS[state], event(act, how, root=root))


def test_an_act_rests_on_its_own_kinds_of_evidence_only():
    taken = []
    for act, how in itertools.product(Act, How):
        if how not in ALLOWED[act]:
            with contextlib.suppress(UsageError):
                transition(PINNED, event(act, how))
                taken.append((act.name, how.name))
    assert taken == []


def test_no_evidence_is_named_after_an_incoming_call():
    assert not [how for how in How if "incoming" in how.value]


def test_pinning_another_root_at_a_bound_address_is_a_change():
    with pytest.raises(IdentityChanged):
        transition(PINNED, event(Act.PIN, How.CONTACT, root=OTHER))


def test_only_the_rival_can_be_accepted_and_then_stands_alone():
    with pytest.raises(UsageError):
        transition(CHANGED, event(Act.ACCEPT, How.USER, root=root_key(3)))
    accepted, _ = transition(CHANGED, event(Act.ACCEPT, How.USER, root=OTHER))
    assert judge_outgoing(accepted, BOB, claim(root=OTHER)).state is TrustState.PINNED
    with pytest.raises(IdentityChanged):
        judge_outgoing(accepted, BOB, claim())


@pytest.mark.parametrize("same", [True, False])
def test_a_change_that_names_no_other_root_is_none(same):
    change = TrustEvent(
        act=Act.CHANGE,
        address=BOB,
        root_fp=ROOT.fingerprint if same else b"",
        how=How.DIRECTORY,
        unix=NOW,
    )
    with pytest.raises(UsageError, match="another root"):
        transition(PINNED, change)
    assert transition(PINNED, CHANGE)[0].lookup(BOB).rival == OTHER.fingerprint, "control"


def test_keeping_the_old_key_after_a_conflict_asks_for_a_new_verification():
    kept, _ = transition(CHANGED, event(Act.KEEP, How.USER))
    assert judge_outgoing(kept, BOB, claim()).state is TrustState.PINNED


def test_a_second_pin_keeps_the_date_of_the_first():
    later = TrustEvent(
        act=Act.PIN, how=How.CONTACT, address=BOB, root_fp=ROOT.fingerprint, unix=NOW + 99
    )
    after, _ = transition(PINNED, later)
    assert after.bindings[BOB] == PINNED.bindings[BOB]


def test_a_key_address_is_pinned_to_its_own_root_only():
    key = parse_address("key:" + ROOT.fingerprint.hex())
    with pytest.raises(UsageError):
        transition(TrustBook(), event(Act.PIN, How.LINK, key, OTHER))
    with pytest.raises(UsageError):
        transition(TrustBook(), event(Act.PIN, How.LINK, ANONYMOUS))
    with pytest.raises(UsageError):
        transition(TrustBook(), event(Act.PIN, How.LINK, root=None))


# ------------------------------------------------------------------ cards and floors


def test_a_floor_is_found_by_every_address_of_the_card_before_any_root_is_known():
    card = str(BOB)
    known = book(
        event(Act.RAISE_FLOOR, How.OUTGOING_CALL, root=None),
        event(Act.ADD_TO_CARD, How.USER, BOB_XMPP, None, card=card),
    )
    assert known.floor(BOB) is known.floor(BOB_XMPP) is Floor.E2EE
    assert known.floor(CAROL) is Floor.NONE
    lifted, entry = transition(known, event(Act.LIFT_FLOOR, How.USER, BOB_XMPP, None))
    assert lifted.floor(BOB) is entry.floor is Floor.NONE


def test_forgetting_a_key_leaves_the_floor():
    known = book(PIN, event(Act.RAISE_FLOOR, How.USER), event(Act.FORGET, How.USER))
    assert known.lookup(BOB) is None
    assert known.floor(BOB) is Floor.E2EE


def test_joining_two_cards_keeps_the_stricter_floor():
    known = book(
        PIN,
        event(Act.RAISE_FLOOR, How.USER, CAROL, None),
        event(Act.ADD_TO_CARD, How.USER, CAROL, None, card=str(BOB)),
    )
    assert known.contact(BOB) == known.contact(CAROL)
    assert known.floor(BOB) is Floor.E2EE


def test_cards_are_not_invented_or_torn_apart():
    known = book(PIN, event(Act.ADD_TO_CARD, How.USER, BOB_XMPP, None, card=str(BOB)))
    with pytest.raises(UsageError):
        transition(known, event(Act.ADD_TO_CARD, How.USER, CAROL, None, card="nobody"))
    with_carol = book(event(Act.ADD_TO_CARD, How.USER, CAROL, None, card=str(CAROL)))
    assert with_carol.contact(CAROL) is not None
    both = transition(known, event(Act.ADD_TO_CARD, How.USER, CAROL, None, card=str(CAROL)))[0]
    with pytest.raises(UsageError):
        transition(both, event(Act.ADD_TO_CARD, How.USER, BOB_XMPP, None, card=str(CAROL)))


def test_a_claim_becomes_a_binding_through_the_card_only():
    statement = parsed(addresses=[BOB, BOB_XMPP, CAROL])
    assert card_events(PINNED, BOB, statement, unix=NOW) == ()
    known = book(PIN, event(Act.ADD_TO_CARD, How.USER, BOB_XMPP, None, card=str(BOB)))
    (pin,) = card_events(known, BOB, statement, unix=NOW)
    assert (pin.address, pin.how) == (BOB_XMPP, How.CARD)
    after, _ = transition(known, pin)
    assert after.state(BOB_XMPP, ROOT.fingerprint) is TrustState.PINNED
    assert after.lookup(CAROL) is None
    assert card_events(known, BOB, parsed(OTHER, addresses=[BOB_XMPP]), unix=NOW) == ()
    assert card_events(CHANGED, BOB, statement, unix=NOW) == ()


def test_a_bearer_comes_under_its_key_or_an_address_it_has_already():
    key = parse_address("key:" + ROOT.fingerprint.hex())
    found = judge_bearer(TrustBook(), ANONYMOUS, claim(key, own=key))
    assert (found.state, found.address) == (TrustState.UNKNOWN, key)
    assert judge_bearer(PINNED, BOB, claim()).state is TrustState.PINNED
    with pytest.raises(AddressNotOwned):
        judge_bearer(TrustBook(), BOB, claim())
    with pytest.raises(IdentityChanged):
        judge_bearer(PINNED, BOB, claim(root=OTHER))
    assert transition(TrustBook(), event(Act.PIN, How.BEARER, key))[0].lookup(key)
    with pytest.raises(UsageError):
        transition(TrustBook(), event(Act.PIN, How.BEARER))


def by_clinic(domain: str = "b.example") -> TrustEvent:
    clinic = root_key(101)
    return event(
        Act.PIN_ORGANISATION,
        How.QR,
        Address(Scheme.KEY, clinic.fingerprint.hex()),
        clinic,
        organisation=domain,
    )


def test_a_word_counts_where_somebody_gave_one_and_the_user_trusts_who_did():
    trusting = book(by_clinic())
    for found in (
        judge_outgoing(trusting, BOB, claim()),
        judge_outgoing(TrustBook(), BOB, claim(), vouched=True),
        judge_outgoing(book(by_clinic("c.example")), BOB, claim(), vouched=True),
    ):
        assert (found.state, found.how, found.since) == (TrustState.UNKNOWN, "", 0)
    found = judge_outgoing(trusting, BOB, claim(), vouched=True)
    assert (found.state, found.how, found.since) == (TrustState.PINNED, "organisation", 0)
    pinned = book(by_clinic(), event(Act.PIN, How.ORGANISATION))
    found = judge_outgoing(pinned, BOB, claim(), vouched=True)
    assert (found.state, found.how, found.since) == (TrustState.PINNED, "organisation", NOW)
    found = judge_outgoing(pinned, BOB, claim(), vouched=False)
    assert (found.state, found.how, found.since) == (TrustState.UNKNOWN, "", 0)
    found = judge_outgoing(pinned, BOB, claim(root=OTHER), vouched=True)
    assert (found.state, found.since) == (TrustState.PINNED, 0), "this root is new here"


def test_another_key_for_an_organisation_is_not_taken_in_its_place():
    trusting, other = book(by_clinic()), root_key(102)
    address = Address(Scheme.KEY, other.fingerprint.hex())
    stranger = replace(by_clinic(), root_fp=other.fingerprint, address=address)
    forget = replace(stranger, act=Act.FORGET_ORGANISATION, how=How.USER)
    with pytest.raises(IdentityChanged):
        transition(trusting, stranger)
    with pytest.raises(UsageError, match="with this key"):
        transition(trusting, forget)
    forgotten, _ = transition(trusting, replace(by_clinic(), act=forget.act, how=How.USER))
    assert transition(forgotten, stranger)[0].organisations["b.example"].root_fp == (
        other.fingerprint
    )


@pytest.mark.parametrize("domain", ["", "b.example"])
def test_an_organisation_is_pinned_under_a_domain_and_its_own_root(domain):
    wrong = replace(by_clinic(domain), address=BOB if domain else by_clinic().address)
    with pytest.raises(UsageError, match="named by its root"):
        transition(TrustBook(), wrong)
