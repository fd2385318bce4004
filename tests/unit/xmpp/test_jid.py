from __future__ import annotations

import pytest

from securecall.address import parse_address
from securecall.errors import ProtocolError
from securecall.xmpp.jid import Jid, jid_of, parse_jid, sent_by


def test_a_jid_is_cut_at_the_first_slash_only():
    found = parse_jid("Room@Chat.example/Nick/with@all.of/it")
    assert found == Jid("room", "chat.example", "Nick/with@all.of/it")
    assert (found.bare, str(found)) == (
        "room@chat.example",
        "room@chat.example/Nick/with@all.of/it",
    )


def test_a_server_has_a_jid_but_nobodys_address():
    assert parse_jid("A.example.") == Jid("", "a.example")
    with pytest.raises(ProtocolError):
        _ = parse_jid("a.example").address


def test_a_person_has_an_address_and_it_leads_back():
    address = parse_jid("Bob@b.example/phone").address
    assert address == parse_address("xmpp:bob@b.example")
    assert str(jid_of(address)) == "bob@b.example"


@pytest.mark.parametrize(
    "text",
    ["", "@b.example", "bob@", "bob@b.example/", "/x", "a b@c.example", "a@b c", "a'b@c.example",
     "a@b@c.example", "x@" + "d" * 1024, "a@b.example/\x07", "a\u0000@b", "u" * 1024 + "@b"],
)  # fmt: skip
def test_what_is_no_jid_is_refused(text):
    with pytest.raises(ProtocolError):
        parse_jid(text)


@pytest.mark.parametrize(
    ("sender", "ours"),
    [(None, True), ("alice@a.example", True), ("ALICE@a.example", True),
     ("alice@a.example/x", False), ("a.example", False), ("eve@a.example", False),
     ("alice@a.example.evil.example", False), ("", False), ("@", False)],
)  # fmt: skip
def test_only_our_account_speaks_for_itself(sender, ours):
    assert sent_by(sender, "alice@a.example") is ours


def test_addresses_of_other_networks_have_no_jid():
    with pytest.raises(ProtocolError):
        jid_of(parse_address("sip:bob@b.example"))
