"""Whatever bytes come: they are read, or refused with the one error that is promised."""

from __future__ import annotations

import contextlib
import json
import re
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securecall.errors import ProtocolError, StatementInvalid, TicketRefused
from securecall.keys.encoding import (
    build_base64url,
    build_json,
    parse_base64url,
    parse_json,
)
from securecall.keys.enrolment import (
    build_request,
    parse_invitation,
    parse_request,
    parse_request_text,
    parse_statement_text,
)
from securecall.keys.organisation import parse_countersignature, parse_organisation_code
from securecall.keys.statement import parse_statement
from securecall.keys.succession import build_succession, parse_succession
from securecall.keys.ticket import Ticket, build_ticket, parse_ticket
from securecall.keys.verification import (
    VerificationCode,
    build_verification_code,
    parse_verification_code,
    safety_number,
    sas,
)
from securecall.secret import Secret
from tests.forge_organisation import CODE, word
from tests.forge_statement import (
    NOW,
    compact,
    device_key,
    forged,
    p256_member,
    payload_of,
    root_key,
    signed,
    statement,
    with_entry,
)
from tests.growth import faster, linear

ROOT = root_key()
CORPUS = [statement(), forged(lambda payload: None), forged(p256_member(ROOT))]
FINGERPRINTS = st.binary(min_size=64, max_size=64)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "repeat"]),
        st.integers(0, 4000),
        st.binary(min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=4,
)


def mutated(data: bytes, steps) -> bytes:
    for kind, place, extra in steps:
        at = place % (len(data) + 1)
        if kind == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ extra[0] or 1]) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at] + data[at + extra[0] :]
        elif kind == "insert":
            data = data[:at] + extra + data[at:]
        else:
            data = data[:at] + data[at : at + extra[0]] + data[at:]
    return data


@given(st.binary(max_size=300))
def test_any_bytes_are_no_statement(data):
    with pytest.raises(StatementInvalid):
        parse_statement(data, unix=NOW)


@given(st.sampled_from(CORPUS), MUTATIONS)
@settings(max_examples=150)
def test_a_mutated_statement_is_refused_or_says_the_same(data, steps):
    with contextlib.suppress(StatementInvalid):
        found = parse_statement(mutated(data, steps), unix=NOW)
        assert found.payload_hash == parse_statement(data, unix=NOW).payload_hash


@given(st.sampled_from(sorted(payload_of(ROOT))), JSON_VALUES)
@settings(max_examples=150)
def test_a_signed_payload_with_any_value_anywhere_is_read_or_refused(name, value):
    payload = payload_of(ROOT) | {name: value}
    with contextlib.suppress(StatementInvalid):
        parse_statement(signed(compact(payload), ROOT), unix=NOW)


@given(st.binary(max_size=200))
@settings(max_examples=150)
def test_a_signed_payload_of_any_bytes_is_refused(data):
    with pytest.raises(StatementInvalid):
        parse_statement(signed(data, ROOT), unix=NOW)


# strings that end, that never do, or that a lazy pattern would begin anew at every quote
STRINGS = {
    "a string that never ends": lambda n: b'{"a":"' + b"a" * n,
    "escapes in a string that never ends": lambda n: b'{"a":"' + rb"\"" * n,
    "a string of escapes": lambda n: b'{"a":"' + rb"\\" * n + b'"}',
    "many strings": lambda n: b'{"a":[' + b'"[",' * n + b'""]}',
}


def read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        _ = parse_json(data, max_size=len(data), max_depth=4)


@pytest.mark.parametrize("name", STRINGS)
def test_work_on_json_grows_with_its_size_and_not_faster(name):
    assert linear(lambda n: partial(read_or_refused, STRINGS[name](n)), 10_000)


def test_control_a_pattern_that_begins_anew_at_every_quote_is_noticed(monkeypatch):
    anew = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]', re.DOTALL)
    monkeypatch.setattr("securecall.keys.encoding._NESTING", anew)
    name = "escapes in a string that never ends"
    assert faster(lambda n: partial(read_or_refused, STRINGS[name](n)), 150)


@given(MUTATIONS)
def test_a_mutated_payload_under_a_true_signature_is_read_or_refused(steps):
    with contextlib.suppress(StatementInvalid):
        parse_statement(signed(mutated(compact(payload_of(ROOT)), steps), ROOT), unix=NOW)


@given(st.binary(max_size=100))
def test_base64url_round_trips_and_has_one_spelling(data):
    text = build_base64url(data)
    assert parse_base64url(text) == data
    with pytest.raises(ProtocolError):
        parse_base64url(text + "=")


@given(st.text(max_size=40))
def test_any_text_is_base64url_or_refused(text):
    with contextlib.suppress(ProtocolError):
        assert build_base64url(parse_base64url(text)) == text


@given(st.dictionaries(st.text(max_size=5), st.integers(0, 2**53 - 1) | st.text(max_size=9)))
def test_strict_json_reads_what_it_writes(value):
    with contextlib.suppress(UnicodeEncodeError):  # a lone surrogate cannot be written
        assert parse_json(build_json(value), max_size=10_000, max_depth=3) == value


