"""REFER and NOTIFY of a call: what is asked and answered, and when nobody is asked at all."""

from __future__ import annotations

import pytest

from securecall.address import parse_address
from securecall.calls.signaling import (
    Ended,
    TransferProgress,
    TransferRequested,
    TransferStep,
)
from securecall.errors import EndReason
from securecall.sip.grammar import SipError, parse_name_addr
from securecall.sip.output import Rang
from securecall.sip.refer import ReferTo, build_refer_to, parse_replaces, whom
from securecall.sip.transfers import MOST_ASKED, TRANSFER_SECONDS
from tests.unit.sip.test_agent import (
    OFFER,
    Answered,
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

CAROL = parse_address("sip:carol@example.com")
TO_CAROL = TransferRequested("sip:carol@example.com", CAROL)
TRYING, RINGING, DONE, FAILED = TransferStep


def refer(to, *, target="<sip:carol@example.com>", cseq="8", more=""):
    return incoming(
        "REFER",
        body=b"",
        to=to,
        cseq=cseq,
        branch=f"z9hG4bKrefer{cseq}",
        more=f"Refer-To: {target}\r\n{more}",
    )


def notify(
    to, fragment=b"SIP/2.0 200 OK\r\n", *, cseq="8", state="active", more="Event: refer\r\n"
):
    return incoming(
        "NOTIFY",
        body=fragment,
        to=to,
        cseq=cseq,
        branch=f"z9hG4bKnotify{cseq}",
        type="message/sipfrag;version=2.0",
        more=f"{more}Subscription-State: {state}\r\n",
    )


def asked_for(step, number=8, reason=None):
    return TransferProgress(step, reason, number=number)


# -- the peer asks --------------------------------------------------------------------------------


def test_what_the_peer_asks_for_is_told_and_answered_once_the_model_did():
    a = agent()
    session, to = answered(a)
    outputs = give(a, refer(to), 4.0)
    assert (sent(outputs), methods(outputs)) == ([], [])
    assert told(outputs) == [TransferRequested("sip:carol@example.com", CAROL, number=8)]
    ok, trying = sent(a.perform(session, asked_for(TRYING), now=4.1))
    assert (ok.status, trying.method) == (200, "NOTIFY")
    assert trying.headers.first("event") == "refer;id=8"
    assert trying.headers.first("subscription-state") == f"active;expires={TRANSFER_SECONDS - 1}"
    assert trying.headers.first("content-type") == "message/sipfrag;version=2.0"
    assert trying.body == b"SIP/2.0 100 Trying\r\n"
    (rings,) = sent(a.perform(session, asked_for(RINGING), now=5.0))
    assert rings.body == b"SIP/2.0 180 Ringing\r\n"
    (done,) = sent(a.perform(session, asked_for(DONE), now=6.0))
    assert done.body == b"SIP/2.0 200 OK\r\n"
    assert done.headers.first("subscription-state") == "terminated;reason=noresource"
    assert sent(a.perform(session, asked_for(DONE), now=7.0)) == []  # told once
    assert session.state.value == "confirmed"


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        (EndReason.BUSY, b"SIP/2.0 486 Busy Here\r\n"),
        (EndReason.DECLINED, b"SIP/2.0 603 Decline\r\n"),
        (EndReason.SECURITY, b"SIP/2.0 488 Not Acceptable Here\r\n"),  # as any other unfitness
        (EndReason.INCOMPATIBLE, b"SIP/2.0 488 Not Acceptable Here\r\n"),
    ],
)
def test_a_failure_is_told_by_its_status_and_nothing_else(reason, line):
    a = agent()
    session, to = answered(a)
    _ = give(a, refer(to), 4.0)
    _ = a.perform(session, asked_for(TRYING), now=4.1)
    (failed,) = sent(a.perform(session, asked_for(FAILED, reason=reason), now=5.0))
    assert failed.body == line


def test_what_the_model_will_not_think_about_is_refused_and_nothing_is_notified():
    a = agent()
    session, to = answered(a)
    _ = give(a, refer(to), 4.0)
    outputs = a.perform(session, asked_for(FAILED, reason=EndReason.DECLINED), now=4.1)
    assert (statuses(outputs), methods(outputs)) == ([603], [])


