"""The Identity header: what it carries, and what is passed over in it."""

from __future__ import annotations

import pytest

from securecall.keys.passport import X5U, PassportKey
from securecall.sip.grammar import SipError
from securecall.sip.headers import Headers
from securecall.sip.identity import (
    build_identity,
    of_the_telephone_network,
    passports_of,
)
from securecall.testing.attacks.passports import HEADER, forged

KEY = PassportKey.generate()
GOOD = forged(KEY)
ANSWER = forged(KEY, {"alg": "ES256", "ppt": "rsp", "typ": "passport", "x5u": X5U})
SHAKEN = forged(KEY, {"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": X5U})


def test_it_says_what_the_token_says():
    assert build_identity(GOOD) == f"{GOOD};info=<{X5U}>;alg=ES256"
    assert build_identity(ANSWER) == f'{ANSWER};info=<{X5U}>;alg=ES256;ppt="rsp"'


@pytest.mark.parametrize(
    "value",
    [
        f"{GOOD};info=<{X5U}>",
        f"  {GOOD} ; info = <https://a.example/x;y> ; alg = ES256 ",
        f"{ANSWER};info=<{X5U}>;ppt=rsp",
    ],
)
def test_usual_spellings_are_read(value):
    assert passports_of((value,)) == (value.split(";")[0].strip(),)


def test_those_about_numbers_are_passed_over():
    number = f"{SHAKEN};info=<https://cr.example/c.pem>;alg=ES256;ppt=shaken"
    assert passports_of((number,)) == ()
    assert passports_of((number, build_identity(GOOD))) == (GOOD,)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "no token",
        f"{GOOD}",  # without info
        f"{GOOD};alg=ES256",
        f"{GOOD};info=<{X5U}>;alg=RS256",
        f"{GOOD};info=<{X5U}>;info=<{X5U}>",
        f"{GOOD};info={X5U}",
        f"{GOOD};info=<{X5U}>;ppt=rsp",
        f"{GOOD};info=<{X5U}>;ppt=shaken",  # would hide it from who believes the parameter
        f"{ANSWER};info=<{X5U}>",
        f"{GOOD};info=<{X5U}>;;",
        f"..{GOOD.rpartition('.')[2]};info=<{X5U}>",
        "é.é.é;info=<x>",
    ],
)
def test_what_is_malformed_or_contradicts_itself_is_refused(value):
    with pytest.raises(SipError) as refused:
        passports_of((value,))
    assert refused.value.status == 438


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (f"{SHAKEN};info=<https://cr.example/c.pem>;alg=ES256;ppt=shaken", True),
        (f"{SHAKEN};info=<https://cr.example/c.pem>", True),  # the token itself says so
        ('no token;info=<x>;PPT = "Shaken"', True),  # as does a parameter of whatever
        (SHAKEN, True),
        (build_identity(GOOD), False),
        (build_identity(ANSWER), False),
        ("", False),
        ("no token", False),
    ],
)
def test_who_vouches_for_a_number_is_known_by_token_or_parameter(value, found):
    assert of_the_telephone_network((value,)) is found
    assert of_the_telephone_network((build_identity(GOOD), value)) is found


def test_there_are_not_too_many():
    with pytest.raises(SipError):
        passports_of((build_identity(GOOD),) * 9)


def test_the_compact_form_of_its_name_is_known():
    assert Headers((("y", "x"),)).all("identity") == ["x"]
    assert HEADER["alg"] == "ES256"
