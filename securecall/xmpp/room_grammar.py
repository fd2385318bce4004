"""What is said to and by a room: who is in it, who may be, and how it is kept (XEP-0045)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from securecall.errors import ProtocolError
from securecall.xmpp.conditions import parse_stanza_error
from securecall.xmpp.forms import FORM, Form, build_form, parse_form
from securecall.xmpp.jid import Jid, parse_jid
from securecall.xmpp.presence import PRESENCE
from securecall.xmpp.xml import CLIENT

MUC: Final = "http://jabber.org/protocol/muc"
USER: Final = f"{MUC}#user"
ADMIN: Final = f"{MUC}#admin"
OWNER: Final = f"{MUC}#owner"
CONFERENCE: Final = "jabber:x:conference"
PING: Final = "{urn:xmpp:ping}ping"
_X: Final = f"{{{USER}}}x"
_ITEM: Final = f"{{{USER}}}item"
_RULE: Final = "XEP-0045"
MAX_MEMBERS: Final = 256
_MAX_TEXT: Final = 1024  # characters of a reason; what is longer is cut


class Affiliation(enum.StrEnum):
    """What somebody is to a room, there or not (XEP-0045 5.2)."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    NONE = "none"
    OUTCAST = "outcast"

    @property
    def belongs(self) -> bool:
        """They may be in a room for members only."""
        return self in _BELONG


_BELONG: Final = frozenset({Affiliation.OWNER, Affiliation.ADMIN, Affiliation.MEMBER})
LISTED: Final = (Affiliation.OWNER, Affiliation.ADMIN, Affiliation.MEMBER)  # the lists of members


class Role(enum.StrEnum):
    """What somebody may do in a room they are in (XEP-0045 5.1)."""

    MODERATOR = "moderator"
    PARTICIPANT = "participant"
    VISITOR = "visitor"
    NONE = "none"


class Status(enum.IntEnum):
    """The status codes anything follows from (XEP-0045 15.6.2); others are passed over."""

    REAL_JIDS = 100  # everybody sees the real JIDs
    CONFIGURED = 104  # the configuration changed; what of it, has to be asked
    SELF = 110
    LOGGED = 170
    NOT_LOGGED = 171
    NOW_REAL_JIDS = 172
    NOW_SEMI_ANONYMOUS = 173
    NOW_ANONYMOUS = 174
    CREATED = 201
    RENAMED = 210  # the service gave us another nickname
    BANNED = 301
    NICKNAME = 303
    KICKED = 307
    AFFILIATION_LOST = 321
    MEMBERS_ONLY = 322
    SHUTDOWN = 332
    ERROR = 333


@dataclass(frozen=True, slots=True, kw_only=True)
class OccupantPresence:
    """What a room says of one occupant.

    Attributes:
        room: Bare JID of the room.
        nick: The occupant's nickname.
        available: They are in it.
        affiliation: What they are to it.
        role: What they may do in it.
        jid: Who they really are, None where the room does not say.
        new_nick: With `NICKNAME`: what they are called from now on.
        statuses: Codes that came with it.
        reason: For what is done to them, as somebody put it.
        destroyed: The room is gone.
    """

    room: str
    nick: str
    available: bool = True
    affiliation: Affiliation = Affiliation.NONE
    role: Role = Role.NONE
    jid: Jid | None = None
    new_nick: str = ""
    statuses: frozenset[Status] = frozenset()
    reason: str = field(default="", repr=False)
    destroyed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomRefusal:
    """A presence of ours to a room came back.

    Attributes:
        room: Which room.
        nick: The nickname that was asked for.
        condition: Why, e.g. "conflict" for a nickname that is taken.
    """

    room: str
    nick: str
    condition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomNotice:
    """A word of the room itself, to everybody in it.

    Attributes:
        room: Which.
        statuses: What changed.
        affiliations: Of people who are not in it now: bare JID -> what they became.
    """

    room: str
    statuses: frozenset[Status] = frozenset()
    affiliations: Mapping[str, Affiliation] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """Somebody wants us in a room.

    Attributes:
        room: Bare JID of the room.
        by: Who, bare.
        vouched: `by` is who sent it, by our server's word; otherwise it is the room's word, and
            anybody can run a room.
        reason: As they put it.
    """

    room: str
    by: str
    vouched: bool
    reason: str = field(default="", repr=False)


def parse_occupant(stanza: Element) -> OccupantPresence | RoomRefusal:
    """Read a presence that came from a room.

    Raises:
        ProtocolError: it is none that a room sends of an occupant.
    """
    jid = parse_jid(stanza.get("from", ""))
    if stanza.tag != PRESENCE or not jid.resource:
        raise ProtocolError("a presence of an occupant was expected", rule=_RULE)
    kind = stanza.get("type", "available")
    if kind == "error":
        return RoomRefusal(
            room=jid.bare, nick=jid.resource, condition=parse_stanza_error(stanza).condition
        )
    x = stanza.find(_X)
    item = x.find(_ITEM) if x is not None else None
    if x is None or item is None or kind not in ("available", "unavailable"):
        raise ProtocolError("a presence that says nothing of an occupant", rule="XEP-0045 7.2.2")
    return OccupantPresence(
        room=jid.bare,
        nick=jid.resource,
        available=kind == "available",
        affiliation=_affiliation(item),
        role=_role(item),
        jid=parse_jid(item.get("jid", "")) if item.get("jid") else None,
        new_nick=item.get("nick", ""),
        statuses=_statuses(x),
        reason=(item.findtext(f"{{{USER}}}reason") or "")[:_MAX_TEXT],
        destroyed=x.find(f"{{{USER}}}destroy") is not None,
    )


