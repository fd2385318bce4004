"""The Identity header: what it carries, and what is passed over in it."""

from __future__ import annotations

import pytest

from securecall.errors import ProtocolError
from securecall.keys.passport import X5U, PassportKey, parse_passport
from securecall.sip.grammar import SipError
from securecall.sip.headers import Headers
from securecall.sip.identity import (
    MOST_IDENTITIES,
    build_identity,
    of_the_telephone_network,
    passports_of,
)
from securecall.testing.attacks.passports import HEADER, forged

KEY = PassportKey.generate()
GOOD = forged(KEY)
ANSWER = forged(KEY, {"alg": "ES256", "ppt": "rsp", "typ": "passport", "x5u": X5U})
CANONICAL = f'{{"alg":"ES256","ppt":"shaken","typ":"passport","x5u":"{X5U}"}}'
SPELLINGS = {
    "another order": f'{{"typ":"passport","x5u":"{X5U}","ppt":"shaken","alg":"ES256"}}',
    "white space": CANONICAL.replace(":", " : ").replace(",", ",\r\n\t "),
    "an escaped value": CANONICAL.replace("shaken", "\\u0073h\\u0061ken"),
    "an escaped name": CANONICAL.replace('"ppt"', '"p\\u0070t"'),
    "more members": CANONICAL.replace("{", '{"a":{"b":[1]},', 1),
}
SHAKEN = forged(KEY, {"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": X5U})


def test_it_says_what_the_token_says():
    assert build_identity(GOOD) == f"{GOOD};info=<{X5U}>;alg=ES256"
    assert build_identity(ANSWER) == f'{ANSWER};info=<{X5U}>;alg=ES256;ppt="rsp"'


@pytest.mark.parametrize(
    "value",
    [
        f"{GOOD};info=<{X5U}>",
        f"  {GOOD} ; info = <https://a.example/x;y> ; alg = ES256 ",
        f"\t{GOOD}\t;\tinfo\t=\t<https://a.example/x;y>\t;\talg\t=\tES256",
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
        f"{SHAKEN.partition('.')[0]}.é.x;info=<x>;ppt=shaken",  # not even passed over
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
        (f"\t{SHAKEN}\t;info=<x>", True),
        (build_identity(GOOD), False),
        (build_identity(ANSWER), False),
        ("", False),
        ("no token", False),
    ],
)
def test_who_vouches_for_a_number_is_known_by_token_or_parameter(value, found):
    assert of_the_telephone_network((value,)) is found
    assert of_the_telephone_network((build_identity(GOOD), value)) is found


@pytest.mark.parametrize("header", SPELLINGS.values(), ids=SPELLINGS)
def test_json_of_every_spelling_is_read_as_any_other_reader_does(header):
    token = forged(KEY, header.encode())
    value = f"{token};info=<https://cr.example/c.pem>;alg=ES256"
    assert of_the_telephone_network((value,))
    assert passports_of((f"{value};ppt=shaken",)) == ()
    with pytest.raises(SipError):  # the parameter hides what the token says
        passports_of((f"{value};ppt=div",))


@pytest.mark.parametrize("header", SPELLINGS.values(), ids=SPELLINGS)
def test_evidence_of_media_keys_has_one_spelling(header):
    header = header.replace("shaken", "rsp").replace("\\u0073h\\u0061ken", "\\u0072sp")
    (token,) = passports_of((f"{forged(KEY, header.encode())};info=<{X5U}>;ppt=rsp",))
    with pytest.raises(ProtocolError, match=r"canonical|unknown"):
        parse_passport(token)


@pytest.mark.parametrize("other", ["shaken", "div", "rsp"])
def test_a_header_with_a_type_twice_says_nothing_and_is_refused_as_evidence(other):
    header = CANONICAL.replace('"ppt"', f'"ppt":"{other}","\\u0070pt"')
    value = f"{forged(KEY, header.encode())};info=<{X5U}>;ppt={other}"
    with pytest.raises(SipError, match="twice"):
        passports_of((value,))
    assert not of_the_telephone_network((value.partition(";")[0],))
    # what stands beside it in plain words is still heard
    assert of_the_telephone_network((value,)) is (other == "shaken")


def test_there_are_not_too_many():
    assert len(passports_of((build_identity(GOOD),) * MOST_IDENTITIES)) == MOST_IDENTITIES
    with pytest.raises(SipError):
        passports_of((build_identity(GOOD),) * 9)


def test_the_compact_form_of_its_name_is_known():
    assert Headers((("y", "x"),)).all("identity") == ["x"]
    assert HEADER["alg"] == "ES256"
