"""Digits by INFO: taken only where the call model said so, and sent in the way the peer knows."""

from __future__ import annotations

import pytest

from securecall.calls.signaling import DigitAnswered, DigitPressed, DigitsWelcome
from securecall.sip.grammar import SipError
from securecall.sip.information import PLAIN, RELAY, read_digit
from tests.unit.sip.test_agent import (
    agent,
    answer,
    answered,
    give,
    incoming,
    sent,
    statuses,
    told,
)


def info(to, body=b"Signal=5\r\nDuration=160\r\n", kind=RELAY, *, cseq="8"):
    return incoming("INFO", body=body, to=to, cseq=cseq, branch=f"z9hG4bKi{cseq}", type=kind)


@pytest.mark.parametrize(
    ("kind", "body", "digit"),
    [
        (RELAY, b"Signal=5\r\nDuration=160\r\n", "5"),
        (RELAY, b"Signal= *\nDuration= 250", "*"),
        (RELAY, b"Duration=100\r\nsignal=#\r\n", "#"),
        (RELAY, b"Signal=11\r\n", "#"),
        (RELAY, b"Signal=d", "D"),
        (PLAIN, b"7", "7"),
        (PLAIN, b" 10\r\n", "*"),
    ],
)
def test_a_digit_is_read_in_both_ways_that_are_in_use(kind, body, digit):
    assert read_digit(kind, body) == digit


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (RELAY, b"5"),
        (RELAY, b"Signal=\r\n"),
        (RELAY, b"Signal=16\r\n"),
        (RELAY, b"Signal=flash\r\n"),
        (RELAY, b"Signal=555\r\n"),
        (PLAIN, b""),
        (PLAIN, b"99"),
        (PLAIN, b"5 6"),
        (PLAIN, b" " * 300 + b"5"),
    ],
)
def test_what_is_no_digit_is_refused(kind, body):
    with pytest.raises(SipError):
        read_digit(kind, body)


@pytest.mark.parametrize(
    ("fields", "body", "status", "says"),
    [
        ("", b"", 200, None),
        ("Info-Package: dtmf\r\n", b"", 469, ("recv-info", "")),
        ("Info-Package: dtmf\r\n", b"Signal=1", 469, ("recv-info", "")),
        ("Info-Package:\r\n", b"", 469, ("recv-info", "")),
        ("", b"Signal=1", 415, ("accept", "")),
    ],
)
def test_before_digits_are_welcome_info_brings_nothing(fields, body, status, says):
    a = agent()
    _, to = answered(a)
    request = incoming(
        "INFO", body=body, to=to, cseq="8", branch="z9hG4bKi", type=RELAY, more=fields
    )
    outputs = give(a, request, 4.0)
    assert (statuses(outputs), told(outputs)) == ([status], [])
    if says is not None:
        assert sent(outputs)[0].headers.all(says[0]) == [says[1]]


def test_once_they_are_welcome_digits_are_told():
    a = agent()
    session, to = answered(a)
    assert a.perform(session, DigitsWelcome(), now=4.0) == ()
    outputs = give(a, info(to), 4.0)
    assert (statuses(outputs), told(outputs)) == ([200], [DigitPressed("5")])
    outputs = give(a, info(to, b"#", PLAIN, cseq="9"), 4.1)
    assert (statuses(outputs), told(outputs)) == ([200], [DigitPressed("#")])
    outputs = give(a, info(to, b"x", "text/plain", cseq="10"), 4.2)
    assert (statuses(outputs), told(outputs)) == ([415], [])
    assert sent(outputs)[0].headers.first("accept") == f"{RELAY}, {PLAIN}"
    outputs = give(a, info(to, b"Signal=x", cseq="11"), 4.3)
    assert (statuses(outputs), told(outputs)) == ([400], [])


def test_a_digit_is_sent_and_what_the_peer_says_is_told():
    a = agent()
    session, _ = answered(a)
    (first,) = sent(a.perform(session, DigitPressed("5"), now=4.0))
    assert (first.method, first.headers.first("content-type")) == ("INFO", RELAY)
    assert first.body == b"Signal=5\r\nDuration=160\r\n"
    assert told(give(a, answer(first, 100), 4.1)) == []
    assert told(give(a, answer(first, 200), 4.2)) == [DigitAnswered(taken=True)]


@pytest.mark.parametrize("second", [200, 415])
def test_a_peer_that_knows_the_other_way_gets_that_and_every_later_digit_too(second):
    a = agent()
    session, _ = answered(a)
    (first,) = sent(a.perform(session, DigitPressed("5"), now=4.0))
    outputs = give(a, answer(first, 415), 4.1)
    (again,) = sent(outputs)
    assert (again.headers.first("content-type"), again.body) == (PLAIN, b"5")
    assert told(outputs) == []
    outputs = give(a, answer(again, second), 4.2)
    assert told(outputs) == [DigitAnswered(taken=second == 200)]
    (next_one,) = sent(a.perform(session, DigitPressed("6"), now=4.3))
    assert next_one.headers.first("content-type") == PLAIN
