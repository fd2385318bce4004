"""Text messages: what is read, what is refused, and with which status."""

from __future__ import annotations

import pytest

from securecall.errors import UsageError
from securecall.sip.grammar import SipError
from securecall.sip.headers import Headers
from securecall.sip.limits import MOST_TEXT_BYTES
from securecall.sip.message import Request
from securecall.sip.text import build_text, read_text, text_fields


def message(body: bytes, kind: str = "text/plain", **more: str) -> Request:
    fields = (("Content-Type", kind), *((n.replace("_", "-"), v) for n, v in more.items()))
    return Request("MESSAGE", "sip:bob@a.example", Headers(fields), body)


def test_what_is_written_is_read():
    request = Request("MESSAGE", "sip:b@a.example", text_fields(), build_text("Grüße, 你好 👋🏽"))
    assert read_text(request) == "Grüße, 你好 👋🏽"


@pytest.mark.parametrize(
    "kind", ["text/plain", 'TEXT/Plain ; charset = "utf-8"', "text/plain;charset=us-ascii"]
)
def test_plain_text_is_understood_however_it_is_written(kind):
    assert read_text(message(b"hello", kind)) == "hello"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (message(b"x", "text/html"), 415),
        (message(b"x", ""), 415),
        (message(b"x", "text/plain;charset=iso-8859-1"), 415),
        (message(b"x", Content_Encoding="gzip"), 415),
        (message(b"x" * (MOST_TEXT_BYTES + 1)), 513),
        (message(b"\xff"), 400),
    ],
)
def test_anything_else_is_refused(request_, status):
    with pytest.raises(SipError) as caught:
        _ = read_text(request_)
    assert caught.value.status == status


def test_what_would_move_the_cursor_of_a_terminal_is_left_out():
    assert read_text(message("a\x1b[2J\x07b\r\nc\u202ed\x00".encode())) == "a[2Jb\ncd"


@pytest.mark.parametrize("text", ["", "x" * (MOST_TEXT_BYTES + 1), "\ud800"])
def test_what_is_no_message_is_not_sent(text):
    with pytest.raises(UsageError):
        _ = build_text(text)
