"""Reliable provisional responses: order, repetition, and what a PRACK must say."""

from __future__ import annotations

import pytest

from securecall.calls.signaling import Answered, Ended, Ringing
from securecall.errors import EndReason
from securecall.sip.grammar import SipError
from securecall.sip.message import Request, Response
from securecall.sip.output import Output, Rang
from securecall.sip.reliable import MOST_TAKEN, RAck, Receiver, parse_rack
from tests.unit.sip.test_agent import (
    BODY,
    OFFER,
    agent,
    answer,
    calling,
    give,
    incoming,
    methods,
    sent,
    statuses,
    told,
)


def test_rack_is_read():
    assert parse_rack("776656 1 INVITE") == RAck(776656, 1, "INVITE")


@pytest.mark.parametrize(
    "text",
    ["", "1", "1 2", "1 2 INVITE x", "1,2 INVITE", "-1 2 INVITE", "1 2 IN/VITE",
     "4294967296 1 INVITE", "1 2147483648 INVITE", " 1 2 INVITE",
     "\uff11 2 INVITE", "99999999999 1 INVITE"],
)  # fmt: skip
def test_a_malformed_rack_is_refused(text):
    with pytest.raises(SipError) as refused:
        parse_rack(text)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("numbers", "taken"),
    [
        ([5, 6, 7], [True, True, True]),
        ([5, 5, 6, 6], [True, False, True, False]),
        ([5, 7, 6], [True, False, True]),
        ([5, 4], [True, False]),
        ([0, 1], [False, True]),
        ([2**32 - 1], [True]),
    ],
)
def test_responses_are_taken_in_order_once(numbers, taken):
    receiver = Receiver()
    assert [receiver.take(number) for number in numbers] == taken


# -- we call --------------------------------------------------------------------------------------


def provisional(
    invite: Request, status: int, rseq: str | None, *, tag: str = "b", body: bytes = b""
):
    response = answer(invite, status, tag=tag, body=body)
    response.headers.add("Require", "100rel")
    if rseq is not None:
        response.headers.add("RSeq", rseq)
    return response


def test_each_fork_counts_for_itself_and_its_prack_is_of_its_dialog():
    a = agent()
    _, invite = calling(a)
    for tag, rseq in (("one", 10), ("two", 77), ("one", 11)):
        (prack,) = sent(give(a, provisional(invite, 183, str(rseq), tag=tag)))
        assert isinstance(prack, Request)
        assert prack.method == "PRACK"
        assert prack.to.tag == tag
        assert prack.target == f"sip:bob-{tag}@192.0.2.2"
        assert prack.headers.first("rack") == f"{rseq} {invite.cseq.number} INVITE"
        assert prack.cseq.number == invite.cseq.number + 1 + (rseq == 11)


@pytest.mark.parametrize("rseq", ["10", "12", "9", "0", "x", "-1", "4294967296", None])
def test_what_is_repeated_out_of_order_or_malformed_is_neither_acknowledged_nor_looked_at(rseq):
    a = agent()
    _, invite = calling(a)
    _ = give(a, provisional(invite, 183, "10"))
    outputs = give(a, provisional(invite, 180, rseq, body=BODY))
    assert (sent(outputs), told(outputs)) == ([], [])
    outputs = give(a, provisional(invite, 180, "11"))  # the control: the next one is
    assert (methods(outputs), told(outputs)) == (["PRACK"], [Ringing()])


def test_a_response_of_two_numbers_has_none():
    a = agent()
    _, invite = calling(a)
    response = provisional(invite, 180, "10")
    response.headers.add("RSeq", "11")
    assert sent(give(a, response)) == []


def test_a_peer_cannot_have_any_number_of_transactions_opened():
    a = agent()
    _, invite = calling(a)
    outputs = [o for n in range(1, 200) for o in give(a, provisional(invite, 183, str(n)))]
    assert methods(tuple(outputs)) == ["PRACK"] * MOST_TAKEN


def test_100_is_never_reliable_and_a_response_without_a_dialog_neither():
    a = agent()
    _, invite = calling(a)
    assert sent(give(a, provisional(invite, 100, "1"))) == []
    response = provisional(invite, 180, "1")
    response.headers.replace("To", invite.need("to"))
    assert sent(give(a, response)) == []


def test_an_answer_in_a_reliable_response_counts_with_a_2xx_that_has_none():
    a = agent()
    _, invite = calling(a)
    outputs = give(a, provisional(invite, 183, "1", body=BODY))
    assert told(outputs) == [Answered(OFFER, final=False)]
    outputs = give(a, answer(invite, 200))
    assert (methods(outputs), told(outputs)) == (["ACK"], [Answered(OFFER)])


@pytest.mark.parametrize("tag", ["b", "other"])
def test_an_unreliable_answer_or_one_of_another_fork_does_not(tag):
    a = agent()
    _, invite = calling(a)
    if tag == "b":
        _ = give(a, answer(invite, 183, body=BODY))
    else:
        _ = give(a, provisional(invite, 183, "1", body=BODY, tag=tag))
    outputs = give(a, answer(invite, 200))
    assert methods(outputs) == ["ACK", "BYE"]
    (end,) = (signal for signal in told(outputs) if isinstance(signal, Ended))
    assert end.reason is EndReason.PROTOCOL


