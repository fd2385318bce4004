"""Whoever would have a clinic's word without the clinic, or the clinic say more than it may.

Each control is the same peer with the word that the clinic really gives, or a client that asks
nobody whose word it is.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from securecall.address import Address, parse_address
from securecall.errors import (
    AddressNotOwned,
    IdentityChanged,
    IdentityMismatch,
    Revoked,
    SecurityError,
    StatementInvalid,
    UsageError,
)
from securecall.keys.organisation import (
    PROTECTED,
    OrganisationCode,
    build_countersignature,
    build_organisation_code,
    parse_countersignature,
)
from securecall.keys.statement import Statement, parse_statement
from securecall.keys.trust import (
    Act,
    How,
    TrustState,
    card_events,
    judge_incoming,
    judge_outgoing,
)
from tests.forge_devices import contacts_at, own_statement
from tests.forge_organisation import ANOTHER, BOB, CLINIC, CODE, DOMAIN, payload, word
from tests.forge_statement import DAY, compact, root_key, signed

pytestmark = pytest.mark.attack

ANNA = parse_address("sip:anna@clinic.example")
ELSEWHERE = parse_address("sip:bob@other.example")
TYPE = b"securecall-org+jws"


@dataclass
class Claim:
    statement: Statement
    own_address: str


class Alice:
    """She trusts the clinic, and is called by, or calls, somebody who shows a word of it."""

    def __init__(self, contacts):
        self.contacts = contacts
        self.organisations = contacts.organisations
        self.unix = int(time.time())

    def word(self, **changes):
        return word(unix=self.unix, **changes)

    def judge(self, said, *, person=2, address=BOB, incoming=False):
        """What a peer with this root is to her, who shows these bytes."""
        raw = own_statement(person, address=address)
        statement = parse_statement(raw, unix=self.unix)
        heard = self.organisations.hear(address, statement.root_fp, said)
        judge = judge_incoming if incoming else judge_outgoing
        claim = Claim(statement, str(address))
        found = judge(self.contacts.book, address, claim, vouched=heard.vouched)
        self.organisations.learn(address, statement.root_fp, said, relied=heard.vouched)
        return found

    def pin(self, person, how, address: Address = BOB):
        """She knows this root of theirs by other means, or by the clinic's word."""
        root_fp = root_key(person).fingerprint
        self.contacts.apply(self.contacts.event(Act.PIN, address, root_fp, how))


@pytest.fixture
def alice(tmp_path):
    contacts = contacts_at(tmp_path / "alice")
    contacts.organisations.trust(CODE)
    yield Alice(contacts)
    contacts.store.close()


def test_the_control_a_clinics_word_makes_its_staff_pinned_and_no_more(alice):
    for incoming in (True, False):
        found = alice.judge(alice.word(), incoming=incoming)
        assert (found.state, found.how) == (TrustState.PINNED, "organisation")
    assert alice.contacts.book.lookup(BOB) is None  # judging writes nothing
    assert alice.judge(b"").state is TrustState.PINNED  # it was said, and holds until it expires


def test_a_forged_word_is_refused(alice):
    genuine = alice.word()
    body, _, signature = genuine.rpartition(b'"signature":"')
    flipped = (
        body
        + b'"signature":"'
        + signature.replace(signature[:1], b"A" if signature[:1] != b"A" else b"B", 1)
    )
    with pytest.raises(StatementInvalid):
        alice.judge(flipped)
    assert alice.judge(genuine).state is TrustState.PINNED


def test_another_root_under_the_clinics_name_is_refused(alice):
    false = alice.word(root=ANOTHER)
    # whoever asks only whether a word is signed takes it
    assert parse_countersignature(false, unix=alice.unix).domain == DOMAIN
    with pytest.raises(IdentityChanged):
        alice.judge(false)
    with pytest.raises(IdentityChanged):  # nor does it come to be trusted beside the true one
        alice.organisations.trust(build_organisation_code(OrganisationCode(DOMAIN, ANOTHER.public)))
    assert alice.judge(alice.word()).state is TrustState.PINNED


