from __future__ import annotations

import hashlib

import pytest

from securecall.errors import IdentityMismatch, LocalError, ProtocolError, UsageError
from securecall.keys import wordlist
from securecall.keys.verification import (
    VerificationCode,
    build_verification_code,
    parse_verification_code,
    require_verification_code,
    safety_number,
    sas,
)
from securecall.keys.wordlist import words
from tests.forge_statement import root_key

ALICE, BOB, EVE = (root_key(n).fingerprint for n in (1, 2, 3))


def test_the_specified_vector():
    shown = sas(bytes.fromhex("0123456789abcdef"))
    assert [words().index(word) for word in shown.words] == [9, 209, 719]
    assert shown.digits == "9216486895"


def test_digits_keep_their_leading_zeros():
    assert sas(bytes(8)).digits == "0000000000"
    assert sas(bytes(8)).words == ("abandon", "abandon", "abandon")
    assert sas(b"\xff" * 8).words == ("zoo", "zoo", "zoo")


def test_only_eight_bytes_make_a_sas():
    for size in (0, 7, 9):
        with pytest.raises(UsageError):
            sas(bytes(size))


def test_the_list_is_the_published_one():
    listed = words()
    assert len(listed) == len({word[:4] for word in listed}) == 2048
    assert list(listed) == sorted(listed)


def test_an_altered_list_is_refused(monkeypatch):
    monkeypatch.setattr(wordlist, "_SHA256", hashlib.sha256(b"").hexdigest())
    words.cache_clear()
    with pytest.raises(LocalError):
        words()
    monkeypatch.undo()
    words.cache_clear()


def test_both_people_see_the_same_safety_number():
    number = safety_number(ALICE, BOB)
    assert number == safety_number(BOB, ALICE)
    groups = number.split(" ")
    assert len(groups) == 12
    assert all(len(group) == 5 and group.isdigit() for group in groups)
    assert number != safety_number(ALICE, EVE)


def test_a_safety_number_needs_two_different_keys():
    with pytest.raises(UsageError):
        safety_number(ALICE, ALICE)
    with pytest.raises(UsageError):
        safety_number(ALICE, b"")


def test_a_scanned_code_is_compared_crosswise():
    code = parse_verification_code(build_verification_code(VerificationCode(ALICE, BOB)))
    assert code == VerificationCode(ALICE, BOB)
    require_verification_code(code, own=BOB, peer=ALICE)
    for own, peer in ((ALICE, BOB), (BOB, EVE), (EVE, ALICE)):
        with pytest.raises(IdentityMismatch):
            require_verification_code(code, own=own, peer=peer)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "securecall:verify:1:",
        "securecall:verify:1:AAAA:AAAA",
        "securecall:verify:2:" + build_verification_code(VerificationCode(ALICE, BOB))[20:],
        build_verification_code(VerificationCode(ALICE, BOB)) + ":",
        build_verification_code(VerificationCode(ALICE, BOB)) + "=",
        "x" * 300,
    ],
)
def test_other_texts_are_no_code(text):
    with pytest.raises(ProtocolError) as caught:
        parse_verification_code(text)
    assert caught.value.rule == "verification code"


CODE = build_verification_code(VerificationCode(ALICE, BOB))
BARE = CODE.removeprefix("securecall:verify:1:")


@pytest.mark.parametrize(
    "text",
    [
        BARE,  # two fingerprints, and no word of what they are
        "securecall:verify:1:" + ":".join([BARE.partition(":")[0]] * 2),
        "securecall:verify:1:" + BARE.partition(":")[0] + ":" + BARE.partition(":")[2][:-4],
        "securecall:verify:1:" + BARE.partition(":")[0][:-4] + ":" + BARE.partition(":")[2],
        CODE + "A" * 256,
    ],
    ids=["bare", "twice the same", "second too short", "first too short", "too long"],
)
def test_texts_that_come_close_are_no_code(text):
    with pytest.raises(ProtocolError) as caught:
        parse_verification_code(text)
    assert caught.value.rule == "verification code"


def test_a_missing_list_is_said_to_be_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(wordlist.resources, "files", lambda package: tmp_path)
    words.cache_clear()
    with pytest.raises(LocalError, match="missing"):
        words()
    monkeypatch.undo()
    words.cache_clear()
