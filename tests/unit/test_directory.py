from __future__ import annotations

import time

import pytest

from securecall.address import parse_address
from securecall.directory import Directory, Published
from securecall.errors import (
    AddressNotOwned,
    IdentityChanged,
    Reason,
    Revoked,
    SecurityError,
    StatementInvalid,
)
from securecall.keys.statement import StatementChange
from securecall.keys.succession import build_succession
from securecall.keys.trust import Act, How, TrustState
from tests.forge_devices import BOB, EVE, contacts_at, own_statement
from tests.forge_statement import root_key


@pytest.fixture
def contacts(tmp_path):
    found = contacts_at(tmp_path / "alice")
    yield found
    found.store.close()


def test_adding_a_contact_pins_what_is_published_there(contacts):
    learned = Directory(contacts).learn(BOB, own_statement())
    assert (learned.change, learned.state, learned.first) == (
        StatementChange.FIRST,
        TrustState.PINNED,
        True,
    )
    found = contacts.find(BOB)
    assert (found.state, found.how, found.root_fp) == (
        TrustState.PINNED,
        How.DIRECTORY.value,
        root_key(2).fingerprint,
    )


def test_refreshing_renews_the_statement_and_keeps_the_pin(contacts):
    directory = Directory(contacts)
    directory.learn(BOB, own_statement(age=100))
    learned = directory.learn(BOB, own_statement())
    assert (learned.change, learned.first) == (StatementChange.NEWER, False)
    assert len(contacts.store.audit()) == 1


def test_another_key_is_a_conflict_that_is_kept_and_told(contacts):
    directory = Directory(contacts)
    directory.learn(BOB, own_statement())
    for _ in range(2):
        with pytest.raises(IdentityChanged):
            directory.learn(BOB, own_statement(3))
    (conflict,) = contacts.conflicts()
    assert (conflict.contact.address, conflict.rival, conflict.how) == (
        BOB,
        root_key(3).fingerprint,
        "directory",
    )
    assert conflict.since > 0
    assert len(contacts.store.audit()) == 2
    with pytest.raises(IdentityChanged):  # though the first key is back, our user has to decide
        directory.learn(BOB, own_statement())


def test_what_is_published_must_claim_where_it_is_published(contacts):
    with pytest.raises(AddressNotOwned):
        Directory(contacts).learn(EVE, own_statement())
    assert contacts.all() == ()


def test_nothing_is_learned_from_our_own_key_or_a_barred_one(contacts):
    directory = Directory(contacts)
    with pytest.raises(SecurityError) as refused:
        directory.learn(contacts.own_key_address, contacts.statement)
    assert refused.value.reason is Reason.SELF_IDENTITY
    contacts.apply(contacts.event(Act.REVOKE, BOB, root_key(2).fingerprint, How.USER))
    with pytest.raises(Revoked):
        directory.learn(BOB, own_statement())
    with pytest.raises(StatementInvalid):
        directory.learn(BOB, b"{}")


def test_what_comes_unasked_renews_but_pins_nothing(contacts):
    directory = Directory(contacts)
    assert directory.notice(BOB, own_statement()) is Published.STRANGER
    assert contacts.all() == ()
    first = own_statement(age=100)
    directory.learn(BOB, first)
    assert directory.notice(BOB, first) is Published.SAME
    newer = own_statement()
    assert directory.notice(BOB, newer) is Published.NEWER
    assert directory.notice(BOB, own_statement(3)) is Published.OTHER_KEY
    assert contacts.conflicts() == ()
    with pytest.raises(SecurityError) as refused:
        directory.notice(BOB, first)
    assert refused.value.reason is Reason.ROLLBACK


def test_anothers_succession_at_his_address_is_told_as_another_key(contacts):
    directory, now = Directory(contacts), int(time.time())
    directory.learn(BOB, own_statement())
    directory.learn(EVE, own_statement(3, address=EVE))
    step = build_succession(root_key(3), root_key(4), iat=now)
    pushed = own_statement(4, successions=(step,))  # Eve's, which claims his address
    assert directory.notice(BOB, pushed) is Published.OTHER_KEY
    assert contacts.find(BOB).root_fp == root_key(2).fingerprint
    assert contacts.conflicts() == ()
    assert contacts.find(EVE).root_fp == root_key(4).fingerprint  # her old root did sign that
    # again, when her pin has moved: the same
    assert directory.notice(BOB, pushed) is Published.OTHER_KEY
    # the control: his own is what it says
    step = build_succession(root_key(2), root_key(5), iat=now)
    assert directory.notice(BOB, own_statement(5, successions=(step,))) is Published.SUCCESSOR
    assert contacts.find(BOB).root_fp == root_key(5).fingerprint


def test_two_statements_under_one_number_are_told_and_kept_as_evidence(contacts):
    directory = Directory(contacts)
    one = own_statement(age=100)
    directory.learn(BOB, one)
    other = own_statement(age=100, revoked=("x",))
    assert directory.notice(BOB, other) is Published.FORK
    assert contacts.store.forked_statement(root_key(2).fingerprint) in (one, other)


def test_an_address_that_its_owner_gave_up_is_told(contacts):
    directory = Directory(contacts)
    directory.learn(BOB, own_statement(age=100))
    with pytest.raises(AddressNotOwned):
        directory.notice(BOB, own_statement(address=EVE))


def test_a_person_has_addresses_of_both_networks_on_one_card(contacts):
    sip = parse_address("sip:bob@b.example")
    contacts.apply(contacts.event(Act.PIN, sip, root_key(2).fingerprint, How.FIRST_CALL))
    card = contacts.add_address(sip, BOB)
    assert card.state is TrustState.UNKNOWN  # claimed by nobody yet
    assert contacts.find(sip).addresses == (sip, BOB)
    assert Directory(contacts).learn(BOB, own_statement()).state is TrustState.PINNED
    assert contacts.find(BOB).addresses == (sip, BOB)


def test_a_claimed_address_on_the_card_is_held_to_its_key(contacts):
    sip = parse_address("sip:bob@b.example")
    Directory(contacts).learn(BOB, own_statement(address=BOB))
    contacts.add_address(BOB, sip)
    assert not contacts.is_pinned(sip)  # the statement does not claim it
    with_both = parse_address("xmpp:bobby@b.example")
    Directory(contacts).learn(with_both, own_statement(4, address=with_both))
    assert contacts.find(with_both).how == How.DIRECTORY.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bob@b.example", ["xmpp:bob@b.example"]),
        ("carol@c.example", ["sip:carol@c.example", "xmpp:carol@c.example"]),
        ("sip:bob@b.example", ["sip:bob@b.example"]),
    ],
)
def test_an_address_without_a_scheme_finds_whom_we_know(contacts, text, expected):
    Directory(contacts).learn(BOB, own_statement())
    assert [str(address) for address in contacts.addresses_for(text)] == expected


def test_an_address_known_under_both_schemes_is_both(contacts):
    Directory(contacts).learn(BOB, own_statement())
    sip = parse_address("sip:bob@b.example")
    contacts.apply(contacts.event(Act.PIN, sip, root_key(5).fingerprint, How.FIRST_CALL))
    assert contacts.addresses_for("bob@b.example") == (sip, BOB)