def test_who_wishes_to_hear_nothing_of_it_does_not():
    a = agent()
    session, to = answered(a)
    _ = give(a, refer(to, more="Refer-Sub: false\r\nRequire: norefersub\r\n"), 4.0)
    (ok,) = sent(a.perform(session, asked_for(TRYING), now=4.1))
    assert (ok.status, ok.headers.first("refer-sub")) == (200, "false")
    assert sent(a.perform(session, asked_for(DONE), now=5.0)) == []


def test_a_request_nobody_decides_lapses():
    a = agent()
    session, to = answered(a)
    _ = give(a, refer(to), 4.0)
    _ = a.perform(session, asked_for(TRYING), now=4.1)
    assert a.expire(now=4.0 + TRANSFER_SECONDS - 1) == ()
    (lapsed,) = sent(a.expire(now=4.1 + TRANSFER_SECONDS))
    assert lapsed.body == b"SIP/2.0 480 Temporarily Unavailable\r\n"
    late = a.perform(session, asked_for(DONE), now=5.0 + TRANSFER_SECONDS)
    assert sent(late) == []


def test_what_is_told_of_another_request_is_told_to_nobody():
    a = agent()
    session, to = answered(a)
    _ = give(a, refer(to), 4.0)
    assert sent(a.perform(session, asked_for(DONE, number=7), now=5.0)) == []


def test_one_request_is_open_at_a_time_and_few_are_told_at_all():
    a = agent()
    session, to = answered(a)
    heard, answers = 0, []
    for number in range(8, 8 + 3 * MOST_ASKED):
        outputs = give(a, refer(to, cseq=str(number)), 4.0)
        heard += len(told(outputs))
        answers += statuses(outputs)
        if number % 2:
            no = asked_for(FAILED, number - 1, EndReason.DECLINED)
            answers += statuses(a.perform(session, no, now=4.0))
    assert heard == MOST_ASKED
    assert 491 in answers
    assert not [m for m in methods(outputs) if m == "INVITE"]
    assert answers[-1] == 603


def test_hanging_up_answers_who_still_waits():
    a = agent()
    session, to = answered(a)
    _ = give(a, refer(to), 4.0)
    outputs = a.perform(session, Ended(EndReason.HUNG_UP), now=5.0)
    assert (statuses(outputs), methods(outputs)) == ([487], ["BYE"])


def test_a_transfer_before_the_call_is_there_is_refused_unheard():
    a = agent()
    _, invite = calling(a)
    _ = give(a, answer(invite, 180))
    early = incoming(
        "REFER",
        body=b"",
        to=invite.need("from"),
        cseq="8",
        branch="z9hG4bKearly",
        more="Refer-To: <sip:carol@example.com>\r\n",
    )
    early.headers.replace("Call-ID", invite.call_id)
    outputs = give(a, early, 2.0)
    assert (statuses(outputs), told(outputs)) == ([603], [])


# -- whom it leads to -----------------------------------------------------------------------------

REPLACES = "abc@x;to-tag=t1;from-tag=f1"


def test_an_attended_transfer_names_the_call_to_step_into():
    value = build_refer_to(str(CAROL), REPLACES)
    assert value == (
        "<sip:carol@example.com?Replaces=abc%40x%3Bto-tag%3Dt1%3Bfrom-tag%3Df1>"  # RFC 5589 7.3
    )
    found = whom(parse_name_addr(value, "Refer-To"))
    assert found == ReferTo(value[1:-1], CAROL, REPLACES)


@pytest.mark.parametrize(
    "uri",
    [
        "sip:carol@192.0.2.7",
        "sip:carol@example.com:5061",
        "sip:example.com",
        "tel:+441632960000",
        "http://example.com/",
        "sip:carol@example.com;method=BYE",
        "sip:carol@example.com;method=INVITE",
        "sip:carol@example.com;unknown",
        "sip:carol@example.com?Route=%3Csip:eve%40example.com%3E",
        "sip:carol@example.com?From=sip:boss%40example.com",
        "sip:carol@example.com?body=v%3D0",
        f"sip:carol@example.com?Replaces={REPLACES}&Subject=x".replace(";", "%3B").replace(
            "c@x", "c"
        ),
        "sip:carol@example.com?Subject=x&Replaces=abc%3Bto-tag%3D1%3Bfrom-tag%3D2",
        "sip:carol@example.com?Replaces=abc",
        "sip:carol@example.com?Replaces=abc%0d%0aRoute:%20x%3Bto-tag%3D1%3Bfrom-tag%3D2",
        "sip:carol@example.com?Replaces=%ff%3Bto-tag%3D1%3Bfrom-tag%3D2",
    ],
)
def test_what_asks_for_more_than_a_call_is_refused_and_only_told(uri):
    a = agent()
    _, to = answered(a)
    outputs = give(a, refer(to, target=f"<{uri}>"), 4.0)
    assert statuses(outputs) == [603]
    assert told(outputs) == [TransferRequested(uri[:256])]  # without an address to call


