"""What an account's requests look like: routes, contacts, credentials, and a new connection."""

from __future__ import annotations

import pytest

from securecall.calls.signaling import Answered, Ended
from securecall.errors import EndReason
from securecall.secret import Secret
from securecall.sip.agent import Agent
from securecall.sip.digest import Authenticator, Login
from securecall.sip.headers import Headers
from securecall.sip.message import Request
from securecall.sip.output import Replied, Send
from securecall.sip.session import Session
from tests.unit.sip import test_agent
from tests.unit.sip.test_agent import BODY, OFFER, answer, methods, sent, told


def agent(*, password: bool = True) -> Agent:
    login = Login(user="alice", password=Secret("pw"), realms=("a.example",), learns=False)
    return test_agent.agent(Authenticator(login) if password else None)


def calling(a: Agent, *, direct: bool = False) -> tuple[Session, Request]:
    return test_agent.calling(a, domain="a.example", direct=direct)


def challenged(request: Request, *, status: int = 407, tag: str = "proxy"):
    response = answer(request, status, tag=tag)
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    response.headers.add(name, 'Digest realm="a.example", nonce="n", qop="auth"')
    return response


def give(a: Agent, message, now: float = 1.0, flow: int = 1):
    return a.receive(message, flow=flow, direct=False, now=now)


def test_the_servers_route_is_taken_by_calls_through_it_and_by_no_direct_one():
    a = agent()
    a.routes = ("<sip:edge.a.example;lr>", "<sip:core.a.example;lr>")
    _, invite = calling(a)
    assert invite.headers.all("route") == list(a.routes)
    _, direct = calling(a, direct=True)
    assert direct.headers.all("route") == []


def test_a_contact_is_the_gruu_where_there_is_one_and_otherwise_names_no_machine():
    a = agent()
    _, invite = calling(a)
    assert invite.headers.first("contact").endswith(".invalid;transport=tls>")
    a.gruu = "sip:alice@a.example;gr=urn:uuid:1"
    _, invite = calling(a)
    assert invite.headers.first("contact") == "<sip:alice@a.example;gr=urn:uuid:1>"
    _, direct = calling(a, direct=True)
    assert ".invalid" in direct.headers.first("contact")


def test_a_websocket_is_named_as_rfc_7118_says():
    a = agent()
    a.transport = "WSS"
    _, invite = calling(a)
    assert invite.via.transport == "WSS"
    assert invite.headers.first("contact").endswith(";transport=ws>")


@pytest.mark.parametrize("status", [401, 407])
def test_a_challenged_call_is_placed_again_with_credentials_under_the_next_number(status):
    a = agent()
    session, invite = calling(a)
    outputs = give(a, challenged(invite, status=status))
    ack, again = sent(outputs)
    assert (ack.method, again.method) == ("ACK", "INVITE")
    assert told(outputs) == []
    name = "authorization" if status == 401 else "proxy-authorization"
    assert again.headers.first(name).startswith('Digest username="alice"')
    assert again.cseq.number == invite.cseq.number + 1
    assert (again.call_id, again.from_.tag) == (invite.call_id, invite.from_.tag)
    assert again.via.branch != invite.via.branch
    assert again.body == invite.body
    accepted = give(a, answer(again, 200, body=BODY), 2.0)
    assert told(accepted) == [Answered(OFFER)]
    (ack,) = sent(accepted)
    # RFC 3261 22.1: the ACK carries what the INVITE carried
    assert ack.headers.first(name) == again.headers.first(name)
    assert not session.idle


def test_a_call_given_up_is_not_placed_again():
    a = agent()
    session, invite = calling(a)
    _ = give(a, answer(invite, 100))
    outputs = a.perform(session, Ended(EndReason.CANCELLED), now=0.5)
    assert methods(outputs) == ["CANCEL"]
    assert methods(give(a, challenged(invite))) == ["ACK"]


def test_a_challenged_hang_up_is_sent_again_within_the_dialog():
    a = agent()
    session, invite = calling(a)
    _ = give(a, answer(invite, 200, body=BODY))
    (bye,) = sent(a.perform(session, Ended(EndReason.HUNG_UP), now=2.0))
    (again,) = sent(give(a, challenged(bye, tag="b"), 3.0))
    assert (again.method, again.cseq.number) == ("BYE", bye.cseq.number + 1)
    assert again.headers.first("proxy-authorization") is not None
    _ = give(a, answer(again, 200), 4.0)
    assert session.idle


def test_without_a_password_a_challenge_is_a_refusal():
    a = agent(password=False)
    _, invite = calling(a)
    outputs = give(a, challenged(invite))
    assert methods(outputs) == ["ACK"]
    assert [type(s) for s in told(outputs)] == [Ended]


def test_what_nobody_took_notice_of_is_sent_again_by_a_new_connection_and_nothing_else():
    a = agent()
    _, first = calling(a)
    _, second = calling(a)
    _ = give(a, answer(second, 180))
    asked, _ = a.ask(
        "OPTIONS", target="sip:a.example", from_uri="sip:alice@a.example", flow=1, now=0.0,
        more=Headers(),
    )  # fmt: skip
    outputs = a.moved(1, 2)
    assert [(o.flow, o.message) for o in outputs if isinstance(o, Send)] == [
        (2, first),
        (2, asked),
    ]
    (replied,) = [o for o in give(a, answer(asked, 200), flow=2) if isinstance(o, Replied)]
    assert (replied.request, replied.status) == (asked, 200)


def register(a: Agent, name) -> Request:
    request, outputs = a.register(
        domain="sip:a.example",
        address="sip:alice@a.example",
        name=name,
        flow=1,
        now=0.0,
        more=Headers((("Contact", "<sip:x@y.invalid>"),)),
    )
    assert sent(outputs) == [request]
    return request


def test_registrations_share_a_name_and_count_on():
    a = agent()
    name = a.name()
    first, second = register(a, name), register(a, name)
    assert first.start_line() == "REGISTER sip:a.example SIP/2.0"
    assert first.headers.first("to") == "<sip:alice@a.example>"
    assert (second.call_id, second.from_.tag) == (first.call_id, first.from_.tag)
    assert second.cseq.number == first.cseq.number + 1
    assert first.headers.all("route") == []


def test_a_registration_after_a_challenged_one_counts_on_from_the_one_with_credentials():
    a = agent()
    name = a.name()
    first = register(a, name)
    (again,) = sent(give(a, challenged(first, status=401)))
    assert again.cseq.number == first.cseq.number + 1
    assert register(a, name).cseq.number == again.cseq.number + 1
