"""Whatever a room says, only members our user knows of are written to."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from securecall.errors import ProtocolError, RoomNotPrivate
from securecall.xmpp.jid import parse_jid
from securecall.xmpp.room import Room, RoomState
from securecall.xmpp.room_grammar import (
    Affiliation,
    OccupantPresence,
    Role,
    RoomNotice,
    RoomRefusal,
    Status,
    parse_affiliations,
    parse_invitation,
    parse_notice,
    parse_occupant,
    parse_room_form,
)
from tests.properties.xmpp.test_people_parsers import element
from tests.stanzas import OWN

ROOM = "ward@chat.a.example"
PEOPLE = (OWN, "bob@b.example", "carol@c.example", "eve@e.example")
nicks = st.sampled_from(["alice", "bob", "carol", "eve"])
people = st.sampled_from(PEOPLE)
affiliations = st.sampled_from(Affiliation)
statuses = st.frozensets(st.sampled_from(Status), max_size=3)
presences = st.builds(
    OccupantPresence,
    room=st.just(ROOM),
    nick=nicks,
    available=st.booleans(),
    affiliation=affiliations,
    role=st.sampled_from(Role),
    jid=st.one_of(st.none(), people.map(lambda who: parse_jid(f"{who}/x"))),
    new_nick=nicks,
    statuses=statuses,
    destroyed=st.booleans(),
)
refusals = st.builds(RoomRefusal, room=st.just(ROOM), nick=nicks, condition=st.just("conflict"))
notices = st.builds(
    RoomNotice,
    room=st.just(ROOM),
    statuses=statuses,
    affiliations=st.dictionaries(people, affiliations, max_size=3),
)
lists = st.dictionaries(people, affiliations, max_size=4)
steps = st.one_of(
    presences, refusals, notices, lists, st.sampled_from(["begin", "lost", "configured"])
)


@settings(max_examples=100)
@given(script=st.lists(steps, max_size=25), known=st.sets(people, max_size=2))
def test_nobody_is_written_to_whom_our_user_does_not_know(script, known):
    room = Room(ROOM, own=OWN, nick="alice", acknowledged=known)
    for step in script:
        with contextlib.suppress(RoomNotPrivate, ProtocolError):
            match step:
                case OccupantPresence() | RoomRefusal():
                    room.accept(step)
                case RoomNotice():
                    room.notice(step)
                case dict():
                    room.listed([step])
                case _:
                    getattr(room, step)()
        assert room.recipients <= known - {OWN}
        assert room.recipients <= set(room.members)
        assert not room.recipients & room.unacknowledged
        assert all(affiliation.belongs for affiliation in room.members.values())
        if room.state is RoomState.OUTSIDE:
            assert dict(room.occupants) == {}


@settings(max_examples=50)
@given(made=element())
def test_any_element_is_read_or_refused(made):
    for read in (
        parse_occupant,
        parse_notice,
        parse_invitation,
        parse_affiliations,
        parse_room_form,
    ):
        with contextlib.suppress(ProtocolError):
            read(made)