def test_a_word_for_somebody_elses_key_or_address_is_refused(alice):
    with pytest.raises(IdentityMismatch):
        alice.judge(alice.word(person=3))
    with pytest.raises(AddressNotOwned):
        alice.judge(alice.word(address=ANNA))
    assert alice.judge(alice.word(person=3), person=3).state is TrustState.PINNED
    assert alice.judge(alice.word(address=ANNA), address=ANNA).state is TrustState.PINNED


def test_whoever_answers_in_the_place_of_a_vouched_member_is_held_to_the_floor_of_a_pin(
    alice, monkeypatch
):
    assert not alice.contacts.is_pinned(BOB)  # the control: a stranger may be anybody
    alice.judge(alice.word(), incoming=True)
    assert alice.contacts.is_pinned(BOB)
    assert alice.judge(b"", person=3).state is TrustState.UNKNOWN  # below what a pin requires
    assert not alice.contacts.is_pinned(ANNA)
    later = alice.unix + 8 * DAY
    monkeypatch.setattr("securecall.organisations.unix_now", lambda: later)
    assert not alice.contacts.is_pinned(BOB)


def test_the_clinic_cannot_speak_for_another_domain(alice):
    edited = payload() | {
        "addr": str(ELSEWHERE), "seq": alice.unix * 1000, "iat": alice.unix, "exp": alice.unix + DAY
    }  # fmt: skip
    with pytest.raises(StatementInvalid):
        parse_countersignature(signed(compact(edited), CLINIC, header=PROTECTED), unix=alice.unix)
    under_its_name = alice.word(address=ELSEWHERE)  # as that domain's, by the clinic's key
    assert alice.judge(under_its_name, address=ELSEWHERE).state is TrustState.UNKNOWN
    with pytest.raises(UsageError):
        alice.pin(2, How.ORGANISATION, ELSEWHERE)
    code = build_organisation_code(OrganisationCode("other.example", CLINIC.public))
    alice.organisations.trust(code)  # the control: where she trusts it for that, too
    assert alice.judge(under_its_name, address=ELSEWHERE).state is TrustState.PINNED


def test_an_expired_word_counts_for_nothing(alice):
    stale = word(unix=alice.unix - 8 * DAY)
    assert alice.judge(stale).state is TrustState.UNKNOWN
    alice.pin(2, How.ORGANISATION)  # nor does what was pinned by it
    assert alice.judge(stale).state is TrustState.UNKNOWN
    assert alice.contacts.find(BOB).state is TrustState.UNKNOWN
    assert alice.judge(alice.word()).state is TrustState.PINNED
    assert alice.contacts.find(BOB).state is TrustState.PINNED


def test_a_withdrawn_word_that_is_shown_again_is_refused(alice):
    before = alice.word()
    assert alice.judge(before).state is TrustState.PINNED
    alice.pin(2, How.ORGANISATION)
    alice.organisations.take(alice.word(number=1, withdrawn=True))
    assert alice.contacts.book.lookup(BOB) is None
    for replayed in (before, b"", alice.word(number=2)):
        with pytest.raises(Revoked):
            alice.judge(replayed)
    with pytest.raises(Revoked):  # taking it in as a file does not help, either
        alice.organisations.take(before)
    assert alice.judge(alice.word(number=3, person=4), person=4).state is TrustState.PINNED


def test_a_withdrawal_is_remembered_though_the_clinic_was_forgotten_in_between(alice):
    alice.organisations.take(alice.word(number=1, withdrawn=True))
    alice.organisations.forget(DOMAIN)
    assert alice.judge(alice.word()).state is TrustState.UNKNOWN
    alice.organisations.trust(CODE)
    with pytest.raises(Revoked):
        alice.judge(alice.word())


def test_an_older_word_for_another_root_is_a_rollback(alice):
    older = alice.word(person=3)
    assert alice.judge(alice.word(number=1)).state is TrustState.PINNED
    with pytest.raises(SecurityError) as refused:
        alice.judge(older, person=3)
    assert refused.value.reason.value == "rollback"
    assert alice.judge(alice.word(person=3, number=2), person=3).state is TrustState.PINNED


