"""Bodies of several parts: what is found in them, and what is refused."""

from __future__ import annotations

import pytest

from securecall.errors import ProtocolError
from securecall.sip.body import find_description
from securecall.sip.grammar import SipError
from securecall.sip.headers import Headers
from securecall.sip.message import Request, Response
from securecall.sip.multipart import MOST_PARTS, split_parts
from tests.unit.sip.test_agent import (
    BODY,
    agent,
    answer,
    calling,
    give,
    incoming,
    methods,
    statuses,
)

SDP = b"Content-Type: application/sdp\r\n\r\nv=0\r\n"
ISUP = (
    b"Content-Type: application/isup\r\nContent-Disposition: signal;handling=optional\r\n\r\n\0\1"
)
NEEDED = (
    b"Content-Type: application/isup\r\nContent-Disposition: signal;handling=required\r\n\r\n\0"
)


def joined(*parts: bytes, boundary: bytes = b"b") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + p + b"\r\n" for p in parts) + (
        b"--" + boundary + b"--\r\n"
    )


def kind(name: str = "mixed", boundary: str = "b") -> str:
    return f"multipart/{name};boundary={boundary}"


def nested(body: bytes, name: str = "mixed", boundary: str = "b") -> bytes:
    return f"Content-Type: {kind(name, boundary)}\r\n\r\n".encode() + body


def request(body: bytes, content_type: str, *more: tuple[str, str]) -> Request:
    return Request("INVITE", "sip:a@b", Headers((("Content-Type", content_type), *more)), body)


FOUND = {
    "alone": (BODY, "application/sdp", BODY),
    "any case": (BODY, "Application/SDP; charset=utf-8", BODY),
    "first of two": (joined(SDP, ISUP), kind(), b"v=0\r\n"),
    "last of two": (joined(ISUP, SDP), kind(), b"v=0\r\n"),
    "an alternative": (
        joined(b"Content-Type: text/plain\r\n\r\nhi", SDP),
        kind("alternative"),
        b"v=0\r\n",
    ),
    "two deep": (joined(nested(joined(SDP, boundary=b"bb"), boundary="bb")), kind(), b"v=0\r\n"),
    "three deep": (
        joined(
            nested(
                joined(nested(joined(SDP, boundary=b"b3"), boundary="b3"), boundary=b"b2"),
                boundary="b2",
            )
        ),
        kind(),
        b"v=0\r\n",
    ),
    "preamble and epilogue": (b"see\r\n" + joined(SDP) + b"--b is not one\r\n", kind(), b"v=0\r\n"),
    "white space behind": (joined(SDP).replace(b"--b\r\n", b"--b \t\r\n"), kind(), b"v=0\r\n"),
    "a quoted boundary": (joined(SDP, boundary=b"a b?"), kind(boundary='"a b?"'), b"v=0\r\n"),
    "the boundary as a prefix of text": (
        joined(SDP + b"--bc\r\n--b-"),
        kind(),
        b"v=0\r\n--bc\r\n--b-",
    ),
    "binary": (joined(b"Content-Transfer-Encoding: BINARY\r\n" + SDP), kind(), b"v=0\r\n"),
    "nothing there": (joined(ISUP), kind(), None),
    "an optional body of another kind": (b"x", "text/plain", None),
}


@pytest.mark.parametrize("name", FOUND)
def test_the_description_is_found_wherever_it_may_stand(name):
    body, content_type, expected = FOUND[name]
    more = (("Content-Disposition", "render;handling=optional"),) if expected is None else ()
    assert find_description(request(body, content_type, *more)) == expected


