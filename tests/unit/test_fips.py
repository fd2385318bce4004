"""The fips profile: when it starts, what it tests, and that a failed test ends everything."""

from __future__ import annotations

import ast
import json

import pytest

import securecall as sc
from securecall import fips
from securecall.errors import FipsError, Unsupported, UsageError
from securecall.transport.suite import FIPS, FIPS_CLASSICAL, ORDINARY
from tests.oracle.srtp import Oracle
from tests.paths import PROJECT, vectors

SENTENCE = (
    "securecall is not a FIPS 140 validated module and contains none. With `profile='fips'` it "
    "uses only algorithms that NIST approves, and refuses to start if the OpenSSL behind "
    "`cryptography` does not report an active FIPS provider, unless `fips='algorithms-only'` is "
    "set. A validated configuration needs cryptography, pyOpenSSL, libsrtp and Python built by the "
    "deployer against a validated OpenSSL provider."
)


@pytest.fixture(autouse=True)
def fresh_latch(monkeypatch):
    monkeypatch.setattr(fips.LATCH, "failure", "")


def test_it_does_not_start_without_an_active_provider(tmp_path):
    with pytest.raises(Unsupported, match="no active FIPS provider"):
        sc.open(tmp_path, passphrase=sc.Secret("x"), create=True, profile="fips")
    assert list(tmp_path.iterdir()) == []


def test_it_starts_where_a_provider_reports_itself(monkeypatch):
    monkeypatch.setattr(fips, "fips_provider_active", lambda: True)
    assert fips.approval("fips", "required").provider


def test_without_a_provider_it_starts_for_its_algorithms_alone():
    approval = fips.approval("fips", "algorithms-only")
    assert approval.suite is FIPS
    assert not approval.provider


def test_a_build_without_ml_kem_gets_a_suite_of_its_own(monkeypatch):
    monkeypatch.setattr(fips, "has_group", lambda name: "MLKEM" not in name)
    assert fips.approval("fips", "algorithms-only").suite is FIPS_CLASSICAL


def test_the_standard_profile_is_not_touched():
    assert fips.approval("standard", "required").suite is ORDINARY


@pytest.mark.parametrize(
    ("profile", "word"), [("standard", "algorithms-only"), ("FIPS", "required"), ("fips", "yes")]
)
def test_what_cannot_be_meant_is_refused(profile, word):
    with pytest.raises(UsageError):
        fips.approval(profile, word)


def test_every_answer_is_the_known_one():
    assert {name: test() for name, test in fips.KNOWN_ANSWERS.items()} == dict.fromkeys(
        fips.KNOWN_ANSWERS, True
    )


@pytest.mark.parametrize("name", fips.KNOWN_ANSWERS)
def test_one_wrong_answer_closes_the_process_for_good(monkeypatch, name):
    with monkeypatch.context() as broken:
        broken.setitem(fips.KNOWN_ANSWERS, name, lambda: False)
        with pytest.raises(FipsError, match=name):
            fips.approval("fips", "algorithms-only")
    with pytest.raises(FipsError, match=name):  # the algorithm is well again; the latch is not
        fips.approval("fips", "algorithms-only")
    assert fips.approval("standard", "required") is fips.STANDARD


def test_an_algorithm_the_library_raises_for_has_failed(monkeypatch):
    def wrong():
        raise ValueError("no such curve")

    monkeypatch.setitem(fips.KNOWN_ANSWERS, "ECDSA P-384", wrong)
    with pytest.raises(FipsError):
        fips.approval("fips", "algorithms-only")


def test_a_broken_cipher_is_noticed(monkeypatch):
    """The control: the self-test of SRTP sees keys that are not the given ones."""

    def other(profile, send, receive):
        return fips_session(profile, sc.Secret(bytes(range(1, 45))), receive)

    fips_session = fips.SrtpSession
    monkeypatch.setattr(fips, "SrtpSession", other)
    with pytest.raises(FipsError, match="SRTP"):
        fips.run_self_tests()


def test_the_answer_of_srtp_is_that_of_an_implementation_of_its_own():
    material = bytes(range(44))
    packet = bytes.fromhex("806f000100000000deadbeef") + b"known answer"
    oracle = Oracle(material[:32], material[32:], aead=True)
    assert oracle.protect(packet).hex() == fips.SRTP_ANSWER


def test_answers_of_wycheproof_stand_there():
    source = (PROJECT / "securecall" / "fips.py").read_text(encoding="utf-8")
    literals = "\n".join(
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )

    def tests(name):
        file = vectors("security", "wycheproof", f"{name}.json")
        return [t for g in json.loads(file.read_text())["testGroups"] for t in g["tests"]]

    assert any(t["okm"] in literals for t in tests("hkdf_sha512_test") if len(t["okm"]) > 30)
    assert tests("mlkem_1024_keygen_seed_test")[0]["seed"] in literals


def test_the_sentence_is_said_as_it_was_agreed():
    plain = SENTENCE.replace("`", "")
    page = (PROJECT / "docs" / "how-to" / "fips.md").read_text(encoding="utf-8")
    for text in (page, fips.__doc__ or ""):
        assert plain in " ".join(text.split()).replace("`", "")
