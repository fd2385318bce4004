"""RFC 9605 appendix C through our own sender and receiver, and RFC 5869 through the door used."""

from __future__ import annotations

import json

from securecall.rtp.hkdf import hkdf_expand, hkdf_extract
from securecall.rtp.sframe import (
    SframeReceiver,
    SframeSender,
    build_header,
    parse_header,
)
from securecall.secret import Secret
from tests.paths import vectors


def data():
    return json.loads(vectors("security", "sframe", "rfc9605-test-vectors.json").read_text())


def test_all_headers_of_c1():
    rows = data()["header"]
    assert len(rows) == 289
    for row in rows:
        encoded = bytes.fromhex(row["encoded"])
        assert build_header(row["kid"], row["ctr"]) == encoded
        assert parse_header(encoded) == (row["kid"], row["ctr"], len(encoded))


def test_sealing_and_opening_of_c3():
    row = next(v for v in data()["sframe"] if v["cipher_suite"] == 5)  # the only suite
    base_key = Secret(bytes.fromhex(row["base_key"]))
    plain, metadata = bytes.fromhex(row["pt"]), bytes.fromhex(row["metadata"])
    receiver = SframeReceiver()
    receiver.add_key(row["kid"], base_key)
    assert receiver.open(bytes.fromhex(row["ct"]), metadata) == plain
    # The counter cannot be set, so the sender gets there by sealing.
    sender = SframeSender(base_key, row["kid"])
    while sender.sealed < row["ctr"]:
        sender.seal(b"")
    assert sender.seal(plain, metadata).hex() == row["ct"]


def test_hkdf_of_rfc_5869():
    cases = vectors("security", "hkdf", "rfc5869-sha256.txt").read_text().split("COUNT")[1:]
    assert len(cases) == 3
    for case in cases:
        lines = (line.partition("=") for line in case.splitlines()[1:])
        row = {key.strip(): value.strip() for key, _, value in lines}
        salt, info, ikm = (bytes.fromhex(row[k]) for k in ("salt", "info", "IKM"))
        key = hkdf_extract(salt, ikm, "sha256")
        assert key.hex() == row["PRK"]
        assert hkdf_expand(key, info, int(row["L"]), "sha256").hex() == row["OKM"]