def test_what_was_signed_as_something_else_is_no_word(alice):
    fresh = payload() | {"seq": alice.unix * 1000, "iat": alice.unix, "exp": alice.unix + DAY}
    for header in (
        PROTECTED.replace(TYPE, b"securecall-identity+jws"),
        PROTECTED.replace(TYPE, b"passport"),
        PROTECTED.replace(b"Ed25519", b"none"),
        PROTECTED.replace(b"Ed25519", b"EdDSA"),
        PROTECTED[:-1] + b',"crit":[]}',
        PROTECTED.replace(b":", b": "),
    ):
        with pytest.raises(StatementInvalid):
            alice.judge(signed(compact(fresh), CLINIC, header=header))
    assert alice.judge(signed(compact(fresh), CLINIC, header=PROTECTED)).state is TrustState.PINNED


def test_an_identity_statement_is_no_word_and_a_word_no_statement(alice):
    with pytest.raises(StatementInvalid):
        alice.judge(own_statement(2, address=BOB))
    with pytest.raises(StatementInvalid):
        parse_statement(alice.word(), unix=alice.unix)


def test_a_member_that_stands_twice_is_refused(alice):
    fresh = payload() | {"seq": alice.unix * 1000, "iat": alice.unix, "exp": alice.unix + DAY}
    once = compact(fresh)
    for member in ("v", "root", "addr", "exp"):
        twice = compact({member: fresh[member]})[:-1] + b"," + once[1:]
        with pytest.raises(StatementInvalid, match="twice"):
            alice.judge(signed(twice, CLINIC, header=PROTECTED))
    assert alice.judge(signed(once, CLINIC, header=PROTECTED)).state is TrustState.PINNED


@pytest.mark.parametrize(
    ("how", "verified"), [(How.FIRST_CALL, False), (How.DIRECTORY, False), (How.CONTACT, True)]
)
def test_the_clinic_replaces_nobody_alice_knows_herself(alice, how, verified):
    alice.pin(2, how)
    if verified:
        root_fp = root_key(2).fingerprint
        alice.contacts.apply(alice.contacts.event(Act.VERIFY, BOB, root_fp, How.SAS))
    before = alice.contacts.book
    substitute = alice.word(person=3)
    with pytest.raises(IdentityChanged):
        alice.judge(substitute, person=3)
    with pytest.raises(IdentityChanged):
        alice.pin(3, How.ORGANISATION)
    with pytest.raises(UsageError):  # nor does it take that key away
        alice.contacts.apply(
            alice.contacts.event(Act.FORGET, BOB, root_key(2).fingerprint, How.ORGANISATION)
        )
    alice.organisations.take(alice.word(number=1, withdrawn=True))
    assert alice.contacts.book == before
    known = alice.judge(b"")
    assert known.state is (TrustState.VERIFIED if verified else TrustState.PINNED)


def test_the_control_whom_alice_knows_by_the_clinic_alone_the_clinic_replaces(alice):
    alice.judge(alice.word())
    alice.pin(2, How.ORGANISATION)
    with pytest.raises(IdentityChanged):  # but nobody else does
        alice.judge(b"", person=3)
    assert alice.judge(alice.word(person=3, number=1), person=3).state is TrustState.PINNED


def test_compared_words_make_a_key_alices_own_knowledge(alice):
    alice.judge(alice.word())
    alice.pin(2, How.ORGANISATION)
    root_fp = root_key(2).fingerprint
    alice.contacts.apply(alice.contacts.event(Act.VERIFY, BOB, root_fp, How.SAS))
    with pytest.raises(IdentityChanged):
        alice.judge(alice.word(person=3, number=1), person=3)
    assert alice.judge(b"").state is TrustState.VERIFIED


