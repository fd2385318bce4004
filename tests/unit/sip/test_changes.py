"""UPDATE, re-INVITE and their refusals within a confirmed call, message by message."""

from __future__ import annotations

import itertools

import pytest

from securecall.calls.signaling import Answered, Ended, Offered, Refused
from securecall.errors import EndReason
from securecall.sip.agent import Agent
from securecall.sip.message import Request, Response
from securecall.sip.sdp import parse_description
from securecall.sip.session import Session
from securecall.sip.transaction import ClientTransaction
from tests.sip_wire import edited
from tests.unit.sip.test_agent import (
    BODY,
    OFFER,
    agent,
    answer,
    answered,
    calling,
    give,
    incoming,
    methods,
    sent,
    statuses,
    told,
)

MOVED = BODY.replace(b"4000", b"4002")


def update(to: str, *, cseq: str = "8", body: bytes = b"", more: str = ""):
    return incoming("UPDATE", body=body, to=to, cseq=cseq, branch=f"z9hG4bKu{cseq}", more=more)


def reinvite(to: str, *, cseq: str = "8", body: bytes = BODY, more: str = ""):
    return incoming(to=to, cseq=cseq, body=body, branch=f"z9hG4bKr{cseq}", more=more)


def test_an_update_without_an_offer_moves_the_target_and_tells_nobody():
    a = agent()
    session, to = answered(a)
    outputs = give(a, edited(update(to), Contact="<sip:moved@192.0.2.9>"), 4.0)
    assert (statuses(outputs), told(outputs)) == ([200], [])
    (bye,) = sent(a.perform(session, Ended(EndReason.HUNG_UP), now=5.0))
    assert bye.target == "sip:moved@192.0.2.9"


@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
def test_an_offer_by_either_method_is_put_to_the_call_model(method):
    make = update if method == "UPDATE" else reinvite
    a = agent()
    session, to = answered(a)
    assert told(give(a, make(to, body=MOVED), 4.0)) == [Offered(parse_description(MOVED))]
    (ok,) = sent(a.perform(session, Answered(OFFER), now=4.1))
    assert isinstance(ok, Response)
    assert (ok.status, ok.cseq.method) == (200, method)
    assert ok.headers.first("content-type") == "application/sdp"
    if method == "INVITE":
        _ = give(a, incoming("ACK", body=b"", to=to, cseq="8", branch="z9hG4bKack"), 4.2)
    # only the 2xx of an INVITE waits for an ACK
    assert sent(a.expire(now=60.0)) == []
    assert told(give(a, make(to, cseq="9", body=MOVED), 61.0)) != []
    assert statuses(a.perform(session, Refused(488), now=61.1)) == [488]
    assert not session.idle


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (lambda to: update(to, body=b"v=0\r\n"), 400),
        (lambda to: reinvite(to, body=b"v=0\r\n"), 400),
        (lambda to: edited(update(to), Contact="<sip:a@b>, <sip:c@d>"), 400),
        (lambda to: edited(reinvite(to), Contact="<tel:+1>"), 400),
        (lambda to: edited(update(to, body=BODY), Content_Type="text/plain"), 415),
        (lambda to: update(to, more="Require: precondition\r\n"), 420),
        (lambda to: update(to, more="Supported: timer\r\nSession-Expires: 10\r\n"), 422),
        (lambda to: reinvite(to, more="Session-Expires: x\r\n"), 400),
        (lambda to: update(to, cseq="7"), 500),
        (lambda to: update(to, cseq="3"), 500),
    ],
)
def test_a_change_that_breaks_a_rule_is_refused_and_the_call_goes_on(message, status):
    a = agent()
    session, to = answered(a)
    outputs = give(a, message(to), 4.0)
    assert (statuses(outputs), told(outputs)) == ([status], [])
    assert statuses(give(a, update(to, cseq="20"), 5.0)) == [200]
    assert session.dialog is not None
    assert session.dialog.target == "sip:bob@192.0.2.2"


def test_an_update_of_the_peer_meets_ours_and_waits():
    a = agent()
    session, to = answered(a)
    (mine,) = sent(a.perform(session, Offered(OFFER), now=4.0))
    assert statuses(give(a, update(to, body=BODY), 4.1)) == [491]
    assert statuses(give(a, update(to, cseq="9"), 4.2)) == [200]  # one without an offer does not
    assert told(give(a, answer(mine, 200, body=BODY), 4.3)) == [Answered(OFFER)]
    assert told(give(a, update(to, cseq="10", body=BODY), 4.4)) == [Offered(OFFER)]


