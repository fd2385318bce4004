"""Signatures against Project Wycheproof's collections of edge cases."""

from __future__ import annotations

import json

import pytest

from securecall.errors import ProtocolError
from securecall.keys.signing import (
    require_ed25519_public,
    require_ed25519_signature,
    require_mldsa65_signature,
    require_p256_signature,
)
from tests.paths import vectors


def groups(name: str):
    return json.loads(vectors("security", "wycheproof", name).read_text())["testGroups"]


def run(require, key: bytes, test: dict) -> None:
    arguments = (key, bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"]))
    if test["result"] == "valid":
        require(*arguments)
    else:
        with pytest.raises(ProtocolError):
            require(*arguments)


def test_ed25519():
    count = 0
    for group in groups("ed25519_test.json"):
        key = bytes.fromhex(group["publicKey"]["pk"])
        require_ed25519_public(key)
        for test in group["tests"]:
            run(require_ed25519_signature, key, test)
            count += 1
    assert count > 100


def test_p256():
    count = 0
    for group in groups("ecdsa_secp256r1_sha256_p1363_test.json"):
        key = bytes.fromhex(group["publicKey"]["uncompressed"])
        for test in group["tests"]:
            run(require_p256_signature, key, test)
            count += 1
    assert count > 100


def test_mldsa65():
    count = 0
    for group in groups("mldsa_65_verify_test.json"):
        key = bytes.fromhex(group["publicKey"])
        for test in group["tests"]:
            if test.get("ctx"):
                continue  # ours is always empty
            run(require_mldsa65_signature, key, test)
            count += 1
    assert count > 20
