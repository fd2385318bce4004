from __future__ import annotations

from xml.etree.ElementTree import Element

import pytest

from securecall.errors import ProtocolError, SecurityError
from securecall.xmpp.forms import Form
from securecall.xmpp.pubsub import (
    Access,
    Item,
    NodeEvent,
    NodeOptions,
    Whose,
    build_configuration,
    build_create,
    build_items_request,
    build_publish,
    parse_configuration,
    parse_event,
    parse_items,
    require_configuration,
)
from tests.stanzas import OWN, stanza

NODES = {"open": Whose.ANYBODYS, "private": Whose.OURS}
PRIVATE = NodeOptions(access=Access.WHITELIST)


def message(inside: str, sender: str = "bob@b.example", kind: str = "headline") -> Element:
    attribute = f" from='{sender}'" if sender else ""
    return stanza(
        f"<message type='{kind}'{attribute}>"
        f"<event xmlns='http://jabber.org/protocol/pubsub#event'>{inside}</event></message>"
    )


def read(inside: str, sender: str = "bob@b.example", kind: str = "headline") -> NodeEvent | None:
    return parse_event(message(inside, sender, kind), own=OWN, nodes=NODES)


def test_an_event_belongs_to_its_sender():
    event = read("<items node='open'><item id='a'><x xmlns='p'/></item><retract id='b'/></items>")
    assert event is not None
    assert (event.owner, event.node, event.retracted) == ("bob@b.example", "open", ("b",))
    (item,) = event.items
    assert item.id == "a"
    assert item.payload is not None
    assert item.payload.tag == "{p}x"


def test_an_event_without_a_sender_is_of_our_account():
    event = read("<purge node='private'/>", sender="")
    assert event == NodeEvent(owner=OWN, node="private", emptied=True)
    assert read("<delete node='open'/>") == NodeEvent(
        owner="bob@b.example", node="open", emptied=True
    )


@pytest.mark.parametrize(
    "inside",
    ["<items node='never-asked-for'><item/></items>", "<items><item/></items>",
     "<configuration node='open'/>", "<subscription node='open'/>"],
)  # fmt: skip
def test_what_was_not_asked_for_is_nothing(inside):
    assert read(inside) is None


def test_other_messages_and_errors_are_no_events():
    assert parse_event(stanza("<message><body>hi</body></message>"), own=OWN, nodes=NODES) is None
    assert read("<items node='open'/>", kind="error") is None


@pytest.mark.parametrize(
    ("inside", "sender", "kind"),
    [
        ("<items node='open'><item/></items>", "bob@b.example/x", "headline"),
        ("<items node='private'><item/></items>", "bob@b.example", "headline"),
        ("<items node='private'><item/></items>", "alice@a.example.evil.example", "headline"),
        ("<items node='open'><item/></items>", "bob@b.example", "groupchat"),
        ("<items node='open'/><items node='open'/>", "bob@b.example", "headline"),
        ("", "bob@b.example", "headline"),
        ("<items node='open'><item><a/><b/></item></items>", "bob@b.example", "headline"),
        (f"<items node='open'>{'<item/>' * 1025}</items>", "bob@b.example", "headline"),
        (f"<items node='open'><item id='{'a' * 1024}'/></items>", "bob@b.example", "headline"),
        ("<items node='open'/>", "@", "headline"),
    ],
)
def test_events_nobody_may_send_are_refused(inside, sender, kind):
    with pytest.raises(ProtocolError):
        read(inside, sender, kind)


def test_items_are_those_of_the_node_that_was_asked_for():
    answer = stanza(
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='n'>"
        "<item id='1'><x xmlns='p'/></item><item id='2'/></items></pubsub>"
    )
    first, second = parse_items(answer, "n")
    assert (first.id, second) == ("1", Item(id="2"))
    for wrong in (None, stanza("<pubsub xmlns='http://jabber.org/protocol/pubsub'/>")):
        with pytest.raises(ProtocolError):
            parse_items(wrong, "n")
    with pytest.raises(ProtocolError):
        parse_items(answer, "m")


def test_a_publication_names_its_conditions():
    built = build_publish("n", "current", Element("{p}x"), PRIVATE)
    fields = {f.get("var"): [v.text for v in f] for f in built.iter("{jabber:x:data}field")}
    assert fields["FORM_TYPE"] == ["http://jabber.org/protocol/pubsub#publish-options"]
    assert fields["pubsub#access_model"] == ["whitelist"]
    assert fields["pubsub#persist_items"] == ["true"]
    item = built.find(".//{http://jabber.org/protocol/pubsub}item")
    assert item is not None
    assert (item.get("id"), item[0].tag) == ("current", "{p}x")


def test_requests_name_their_node():
    for built in (
        build_items_request("n", ids=["a"], most=3),
        build_create("n", PRIVATE),
        build_configuration("n", PRIVATE),
    ):
        assert built[0].get("node") == "n"
    assert build_items_request("n", most=3)[0].get("max_items") == "3"
    whole = NodeOptions(access=Access.OPEN, max_items=0, send_last=False).fields()
    assert (whole["pubsub#max_items"], whole["pubsub#send_last_published_item"]) == (
        ("max",),
        ("never",),
    )


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"pubsub#access_model": ("open",)},
        {"pubsub#access_model": ("presence",), "pubsub#persist_items": ("1",)},
        {"pubsub#access_model": ("whitelist",), "pubsub#persist_items": ("0",)},
    ],
)
def test_nothing_is_written_where_others_read_along(fields):
    with pytest.raises(SecurityError):
        require_configuration("n", Form(kind="form", fields=fields), PRIVATE)


def test_a_node_that_is_as_told_may_be_written_to():
    text = (
        "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='n'>"
        "<x xmlns='jabber:x:data' type='form'><field var='pubsub#access_model' type='list-single'>"
        "<option><value>open</value></option><value>whitelist</value></field></x></configure>"
        "</pubsub>"
    )
    require_configuration("n", parse_configuration(stanza(text)), PRIVATE)
    for wrong in (None, stanza("<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'/>")):
        with pytest.raises(ProtocolError):
            parse_configuration(wrong)
