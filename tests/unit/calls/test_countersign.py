"""Both ends sign one account of a call, and what happens when one does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecall.calls.countersign import (
    MOST_CORRECTIONS,
    MOST_REFUSED,
    PATIENCE_SECONDS,
    CallRecord,
    Countersigner,
    Party,
    Said,
    parse_said,
    require_signature,
)
from securecall.errors import ProtocolError
from securecall.keys.device import DeviceKey
from securecall.policy import SecurityLevel

ALICE, BOB, EVE = (DeviceKey.generate(name) for name in ("alice", "bob", "eve"))


def party(key: DeviceKey) -> Party:
    return Party(
        address=f"sip:{key.id}@example.com",
        root_fp=bytes(64),
        device_id=key.id,
        device_public=key.public,
    )


RECORD = CallRecord(
    caller=party(ALICE),
    callee=party(BOB),
    bind=bytes(range(64)),
    srtp_profile="SRTP_AEAD_AES_256_GCM",
    group="X25519MLKEM768",
)


def pair(record: CallRecord = RECORD) -> tuple[Countersigner, Countersigner]:
    return (
        Countersigner(RECORD, we_call=True, sign=ALICE.sign),
        Countersigner(record, we_call=False, sign=BOB.sign),
    )


def test_both_ends_hold_both_signatures():
    alice, bob = pair()
    (proposal,) = alice.propose(began=1000, lasted=50, now=0.0)
    (agreement,) = bob.receive(proposal, began=1001, lasted=49)
    assert alice.receive(agreement, began=1000, lasted=50) == ()
    for end in (alice, bob):
        assert end.outcome is not None
        assert end.outcome.theirs is not None
        assert (end.outcome.record.began, end.outcome.record.lasted) == (1000, 50)
    assert alice.outcome.ours == bob.outcome.theirs  # type: ignore[union-attr] # asserted above
    require_signature(alice.outcome.record, BOB.public, alice.outcome.theirs)  # type: ignore[union-attr,arg-type] # asserted above


def test_a_lost_answer_is_repeated_and_the_same():
    alice, bob = pair()
    (proposal,) = alice.propose(began=1000, lasted=50, now=0.0)
    first = bob.receive(proposal, began=1000, lasted=50)
    (again,) = alice.expire(now=0.25)
    assert again == proposal
    assert bob.receive(again, began=1000, lasted=90) == first


def test_a_silent_peer_is_stated():
    alice, _ = pair()
    alice.propose(began=1000, lasted=50, now=0.0)
    now = 0.0
    while alice.deadline is not None:
        now = alice.deadline
        alice.expire(now=now)
    assert now <= PATIENCE_SECONDS + 0.25
    assert alice.outcome is not None
    assert alice.outcome.theirs is None
    assert "did not answer" in alice.outcome.why


@pytest.mark.parametrize(("began", "lasted"), [(1000, 200), (1000 + 90_000, 50)])
def test_times_that_disagree_are_refused_and_stated(began, lasted):
    alice, bob = pair()
    (proposal,) = alice.propose(began=1000, lasted=50, now=0.0)
    (refusal,) = bob.receive(proposal, began=began, lasted=lasted)
    alice.receive(refusal, began=1000, lasted=50)
    assert alice.outcome is not None
    assert alice.outcome.theirs is None
    assert bob.outcome is None


@pytest.mark.parametrize(
    "change",
    [
        {"bind": bytes(64)},
        {"srtp_profile": "SRTP_AES128_CM_SHA1_80"},
        {"caller": replace(party(ALICE), root_fp=b"\1" * 64)},
        {"callee": party(EVE)},
        {"group": "X25519"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_account_that_differs_in_any_fact_does_not_verify(change):
    alice, bob = pair(replace(RECORD, **change))
    (proposal,) = alice.propose(began=1000, lasted=50, now=0.0)
    with pytest.raises(ProtocolError):
        bob.receive(proposal, began=1000, lasted=50)
    assert bob.outcome is None


def test_a_strangers_signature_is_refused():
    mallory = Countersigner(RECORD, we_call=True, sign=EVE.sign)
    bob = pair()[1]
    (forged,) = mallory.propose(began=1000, lasted=50, now=0.0)
    with pytest.raises(ProtocolError):
        bob.receive(forged, began=1000, lasted=50)


def test_both_hanging_up_at_once_end_with_both_signatures():
    alice, bob = pair()
    (a,) = alice.propose(began=1000, lasted=50, now=0.0)
    (b,) = bob.propose(began=1000, lasted=51, now=0.0)
    (to_bob,) = alice.receive(b, began=1000, lasted=50)
    (to_alice,) = bob.receive(a, began=1000, lasted=51)
    alice.receive(to_alice, began=1000, lasted=50)
    bob.receive(to_bob, began=1000, lasted=51)
    assert alice.outcome is not None
    assert alice.outcome.theirs is not None
    assert bob.outcome is not None
    assert bob.outcome.theirs is not None


@pytest.mark.parametrize(
    "data", [b"", b"\x5d", b"\x5c\x01", b"\x5d\x00", b"\x5d\x01" + bytes(75), b"\x5d\x03\x00"]
)
def test_malformed_records_are_refused(data):
    with pytest.raises(ProtocolError):
        pair()[1].receive(data, began=1, lasted=1)


LEVELS = (SecurityLevel.E2EE, SecurityLevel.VERIFIED)


def talk(alice: Countersigner, bob: Countersigner, *messages: bytes) -> int:
    """Deliver messages to Bob, and what comes of them; returns how many were delivered."""
    waiting, count = [(bob, m) for m in messages], 0
    while waiting:
        to, message = waiting.pop(0)
        count += 1
        other = alice if to is bob else bob
        waiting += [(other, m) for m in to.receive(message, began=1000, lasted=50)]
    return count


@pytest.mark.parametrize("lost", [False, True], ids=["heard", "lost on the way"])
def test_both_sign_what_each_says_of_itself(lost):
    alice, bob = pair()
    told = alice.say(Said(level=LEVELS[0], refused=3))
    from_bob = bob.say(Said(level=LEVELS[1], compared=True, recorded=True))
    if not lost:
        for message in told:
            assert bob.receive(message, began=1000, lasted=1) == ()
        for message in from_bob:
            assert alice.receive(message, began=1000, lasted=1) == ()
    messages = talk(alice, bob, *alice.propose(began=1000, lasted=50, now=0.0))
    assert messages == (4 if lost else 2)  # what got lost costs one round trip
    for end in (alice, bob):
        assert end.outcome is not None
        assert end.outcome.theirs is not None
        record = end.outcome.record
        assert record.caller.said == Said(level=LEVELS[0], refused=3)
        assert record.callee.said == Said(level=LEVELS[1], compared=True, recorded=True)
        require_signature(record, ALICE.public, alice.outcome.ours)  # type: ignore[union-attr] # asserted above
        require_signature(record, BOB.public, bob.outcome.ours)  # type: ignore[union-attr] # asserted above


def test_nobody_signs_what_it_did_not_say():
    """A peer that quotes us wrongly, for whatever reason, is told what we say and gets nothing."""
    alice, bob = pair()
    _ = bob.say(Said(level=LEVELS[0]))
    for wrong in (Said(), Said(level=LEVELS[1]), Said(level=LEVELS[0], compared=True)):
        alice.heard = wrong
        (proposal,) = alice.propose(began=1000, lasted=50, now=0.0)
        (answer,) = bob.receive(proposal, began=1000, lasted=50)
        assert answer == bytes((0x5D, 4)) + Said(level=LEVELS[0]).packed()
        assert bob.outcome is None


def test_a_peer_that_changes_its_word_for_ever_is_followed_eight_times():
    alice, _ = pair()
    _ = alice.propose(began=1000, lasted=50, now=0.0)
    words = [bytes((0x5D, 4)) + Said(refused=n + 1).packed() for n in range(100)]
    signed = [alice.receive(word, began=1000, lasted=50) for word in words]
    assert sum(map(len, signed)) == MOST_CORRECTIONS


@pytest.mark.parametrize("packed", ["05000000", "00040000", "ffff0000"])
def test_a_level_or_flag_nobody_knows_is_refused(packed):
    alice, _ = pair()
    with pytest.raises(ProtocolError):
        alice.receive(bytes((0x5D, 4)) + bytes.fromhex(packed), began=1000, lasted=50)


def test_what_is_said_has_one_form_and_reads_back():
    for said in (Said(), Said(level=LEVELS[1], compared=True, recorded=True, refused=65535)):
        assert parse_said(said.packed()) == said
    assert parse_said(Said(refused=10**6).packed()).refused == MOST_REFUSED
