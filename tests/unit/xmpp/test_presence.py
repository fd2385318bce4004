from __future__ import annotations

import pytest

from securecall.errors import ProtocolError
from securecall.xmpp.capabilities import Caps
from securecall.xmpp.presence import (
    MAX_RESOURCES,
    MAX_STRANGERS,
    Ask,
    Presence,
    PresenceChange,
    PresenceRefused,
    Presences,
    Show,
    SubscriptionAsk,
    build_presence,
    build_subscription,
    build_unavailable,
    parse_presence,
)
from tests.stanzas import stanza

VER = "QgayPKawpkPSDYmwT/WM94uAlu0="
KNOWN = {"bob@b.example"}


def came(jid: str, inside: str = "", kind: str = "") -> Presence:
    attribute = f" type='{kind}'" if kind else ""
    found = parse_presence(stanza(f"<presence from='{jid}'{attribute}>{inside}</presence>"))
    assert isinstance(found, Presence)
    return found


def test_everything_a_connection_says_is_read():
    found = came(
        "bob@b.example/phone",
        "<show>dnd</show><status>surgery</status><priority>5</priority>"
        f"<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='{VER}'/>",
    )
    assert (found.show, found.status, found.priority) == (Show.DO_NOT_DISTURB, "surgery", 5)
    assert found.caps == Caps(node="n", ver=VER)


@pytest.mark.parametrize(
    ("text", "priority"),
    [("127", 127), ("-128", -128), ("128", 0), ("x", 0), ("", 0), ("9" * 5000, 0)],
)
def test_a_priority_out_of_range_counts_as_nought(text, priority):
    assert came("bob@b.example/x", f"<priority>{text}</priority>").priority == priority


def test_an_unknown_show_is_plainly_available_and_a_long_status_is_cut():
    found = came("bob@b.example/x", f"<show>lurking</show><status>{'a' * 9999}</status>")
    assert (found.show, len(found.status)) == (Show.AVAILABLE, 1024)


@pytest.mark.parametrize("ask", list(Ask))
def test_subscription_stanzas_are_asks_of_a_bare_jid(ask):
    found = parse_presence(stanza(f"<presence from='eve@e.example/x' type='{ask.value}'/>"))
    assert found == SubscriptionAsk(bare="eve@e.example", ask=ask)
    assert isinstance(found, SubscriptionAsk)
    assert found.answer_pending is (ask is Ask.SUBSCRIBE)
    assert build_subscription(ask, "eve@e.example/x").get("to") == "eve@e.example"


def test_an_error_says_why():
    text = (
        "<presence from='x@b.example' type='error'><error type='cancel'>"
        "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>no</text>"
        "<remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
    )
    found = parse_presence(stanza(text))
    assert isinstance(found, PresenceRefused)
    assert found.condition == "remote-server-not-found"


@pytest.mark.parametrize(
    "text",
    ["<presence/>", "<message from='a@b.example'/>", "<presence from='@'/>",
     "<presence from='a@b.example' type='probe'/>", "<presence from='a@b.example' type='x'/>"],
)  # fmt: skip
def test_what_is_no_presence_is_refused(text):
    with pytest.raises(ProtocolError):
        parse_presence(stanza(text))


def test_what_we_build_is_read_back():
    caps = Caps(node="n", ver=VER)
    built = build_presence(to="bob@b.example", show=Show.AWAY, status="s", priority=-1, caps=caps)
    assert built.get("to") == "bob@b.example"
    built.set("from", "alice@a.example/r")
    found = parse_presence(built)
    assert isinstance(found, Presence)
    assert (found.show, found.status, found.priority, found.caps) == (Show.AWAY, "s", -1, caps)
    gone = build_unavailable("bob@b.example")
    assert (gone.get("to"), gone.get("type")) == ("bob@b.example", "unavailable")
    assert build_presence().attrib == {}


def test_the_connection_of_highest_priority_is_the_best_and_its_end_is_told():
    there = Presences()
    desk = came("bob@b.example/desk", "<priority>1</priority>")
    phone = came("bob@b.example/phone", "<priority>9</priority>")
    there.accept(desk, known=KNOWN)
    (change,) = there.accept(phone, known=KNOWN)
    assert change == PresenceChange(bare="bob@b.example", best=phone)
    (change,) = there.accept(came("bob@b.example/phone", kind="unavailable"), known=KNOWN)
    assert change.best == desk
    (change,) = there.accept(came("bob@b.example/desk", kind="unavailable"), known=KNOWN)
    assert change.best is None
    assert there.accept(came("bob@b.example/desk", kind="unavailable"), known=KNOWN) == ()


def test_a_bare_unavailable_ends_every_connection():
    there = Presences()
    for resource in "abc":
        there.accept(came(f"bob@b.example/{resource}"), known=KNOWN)
    there.accept(came("bob@b.example", kind="unavailable"), known=KNOWN)
    assert dict(there.of("bob@b.example")) == {}


def test_nothing_outlives_a_session_or_a_removal():
    there = Presences()
    there.accept(came("bob@b.example/x"), known=KNOWN)
    assert there.is_there("bob@b.example/x")
    assert there.forget("bob@b.example") == (PresenceChange(bare="bob@b.example", best=None),)
    there.accept(came("bob@b.example/x"), known=KNOWN)
    assert [change.best for change in there.clear()] == [None]
    assert not there.is_there("bob@b.example/x")


def test_connections_and_strangers_are_bounded_and_people_we_know_still_fit():
    there = Presences()
    for n in range(MAX_RESOURCES):
        there.accept(came(f"bob@b.example/{n}"), known=KNOWN)
    with pytest.raises(ProtocolError):
        there.accept(came("bob@b.example/more"), known=KNOWN)
    there.accept(came("bob@b.example/0"), known=KNOWN)
    for n in range(MAX_STRANGERS):
        there.accept(came(f"s{n}@e.example/x"), known=[*KNOWN, "carol@c.example"])
    with pytest.raises(ProtocolError):
        there.accept(came("more@e.example/x"), known=KNOWN)
    there.accept(came("carol@c.example/x"), known=[*KNOWN, "carol@c.example"])
    assert there.is_there("carol@c.example/x")
