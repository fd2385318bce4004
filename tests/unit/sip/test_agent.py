"""The agent alone: what it answers, and what each order of messages comes to."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from securecall.calls.signaling import (
    Answered,
    Deferred,
    Ended,
    Offered,
    Refused,
    Ringing,
    TransferRequested,
)
from securecall.errors import EndReason
from securecall.media.description import Direction
from securecall.sip.agent import Agent
from securecall.sip.digest import Authenticator
from securecall.sip.headers import Headers
from securecall.sip.message import Request, Response, parse_message
from securecall.sip.output import Dropped, Finished, Output, Rang, Send, Told
from securecall.sip.sdp import parse_description
from securecall.sip.session import Session

BODY = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 UDP/TLS/RTP/SAVPF 0\r\n"
    b"c=IN IP4 192.0.2.1\r\na=setup:actpass\r\na=fingerprint:sha-256 00:11\r\n"
)
OFFER = parse_description(BODY)


def agent(authenticator: Authenticator | None = None) -> Agent:
    count = itertools.count(1)
    return Agent(random_token=lambda: f"{next(count):024x}", authenticator=authenticator)


def sent(outputs: tuple[Output, ...]) -> list[Request | Response]:
    return [o.message for o in outputs if isinstance(o, Send)]


def told(outputs: tuple[Output, ...]) -> list[object]:
    return [o.signal for o in outputs if isinstance(o, Told)]


def statuses(outputs: tuple[Output, ...]) -> list[int]:
    return [m.status for m in sent(outputs) if isinstance(m, Response)]


def methods(outputs: tuple[Output, ...]) -> list[str]:
    return [m.method for m in sent(outputs) if isinstance(m, Request)]


def calling(
    a: Agent, *, domain: str = "example.com", direct: bool = True
) -> tuple[Session, Request]:
    session, outputs = a.invite(
        target=f"sip:bob@{domain}",
        from_uri=f"sip:alice@{domain}",
        offer=OFFER,
        flow=1,
        direct=direct,
        now=0.0,
    )
    (invite,) = sent(outputs)
    assert isinstance(invite, Request)
    return session, invite


def answer(request: Request, status: int, *, tag: str = "b", body: bytes = b"") -> Response:
    headers = Headers()
    for name in ("via", "from", "call-id", "cseq"):
        headers.add(name, request.need(name))
    to = request.need("to")
    headers.add("To", to if "tag=" in to else f"{to};tag={tag}")
    headers.add("Contact", f"<sip:bob-{tag}@192.0.2.2>")
    if body:
        headers.add("Content-Type", "application/sdp")
    return Response(status, "x", headers, body)


def incoming(method: str = "INVITE", *, more: str = "", body: bytes = BODY, **changes: str):
    fields = {
        "uri": "sip:alice@example.com",
        "branch": "z9hG4bKin",
        "to": "<sip:alice@example.com>",
        "cseq": "7",
        "from": "<sip:bob@example.com>;tag=b",
        "type": "application/sdp",
    } | changes
    kind = f"Content-Type: {fields['type']}\r\n" if body else ""
    text = (
        f"{method} {fields['uri']} SIP/2.0\r\nVia: SIP/2.0/TLS x;branch={fields['branch']}\r\n"
        f"From: {fields['from']}\r\nTo: {fields['to']}\r\nCall-ID: c\r\n"
        f"CSeq: {fields['cseq']} {method}\r\nContact: <sip:bob@192.0.2.2>\r\nMax-Forwards: 70\r\n"
        f"{more}{kind}Content-Length: {len(body)}\r\n\r\n"
    )
    return parse_message(text.encode() + body)


def give(a: Agent, message: Request | Response, now: float = 1.0, flow: int = 1):
    return a.receive(message, flow=flow, direct=True, now=now)


def ringing(a: Agent) -> Session:
    outputs = give(a, incoming())
    assert statuses(outputs) == [100]
    (rang,) = [o for o in outputs if isinstance(o, Rang)]
    return rang.session


def answered(a: Agent) -> tuple[Session, str]:
    session = ringing(a)
    (ok,) = sent(a.perform(session, Answered(OFFER), now=2.0))
    to = ok.need("to")
    assert give(a, incoming("ACK", body=b"", to=to, branch="z9hG4bKack"), 3.0) == ()
    return session, to


# -- we call --------------------------------------------------------------------------------------


def test_the_answer_is_acknowledged_and_a_repeated_one_again():
    a = agent()
    _, invite = calling(a)
    first = give(a, answer(invite, 200, body=BODY))
    assert methods(first) == ["ACK"]
    assert told(first) == [Answered(OFFER)]
    again = give(a, answer(invite, 200, body=BODY), 2.0)
    assert methods(again) == ["ACK"]
    assert told(again) == []


def test_the_first_fork_wins_and_the_others_are_hung_up():
    a = agent()
    session, invite = calling(a)
    assert told(give(a, answer(invite, 180))) == [Ringing()]
    assert methods(give(a, answer(invite, 200, tag="one", body=BODY))) == ["ACK"]
    late = give(a, answer(invite, 200, tag="two", body=BODY), 2.0)
    assert methods(late) == ["ACK", "BYE"]
    assert told(late) == []
    assert sent(late)[1].to.tag == "two"
    (bye,) = sent(a.perform(session, Ended(EndReason.HUNG_UP), now=3.0))
    assert bye.to.tag == "one"


def test_no_cancel_leaves_before_a_provisional_response():
    a = agent()
    session, invite = calling(a)
    assert sent(a.perform(session, Ended(EndReason.CANCELLED), now=0.5)) == []
    assert methods(give(a, answer(invite, 100))) == ["CANCEL"]
    assert methods(give(a, answer(invite, 180))) == []


def test_an_answer_that_crosses_our_cancel_is_hung_up():
    a = agent()
    session, invite = calling(a)
    _ = give(a, answer(invite, 180))
    (cancel,) = sent(a.perform(session, Ended(EndReason.CANCELLED), now=2.0))
    assert (cancel.method, cancel.via.branch) == ("CANCEL", invite.via.branch)
    outputs = give(a, answer(invite, 200, body=BODY), 3.0)
    assert methods(outputs) == ["ACK", "BYE"]
    assert told(outputs) == []
    _ = give(a, answer(cancel, 200), 4.0)
    done = give(a, answer(sent(outputs)[1], 200), 5.0)
    assert done == (Finished(session),)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (486, EndReason.BUSY),
        (600, EndReason.BUSY),
        (603, EndReason.DECLINED),
        (404, EndReason.NOT_FOUND),
        (604, EndReason.NOT_FOUND),
        (480, EndReason.NO_ANSWER),
        (408, EndReason.NO_ANSWER),
        (488, EndReason.INCOMPATIBLE),
        (503, EndReason.UNREACHABLE),
        (499, EndReason.UNREACHABLE),
        (699, EndReason.DECLINED),
    ],
)
def test_a_failure_is_acknowledged_on_the_same_branch_and_ends_it(status, reason):
    a = agent()
    _, invite = calling(a)
    outputs = give(a, answer(invite, status))
    (ack,) = sent(outputs)
    assert (ack.method, ack.via.branch) == ("ACK", invite.via.branch)
    assert told(outputs) == [Ended(reason, status, "x")]


def test_a_redirection_is_told_and_never_followed():
    a = agent()
    _, invite = calling(a)
    outputs = give(a, answer(invite, 302))
    assert methods(outputs) == ["ACK"]
    transfer, end = told(outputs)
    assert transfer == TransferRequested("sip:bob-b@192.0.2.2")  # nobody's address
    assert isinstance(end, Ended)


def test_silence_is_unreachable_and_endless_ringing_no_answer():
    a = agent()
    _ = calling(a)
    assert a.expire(now=31.9) == ()
    assert told(a.expire(now=32.0)) == [Ended(EndReason.UNREACHABLE, 408)]
    b = agent()
    _, invite = calling(b)
    _ = give(b, answer(invite, 180))
    outputs = b.expire(now=180.0)
    assert told(outputs) == [Ended(EndReason.NO_ANSWER, 408)]
    assert methods(outputs) == ["CANCEL"]
    assert told(give(b, answer(invite, 487), 181.0)) == []  # it was told once
    assert any(isinstance(o, Finished) for o in b.expire(now=213.0))


@pytest.mark.parametrize("body", [b"", b"v=0\r\nnonsense\r\n"])
def test_an_answer_without_a_readable_description_is_hung_up(body):
    a = agent()
    _, invite = calling(a)
    outputs = give(a, answer(invite, 200, body=body))
    assert methods(outputs) == ["ACK", "BYE"]
    (end,) = told(outputs)
    assert isinstance(end, Ended)
    assert end.reason is EndReason.PROTOCOL


def test_early_media_is_told_as_not_final():
    a = agent()
    _, invite = calling(a)
    assert told(give(a, answer(invite, 183, body=BODY))) == [Answered(OFFER, final=False)]


# -- we are called --------------------------------------------------------------------------------


def test_our_answer_is_repeated_until_it_is_acknowledged():
    a = agent()
    session = ringing(a)
    (ok,) = sent(a.perform(session, Answered(OFFER), now=2.0))
    for now in (2.5, 3.5, 5.5, 9.5, 13.5, 17.5):  # T1, then twice as long each time, up to T2
        assert statuses(a.expire(now=now - 0.01)) == []
        assert statuses(a.expire(now=now)) == [200]
    assert give(a, incoming("ACK", body=b"", to=ok.need("to"), branch="z9hG4bKa"), 18.0) == ()
    assert a.expire(now=30.0) == ()


def test_an_answer_nobody_acknowledges_is_hung_up():
    a = agent()
    session = ringing(a)
    _ = a.perform(session, Answered(OFFER), now=2.0)
    out: list[Output] = []
    for now in range(3, 40):
        out += a.expire(now=float(now))
    assert told(tuple(out)) == [Ended(EndReason.PEER_VANISHED, 408)]
    assert methods(tuple(out)) == ["BYE"]


def test_a_bye_of_ours_waits_for_the_ack():
    a = agent()
    session = ringing(a)
    (ok,) = sent(a.perform(session, Answered(OFFER), now=2.0))
    assert sent(a.perform(session, Ended(EndReason.SECURITY), now=2.1)) == []
    (bye,) = sent(give(a, incoming("ACK", body=b"", to=ok.need("to"), branch="z9hG4bKa"), 3.0))
    assert bye.method == "BYE"
    assert bye.headers.first("reason") == "SIP;cause=488"


def test_security_reasons_never_say_which_check_failed():
    a, b = agent(), agent()
    for one, reason in ((a, EndReason.SECURITY), (b, EndReason.INCOMPATIBLE)):
        session, _ = answered(one)
        (bye,) = sent(one.perform(session, Ended(reason), now=4.0))
        assert bye.headers.first("reason") == "SIP;cause=488"


def test_a_cancelled_call_is_answered_with_487_and_told():
    a = agent()
    session = ringing(a)
    outputs = give(a, incoming("CANCEL", body=b""), 2.0)
    assert statuses(outputs) == [200, 487]
    assert told(outputs) == [Ended(EndReason.CANCELLED, 487)]
    assert a.perform(session, Answered(OFFER), now=2.1) == ()


def test_a_cancel_after_the_answer_changes_nothing():
    a = agent()
    session = ringing(a)
    _ = a.perform(session, Answered(OFFER), now=2.0)
    outputs = give(a, incoming("CANCEL", body=b""), 3.0)
    assert statuses(outputs) == [200]
    assert told(outputs) == []


def test_an_offerless_invitation_is_answered_with_an_offer():
    a = agent()
    (rang,) = [o for o in give(a, incoming(body=b"")) if isinstance(o, Rang)]
    assert rang.session.offer is None
    assert a.perform(rang.session, Answered(OFFER), now=1.5) == ()
    (ok,) = sent(a.perform(rang.session, Offered(OFFER), now=2.0))
    ack = incoming("ACK", to=ok.need("to"), branch="z9hG4bKa")
    assert told(give(a, ack, 3.0)) == [Answered(OFFER)]


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (incoming("BYE", body=b""), 481),
        (incoming("BYE", body=b"", to="<sip:a@b>;tag=none"), 481),
        (incoming("INVITE", to="<sip:a@b>;tag=none"), 481),
        (incoming("CANCEL", body=b""), 481),
        (incoming("REGISTER", body=b""), 405),
        (incoming("MESSAGE", type="text/plain", body=b"x"), 405),
        (incoming("REFER", body=b"", more="Refer-To: <sip:eve@example.com>\r\n"), 603),
        (incoming("FROBNICATE", body=b""), 501),
        (incoming("OPTIONS", body=b""), 200),
        (incoming("OPTIONS", body=b"", more="Accept: text/plain\r\n"), 406),
        (incoming("OPTIONS", body=b"", uri="isbn:123"), 416),
        (incoming("INVITE", more="Require: 100rel, timer\r\n"), 100),
        (incoming("INVITE", more="Require: 100rel, precondition\r\n"), 420),
        (incoming("INVITE", more="Proxy-Require: 100rel\r\n"), 100),
        (incoming("UPDATE", body=b""), 481),
        (incoming("PRACK", body=b"", more="RAck: 1 7 INVITE\r\n"), 481),
        (incoming("INFO", body=b""), 481),
        (incoming("INVITE", more="Replaces: x;to-tag=1;from-tag=2\r\n"), 481),
        (incoming("INVITE", more="Join: x;to-tag=1;from-tag=2\r\n"), 481),
        (incoming("INVITE", type="application/x", body=b"x"), 415),
        (incoming("INVITE", more="Content-Encoding: gzip\r\n"), 415),
        (incoming("INVITE", body=b"v=1\r\n"), 400),
    ],
)
def test_what_is_not_done_here_is_answered_so(message, status):
    assert statuses(give(agent(), message)) == [status]


def test_what_is_asked_of_proxies_is_not_asked_of_us():
    a = agent()
    assert statuses(give(a, incoming(more="Proxy-Require: privacy\r\n"))) == [100]


@pytest.mark.parametrize(
    "to", ['";tag=1" <sip:a@b>', "<sip:a@b;tag=1>", '<sip:a@b>;x=";tag=1"', "<sip:a@b>;tagged=1"]
)
def test_what_only_looks_like_a_tag_does_not_keep_ours_from_the_answer(to):
    (refusal,) = sent(give(agent(), incoming("MESSAGE", to=to, type="text/plain", body=b"x")))
    assert refusal.to.tag not in ("", "1")


@pytest.mark.parametrize("to", ["<sip:a@b>; tag=1", "<sip:a@b>;\tTAG = 1"])
def test_a_tag_is_kept_however_it_is_written(to):
    (refusal,) = sent(give(agent(), incoming("BYE", to=to, body=b"")))
    assert refusal.headers.first("to") == to


def test_a_merged_request_is_refused():
    a = agent()
    _ = ringing(a)
    assert statuses(give(a, incoming(branch="z9hG4bKother"), 2.0)) == [482]


def test_a_repeated_request_gets_the_same_answer_and_no_second_call():
    a = agent()
    _ = ringing(a)
    again = give(a, incoming(), 2.0)
    assert statuses(again) == [100]
    assert [o for o in again if isinstance(o, Rang)] == []


def test_another_connection_cannot_end_or_cancel_a_direct_call():
    a = agent()
    _ = ringing(a)
    assert statuses(give(a, incoming("CANCEL", body=b""), 2.0, flow=2)) == [481]
    b = agent()
    session, to = answered(b)
    bye = incoming("BYE", body=b"", to=to, cseq="9", branch="z9hG4bKbye")
    assert statuses(give(b, bye, 4.0, flow=2)) == [481]
    outputs = give(b, bye, 4.0)  # the control: the same message on the call's own connection
    assert statuses(outputs) == [200]
    assert told(outputs) == [Ended(EndReason.HUNG_UP)]
    assert session.idle


def test_requests_within_a_call_come_in_order():
    a = agent()
    _, to = answered(a)
    old = incoming("BYE", body=b"", to=to, cseq="7", branch="z9hG4bKold")
    assert statuses(give(a, old, 4.0)) == [500]


def test_offers_that_cross_are_both_refused_with_491_and_ours_is_sent_again():
    a = agent()
    session, to = answered(a)
    (mine,) = sent(a.perform(session, Offered(OFFER), now=4.0))
    theirs = incoming("INVITE", to=to, cseq="8", branch="z9hG4bKre")
    assert statuses(give(a, theirs, 4.1)) == [491]
    for now in (5.0, 8.0, 11.0):
        outputs = give(a, answer(mine, 491), now)
        assert methods(outputs) == ["ACK"]
        assert told(outputs) == [Deferred()]  # meanwhile the peer's is judged
        (mine,) = sent(a.expire(now=now + 2.0))  # the peer made the Call-ID (RFC 3261 14.1)
        assert mine.method == "INVITE"
    outputs = give(a, answer(mine, 491), 14.0)
    assert told(outputs) == [Refused(491)]


def test_what_waits_gives_its_place_to_what_is_offered_anew_and_can_be_taken_back():
    a = agent()
    session, _ = answered(a)
    (mine,) = sent(a.perform(session, Offered(OFFER), now=4.0))
    _ = give(a, answer(mine, 491), 4.1)
    (media,) = OFFER.media
    held = replace(OFFER, media=(replace(media, direction=Direction.SENDONLY),))
    assert sent(a.perform(session, Offered(held), now=4.2)) == []
    (mine,) = sent(a.expire(now=6.2))
    assert b"a=sendonly" in mine.body
    _ = give(a, answer(mine, 491), 6.3)
    assert a.perform(session, Refused(487), now=6.4) == ()
    assert methods(a.expire(now=9.0)) == []


def test_a_new_offer_is_told_and_answered_and_a_malformed_one_refused():
    a = agent()
    session, to = answered(a)
    bad = incoming("INVITE", to=to, cseq="8", branch="z9hG4bKr1", body=b"v=0\r\n")
    assert statuses(give(a, bad, 4.0)) == [400]
    good = incoming("INVITE", to=to, cseq="9", branch="z9hG4bKr2")
    assert told(give(a, good, 5.0)) == [Offered(OFFER)]
    assert statuses(a.perform(session, Answered(OFFER), now=6.0)) == [200]
    ack = incoming("ACK", body=b"", to=to, cseq="9", branch="z9hG4bKr3")
    assert give(a, ack, 6.1) == ()
    assert a.expire(now=60.0) == ()


def test_a_new_offer_to_a_call_the_peer_forgot_ends_it():
    a = agent()
    session, _ = answered(a)
    (mine,) = sent(a.perform(session, Offered(OFFER), now=4.0))
    outputs = give(a, answer(mine, 481), 5.0)
    assert told(outputs) == [Ended(EndReason.PEER_VANISHED, 481)]
    assert methods(outputs) == ["ACK", "BYE"]


@pytest.mark.parametrize("stage", ["calling", "proceeding", "confirmed", "ringing", "answered"])
def test_a_lost_connection_ends_a_direct_call_in_every_state(stage):
    a = agent()
    expected = EndReason.PEER_VANISHED
    if stage in ("calling", "proceeding", "confirmed"):
        _, invite = calling(a)
        if stage == "calling":
            expected = EndReason.UNREACHABLE
        elif stage == "proceeding":
            _ = give(a, answer(invite, 180))
        else:
            _ = give(a, answer(invite, 200, body=BODY))
    elif stage == "ringing":
        _ = ringing(a)
    else:
        _ = answered(a)
    outputs = a.lost(1, now=9.0)
    assert told(outputs) == [Ended(expected)]
    assert any(isinstance(o, Finished) for o in outputs)
    assert sent(outputs) == []
    assert a.deadline is None


def test_a_response_to_nothing_is_dropped():
    a = agent()
    _, invite = calling(a)
    stray = answer(invite, 200, body=BODY)
    assert [type(o) for o in give(a, stray, flow=2)] == [Dropped]
    assert [type(o) for o in give(agent(), stray)] == [Dropped]


def test_what_we_send_names_no_machine():
    _, invite = calling(agent())
    text = str(invite.headers.items()) + invite.body.decode()
    assert invite.headers.first("user-agent") is None
    assert "@" not in invite.call_id
    assert invite.via.host.endswith(".invalid")
    assert invite.contacts[0].uri.host.endswith(".invalid")
    assert "o=- " in text
    assert "s=-\r\n" in text
