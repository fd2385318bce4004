"""Early dialogs: one per fork, what may happen in them, and what ends them."""

from __future__ import annotations

import pytest

from securecall.calls.signaling import Answered, Ended, Ringing, TransferRequested
from securecall.errors import EndReason
from securecall.sip.limits import MOST_FORKS
from securecall.sip.message import Request, Response
from securecall.sip.output import Dropped, Finished
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
    ringing,
    sent,
    statuses,
    told,
)


def within(invite: Request, method: str, tag: str = "b", *, number: int = 1, **more: object):
    """A request of the peer's in an early dialog of a call of ours."""
    message = incoming(
        method,
        body=more.get("body", b""),  # type: ignore[arg-type] # bytes
        to=invite.need("from"),
        cseq=str(number),
        branch=f"z9hG4bK{method}{tag}{number}",
        more=str(more.get("fields", "")),
        **{"from": f"<sip:bob@example.com>;tag={tag}"},
    )
    message.headers.replace("Call-ID", invite.call_id)
    return message


def early(*tags: str):
    a = agent()
    session, invite = calling(a)
    for tag in tags:
        assert told(give(a, answer(invite, 180, tag=tag))) == [Ringing()]
    return a, session, invite


@pytest.mark.parametrize("method", ["UPDATE", "INFO", "OPTIONS"])
def test_requests_within_an_early_dialog_are_answered(method):
    a, _, invite = early("b", "c")
    for tag in ("b", "c"):
        assert statuses(give(a, within(invite, method, tag))) == [200]
    assert statuses(give(a, within(invite, method, "d"))) == [481]


def test_an_update_moves_the_target_of_its_dialog_alone():
    a, _, invite = early("b", "c")
    moved = edited(within(invite, "UPDATE", "b"), Contact="<sip:moved@192.0.2.9>")
    assert statuses(give(a, moved)) == [200]
    for tag, target in (("b", "sip:moved@192.0.2.9"), ("c", "sip:bob-c@192.0.2.2")):
        response = answer(invite, 183, tag=tag)
        response.headers.add("Require", "100rel")
        response.headers.add("RSeq", "1")
        (prack,) = sent(give(a, response))
        assert prack.target == target


def test_a_change_before_the_answer_is_refused_without_harm():
    a, _, invite = early("b")
    update = within(invite, "UPDATE", body=BODY)
    assert statuses(give(a, update)) == [491]  # our offer waits for its answer
    assert statuses(give(a, within(invite, "INVITE", body=BODY, number=2))) == [491]
    response = answer(invite, 183, body=BODY)
    response.headers.add("Require", "100rel")
    response.headers.add("RSeq", "1")
    _ = give(a, response)
    assert statuses(give(a, within(invite, "UPDATE", body=BODY, number=3))) == [488]
    assert told(give(a, answer(invite, 200, body=BODY))) == [Answered(OFFER)]


@pytest.mark.parametrize("end", ["199", "BYE"])
def test_one_early_dialog_ends_and_the_others_go_on(end):
    a, session, invite = early("b", "c")
    if end == "199":
        assert told(give(a, answer(invite, 199, tag="b"))) == []
    else:
        assert statuses(give(a, within(invite, "BYE", "b"))) == [200]
    assert statuses(give(a, within(invite, "UPDATE", "b", number=2))) == [481]
    assert told(give(a, answer(invite, 180, tag="b"))) == []
    assert statuses(give(a, within(invite, "UPDATE", "c"))) == [200]
    assert told(give(a, answer(invite, 200, tag="c", body=BODY))) == [Answered(OFFER)]
    assert not session.idle


def test_a_reliable_199_is_acknowledged():
    a, _, invite = early("b")
    response = answer(invite, 199)
    response.headers.add("Require", "100rel")
    response.headers.add("RSeq", "1")
    assert methods(give(a, response)) == ["PRACK"]
    assert statuses(give(a, within(invite, "UPDATE"))) == [481]


def test_once_a_fork_has_answered_requests_of_the_others_get_481():
    a, _, invite = early("b", "c")
    _ = give(a, answer(invite, 200, tag="b", body=BODY))
    for method in ("UPDATE", "PRACK", "BYE", "INVITE"):
        late = within(invite, method, "c", fields="RAck: 1 1 INVITE\r\n")
        assert statuses(give(a, late)) == [481]
    assert statuses(give(a, within(invite, "UPDATE", "b"))) == [200]


def test_the_peer_counts_on_from_its_early_dialog():
    a, _, invite = early("b")
    assert statuses(give(a, within(invite, "UPDATE", number=5))) == [200]
    _ = give(a, answer(invite, 200, body=BODY))
    assert statuses(give(a, within(invite, "INFO", number=5))) == [500]
    assert statuses(give(a, within(invite, "INFO", number=6))) == [200]


def test_forks_beyond_the_limit_are_dropped_and_the_known_ones_go_on():
    a = agent()
    _, invite = calling(a)
    for n in range(MOST_FORKS):
        assert told(give(a, answer(invite, 180, tag=f"t{n}"))) == [Ringing()]
    outputs = give(a, answer(invite, 180, tag="more"))
    assert [type(o) for o in outputs] == [Dropped]
    assert told(give(a, answer(invite, 200, tag="t3", body=BODY))) == [Answered(OFFER)]


