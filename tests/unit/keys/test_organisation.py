from __future__ import annotations

import json

import pytest

from securecall.address import parse_address
from securecall.errors import ProtocolError, Revoked, SecurityError, StatementInvalid, UsageError
from securecall.keys.encoding import build_base64url
from securecall.keys.organisation import (
    MAX_SIZE,
    OrganisationCode,
    build_countersignature,
    build_organisation_code,
    parse_countersignature,
    parse_organisation_code,
    weigh,
)
from tests.forge_organisation import ANOTHER, BOB, CLINIC, CODE, DOMAIN, forged, parsed, word
from tests.forge_statement import DAY, NOW, compact, root_key

ANNA = parse_address("sip:anna@clinic.example")


def test_a_word_is_read_as_it_was_signed():
    found = parsed()
    assert (found.domain, found.address, found.withdrawn) == (DOMAIN, BOB, False)
    assert found.root_fp == root_key(2).fingerprint
    assert found.organisation_fp == CLINIC.fingerprint
    assert (found.iat, found.exp, found.seq) == (NOW, NOW + 7 * DAY, NOW * 1000)
    assert parsed(withdrawn=True).withdrawn
    assert parse_countersignature(forged(), unix=NOW) == found


def replaced(**members):
    return lambda payload: payload.update(members)


@pytest.mark.parametrize(
    "edit",
    [
        replaced(v=2),
        replaced(v=True),
        replaced(org="other.example"),
        replaced(org=""),
        replaced(org="CLINIC.example"),
        replaced(addr="sip:bob@other.example"),
        replaced(addr="sip:bob@CLINIC.example"),
        replaced(addr="bob@clinic.example"),
        replaced(addr="tel:+441632960000", org=""),
        replaced(addr=f"key:{root_key(2).fingerprint.hex()}", org=""),
        replaced(addr=1),
        replaced(root=build_base64url(bytes(63))),
        replaced(root=build_base64url(root_key(2).fingerprint) + "="),
        replaced(org_root=build_base64url(bytes(31))),
        replaced(org_root=build_base64url(ANOTHER.public)),
        replaced(org_root=build_base64url(b"\x01" + bytes(31))),
        replaced(seq=True),
        replaced(seq=1.0),
        replaced(seq=(NOW + DAY) * 1000 + 1),
        replaced(iat=NOW + DAY + 1, exp=NOW + 2 * DAY),
        replaced(exp=NOW + 14 * DAY + 1),
        replaced(exp=NOW),
        replaced(withdrawn=False),
        replaced(withdrawn=1),
        replaced(withdrawn="true"),
        replaced(more=1),
        lambda payload: payload.pop("seq"),
        lambda payload: payload.pop("addr"),
    ],
)
def test_a_word_that_breaks_a_rule_is_refused_though_it_is_signed(edit):
    with pytest.raises(StatementInvalid):
        parse_countersignature(forged(edit), unix=NOW)


def test_a_word_in_another_envelope_is_refused():
    whole = json.loads(forged())
    (one,) = whole["signatures"]
    for broken in (
        {**whole, "signatures": []},
        {**whole, "signatures": [one, one]},
        {**whole, "signatures": [{**one, "header": {}}]},
        {**whole, "signatures": [{**one, "signature": build_base64url(bytes(64))}]},
        {**whole, "more": 1},
        {"payload": whole["payload"]},
    ):
        with pytest.raises(StatementInvalid):
            parse_countersignature(compact(broken), unix=NOW)
    for data in (b"", b"[]", b"\xff", forged()[:-1], forged() + b" " * MAX_SIZE):
        with pytest.raises(StatementInvalid):
            parse_countersignature(data, unix=NOW)


def test_an_expired_word_is_read_and_holds_for_nobody():
    later = NOW + 30 * DAY
    found = weigh(None, parse_countersignature(word(), unix=later))
    root_fp = root_key(2).fingerprint
    assert not found.vouches_for(root_fp, unix=later)
    assert found.vouches_for(root_fp, unix=NOW + 7 * DAY)
    assert not found.vouches_for(root_key(3).fingerprint, unix=NOW)


def test_newer_words_replace_older_ones_and_withdrawals_stay():
    second = weigh(weigh(None, parsed()), parsed(number=1))
    assert second.latest == parsed(number=1)
    assert weigh(second, parsed()) is second  # another device of the same person is behind
    gone = weigh(second, parsed(number=2, withdrawn=True))
    assert not gone.vouches_for(root_key(2).fingerprint, unix=NOW)
    for number in (0, 1, 3):
        with pytest.raises(Revoked):
            weigh(gone, parsed(number=number))
    another = weigh(gone, parsed(number=4, person=3))
    assert another.vouches_for(root_key(3).fingerprint, unix=NOW)
    with pytest.raises(Revoked):
        weigh(another, parsed(number=5))
    assert weigh(None, parsed(withdrawn=True)).withdrawn == {root_key(2).fingerprint}
    late = weigh(weigh(None, parsed(number=9)), parsed(number=1, withdrawn=True))
    assert not late.vouches_for(root_key(2).fingerprint, unix=NOW)


def test_an_older_word_for_another_root_and_two_words_under_one_number_are_refused():
    known = weigh(None, parsed(number=5))
    for number in (4, 5):
        with pytest.raises(SecurityError) as refused:
            weigh(known, parsed(number=number, person=3))
        assert refused.value.reason.value == "rollback"
    with pytest.raises(UsageError):
        weigh(known, parsed(address=ANNA))
    with pytest.raises(UsageError):
        weigh(known, parsed(root=ANOTHER))


@pytest.mark.parametrize(
    "changes",
    [
        {"domain": "other.example"},
        {"domain": ""},
        {"root_fp": b""},
        {"root_fp": CLINIC.fingerprint},
        {"exp": NOW + 15 * DAY},
        {"exp": NOW},
    ],
)
def test_what_every_receiver_refuses_is_not_signed(changes):
    arguments = {
        "domain": DOMAIN,
        "root_fp": root_key(2).fingerprint,
        "address": BOB,
        "seq": 1,
        "iat": NOW,
        "exp": NOW + DAY,
    }
    with pytest.raises(UsageError):
        build_countersignature(CLINIC, **{**arguments, **changes})


def test_a_code_names_domain_and_key():
    assert parse_organisation_code(CODE) == OrganisationCode(DOMAIN, CLINIC.public)
    assert parse_organisation_code(CODE).fingerprint == CLINIC.fingerprint
    for text in (
        "",
        CODE[:-1],
        CODE[:-4],
        CODE + "A",
        CODE.replace(DOMAIN, ""),
        CODE.replace(DOMAIN, "Clinic.example"),
        CODE.replace(DOMAIN, "192.0.2.1"),
        CODE.replace(":org:", ":verify:"),
        f"securecall:org:1:{DOMAIN}:{build_base64url(bytes(32))}",
    ):
        with pytest.raises(ProtocolError):
            parse_organisation_code(text)
    with pytest.raises(UsageError):
        build_organisation_code(OrganisationCode("no domain", CLINIC.public))


@pytest.mark.parametrize("domain", ["CLINIC.example", "a b.example", "", "clinic.example;x", "-"])
def test_a_code_names_a_domain(domain):
    with pytest.raises(ProtocolError, match="cut off") as caught:
        parse_organisation_code(CODE[:-4])
    assert caught.value.rule == "organisation code"  # so that whoever copied it is told
    assert parse_organisation_code(CODE).domain == DOMAIN
    with pytest.raises(ProtocolError):
        parse_organisation_code(CODE.replace(DOMAIN, domain))
