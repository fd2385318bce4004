"""What the elements of a message say: body, receipts, markers, corrections, replies, reactions.

Three kinds of payload are read by the same grammar, and must be taken apart first: what came
unencrypted (`clear_payload`), what an OMEMO 2 envelope held (`sealed_payload`), and a body that
legacy OMEMO encrypted with what stood in clear beside it (`legacy_payload`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element

from securecall.chat.message import (
    Activity,
    Bounced,
    Delivered,
    Displayed,
    Named,
    Protection,
    Reaction,
    Said,
    Text,
    Typing,
    Unreadable,
)
from securecall.errors import ProtocolError
from securecall.xmpp.conditions import parse_stanza_error
from securecall.xmpp.emoji import MOST_REACTIONS, parse_emoji
from securecall.xmpp.envelope import OF
from securecall.xmpp.jid import parse_jid
from securecall.xmpp.stamp import EXPIRY, parse_expiry
from securecall.xmpp.unwrap import MOST_CHILDREN, require_id
from securecall.xmpp.xml import LANG, NOT_XML

MOST_BODY: Final = 256 * 1024  # characters; our own messages stop at 64 KiB
MOST_REGIONS: Final = 16  # of one body that stand in for something else

BODY: Final = "{jabber:client}body"
REQUEST: Final = "{urn:xmpp:receipts}request"
RECEIVED: Final = "{urn:xmpp:receipts}received"
MARKABLE: Final = "{urn:xmpp:chat-markers:0}markable"
DISPLAYED: Final = "{urn:xmpp:chat-markers:0}displayed"
REPLACE: Final = "{urn:xmpp:message-correct:0}replace"
REPLY: Final = "{urn:xmpp:reply:0}reply"
REACTIONS: Final = "{urn:xmpp:reactions:0}reactions"
REACTION: Final = "{urn:xmpp:reactions:0}reaction"
EPHEMERAL: Final = "{urn:xmpp:ephemeral:0}ephemeral"
ENCRYPTION: Final = "{urn:xmpp:eme:0}encryption"
FALLBACK: Final = "{urn:xmpp:fallback:0}fallback"
CHAT_STATES: Final = "http://jabber.org/protocol/chatstates"
# Newest first: what a sender put in both ways is read in the better one.
_METHODS: Final = (Protection.OMEMO, Protection.OMEMO_LEGACY)
ENCRYPTED: Final = tuple(f"{{{method.value}}}encrypted" for method in _METHODS)

_STATES: Final = {f"{{{CHAT_STATES}}}{activity.value}": activity for activity in Activity}
_OLD_RECEIVED: Final = "{urn:xmpp:chat-markers:0}received"
_ACKNOWLEDGED: Final = "{urn:xmpp:chat-markers:0}acknowledged"
_OLD_FALLBACK: Final = "{urn:xmpp:feature-fallback:0}fallback"
_OPENPGP: Final = ("{jabber:x:encrypted}x", "{urn:xmpp:openpgp:0}openpgp")
FILES: Final = "urn:xmpp:sfs:0"
_MARKS: Final = frozenset({REQUEST, MARKABLE, REPLACE, REPLY, EPHEMERAL, EXPIRY})
_SIGNALS: Final = frozenset({RECEIVED, DISPLAYED, _OLD_RECEIVED, _ACKNOWLEDGED, *_STATES})
# All but the body is in clear under legacy OMEMO. These are believed there, because the other
# clients know no other way; links, files and reactions are not.
_BESIDE_LEGACY: Final = _MARKS | _SIGNALS
_OURS: Final = _BESIDE_LEGACY | {BODY, REACTIONS, OF, FALLBACK, _OLD_FALLBACK, ENCRYPTION}
# XEP-0420 8: what only a server, or the stanza around, can say
_NOT_SEALED: Final = frozenset(
    {"urn:xmpp:hints", "urn:xmpp:sid:0", "http://jabber.org/protocol/address", "urn:xmpp:eme:0"}
    | {"urn:xmpp:carbons:2", "urn:xmpp:mam:2", "urn:xmpp:forward:0", "urn:xmpp:delay"}
    | {"http://jabber.org/protocol/pubsub#event", "http://jabber.org/protocol/muc#user"}
    | {*(method.value for method in _METHODS), "urn:xmpp:sce:1"}
)


@dataclass(frozen=True, slots=True)
class Heard:
    """What one message says.

    Attributes:
        said: In the order in which it is to be entered: words first.
        rest: Elements that are other parts' to read: files, calls, invitations. A `Text` with an
            empty body is there for a file among them; without one it says nothing.
    """

    said: tuple[Said, ...]
    rest: tuple[Element, ...] = field(default=(), repr=False)


# -- which elements count --------------------------------------------------------------------------


def clear_payload(message: Element) -> tuple[Element, ...]:
    """What counts of a message that is not encrypted; nothing, if it is."""
    return () if any(child.tag in ENCRYPTED for child in message) else tuple(message)


def sealed_payload(content: Iterable[Element]) -> tuple[Element, ...]:
    """What counts of the content of an OMEMO 2 envelope (XEP-0420 8)."""
    return tuple(element for element in content if _namespace(element) not in _NOT_SEALED)


def legacy_payload(message: Element, body: str | None) -> tuple[Element, ...]:
    """What counts of a message with legacy OMEMO: the decrypted body, and marks in clear.

    The server can add and take away everything but the body; see decision 0079.
    """
    beside = tuple(element for element in message if element.tag in _BESIDE_LEGACY)
    if body is None:
        return beside
    decrypted = Element(BODY)
    decrypted.text = NOT_XML.sub("\ufffd", body)  # encrypted as bytes, which no parser has seen
    return (decrypted, *beside)


# -- what they say ---------------------------------------------------------------------------------


def parse_said(payload: Sequence[Element], *, now: float) -> Heard:
    """Read what a payload says.

    Args:
        payload: From one of the three functions above.
        now: Unix seconds; from here on runs what disappears after a while.

    Raises:
        ProtocolError: an element breaks the rule of its extension; nothing of the message counts.
    """
    if len(payload) > MOST_CHILDREN:
        raise ProtocolError("too many elements in one message", rule="securecall limits")
    elements = _by_tag(payload)
    rest = tuple(element for element in payload if element.tag not in _OURS)
    foreign = _foreign_encryption(payload)
    if foreign:
        return Heard((Unreadable(why=foreign),), rest)
    said: list[Said] = []
    text = _text(payload, elements, now)
    if text is not None:
        said.append(text)
    if REACTIONS in elements:
        said.append(_reaction(elements[REACTIONS], _meant(elements)))
    said += _signals(elements)
    return Heard(tuple(said), rest)


def parse_bounced(message: Element, name: str) -> Bounced:
    """Read why our message of this id came back (RFC 6120 8.3)."""
    return Bounced(id=name, why=parse_stanza_error(message).condition)


def _by_tag(payload: Sequence[Element]) -> dict[str, Element]:
    """The elements that say something, by name; each may stand once."""
    elements: dict[str, Element] = {}
    for element in payload:
        if element.tag not in _MARKS | _SIGNALS | {REACTIONS, OF}:
            continue
        if element.tag in elements:
            raise ProtocolError(f"two {element.tag} in one message", rule="securecall grammar")
        elements[element.tag] = element
    if sum(tag in _STATES for tag in elements) > 1:
        raise ProtocolError("two chat states in one message", rule="XEP-0085 5.2")
    return elements


def _text(payload: Sequence[Element], elements: dict[str, Element], now: float) -> Text | None:
    body = _body(payload)
    if not body and not any(_namespace(element) == FILES for element in payload):
        return None
    return Text(
        body=body,
        corrects=_named(elements, REPLACE, "XEP-0308 4"),
        reply_to=_named(elements, REPLY, "XEP-0461 3"),
        answers=_meant(elements) if REPLY in elements else None,
        expires=_expires(elements, now),
        wants_receipt=REQUEST in elements and RECEIVED not in elements,  # XEP-0184 5.4
        markable=MARKABLE in elements,
    )


def _body(payload: Sequence[Element]) -> str:
    bodies = [element for element in payload if element.tag == BODY]
    if not bodies:
        return ""
    # RFC 6121 5.2.3: more than one only in different languages; the one without is for all
    chosen = next((body for body in bodies if LANG not in body.attrib), bodies[0])
    text = "".join(chosen.itertext())
    if len(text) > MOST_BODY:
        raise ProtocolError("a body is too long", rule="securecall limits")
    kept: list[str] = []
    place = 0
    for start, end in sorted(_regions(payload, len(text))):
        kept.append(text[place:start])
        place = max(place, end)
    return "".join((*kept, text[place:]))


def _regions(payload: Sequence[Element], length: int) -> list[tuple[int, int]]:
    """Which parts of the body stand in for an extension that is there (XEP-0428 2.2)."""
    understood = {_namespace(element) for element in payload if element.tag in _OURS}
    understood.update(FILES for element in payload if _namespace(element) == FILES)
    regions: list[tuple[int, int]] = []
    for fallback in payload:
        if fallback.tag not in (FALLBACK, _OLD_FALLBACK) or fallback.get("for") not in understood:
            continue
        if not len(fallback):
            return [(0, length)]
        space = fallback.tag[: fallback.tag.index("}") + 1]
        for region in fallback.findall(f"{space}body"):
            start = _count(region.get("start", "0"))
            end = _count(region.get("end", str(length)))
            if not start <= end <= length or len(regions) >= MOST_REGIONS:
                raise ProtocolError("a fallback ends outside its body", rule="XEP-0428 2.2")
            regions.append((start, end))
    return regions


def _reaction(element: Element, meant: Named | None) -> Reaction:
    name = require_id(element.get("id", ""))
    if not name:
        raise ProtocolError("a reaction to nothing", rule="XEP-0444 4.1")
    given = element.findall(REACTION)
    if len(given) > MOST_REACTIONS:
        raise ProtocolError("too many reactions", rule="securecall limits")
    emojis = frozenset(_emojis(given))
    if given and not emojis:  # not the same as none: that would take the earlier ones back
        raise ProtocolError("reactions without an emoji", rule="XEP-0444 5")
    return Reaction(to=name, emojis=emojis, of=meant)


def _meant(elements: dict[str, Element]) -> Named | None:
    if OF not in elements:
        return None
    by, name = parse_jid(elements[OF].get("by", "")), require_id(elements[OF].get("id", ""))
    if not name:
        raise ProtocolError("a message without a name is meant", rule="securecall grammar")
    return Named(by.address, name)


def _emojis(given: Iterable[Element]) -> Iterator[str]:
    for reaction in given:
        try:
            yield parse_emoji(reaction.text or "")
        except ProtocolError:  # XEP-0444 5: what is no emoji is passed over
            continue


def _signals(elements: dict[str, Element]) -> Iterator[Said]:
    delivered = {_named(elements, tag, "XEP-0184 5.3") for tag in (RECEIVED, _OLD_RECEIVED)}
    displayed = {_named(elements, tag, "XEP-0333 5") for tag in (DISPLAYED, _ACKNOWLEDGED)}
    yield from (Delivered(id=name) for name in sorted(delivered) if name)
    yield from (Displayed(id=name) for name in sorted(displayed) if name)
    yield from (Typing(activity=_STATES[tag]) for tag in elements if tag in _STATES)


def _named(elements: dict[str, Element], tag: str, rule: str) -> str:
    """The id an element names, "" where the element is not there."""
    if tag not in elements:
        return ""
    name = require_id(elements[tag].get("id", ""))
    if not name:
        raise ProtocolError(f"{tag.rpartition('}')[2]} of nothing", rule=rule)
    return name


def _expires(elements: dict[str, Element], now: float) -> int:
    """When the text disappears, by whichever of the two ways is sooner; 0 for never."""
    ends = []
    if EXPIRY in elements:
        ends.append(parse_expiry(elements[EXPIRY]))
    if EPHEMERAL in elements:
        # XEP-0466 5 lets the time run from when it was seen; ours runs from when it came
        timer = _count(elements[EPHEMERAL].get("timer", ""))
        if timer:
            ends.append(int(now) + timer)
    return min(ends, default=0)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise ProtocolError("a number is none", rule="XML Schema 2, unsignedInt")
    return int(text)


def _foreign_encryption(payload: Sequence[Element]) -> str:
    """In words, by which method that we do not have the message is encrypted; "" if by none."""
    for element in payload:
        if element.tag in _OPENPGP:
            return "it is encrypted with OpenPGP, which securecall does not have"
        if element.tag == ENCRYPTION and element.get("namespace", "") not in _METHODS:
            return "it is encrypted by a method that securecall does not have"
    return ""


def _namespace(element: Element) -> str:
    return element.tag[1:].partition("}")[0] if element.tag.startswith("{") else ""