@pytest.mark.parametrize("more", ["", "Refer-To: <sip:dave@example.com>\r\n"])
def test_a_refer_names_exactly_one(more):
    a = agent()
    _, to = answered(a)
    request = refer(to, more=more)
    if not more:
        request.headers.replace("Refer-To", "<<>")
    assert statuses(give(a, request, 4.0)) == [400]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "abc;to-tag=1",
        "a b;to-tag=1;from-tag=2",
        "abc;to-tag=1;to-tag=3;from-tag=2",
        "abc;to-tag=;from-tag=2",
        "abc;to-tag=1;from-tag=\x00",
    ],
)
def test_a_malformed_replaces_is_refused(text):
    with pytest.raises(SipError):
        parse_replaces(text)


# -- we ask ---------------------------------------------------------------------------------------


def test_we_ask_by_refer_and_tell_what_notifies_say():
    a = agent()
    session, to = answered(a)
    (mine,) = sent(a.perform(session, TO_CAROL, now=4.0))
    assert (mine.method, mine.headers.first("refer-to")) == ("REFER", "<sip:carol@example.com>")
    assert told(give(a, notify(to, b"SIP/2.0 100 Trying\r\n"), 4.1)) == [TransferProgress(TRYING)]
    assert told(give(a, answer(mine, 202), 4.2)) == []  # it may come before the answer
    rings = notify(to, b"SIP/2.0 180 Ringing\r\nContact: <sip:x@y>\r\n", cseq="9")
    assert told(give(a, rings, 5.0)) == [TransferProgress(RINGING)]
    outputs = give(a, notify(to, cseq="10", state="terminated;reason=noresource"), 6.0)
    assert (statuses(outputs), told(outputs)) == ([200], [TransferProgress(DONE, status=200)])
    assert statuses(give(a, notify(to, cseq="11"), 7.0)) == [481]
    assert session.state.value == "confirmed"


@pytest.mark.parametrize(
    ("fragment", "state", "reason", "status"),
    [
        (b"SIP/2.0 486 Busy Here\r\n", "terminated;reason=noresource", EndReason.BUSY, 486),
        (b"SIP/2.0 603 No", "active", EndReason.DECLINED, 603),
        (b"SIP/2.0 404 \r\n", "active", EndReason.NOT_FOUND, 404),
        (b"SIP/2.0 100 Trying\r\n", "terminated;reason=timeout", EndReason.NO_ANSWER, 0),
        (b"", "terminated;reason=timeout", EndReason.NO_ANSWER, 0),
    ],
)
def test_a_transfer_fails_for_the_reason_that_is_told(fragment, state, reason, status):
    a = agent()
    session, to = answered(a)
    _ = a.perform(session, TO_CAROL, now=4.0)
    outputs = give(a, notify(to, fragment, state=state), 5.0)
    assert told(outputs) == [TransferProgress(FAILED, reason, status=status)]


@pytest.mark.parametrize(
    ("status", "reason"), [(603, EndReason.DECLINED), (404, EndReason.NOT_FOUND)]
)
def test_a_refused_refer_is_a_transfer_that_failed(status, reason):
    a = agent()
    session, _ = answered(a)
    (mine,) = sent(a.perform(session, TO_CAROL, now=4.0))
    outputs = give(a, answer(mine, status), 5.0)
    assert told(outputs) == [TransferProgress(FAILED, reason, status=status)]
    assert session.state.value == "confirmed"