def parse_notice(stanza: Element) -> RoomNotice | None:
    """Read what a room says to everybody in it, None for any other message.

    Only the bare JID of the room is the room: an occupant's messages come from a full one.

    Raises:
        ProtocolError: it is ill-formed.
    """
    x = stanza.find(_X)
    if x is None or x.find(f"{{{USER}}}invite") is not None or stanza.get("type") == "error":
        return None
    sender = parse_jid(stanza.get("from", ""))
    if sender.resource:
        return None
    items = x.findall(_ITEM)
    if len(items) > MAX_MEMBERS:
        raise ProtocolError(f"more than {MAX_MEMBERS} members", rule=_RULE)
    return RoomNotice(
        room=sender.bare,
        statuses=_statuses(x),
        affiliations={
            parse_jid(item.get("jid", "")).bare: _affiliation(item)
            for item in items
            if item.get("jid")
        },
    )


def parse_invitation(stanza: Element) -> Invitation | None:
    """Read an invitation, by the room (XEP-0045 7.8.2) or directly (XEP-0249); None for others.

    Raises:
        ProtocolError: it is ill-formed.
    """
    if stanza.get("type") in ("error", "groupchat"):
        return None
    sender = parse_jid(stanza.get("from", ""))
    invite = stanza.find(f"{_X}/{{{USER}}}invite")
    if invite is not None:
        if sender.resource:
            return None  # an occupant cannot speak for the room
        return Invitation(
            room=sender.bare,
            by=parse_jid(invite.get("from", "")).bare,
            vouched=False,
            reason=(invite.findtext(f"{{{USER}}}reason") or "")[:_MAX_TEXT],
        )
    direct = stanza.find(f"{{{CONFERENCE}}}x")
    if direct is None:
        return None
    return Invitation(
        room=parse_jid(direct.get("jid", "")).bare,
        by=sender.bare,
        vouched=True,
        reason=direct.get("reason", "")[:_MAX_TEXT],
    )


def parse_affiliations(payload: Element | None) -> Mapping[str, Affiliation]:
    """Read one of a room's lists: bare JID -> affiliation.

    Raises:
        ProtocolError: it is none, or longer than such a room's.
    """
    if payload is None or payload.tag != f"{{{ADMIN}}}query":
        raise ProtocolError("a list of a room was expected", rule="XEP-0045 9.5")
    items = payload.findall(f"{{{ADMIN}}}item")
    if len(items) > MAX_MEMBERS:
        raise ProtocolError(f"more than {MAX_MEMBERS} members", rule=_RULE)
    return {parse_jid(item.get("jid", "")).bare: _affiliation(item) for item in items}


def parse_room_form(payload: Element | None) -> Form:
    """Read the form by which a room is configured.

    Raises:
        ProtocolError: there is none.
    """
    found = payload.find(FORM) if payload is not None else None
    if found is None:
        raise ProtocolError("the configuration of a room was expected", rule="XEP-0045 10.1.3")
    return parse_form(found)


# -- what we say ----------------------------------------------------------------------------------


def build_join(room: str, nick: str) -> Element:
    """Return the presence that enters a room; of its history nothing is asked, archives have it."""
    stanza = Element(PRESENCE, {"to": f"{room}/{nick}"})
    x = SubElement(stanza, f"{{{MUC}}}x")
    SubElement(x, f"{{{MUC}}}history", {"maxstanzas": "0"})
    return stanza


def build_leave(room: str, nick: str) -> Element:
    """Return the presence that leaves a room."""
    return Element(PRESENCE, {"to": f"{room}/{nick}", "type": "unavailable"})


def build_configuration_request() -> Element:
    """Return the payload that asks for the form (a get, to the room)."""
    return Element(f"{{{OWNER}}}query")


def build_configuration(form: Form) -> Element:
    """Return the payload that submits the form (a set, to the room)."""
    query = Element(f"{{{OWNER}}}query")
    query.append(build_form(form))
    return query


def build_destruction() -> Element:
    """Return the payload that destroys a room (a set, to the room)."""
    query = Element(f"{{{OWNER}}}query")
    SubElement(query, f"{{{OWNER}}}destroy")
    return query


def build_affiliation(jid: str, affiliation: Affiliation) -> Element:
    """Return the payload that makes somebody a member, or no longer one (a set, to the room)."""
    query = Element(f"{{{ADMIN}}}query")
    SubElement(
        query,
        f"{{{ADMIN}}}item",
        {"jid": parse_jid(jid).bare, "affiliation": affiliation.value},
    )
    return query


def build_list_request(affiliation: Affiliation) -> Element:
    """Return the payload that asks for one of the lists (a get, to the room)."""
    query = Element(f"{{{ADMIN}}}query")
    SubElement(query, f"{{{ADMIN}}}item", {"affiliation": affiliation.value})
    return query


def build_direct_invitation(room: str, jid: str, *, reason: str = "") -> Element:
    """Return the message that invites somebody ourselves (XEP-0249)."""
    stanza = Element(f"{{{CLIENT}}}message", {"to": parse_jid(jid).bare})
    x = SubElement(stanza, f"{{{CONFERENCE}}}x", {"jid": room})
    if reason:
        x.set("reason", reason)
    return stanza


def _statuses(x: Element) -> frozenset[Status]:
    codes = {status.get("code", "") for status in x.findall(f"{{{USER}}}status")[:32]}
    return frozenset(status for status in Status if str(status.value) in codes)


def _affiliation(item: Element) -> Affiliation:
    try:
        return Affiliation(item.get("affiliation", "none"))
    except ValueError as e:
        raise ProtocolError("an affiliation that does not exist", rule="XEP-0045 5.2") from e


def _role(item: Element) -> Role:
    try:
        return Role(item.get("role", "none"))
    except ValueError as e:
        raise ProtocolError("a role that does not exist", rule="XEP-0045 5.1") from e
