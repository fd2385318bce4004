"""A server gives one message the id of another: what is said about one then hits the other.

The id of a stanza is outside of the encryption. Alice asks two things, and Bob's thumb, or his
correction, would stand under the wrong one. The control goes by the id outside.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from xml.etree.ElementTree import Element

import pytest

from securecall.address import parse_address
from securecall.chat.ledger import Ledger
from securecall.chat.message import Arrival, DeviceTrust, Named, Protection, Reaction, Text
from securecall.keys.omemo_values import OMEMO, Device, KeyFor, Opened, Recipients, Sealed
from securecall.xmpp import inbox
from securecall.xmpp.inbox import Inbox
from securecall.xmpp.jid import parse_jid
from securecall.xmpp.outbox import Outbox
from securecall.xmpp.said import parse_said, sealed_payload
from securecall.xmpp.saying import build_said
from securecall.xmpp.unwrap import unwrap
from securecall.xmpp.unwrapped import Room
from securecall.xmpp.xml import serialise
from tests.around import AROUND, COVEN, NOW, OWN
from tests.memory_history import MemoryHistory

pytestmark = pytest.mark.attack

JULIET = "juliet@capulet.example"
DEVICE = Device(namespace=OMEMO, jid=JULIET, id=5, identity_key=bytes(32))


def seal(plaintexts, recipients):
    key = KeyFor(jid=OWN.bare, id=6, data=b"key", kex=False)
    return (Sealed(namespace=OMEMO, sender=5, keys=(key,), iv=b"", payload=plaintexts[OMEMO]),)


JULIETS = Outbox(SimpleNamespace(jid=JULIET, seal=seal))
ROMEOS = Inbox(
    SimpleNamespace(
        jid=OWN.bare,
        device_id=6,
        open_sealed=lambda sealed, jid: Opened(plaintext=sealed.payload, device=DEVICE),
    ),
    lambda device: DeviceTrust.VERIFIED,
    MemoryHistory(),
)


def written(name: str, *, room: bool = False) -> Element:
    stanza = JULIETS.build(
        COVEN.address if room else parse_address(f"xmpp:{OWN.bare}"),
        Text(body="hello"),
        Recipients(devices=(DEVICE,)),
        name=name,
        now=NOW,
        padding="",
        room=room,
    )
    stanza.tag = "{jabber:client}message"
    stanza.set("from", f"{JULIET}/balcony")
    return stanza


def arrived(stanza: Element):
    (arrival,) = ROMEOS.read(unwrap(stanza, AROUND), now=NOW)
    return arrival


@pytest.mark.parametrize("guarded", [True, False])
def test_a_message_keeps_the_name_its_sender_gave_it(monkeypatch, guarded):
    if not guarded:  # as it was
        monkeypatch.setattr(inbox, "_name", lambda payload: "")
    stanza = written("one")
    assert arrived(stanza).id == "one"
    stanza.set("id", "two")
    for named in stanza.findall("{urn:xmpp:sid:0}origin-id"):
        named.set("id", "two")
    arrival = arrived(stanza)
    assert arrival.said == Text(body="hello", **marks(arrival))
    assert arrival.id == ("one" if guarded else "two")


def marks(arrival):
    return {"wants_receipt": arrival.said.wants_receipt, "markable": arrival.said.markable}


@pytest.mark.parametrize("guarded", [True, False])
def test_a_room_cannot_give_a_message_the_name_of_another_either(monkeypatch, guarded):
    """Its service could else have Bob's correction of one message take the place of another."""
    if not guarded:
        monkeypatch.setattr(inbox, "_name", lambda payload: "")
    stanza = written("one", room=True)
    stanza.set("from", f"{COVEN}/firstwitch")
    stanza.set("to", str(OWN))
    around = replace(
        AROUND, rooms={COVEN: Room(nick="romeo", occupants={"firstwitch": parse_jid(JULIET)})}
    )
    for name in ("one", "two"):
        stanza.set("id", name)
        (arrival,) = ROMEOS.read(unwrap(stanza, around), now=NOW)
        assert (arrival.room, arrival.id) == (True, "one" if guarded else name)


@pytest.mark.parametrize("guarded", [True, False])
def test_a_room_that_names_messages_to_each_otherwise_moves_no_thumb_and_no_answer(guarded):
    """Carol is told that Alice's two questions have each other's name in the archive.

    The control is a client that goes by the room's names alone, as XEP-0444 and XEP-0461 have it.
    """
    history = MemoryHistory()
    ledger = Ledger(history, CAROL)
    for name, archive_id in (("m1", "2"), ("m2", "1")):  # to Bob: 1, 2
        _ = ledger.enter(came(ALICE, name, Text(body=name), archive_id=archive_id))
    meant = Named(ALICE, "m1") if guarded else None
    _ = ledger.enter(came(BOB, "r", Reaction(to="1", emojis=frozenset("👍"), of=meant)))
    _ = ledger.enter(came(BOB, "a", Text(body="yes", reply_to="1", answers=meant)))
    first, second, answer = history.messages(ROOM)
    assert bool(first.reactions) is guarded
    assert bool(second.reactions) is not guarded
    assert (answer.reply_by, answer.reply_to) == (ALICE, "m1" if guarded else "m2")


def test_what_is_meant_in_a_room_is_said_inside_the_encryption_and_nowhere_else():
    meant = Named(ALICE, "m1")
    for said in (
        Reaction(to="1", emojis=frozenset("👍"), of=meant),
        Text(body="yes", reply_to="1", answers=meant),
    ):
        inside = build_said(said, protection=Protection.OMEMO, now=NOW).inside
        (heard,) = parse_said(sealed_payload(inside), now=NOW).said
        assert heard == said
    legacy = build_said(said, protection=Protection.OMEMO_LEGACY, now=NOW)
    assert b"m1" not in b"".join(serialise(element) for element in legacy.outside)


ALICE, BOB, CAROL = (
    parse_address(f"xmpp:{who}@clinic.example") for who in ("alice", "bob", "carol")
)
ROOM = COVEN.address


def came(sender, name, said, **more):
    return Arrival(
        conversation=ROOM,
        sender=sender,
        room=True,
        id=name,
        sent=1.0,
        protection=Protection.OMEMO,
        device=7,
        trust=DeviceTrust.TRUSTED,
        said=said,
        **more,
    )
