"""One HTTP exchange as bytes."""

from __future__ import annotations

import pytest

from securecall.errors import ProtocolError, UsageError
from securecall.transport.http import MOST_HEAD, Answer, build_request, parse_head
from securecall.transport.web_address import WebAddress

WHERE = WebAddress(host="u.example", port=5443, target="/a/b?c")


def read(data, *, step=0, closed=False):
    answer, out = Answer(), b""
    step = step or len(data) or 1
    for i in range(0, len(data), step):
        out += answer.receive(data[i : i + step])
    if closed:
        answer.end()
    return answer, out


def test_a_request_says_what_it_must_and_nothing_of_us():
    request = build_request("PUT", WHERE, {"Content-Type": "application/octet-stream"}, length=5)
    assert request == (
        b"PUT /a/b?c HTTP/1.1\r\nHost: u.example:5443\r\nConnection: close\r\n"
        b"Accept-Encoding: identity\r\nContent-Type: application/octet-stream\r\n"
        b"Content-Length: 5\r\n\r\n"
    )


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\0", "é"])
def test_a_field_cannot_become_two(value):
    with pytest.raises(UsageError):
        build_request("GET", WHERE, {"Cookie": value})


ANSWERS = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "nothing": (b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", b""),
    "no content": (b"HTTP/1.1 204 \r\n\r\n", b""),
    "no reason": (b"HTTP/1.0 200\r\nContent-Length:2\r\n\r\nhi", b"hi"),
    "twice the same": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nhi",
        b"hi",
    ),
    "continue first": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"hi",
    ),
    "more than it says": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhidden", b"hi"),
    "chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nhel\r\n2;ext=1\r\nlo\r\n0\r\nTrailer: x\r\n\r\n",
        b"hello",
    ),
}


@pytest.mark.parametrize(("data", "content"), ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("step", [0, 1, 2, 7])
def test_an_answer_is_read_from_whatever_pieces(data, content, step):
    answer, out = read(data, step=step)
    assert (answer.done, out) == (True, content)


def test_without_a_length_the_end_tells():
    data = b"HTTP/1.0 200 OK\r\n\r\nhello"
    assert not read(data)[0].done
    answer, out = read(data, closed=True)
    assert (answer.done, out) == (True, b"hello")


@pytest.mark.parametrize(
    "data",
    [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"],
)  # fmt: skip
def test_what_broke_off_is_not_done(data):
    assert not read(data, closed=True)[0].done


HEADS = {
    "not HTTP": b"SSH-2.0-OpenSSH",
    "HTTP/2": b"HTTP/2 200 OK",
    "status of two digits": b"HTTP/1.1 20 OK",
    "status 600": b"HTTP/1.1 600 OK",
    "no colon": b"HTTP/1.1 200 OK\r\nfoo",
    "space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 5",
    "folded": b"HTTP/1.1 200 OK\r\nA: b\r\n c",
    "bare line feed": b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 5",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
    "list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1",
    "plus": b"HTTP/1.1 200 OK\r\nContent-Length: +5",
    "endless length": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 19,
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
    "gzip": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
    "coding twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "101 fields": b"HTTP/1.1 200 OK" + b"\r\na: b" * 101,
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_head_with_two_readings_is_refused(head):
    with pytest.raises(ProtocolError):
        parse_head(head)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAMS = {
    "endless head": b"HTTP/1.1 200 OK\r\nA: " + b"x" * MOST_HEAD,
    "switching": b"HTTP/1.1 101 Switching\r\n\r\n",
    "endless hints": b"HTTP/1.1 103 Early\r\n\r\n" * 20,
    "chunk without size": CHUNKED + b"\r\n",
    "chunk of no number": CHUNKED + b"xyz\r\n",
    "negative chunk": CHUNKED + b"-1\r\n",
    "huge chunk": CHUNKED + b"F" * 16 + b"\r\n",
    "endless chunk line": CHUNKED + b"1;" + b"x" * 300,
    "longer chunk": CHUNKED + b"2\r\nhello\r\n",
    "endless trailer": CHUNKED + b"0\r\n" + b"a: b\r\n" * 3000,
}


@pytest.mark.parametrize("data", STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("step", [0, 97])
def test_an_answer_that_breaks_a_rule_is_refused(data, step):
    with pytest.raises(ProtocolError):
        read(data, step=step)


def test_where_it_leads_is_told_but_not_shown():
    head = parse_head(b"HTTP/1.1 302 Found\r\nLocation: /secret")
    assert head.location == "/secret"
    assert "secret" not in repr(head)
