"""G2: a room's server, or somebody in the room, brings in a ghost or speaks for others.

The control is a client that encrypts to whoever is in the room, as most did that had encryption
for rooms first.
"""

from __future__ import annotations

import pytest

from securecall.errors import ProtocolError, RoomNotPrivate
from securecall.xmpp.room import Room
from securecall.xmpp.room_grammar import USER, Affiliation, parse_notice, parse_occupant
from tests.stanzas import OWN, stanza

pytestmark = pytest.mark.attack

ROOM = "ward@chat.a.example"
BOB, EVE = "bob@b.example", "eve@e.example"


def presence(sender: str, jid: str, *codes: int, affiliation: str = "member"):
    who = f" jid='{jid}'" if jid else ""
    statuses = "".join(f"<status code='{code}'/>" for code in codes)
    return parse_occupant(
        stanza(
            f"<presence from='{sender}'><x xmlns='{USER}'><item affiliation='{affiliation}' "
            f"role='participant'{who}/>{statuses}</x></presence>"
        )
    )


def inside() -> Room:
    room = Room(ROOM, own=OWN, nick="alice")
    room.begin()
    room.accept(presence(f"{ROOM}/bob", f"{BOB}/x"))
    room.accept(presence(f"{ROOM}/alice", f"{OWN}/here", 100, 110))
    room.listed([{OWN: Affiliation.OWNER, BOB: Affiliation.MEMBER}])
    return room


def present(room: Room) -> set[str]:
    """The control: keys for everybody who is there."""
    return {occupant.jid.bare for occupant in room.occupants.values()} - {OWN}


def test_control_a_ghost_gets_keys_where_presence_decides():
    room = inside()
    room.accept(presence(f"{ROOM}/eve", f"{EVE}/x", affiliation="none"))
    assert present(room) == {BOB, EVE}


@pytest.mark.parametrize("affiliation", ["none", "member", "admin", "owner"])
def test_a_ghost_gets_no_keys_whatever_the_room_calls_it(affiliation):
    room = inside()
    room.accept(presence(f"{ROOM}/eve", f"{EVE}/x", affiliation=affiliation))
    assert room.recipients == {BOB}
    assert [ghost.nick for ghost in room.ghosts] == ["eve"]


def test_a_ghost_on_the_lists_gets_no_keys_after_a_new_session():
    room = Room(ROOM, own=OWN, nick="alice", acknowledged={BOB})
    room.begin()
    room.accept(presence(f"{ROOM}/alice", f"{OWN}/here", 100, 110))
    room.listed([{OWN: Affiliation.OWNER, BOB: Affiliation.MEMBER, EVE: Affiliation.MEMBER}])
    assert (room.recipients, room.unacknowledged) == ({BOB}, {EVE})


def test_a_ghost_under_a_members_nickname_gets_no_keys():
    room = inside()
    room.accept(presence(f"{ROOM}/bob", f"{EVE}/x"))
    assert room.recipients == {BOB}
    assert [ghost.jid.bare for ghost in room.ghosts] == [EVE]


def test_a_ghost_that_does_not_say_who_it_is_ends_our_stay():
    with pytest.raises(RoomNotPrivate):
        inside().accept(presence(f"{ROOM}/eve", ""))


@pytest.mark.parametrize(
    "sender",
    ["eve@chat.a.example/bob", "ward@chat.e.example/bob", "chat.a.example/bob", "bob@b.example/x"],
)
def test_others_do_not_speak_for_the_room(sender):
    room = inside()
    with pytest.raises(ProtocolError):
        room.accept(presence(sender, f"{EVE}/x"))
    assert room.recipients == {BOB}


def test_an_occupant_does_not_make_members_or_open_the_room():
    """Messages of an occupant have the same elements, from the occupant's JID."""
    for inside_x in (
        f"<item affiliation='member' jid='{EVE}'/>",
        f"<item affiliation='none' jid='{BOB}'/>",
        "<status code='173'/>",
        "<status code='104'/>",
    ):
        x = f"<x xmlns='{USER}'>{inside_x}</x>"
        for kind in ("groupchat", "chat", "normal"):
            text = f"<message from='{ROOM}/eve' type='{kind}'>{x}</message>"
            assert parse_notice(stanza(text)) is None


def test_a_member_who_was_thrown_out_is_not_believed_back_in():
    room = inside()
    room.listed([{OWN: Affiliation.OWNER}])
    assert room.recipients == frozenset()
    room.accept(presence(f"{ROOM}/bob", f"{BOB}/x"))
    assert room.recipients == frozenset()
    room.acknowledge(BOB)
    assert room.recipients == {BOB}
