"""Digits by INFO: taken only where the call model said so, and sent in the way the peer knows."""

from __future__ import annotations

import pytest

from securecall.calls.signaling import (
    Answered,
    DigitAnswered,
    DigitPressed,
    DigitsWelcome,
    Ended,
    Offered,
    Trickled,
)
from securecall.errors import EndReason
from securecall.media.description import Candidate, LocalIce
from securecall.sip.fragment import FRAGMENT, build_fragment
from securecall.sip.grammar import SipError
from securecall.sip.information import PLAIN, RELAY, read_digit
from securecall.sip.output import Rang
from securecall.sip.sdp import parse_description
from tests.unit.sip.test_agent import (
    BODY,
    agent,
    answer,
    answered,
    give,
    incoming,
    methods,
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
        ("Info-Package: trickle-ice\r\n", b"", 469, ("recv-info", "")),
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


# -- candidates that are found later (RFC 8840) ---------------------------------------------------

TRICKLING = BODY + b"a=ice-options:ice2 trickle\r\n"
OFFER = parse_description(TRICKLING)
RECEIVES = "Recv-Info: foo;x=1, Trickle-ICE\r\nSupported: trickle-ice\r\n"
PACKAGE = "Info-Package: trickle-ice\r\n"


def found(*ports, complete=False):
    candidates = tuple(Candidate("1", 1, "udp", 1, "192.0.2.7", port, "relay") for port in ports)
    ice = LocalIce(ufrag="abcd", pwd="p" * 22, candidates=candidates, complete=complete)
    return Trickled("0", ice)


def rung(a, *, more=RECEIVES, body=TRICKLING):
    (rang,) = [o for o in give(a, incoming(more=more, body=body)) if isinstance(o, Rang)]
    return rang.session


def said(session, a):
    """Accept; returns the To of the dialog."""
    (ok,) = sent(a.perform(session, Answered(OFFER), now=2.0))
    assert ok.headers.all("recv-info") == ["trickle-ice"]
    assert "trickle-ice" in ok.headers.first("supported")
    assert b"a=ice-options:trickle" in ok.body
    return ok.need("to")


def acknowledge(a, to, now=3.0):
    return give(a, incoming("ACK", body=b"", to=to, branch="z9hG4bKack"), now)


def told_later(to, told, *, cseq="8", more=PACKAGE, kind=FRAGMENT):
    body = told if isinstance(told, bytes) else build_fragment(told)
    return incoming("INFO", body=body, to=to, cseq=cseq, branch=f"zc{cseq}", type=kind, more=more)


@pytest.mark.parametrize(
    ("more", "body", "trickle"),
    [(RECEIVES, TRICKLING, True), ("", TRICKLING, False), (RECEIVES, BODY, False)],
)
def test_who_says_so_in_sip_and_in_the_description_takes_candidates_later(more, body, trickle):
    assert rung(agent(), more=more, body=body).offer.trickle is trickle


def test_what_is_found_waits_for_the_ack_and_is_told_one_at_a_time():
    a = agent()
    session = rung(a)
    to = said(session, a)
    assert sent(a.perform(session, found(1), now=2.5)) == []
    (first,) = sent(acknowledge(a, to))
    assert first.method == "INFO"
    assert first.headers.first("info-package") == "trickle-ice"
    assert first.headers.first("content-type") == FRAGMENT
    assert first.headers.first("content-disposition").lower() == "info-package"
    assert first.body == build_fragment(found(1))
    assert sent(a.perform(session, found(1, 2), now=3.1)) == []
    assert sent(a.perform(session, found(1, 2, 3, complete=True), now=3.2)) == []
    (last,) = sent(give(a, answer(first, 200), 3.3))
    assert last.body == build_fragment(found(1, 2, 3, complete=True))
    assert sent(give(a, answer(last, 469), 3.4)) == []
    a.perform(session, Ended(EndReason.HUNG_UP), now=3.5)
    assert sent(a.perform(session, found(4), now=3.6)) == []


def test_what_is_found_after_a_restart_waits_for_its_ack_too():
    a = agent()
    session = rung(a)
    to = said(session, a)
    acknowledge(a, to)
    invite = incoming(to=to, cseq="9", branch="zre", more=RECEIVES, body=TRICKLING)
    (offered,) = told(give(a, invite, 4.0))
    assert isinstance(offered, Offered)
    assert offered.description.trickle
    a.perform(session, Answered(OFFER), now=4.1)
    assert sent(a.perform(session, found(1), now=4.2)) == []
    ack = incoming("ACK", body=b"", to=to, cseq="9", branch="zack2")
    assert methods(give(a, ack, 4.3)) == ["INFO"]


def test_candidates_of_the_peer_are_told_once_the_call_is_accepted():
    a = agent()
    session = rung(a)
    early = give(a, told_later("<sip:alice@example.com>;tag=" + session.local_tag, found(1)), 1.5)
    assert (statuses(early), told(early)) == ([469], [])
    assert sent(early)[0].headers.all("recv-info") == [""]
    to = said(session, a)
    before_ack = give(a, told_later(to, found(1), cseq="9"), 2.5)
    assert (statuses(before_ack), told(before_ack)) == ([200], [found(1)])
    acknowledge(a, to)
    after = give(a, told_later(to, found(1, 2, complete=True), cseq="10"), 3.5)
    assert (statuses(after), told(after)) == ([200], [found(1, 2, complete=True)])
    older = give(a, told_later(to, found(1), cseq="9"), 3.6)
    assert told(older) == []


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"kind": "application/sdp"}, 415),
        ({"more": PACKAGE + "Content-Disposition: render\r\n"}, 415),
        ({"more": PACKAGE + "Content-Encoding: gzip\r\n"}, 415),
        ({"more": "Info-Package: trickle-icy\r\n"}, 469),
        ({"more": ""}, 415),
        ({"told": b"a=candidate:1\r\n"}, 400),
        ({"told": b"m=audio 9 RTP/AVP 0\r\n" * 2000}, 513),
        ({"more": PACKAGE + "Content-Disposition: Info-Package\r\n"}, 200),
    ],
)
def test_an_info_that_is_not_in_order_is_refused(changes, status):
    a = agent()
    session = rung(a)
    to = said(session, a)
    acknowledge(a, to)
    outputs = give(a, told_later(to, **{"told": found(1), **changes}), 4.0)
    assert statuses(outputs) == [status]
    assert told(outputs) == ([found(1)] if status == 200 else [])


def test_where_one_end_did_not_agree_the_package_is_not_taken():
    a = agent()
    session = rung(a, more="")
    (ok,) = sent(a.perform(session, Answered(parse_description(BODY)), now=2.0))
    to = ok.need("to")
    acknowledge(a, to)
    outputs = give(a, told_later(to, found(1)), 4.0)
    assert (statuses(outputs), told(outputs)) == ([469], [])
