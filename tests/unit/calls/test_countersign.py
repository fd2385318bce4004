"""Both ends sign one account of a call, and what happens when one does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecall.calls.countersign import (
    PATIENCE_SECONDS,
    CallRecord,
    Countersigner,
    Party,
    require_signature,
)
from securecall.errors import ProtocolError
from securecall.keys.device import DeviceKey

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
