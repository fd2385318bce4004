"""The dialogue's hashes, and the ticket proof it carries, against an independent calculation."""

import hashlib
import hmac

import pytest

from securecall.keys.handshake import CallRole
from securecall.keys.identity_dialogue import (
    DIALOGUE,
    binding,
    commitment,
    fingerprint_hash,
)
from securecall.keys.identity_messages import MessageType


def lp(data):
    return len(data).to_bytes(4, "big") + data


def label(text):
    return lp(b"securecall-id/1 " + text)


def test_commitment_and_binding_are_labelled_hashes():
    assert commitment(b"n" * 32) == hashlib.sha512(label(b"commit") + b"n" * 32).digest()
    assert binding(b"e" * 64) == hashlib.sha512(label(b"bind") + b"e" * 64).digest()


def test_fingerprints_are_hashed_sorted_without_repeats_and_in_canonical_case():
    expected = hashlib.sha512(b"sha-256 AB:CD\nsha-256 AB:CE\nsha-512 00:FF").digest()
    for lines in (
        ["sha-256 AB:CD", "sha-256 AB:CE", "sha-512 00:FF"],
        ["sha-512 00:ff", "SHA-256 ab:ce", "sha-256 AB:CD", "sha-256 AB:CE"],
        iter(["SHA-512 00:FF", "sha-256 ab:ce ", "Sha-256  AB:CD", "sha-256 AB:CD"]),
    ):
        assert fingerprint_hash(lines) == expected
    assert fingerprint_hash(["sha-256 AB:CD"]) != expected


@pytest.mark.parametrize("callee_is_client", [True, False])
def test_the_callee_identifies_itself_first_whichever_tls_role_it_has(callee_is_client):
    caller = DIALOGUE[not callee_is_client, CallRole.CALLER]
    saw_identity = False
    for awaited, sent in caller:
        saw_identity = saw_identity or awaited is MessageType.IDENTITY
        if MessageType.IDENTITY in sent:
            assert saw_identity
            break
    else:
        raise AssertionError("the caller never identifies itself")


@pytest.mark.parametrize("key", DIALOGUE)
def test_nobody_says_done_before_it_has_seen_and_checked_everything(key):
    client, _ = key
    seen = set()
    for awaited, sent in DIALOGUE[key]:
        seen.add(awaited)
        if MessageType.DONE in sent:
            needed = {MessageType.IDENTITY}
            needed |= {MessageType.NONCE} if client else {MessageType.COMMIT, MessageType.REVEAL}
            assert needed <= seen


def test_the_ticket_proof_is_the_one_the_specification_writes_down():
    from securecall.keys.ticket import proof
    from securecall.secret import Secret

    data = label(b"ticket") + b"b" * 64 + b"\x01"
    expected = hmac.new(b"s" * 32, data, hashlib.sha512).digest()
    assert proof(Secret(b"s" * 32), b"b" * 64, CallRole.CALLER) == expected
