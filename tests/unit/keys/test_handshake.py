"""The identity handshake as a whole: what it does not begin, when it is silent, what it wipes."""

from __future__ import annotations

import pytest

from securecall.errors import IdentityMismatch, SecurityError, UsageError
from securecall.keys.handshake import (
    LIMIT,
    STREAMS,
    CallRole,
    HandshakeFailed,
    IdentityHandshake,
)
from securecall.keys.identity_dialogue import Dialogue
from securecall.secret import Secret
from tests.pairs.keys.link import NOW, Link, Person, accept_all, make_pair

ALICE, BOB = Person.named("alice"), Person.named("bob")


def handshake(**changes) -> IdentityHandshake:
    arguments = {
        "tls_client": True,
        "call_role": CallRole.CALLER,
        "statement": ALICE.statement,
        "device": ALICE.device,
        "own_address": ALICE.address,
        "expected_peer": BOB.address,
        "fp_sent": bytes(64),
        "fp_received": bytes(64),
        "outer_exporter": Secret(bytes(range(64))),
        "judge": accept_all,
        "nonce": bytes(32),
        "unix": NOW,
    }
    return IdentityHandshake(**(arguments | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": bytes(31)},
        {"nonce": bytes(33)},
        {"expected_peer": ""},
        {"call_role": CallRole.CALLEE, "ticket_secret": Secret(bytes(range(32)))},
        {"statement": b"no statement"},
        {"statement": b'{"payload":"e30"}'},
    ],
)
def test_what_cannot_be_meant_is_not_begun(changes):
    with pytest.raises(UsageError):
        handshake(**changes)


def test_before_it_begins_it_waits_for_nothing_and_says_nothing():
    ours = handshake()
    assert ours.deadline is None
    assert ours.timeout(1e9) == ()
    assert ours.start(5.0)
    assert ours.deadline is not None
    assert ours.deadline <= 5.0 + LIMIT


def test_the_limit_counts_from_the_first_datagram_and_ends_it_once():
    ours = handshake(begun=1.0)
    assert ours.start(9.0)
    assert not any(isinstance(o, HandshakeFailed) for o in ours.timeout(1.0 + LIMIT - 0.001))
    (failed,) = ours.timeout(1.0 + LIMIT)
    assert isinstance(failed, HandshakeFailed)
    assert not failed.guess_burned
    assert ours.deadline is None
    assert ours.timeout(1e9) == ours.peer_closed(1e9) == ours.receive(b"\x5c", 1e9) == ()


def test_foreign_records_are_somebody_elses():
    ours = handshake(foreign=(0x5D,))
    assert ours.start(0.0)
    assert ours.receive(b"\x5dreport", 0.0) == ()
    (failed,) = ours.receive(b"\x5ereport", 0.0)
    assert isinstance(failed, HandshakeFailed)


def test_a_result_gives_each_stream_its_key_and_wipes_them_all():
    caller, callee = make_pair(ALICE, BOB, caller_is_client=True)
    Link(caller, callee).run()
    assert caller.complete and callee.complete
    ours, theirs = caller.complete.result, callee.complete.result
    keys = set()
    for role in CallRole:
        for stream in range(STREAMS):
            assert ours.sframe_key(role, stream) == theirs.sframe_key(role, stream)
            keys.add(ours.sframe_key(role, stream).reveal())
        for stream in (-1, STREAMS):
            with pytest.raises(UsageError):
                ours.sframe_key(role, stream)
    assert len(keys) == 2 * STREAMS
    assert ours.peer_device_id == BOB.device.id
    ours.wipe()
    secrets = [ours.sas_secret, *(ours.sframe_key(r, t) for r in CallRole for t in range(STREAMS))]
    for secret in secrets:
        with pytest.raises(UsageError):
            secret.reveal()
    assert ours.peer.root_fp == BOB.root.fingerprint


def test_no_key_is_exported_before_both_are_done():
    begun = handshake()
    with pytest.raises(SecurityError, match="before both DONEs"):
        begun._finish(begun._require_tls(), NOW)


def test_nobody_is_the_peer_before_it_identified_itself():
    dialogue = Dialogue(
        handshake()._facts, peer_key=bytes(32), nonce=bytes(32), unix=NOW, judge=accept_all
    )
    with pytest.raises(IdentityMismatch):
        _ = dialogue.peer


def test_who_is_done_waits_five_seconds_for_the_peer_to_be_and_no_longer():
    caller, callee = make_pair(ALICE, BOB, caller_is_client=True)
    Link(caller, callee).run(until=1.0)
    for end in (caller, callee):
        over = end.completed_at + 5.0
        assert end.identity.deadline == over
        assert end.identity.timeout(over - 0.001) == ()
        assert end.identity.deadline == over
        assert end.identity.timeout(over) == ()
        assert end.identity.deadline is None
