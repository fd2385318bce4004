"""Stanzas for tests, as an application's stream hands them on."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element, fromstring

from securecall.xmpp.management import Done
from securecall.xmpp.xml import weight

OWN = "alice@a.example"


def held(element: Element, told: Callable[[], None]) -> Done:
    """As a session says of a stanza what it weighs, and who counts that it is dealt with."""
    return Done(weight(element), told)


def stanza(text: str) -> Element:
    """The first element of a text, in the namespace of client streams where it names none."""
    return fromstring(
        f"<s xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>{text}</s>"
    )[0]
