"""What one message from the server really is, and who really said it.

A server delivers what anybody writes. Copies, archived messages, events and times arrive as
elements that a stranger can write just as well; so each is believed only from the one entity whose
word it is (RFC 6120 8.1.2, XEP-0280 11, XEP-0313 6, XEP-0359 4, XEP-0203 7). Nothing here raises:
what does not hold is `Discarded`, with a reason that can be counted.
"""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element

from securecall.chat.message import Via
from securecall.errors import ProtocolError
from securecall.xmpp.jid import Jid, parse_jid
from securecall.xmpp.stamp import parse_stamp
from securecall.xmpp.unwrapped import (
    Discarded,
    Notice,
    NoticeKind,
    Outcome,
    Surroundings,
    Unwrapped,
    Why,
)

MOST_ID: Final = 512  # characters of any id; what servers and clients make has 36
MOST_CHILDREN: Final = 128  # elements right inside one message

_MESSAGE: Final = "{jabber:client}message"
_CARBONS: Final = ("{urn:xmpp:carbons:2}sent", "{urn:xmpp:carbons:2}received")
_RESULT: Final = "{urn:xmpp:mam:2}result"
_FORWARDED: Final = "{urn:xmpp:forward:0}forwarded"
_DELAY: Final = "{urn:xmpp:delay}delay"
_STANZA_ID: Final = "{urn:xmpp:sid:0}stanza-id"
_ORIGIN_ID: Final = "{urn:xmpp:sid:0}origin-id"
_EVENT: Final = "{http://jabber.org/protocol/pubsub#event}event"
_ROOM_USER: Final = "{http://jabber.org/protocol/muc#user}x"
_ROOM_NS: Final = "{http://jabber.org/protocol/muc#user}"
_TYPES: Final = frozenset({"chat", "error", "groupchat", "headline", "normal"})


class _Discard(Exception):
    def __init__(self, why: Why, detail: str = "") -> None:
        super().__init__(why.value)
        self.discarded = Discarded(why, detail)


def unwrap(stanza: Element, around: Surroundings) -> Outcome:
    """Tell what a `<message/>` from our server is; never raises for what stands in it."""
    try:
        return _unwrap(stanza, around)
    except _Discard as e:
        return e.discarded
    except ProtocolError as e:
        return Discarded(Why.MALFORMED, e.rule)


def asked_result(stanza: Element, around: Surroundings) -> str | None:
    """The archive id of a message that an archive sends because we asked, else None.

    Says nothing about what is in it; `unwrap` does.
    """
    results = stanza.findall(_RESULT)
    asked = around.queries.get(results[0].get("queryid", "")) if len(results) == 1 else None
    if asked is None or not _is(stanza.get("from", around.own.bare), asked):
        return None
    archive_id = results[0].get("id", "")
    return archive_id if 0 < len(archive_id) <= MOST_ID else None


def _unwrap(stanza: Element, around: Surroundings) -> Outcome:
    _require_message(stanza)
    own = around.own
    # RFC 6120 8.1.2.1: without `from`, a stanza is from our own account
    source = parse_jid(stanza.attrib["from"]) if "from" in stanza.attrib else own.account
    target = parse_jid(stanza.attrib["to"]) if "to" in stanza.attrib else own
    # what was sent to a device that left comes to another (RFC 6121 8.5.3.2)
    if target.account != own.account:
        raise _Discard(Why.MISDIRECTED)
    copies = [child for child in stanza if child.tag in _CARBONS or child.tag == _RESULT]
    if len(copies) > 1:
        raise _Discard(Why.MALFORMED, "several copies in one message")
    if copies and copies[0].tag == _RESULT:
        return _archived(copies[0], source, around)
    if copies:
        return _carbon(copies[0], source, around)
    return _plain(stanza, source, around)


# -- what came directly ----------------------------------------------------------------------------


def _plain(stanza: Element, source: Jid, around: Surroundings) -> Outcome:
    kind = _type_of(stanza)
    room = source.account in around.rooms
    if stanza.find(_EVENT) is not None and kind not in ("error", "groupchat"):
        if room or source.resource:  # XEP-0163 4.3: accounts have nodes, devices have none
            raise _Discard(Why.NO_NODES)
        own = source == around.own.account
        return Notice(kind=NoticeKind.EVENT, source=source, message=stanza, own=own)
    if kind == "groupchat":
        return _in_room(stanza, source, around)
    if kind == "headline":
        return Notice(kind=NoticeKind.HEADLINE, source=source, message=stanza)
    if kind != "error" and stanza.find(f"{_ROOM_USER}/{_ROOM_NS}invite") is not None:
        if source.resource or not source.local:
            raise _Discard(Why.PRIVATE_IN_ROOM, "an invitation that the room did not pass on")
        return Notice(kind=NoticeKind.INVITATION, source=source, message=stanza)
    if kind == "error" and room:
        if source.resource:  # a message to the room comes back from the room
            raise _Discard(Why.PRIVATE_IN_ROOM, "an occupant's error")
        return _said(stanza, source, around, conversation=source.account, room=True, own=False)
    _require_no_room(stanza, source, around)
    own = source.account == around.own.account
    if own and kind == "error":
        own = False  # our own server, in our account's name
    return _said(stanza, source, around, conversation=source.account, own=own)