def test_a_clinics_word_extends_to_no_other_address_of_the_card(alice):
    raw = own_statement(2, address=BOB)
    alice.pin(2, How.ORGANISATION)
    statement = parse_statement(raw, unix=alice.unix)
    assert card_events(alice.contacts.book, BOB, statement, unix=alice.unix) == ()


def test_without_the_clinic_trusted_its_words_are_not_even_read(alice):
    alice.organisations.forget(DOMAIN)
    for said in (alice.word(), b"garbage"):
        assert alice.judge(said).state is TrustState.UNKNOWN
    with pytest.raises(UsageError):
        alice.organisations.take(alice.word())
    with pytest.raises(UsageError):
        alice.pin(2, How.ORGANISATION)


@pytest.fixture
def bob(tmp_path):
    """He works at the clinic, and shows its word to others."""
    contacts = contacts_at(tmp_path / "bob")
    contacts.own_address(BOB)
    yield contacts
    contacts.store.close()


def about(contacts, root, number=0, *, withdrawn=False) -> bytes:
    unix = int(time.time())
    return build_countersignature(
        root,
        domain=DOMAIN,
        root_fp=contacts.root_fp,
        address=BOB,
        seq=unix * 1000 + number,
        iat=unix,
        exp=unix + DAY,
        withdrawn=withdrawn,
    )


@pytest.mark.parametrize("trusts", [True, False])
def test_nobody_else_replaces_or_withdraws_what_the_clinic_says_of_us(bob, trusts):
    ours = bob.organisations
    if trusts:
        ours.trust(CODE)
    genuine = about(bob, CLINIC)
    ours.take(genuine)
    ahead = 1000 * (DAY - 60)  # were it taken, nothing of the clinic's would be for a day
    for false in (about(bob, ANOTHER, ahead), about(bob, ANOTHER, ahead, withdrawn=True)):
        with pytest.raises(IdentityChanged):
            ours.take(false)
        assert ours.own_word(BOB) == genuine
    newer = about(bob, CLINIC, 1)  # the control: the clinic does both
    ours.take(newer)
    assert ours.own_word(BOB) == newer
    ours.take(about(bob, CLINIC, 2, withdrawn=True))
    assert ours.own_word(BOB) == b""


def test_a_first_word_by_nobody_we_know_names_its_key_and_gives_way_to_the_clinic_we_trust(bob):
    ours = bob.organisations
    false, genuine = about(bob, ANOTHER, 1000 * (DAY - 60)), about(bob, CLINIC)
    assert ours.take(false).organisation_fp == ANOTHER.fingerprint
    with pytest.raises(IdentityChanged):  # who was first is kept until the user says who is right
        ours.take(genuine)
    ours.trust(CODE)
    ours.take(genuine)
    assert ours.own_word(BOB) == genuine
    with pytest.raises(IdentityChanged):
        ours.take(false)
    with pytest.raises(UsageError, match="newer"):
        ours.take(about(bob, CLINIC, -60_000))


def test_where_the_clinic_is_trusted_not_even_the_first_word_is_anybody_elses(bob):
    bob.organisations.trust(CODE)
    with pytest.raises(IdentityChanged):
        bob.organisations.take(about(bob, ANOTHER))
    assert bob.organisations.own_word(BOB) == b""


def test_what_rested_on_a_clinic_goes_with_it(alice):
    alice.judge(alice.word())
    alice.pin(2, How.ORGANISATION)
    alice.pin(3, How.CONTACT, ANNA)
    alice.organisations.forget(DOMAIN)
    assert alice.contacts.book.lookup(BOB) is None
    assert alice.contacts.book.lookup(ANNA) is not None


def test_a_distrusted_clinic_is_not_trusted_again(alice):
    alice.organisations.forget(DOMAIN)
    key = Address(parse_address(f"key:{CLINIC.fingerprint.hex()}").scheme, CLINIC.fingerprint.hex())
    distrust = alice.contacts.event(Act.DISTRUST, key, CLINIC.fingerprint, How.USER)
    alice.contacts.apply(distrust)
    with pytest.raises(SecurityError):
        alice.organisations.trust(CODE)