@given(JSON_VALUES)
@settings(max_examples=150)
def test_strict_json_accepts_nothing_that_json_does_not(value):
    with contextlib.suppress(ProtocolError):
        data = json.dumps(value).encode("utf-8", "surrogatepass")
        assert parse_json(data, max_size=10_000, max_depth=4) == json.loads(data)


@given(st.text(max_size=200) | st.text(max_size=200).map("securecall:1:{}".format))
def test_any_text_is_no_ticket(text):
    with contextlib.suppress(ProtocolError, TicketRefused):
        parse_ticket(text, unix=NOW)
        raise AssertionError("a ticket out of nothing")


@given(st.binary(max_size=250))
@settings(max_examples=150)
def test_any_bytes_in_a_ticket_are_read_or_refused(data):
    with contextlib.suppress(ProtocolError, TicketRefused):
        parse_ticket("securecall:1:" + build_base64url(data), unix=NOW)


URI = st.sampled_from(
    [
        "tls:a.example:1",
        "tls:[2001:db8::1]:65535",
        "tls:192.0.2.1:5061",
        "sip:a@a.example",
        "xmpp:a@a.example",
        "sip:%22a%22@b.example",
    ]
)


@given(
    st.lists(URI, min_size=1, max_size=6, unique=True),
    FINGERPRINTS,
    st.binary(min_size=32, max_size=32),
    st.integers(NOW, 2**53 - 1),
)
def test_tickets_round_trip(uris, root_fp, secret, expiry):
    made = Ticket(uris=tuple(uris), root_fp=root_fp, secret=Secret(secret), expiry=expiry)
    found = parse_ticket(build_ticket(made), unix=NOW)
    assert (found.uris, found.root_fp, found.expiry) == (made.uris, root_fp, expiry)
    assert found.secret == made.secret


@given(st.text(max_size=260) | st.text(max_size=200).map("securecall:verify:1:{}".format))
def test_any_text_is_no_verification_code(text):
    with pytest.raises(ProtocolError):
        parse_verification_code(text)


@given(FINGERPRINTS, FINGERPRINTS)
def test_codes_round_trip_and_numbers_are_symmetric(one, other):
    if one == other:
        return
    code = VerificationCode(one, other)
    assert parse_verification_code(build_verification_code(code)) == code
    assert safety_number(one, other) == safety_number(other, one)


@given(st.binary(min_size=8, max_size=8))
def test_every_eight_bytes_have_three_words_and_ten_digits(data):
    shown = sas(data)
    assert len(shown.words) == 3
    assert len(shown.digits) == 10


DEVICE = device_key(2)
REQUEST = build_request(
    ROOT.fingerprint, DEVICE, caps=("id1",), not_after=NOW, omemo=(), addresses=(), iat=NOW
)
SUCCESSION = build_succession(ROOT, root_key(2), iat=NOW)


@given(st.binary(max_size=300) | st.builds(mutated, st.just(REQUEST), MUTATIONS))
def test_bytes_of_a_device_are_its_request_or_refused(data):
    with contextlib.suppress(ProtocolError):
        found = parse_request(data)
        # what is signed is what was signed, however it is written
        assert (found.root_fp, found.device.public) == (ROOT.fingerprint, DEVICE.public)


@given(st.binary(max_size=300) | st.builds(mutated, st.just(SUCCESSION), MUTATIONS))
def test_bytes_of_a_succession_are_that_one_or_refused(data):
    with contextlib.suppress(StatementInvalid):
        found = parse_succession(data, unix=NOW)
        assert (found.old, found.new) == (ROOT.fingerprint, root_key(2).fingerprint)


@given(JSON_VALUES)
def test_a_device_may_carry_anything_where_successions_stand(value):
    data = forged(with_entry(lambda entry: entry.update(successions=value)))
    with contextlib.suppress(StatementInvalid):  # a number that strict JSON has not
        assert parse_statement(data, unix=NOW).successions == ()


@given(
    st.sampled_from(["securecall:join:1:", "securecall:device:1:", "securecall:statement:1:", ""]),
    st.text(max_size=200) | st.binary(max_size=99).map(build_base64url),
)
def test_texts_for_devices_are_read_or_refused(prefix, rest):
    for parse in (parse_invitation, parse_request_text, parse_statement_text):
        with contextlib.suppress(ProtocolError):
            assert isinstance(parse(prefix + rest), bytes)


@given(MUTATIONS)
def test_a_mutated_word_of_an_organisation_says_the_same_or_is_refused(steps):
    original = parse_countersignature(word(), unix=NOW)
    with contextlib.suppress(StatementInvalid):
        assert parse_countersignature(mutated(word(), steps), unix=NOW) == original


@given(st.binary(max_size=300) | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_no_word_of_an_organisation(data):
    with pytest.raises(StatementInvalid):
        parse_countersignature(data, unix=NOW)


@given(st.text(max_size=120) | st.text(max_size=60).map(lambda text: CODE[:16] + text))
def test_any_text_is_no_code_of_an_organisation(text):
    with pytest.raises(ProtocolError):
        parse_organisation_code(text)
