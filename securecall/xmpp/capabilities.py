"""What a client can do, and the hash by which many share one answer (XEP-0030, XEP-0115)."""

from __future__ import annotations

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from securecall.errors import ProtocolError
from securecall.xmpp.forms import FORM, Form, build_form, parse_form
from securecall.xmpp.xml import LANG

DISCO: Final = "http://jabber.org/protocol/disco#info"
QUERY: Final = f"{{{DISCO}}}query"
CAPS: Final = "http://jabber.org/protocol/caps"
_C: Final = f"{{{CAPS}}}c"
_IDENTITY: Final = f"{{{DISCO}}}identity"
_FEATURE: Final = f"{{{DISCO}}}feature"
_RULE: Final = "XEP-0115 5.4"
_MAX_IDENTITIES: Final = 64
_MAX_FEATURES: Final = 512
_MAX_FORMS: Final = 16
_MAX_TEXT: Final = 1024  # characters
MAX_CACHED: Final = 1024  # answers; contacts share few clients
NODE: Final = "urn:securecall:client"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """Where to learn what a client can do: the `<c/>` of its presence.

    Attributes:
        node: Its maker's name for it.
        ver: Hash of what it can do.
        hash: By which function; only sha-1 is in use, and the one we check.
    """

    node: str
    ver: str
    hash: str = "sha-1"

    @property
    def disco_node(self) -> str:
        """The node to ask for (XEP-0115 6.2)."""
        return f"{self.node}#{self.ver}"

    def build(self) -> Element:
        """Write the `<c/>`."""
        return Element(_C, {"hash": self.hash, "node": self.node, "ver": self.ver})


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """What kind of thing something is: `client/pc`, `conference/text`, ..."""

    category: str
    type: str
    lang: str = ""
    name: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """An answer to disco#info."""

    identities: tuple[Identity, ...] = ()
    features: frozenset[str] = frozenset()
    forms: tuple[Form, ...] = ()

    def is_a(self, category: str, type_: str = "") -> bool:
        """One of its identities is of this category, and of this type if one is named."""
        return any(i.category == category and type_ in ("", i.type) for i in self.identities)


def parse_caps(presence: Element) -> Caps | None:
    """Read the `<c/>` of a presence; None where there is none that can be checked."""
    c = presence.find(_C)
    if c is None:
        return None
    node, ver, function = c.get("node", ""), c.get("ver", ""), c.get("hash", "")
    # Without `hash` it is of the version before 1.4, which proves nothing (XEP-0115 8.1).
    if function != "sha-1" or len(ver) != 28 or not 0 < len(node) <= _MAX_TEXT:
        return None
    return Caps(node=node, ver=ver)


def parse_info(query: Element) -> Info:
    """Read the payload of an answer to disco#info.

    Raises:
        ProtocolError: it is none, names something twice, or has more than anything can do.
    """
    if query.tag != QUERY:
        raise ProtocolError("an answer to disco#info was expected", rule="XEP-0030 3.1")
    identities = [_identity(child) for child in query.findall(_IDENTITY)[: _MAX_IDENTITIES + 1]]
    features = [child.get("var", "") for child in query.findall(_FEATURE)[: _MAX_FEATURES + 1]]
    forms = query.findall(FORM)
    if (
        len(identities) > _MAX_IDENTITIES
        or len(features) > _MAX_FEATURES
        or len(forms) > _MAX_FORMS
        or any(len(feature) > _MAX_TEXT for feature in features)
    ):
        raise ProtocolError("more features than anything has", rule="XEP-0030 3.1")
    if len(set(identities)) != len(identities) or len(set(features)) != len(features):
        raise ProtocolError("an identity or a feature stands twice", rule=_RULE)
    read = tuple(parse_form(form) for form in forms)
    typed = [form.form_type for form in read if form.form_type]
    if len(set(typed)) != len(typed):
        raise ProtocolError("two forms of one type", rule=_RULE)
    return Info(identities=tuple(identities), features=frozenset(features), forms=read)


