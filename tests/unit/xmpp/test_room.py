from __future__ import annotations

from xml.etree.ElementTree import Element

import pytest

from securecall.errors import ProtocolError, RoomNotPrivate
from securecall.xmpp.capabilities import Info
from securecall.xmpp.forms import Form
from securecall.xmpp.room import (
    Entered,
    MemberAdded,
    MemberRemoved,
    OccupantCame,
    OccupantLeft,
    OccupantRenamed,
    Recheck,
    Refused,
    Removal,
    Removed,
    Room,
    RoomEvent,
    RoomState,
    SelfPing,
    configure,
    judge_self_ping,
    require_private,
)
from securecall.xmpp.room_grammar import (
    MAX_MEMBERS,
    MUC,
    USER,
    Affiliation,
    Invitation,
    RoomRefusal,
    Status,
    build_affiliation,
    build_configuration,
    build_destruction,
    build_direct_invitation,
    build_join,
    build_leave,
    build_list_request,
    parse_affiliations,
    parse_invitation,
    parse_notice,
    parse_occupant,
    parse_room_form,
)
from tests.stanzas import OWN, stanza

ROOM = "ward@chat.a.example"
PRIVATE = Info(features=frozenset({MUC, "muc_membersonly", "muc_nonanonymous", "muc_hidden"}))
BOB, CAROL = "bob@b.example", "carol@c.example"


def of(
    nick: str,
    jid: str = "",
    *codes: int,
    kind: str = "",
    affiliation: str = "member",
    more: str = "",
) -> Element:
    """A room's word on an occupant."""
    who = f" jid='{jid}'" if jid else ""
    attribute = f" type='{kind}'" if kind else ""
    statuses = "".join(f"<status code='{code}'/>" for code in codes)
    role = "none" if kind else "participant"
    return stanza(
        f"<presence from='{ROOM}/{nick}'{attribute}><x xmlns='{USER}'>"
        f"<item affiliation='{affiliation}' role='{role}'{who}{more}/>{statuses}</x></presence>"
    )


def said(room: Room, element: Element) -> tuple[RoomEvent, ...]:
    return room.accept(parse_occupant(element))


def notice(room: Room, *codes: int, inside: str = "") -> tuple[RoomEvent, ...]:
    statuses = "".join(f"<status code='{code}'/>" for code in codes)
    found = parse_notice(
        stanza(
            f"<message from='{ROOM}' type='groupchat'><x xmlns='{USER}'>{inside}{statuses}</x>"
            "</message>"
        )
    )
    assert found is not None
    return room.notice(found)


def entered(acknowledged=None) -> Room:
    """Alice in a room with Bob and Carol, all members."""
    room = Room(ROOM, own=OWN, nick="alice", acknowledged=acknowledged)
    room.begin()
    assert said(room, of("bob", f"{BOB}/x")) == ()
    assert said(room, of("alice", f"{OWN}/here", 100, 110)) == (
        Entered(nick="alice", created=False),
    )
    room.listed([{OWN: Affiliation.OWNER}, {BOB: Affiliation.MEMBER, CAROL: Affiliation.MEMBER}])
    return room


def test_entering_a_room_for_the_first_time_makes_its_members_known():
    room = entered()
    assert room.state is RoomState.INSIDE
    assert set(room.occupants) == {"alice", "bob"}
    assert room.recipients == {BOB, CAROL}
    assert (room.unacknowledged, room.ghosts) == (frozenset(), ())
    assert room.acknowledged == {OWN, BOB, CAROL}


def test_a_member_who_came_while_we_were_away_gets_nothing_before_we_know():
    room = entered(acknowledged={BOB})
    assert (room.recipients, room.unacknowledged) == ({BOB}, {CAROL})
    room.acknowledge(CAROL)
    assert room.recipients == {BOB, CAROL}


def test_a_member_who_is_brought_in_gets_nothing_before_we_know():
    room = entered()
    added = notice(room, inside="<item affiliation='member' jid='eve@e.example' role='none'/>")
    assert added == (MemberAdded(jid="eve@e.example", affiliation=Affiliation.MEMBER, known=False),)
    assert room.recipients == {BOB, CAROL}
    events = said(room, of("eve", "eve@e.example/x"))
    assert [type(event) for event in events] == [OccupantCame]
    assert [ghost.nick for ghost in room.ghosts] == ["eve"]


