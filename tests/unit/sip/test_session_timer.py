"""Session timers: who refreshes, how often, and what a hostile value comes to."""

from __future__ import annotations

import pytest

from securecall.calls.signaling import Answered, Ended
from securecall.errors import EndReason
from securecall.sip.grammar import SipError
from securecall.sip.headers import Headers
from securecall.sip.message import Request, Response
from securecall.sip.output import Rang
from securecall.sip.session_timer import (
    NO_TIMER,
    Due,
    SessionTimer,
    parse_min_se,
    parse_session_expires,
)
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


def asking(*, able: bool = True, **fields: str) -> Request:
    headers = Headers((("Supported", "timer"),) if able else ())
    for name, value in fields.items():
        headers.add(name.replace("_", "-"), value)
    return Request("INVITE", "sip:a@b", headers)


def accepting(text: str | None) -> Response:
    return Response(200, "OK", Headers((("Session-Expires", text),) if text is not None else ()))


# -- grammar --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1800", (1800, "")),
        ("90;refresher=uac", (90, "uac")),
        ("90 ; Refresher=UAS", (90, "uas")),
        ("4294967295;x=y", (4294967295, "")),
        ("0", (0, "")),
    ],
)
def test_session_expires_is_read(text, value):
    assert parse_session_expires(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "x", "-1", "1.5", "90;", "90;refresher", "90;refresher=garbage",
     "90;refresher=uac;refresher=uas", "4294967296", "90, 90", "90 refresher=uac", "\uff19\uff10"],
)  # fmt: skip
def test_a_malformed_session_expires_is_refused(text):
    with pytest.raises(SipError):
        parse_session_expires(text)


def test_min_se_is_never_below_90():
    assert parse_min_se(asking(Min_SE="1")) == 90
    assert parse_min_se(asking(Min_SE="120;x=1")) == 120
    assert parse_min_se(asking()) == 90


# -- what we agree to -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "able", "agreed"),
    [
        # RFC 4028 9, table 2
        ({"Session_Expires": "600"}, True, "600;refresher=uac"),
        ({"Session_Expires": "600;refresher=uac"}, True, "600;refresher=uac"),
        ({"Session_Expires": "600;refresher=uas"}, True, "600;refresher=uas"),
        ({"Session_Expires": "600"}, False, "600;refresher=uas"),
        # we may lower it, but not below Min-SE, and never raise it
        ({"Session_Expires": "7200"}, True, "1800;refresher=uac"),
        ({"Session_Expires": "2147483648"}, True, "1800;refresher=uac"),
        ({"Session_Expires": "7200", "Min_SE": "3600"}, True, "3600;refresher=uac"),
        ({"Session_Expires": "600", "Min_SE": "4294967295"}, True, "600;refresher=uac"),
        ({"Session_Expires": "90", "Min_SE": "0"}, True, "90;refresher=uac"),
        # nobody asks, or somebody does for whom a 422 would be no answer
        ({}, True, None),
        ({}, False, None),
        ({"Session_Expires": "1"}, False, None),
    ],
)
def test_terms_are_those_of_the_rfc(fields, able, agreed):
    terms = SessionTimer().terms(asking(able=able, **fields))
    if agreed is None:
        assert terms == NO_TIMER
    else:
        assert terms.fields[0] == ("Session-Expires", agreed)
        assert (("Require", "timer") in terms.fields) is able


@pytest.mark.parametrize("seconds", ["0", "1", "89"])
def test_an_interval_below_the_minimum_is_refused_with_422(seconds):
    with pytest.raises(SipError) as refused:
        SessionTimer().terms(asking(Session_Expires=seconds))
    assert refused.value.status == 422
    assert refused.value.fields == (("Min-SE", "90"),)


@pytest.mark.parametrize(
    "fields",
    [{"Session_Expires": "x"}, {"Session_Expires": "90;refresher=garbage"}, {"Min_SE": "-5"}],
)
def test_malformed_fields_of_a_request_are_refused(fields):
    with pytest.raises(SipError) as refused:
        SessionTimer().terms(asking(**fields))
    assert refused.value.status == 400


