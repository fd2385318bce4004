"""PASSporTs: the one spelling that is written, a row per rule for what is read, and how long."""

from __future__ import annotations

import json

import pytest

from securecall.address import ANONYMOUS, parse_address
from securecall.errors import (
    AddressNotOwned,
    IdentityMismatch,
    ProtocolError,
    Reason,
    SecurityError,
    UsageError,
)
from securecall.keys import passport as p
from securecall.testing.attacks.passports import (
    ALICE,
    BOB,
    HEADER,
    NOW,
    ONE,
    PAYLOAD,
    TWO,
    changed,
    digest,
    forged,
)

KEY = p.PassportKey.generate()
CAROL = parse_address("sip:carol@example.com")


def made(**changes) -> str:
    given = {"kind": p.REQUEST, "orig": ALICE, "dest": BOB, "digests": (TWO, ONE), "unix": NOW}
    return p.build_passport(KEY, **(given | changes))


def shown(token: str) -> list[str]:
    return [p.parse_base64url(part).decode() for part in token.split(".")[:2]]


def test_a_request_is_spelled_in_one_way():
    header, payload = shown(made())
    assert header == '{"alg":"ES256","typ":"passport","x5u":"urn:securecall:statement:1"}'
    mky = ",".join(json.dumps(digest(each), separators=(",", ":")) for each in (ONE, TWO))
    assert payload == (
        f'{{"dest":{{"uri":["{BOB}"]}},"iat":{NOW},"mky":[{mky}],"orig":{{"uri":"{ALICE}"}}}}'
    )


def test_a_response_says_that_it_is_one():
    token = made(kind=p.RESPONSE)
    assert shown(token)[0] == (
        '{"alg":"ES256","ppt":"rsp","typ":"passport","x5u":"urn:securecall:statement:1"}'
    )
    assert (p.type_of(token), p.type_of(made())) == ("rsp", "")
    assert p.parse_passport(token).kind == p.RESPONSE


def test_it_is_made_for_two_sip_addresses_and_some_certificate():
    for wrong in (
        {"orig": ANONYMOUS},
        {"dest": ANONYMOUS},
        {"dest": parse_address("xmpp:bob@example.com")},
        {"orig": parse_address("tel:+441632960000")},
        {"digests": ()},
    ):
        with pytest.raises(UsageError):
            made(**wrong)


MANY = [f"sip:u{n:02}@example.com" for n in range(33)]
SUMS = [digest(("sha-256", bytes([n]) * 32)) for n in range(33)]
REFUSED = {
    "of another type": (HEADER | {"typ": "jwt"}, None),
    "of no type": ({k: v for k, v in HEADER.items() if k != "typ"}, None),
    "of no credential": (HEADER | {"x5u": ""}, None),
    "of a credential that is no text": (HEADER | {"x5u": ["urn:x"]}, None),
    "to nobody": (None, changed(dest={"uri": []})),
    "to one who is no list": (None, changed(dest={"uri": str(BOB)})),
    "to more than anybody calls": (None, changed(dest={"uri": MANY})),
    "to an anonymous one": (None, changed(dest={"uri": [str(ANONYMOUS)]})),
    "by an anonymous one": (None, changed(orig={"uri": str(ANONYMOUS)})),
    "by a telephone": (None, changed(orig={"uri": "tel:+441632960000"})),
    "by two": (None, changed(orig={"uri": str(ALICE), "tn": "1"})),
    "by one who is no text": (None, changed(orig={"uri": 1})),
    "of no time": (None, changed(iat=None)),
    "of a time that is true": (None, changed(iat=True)),
    "about certificates that are no list": (None, changed(mky={})),
    "about too many certificates": (None, changed(mky=SUMS)),
    "about a sum that is none": (None, changed(mky=["x"])),
    "about a short sum": (None, changed(mky=[{"alg": "sha-256", "dig": "AB"}])),
    "about a sum of no digits": (None, changed(mky=[{"alg": "sha-256", "dig": "G" * 64}])),
    "about a sum nobody makes": (None, changed(mky=[{"alg": "sha-1", "dig": "AB" * 20}])),
    "about a nameless empty sum": (None, changed(mky=[{"alg": "", "dig": ""}])),
    "about a sum and more": (None, changed(mky=[digest(ONE) | {"kid": "1"}])),
}