def test_an_occupant_who_is_no_member_is_a_ghost_and_gets_nothing():
    room = entered()
    (came,) = said(room, of("eve", "eve@e.example/x", affiliation="none"))
    assert isinstance(came, OccupantCame)
    assert came.ghost
    assert room.recipients == {BOB, CAROL}
    assert [ghost.nick for ghost in room.ghosts] == ["eve"]


def test_who_is_no_member_any_more_gets_nothing_and_is_not_known_when_they_come_back():
    room = entered()
    (left, removed) = said(room, of("bob", "", 321, kind="unavailable", affiliation="none"))
    assert isinstance(left, OccupantLeft)
    assert (left.why, removed) == (Removal.NOT_A_MEMBER, MemberRemoved(jid=BOB))
    assert room.recipients == {CAROL}
    (added, _) = said(room, of("bob", f"{BOB}/x"))
    assert added == MemberAdded(jid=BOB, affiliation=Affiliation.MEMBER, known=False)
    assert room.recipients == {CAROL}
    assert room.listed([{OWN: Affiliation.OWNER}]) == (
        MemberRemoved(jid=CAROL),
        MemberRemoved(jid=BOB),
    )


@pytest.mark.parametrize(
    ("codes", "affiliation", "why"),
    [((307,), "none", Removal.KICKED), ((301,), "outcast", Removal.BANNED),
     ((322,), "none", Removal.NOT_A_MEMBER), ((332,), "member", Removal.SERVICE),
     ((333, 307), "member", Removal.SERVICE), ((), "member", Removal.LEFT)],
)  # fmt: skip
def test_why_somebody_went_is_told(codes, affiliation, why):
    room = entered()
    (left, *_) = said(room, of("bob", "", *codes, kind="unavailable", affiliation=affiliation))
    assert isinstance(left, OccupantLeft)
    assert left.why is why
    (ours,) = said(room, of("alice", "", 110, *codes, kind="unavailable", affiliation=affiliation))
    assert isinstance(ours, Removed)
    assert (ours.why, room.state) == (why, RoomState.OUTSIDE)
    assert said(room, of("carol", f"{CAROL}/x")) == ()  # late words


def test_a_room_that_is_destroyed_is_left():
    room = entered()
    element = of("bob", "", kind="unavailable", affiliation="none")
    element[0].append(Element(f"{{{USER}}}destroy"))
    (removed,) = said(room, element)
    assert isinstance(removed, Removed)
    assert removed.why is Removal.DESTROYED


def test_nicknames_change_and_stand_for_the_same_people():
    room = entered()
    (renamed,) = said(room, of("bob", "", 303, kind="unavailable", more=" nick='robert'"))
    assert isinstance(renamed, OccupantRenamed)
    assert said(room, of("robert", f"{BOB}/x")) == ()
    assert set(room.occupants) == {"alice", "robert"}
    said(room, of("alice", "", 110, 303, kind="unavailable", more=" nick='alicia'"))
    assert said(room, of("alicia", f"{OWN}/here", 110)) == ()
    assert (room.nick, room.state) == ("alicia", RoomState.INSIDE)


def test_a_nickname_that_is_somebody_elses_now_is_told():
    room = entered()
    left, came = said(room, of("bob", f"{CAROL}/x"))
    assert isinstance(left, OccupantLeft)
    assert left.occupant.jid.bare == BOB
    assert isinstance(came, OccupantCame)


def test_a_nickname_that_is_taken_leaves_us_outside():
    room = Room(ROOM, own=OWN, nick="bob")
    room.begin()
    text = (
        f"<presence from='{ROOM}/bob' type='error'><error type='cancel'>"
        "<conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
    )
    found = parse_occupant(stanza(text))
    assert found == RoomRefusal(room=ROOM, nick="bob", condition="conflict")
    assert room.accept(found) == (Refused(condition="conflict"),)
    assert room.state is RoomState.OUTSIDE


def test_a_room_we_make_is_ours_alone_until_it_is_configured():
    room = Room(ROOM, own=OWN, nick="alice", acknowledged=())
    room.begin()
    assert said(room, of("alice", "", 110, 201, affiliation="owner")) == (
        Entered(nick="alice", created=True),
    )
    assert room.state is RoomState.UNCONFIGURED
    room.configured()
    assert room.state is RoomState.INSIDE
    assert notice(room, 104, 172) == (Recheck(),)


