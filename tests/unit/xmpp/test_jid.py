"""JIDs have one form in which they can be compared."""

from __future__ import annotations

import pytest

from securecall.address import parse_address
from securecall.errors import ProtocolError
from securecall.xmpp.jid import Jid, jid_of, parse_jid, sent_by

SAME = {
    "Romeo@Montague.Example": "romeo@montague.example",
    "romeo@montague.example./home": "romeo@montague.example/home",
    "romeo@montague.example/a/b@c": "romeo@montague.example/a/b@c",
    "MONTAGUE.example": "montague.example",
    "管野@BÜCHER.example/jo\u0308": "管野@bücher.example/jö",
    "管野@xn--bcher-kva.example": "管野@bücher.example",
    "room@muc.example/a\u3000nick": "room@muc.example/a nick",
    "a@localhost": "a@localhost",
}
REFUSED = [
    "",
    "@montague.example",
    "romeo@",
    "romeo@montague.example/",
    "/home",
    "romeo@a@b",
    "ro meo@montague.example",
    "romeo@montague.example/ho\x07me",
    "romeo@mon tague.example",
    "romeo@192.0.2.1",
    "romeo@straße.example",
    "romeo@montague.example/" + "x" * 1024,
    "x" * 5000,
    "\ud800@montague.example",
    "romeo@\ud800.example",
    "romeo@montague.example/\ud800",
]


@pytest.mark.parametrize(("text", "written"), SAME.items())
def test_every_spelling_is_one_jid(text, written):
    jid = parse_jid(text)
    assert str(jid) == written
    assert parse_jid(str(jid)) == jid


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_jid_is_refused(text):
    with pytest.raises(ProtocolError):
        parse_jid(text)


def test_a_jid_and_an_address_name_the_same_person():
    address = parse_address("xmpp:romeo@bücher.example")
    assert parse_jid("Romeo@bücher.example/home").address == address
    assert jid_of(address) == parse_jid("romeo@xn--bcher-kva.example")
    with pytest.raises(ProtocolError):
        _ = parse_jid("montague.example").address
    with pytest.raises(ProtocolError):
        jid_of(parse_address("sip:romeo@montague.example"))


def test_only_our_own_account_speaks_for_it():
    own = "romeo@montague.example"
    assert sent_by(None, own)
    assert sent_by("Romeo@montague.example", own)
    for other in ("romeo@montague.example/home", "montague.example", "tybalt@capulet.example", "@"):
        assert not sent_by(other, own)


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
