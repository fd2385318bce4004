"""Byte helpers of the keys: one spelling for one value, one reading for one text."""

from __future__ import annotations

import base64
import itertools
import string

import pytest

from securecall.errors import ProtocolError
from securecall.keys.encoding import build_base64url, parse_base64url, parse_json

DIGITS = string.ascii_letters + string.digits + "-_"


def spelled(data: bytes) -> str:
    """As the library writes it; the control of what ours takes."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize("before", ["", "AAAA", "_-_-"])
def test_of_all_short_texts_those_are_taken_that_the_library_would_write(before):
    taken = 0
    pairs = ["".join(pair) for pair in itertools.product(DIGITS, repeat=2)]
    for text in (before + start + pair for start in ("", "Q") for pair in pairs):
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if spelled(data) == text:
            assert parse_base64url(text) == data
            taken += 1
        else:
            with pytest.raises(ProtocolError, match="canonical"):
                parse_base64url(text)
    assert taken == 64 * 4 + 64 * 16


@pytest.mark.parametrize("size", range(9))
def test_what_was_built_is_parsed(size):
    data = bytes(range(247, 247 + size))
    assert build_base64url(data) == spelled(data)
    assert parse_base64url(build_base64url(data)) == data


@pytest.mark.parametrize(
    "text", ["A", "AA==", "AA=", "A+/A", "AAA ", " AAA", "AAAA\n", "AÄAA", "A\0AA"]
)
def test_another_alphabet_is_none(text):
    with pytest.raises(ProtocolError, match="base64url"):
        parse_base64url(text)


@pytest.mark.parametrize(
    "data",
    [
        rb'{"a":"\ud800"}',
        rb'{"\udfff":1}',
        rb'{"a":["\ud800"]}',
        rb'{"a":{"b":[["x\udc00\ud800"]]}}',
        b'{"a":"\xed\xa0\x80"}',
    ],
)
def test_half_a_character_is_refused_wherever_it_stands(data):
    with pytest.raises(ProtocolError):
        parse_json(data, max_size=1000, max_depth=6)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (rb'{"a":"\ud83d\ude00"}', "\U0001f600"),
        ('{"a":"\U0001f600"}'.encode(), "\U0001f600"),
        (rb'{"a":"\\ud800"}', r"\ud800"),
    ],
)
def test_a_whole_character_is_read_however_it_is_written(data, value):
    assert parse_json(data, max_size=1000, max_depth=6) == {"a": value}


@pytest.mark.parametrize("more", [b"", rb'"\u0041":1,'])
def test_a_member_stands_once_whether_or_not_something_is_escaped(more):
    assert parse_json(b"{" + more + b'"a":1,"b":2}', max_size=1000, max_depth=6)["b"] == 2
    for twice in (b'"a":1,"a":1}', rb'"a":1,"\u0061":2}', b'"b":{"a":1,"a":1}}'):
        with pytest.raises(ProtocolError):
            parse_json(b"{" + more + twice, max_size=1000, max_depth=6)


@pytest.mark.parametrize("number", ["-1", "1.0", "1e3", "NaN", "Infinity", "9007199254740992"])
def test_numbers_that_readers_disagree_on_are_refused(number):
    with pytest.raises(ProtocolError):
        parse_json(f'{{"a":{number}}}'.encode(), max_size=1000, max_depth=6)
