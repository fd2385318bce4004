"""What a message from the server can turn out to be."""

from __future__ import annotations

import enum
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from xml.etree.ElementTree import Element

from securecall.address import Address
from securecall.chat.message import Via
from securecall.xmpp.jid import Jid

_NO_QUERIES: Final[Mapping[str, Jid]] = MappingProxyType({})


class Why(enum.StrEnum):
    """Why a message, or what it claims to be, was not believed; stable names for counters."""

    MALFORMED = "malformed"  # an address, an id or a wrapping that is none
    MISDIRECTED = "misdirected"  # not to us
    CARBON_NOT_OURS = "carbon-not-ours"  # a copy that our own account did not make
    CARBON_OF_OTHERS = "carbon-of-others"  # a copy of what we neither sent nor got
    NESTED = "nested"  # a copy of a copy
    RESULT_NOT_ASKED = "result-not-asked"  # by nobody here, or not of this archive
    RESULT_OF_OTHERS = "result-of-others"  # archived, but said between others
    STRANGE_ROOM = "strange-room"  # said in a room we are not in
    ROOM_ITSELF = "room-itself"  # a room that speaks like a person
    PRIVATE_IN_ROOM = "private-in-room"  # the room, not the person, says who wrote it
    SERVER = "server"  # a server that speaks like a person
    NO_NODES = "no-nodes"  # an event from a device or an occupant
    NOT_LIVE = "not-live"  # an event or an announcement inside a copy


class NoticeKind(enum.StrEnum):
    """What else than something said a message can be."""

    EVENT = "event"  # a node changed (XEP-0060 12)
    SUBJECT = "subject"  # a room's (XEP-0045 8.1)
    INVITATION = "invitation"  # into a room, by way of that room (XEP-0045 7.8.2)
    HEADLINE = "headline"  # an announcement nobody keeps (RFC 6121 5.2.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A room we are in.

    Attributes:
        nick: What we are called there.
        occupants: The real bare JIDs behind the nicknames, as the room's presence told.
    """

    nick: str
    occupants: Mapping[str, Jid] = field(default_factory=dict)


NO_ROOMS: Final[Mapping[Jid, Room]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwrapped:
    """Something that was said to us or by us, or the refusal of what we said.

    Attributes:
        message: The stanza as its sender wrote it, out of every wrapping.
        via: By which way it came.
        conversation: The other person's address, or the room's.
        sender: Whose; None in a room that does not tell who its occupants are.
        writer: The very device, or the nickname in the room.
        own: Another device of ours said it, or this one in a room.
        room: It was said in a room.
        error: Our message of this `id` came back.
        id: As its sender named it, "" if unnamed.
        origin_id: As its sender named it beside (XEP-0359); survives rooms that rename.
        archive_id: Its name in our archive or the room's, "" where nobody trustworthy told.
        sent: Unix seconds, never in the future.
        delayed: It lay somewhere: offline, or in an archive.
    """

    message: Element = field(repr=False)
    via: Via
    conversation: Address
    sender: Address | None
    writer: Jid
    own: bool = False
    room: bool = False
    error: bool = False
    id: str = ""
    origin_id: str = ""
    archive_id: str = ""
    sent: float
    delayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A message that says nothing to a person; other parts read it.

    Attributes:
        kind: Which.
        source: Whose node, which room, which server.
        message: The stanza.
        own: It is our own account's.
    """

    kind: NoticeKind
    source: Jid
    message: Element = field(repr=False)
    own: bool = False


@dataclass(frozen=True, slots=True)
class Discarded:
    """A message that was not what it claimed to be.

    Attributes:
        why: For the counter.
        detail: For the log; holds nothing of the message.
    """

    why: Why
    detail: str = ""


Outcome = Unwrapped | Notice | Discarded


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What has to be known of us to tell what a message is.

    Attributes:
        own: Our full JID.
        now: Unix seconds.
        queries: Archive queries under way: queryid -> the archive that was asked.
        rooms: Bare JID -> the room, for all rooms we are in.
        names_messages: Who announced XEP-0359 and so names messages: our bare JID, rooms'.
    """

    own: Jid
    now: float
    queries: Mapping[str, Jid] = field(default_factory=lambda: _NO_QUERIES)
    rooms: Mapping[Jid, Room] = field(default_factory=lambda: NO_ROOMS)
    names_messages: Container[Jid] = ()
