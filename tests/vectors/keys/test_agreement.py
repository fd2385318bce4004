"""Key derivation and agreement against Project Wycheproof; and a reason for every file not used.

What Wycheproof calls acceptable (X25519 only): public keys that are legal by RFC 7748 and that some
refuse. Of its 254, we refuse the 31 whose shared secret is zero (`ZeroSharedSecret`: points of low
order, which take any private key out of the result) and compute the others as everybody does:
points on the twist, values beyond the prime, and secrets at the edges are harmless to X25519.
"""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from functools import cache

import pytest
import xeddsa
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey

from securecall.errors import BundleInvalid
from securecall.keys.omemo_state import State
from securecall.keys.omemo_values import OMEMO_LEGACY, Bundle
from securecall.rtp.hkdf import hkdf_expand, hkdf_extract
from securecall.testing.omemo_world import MemoryStore
from tests.paths import vectors

ZIP = "wycheproof_v1_subset.zip"
USED = {
    "aes_gcm_test.json": "tests/vectors/chat, through the files' cipher",
    "ecdsa_secp256r1_sha256_p1363_test.json": "test_wycheproof, through keys.signing",
    "ed25519_test.json": "test_wycheproof, through keys.signing",
    "mldsa_65_verify_test.json": "test_wycheproof, through keys.signing",
    "hkdf_sha1_test.json": "here",
    "hkdf_sha256_test.json": "here",
    "hkdf_sha384_test.json": "here",
    "hkdf_sha512_test.json": "here",
    "hmac_sha1_test.json": "here, as the extraction of HKDF",
    "hmac_sha256_test.json": "here, as the extraction of HKDF",
    "hmac_sha512_test.json": "here, as the extraction of HKDF",
    "mlkem_768_test.json": "here",
    "mlkem_768_encaps_test.json": "here",
    "x25519_test.json": "here",
}
NO_WRAPPER = {
    "ecdh_secp256r1_test.json": "P-256 agreement happens inside DTLS, in OpenSSL; we never call it",
    "mlkem_768_keygen_seed_test.json": "we neither keep nor expand decapsulation keys: as above",
    "mlkem_768_semi_expanded_decaps_test.json": "no decapsulation key in that form is ever read",
    "mlkem_1024_keygen_seed_test.json": "not used",
    "aes_cmac_test.json": "not used",
    "xchacha20_poly1305_test.json": "not used",
}
HMACS = {"sha1": 160, "sha256": 256, "sha512": 512}


@cache
def found() -> dict[str, list]:
    """File -> its groups, of both places."""
    files = {}
    for path in vectors("security", "wycheproof").glob("*.json"):
        files[path.name] = json.loads(path.read_text())["testGroups"]
    with zipfile.ZipFile(vectors("wycheproof", ZIP)) as archive:
        for name in archive.namelist():
            files.setdefault(name, json.loads(archive.read(name))["testGroups"])
    return files


def cases(name: str) -> list[dict]:
    return [test for group in found()[name] for test in group["tests"]]


def raw(test: dict, *names: str) -> list[bytes]:
    return [bytes.fromhex(test[name]) for name in names]


def test_every_file_is_used_or_has_a_reason():
    assert set(found()) == set(USED) | set(NO_WRAPPER)


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
def test_hkdf(algorithm):
    results = Counter()
    for test in cases(f"hkdf_{algorithm}_test.json"):
        secret, salt, info, expected = raw(test, "ikm", "salt", "info", "okm")
        key = hkdf_extract(salt, secret, algorithm)
        if test["result"] == "valid":
            assert hkdf_expand(key, info, test["size"], algorithm) == expected
        else:
            with pytest.raises(ValueError):
                hkdf_expand(key, info, test["size"], algorithm)
        results[test["result"]] += 1
    assert results["valid"] > 70
    assert results["invalid"] == 3


@pytest.mark.parametrize("algorithm", HMACS)
def test_hmac(algorithm):
    count = 0
    for group in found()[f"hmac_{algorithm}_test.json"]:
        for test in group["tests"] if group["tagSize"] == HMACS[algorithm] else ():
            key, message, tag = raw(test, "key", "msg", "tag")
            made = hkdf_extract(key, message, algorithm)
            assert (made == tag) == (test["result"] == "valid")
            count += 1
    assert count > 50


def test_x25519_of_bundles():
    state, results = State(MemoryStore(), "alice@a.example", (OMEMO_LEGACY,)), Counter()
    good = cases("x25519_test.json")[0]["public"]
    for test in cases("x25519_test.json"):
        public, private, shared = raw(test, "public", "private", "shared")
        bundle = Bundle(
            namespace=OMEMO_LEGACY, jid="bob@b.example", id=1, identity_key=bytes.fromhex(good),
            signed_prekey_id=1, signed_prekey=public, signature=bytes(64),
            prekeys={1: bytes.fromhex(good)},
        )  # fmt: skip
        if "ZeroSharedSecret" in test["flags"]:
            assert test["result"] == "acceptable"
            with pytest.raises(BundleInvalid):
                state.narrowed(bundle)
            results["refused"] += 1
        else:
            assert state.narrowed(bundle) == bundle
            assert xeddsa.x25519(private, public) == shared
            results[test["result"]] += 1
    assert results == {"refused": 31, "valid": 264, "acceptable": 254 - 31}


def test_mlkem_of_the_library_the_handshake_runs_in():
    """The inner TLS does this inside OpenSSL; the same OpenSSL is asked here, by another door."""
    results = Counter()
    for test in cases("mlkem_768_test.json"):
        seed, ciphertext, shared = raw(test, "seed", "c", "K")
        if test["result"] == "valid":
            key = MLKEM768PrivateKey.from_seed_bytes(seed)
            assert key.decapsulate(ciphertext) == shared
        else:
            with pytest.raises(ValueError):
                MLKEM768PrivateKey.from_seed_bytes(seed).decapsulate(ciphertext)
        results[test["result"]] += 1
    for test in cases("mlkem_768_encaps_test.json"):
        (public,) = raw(test, "ek")
        if test["result"] == "valid":
            MLKEM768PublicKey.from_public_bytes(public).encapsulate()
        else:
            with pytest.raises(ValueError):
                MLKEM768PublicKey.from_public_bytes(public).encapsulate()
        results[test["result"]] += 1
    assert results == {"valid": 153 + 133, "invalid": 40 + 132}
