"""Answers of web servers, and addresses, whatever is in them."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.transport.http import Answer
from securecall.transport.web_address import is_public, parse_web_address

LINES = st.sampled_from(
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 100 Continue\r\n", b"Content-Length: 5\r\n", b"\r\n",
     b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n", b"0\r\n", b"Location: /x\r\n", b"hello"]
)  # fmt: skip
DATA = st.one_of(
    st.binary(max_size=300),
    st.lists(st.one_of(LINES, st.binary(max_size=8)), max_size=12).map(b"".join),
)


def read(data, step):
    answer, out = Answer(), b""
    for i in range(0, len(data), step):
        out += answer.receive(data[i : i + step])
    answer.end()
    return answer.head, out, answer.done


@given(DATA, st.integers(1, 50))
def test_any_answer_in_any_pieces_is_read_alike_or_refused(data, step):
    whole = cut = None
    with contextlib.suppress(ProtocolError):
        whole = read(data, len(data) or 1)
    with contextlib.suppress(ProtocolError):
        cut = read(data, step)
    assert whole == cut


@given(st.lists(st.binary(min_size=1, max_size=70), max_size=10), st.integers(1, 50))
def test_chunks_give_what_was_put_into_them(chunks, step):
    body = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks)
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"
    _, out, done = read(data, step)
    assert (out, done) == (b"".join(chunks), True)


@given(st.one_of(st.text(max_size=80), st.text(max_size=80).map("https://".__add__)))
def test_any_text_is_an_address_of_one_form_or_refused(text):
    with contextlib.suppress(ProtocolError):
        where = parse_web_address(text)
        assert parse_web_address(str(where)) == where
        assert str(where).isascii()
        assert not set(str(where)) & set(" \r\n\t\0#")


@given(st.one_of(st.text(max_size=40), st.ip_addresses().map(str)))
def test_any_text_is_public_or_not(text):
    assert is_public(text) in {True, False}
