"""SFrame: ours and the oracle's, on anything."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from securecall.rtp.sframe import (
    SframeReceiver,
    SframeSender,
    build_header,
    parse_header,
    rtp_metadata,
)
from securecall.secret import Secret
from tests.oracle import sframe as oracle
from tests.paths import vectors

U64 = st.one_of(
    st.integers(0, 20), st.integers(0, 2**64 - 1), st.integers(0, 63).map(lambda n: 1 << n)
)


def test_the_oracle_makes_the_ciphertext_of_rfc_9605():
    data = json.loads(vectors("security", "sframe", "rfc9605-test-vectors.json").read_text())
    for row in data["header"]:
        assert oracle.header(row["kid"], row["ctr"]).hex() == row["encoded"]
    row = next(v for v in data["sframe"] if v["cipher_suite"] == oracle.SUITE)
    base, plain, metadata = (bytes.fromhex(row[n]) for n in ("base_key", "pt", "metadata"))
    assert oracle.seal(base, row["kid"], row["ctr"], plain, metadata).hex() == row["ct"]


@given(U64, U64)
@settings(max_examples=60)
def test_headers(kid, counter):
    made = oracle.header(kid, counter)
    assert build_header(kid, counter) == made
    assert parse_header(made + b"rest") == (kid, counter, len(made))


@given(st.binary(min_size=16, max_size=64), U64, U64, st.binary(max_size=50), st.binary(max_size=9))
@settings(max_examples=40)
def test_what_the_oracle_seals_we_open(base, kid, counter, plain, metadata):
    receiver = SframeReceiver()
    receiver.add_key(kid, Secret(base))
    assert receiver.open(oracle.seal(base, kid, counter, plain, metadata), metadata) == plain


@given(st.integers(0, 300), st.integers(0, 300), st.binary(max_size=30), st.integers(0, 127))
@settings(max_examples=25)
def test_what_we_seal_the_oracle_seals(kid, counter, plain, payload_type):
    base = b"base key" * 4
    sender = SframeSender(Secret(base), kid)
    for _ in range(counter):
        sender.seal(b"")
    ours = sender.seal_rtp(plain, rtp_metadata(payload_type, "mid"))
    assert ours == oracle.rtp_payload(
        base, kid, counter, plain, payload_type=payload_type, mid="mid"
    )
