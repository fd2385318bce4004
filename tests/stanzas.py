"""Stanzas for tests, as an application's stream hands them on."""

from __future__ import annotations

from xml.etree.ElementTree import Element, fromstring

OWN = "alice@a.example"


def stanza(text: str) -> Element:
    """The first element of a text, in the namespace of client streams where it names none."""
    return fromstring(
        f"<s xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>{text}</s>"
    )[0]
