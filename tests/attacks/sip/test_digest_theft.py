"""Who else than our server may make us say something a password can be guessed from."""

from __future__ import annotations

import hashlib

import pytest

from securecall.calls.signaling import Answered, Ended
from securecall.errors import EndReason, LoginRefused
from securecall.secret import Secret
from securecall.sip.agent import Agent
from securecall.sip.digest import Authenticator, Login, parse_fields
from securecall.sip.headers import Headers
from securecall.sip.message import Request, Response
from securecall.sip.output import Rang, Replied, Send
from tests.unit.sip import test_agent
from tests.unit.sip.test_agent import BODY, OFFER, answer, incoming, sent, told

pytestmark = pytest.mark.attack
GUESSES = ("123456", "password", "zanzibar")


def login(**options: object) -> Login:
    values = {"user": "alice", "password": Secret("zanzibar"), "realms": ("a.example",)} | options
    return Login(**values)  # type: ignore[arg-type] # by name


def agent() -> Agent:
    return test_agent.agent(Authenticator(login(learns=False)))


def guess(request: Request) -> str | None:
    """What the attacker does with credentials: try words until the response comes out."""
    value = request.headers.first("proxy-authorization") or request.headers.first("authorization")
    if value is None:
        return None
    fields = parse_fields(value, len("Digest "))
    name = {"MD5": "md5", "SHA-256": "sha256"}[fields["algorithm"]]

    def hashed(text: str) -> str:
        return hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()

    act = hashed(f"{request.method}:{fields['uri']}")
    for word in GUESSES:
        secret = hashed(f"{fields['username']}:{fields['realm']}:{word}")
        tail = f"{fields['nc']}:{fields['cnonce']}:{fields['qop']}"
        if hashed(f"{secret}:{fields['nonce']}:{tail}:{act}") == fields["response"]:
            return word
    return None


def challenged(request: Request, *, realm: str, status: int = 407, algorithm: str = "MD5"):
    response = answer(request, status)
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    value = f'Digest realm="{realm}", nonce="evil", qop="auth", algorithm={algorithm}, stale=true'
    response.headers.add(name, value)
    return response


def inviting(a: Agent, *, direct: bool = False) -> Request:
    return test_agent.calling(a, domain="a.example", direct=direct)[1]


def reaction(a: Agent, response: Response, *, direct: bool = False) -> list[Request]:
    outputs = a.receive(response, flow=1, direct=direct, now=1.0)
    return [m for m in sent(outputs) if isinstance(m, Request) and m.method != "ACK"]


def test_control_what_our_server_asks_for_gives_a_weak_password_away_to_whoever_asks():
    a = agent()
    (again,) = reaction(a, challenged(inviting(a), realm="a.example"))
    assert guess(again) == "zanzibar"


def test_a_callee_that_asks_in_the_name_of_another_realm_learns_nothing():
    for status in (401, 407):
        a = agent()
        invite = inviting(a)
        outputs = a.receive(
            challenged(invite, realm="mallory.example", status=status),
            flow=1,
            direct=False,
            now=1.0,
        )
        assert all(guess(m) is None for m in sent(outputs) if isinstance(m, Request))
        assert [type(s).__name__ for s in told(outputs)] == ["Ended"]


def test_a_callee_behind_the_server_that_asks_in_its_name_learns_nothing():
    a = agent()
    (again,) = reaction(a, challenged(inviting(a), realm="a.example"))
    for status in (401, 407):
        assert reaction(a, challenged(again, realm="a.example", status=status)) == []


def hanging_up(a: Agent, *, outgoing: bool) -> Request:
    """Our BYE of a call through the server, in either direction."""
    if outgoing:
        session, outputs = a.invite(
            target="sip:mallory@a.example",
            from_uri="sip:alice@a.example",
            offer=OFFER,
            flow=1,
            direct=False,
            now=0.0,
        )
        (invite,) = sent(outputs)
        assert isinstance(invite, Request)
        _ = a.receive(answer(invite, 200, body=BODY), flow=1, direct=False, now=0.1)
    else:
        outputs = a.receive(incoming(), flow=1, direct=False, now=0.0)
        (session,) = [o.session for o in outputs if isinstance(o, Rang)]
        (ok,) = sent(a.perform(session, Answered(OFFER), now=0.1))
        ack = incoming("ACK", to=ok.need("to"), branch="z9hG4bKack", body=b"")
        _ = a.receive(ack, flow=1, direct=False, now=0.2)
    (bye,) = sent(a.perform(session, Ended(EndReason.HUNG_UP), now=0.5))
    assert isinstance(bye, Request)
    return bye