@pytest.mark.parametrize(
    "element",
    [
        of("alice", f"{OWN}/here", 110),  # does not say that real JIDs are shown
        of("alice", f"{OWN}/here", 100, 110, 173),
        of("bob"),
    ],
)
def test_a_room_that_is_not_private_is_not_entered(element):
    room = Room(ROOM, own=OWN, nick="alice")
    room.begin()
    with pytest.raises(RoomNotPrivate):
        said(room, element)
    assert room.state is RoomState.JOINING


def test_a_room_that_is_logged_says_so():
    room = entered()
    assert not room.logged
    notice(room, 170)
    assert room.logged
    notice(room, 171)
    assert not room.logged


@pytest.mark.parametrize("code", [173, 174])
def test_a_room_that_becomes_public_or_anonymous_is_refused(code):
    with pytest.raises(RoomNotPrivate):
        notice(entered(), 104, code)


def test_a_room_that_takes_us_for_somebody_else_is_refused():
    room = Room(ROOM, own=OWN, nick="alice")
    room.begin()
    with pytest.raises(ProtocolError):
        said(room, of("alice", f"{BOB}/x", 100, 110))


def test_other_rooms_and_occupants_do_not_speak_for_the_room():
    room = entered()
    other = parse_occupant(stanza(
        f"<presence from='other@chat.a.example/x'><x xmlns='{USER}'><item/></x></presence>"
    ))  # fmt: skip
    with pytest.raises(ProtocolError):
        room.accept(other)
    x = f"<x xmlns='{USER}'><status code='173'/></x>"
    assert (
        parse_notice(stanza(f"<message from='{ROOM}/bob' type='groupchat'>{x}</message>")) is None
    )
    assert parse_notice(stanza(f"<message from='{ROOM}' type='error'>{x}</message>")) is None
    elsewhere = parse_notice(stanza(f"<message from='other@chat.a.example'>{x}</message>"))
    assert elsewhere is not None
    with pytest.raises(ProtocolError):
        room.notice(elsewhere)


def test_a_room_has_bounds():
    room = entered()
    many = {f"u{n}@x.example": Affiliation.MEMBER for n in range(MAX_MEMBERS + 1)}
    with pytest.raises(ProtocolError):
        room.listed([many])
    for n in range(MAX_MEMBERS - 3):
        said(room, of(f"u{n}", f"u{n}@x.example/x"))
    with pytest.raises(ProtocolError):
        said(room, of("more", "more@x.example/x"))
    for n in range(512 - MAX_MEMBERS - 1):
        said(room, of(f"g{n}", f"g{n}@x.example/x", affiliation="none"))
    with pytest.raises(ProtocolError):
        for n in range(10):
            said(room, of(f"h{n}", f"h{n}@x.example/x", affiliation="none"))


@pytest.mark.parametrize(
    "text",
    [
        f"<presence from='{ROOM}/x'/>",
        f"<presence from='{ROOM}'><x xmlns='{USER}'><item/></x></presence>",
        f"<presence from='{ROOM}/x'><x xmlns='{USER}'/></presence>",
        f"<presence from='{ROOM}/x'><x xmlns='{USER}'><item affiliation='king'/></x></presence>",
        f"<presence from='{ROOM}/x'><x xmlns='{USER}'><item role='king'/></x></presence>",
        f"<presence from='{ROOM}/x'><x xmlns='{USER}'><item jid='@'/></x></presence>",
        f"<presence from='{ROOM}/x' type='subscribe'><x xmlns='{USER}'><item/></x></presence>",
        f"<message from='{ROOM}/x'/>",
    ],
)
def test_what_says_nothing_of_an_occupant_is_refused(text):
    with pytest.raises(ProtocolError):
        parse_occupant(stanza(text))


def test_invitations_say_whose_word_it_is():
    mediated = stanza(
        f"<message from='{ROOM}'><x xmlns='{USER}'><invite from='{BOB}/x'><reason>come</reason>"
        f"</invite></x><x xmlns='jabber:x:conference' jid='{ROOM}'/></message>"
    )
    assert parse_invitation(mediated) == Invitation(room=ROOM, by=BOB, vouched=False, reason="come")
    direct = build_direct_invitation(ROOM, BOB, reason="come")
    assert direct.get("to") == BOB
    direct.set("from", f"{OWN}/here")
    assert parse_invitation(direct) == Invitation(room=ROOM, by=OWN, vouched=True, reason="come")
    mediated.set("from", f"{ROOM}/eve")
    assert parse_invitation(mediated) is None
    assert parse_invitation(stanza("<message from='a@b.example'><body>x</body></message>")) is None
    with pytest.raises(ProtocolError):
        parse_invitation(
            stanza(f"<message from='{BOB}'><x xmlns='jabber:x:conference' jid='@'/></message>")
        )


