from __future__ import annotations

import pytest

from securecall.address import parse_address
from securecall.errors import UsageError
from securecall.secret import Secret
from securecall.xmpp.login import XmppLogin, parse_server, prepared


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("a.example", ("a.example", 0)),
        ("a.example:5223", ("a.example", 5223)),
        ("[::1]:5222", ("::1", 5222)),
        ("::1", ("::1", 0)),
        (("a", 1), ("a", 1)),
        ("a.example:0", ("a.example:0", 0)),
        ("a.example:x", ("a.example:x", 0)),
        ("a.example:" + "9" * 5000, ("a.example:" + "9" * 5000, 0)),  # more than Python converts
    ],
)
def test_servers(text, parsed):
    assert parse_server(text) == parsed


def test_a_login_is_for_an_xmpp_address_and_shows_no_password():
    address = parse_address("xmpp:alice@a.example")
    login = XmppLogin(address=address, password=Secret("hush"))
    assert login.bare == "alice@a.example"
    assert "hush" not in repr(login)
    with pytest.raises(UsageError):
        XmppLogin(address=parse_address("sip:alice@a.example"), password=Secret("hush"))


def test_jids_are_compared_without_capitals_but_for_the_resource():
    assert prepared("Alice@A.example/Home") == "alice@a.example/Home"
    assert prepared("a@b/c/D") == "a@b/c/D"