@pytest.mark.parametrize("status", [401, 407])
def test_a_caller_who_asks_in_our_servers_name_when_we_hang_up_learns_nothing(status):
    a = agent()
    bye = hanging_up(a, outgoing=False)
    assert reaction(a, challenged(bye, realm="a.example", status=status)) == []


def test_control_within_a_call_of_ours_whoever_asks_in_our_servers_name_is_answered():
    a = agent()
    bye = hanging_up(a, outgoing=True)
    (again,) = reaction(a, challenged(bye, realm="a.example"))
    assert guess(again) == "zanzibar"


def test_a_direct_peer_is_never_shown_the_accounts_password():
    a = agent()
    invite = inviting(a, direct=True)
    assert reaction(a, challenged(invite, realm="a.example"), direct=True) == []


def test_a_realm_that_had_sha_256_is_not_answered_with_md5_again():
    a = Authenticator(login())
    request = Request("INVITE", "sip:b@a.example", Headers())
    strong = 'Digest realm="a.example", nonce="n", qop="auth", algorithm=SHA-256'
    weak = strong.replace("SHA-256", "MD5")

    def asked(*values: str) -> Response:
        return Response(407, "x", Headers(("Proxy-Authenticate", v) for v in values))

    assert a.answer(request, asked(weak), answered=0, cnonce="c") is not None  # control
    assert a.answer(request, asked(weak, strong), answered=0, cnonce="c") is not None
    for hidden in (weak, weak.replace(", algorithm=MD5", "")):
        with pytest.raises(LoginRefused):
            _ = a.answer(request, asked(hidden), answered=0, cnonce="c")


def test_no_other_realm_of_the_account_is_answered_with_md5_after_sha_256():
    def asked(realm: str, algorithm: str) -> Response:
        value = f'Digest realm="{realm}", nonce="n", qop="auth", algorithm={algorithm}'
        return Response(407, "x", Headers((("Proxy-Authenticate", value),)))

    a = Authenticator(login(realms=("a.example", "sip.a.example")))
    request = Request("INVITE", "sip:b@a.example", Headers())
    md5 = asked("sip.a.example", "MD5")
    assert a.answer(request, md5, answered=0, cnonce="c") is not None  # control
    strong = asked("a.example", "SHA-256")
    assert a.answer(request, strong, answered=0, cnonce="c") is not None
    with pytest.raises(LoginRefused):
        _ = a.answer(request, md5, answered=0, cnonce="c")


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"], ids=["control", "attack"])
def test_a_callee_that_asks_for_a_better_hash_locks_nobody_out_of_a_server_without(algorithm):
    a = Authenticator(login())
    register, invite = (
        Request(method, "sip:a.example", Headers()) for method in ("REGISTER", "INVITE")
    )

    def asked(status: int, name: str, algorithm: str) -> Response:
        value = f'Digest realm="a.example", nonce="n", qop="auth", algorithm={algorithm}'
        return Response(status, "x", Headers(((name, value),)))

    ours = asked(401, "WWW-Authenticate", "MD5")
    theirs = asked(407, "Proxy-Authenticate", algorithm)
    assert a.answer(register, ours, answered=0, cnonce="c") is not None
    assert a.answer(invite, theirs, answered=0, cnonce="c") is not None
    assert a.answer(register, ours, answered=0, cnonce="c") is not None


def test_an_invite_teaches_no_realm():
    a = Authenticator(login(learns=True))
    request = Request("INVITE", "sip:b@a.example", Headers())
    evil = Response(407, "x", Headers((("Proxy-Authenticate", 'Digest realm="evil", nonce="n"'),)))
    assert a.answer(request, evil, answered=0, cnonce="c") is None


def test_a_server_that_keeps_asking_is_answered_once():
    a = agent()
    request, outputs = a.ask(
        "OPTIONS", target="sip:b@a.example", from_uri="sip:alice@a.example", flow=1, now=0.0,
        more=Headers(),
    )  # fmt: skip
    assert [o.message for o in outputs if isinstance(o, Send)] == [request]
    (again,) = reaction(a, challenged(request, realm="a.example"))
    end = a.receive(challenged(again, realm="a.example"), flow=1, direct=False, now=2.0)
    (replied,) = [o for o in end if isinstance(o, Replied)]
    assert replied.request is request
    assert replied.refused is not None
    assert sent(end) == []
