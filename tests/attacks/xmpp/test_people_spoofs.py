"""Strangers who speak as our account, as our contact's account, or as many contacts' client.

The controls are clients as they were: one that takes a push from anybody (CVE-2015-8688,
CVE-2016-9928), one that looks only at the node of an event (CVE-2023-28686), one that shares
whatever it was answered under the hash that somebody showed.
"""

from __future__ import annotations

import pytest

from securecall.errors import ProtocolError
from securecall.xmpp.blocking import Blocklist
from securecall.xmpp.capabilities import (
    CapabilityCache,
    Caps,
    Identity,
    Info,
    build_hash,
    build_info,
    parse_info,
)
from securecall.xmpp.forms import Form
from securecall.xmpp.pubsub import EVENTS, Whose, parse_event
from securecall.xmpp.roster import Roster
from tests.stanzas import OWN, stanza

pytestmark = pytest.mark.attack

PUSH = (
    "<query xmlns='jabber:iq:roster'>"
    "<item jid='eve@e.example' subscription='both' name='Bank'/></query>"
)
STRANGERS = [
    "eve@e.example", "eve@e.example/x", "eve@a.example", "a.example", "alice@a.example/other",
    "alice@a.example.e.example", "alice@e.example", "e.example/alice@a.example", "@", "",
    "alice\\40a.example@e.example", "\u0430lice@a.example",
]  # fmt: skip


class Credulous:
    """The control: it takes what it is sent."""

    def __init__(self) -> None:
        self.roster: dict[str, str] = {}
        self.nodes: dict[str, str] = {}
        self.cache: dict[str, Info] = {}

    def push(self, query) -> None:
        for item in query:
            self.roster[item.get("jid")] = item.get("name")

    def event(self, message) -> None:
        items = message.find(f".//{{{EVENTS}}}items")
        self.nodes[items.get("node")] = items[0][0].text

    def answer(self, caps: Caps, query) -> None:
        self.cache[caps.ver] = parse_info(query)


def test_control_a_stranger_fills_the_roster():
    victim = Credulous()
    victim.push(stanza(PUSH))
    assert victim.roster == {"eve@e.example": "Bank"}


@pytest.mark.parametrize("sender", STRANGERS)
def test_a_strangers_push_changes_no_roster(sender):
    roster = Roster(OWN)
    with pytest.raises(ProtocolError):
        roster.accept_push(stanza(PUSH), sender=sender)
    assert dict(roster.items) == {}


@pytest.mark.parametrize("sender", STRANGERS)
def test_a_stranger_unblocks_nobody(sender):
    blocked = Blocklist(OWN)
    blocked.accept_result(
        stanza("<blocklist xmlns='urn:xmpp:blocking'><item jid='eve@e.example'/></blocklist>")
    )
    with pytest.raises(ProtocolError):
        blocked.accept_push(stanza("<unblock xmlns='urn:xmpp:blocking'/>"), sender=sender)
    assert blocked.blocks("eve@e.example/x")


def event(sender: str, node: str, kind: str = "headline"):
    return stanza(
        f"<message from='{sender}' type='{kind}'><event xmlns='{EVENTS}'><items node='{node}'>"
        "<item id='current'><x xmlns='p'>evil</x></item></items></event></message>"
    )


def test_control_a_stranger_writes_our_private_node():
    victim = Credulous()
    victim.event(event("eve@e.example", "private"))
    assert victim.nodes == {"private": "evil"}


@pytest.mark.parametrize("sender", STRANGERS[:-4])
def test_a_private_node_is_ours_alone(sender):
    with pytest.raises(ProtocolError):
        parse_event(event(sender, "private"), own=OWN, nodes={"private": Whose.OURS})


def test_a_contacts_node_is_written_by_their_account_only():
    """Each event counts for who sent it, and no person's device can send one at all."""
    nodes = {"urn:securecall:identity:1": Whose.ANYBODYS}
    node = "urn:securecall:identity:1"
    found = parse_event(event("eve@e.example", node), own=OWN, nodes=nodes)
    assert found is not None
    assert found.owner == "eve@e.example"
    for forged in (
        event("bob@b.example/phone", node),
        event("room@chat.example/bob@b.example", node, "groupchat"),
    ):
        with pytest.raises(ProtocolError):
            parse_event(forged, own=OWN, nodes=nodes)


JINGLE = ("urn:xmpp:jingle:1", "urn:xmpp:jingle:apps:rtp:1", "urn:xmpp:jingle:apps:rtp:audio")
HONEST = Info(
    identities=(Identity("client", "pc"),),
    features=frozenset({"http://jabber.org/protocol/caps", "a", *JINGLE}),
)
ANNOUNCED = Caps(node="n", ver=build_hash(HONEST))
# The same words in the same order, cut otherwise: what a client can do is now a form of its.
RECUT = Info(
    identities=HONEST.identities,
    features=HONEST.features - set(JINGLE),
    forms=(
        Form(
            kind="result",
            form_type="urn:xmpp:jingle:1",
            fields={"urn:xmpp:jingle:apps:rtp:1": ("urn:xmpp:jingle:apps:rtp:audio",)},
        ),
    ),
)


def test_control_one_answer_makes_a_client_of_many_unable_to_be_called():
    victim = Credulous()
    victim.answer(ANNOUNCED, build_info(RECUT))
    assert build_hash(RECUT) == ANNOUNCED.ver
    assert not victim.cache[ANNOUNCED.ver].features >= set(JINGLE)


def test_an_answer_cut_otherwise_counts_for_its_sender_only():
    cache = CapabilityCache()
    assert cache.learn(ANNOUNCED, build_info(RECUT)) == RECUT
    assert cache.find(ANNOUNCED) is None
    cache.learn(ANNOUNCED, build_info(HONEST))
    assert cache.find(ANNOUNCED) == HONEST


@pytest.mark.parametrize(
    "forged",
    [
        Info(identities=HONEST.identities, features=HONEST.features | {"more"}),
        Info(identities=HONEST.identities, features=frozenset({"<".join(sorted(HONEST.features))})),
        Info(features=HONEST.features | {"client/pc//"}),
        Info(
            identities=(*HONEST.identities, Identity("http:", "", "jabber.org", "protocol/caps")),
            features=HONEST.features - {"http://jabber.org/protocol/caps"},
        ),
    ],
)
def test_other_forgeries_are_kept_for_nobody(forged):
    cache = CapabilityCache()
    with pytest.raises(ProtocolError):
        cache.learn(ANNOUNCED, build_info(forged))
    assert cache.find(ANNOUNCED) is None
