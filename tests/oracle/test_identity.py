"""The messages of the identity handshake: ours and the oracle's, on anything."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securecall.keys import ticket
from securecall.keys.identity import root_fingerprint
from securecall.keys.identity_dialogue import DIALOGUE, binding, commitment, fingerprint_hash
from securecall.keys.identity_messages import (
    CallRole,
    IdentityMessage,
    MessageType,
    build_frame,
    build_identity,
    parse_identity,
)
from securecall.keys.inner_tls import InnerTls
from securecall.keys.verification import safety_number, sas
from securecall.keys.wordlist import words
from securecall.secret import Secret
from securecall.testing.attacks.words import wire_order
from tests.oracle import identity as oracle
from tests.pairs.keys.link import End, Link, Person, make_pair

BYTES, DIGEST = st.binary(max_size=80), st.binary(min_size=64, max_size=64)
FEW = settings(max_examples=40)


@given(
    st.binary(min_size=1, max_size=80),
    st.text("azAZ09_-", min_size=1, max_size=64),
    st.sampled_from(CallRole),
    st.text(min_size=1, max_size=20),
    st.text(max_size=20),
    st.tuples(DIGEST, DIGEST, DIGEST),
    BYTES,
    st.sampled_from([b"", b"p" * 64]),
)
@FEW
def test_identity(statement, device_id, role, own, expected, digests, countersignature, proof):
    try:
        (own + expected).encode()
    except UnicodeEncodeError:
        return
    sent, received, bind = digests
    ours = IdentityMessage(
        statement=statement,
        device_id=device_id,
        call_role=role,
        own_address=own,
        expected_address=expected,
        fp_sent=sent,
        fp_received=received,
        bind=bind,
        countersignature=countersignature,
        ticket_proof=proof,
    )
    body = oracle.identity(
        statement=statement,
        device_id=device_id,
        role=int(role),
        own=own,
        expected=expected,
        fp_sent=sent,
        fp_received=received,
        bind=bind,
        countersignature=countersignature,
        proof=proof,
    )
    assert build_identity(ours) == body
    assert parse_identity(body) == ours
    frame = oracle.frame(oracle.IDENTITY, body)
    assert build_frame(MessageType.IDENTITY, body) == frame


@given(st.binary(min_size=32, max_size=32), DIGEST, BYTES, BYTES)
@FEW
def test_hashes_and_proofs(nonce, exporter, key, second):
    assert commitment(nonce) == oracle.commitment(nonce)
    assert binding(exporter) == oracle.bind(exporter)
    assert root_fingerprint(key, second) == oracle.H(
        oracle.L("root") + oracle.lp(key) + oracle.lp(second)
    )
    ours = ticket.proof(Secret(nonce), exporter, CallRole.CALLER)
    assert ours == oracle.ticket_proof(nonce, exporter)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["sha-256", "SHA-256", "sha-512"]), st.binary(min_size=1, max_size=4)
        ),
        min_size=1,
        max_size=5,
    ),
    st.booleans(),
)
@FEW
def test_fingerprints(found, upper):
    lines = [f"{a} {(v.hex(':').upper() if upper else v.hex(':'))}" for a, v in found]
    assert fingerprint_hash(lines) == oracle.fingerprints(lines)


@given(st.binary(min_size=8, max_size=8), DIGEST, DIGEST)
@FEW
def test_what_people_compare(eight, one, other):
    places, digits = oracle.sas(eight)
    ours = sas(eight)
    assert ours.words == tuple(words()[n] for n in places)
    assert ours.digits == digits
    if one != other:
        assert safety_number(one, other) == oracle.safety_number(one, other)


def test_who_says_what_when():
    for callee_is_client in (True, False):
        ours = wire_order(
            honest_is_client=True,
            honest_role=CallRole.CALLEE if callee_is_client else CallRole.CALLER,
        )
        theirs = [(who == "C", MessageType(kind)) for who, kind in oracle.order(callee_is_client)]
        assert sorted(ours) == sorted(theirs)
        for client in (True, False):  # what one end says, in its order
            assert [k for c, k in ours if c is client] == [k for c, k in theirs if c is client]
    assert len(DIALOGUE) == 4


@pytest.mark.parametrize("caller_is_client", [True, False])
def test_every_key_is_exported_under_the_label_and_context_of_the_specification(
    monkeypatch, caller_is_client
):
    asked, exporters = [], []
    export, handshake = InnerTls.export, End._handshake

    def recorded(tls, label, length, contexts):
        asked.extend((tls, label, length, context) for context in contexts)
        return export(tls, label, length, contexts)

    def begun(end, established):
        exporters.append(established.outer_exporter.reveal())
        return handshake(end, established)

    monkeypatch.setattr(InnerTls, "export", recorded)
    monkeypatch.setattr(End, "_handshake", begun)
    ends = make_pair(Person.named("alice"), Person.named("bob"), caller_is_client=caller_is_client)
    caller, callee = ends
    Link(caller, callee).run()
    assert caller.complete and callee.complete
    client, server = ends if caller_is_client else ends[::-1]
    (exporter,) = set(exporters)
    caller_body, callee_body = (end.identity._dialogue._own_identity for end in ends)
    expected = {("EXPORTER-securecall-sas-1", 8, client.nonce + server.nonce)} | {
        (
            "EXPORTER-securecall-sframe-1",
            32,
            oracle.sframe_context(
                exporter=exporter,
                nonce_client=client.nonce,
                nonce_server=server.nonce,
                caller=caller_body,
                callee=callee_body,
                role=role,
                stream=stream,
            ),
        )
        for role in (oracle.CALLER, oracle.CALLEE)
        for stream in range(8)
    }
    for tls in {id(tls): tls for tls, *_ in asked}.values():
        assert {tuple(rest) for t, *rest in asked if t is tls} == expected
