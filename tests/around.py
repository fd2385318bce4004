"""Romeo at home, as `unwrap` has to know him, and messages to him."""

from __future__ import annotations

from dataclasses import replace
from xml.etree.ElementTree import Element

from securecall.xmpp.jid import parse_jid
from securecall.xmpp.unwrapped import Room, Surroundings
from tests.stanzas import stanza

OWN = parse_jid("romeo@montague.example/home")
COVEN = parse_jid("coven@chat.shakespeare.example")
NOW = 1_000_000_000.0  # 2001-09-09T01:46:40Z
AROUND = Surroundings(
    own=OWN,
    now=NOW,
    queries={"f27": OWN.account, "c12": COVEN},
    rooms={
        COVEN: Room(
            nick="romeo",
            occupants={
                "firstwitch": parse_jid("hag66@shakespeare.example"),
                "secondwitch": parse_jid("wiccarocks@shakespeare.example"),
            },
        )
    },
    names_messages={OWN.account, COVEN},
)
NOBODY_NAMES = replace(AROUND, names_messages=())


def message(inside: str = "", **attributes: str) -> Element:
    """A message to us, by Juliet if nobody else is named."""
    told = {
        "from": "juliet@capulet.example/balcony",
        "to": "romeo@montague.example/home",
        "type": "chat",
        **{name.rstrip("_"): value for name, value in attributes.items()},
    }
    written = " ".join(f"{name}='{value}'" for name, value in told.items() if value)
    return stanza(f"<message {written}>{inside}</message>")
