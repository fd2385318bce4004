"""A client that believes what stands in a stanza, as many did: the control of every spoof.

It speaks of effects in the words of `judges`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from xml.etree.ElementTree import Element

OWN = "romeo@montague.example"
CLIENT = "{jabber:client}"
ROOM = "{http://jabber.org/protocol/muc#user}"


def believes(stanza: Element) -> set[str]:
    """Everything that a stanza claims."""
    if stanza.tag == f"{CLIENT}iq":
        return set(_of_iq(stanza))
    if stanza.tag == f"{CLIENT}presence":
        return set(_of_presence(stanza))
    return {
        effect for message in stanza.iter(f"{CLIENT}message") for effect in _of(message, stanza)
    }


def _of_presence(stanza: Element) -> Iterator[str]:
    sender = stanza.get("from", "")
    for item in stanza.iter(f"{ROOM}item"):
        yield f"occupant {sender} {_bare(item.get('jid', ''))}"
    if any(status.get("code") == "110" for status in stanza.iter(f"{ROOM}status")):
        yield f"nick {sender.partition('/')[2]}"


def _of_iq(stanza: Element) -> Iterator[str]:
    yield f"answered {stanza.get('id')}"
    for item in stanza.iter("{jabber:iq:roster}item"):
        yield f"roster {item.get('jid')} {item.get('subscription')}"


def _of(message: Element, stanza: Element) -> Iterator[str]:
    sender = message.get("from", OWN)
    names = _names(message, _bare(sender))
    text = message.findtext(f"{CLIENT}body")
    if text is not None:
        yield f"sent {_bare(message.get('to', ''))}: {text}"
        yield f"sent {_bare(sender)}: {text}"
        yield from (f"shown {name}: {text}" for name in names)
    subject = message.findtext(f"{CLIENT}subject")
    yield f"subject {sender}: {subject}"
    for element in stanza.iter():
        yield from _of_element(element, names, sender, text or "")
    if message.get("type") == "error":
        yield f"failed {message.get('id')}"


def _names(message: Element, sender: str) -> set[str]:
    """Whoever might be meant: by address, by nickname, by what a room or a relay would add."""
    named = {sender, sender.replace("ß", "ss"), sender.replace("\u200b", "")}
    named.update(item.get("jid", "") for item in message.iter(f"{ROOM}item"))
    named.update(_bare(name) for name in list(named))
    named.update(nick.text or "" for nick in message.iter("{http://jabber.org/protocol/nick}nick"))
    address = "{http://jabber.org/protocol/address}address"
    named.update(one.get("jid", "") for one in message.iter(address))
    # without `from`, nobody's; at a server, the server's
    return named | ({""} if "from" not in message.attrib else set())


def _of_element(element: Element, names: set[str], sender: str, text: str) -> Iterator[str]:
    space, _, tag = element.tag.removeprefix("{").rpartition("}")
    name = element.get("id", "")
    match tag:
        case "stanza-id" | "result":
            yield f"archive-id {name}"
        case "delay":
            stamp = element.get("stamp", "").replace("Z", "+00:00")
            yield f"sent-at {datetime.fromisoformat(stamp).timestamp():.0f}"
        case "received" if space == "urn:xmpp:receipts":
            yield f"delivered {name}"
        case "displayed":
            yield from (f"displayed {name}", f"read {name}")
        case "replace":
            yield f"corrected {name}: {text}"
        case "reaction":
            yield from (f"reacted {to} {who} {element.text}" for to in _ALL for who in names)
        case "composing" | "invite" | "propose" | "accept":
            word = {"composing": "typing", "invite": "invited", "propose": "call"}
            yield from (f"{word.get(tag, 'taken')} {who}" for who in names)
        case "items":
            owners = {_bare(sender), *(item.get("publisher", "") for item in element)}
            yield from (f"node {owner} {element.get('node')}" for owner in owners)


_ALL = ("j1", "m1", "e1")


def _bare(jid: str) -> str:
    return jid.partition("/")[0]