@pytest.mark.parametrize("answer", [b"", b"v=0\r\nnonsense"], ids=["none", "malformed"])
def test_an_acknowledgement_that_owes_us_an_answer_changes_nothing(answer):
    a = agent()
    session, to = answered(a)
    (ok,) = sent(give(a, reinvite(to, body=b""), 4.0))
    assert isinstance(ok, Response)
    assert (ok.status, bool(ok.body)) == (200, True)
    outputs = give(a, incoming("ACK", body=answer, to=to, cseq="8", branch="z9hG4bKack"), 4.1)
    assert (sent(outputs), told(outputs), session.idle) == ([], [], False)
    assert told(give(a, reinvite(to, cseq="9", body=MOVED), 5.0)) != []


def test_a_cancelled_change_is_over_and_the_next_one_is_taken():
    a = agent()
    session, to = answered(a)
    _ = give(a, reinvite(to), 4.0)
    cancel = incoming("CANCEL", body=b"", to=to, cseq="8", branch="z9hG4bKr8")
    outputs = give(a, cancel, 4.1)
    assert statuses(outputs) == [200, 487]
    assert told(outputs) == [Refused(487)], "whoever still thinks about it may stop"
    assert a.perform(session, Answered(OFFER), now=4.2) == ()
    assert told(give(a, reinvite(to, cseq="9"), 4.3)) == [Offered(OFFER)]


@pytest.mark.parametrize("status", [408, 481])
def test_a_peer_that_forgot_the_dialog_ends_it(status):
    a = agent()
    session, _ = answered(a)
    (mine,) = sent(a.perform(session, Offered(OFFER), now=4.0))
    outputs = give(a, answer(mine, status), 5.0)
    assert told(outputs) == [Ended(EndReason.PEER_VANISHED, status)]
    assert methods(outputs) == ["ACK", "BYE"]


def test_our_acknowledgement_of_a_change_goes_where_the_answer_says_and_again_if_it_was_lost():
    a = agent()
    session, _ = answered(a)
    (mine,) = sent(a.perform(session, Offered(OFFER), now=4.0))
    ok = edited(answer(mine, 200, body=BODY), Contact="<sip:moved@192.0.2.9>")
    for now, heard in ((5.0, [Answered(OFFER)]), (5.5, [])):
        outputs = give(a, ok, now)
        (ack,) = sent(outputs)
        assert isinstance(ack, Request)
        assert (ack.method, ack.target) == ("ACK", "sip:moved@192.0.2.9")
        assert ack.cseq.number == mine.cseq.number
        assert told(outputs) == heard


def test_a_reliable_response_to_a_change_is_acknowledged_and_its_answer_counts():
    a = agent()
    session, _ = answered(a)
    (mine,) = sent(a.perform(session, Offered(OFFER), now=4.0))
    response = answer(mine, 183, body=BODY)
    response.headers.add("Require", "100rel")
    response.headers.add("RSeq", "5")
    (prack,) = sent(give(a, response, 4.1))
    assert prack.headers.first("rack") == f"5 {mine.cseq.number} INVITE"
    assert sent(give(a, response, 4.2)) == []
    outputs = give(a, answer(mine, 200), 4.3)
    assert (methods(outputs), told(outputs)) == (["ACK"], [Answered(OFFER)])


def test_an_offer_of_ours_waits_for_the_ack_of_the_peer_s_last_one():
    a = agent()
    session, to = answered(a)
    _ = give(a, reinvite(to), 4.0)
    assert statuses(a.perform(session, Answered(OFFER), now=4.1)) == [200]
    outputs = a.perform(session, Offered(parse_description(MOVED)), now=4.2)
    assert (sent(outputs), told(outputs)) == ([], [])
    ack = incoming("ACK", body=b"", to=to, cseq="8", branch="z9hG4bKack")
    (mine,) = sent(give(a, ack, 4.3))
    assert mine.method == "INVITE"
    assert told(give(a, answer(mine, 200, body=BODY), 4.4)) == [Answered(OFFER)]


@pytest.mark.parametrize("ack", ["lost", "late"])
def test_an_offer_that_waits_for_a_late_ack_is_sent_and_for_a_lost_one_never(ack):
    a = agent()
    session, to = answered(a)
    _ = give(a, reinvite(to, body=b""), 4.0)  # our offer is on its way
    _ = a.perform(session, Offered(parse_description(MOVED)), now=4.2)
    assert methods(a.expire(now=10.0)) == []
    if ack == "lost":
        outputs = [o for now in range(11, 40) for o in a.expire(now=float(now))]
        assert methods(tuple(outputs)) == ["BYE"]
        return
    late = incoming("ACK", to=to, cseq="8", branch="z9hG4bKack")
    assert told(give(a, late, 10.5)) == []
    assert methods(a.expire(now=12.0)) == ["INVITE"]