def test_the_counter_of_the_dialog_goes_on_after_the_answer():
    a = agent()
    session, invite = calling(a)
    _ = give(a, provisional(invite, 180, "1"))
    _ = give(a, answer(invite, 200, body=BODY))
    (bye,) = sent(a.perform(session, Ended(EndReason.HUNG_UP), now=3.0))
    assert bye.cseq.number == invite.cseq.number + 2


# -- we are called --------------------------------------------------------------------------------


def insisting(*, body: bytes = BODY):
    a = agent()
    (rang,) = (
        o for o in give(a, incoming(more="Require: 100rel\r\n", body=body)) if isinstance(o, Rang)
    )
    return a, rang.session


def prack_of(response: Response, *, rack: str | None = None, cseq: str = "8", **more: object):
    rseq = response.headers.first("rseq")
    rack = f"{rseq} 7 INVITE" if rack is None else rack
    body = more.get("body", b"")
    assert isinstance(body, bytes)
    return incoming(
        "PRACK", body=body, to=response.need("to"), cseq=cseq, branch=f"z9hG4bKp{cseq}",
        more=f"RAck: {rack}\r\n",
    )  # fmt: skip


def test_ringing_is_repeated_with_doubled_waits_until_its_prack():
    a, session = insisting()
    (first,) = sent(a.perform(session, Ringing(), now=2.0))
    assert isinstance(first, Response)
    assert (first.status, first.headers.first("require")) == (180, "100rel")
    assert 1 <= int(first.need("rseq")) < 2**31
    for now in (2.5, 3.5, 5.5, 9.5):
        assert sent(a.expire(now=now - 0.01)) == []
        assert sent(a.expire(now=now)) == [first]
    assert a.perform(session, Ringing(), now=9.6) == ()  # one is enough
    assert statuses(give(a, prack_of(first), 10.0)) == [200]
    assert sent(a.expire(now=60.0)) == []
    assert statuses(a.perform(session, Answered(OFFER), now=61.0)) == [200]


@pytest.mark.parametrize(
    ("rack", "status"),
    [
        ("1 7 INVITE", 481),
        ("{rseq} 6 INVITE", 481),
        ("{rseq} 7 UPDATE", 481),
        ("{rseq} 7 invite", 481),
        ("{rseq}", 400),
        ("{rseq} 7 INVITE, 1 7 INVITE", 400),
    ],
)
def test_a_prack_that_fits_nothing_is_refused_and_the_ringing_goes_on(rack, status):
    a, session = insisting()
    (first,) = sent(a.perform(session, Ringing(), now=2.0))
    text = rack.format(rseq=first.need("rseq"))
    assert statuses(give(a, prack_of(first, rack=text), 2.1)) == [status]
    assert statuses(a.expire(now=2.5)) == [180]
    assert statuses(give(a, prack_of(first, cseq="9"), 3.0)) == [200]
    assert statuses(give(a, prack_of(first, cseq="10"), 3.1)) == [481]  # once only


def test_an_offer_in_prack_is_refused_but_the_response_is_acknowledged():
    a, session = insisting()
    (first,) = sent(a.perform(session, Ringing(), now=2.0))
    outputs = give(a, prack_of(first, body=BODY), 2.1)
    assert (statuses(outputs), told(outputs)) == ([488], [])
    assert sent(a.expire(now=30.0)) == []
    assert statuses(a.perform(session, Answered(OFFER), now=31.0)) == [200]


def test_nothing_of_ours_is_described_before_somebody_accepts():
    a, session = insisting(body=b"")
    # a reliable response to an offerless INVITE would have to carry our offer
    assert a.perform(session, Ringing(), now=2.0) == ()


@pytest.mark.parametrize("end", ["cancel", "refuse", "bye", "lost", "accept"])
def test_whatever_ends_the_ringing_ends_its_repetition(end):
    a, session = insisting()
    (first,) = sent(a.perform(session, Ringing(), now=2.0))
    out: tuple[Output, ...]
    if end == "cancel":
        out = give(a, incoming("CANCEL", body=b""), 2.1)
        assert statuses(out) == [200, 487]
    elif end == "refuse":
        assert statuses(a.perform(session, Ended(EndReason.BUSY), now=2.1)) == [486]
    elif end == "bye":
        bye = incoming("BYE", body=b"", to=first.need("to"), cseq="8", branch="z9hG4bKbye")
        out = give(a, bye, 2.1)
        assert statuses(out) == [200, 487]
        assert told(out) == [Ended(EndReason.CANCELLED)]
    elif end == "lost":
        assert told(a.lost(1, now=2.1)) == [Ended(EndReason.PEER_VANISHED)]
    else:
        _ = a.perform(session, Answered(OFFER), now=2.1)
        ack = incoming("ACK", body=b"", to=first.need("to"), branch="z9hG4bKack")
        _ = give(a, ack, 2.2)
    assert 180 not in statuses(a.expire(now=30.0))