def test_answers_beyond_the_limit_are_not_acknowledged():
    a = agent()
    _, invite = calling(a)
    for n in range(MOST_FORKS):
        outputs = give(a, answer(invite, 200, tag=f"t{n}", body=BODY))
        assert methods(outputs) == (["ACK", "BYE"] if n else ["ACK"])
    assert give(a, answer(invite, 200, tag="more", body=BODY)) == ()


def test_a_2xx_that_cannot_be_acknowledged_ends_the_call():
    a, session, invite = early("b")
    response = answer(invite, 200, body=BODY)
    response.headers.replace("Contact", "<sip:a@b>, <sip:c@d>")
    outputs = give(a, response)
    (end,) = told(outputs)
    assert isinstance(end, Ended)
    assert end.reason is EndReason.PROTOCOL
    assert session.idle


def test_hundreds_of_contacts_of_a_redirection_name_one_target():
    a = agent()
    _, invite = calling(a)
    response = answer(invite, 300)
    user = "u" * 300
    contacts = ", ".join(f"<sip:{user}{n}@192.0.2.1>" for n in range(400))
    response.headers.replace("Contact", contacts)
    outputs = give(a, response)
    assert methods(outputs) == ["ACK"]  # and no INVITE
    transfer, end = told(outputs)
    assert transfer == TransferRequested(f"sip:{user}"[:256])
    assert isinstance(end, Ended)
    assert any(isinstance(o, Finished) for o in a.expire(now=40.0)) or a.deadline is None


# -- we are called --------------------------------------------------------------------------------


def update(to: str, *, cseq: str = "8", body: bytes = b"", more: str = ""):
    return incoming("UPDATE", body=body, to=to, cseq=cseq, branch=f"z9hG4bKu{cseq}", more=more)


def test_an_update_while_it_rings_moves_the_target_or_waits():
    a = agent()
    session = ringing(a)
    to = f"<sip:alice@example.com>;tag={session.local_tag}"
    moved = edited(update(to), Contact="<sip:moved@192.0.2.9>")
    outputs = give(a, moved, 2.0)
    assert statuses(outputs) == [200]
    assert sent(outputs)[0].contacts[0].uri.text == session.contact[1:-1]
    assert session.dialog is not None
    assert session.dialog.target == "sip:moved@192.0.2.9"
    (refused,) = sent(give(a, update(to, cseq="9", body=BODY), 2.1))
    assert isinstance(refused, Response)
    assert refused.status == 500  # its first offer is not answered yet
    assert 0 <= int(refused.need("retry-after")) <= 10
    assert statuses(a.perform(session, Answered(OFFER), now=3.0)) == [200]


def test_an_update_with_two_contacts_is_refused_and_moves_nothing():
    a = agent()
    session = ringing(a)
    to = f"<sip:alice@example.com>;tag={session.local_tag}"
    bad = edited(update(to), Contact="<sip:a@b>, <sip:c@d>")
    assert statuses(give(a, bad, 2.0)) == [400]
    assert session.dialog is not None
    assert session.dialog.target == "sip:bob@192.0.2.2"


@pytest.mark.parametrize("offer", [b"", BODY])
def test_an_offer_between_our_answer_and_its_ack_is_refused(offer):
    from securecall.calls.signaling import Offered

    a = agent()
    (rang,) = (o for o in give(a, incoming(body=offer)) if hasattr(o, "session"))
    signal = Answered(OFFER) if offer else Offered(OFFER)
    (ok,) = sent(a.perform(rang.session, signal, now=2.0))
    outputs = give(a, update(ok.need("to"), body=BODY), 2.1)
    assert statuses(outputs) == [500 if offer else 491]
    assert told(outputs) == []
    ack = incoming("ACK", body=b"" if offer else BODY, to=ok.need("to"), branch="z9hG4bKa")
    assert told(give(a, ack, 2.2)) == ([] if offer else [Answered(OFFER)])


def test_an_update_before_the_ack_leaves_the_session_timer_on():
    a = agent()
    timer = "Supported: timer\r\nSession-Expires: 600\r\n"
    (rang,) = (o for o in give(a, incoming(more=timer)) if hasattr(o, "session"))
    (ok,) = sent(a.perform(rang.session, Answered(OFFER), now=2.0))
    (said,) = sent(give(a, update(ok.need("to"), more="Supported: timer\r\n"), 2.1))
    assert said.headers.first("session-expires") == "600;refresher=uac"


# -- what we say we can ---------------------------------------------------------------------------


def test_what_we_can_is_said_alike_everywhere():
    a = agent()
    _, invite = calling(a)
    b = agent()
    session, to = answered(b)
    (options,) = sent(give(b, incoming("OPTIONS", body=b"", branch="z9hG4bKo"), 4.0))
    inside = incoming("OPTIONS", body=b"", to=to, cseq="8", branch="z9hG4bKi")
    (within_call,) = sent(give(b, inside, 4.0))
    c = agent()
    (ok,) = sent(c.perform(ringing(c), Answered(OFFER), now=2.0))
    for key in ("allow", "accept", "supported", "recv-info"):
        said = {m.headers.first(key) for m in (invite, options, within_call, ok)}
        assert len(said) == 1
        assert None not in said
    assert session.state.value == "confirmed"
