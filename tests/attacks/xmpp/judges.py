"""What a stanza brings about in ours, in words that a row of `spoofs.toml` can claim.

    shown A: text        a message by A        corrected ID: text   its text is another now
    sent A: text         by us, to A           delivered ID, displayed ID, failed ID
    archive-id ID        its name              reacted ID A emoji
    sent-at UNIX         its time              read ID              by us, elsewhere
    typing A, subject A: text, invited A, node A NODE, call A, taken A, roster A SUBSCRIPTION,
    answered ID, occupant A B, nick NICK

A judge returns the effects, and the reason where all of a message was discarded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from xml.etree.ElementTree import Element

from securecall.address import parse_address
from securecall.chat.ledger import Active, Ledger
from securecall.chat.message import Arrival, Delivery, Message, Protection
from securecall.errors import ProtocolError
from securecall.xmpp.pubsub import Whose, parse_event
from securecall.xmpp.requests import Requests
from securecall.xmpp.room import Room
from securecall.xmpp.room_grammar import (
    Affiliation,
    OccupantPresence,
    Role,
    Status,
    parse_occupant,
)
from securecall.xmpp.roster import Roster
from securecall.xmpp.said import clear_payload, parse_bounced, parse_said
from securecall.xmpp.unwrap import unwrap
from securecall.xmpp.unwrapped import Discarded, Notice, NoticeKind, Unwrapped
from tests.around import AROUND, NOW, OWN
from tests.memory_history import MemoryHistory

Verdict = tuple[set[str], str]

NODES = {
    "urn:xmpp:bookmarks:1": Whose.OURS,
    "urn:xmpp:avatar:metadata": Whose.ANYBODYS,
    "urn:xmpp:omemo:2:devices": Whose.ANYBODYS,
}
ROMEO = OWN.address
JULIET = parse_address("xmpp:juliet@capulet.example")
TYBALT = parse_address("xmpp:tybalt@capulet.example")
COVEN = parse_address("xmpp:coven@chat.shakespeare.example")
WITCH = parse_address("xmpp:hag66@shakespeare.example")
# Questions under way: id -> whom they went to.
ASKED = {
    "asked-juliet": "juliet@capulet.example/balcony",
    "asked-account": "",
    "asked-server": "montague.example",
}


def history() -> MemoryHistory:
    """What was said before: by both to both, in clear and encrypted, and in the room."""
    kept = MemoryHistory()

    def add(name, conversation, sender, text, **more):
        own = sender == ROMEO
        protection = Protection.OMEMO if name.startswith("e") else Protection.NONE
        message = Message(
            conversation=conversation,
            sender=sender,
            own=own,
            id=name,
            archive_id=f"archived-{name}",
            sent=NOW - 1000,
            text=text,
            unread=not own,
            protection=protection,
            **more,
        )
        kept.add(message)

    add("j1", JULIET, JULIET, "Stay")
    add("m0", JULIET, ROMEO, "It is the lark", delivery=Delivery.DISPLAYED)
    add("m1", JULIET, ROMEO, "I must be gone")
    add("e1", JULIET, JULIET, "Then, window, let day in")
    add("e2", JULIET, ROMEO, "Farewell")
    add("y1", TYBALT, TYBALT, "Thou art a villain")
    add("w1", COVEN, WITCH, "When shall we three meet again")
    add("w2", COVEN, ROMEO, "When the battle's lost and won")
    return kept


def message(stanza: Element) -> Verdict:
    """The whole way of a message, in a conversation where plaintext is allowed."""
    outcome = unwrap(stanza, AROUND)
    match outcome:
        case Discarded(why=why):
            return set(), why.value
        case Notice():
            return set(_of_notice(outcome)), ""
        case Unwrapped():
            return set(_of_message(outcome)), ""


def _of_notice(notice: Notice) -> Iterator[str]:
    if notice.kind is NoticeKind.EVENT:
        try:
            event = parse_event(notice.message, own=OWN.bare, nodes=NODES)
        except ProtocolError:
            return
        if event is not None:
            yield f"node {event.owner} {event.node}"
    if notice.kind is NoticeKind.SUBJECT:
        yield f"subject {notice.source}: {notice.message.findtext('{jabber:client}subject')}"
    if notice.kind is NoticeKind.INVITATION:
        yield f"invited {notice.source}"


def _of_message(found: Unwrapped) -> Iterator[str]:
    yield f"archive-id {found.archive_id}"
    if found.delayed:
        yield f"sent-at {found.sent:.0f}"
    person = found.sender
    if found.error:
        said, rest = (parse_bounced(found.message, found.id),), ()
        person = found.conversation
    else:
        try:
            heard = parse_said(clear_payload(found.message), now=NOW)
        except ProtocolError:
            return
        said, rest = heard.said, heard.rest
    if person is None:
        return
    for element in rest:
        act = element.tag.removeprefix("{urn:xmpp:jingle-message:0}")
        if act in ("propose", "accept"):
            yield f"{'call' if act == 'propose' else 'taken'} {person.short}"
    kept = history()
    ledger = Ledger(kept, ROMEO)
    before = {one.number: one for one in kept.after(0)}
    for each in said:
        arrival = Arrival(
            conversation=found.conversation,
            sender=person,
            own=found.own,
            id=found.id,
            archive_id=found.archive_id,
            sent=found.sent,
            via=found.via,
            room=found.room,
            said=each,
        )
        for news in ledger.enter(arrival, plaintext=True):
            if isinstance(news, Active):
                yield f"typing {news.sender.short}"
    for one in kept.after(0):
        yield from _changes(before.get(one.number), one)


def _changes(before: Message | None, after: Message) -> Iterator[str]:
    if before is None:
        if after.own:
            yield f"sent {after.conversation.short}: {after.text}"
        else:
            yield f"shown {after.sender.short}: {after.text}"
        return
    if after.text != before.text:
        yield f"corrected {after.id}: {after.text}"
    if after.delivery is not before.delivery:
        yield f"{after.delivery.value} {after.id}"
    if before.unread and not after.unread:
        yield f"read {after.id}"
    for who, emojis in after.reactions.items():
        yield from (f"reacted {after.id} {who.short} {emoji}" for emoji in emojis)


def roster(stanza: Element) -> Verdict:
    """A change of the roster that our server tells of."""
    try:
        changes = Roster(OWN.bare).accept_push(stanza[0], sender=stanza.get("from"))
    except ProtocolError:
        return set(), ""
    items = [change.after for change in changes if change.after is not None]
    return {f"roster {item.jid} {item.subscription.value}" for item in items}, ""


def answer(stanza: Element) -> Verdict:
    """The answer to a question of ours: whoever was asked, and no other, can give it."""
    name = stanza.get("id", "")

    async def answered() -> bool:
        requests = Requests(OWN.bare)
        question, future = requests.ask(Element("q"), to=ASKED[name], kind="get", jid=str(OWN))
        stanza.set("id", question.get("id", ""))  # guessed
        requests.receive(stanza)
        return future.done()

    return ({f"answered {name}"} if asyncio.run(answered()) else set()), ""


def room(stanza: Element) -> Verdict:
    """What a presence says of who is in the room we are in."""
    coven = Room(COVEN.short, own=OWN.bare, nick="romeo")
    coven.begin()
    ours = OccupantPresence(
        room=COVEN.short,
        nick="romeo",
        affiliation=Affiliation.MEMBER,
        role=Role.PARTICIPANT,
        jid=OWN,
        statuses=frozenset({Status.SELF, Status.REAL_JIDS}),
    )
    coven.accept(ours)
    with contextlib.suppress(ProtocolError):
        coven.accept(parse_occupant(stanza))
    there = {f"occupant {coven.jid}/{o.nick} {o.jid.bare}" for o in coven.occupants.values()}
    return there | {f"nick {coven.nick}"}, ""


JUDGES: dict[str, Callable[[Element], Verdict]] = {
    "message": message,
    "roster": roster,
    "answer": answer,
    "room": room,
}
