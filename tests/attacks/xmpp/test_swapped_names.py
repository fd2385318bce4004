"""A server gives one message the id of another: what is said about one then hits the other.

The id of a stanza is outside of the encryption. Alice asks two things, and Bob's thumb, or his
correction, would stand under the wrong one. The control goes by the id outside.
"""

from __future__ import annotations

from types import SimpleNamespace
from xml.etree.ElementTree import Element

import pytest

from securecall.address import parse_address
from securecall.chat.message import DeviceTrust, Text
from securecall.keys.omemo_values import OMEMO, Device, KeyFor, Opened, Recipients, Sealed
from securecall.xmpp import inbox
from securecall.xmpp.inbox import Inbox
from securecall.xmpp.outbox import Outbox
from securecall.xmpp.unwrap import unwrap
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


def test_what_a_room_passes_on_goes_by_the_rooms_names():
    sealed = []
    outbox = Outbox(
        SimpleNamespace(jid=JULIET, seal=lambda texts, _: (sealed.append(texts), seal(texts, _))[1])
    )
    for room in (True, False):
        _ = outbox.build(
            COVEN.address,
            Text(body="hello"),
            Recipients(devices=(DEVICE,)),
            name="secret-name",
            now=NOW,
            padding="",
            room=room,
        )
    assert [b"secret-name" in texts[OMEMO] for texts in sealed] == [False, True]
