"""Presence: who is there, on which connections, and who asks to see whom (RFC 6121 3, 4)."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from securecall.errors import ProtocolError
from securecall.xmpp.capabilities import Caps, parse_caps
from securecall.xmpp.conditions import parse_stanza_error
from securecall.xmpp.jid import Jid, parse_jid
from securecall.xmpp.xml import CLIENT

PRESENCE: Final = f"{{{CLIENT}}}presence"
_RULE: Final = "RFC 6121 4"
_MAX_STATUS: Final = 1024  # characters; what is longer is cut
MAX_RESOURCES: Final = 32  # of one person
MAX_STRANGERS: Final = 256  # whose presence is kept, of people who are not on the roster


class Show(enum.StrEnum):
    """How available somebody says to be (RFC 6121 4.7.2.1)."""

    AVAILABLE = ""
    AWAY = "away"
    CHAT = "chat"
    DO_NOT_DISTURB = "dnd"
    EXTENDED_AWAY = "xa"


class Ask(enum.StrEnum):
    """What somebody does about seeing whether the other is there (RFC 6121 3)."""

    SUBSCRIBE = "subscribe"  # asks to see us
    SUBSCRIBED = "subscribed"  # lets us see them
    UNSUBSCRIBE = "unsubscribe"  # does not want to see us any more
    UNSUBSCRIBED = "unsubscribed"  # does not let us see them (any more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """What one connection of somebody said last.

    Attributes:
        jid: Whose connection.
        available: It is there.
        show: How available.
        status: In their own words.
        priority: -128 to 127; negative ones want no messages.
        caps: Where to learn what it can do, None where it did not say.
    """

    jid: Jid
    available: bool = True
    show: Show = Show.AVAILABLE
    status: str = field(default="", repr=False)
    priority: int = 0
    caps: Caps | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionAsk:
    """Somebody asks, allows or refuses.

    Attributes:
        bare: Who.
        ask: What.
        status: What they say to it.
        answer_pending: It needs an answer of ours, by our user.
    """

    bare: str
    ask: Ask
    status: str = field(default="", repr=False)

    @property
    def answer_pending(self) -> bool:
        """Our user has to answer."""
        return self.ask is Ask.SUBSCRIBE


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceRefused:
    """A presence of ours, or a subscription, could not be delivered.

    Attributes:
        jid: To whom.
        condition: Why, the name of the stanza error.
    """

    jid: Jid
    condition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceChange:
    """Somebody's availability is another one now.

    Attributes:
        bare: Whose.
        best: The connection to write to, None when they are not there.
    """

    bare: str
    best: Presence | None


def parse_presence(stanza: Element) -> Presence | SubscriptionAsk | PresenceRefused:
    """Read a presence stanza of a person; those of rooms are for `room`.

    Raises:
        ProtocolError: it is none, or says what nothing follows from.
    """
    if stanza.tag != PRESENCE:
        raise ProtocolError("a presence was expected", rule=_RULE)
    jid = parse_jid(stanza.get("from", ""))
    kind = stanza.get("type", "available")
    status = (stanza.findtext(f"{{{CLIENT}}}status") or "")[:_MAX_STATUS]
    if kind in ("available", "unavailable"):
        return Presence(
            jid=jid,
            available=kind == "available",
            show=_show(stanza.findtext(f"{{{CLIENT}}}show")),
            status=status,
            priority=_priority(stanza.findtext(f"{{{CLIENT}}}priority")),
            caps=parse_caps(stanza) if kind == "available" else None,
        )
    if kind == "error":
        return PresenceRefused(jid=jid, condition=parse_stanza_error(stanza).condition)
    try:
        return SubscriptionAsk(bare=jid.bare, ask=Ask(kind), status=status)
    except ValueError as e:  # "probe" is between servers
        raise ProtocolError("a presence of a type clients do not get", rule="RFC 6121 4.7.1") from e


def build_presence(
    *,
    to: str = "",
    show: Show = Show.AVAILABLE,
    status: str = "",
    priority: int = 0,
    caps: Caps | None = None,
) -> Element:
    """Return our availability: to everybody who may see us, or to one JID.

    Args:
        to: "" for the broadcast; else directed presence (RFC 6121 4.6).
        show: How available.
        status: In our user's words.
        priority: -128 to 127.
        caps: What we can do.
    """
    stanza = Element(PRESENCE)
    if to:
        stanza.set("to", str(parse_jid(to)))
    if show is not Show.AVAILABLE:
        SubElement(stanza, f"{{{CLIENT}}}show").text = show.value
    if status:
        SubElement(stanza, f"{{{CLIENT}}}status").text = status
    if priority:
        SubElement(stanza, f"{{{CLIENT}}}priority").text = str(priority)
    if caps is not None:
        stanza.append(caps.build())
    return stanza


def build_unavailable(to: str = "") -> Element:
    """Return the word that we are gone, for everybody or for one JID."""
    stanza = Element(PRESENCE, {"type": "unavailable"})
    if to:
        stanza.set("to", str(parse_jid(to)))
    return stanza


def build_subscription(ask: Ask, to: str) -> Element:
    """Return a subscription stanza; always to a bare JID (RFC 6121 3.1.1)."""
    return Element(PRESENCE, {"type": ask.value, "to": parse_jid(to).bare})


class Presences:
    """Who is there; forgets everything at each new session, for nothing of it holds then."""

    def __init__(self) -> None:
        """Begin with nobody there."""
        self._there: dict[str, dict[str, Presence]] = {}

    def clear(self) -> tuple[PresenceChange, ...]:
        """A session could not be resumed: nobody is known to be there any more."""
        gone, self._there = self._there, {}
        return tuple(PresenceChange(bare=bare, best=None) for bare in gone)

    def forget(self, bare: str) -> tuple[PresenceChange, ...]:
        """Somebody left the roster, or was blocked: what they say of themselves is not ours now."""
        gone = self._there.pop(bare, None)
        return (PresenceChange(bare=bare, best=None),) if gone else ()

    def accept(self, presence: Presence, *, known: Iterable[str]) -> tuple[PresenceChange, ...]:
        """Take what a connection says.

        Args:
            presence: As it came.
            known: Bare JIDs on the roster, and our own; others are kept in small numbers only.

        Raises:
            ProtocolError: more connections, or more strangers, than anybody has.
        """
        bare, resource = presence.jid.bare, presence.jid.resource
        before = self.best(bare)
        resources = self._there.get(bare, {})
        if not presence.available:
            # Without a resource it speaks for all of them (RFC 6121 4.5.3).
            kept = {r: p for r, p in resources.items() if resource and r != resource}
            if kept:
                self._there[bare] = kept
            else:
                self._there.pop(bare, None)
        else:
            if bare not in self._there:
                self._require_room(bare, known)
            if resource not in resources and len(resources) >= MAX_RESOURCES:
                raise ProtocolError(f"more than {MAX_RESOURCES} connections of one person")
            self._there[bare] = {**resources, resource: presence}
        after = self.best(bare)
        return () if after == before else (PresenceChange(bare=bare, best=after),)

    def of(self, bare: str) -> Mapping[str, Presence]:
        """Every connection of somebody, by resource."""
        return MappingProxyType(self._there.get(bare, {}))

    def best(self, bare: str) -> Presence | None:
        """The connection to write to: of the highest priority, the last to speak among equals."""
        found = self._there.get(bare, {}).values()
        return max(reversed(found), key=lambda p: p.priority, default=None)

    def is_there(self, jid: str) -> bool:
        """This very connection is there."""
        parsed = parse_jid(jid)
        return parsed.resource in self._there.get(parsed.bare, {})

    def _require_room(self, bare: str, known: Iterable[str]) -> None:
        familiar = known if isinstance(known, (set, frozenset, dict)) else frozenset(known)
        if bare not in familiar:
            strangers = sum(1 for other in self._there if other not in familiar)
            if strangers >= MAX_STRANGERS:
                raise ProtocolError("too many strangers say that they are there", rule=_RULE)


def _show(text: str | None) -> Show:
    try:
        return Show((text or "").strip())
    except ValueError:
        return Show.AVAILABLE  # RFC 6121 4.7.2.1: what is unknown counts as not there


def _priority(text: str | None) -> int:
    # RFC 6121 4.7.2.3: an integer of -128 to 127; anything else counts as nought
    try:
        value = int(text or "0")
    except ValueError:
        return 0
    return value if -128 <= value <= 127 else 0
