"""How to say something: the elements inside the encryption, and those beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from securecall.chat.message import (
    Again,
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
from securecall.errors import ProtocolError, Unsupported, UsageError
from securecall.xmpp import said as names
from securecall.xmpp.emoji import MOST_REACTIONS, parse_emoji
from securecall.xmpp.envelope import OF
from securecall.xmpp.jid import Jid, jid_of
from securecall.xmpp.stamp import build_expiry
from securecall.xmpp.xml import NOT_XML

STORE: Final = "{urn:xmpp:hints}store"
NO_STORE: Final = "{urn:xmpp:hints}no-store"
# What a client without OMEMO shows; under OMEMO 2 none is allowed (XEP-0420 5).
LEGACY_HINT: Final = "This message is encrypted with OMEMO, which your client does not have."
# Inside the envelope, for a client that knows no XEP-0447: the message would show nothing at all.
FILE_HINT: Final = "A file came with this message, in a form that your client cannot show."


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The message that a text answers.

    Attributes:
        author: Who wrote it.
        quote: Its text, for clients that show no answers; "" to leave it out.
    """

    author: Jid
    quote: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One message, in the parts that encryption needs.

    Attributes:
        inside: Content of the OMEMO 2 envelope; empty under every other protection.
        body: What legacy OMEMO encrypts; "" where that has nothing to encrypt.
        outside: Elements of the stanza itself, which every server on the way reads.
    """

    inside: tuple[Element, ...] = field(default=(), repr=False)
    body: str = field(default="", repr=False)
    outside: tuple[Element, ...] = field(default=(), repr=False)


def build_said(
    said: Said,
    *,
    protection: Protection,
    now: float,
    attached: tuple[Element, ...] = (),
    answered: Answered | None = None,
) -> Written:
    """Write what is said, for one protection.

    Args:
        said: What.
        protection: How it will be encrypted.
        now: Unix seconds.
        attached: The elements of `Text.file`; only OMEMO 2 can hide them.
        answered: About the message that `Text.reply_to` names.

    Raises:
        UsageError: nobody says that, or a file would be left out or shown.
            Or its text has characters that XML cannot carry.
        Unsupported: a reaction under legacy OMEMO: everybody on the way would see it.
    """
    if isinstance(said, Text):
        said = replace(said, body=_on_the_wire(said.body))
        _require_attached(said, attached, protection)
    hint = Element(NO_STORE if isinstance(said, Typing) else STORE)
    match protection:
        case Protection.OMEMO:
            lone = attached and isinstance(said, Text) and not said.body
            instead = _instead_of_file() if lone else ()
            inside = (*instead, *_elements(said, now, answered), *attached)
            return Written(inside=inside, outside=(_method(protection), hint))
        case Protection.OMEMO_LEGACY:
            return _legacy(said, now, hint)
        case Protection.NONE:
            return Written(outside=(*_elements(said, now, answered), *attached, hint))


def _on_the_wire(text: str) -> str:
    if NOT_XML.search(text):
        raise UsageError("a text with control characters cannot be sent")
    return text.replace("\r\n", "\n").replace("\r", "\n")  # as the other side's parser would


def _require_attached(said: Text, attached: tuple[Element, ...], protection: Protection) -> None:
    if not said.body and not attached:
        raise UsageError("a text without words and without a file says nothing")
    if attached and protection is not Protection.OMEMO:
        raise UsageError("the key of a file would be shown to every server on the way")


def _legacy(said: Said, now: float, hint: Element) -> Written:
    if isinstance(said, Reaction):
        raise Unsupported("the other side's OMEMO cannot hide reactions, so none are sent")
    hidden = (names.BODY, OF)
    beside = tuple(element for element in _elements(said, now, None) if element.tag not in hidden)
    if not isinstance(said, Text):
        return Written(outside=(*beside, hint))
    shown = Element(names.BODY)
    shown.text = LEGACY_HINT
    method = _method(Protection.OMEMO_LEGACY)
    return Written(body=said.body, outside=(shown, *beside, method, hint))


def _method(protection: Protection) -> Element:
    return Element(names.ENCRYPTION, {"namespace": protection.value, "name": "OMEMO"})


def _elements(said: Said, now: float, answered: Answered | None) -> tuple[Element, ...]:
    match said:
        case Text():
            return _of_text(said, now, answered)
        case Reaction(to=name, emojis=emojis):
            return (_of_reaction(name, emojis), *_of_named(said.of))
        case Delivered(id=name):
            return (_naming(names.RECEIVED, name),)
        case Displayed(id=name):
            return (_naming(names.DISPLAYED, name),)
        case Typing(activity=activity):
            return (Element(f"{{{names.CHAT_STATES}}}{activity.value}"),)
        case Bounced() | Unreadable() | Again():
            raise UsageError("that happens to messages; nobody says it")


def _of_text(said: Text, now: float, answered: Answered | None) -> tuple[Element, ...]:
    elements = []
    quote = _quoted(answered.quote) if answered is not None and said.reply_to else ""
    if said.body:
        body = Element(names.BODY)
        body.text = quote + said.body
        elements.append(body)
    if said.reply_to:
        reply = _naming(names.REPLY, said.reply_to)
        if answered is not None:
            reply.set("to", str(answered.author))
        elements += [reply, *_of_named(said.answers)]
    if quote and said.body:
        fallback = Element(names.FALLBACK, {"for": "urn:xmpp:reply:0"})
        region = {"start": "0", "end": str(len(quote))}
        SubElement(fallback, "{urn:xmpp:fallback:0}body", region)
        elements.append(fallback)
    if said.corrects:
        elements.append(_naming(names.REPLACE, said.corrects))
    if said.expires:
        timer = str(max(1, math.ceil(said.expires - now)))
        elements.append(build_expiry(said.expires))
        elements.append(Element(names.EPHEMERAL, {"timer": timer}))
    elements += [Element(names.REQUEST)] if said.wants_receipt else []
    elements += [Element(names.MARKABLE)] if said.markable else []
    return tuple(elements)


def _instead_of_file() -> tuple[Element, Element]:
    body = Element(names.BODY)
    body.text = FILE_HINT
    return body, Element(names.FALLBACK, {"for": names.FILES})


def _quoted(text: str) -> str:
    lines = text.splitlines()[:4]  # enough to know it by
    return "".join(f"> {line[:200]}\n" for line in lines)


def _of_reaction(name: str, emojis: frozenset[str]) -> Element:
    if len(emojis) > MOST_REACTIONS:
        raise UsageError(f"at most {MOST_REACTIONS} emojis to one message")
    element = _naming(names.REACTIONS, name)
    for emoji in sorted(emojis):
        SubElement(element, names.REACTION).text = _emoji(emoji)
    return element


def _of_named(named: Named | None) -> tuple[Element, ...]:
    return () if named is None else (Element(OF, {"by": jid_of(named.by).bare, "id": named.id}),)


def _emoji(text: str) -> str:
    try:
        return parse_emoji(text)
    except ProtocolError as e:
        raise UsageError("a reaction is one emoji") from e


def _naming(tag: str, name: str) -> Element:
    if not name:
        raise UsageError("the message that is meant has no id")
    return Element(tag, {"id": name})