def _in_room(stanza: Element, source: Jid, around: Surroundings) -> Outcome:
    room = around.rooms.get(source.account)
    if room is None:
        raise _Discard(Why.STRANGE_ROOM)
    if stanza.find("{jabber:client}subject") is not None and (
        # XEP-0045 8.1: only a message with a subject and no body changes it
        stanza.find("{jabber:client}body") is None and stanza.find("{jabber:client}thread") is None
    ):
        return Notice(kind=NoticeKind.SUBJECT, source=source, message=stanza)
    if not source.resource:
        raise _Discard(Why.ROOM_ITSELF)
    own = source.resource == room.nick
    real = around.own.account if own else room.occupants.get(source.resource)
    return _said(stanza, source, around, conversation=source.account, room=True, own=own, real=real)


# -- copies ----------------------------------------------------------------------------------------


def _carbon(copy: Element, source: Jid, around: Surroundings) -> Outcome:
    own = around.own.account
    if source != own:  # XEP-0280 11: exactly our bare JID, or it is a stranger's invention
        raise _Discard(Why.CARBON_NOT_OURS)
    message, sent = _forwarded(copy, around)
    if message is None:
        raise _Discard(Why.MALFORMED, "a copy of nothing")
    kind = _type_of(message)
    if kind in ("groupchat", "headline") or message.find(_EVENT) is not None:
        raise _Discard(Why.NOT_LIVE)
    writer, reader = _ends(message)
    if copy.tag == _CARBONS[0]:
        if writer.account != own or kind == "error":
            raise _Discard(Why.CARBON_OF_OTHERS)
        conversation, ours = reader.account, True
    else:
        if reader.account != own:
            raise _Discard(Why.CARBON_OF_OTHERS)
        conversation, ours = writer.account, writer.account == own and kind != "error"
    _require_no_room(message, writer if copy.tag == _CARBONS[1] else reader, around)
    return _said(
        message, writer, around, conversation=conversation, own=ours, via=Via.CARBON, sent=sent
    )


def _archived(result: Element, source: Jid, around: Surroundings) -> Outcome:
    asked = around.queries.get(result.get("queryid", ""))
    if asked is None:
        raise _Discard(Why.RESULT_NOT_ASKED)
    if source != asked:
        raise _Discard(Why.RESULT_NOT_ASKED, "from another archive than the one asked")
    archive_id = require_id(result.get("id", ""))
    if not archive_id:
        raise _Discard(Why.MALFORMED, "an archived message without its id")
    message, sent = _forwarded(result, around)
    if message is None:  # XEP-0313 3.2: what its owner deleted
        raise _Discard(Why.NOT_LIVE, "deleted from the archive")
    if message.find(_EVENT) is not None or _type_of(message) == "headline":
        raise _Discard(Why.NOT_LIVE)
    if asked != around.own.account:
        return _archived_in_room(message, asked, around, sent=sent, archive_id=archive_id)
    return _archived_of_ours(message, around, sent=sent, archive_id=archive_id)


def _archived_of_ours(
    message: Element, around: Surroundings, *, sent: float | None, archive_id: str
) -> Outcome:
    own, kind = around.own.account, _type_of(message)
    if kind == "groupchat":  # rooms have archives of their own, and know who wrote
        raise _Discard(Why.STRANGE_ROOM)
    writer = parse_jid(message.attrib["from"]) if "from" in message.attrib else own
    reader = parse_jid(message.attrib["to"]) if "to" in message.attrib else own
    if own not in (writer.account, reader.account):
        raise _Discard(Why.RESULT_OF_OTHERS, "between others")
    ours = writer.account == own
    other = reader if ours else writer
    _require_no_room(message, other, around)
    return _said(
        message,
        writer,
        around,
        conversation=other.account,
        own=ours and kind != "error",
        via=Via.ARCHIVE,
        sent=sent,
        archive_id=archive_id,
    )


def _archived_in_room(
    message: Element, room: Jid, around: Surroundings, *, sent: float | None, archive_id: str
) -> Outcome:
    writer = parse_jid(message.get("from", ""))
    if _type_of(message) != "groupchat" or writer.account != room or not writer.resource:
        raise _Discard(Why.RESULT_OF_OTHERS, "not said in the room whose archive it is")
    real = _item_of(message)
    return _said(
        message,
        writer,
        around,
        conversation=room,
        room=True,
        own=real == around.own.account,
        real=real,
        via=Via.ARCHIVE,
        sent=sent,
        archive_id=archive_id,
    )