REFUSED = {
    "no boundary": (joined(SDP), "multipart/mixed", 400),
    "an empty boundary": (joined(SDP, boundary=b""), 'multipart/mixed;boundary=""', 400),
    "an open quote": (joined(SDP), 'multipart/mixed;boundary="b', 400),
    "two boundaries": (joined(SDP), "multipart/mixed;boundary=b;boundary=c", 400),
    "a boundary that ends in a space": (joined(SDP), 'multipart/mixed;boundary="b "', 400),
    "a boundary of 71": (joined(SDP, boundary=b"b" * 71), kind(boundary="b" * 71), 400),
    "a boundary that does not occur": (joined(SDP), kind(boundary="c"), 400),
    "a body shorter than its boundary": (b"-", kind(boundary="long"), 400),
    "the end alone": (b"--b--", kind(), 400),
    "no end": (b"--b\r\n" + SDP, kind(), 400),
    "the opening alone": (b"--b", kind(), 400),
    "delimiters that share a line break": (b"--b\r\n--b--", kind(), 400),
    "delimiters that share one and could be a field": (
        b"--a:b\r\n--a:b\r\n\r\nx\r\n--a:b--", kind(boundary='"a:b"'), 400,
    ),
    "an inner body that ends only with the outer one": (
        joined(nested(b"--c\r\n" + SDP, boundary="c")), kind(), 400,
    ),
    "an inner body without a boundary": (
        joined(b"Content-Type: multipart/mixed\r\n\r\n" + joined(SDP, boundary=b"c")), kind(), 400,
    ),
    "an inner body with the outer boundary": (joined(nested(joined(SDP))), kind(), 400),
    "fields without an end": (joined(b"Content-Type: application/sdp"), kind(), 400),
    "fields that are no fields": (joined(b"nonsense\r\n\r\nv=0"), kind(), 400),
    "fields that are not UTF-8": (joined(b"A: \xff\r\n\r\nv=0"), kind(), 400),
    "a lone line feed": (joined(b"A: b\nContent-Type: application/sdp\r\n\r\nv=0"), kind(), 400),
    "two descriptions": (joined(SDP, SDP), kind(), 400),
    "two alternatives of one kind": (joined(SDP, SDP), kind("alternative"), 400),
    "a part that has to be understood": (joined(SDP, NEEDED), kind(), 415),
    "a part that does not say": (joined(SDP, b"Content-Type: text/plain\r\n\r\nhi"), kind(), 415),
    "no alternative understood": (joined(NEEDED), kind("alternative"), 415),
    "another multipart": (joined(SDP), kind("related"), 415),
    "base64": (joined(b"Content-Transfer-Encoding: base64\r\n" + SDP), kind(), 415),
    "a description for another purpose": (
        joined(b"Content-Disposition: early-session\r\n" + SDP), kind(), 415,
    ),
    "no type at all": (BODY, "", 415),
    "too many parts": (joined(*[ISUP] * (MOST_PARTS + 1)), kind(), 413),
    "too many parts at two depths": (
        joined(*[nested(joined(*[ISUP] * 8, boundary=b"c"), boundary="c")] * 2), kind(), 413,
    ),
    "four deep": (
        joined(nested(joined(nested(joined(nested(joined(SDP, boundary=b"b4"), boundary="b4"),
        boundary=b"b3"), boundary="b3"), boundary=b"b2"), boundary="b2")), kind(), 413,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_ambiguous_endless_or_not_understood_is_refused(name):
    body, content_type, status = REFUSED[name]
    with pytest.raises(SipError) as refused:
        find_description(request(body, content_type))
    assert refused.value.status == status


def test_a_response_is_not_failed_by_parts_that_nobody_could_refuse():
    headers = Headers((("Content-Type", kind()),))
    assert find_description(Response(200, "OK", headers, joined(SDP, NEEDED))) == b"v=0\r\n"


def test_a_call_begins_and_is_answered_with_several_parts():
    several = joined(b"Content-Type: application/sdp\r\n\r\n" + BODY, ISUP)
    a = agent()
    assert statuses(give(a, incoming(type=kind(), body=several))) == [100]
    b = agent()
    _, invite = calling(b)
    ok = answer(invite, 200, body=several)
    ok.headers.replace("Content-Type", kind())
    outputs = give(b, ok)
    assert methods(outputs) == ["ACK"]
    refused = give(agent(), incoming(type=kind(), body=joined(NEEDED)))
    assert statuses(refused) == [415]


def test_parts_are_counted_while_they_are_cut():
    assert len(split_parts(kind(), joined(*[ISUP] * MOST_PARTS))) == MOST_PARTS
    with pytest.raises(SipError):
        split_parts(kind(), joined(*[ISUP] * (MOST_PARTS + 1)))


def test_parts_are_cut_in_linear_work():
    # every line looks like a boundary until its last letter
    body = b"\r\n".join([b"--" + b"b" * 40 + b"x"] * 20000)
    with pytest.raises(ProtocolError):
        split_parts(kind(boundary="b" * 40), body)