def test_what_did_not_change_keeps_its_version_and_what_did_gets_the_next():
    a = agent()
    session, to = answered(a)
    versions = []
    for number, description in enumerate((OFFER, OFFER, parse_description(MOVED), OFFER)):
        _ = give(a, update(to, cseq=str(20 + number), body=BODY), 4.0)
        (ok,) = sent(a.perform(session, Answered(description), now=4.1))
        versions.append(int(ok.body.split()[3]))
    first = versions[0]
    assert versions == [first, first, first + 1, first + 2]


class Recorder(Agent):
    """An agent that remembers what carried its requests, as one that adds credentials would."""

    def __init__(self) -> None:
        count = itertools.count(1)
        super().__init__(random_token=lambda: f"{next(count):024x}")
        self.clients: list[ClientTransaction] = []

    def start(self, session: Session, request: Request, now: float) -> ClientTransaction:
        client = super().start(session, request, now)
        self.clients.append(client)
        return client

    def repeat(self, session: Session, now: float) -> Request:
        old = self.clients[-1]
        again = session.repeat(old, (("Authorization", "Digest x"),))
        assert again is not None
        assert again.headers.first("authorization") == "Digest x"
        session.restarted(old, self.start(session, again, now))
        return again


def test_an_invite_repeated_with_credentials_is_answered_or_cancelled_as_itself():
    for end in ("answered", "cancelled"):
        a = Recorder()
        session, invite = calling(a)
        _ = give(a, answer(invite, 180, tag="before"))
        assert session.dialog_of("before") is not None
        again = a.repeat(session, 0.5)
        assert session.dialog_of("before") is None  # what the first began is over
        assert again.cseq.number == invite.cseq.number + 1
        _ = give(a, answer(again, 180))
        if end == "cancelled":
            (cancel,) = sent(a.perform(session, Ended(EndReason.CANCELLED), now=2.0))
            assert cancel.cseq.number == again.cseq.number
            assert cancel.via.branch == again.via.branch
            continue
        outputs = give(a, answer(again, 200, body=BODY))
        assert told(outputs) == [Answered(OFFER)]
        assert sent(outputs)[0].cseq.number == again.cseq.number
        (bye,) = sent(a.perform(session, Ended(EndReason.HUNG_UP), now=5.0))
        assert bye.cseq.number == again.cseq.number + 1


def test_an_invite_nobody_wants_any_more_is_not_repeated():
    a = Recorder()
    session, _ = calling(a)
    _ = a.perform(session, Ended(EndReason.CANCELLED), now=1.0)
    assert session.repeat(a.clients[-1], ()) is None


def test_a_request_is_repeated_with_the_next_number_of_its_dialog():
    a = Recorder()
    session, invite = calling(a)
    ok = answer(invite, 200, body=BODY)
    ok.headers.add("Allow", "UPDATE")
    ok.headers.add("Session-Expires", "600;refresher=uac")
    _ = give(a, ok)
    (mine,) = sent(a.perform(session, Offered(OFFER), now=300.0))
    (refresh,) = sent(a.expire(now=301.5))
    assert refresh.cseq == (mine.cseq.number + 1, "UPDATE")
    again = session.repeat(a.clients[1], ())
    assert again is not None
    assert again.cseq == (mine.cseq.number + 2, "INVITE")


def test_a_change_repeated_with_credentials_is_answered_and_the_dialog_counts_on():
    a = Recorder()
    session, invite = calling(a)
    _ = give(a, answer(invite, 200, body=BODY))
    (mine,) = sent(a.perform(session, Offered(OFFER), now=4.0))
    again = a.repeat(session, 4.5)
    assert told(give(a, answer(mine, 200, body=BODY), 4.6)) == []  # the first is nobody's now
    assert told(give(a, answer(again, 200, body=BODY), 5.0)) == [Answered(OFFER)]
    (bye,) = sent(a.perform(session, Ended(EndReason.HUNG_UP), now=5.0))
    assert bye.cseq.number == again.cseq.number + 1


def test_a_reason_in_quotes_or_of_another_protocol_is_no_status():
    for text, status in (
        ("SIP;cause=486", 486),
        ('Q.850;cause=16;text="a, b", SIP;cause=200', 200),
        ('SIP;text="x;cause=486"', 0),
        ("Q.850;cause=102", 0),
        ("SIP;cause=99999", 0),
        ('SIP;cause=486;text="', 0),
    ):
        a = agent()
        _, to = answered(a)
        bye = incoming("BYE", body=b"", to=to, cseq="8", branch="z9hG4bKb")
        bye = edited(bye, Reason=text)
        assert told(give(a, bye, 4.0)) == [Ended(EndReason.HUNG_UP, status)]