def _forwarded(copy: Element, around: Surroundings) -> tuple[Element | None, float | None]:
    """The one message inside, None where the archive left it out, and when it was sent."""
    if len(copy) != 1 or copy[0].tag != _FORWARDED:
        raise _Discard(Why.MALFORMED, "a copy is exactly one forwarded message")
    messages = [child for child in copy[0] if child.tag == _MESSAGE]
    delays = [child for child in copy[0] if child.tag == _DELAY]
    if len(messages) > 1 or len(delays) > 1 or len(copy[0]) > len(messages) + len(delays):
        raise _Discard(Why.MALFORMED, "a copy is exactly one forwarded message")
    sent = min(parse_stamp(delays[0].get("stamp", "")), around.now) if delays else None
    if not messages:
        return None, sent
    _require_message(messages[0])
    if any(child.tag in (*_CARBONS, _RESULT) for child in messages[0].iter()):
        raise _Discard(Why.NESTED)
    return messages[0], sent


def _item_of(message: Element) -> Jid | None:
    # XEP-0313 6.1: a room strips what occupants write there, and names them itself in its archive
    items = [item for x in message.findall(_ROOM_USER) for item in x.findall(f"{_ROOM_NS}item")]
    if len(items) != 1 or "jid" not in items[0].attrib:
        return None
    return parse_jid(items[0].attrib["jid"]).account


# -- what all have in common -----------------------------------------------------------------------


def _said(
    message: Element,
    writer: Jid,
    around: Surroundings,
    *,
    conversation: Jid,
    own: bool,
    room: bool = False,
    real: Jid | None = None,
    via: Via = Via.LIVE,
    sent: float | None = None,
    archive_id: str = "",
) -> Unwrapped:
    if not conversation.local:
        raise _Discard(Why.SERVER)
    keeper = conversation if room else around.own.account
    delayed = _delay_of(message, around, keeper) if sent is None and via is Via.LIVE else sent
    person = real if room else writer.account
    return Unwrapped(
        message=message,
        via=via,
        conversation=conversation.address,
        sender=None if person is None or not person.local else person.address,
        writer=writer,
        own=own,
        room=room,
        error=_type_of(message) == "error",
        id=require_id(message.get("id", "")),
        origin_id=_origin_id_of(message),
        archive_id=archive_id or _stanza_id_of(message, around, keeper),
        sent=around.now if delayed is None else delayed,
        delayed=delayed is not None,
    )


def require_id(text: str) -> str:
    """Pass an id on that is short enough to be kept.

    Raises:
        ProtocolError: it is too long.
    """
    if len(text) > MOST_ID:
        raise ProtocolError("an id is too long", rule="RFC 6120 8.1.3")
    return text


def _stanza_id_of(message: Element, around: Surroundings, keeper: Jid) -> str:
    # XEP-0359 4: only from an entity that announced to name messages, for it alone overwrites what
    # senders write in its name; and only once
    if keeper not in around.names_messages:
        return ""
    named = [child for child in message.findall(_STANZA_ID) if _is(child.get("by", ""), keeper)]
    if len(named) != 1 or len(named[0].get("id", "")) > MOST_ID:
        return ""
    return named[0].get("id", "")


def _origin_id_of(message: Element) -> str:
    named = message.findall(_ORIGIN_ID)
    return require_id(named[0].get("id", "")) if len(named) == 1 else ""


def _delay_of(message: Element, around: Surroundings, keeper: Jid) -> float | None:
    # XEP-0203 7: anybody can write a delay; it counts from our server and from the room
    believed = (keeper, Jid("", keeper.domain))
    stamps = {
        parse_stamp(delay.get("stamp", ""))
        for delay in message.findall(_DELAY)
        if any(_is(delay.get("from", ""), jid) for jid in believed)
    }
    return min(stamps.pop(), around.now) if len(stamps) == 1 else None


def _is(text: str, jid: Jid) -> bool:
    try:
        return bool(text) and parse_jid(text) == jid
    except ProtocolError:
        return False


def _ends(message: Element) -> tuple[Jid, Jid]:
    if "from" not in message.attrib or "to" not in message.attrib:
        raise _Discard(Why.CARBON_OF_OTHERS, "a copy that does not say whose")
    return parse_jid(message.attrib["from"]), parse_jid(message.attrib["to"])


def _require_no_room(message: Element, other: Jid, around: Surroundings) -> None:
    # XEP-0045 7.5: the service marks private messages with the element; not all of them did
    if message.find(_ROOM_USER) is not None or other.account in around.rooms:
        raise _Discard(Why.PRIVATE_IN_ROOM)


def _require_message(element: Element) -> None:
    if element.tag != _MESSAGE:
        raise _Discard(Why.MALFORMED, "not a message")
    if len(element) > MOST_CHILDREN:
        raise _Discard(Why.MALFORMED, "too many elements in one message")


def _type_of(message: Element) -> str:
    kind = message.get("type", "normal")
    return kind if kind in _TYPES else "normal"  # RFC 6121 5.2.2
