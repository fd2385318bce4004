from __future__ import annotations

from xml.etree.ElementTree import Element

import pytest

from securecall.errors import ProtocolError
from securecall.xmpp.identity import IDENTITY, Publication, build_identity, parse_identity
from securecall.xmpp.pubsub import Item


def test_a_statement_survives_the_way():
    item = Item(id="current", payload=build_identity(b'{"payload":""}'))
    assert parse_identity([Item(id="old"), item]) == b'{"payload":""}'
    assert parse_identity([]) == b""


@pytest.mark.parametrize("text", ["ä", "a" * (24 * 1024 + 1)])
def test_other_things_are_no_identity(text):
    payload = build_identity(b"x")
    payload.text = text
    nested = build_identity(b"x")
    nested.append(Element("x"))
    for wrong in (payload, nested, Element("{other}identity"), None):
        with pytest.raises(ProtocolError):
            parse_identity([Item(id="current", payload=wrong)])


def test_it_is_due_when_it_changed_and_after_a_day():
    published = Publication()
    assert published.is_due(b"a", unix=100)
    published.published(b"a", unix=100)
    assert not published.is_due(b"a", unix=86_499)
    assert published.is_due(b"a", unix=86_501)
    assert published.is_due(b"a", unix=50)  # the clock was set back: nothing is known of the time
    assert published.is_due(b"b", unix=101)
    assert IDENTITY == "urn:securecall:identity:1"
