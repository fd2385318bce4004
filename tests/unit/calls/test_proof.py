"""Who the other end is, as its call knows it: expected, proved, signed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from securecall.calls.proof import Proof
from securecall.calls.signaling import Answered, Ringing
from securecall.errors import UsageError
from securecall.media.description import Description, Keying

DESCRIPTION = Description(media=())


class Voucher:
    def __init__(self) -> None:
        self.received = []

    def sign(self, description):
        return "signed"

    def receive(self, values, description):
        self.received.append(values)


def context(**changes):
    return SimpleNamespace(
        **{
            "peer": "bob@example.com",
            "identity": SimpleNamespace(expected_peer="sip:bob@example.com", statement=b"ours"),
            "unaided": lambda: None,
            "engine": None,
            "approved": True,
            "voucher": None,
            "ticket": "qr",
        }
        | changes
    )


def test_before_anything_is_proved_the_peer_is_who_was_expected():
    proof = Proof(context(), outgoing=True)
    assert (proof.peer, proof.address) == ("bob@example.com", "sip:bob@example.com")
    assert proof.statements == (b"ours",)
    with pytest.raises(UsageError, match="words"):
        _ = proof.sas
    nameless = Proof(context(identity=None), outgoing=True)
    assert (nameless.address, nameless.statements) == ("", ())


def test_without_a_handshake_the_facts_are_those_of_the_keys_alone():
    proof = Proof(context(), outgoing=True)
    proof.keying = Keying.DTLS_SRTP
    facts = proof.facts(None, "PROFILE")
    assert (facts.keying, facts.srtp_profile) == (Keying.DTLS_SRTP, "PROFILE")
    assert (facts.sframe, facts.approved, facts.identity) == (False, False, None)
    engine = SimpleNamespace(keying=Keying.SDES, name="other")
    facts = Proof(context(engine=engine), outgoing=True).facts(None, "PROFILE")
    assert (facts.keying, facts.engine) == (Keying.SDES, "other")


def test_our_first_answer_is_signed_and_nothing_else():
    answer = Answered(DESCRIPTION)
    proof = Proof(context(voucher=Voucher()), outgoing=False)
    assert proof.signed(Ringing()) == Ringing()
    assert proof.signed(answer).identity == ("signed",)
    assert proof.signed(answer) == answer
    assert Proof(context(voucher=Voucher()), outgoing=True).signed(answer) == answer
    assert Proof(context(), outgoing=False).signed(answer) == answer


def test_what_the_peer_signed_is_checked_where_somebody_checks():
    voucher = Voucher()
    proof = Proof(context(voucher=voucher), outgoing=False)
    proof.receive(("theirs",), None)
    assert voucher.received == []
    proof.receive(("theirs",), DESCRIPTION)
    assert voucher.received == [("theirs",)]
    Proof(context(), outgoing=False).receive(("theirs",), DESCRIPTION)


def test_a_ticket_is_named_by_whoever_called_with_it_and_by_the_key_it_taught():
    bearer = SimpleNamespace(identity=SimpleNamespace(how="bearer"))
    other = SimpleNamespace(identity=SimpleNamespace(how="qr"))
    caller, callee = (Proof(context(), outgoing=outgoing) for outgoing in (True, False))
    assert caller.ticket(bearer) == caller.ticket(None) == "qr"
    told = [callee.ticket(security) for security in (bearer, other, None)]
    assert told == ["bearer", "", "qr"]