# -- what the peer agrees to ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "refresh", "end"),
    [
        ("600;refresher=uac", 300.0, 568.0),
        ("600;refresher=uas", None, 568.0),
        ("90;refresher=uas", None, 60.0),
        ("600", 300.0, 568.0),  # it does not say, so we do it: too many refreshes do no harm
        ("0;refresher=uac", 45.0, 60.0),
        ("1;refresher=uac", 45.0, 60.0),
        ("2147483648;refresher=uac", 2.0**30, 2.0**31 - 32),
        ("600;refresher=garbage", None, None),
        ("x", None, None),
        (None, None, None),
    ],
)
def test_a_2xx_sets_the_timer(text, refresh, end):
    timer = SessionTimer()
    timer.accepted(accepting(text), now=0.0)
    assert timer.deadline == (end if refresh is None else refresh)
    if refresh is not None:
        assert timer.due(now=refresh - 0.1) is Due.NOTHING
        assert timer.due(now=refresh) is Due.REFRESH
        assert timer.due(now=refresh) is Due.NOTHING
    if end is not None:
        assert timer.due(now=end - 0.1) in (Due.NOTHING, Due.REFRESH)
        assert timer.due(now=end) is Due.END
        assert timer.deadline is None


def test_a_refresh_that_fails_is_tried_again_a_few_times_before_the_end():
    timer = SessionTimer()
    timer.accepted(accepting("1800;refresher=uac"), now=0.0)
    tries = []
    while timer.deadline is not None:
        now = timer.deadline
        if timer.due(now=now) is Due.REFRESH:
            tries.append(now)
            timer.failed(now=now)
    assert tries == [900.0, 1334.0, 1551.0, 1659.5, 1713.75, 1740.875]


def test_roles_stay_whoever_asks_in_the_middle_of_a_call():
    timer = SessionTimer()
    timer.accepted(accepting("600;refresher=uas"), now=0.0)
    assert timer.fields()[0] == ("Session-Expires", "600;refresher=uas")
    # the peer changes something and says nothing about the timer: it goes on
    terms = timer.terms(asking())
    assert terms.fields[0] == ("Session-Expires", "600;refresher=uac")
    timer.agreed(terms, now=100.0)
    assert timer.deadline == 100.0 + 568.0
    # one that knows no timers switches it off
    timer.agreed(timer.terms(asking(able=False)), now=200.0)
    assert timer.deadline is None
    assert timer.fields() == ()


@pytest.mark.parametrize(
    ("min_se", "again"),
    [("2000", True), ("1800", False), ("90", False), ("x", False), (None, False)],
)
def test_a_422_is_worth_another_try_only_if_it_asks_for_more(min_se, again):
    timer = SessionTimer()
    headers = Headers((("Min-SE", min_se),) if min_se is not None else ())
    assert timer.raise_least(Response(422, "x", headers)) is again
    assert dict(timer.first_fields())["Session-Expires"] == ("2000" if again else "1800")


# -- in a call ------------------------------------------------------------------------------------


def test_a_caller_that_keeps_refusing_is_asked_twice_and_no_more():
    a = agent()
    _, invite = calling(a)
    too_small = answer(invite, 422)
    too_small.headers.add("Min-SE", "2000")
    (ack, again) = sent(give(a, too_small))
    assert (ack.method, again.method) == ("ACK", "INVITE")
    too_small = answer(again, 422)
    too_small.headers.add("Min-SE", "3000")
    outputs = give(a, too_small, 2.0)
    assert methods(outputs) == ["ACK"]
    assert told(outputs) == [Ended(EndReason.UNREACHABLE, 422, "x")]


