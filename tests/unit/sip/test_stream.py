"""The stream cutter: where a message ends, and what is said to whoever leaves that open."""

from __future__ import annotations

import pytest

from securecall.sip.grammar import SipError
from securecall.sip.headers import parse_fields, salvage_fields
from securecall.sip.limits import MOST_BODY_BYTES, MOST_FIELDS, MOST_HEADER_BYTES
from securecall.sip.message import Request, Response
from securecall.sip.stream import MessageStream
from tests.unit.sip.test_agent import agent, give, statuses

HEAD = (
    b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TLS c;branch=z9hG4bK1\r\nFrom: <sip:c@d>;tag=1\r\n"
    b"To: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n"
)
EMPTY = b"Content-Length: 0\r\n\r\n"
LAST = {
    "no length": (b"\r\n", 400),
    "two lengths": (b"Content-Length: 0\r\nl: 5\r\n\r\n", 400),
    "a negative length": (b"Content-Length: -1\r\n\r\n", 400),
    "a length of a thousand digits": (b"Content-Length: " + b"9" * 1000 + b"\r\n\r\n", 400),
    "a length of 2^32": (b"Content-Length: 4294967296\r\n\r\n", 400),
    "a body beyond the limit": (b"Content-Length: %d\r\n\r\n" % (MOST_BODY_BYTES + 1), 513),
    "a line without a colon": (b"nonsense\r\n" + EMPTY, 400),
    "a name that is no token": (b"Content Length: 5\r\n" + EMPTY, 400),
    "too many fields": (b"X: 1\r\n" * (MOST_FIELDS - 6) + EMPTY, 513),
    "too many bytes": (b"X: " + b"x" * MOST_HEADER_BYTES + b"\r\n" + EMPTY, 513),
    "too many bytes and no end": (b"X: " + b"x" * MOST_HEADER_BYTES, 513),
}


def heard(data: bytes, *, size: int) -> tuple[list[int], MessageStream]:
    """What is answered to bytes that come in pieces."""
    stream, a, out = MessageStream(), agent(), []
    for i in range(0, len(data), size):
        if stream.failure is None:
            for message in stream.feed(data[i : i + size]):
                out += statuses(give(a, message))
    return out, stream


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
@pytest.mark.parametrize("case", LAST)
def test_a_message_whose_end_cannot_be_known_is_answered_and_the_last(case, size):
    rest, status = LAST[case]
    data = HEAD + EMPTY + HEAD.replace(b"z9hG4bK1", b"z9hG4bK2") + rest + HEAD + EMPTY
    answers, stream = heard(data, size=size)
    assert answers == [200, status]
    assert stream.failure is not None
    with pytest.raises(SipError):
        stream.feed(HEAD)


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_a_header_may_be_as_long_as_the_limit_however_it_comes(size):
    room = MOST_HEADER_BYTES - len(HEAD + EMPTY) - len(b"X: \r\n") + len(b"\r\n\r\n")
    answers, stream = heard(HEAD + b"X: " + b"x" * room + b"\r\n" + EMPTY, size=size)
    assert answers == [200]
    assert stream.idle
    answers, stream = heard(HEAD + b"X: " + b"x" * (room + 1) + b"\r\n" + EMPTY, size=size)
    assert answers == [513]


def test_there_may_be_as_many_fields_as_the_limit():
    answers, stream = heard(HEAD + b"X: 1\r\n" * (MOST_FIELDS - 7) + EMPTY, size=1 << 20)
    assert answers == [200]
    assert stream.idle


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_header_that_is_not_utf_8_is_refused_and_the_connection_goes_on(size):
    # as a name in Latin-1 is: it must not cost us the connection to the server that passed it on
    latin = HEAD.replace(b"From: ", b'From: "J\xfcrgen" ').replace(b"z9hG4bK1", b"z9hG4bK2")
    answers, stream = heard(latin + EMPTY + HEAD + EMPTY, size=size)
    assert answers == [400, 200]
    assert stream.idle


@pytest.mark.parametrize("line", [b"SIP/3.0 200 OK", b"SIP/2.0 99 no", b"SIP/2.0 1000 no"])
def test_a_response_nobody_can_mean_is_dropped_and_the_connection_goes_on(line):
    response = HEAD.replace(b"OPTIONS sip:a@b SIP/2.0", line)
    answers, stream = heard(response + EMPTY + HEAD + EMPTY, size=1 << 20)
    assert answers == [200]
    assert stream.idle


@pytest.mark.parametrize("end", [b"\r", b"\n"])
def test_a_line_that_ends_otherwise_is_not_answered(end):
    # it is how one message is smuggled inside another, so nothing of it is read
    answers, stream = heard(HEAD + b"X: 1" + end + EMPTY, size=1 << 20)
    assert answers == []
    assert stream.failure is not None


def test_an_acknowledgement_and_a_response_are_never_answered():
    for line in (b"ACK sip:a@b SIP/2.0", b"SIP/2.0 200 OK"):
        data = HEAD.replace(b"OPTIONS sip:a@b SIP/2.0", line) + b"\r\n"
        (message,) = (stream := MessageStream()).feed(data)
        assert isinstance(message, (Request, Response))
        assert statuses(give(agent(), message)) == []
        assert stream.failure is message.fault is not None


@pytest.mark.parametrize(
    "lines",
    [["Foo: 1", "b"], ["a b: 1"], [" a: 1"], ["Foo: 1"] * (MOST_FIELDS + 1), ["Foo: 1", ": 2"]],
)
def test_lines_that_are_no_fields_are_refused_or_left_out_with_a_fault(lines):
    with pytest.raises(SipError) as refused:
        parse_fields(lines)
    rest = salvage_fields(lines)
    assert str(rest.fault) == str(refused.value)
    assert set(rest.items()) <= {("Foo", "1")}