@pytest.mark.parametrize("name", REFUSED)
def test_one_is_not_read(name):
    with pytest.raises(ProtocolError):
        p.parse_passport(forged(KEY, *REFUSED[name]))


def test_as_many_people_and_certificates_as_may_be_are_read():
    found = p.parse_passport(forged(KEY, None, changed(dest={"uri": MANY[:32]}, mky=SUMS[:32])))
    assert len(found.dest) == 32
    assert (found.orig, found.iat) == (ALICE, NOW)


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_signature_has_64_bytes(size):
    with pytest.raises(ProtocolError, match="length"):
        p.parse_passport(forged(KEY, None, None, lambda key, signed: bytes(size)))


def test_a_token_is_no_longer_than_any():
    head, _, tail = forged(KEY).rpartition(".")
    with pytest.raises(ProtocolError, match="8192 characters"):
        p.parse_passport(f"{head}.{tail}".ljust(p.MAX_SIZE + 1, "A"))
    with pytest.raises(ProtocolError, match="length"):
        p.parse_passport(f"{head}.{'A' * 400}")
    for broken in ("", "a", "a.b", "a.b.c.d", f".{head}"):
        with pytest.raises(ProtocolError):
            p.parse_passport(broken)


def about(token: str, **changes) -> None:
    given = {"kind": p.REQUEST, "orig": ALICE, "dest": BOB, "digests": (ONE, TWO), "unix": NOW}
    p.parse_passport(token).require_about(**(given | changes))


def test_it_holds_for_a_minute_to_either_side():
    for ahead in (-60, 0, 60):
        about(made(), unix=NOW + ahead)
    for ahead in (-61, 61):
        with pytest.raises(SecurityError) as refused:
            about(made(), unix=NOW + ahead)
        assert refused.value.reason is Reason.REPLAYED


def test_a_request_may_be_to_several_and_a_response_is_of_one():
    several = changed(dest={"uri": sorted([str(BOB), str(CAROL)])})
    about(forged(KEY, None, several))
    about(forged(KEY, None, several), dest=CAROL)
    answer = {"alg": "ES256", "ppt": "rsp", "typ": "passport", "x5u": p.X5U}
    about(forged(KEY, answer), kind=p.RESPONSE)
    with pytest.raises(AddressNotOwned):
        about(forged(KEY, answer, several), kind=p.RESPONSE)
    with pytest.raises(AddressNotOwned):
        about(made(), orig=CAROL)
    with pytest.raises(AddressNotOwned):
        about(made(), dest=CAROL)
    with pytest.raises(IdentityMismatch):
        about(made(), kind=p.RESPONSE)


def test_all_certificates_are_meant_in_whatever_order():
    about(made(), digests=(TWO, ONE))
    about(made(), digests=(ONE, ONE, TWO))
    for other in ((ONE,), (), (ONE, TWO, ("sha-512", bytes(64)))):
        with pytest.raises(IdentityMismatch):
            about(made(), digests=other)


def test_any_of_the_devices_may_have_signed():
    token, other = p.parse_passport(made()), p.PassportKey.generate().public
    token.require_genuine([other, KEY.public])
    token.require_genuine(iter([b"", KEY.public]))
    with pytest.raises(AddressNotOwned):
        token.require_genuine([other])


def test_a_token_is_remembered_for_longer_than_it_holds():
    seen, token = p.Replays(), p.parse_passport(made())
    seen.require_new(token, unix=NOW)
    for later in (0, 60, 179):
        with pytest.raises(SecurityError):
            seen.require_new(token, unix=NOW + later)
    assert len(seen) == 1
    seen.require_new(p.parse_passport(forged(KEY, None, PAYLOAD | {"iat": NOW + 1})), unix=NOW)
    assert len(seen) == 2
    seen.require_new(token, unix=NOW + 180)
    assert len(seen) == 1, "the others are forgotten by then"


def test_a_key_is_read_from_its_scalar_and_signs_alike():
    again = p.PassportKey.from_scalar(KEY.scalar)
    assert again.public == KEY.public
    assert len(KEY.scalar.reveal()) == 32
    p.parse_passport(forged(again)).require_genuine([KEY.public])