def test_a_422_after_we_gave_up_ends_it():
    a = agent()
    session, invite = calling(a)
    _ = a.perform(session, Ended(EndReason.CANCELLED), now=0.5)
    too_small = answer(invite, 422)
    too_small.headers.add("Min-SE", "2000")
    assert methods(give(a, too_small)) == ["ACK"]
    assert session.idle


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ("Supported: timer\r\nSession-Expires: 60\r\n", 422),
        ("Supported: timer\r\nx: 1\r\n", 422),
        ("Session-Expires: 60\r\n", 100),
        ("Session-Expires: 1800;refresher=garbage\r\n", 400),
        ("Session-Expires: 1800\r\nx: 1800\r\n", 400),
        ("Min-SE: 1\r\nMin-SE: 1\r\n", 400),
    ],
)
def test_an_invite_with_a_hostile_timer_is_refused_before_it_rings(fields, status):
    outputs = give(agent(), incoming(more=fields))
    assert statuses(outputs) == [status]
    assert any(isinstance(o, Rang) for o in outputs) is (status == 100)
    if status == 422:
        assert sent(outputs)[0].headers.first("min-se") == "90"


def test_what_we_agree_to_stands_in_the_answer():
    a = agent()
    invite = incoming(more="Supported: timer\r\nSession-Expires: 600;refresher=uas\r\n")
    (rang,) = (o for o in give(a, invite) if isinstance(o, Rang))
    (ok,) = sent(a.perform(rang.session, Answered(OFFER), now=2.0))
    assert ok.headers.first("session-expires") == "600;refresher=uas"
    assert ok.headers.first("require") == "timer"
    ack = incoming("ACK", body=b"", to=ok.need("to"), branch="z9hG4bKack")
    _ = give(a, ack, 2.1)
    (refresh,) = sent(a.expire(now=302.0))  # the peer allows no UPDATE
    assert refresh.method == "INVITE"
    assert refresh.body == ok.body
    assert refresh.headers.first("session-expires") == "600;refresher=uac"
    # a refused refresh does not end the call at once
    outputs = give(a, answer(refresh, 488), 303.0)
    assert told(outputs) == []
    assert methods(a.expire(now=303.0 + (267.0 / 2))) == ["INVITE"]


def test_a_peer_that_takes_update_later_is_refreshed_by_it_where_it_then_is():
    a = agent()
    session, invite = calling(a)
    ok = answer(invite, 200, body=BODY)
    ok.headers.add("Session-Expires", "600;refresher=uac")
    _ = give(a, ok)
    to = f"{invite.need('from')}"
    more = "Allow: UPDATE\r\nSupported: timer\r\n"
    change = incoming("UPDATE", body=b"", to=to, cseq="1", branch="z9hG4bKu", more=more)
    change.headers.replace("Call-ID", invite.call_id)
    assert statuses(give(a, change, 10.0)) == [200]
    (refresh,) = sent(a.expire(now=311.0))
    assert refresh.method == "UPDATE"
    moved = answer(refresh, 200)
    moved.headers.replace("Contact", "<sip:moved@192.0.2.9>")
    assert told(give(a, moved, 312.0)) == []
    (bye,) = sent(a.perform(session, Ended(EndReason.HUNG_UP), now=313.0))
    assert bye.target == "sip:moved@192.0.2.9"


def test_a_refresh_whose_answer_brings_other_keys_is_put_to_the_call_model():
    from securecall.calls.signaling import Offered, Refused
    from securecall.sip.sdp import parse_description

    a = agent()
    session, invite = calling(a)
    ok = answer(invite, 200, body=BODY)
    ok.headers.add("Session-Expires", "600;refresher=uac")
    _ = give(a, ok)
    (refresh,) = sent(a.expire(now=301.0))
    other = BODY.replace(b"00:11", b"66:66")
    outputs = give(a, answer(refresh, 200, body=other), 302.0)
    assert methods(outputs) == ["ACK"]
    assert told(outputs) == [Offered(parse_description(other), answers=True)]
    assert a.perform(session, Refused(488), now=302.0) == ()
    assert session.descriptions.theirs == OFFER
