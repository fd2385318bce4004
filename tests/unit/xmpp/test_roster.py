from __future__ import annotations

import pytest

from securecall.errors import ProtocolError
from securecall.xmpp.roster import (
    MAX_ROSTER,
    Roster,
    RosterChange,
    RosterItem,
    Subscription,
    build_kept,
    build_roster_remove,
    build_roster_set,
    parse_kept,
    parse_roster,
)
from tests.stanzas import OWN, stanza

BOB = RosterItem(jid="bob@b.example", name="Bob", subscription=Subscription.BOTH)


def query(items: str = "", ver: str = "") -> str:
    return f"<query xmlns='jabber:iq:roster' ver='{ver}'>{items}</query>"


def item(jid: str, more: str = "subscription='both'") -> str:
    return f"<item jid='{jid}' {more}/>"


def filled() -> Roster:
    roster = Roster(OWN)
    roster.accept_result(stanza(query(item("bob@b.example", "name='Bob' subscription='both'"))))
    return roster


def test_a_result_tells_who_came_and_who_went():
    roster = filled()
    changes = roster.accept_result(stanza(query(item("carol@c.example"), ver="v2")))
    assert {(c.before and c.before.jid, c.after and c.after.jid) for c in changes} == {
        ("bob@b.example", None),
        (None, "carol@c.example"),
    }
    assert (set(roster.items), roster.version) == ({"carol@c.example"}, "v2")


def test_no_payload_means_that_what_we_kept_is_still_so():
    roster = Roster(OWN, version="v9", items=[BOB])
    assert roster.request(versioning=True).get("ver") == "v9"
    assert roster.request(versioning=False).get("ver") is None
    assert roster.accept_result(None) == ()
    assert (dict(roster.items), roster.version) == ({BOB.jid: BOB}, "v9")


def test_a_push_changes_one_item_and_the_version():
    roster = filled()
    renamed = stanza(query(item("bob@b.example", "name='Bobby' subscription='to'"), ver="v3"))
    (change,) = roster.accept_push(renamed, sender=None)
    assert (change.before, change.after and change.after.name) == (BOB, "Bobby")
    assert (roster.version, roster.sees_us("bob@b.example")) == ("v3", False)
    assert roster.accept_push(renamed, sender=OWN) == ()


def test_a_removal_is_a_change():
    roster = filled()
    gone = roster.accept_push(
        stanza(query(item("bob@b.example", "subscription='remove'"))), sender=OWN
    )
    assert gone == (RosterChange(before=BOB, after=None),)
    assert dict(roster.items) == {}


def test_everything_about_a_person_is_read_and_kept():
    text = (
        "<item jid='bob@b.example' name='Bob' subscription='from' ask='subscribe' approved='true'>"
        "<group>A</group><group>A</group><group/><group>B</group></item>"
    )
    version, (found,) = parse_roster(stanza(query(text, ver="x")))
    assert found == RosterItem(
        jid="bob@b.example",
        name="Bob",
        subscription=Subscription.FROM,
        asked=True,
        approved=True,
        groups=("A", "B"),
    )
    assert parse_kept(build_kept(version, [found])) == ("x", (found,))


def test_one_broken_entry_does_not_cost_us_the_others():
    _, items = parse_roster(
        stanza(query(item("@") + item("bob@b.example") + item("c@c", "subscription='x'")))
    )
    assert [i.jid for i in items] == ["bob@b.example"]


@pytest.mark.parametrize(
    "text",
    [
        "<query xmlns='jabber:iq:last'/>",
        query(),
        query(item("bob@b.example") * 2),
        query(item("@")),
        query(item("bob@b.example", "subscription='friend'")),
    ],
)
def test_what_is_no_push_is_refused_and_changes_nothing(text):
    roster = filled()
    with pytest.raises(ProtocolError):
        roster.accept_push(stanza(text), sender=OWN)
    assert dict(roster.items) == {BOB.jid: BOB}


def test_the_roster_is_bounded():
    many = query("".join(item(f"u{n}@x.example") for n in range(MAX_ROSTER + 1)))
    roster = Roster(OWN)
    with pytest.raises(ProtocolError):
        roster.accept_result(stanza(many))
    full = Roster(OWN, items=[RosterItem(jid=f"u{n}@x.example") for n in range(MAX_ROSTER)])
    with pytest.raises(ProtocolError):
        full.accept_push(stanza(query(item("one@more.example"))), sender=None)


def test_requests_name_the_person():
    (added,) = build_roster_set("Bob@b.example/x", name="Bob", groups=["G"])
    assert (added.get("jid"), added.get("name"), added[0].text) == ("bob@b.example/x", "Bob", "G")
    (removed,) = build_roster_remove("bob@b.example")
    assert removed.get("subscription") == "remove"


@pytest.mark.parametrize(
    "data", [b"", b"{}", b'{"version":1,"items":[]}', b'{"version":"","items":[1]}']
)
def test_what_was_not_kept_by_us_is_refused(data):
    with pytest.raises(ProtocolError):
        parse_kept(data)