def test_one_that_nobody_tells_the_end_of_fails_in_time():
    a = agent()
    session, _ = answered(a)
    (mine,) = sent(a.perform(session, TO_CAROL, now=4.0))
    _ = give(a, answer(mine, 202), 5.0)
    assert told(a.expire(now=3.0 + TRANSFER_SECONDS)) == []
    (late,) = told(a.expire(now=4.0 + TRANSFER_SECONDS))
    assert (late.step, late.reason) == (FAILED, EndReason.NO_ANSWER)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"more": "Event: presence\r\n"}, 489),
        ({"more": ""}, 400),
        ({"more": "Event: refer;id=1\r\n"}, 481),
        ({"more": "Event: refer;id=x\r\n"}, 400),
        ({"state": "?"}, 400),
        ({"fragment": b"HTTP/1.1 200 OK\r\n"}, 400),
        ({"fragment": b"SIP/2.0 2000 OK\r\n"}, 400),
    ],
)
def test_a_notify_of_something_else_changes_nothing(changes, status):
    a = agent()
    session, to = answered(a)
    for _ in range(3):
        session.dialog.next_number()
    _ = a.perform(session, TO_CAROL, now=4.0)
    outputs = give(a, notify(to, **changes), 5.0)
    assert (statuses(outputs), told(outputs)) == ([status], [])


def test_a_fragment_of_another_kind_is_refused():
    a = agent()
    session, to = answered(a)
    _ = a.perform(session, TO_CAROL, now=4.0)
    other = notify(to)
    other.headers.replace("Content-Type", "text/plain")
    outputs = give(a, other, 5.0)
    assert (statuses(outputs), told(outputs)) == ([415], [])


def test_a_notify_without_a_transfer_finds_nothing():
    a = agent()
    _, to = answered(a)
    assert statuses(give(a, notify(to), 4.0)) == [481]
    assert statuses(give(a, notify("<sip:alice@example.com>", cseq="9"), 4.0)) == [405]


# -- Replaces -------------------------------------------------------------------------------------


def replacing(session, value=None):
    dialog = session.dialog
    names = f"{dialog.call_id};to-tag={dialog.local_tag};from-tag={dialog.remote_tag}"
    changes = {"branch": "z9hG4bKother", "cseq": "70", "from": "<sip:carol@example.com>;tag=c"}
    return incoming(more=f"Replaces: {value or names}\r\nRequire: replaces\r\n", **changes)


def test_a_call_that_asks_to_take_anothers_place_rings_like_any_other():
    a = agent()
    session, _ = answered(a)
    outputs = give(a, replacing(session), 5.0)
    assert statuses(outputs) == [100]
    (rang,) = [o for o in outputs if isinstance(o, Rang)]
    assert rang.session.replaced is session
    assert statuses(a.perform(rang.session, Answered(OFFER), now=6.0)) == [200]
    assert (session.state.value, methods(outputs)) == ("confirmed", [])  # nothing was taken over


def test_our_name_for_a_call_is_what_its_other_end_finds_it_by():
    a, b = agent(), agent()
    session, invite = calling(a)
    outputs = give(b, invite)
    (rang,) = [o for o in outputs if isinstance(o, Rang)]
    (ok,) = sent(b.perform(rang.session, Answered(OFFER), now=2.0))
    (ack,) = sent(give(a, ok, 3.0))
    _ = give(b, ack, 4.0)
    outputs = give(b, replacing(rang.session, session.replaces), 5.0)
    (again,) = [o for o in outputs if isinstance(o, Rang)]
    assert again.session.replaced is rang.session


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda text: text.replace("to-tag=", "to-tag=x"), 481),
        (lambda text: text.replace("from-tag=", "from-tag=x"), 481),
        (lambda text: f"x{text}", 481),
        (lambda text: f"{text};early-only", 486),
        (lambda _: "nonsense", 400),
    ],
)
def test_who_does_not_know_a_call_finds_none(change, status):
    a = agent()
    session, _ = answered(a)
    dialog = session.dialog
    names = f"{dialog.call_id};to-tag={dialog.local_tag};from-tag={dialog.remote_tag}"
    outputs = give(a, replacing(session, change(names)), 5.0)
    assert statuses(outputs) == [status]
    assert not [o for o in outputs if isinstance(o, Rang)]


def test_a_call_on_another_connection_is_not_spoken_of():
    a = agent()
    session, _ = answered(a)
    assert session.direct
    assert statuses(give(a, replacing(session), 5.0, flow=2)) == [481]


def test_a_call_that_only_rings_is_not_given_up():
    a = agent()
    outputs = give(a, incoming())
    (rang,) = [o for o in outputs if isinstance(o, Rang)]
    assert statuses(give(a, replacing(rang.session), 5.0)) == [481]