FIELDS = {
    f"muc#roomconfig_{name}": ("0",)
    for name in ("membersonly", "publicroom", "persistentroom", "enablelogging", "roomname")
} | {"muc#roomconfig_whois": ("moderators",), "muc#other": ("x",)}


def test_a_form_is_filled_in_with_what_makes_a_room_private():
    fields = {**FIELDS, "mam": ("0",)}
    sent = configure(Form(kind="form", fields=fields), name="Ward 3")
    assert (sent.kind, sent.form_type) == ("submit", f"{MUC}#roomconfig")
    short = {name.rpartition("_")[2]: values[0] for name, values in sent.fields.items()}
    assert short == {
        "membersonly": "1", "whois": "anyone", "publicroom": "0", "persistentroom": "1",
        "enablelogging": "0", "roomname": "Ward 3", "mam": "1",
    }  # fmt: skip


@pytest.mark.parametrize("missing", ["membersonly", "whois", "publicroom"])
def test_a_service_without_private_rooms_is_refused(missing):
    fields = {name: v for name, v in FIELDS.items() if not name.endswith(missing)}
    with pytest.raises(RoomNotPrivate):
        configure(Form(kind="form", fields=fields))


@pytest.mark.parametrize(
    "features",
    [set(), PRIVATE.features - {MUC}, PRIVATE.features - {"muc_membersonly"},
     PRIVATE.features - {"muc_nonanonymous"}, PRIVATE.features | {"muc_open"},
     PRIVATE.features | {"muc_semianonymous"}, PRIVATE.features | {"muc_public"}],
)  # fmt: skip
def test_a_room_that_says_it_is_not_private_is_refused(features):
    require_private(ROOM, PRIVATE)
    with pytest.raises(RoomNotPrivate):
        require_private(ROOM, Info(features=frozenset(features)))


@pytest.mark.parametrize(
    ("condition", "judged"),
    [("", SelfPing.INSIDE), ("service-unavailable", SelfPing.INSIDE),
     ("item-not-found", SelfPing.INSIDE), ("feature-not-implemented", SelfPing.INSIDE),
     ("not-acceptable", SelfPing.OUTSIDE), ("not-allowed", SelfPing.OUTSIDE),
     ("remote-server-timeout", SelfPing.UNKNOWN), (None, SelfPing.UNKNOWN)],
)  # fmt: skip
def test_a_self_ping_tells_whether_we_are_inside(condition, judged):
    assert judge_self_ping(condition) is judged


def test_what_we_send_names_room_and_people():
    join = build_join(ROOM, "alice")
    assert join.get("to") == f"{ROOM}/alice"
    history = join.find(f"{{{MUC}}}x/{{{MUC}}}history")
    assert history is not None
    assert history.get("maxstanzas") == "0"
    assert build_leave(ROOM, "alice").get("type") == "unavailable"
    assert build_affiliation(f"{BOB}/x", Affiliation.MEMBER)[0].attrib == {
        "jid": BOB,
        "affiliation": "member",
    }
    assert build_list_request(Affiliation.OWNER)[0].get("affiliation") == "owner"
    assert build_destruction()[0].tag == f"{{{MUC}#owner}}destroy"
    submitted = build_configuration(Form(kind="submit", fields={"a": ("1",)}))
    assert parse_room_form(submitted).fields == {"a": ("1",)}


def test_lists_are_read_and_bounded():
    item = "<item jid='{}' affiliation='member'/>"
    query = f"<query xmlns='{MUC}#admin'>" + "{}</query>"
    found = parse_affiliations(stanza(query.format(item.format(f"{BOB}/x"))))
    assert found == {BOB: Affiliation.MEMBER}
    many = "".join(item.format(f"u{n}@x") for n in range(MAX_MEMBERS + 1))
    for wrong in (None, stanza(f"<query xmlns='{MUC}#owner'/>"), stanza(query.format(many))):
        with pytest.raises(ProtocolError):
            parse_affiliations(wrong)
    with pytest.raises(ProtocolError):
        parse_room_form(None)
    assert Status(110) is Status.SELF
