"""The lines of text by which devices find each other: read however mail broke them."""

from __future__ import annotations

import pytest

from securecall.errors import ProtocolError
from securecall.keys.enrolment import (
    build_invitation,
    build_request_text,
    build_statement_text,
    parse_invitation,
    parse_request_text,
    parse_statement_text,
)
from securecall.keys.statement_content import MAX_SIZE
from tests.forge_statement import root_key

PUBLIC = root_key().public
LINES = {
    "request": (build_request_text, parse_request_text, b"request", "securecall:device:1:"),
    "statement": (build_statement_text, parse_statement_text, b"signed", "securecall:statement:1:"),
    "invitation": (build_invitation, parse_invitation, PUBLIC, "securecall:join:1:"),
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_is_read_however_it_was_broken(name):
    build, parse, data, prefix = LINES[name]
    line = build(data)
    assert line.startswith(prefix)
    for broken in (line, f"  {line}\n", "\r\n".join(line), f"{line[:20]} {line[20:]}"):
        assert parse(broken) == data


@pytest.mark.parametrize("name", LINES)
def test_a_line_of_another_kind_is_refused(name):
    build, parse, data, prefix = LINES[name]
    line = build(data)
    others = [make(value) for make, _, value, begin in LINES.values() if begin != prefix]
    bare = line.removeprefix(prefix)
    for wrong in ("", bare, line[1:], line.upper(), f"{line}=", f"{line}!", *others):
        with pytest.raises(ProtocolError, match="device request"):
            parse(wrong)


@pytest.mark.parametrize("name", ["request", "statement"])
def test_a_line_is_as_long_as_may_be_and_no_longer(name):
    build, parse, _, prefix = LINES[name]
    data = bytes((2 * MAX_SIZE - len(prefix)) * 3 // 4)
    assert 2 * MAX_SIZE - 1 <= len(build(data)) <= 2 * MAX_SIZE
    assert parse(build(data)) == data
    with pytest.raises(ProtocolError):
        parse(build(data + b"!!"))


def test_a_statement_itself_is_taken_for_one():
    data = b'{"payload":""}'
    assert parse_statement_text(f" {data.decode()}\n") == data
    longest = "{" + "x" * (MAX_SIZE - 1)
    assert parse_statement_text(longest) == longest.encode()
    for wrong in (longest + "x", '{"payload":"ü"}'):
        with pytest.raises(ProtocolError):
            parse_statement_text(wrong)
