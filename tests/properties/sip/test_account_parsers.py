"""What a server says to an account: any challenge, text, address of a server is read or refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from securecall.account import parse_server
from securecall.errors import ProtocolError, UsageError
from securecall.secret import Secret
from securecall.sip.digest import (
    Challenge,
    build_credentials,
    challenges_of,
    parse_challenge,
    parse_fields,
)
from securecall.sip.grammar import SipError
from securecall.sip.headers import Headers
from securecall.sip.message import Request, Response
from securecall.sip.text import read_text
from tests.properties.sip.test_parsers import mutated

CHALLENGE = (
    b'Digest realm="a.example", nonce="7ypf/xlj9XXwfDPE", qop="auth,auth-int", opaque="x\\"y", '
    b"algorithm=SHA-256, stale=true"
)
QUOTED = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=40)


@given(st.text(alphabet='Digest realm="nonce,=\\ \tx1é\0', max_size=80))
@example('Digest realm="' + "\\" * 5000)
def test_any_text_is_a_challenge_or_a_protocol_error(text):
    with contextlib.suppress(ProtocolError):
        _ = parse_challenge("Digest " + text)


def test_mutations_of_a_challenge_are_read_or_refused_and_passed_over():
    verdicts = set()
    for data in mutated([CHALLENGE], 3000, seed=3):
        text = data.decode("utf-8", "replace").replace("\r", "").replace("\n", "")
        try:
            _ = parse_challenge(text)
        except SipError:
            verdicts.add(False)
        else:
            verdicts.add(True)
        _ = challenges_of(Response(401, "x", Headers((("WWW-Authenticate", text),))))
    assert verdicts == {True, False}


@given(realm=QUOTED, nonce=QUOTED.filter(bool), user=QUOTED.filter(bool), opaque=QUOTED)
def test_what_a_challenge_says_comes_back_as_it_was_whatever_it_holds(realm, nonce, user, opaque):
    value = build_credentials(
        Challenge(realm=realm, nonce=nonce, opaque=opaque, qop="auth", algorithm="SHA-256"),
        user=user,
        password=Secret("pw"),
        method="INVITE",
        uri="sip:b@a.example",
        body=b"",
        cnonce="c",
        count=1,
    )
    found = parse_fields(value, len("Digest "))
    assert (found["realm"], found["nonce"], found["username"]) == (realm, nonce, user)
    assert found["opaque"] == opaque
    assert len(found["response"]) == 64


@given(st.binary(max_size=200), st.text(alphabet='text/plain;charset="utf-8 \0', max_size=40))
def test_any_text_message_is_read_or_refused(body, kind):
    request = Request("MESSAGE", "sip:b@a.example", Headers((("Content-Type", kind),)), body)
    with contextlib.suppress(ProtocolError):
        text = read_text(request)
        assert not any(c < " " and c not in "\n\t" for c in text)


@given(st.text(max_size=60))
@example("a" * 100_000 + ":")
@example("wss://" + "a." * 50_000)
def test_any_text_names_a_server_or_is_refused(text):
    with contextlib.suppress(UsageError):
        host, port, path = parse_server(text)
        assert host
        assert 0 <= port <= 65535
        assert path == "" or path.startswith("/")


@pytest.mark.parametrize("text", ["a.example:0"])
def test_port_nought_means_to_find_out(text):
    assert parse_server(text) == ("a.example", 0, "")
