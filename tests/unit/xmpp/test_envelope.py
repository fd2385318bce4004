"""The envelope inside OMEMO 2, and the XML it is made of."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

import pytest

from securecall.errors import EnvelopeMismatch, ProtocolError
from securecall.xmpp.envelope import MOST_EARLIER, build_envelope, parse_envelope
from securecall.xmpp.fragment import parse_fragment
from securecall.xmpp.jid import parse_jid
from securecall.xmpp.xml import serialise

ALICE, BOB, ROOM = map(parse_jid, ("alice@a.example/x", "bob@b.example", "room@muc.example"))
NOW = 1_800_000_000.0


def body(text: str) -> Element:
    element = Element("{jabber:client}body")
    element.text = text
    return element


def envelope(**changes: object):
    parts = {"sender": ALICE, "to": BOB, "unix": NOW, "padding": "x" * 17}
    return build_envelope([body("Grüße & <Küsse>")], **(parts | changes))


def test_what_is_put_in_comes_out():
    found = parse_envelope(envelope())
    assert [(e.tag, e.text) for e in found.content] == [("{jabber:client}body", "Grüße & <Küsse>")]
    assert (str(found.sender), found.to, found.sent) == (ALICE.bare, BOB, NOW)
    found.require(sender=ALICE, to=BOB, sent=NOW, named=False)
    assert len(envelope(padding="x" * 50)) == len(envelope()) + 33


@pytest.mark.parametrize(
    "around",
    [
        {"sender": BOB},
        {"to": ROOM},
        {"to": ALICE},
        {"sent": NOW + MOST_EARLIER + 1},
        {"sent": NOW - 90_000},
        {"to": ROOM, "named": True},
    ],
)
def test_an_envelope_in_another_stanza_is_refused(around):
    honest = {"sender": ALICE, "to": BOB, "sent": NOW, "named": False}
    parse_envelope(envelope()).require(**honest)
    with pytest.raises(EnvelopeMismatch):
        parse_envelope(envelope()).require(**(honest | around))


def test_a_room_has_to_be_named():
    text = envelope().decode().replace('<to jid="bob@b.example"/>', "")
    found = parse_envelope(text.encode())
    found.require(sender=ALICE, to=BOB, sent=NOW, named=False)
    with pytest.raises(EnvelopeMismatch):
        found.require(sender=ALICE, to=ROOM, sent=NOW, named=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.replace("envelope", "letter"),
        lambda t: t.replace('<from jid="alice@a.example"/>', ""),
        lambda t: t.replace("<rpad>", "<content/><rpad>"),
        lambda t: t.replace("alice@a.example", "@"),
        lambda t: t.replace("2027-", "not a date-"),
        lambda t: t[:-1],
        lambda t: "<!DOCTYPE e>" + t,
        lambda t: "<?p i?>" + t,
        lambda t: t.replace("<rpad>", "<!-- --><rpad>"),
        lambda t: t + "<more/>",
        lambda t: "",
    ],
)
def test_what_is_no_envelope_is_refused(change):
    text = envelope().decode()
    changed = change(text)
    assert changed != text
    with pytest.raises(ProtocolError):
        parse_envelope(changed.encode())


def test_fragments_keep_namespaces_text_and_tails():
    root = Element(
        "{urn:a}root", {"x": "\"'\n\t<&>", "{http://www.w3.org/XML/1998/namespace}lang": "de"}
    )
    root.text = "one\r\n"
    child = SubElement(root, "{urn:b}child")
    child.tail = "two ]]> "
    SubElement(child, "{urn:a}grandchild").text = "three"
    SubElement(root, "bare")
    found = parse_fragment(serialise(root, within=""), most=1000)
    assert serialise(found, within="") == serialise(root, within="")
    assert (found.text, found[0].tail, found[0][0].tag) == (
        "one\r\n",
        "two ]]> ",
        "{urn:a}grandchild",
    )
    assert found.attrib == root.attrib
    assert found[1].tag == "bare"


@pytest.mark.parametrize(
    "data",
    [
        b"<a>" * 21 + b"</a>" * 21,
        b"<a>" + b"<b/>" * 5000 + b"</a>",
        b"<a>" + b" " * 100_000 + b"</a>",
        b"\xff\xfe<a/>",
        b"<a>\xc3\x28</a>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b"<a>&b;</a>",
        b"<a xmlns:b='urn:b' b:c='d' e='f' e='g'/>",
        b"<b:a/>",
    ],
)
def test_fragments_that_are_dangerous_are_refused(data):
    with pytest.raises(ProtocolError):
        parse_fragment(data, most=50_000)