def build_info(info: Info, *, node: str = "") -> Element:
    """Write an answer to disco#info."""
    query = Element(QUERY, {"node": node} if node else {})
    for identity in info.identities:
        added = SubElement(query, _IDENTITY, {"category": identity.category, "type": identity.type})
        if identity.lang:
            added.set(LANG, identity.lang)
        if identity.name:
            added.set("name", identity.name)
    for feature in sorted(info.features):
        SubElement(query, _FEATURE, {"var": feature})
    query.extend(build_form(form) for form in info.forms)
    return query


def build_hash(info: Info) -> str:
    """Return the `ver` of an answer (XEP-0115 5.1).

    Raises:
        ProtocolError: a word has the character that separates words: two answers that say
            different things would have this hash.
    """
    words = [f"{i.category}/{i.type}/{i.lang}/{i.name}" for i in info.identities]
    parts = [(i.category, i.type, i.lang) for i in info.identities]
    # "http://jabber.org/protocol/caps" must not pass for an identity of no type.
    if any("/" in c + t + lang or not c or not t for c, t, lang in parts):
        raise ProtocolError("an identity whose parts cannot be told apart", rule=_RULE)
    words = sorted(words, key=str.encode) + sorted(info.features, key=str.encode)
    typed = (form for form in info.forms if form.form_type)
    for form in sorted(typed, key=lambda form: form.form_type.encode()):
        words.append(form.form_type)
        for name in sorted(form.fields, key=str.encode):
            words += [name, *sorted(form.fields[name], key=str.encode)]
    if any("<" in word for word in words):
        raise ProtocolError("a word with the character that separates words", rule=_RULE)
    text = "".join(f"{word}<" for word in words)
    # The XEP fixes SHA-1. What is believed by it decides what is offered to the user, never whom
    # to trust; finding a second answer to a hash is out of reach even so.
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


class CapabilityCache:
    """Answers whose hash was checked; shared by everybody who shows the hash."""

    def __init__(self) -> None:
        """Begin with no answer."""
        self._known: OrderedDict[str, Info] = OrderedDict()

    def find(self, caps: Caps) -> Info | None:
        """Return what a client with these caps can do, None where it has to be asked."""
        info = self._known.get(caps.ver)
        if info is not None:
            self._known.move_to_end(caps.ver)
        return info

    def learn(self, caps: Caps, query: Element) -> Info:
        """Take a client's answer to the question that its caps raised.

        Raises:
            ProtocolError: it is ill-formed, or of another hash: it is kept for nobody.
        """
        info = parse_info(query)
        if build_hash(info) != caps.ver:
            raise ProtocolError("an answer that does not have the announced hash", rule=_RULE)
        if _could_be_cut_otherwise(info):
            return info  # true of the one who was asked, not of others with this hash
        self._known[caps.ver] = info
        if len(self._known) > MAX_CACHED:
            self._known.popitem(last=False)
        return info


class OwnCapabilities:
    """What we can do, as we announce and answer it; it names no product and no version."""

    def __init__(self, features: Iterable[str]) -> None:
        """State our features; `+notify` ones ask for the events of a node (XEP-0163 4.1)."""
        self.info = Info(
            identities=(Identity("client", "pc"),), features=frozenset({DISCO, CAPS, *features})
        )
        self.caps = Caps(node=NODE, ver=build_hash(self.info))

    def answer(self, query: Element) -> Element | None:
        """Answer disco#info; None for a node we do not have (item-not-found)."""
        node = query.get("node", "")
        if node not in ("", self.caps.disco_node):
            return None
        return build_info(self.info, node=node)


def _could_be_cut_otherwise(info: Info) -> bool:
    # The hashed words are in order, first the features, then those of each form. Where a form's
    # type would have its place behind the last feature, the form may as well be the last features
    # of somebody's answer, taken from them by whoever answered us.
    types = [form.form_type for form in info.forms if form.form_type]
    return bool(types) and min(map(str.encode, types)) > max(
        map(str.encode, info.features), default=b""
    )


def _identity(child: Element) -> Identity:
    parts = (
        child.get("category", ""),
        child.get("type", ""),
        child.get(LANG, ""),
        child.get("name", ""),
    )
    if any(len(part) > _MAX_TEXT for part in parts):
        raise ProtocolError("an identity longer than any", rule="XEP-0030 3.1")
    return Identity(*parts)
