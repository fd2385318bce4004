"""For all stanzas: they are something, or discarded; what they say is read, or refused."""

from __future__ import annotations

from xml.etree.ElementTree import Element, fromstring, tostring

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from securecall.address import parse_address
from securecall.chat.message import (
    Activity,
    Delivered,
    Displayed,
    Protection,
    Reaction,
    Text,
    Typing,
    Via,
)
from securecall.errors import ProtocolError
from securecall.xmpp.emoji import parse_emoji
from securecall.xmpp.jid import parse_jid
from securecall.xmpp.said import (
    BODY,
    clear_payload,
    legacy_payload,
    parse_bounced,
    parse_said,
    sealed_payload,
)
from securecall.xmpp.saying import build_said
from securecall.xmpp.stamp import build_stamp, parse_stamp
from securecall.xmpp.unwrap import MOST_ID, unwrap
from securecall.xmpp.unwrapped import Discarded, Notice, Unwrapped
from securecall.xmpp.xml import NOT_XML
from tests.around import AROUND, NOW, OWN

JIDS = st.sampled_from(
    [
        "romeo@montague.example/home",
        "romeo@montague.example",
        "Romeo@MONTAGUE.example/x",
        "montague.example",
        "juliet@capulet.example",
        "juliet@capulet.example/balcony",
        "coven@chat.shakespeare.example",
        "coven@chat.shakespeare.example/romeo",
        "coven@chat.shakespeare.example/firstwitch",
        "other@chat.shakespeare.example/x",
        "@",
        "",
    ]
)
TAGS = st.sampled_from(
    [
        "{jabber:client}message",
        BODY,
        "{jabber:client}subject",
        "{jabber:client}error",
        "{urn:xmpp:carbons:2}sent",
        "{urn:xmpp:carbons:2}received",
        "{urn:xmpp:mam:2}result",
        "{urn:xmpp:forward:0}forwarded",
        "{urn:xmpp:delay}delay",
        "{urn:xmpp:sid:0}stanza-id",
        "{urn:xmpp:sid:0}origin-id",
        "{http://jabber.org/protocol/pubsub#event}event",
        "{http://jabber.org/protocol/muc#user}x",
        "{http://jabber.org/protocol/muc#user}item",
        "{http://jabber.org/protocol/muc#user}invite",
        "{urn:xmpp:receipts}received",
        "{urn:xmpp:receipts}request",
        "{urn:xmpp:chat-markers:0}displayed",
        "{urn:xmpp:message-correct:0}replace",
        "{urn:xmpp:reply:0}reply",
        "{urn:xmpp:fallback:0}fallback",
        "{urn:xmpp:fallback:0}body",
        "{urn:xmpp:reactions:0}reactions",
        "{urn:xmpp:reactions:0}reaction",
        "{urn:xmpp:ephemeral:0}ephemeral",
        "{urn:securecall:expiry:0}expiry",
        "{urn:xmpp:eme:0}encryption",
        "{urn:xmpp:omemo:2}encrypted",
        "{eu.siacs.conversations.axolotl}encrypted",
        "{http://jabber.org/protocol/chatstates}composing",
        "{urn:xmpp:sfs:0}file-sharing",
        "x",
    ]
)
VALUES = st.one_of(
    JIDS,
    st.sampled_from(["chat", "groupchat", "error", "headline", "f27", "c12", "a1", "0", "7", "👋"]),
    st.sampled_from(["2001-09-08T00:00:00Z", "2099-01-01T00:00:00Z", "x" * (MOST_ID + 1)]),
    st.sampled_from(["urn:xmpp:reply:0", "true"]),
    st.text(max_size=8),
)
ATTRIBUTES = (
    *("from", "to", "type", "id", "by", "jid", "queryid", "stamp", "at"),
    *("for", "start", "end", "timer", "namespace", "nick"),
)
NAMES = st.sampled_from(ATTRIBUTES)


def _element(children):
    return st.builds(
        _put_together,
        TAGS,
        st.dictionaries(NAMES, VALUES, max_size=4),
        st.one_of(st.none(), st.text(max_size=6), st.sampled_from(["👋", "Hi"])),
        children,
    )


def _put_together(tag, attributes, text, children):
    element = Element(tag, attributes)
    element.text = text
    element.extend(children)
    return element


ELEMENTS = st.recursive(
    _element(st.just([])), lambda inner: _element(st.lists(inner, max_size=4)), max_leaves=12
)
# as a server would: a message at the top, with addresses and a type
STANZAS = st.builds(
    _put_together,
    st.just("{jabber:client}message"),
    st.fixed_dictionaries(
        {},
        optional={
            "from": JIDS,
            "to": JIDS,
            "type": st.sampled_from(["chat", "groupchat", "error", "normal", "headline", "x"]),
            "id": st.text(max_size=5),
        },
    ),
    st.none(),
    st.lists(ELEMENTS, max_size=5),
)


@given(STANZAS)
@settings(max_examples=200)
def test_every_message_is_something_or_discarded(stanza):
    outcome = unwrap(stanza, AROUND)
    assert isinstance(outcome, Unwrapped | Notice | Discarded)
    if not isinstance(outcome, Unwrapped):
        return
    assert 0 <= outcome.sent <= NOW
    assert len(outcome.id) <= MOST_ID
    assert len(outcome.archive_id) <= MOST_ID
    source = parse_jid(stanza.get("from", str(OWN.account)))
    if outcome.via is Via.CARBON:
        assert source == OWN.account
    elif outcome.via is Via.LIVE:
        assert outcome.writer == source
        assert outcome.own == (outcome.room or source.account == OWN.account) or not outcome.own
    else:
        assert source in AROUND.queries.values()
    if outcome.own:
        assert outcome.sender == OWN.address
    for read in (clear_payload, sealed_payload, lambda one: legacy_payload(one, "x")):
        _parses(read(outcome.message))
    assert len(parse_bounced(outcome.message, outcome.id).why) <= 64


def _parses(payload):
    try:
        heard = parse_said(payload, now=NOW)
    except ProtocolError:
        return
    for said in heard.said:
        if isinstance(said, Reaction):
            assert all(parse_emoji(emoji) == emoji for emoji in said.emojis)
        if isinstance(said, Delivered | Displayed):
            assert 0 < len(said.id) <= MOST_ID


@given(st.text(max_size=40) | st.from_regex(r"[a-zA-Zäß]{0,3}@?[a-z.]{0,5}/?.{0,3}"))
def test_any_text_is_a_jid_with_one_form_or_none(text):
    try:
        jid = parse_jid(text)
    except ProtocolError:
        return
    assert parse_jid(str(jid)) == jid
    if jid.local:
        assert parse_address(f"xmpp:{jid.account}") == jid.address == jid.account.address


@given(
    st.text(max_size=30) | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
)
def test_any_text_is_a_time_stamp_or_none(text):
    try:
        unix = parse_stamp(text)
    except ProtocolError:
        return
    assert abs(parse_stamp(build_stamp(unix)) - unix) < 1e-5


@given(st.text(max_size=20))
def test_any_text_is_an_emoji_or_none(text):
    try:
        emoji = parse_emoji(text)
    except ProtocolError:
        return
    assert emoji == text.strip()
    assert not any(c.isalpha() for c in emoji)


IDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
TEXTS = st.builds(
    Text,
    body=st.text(min_size=1, max_size=50),
    corrects=st.just("") | IDS,
    reply_to=st.just("") | IDS,
    expires=st.just(0) | st.integers(int(NOW) + 1, int(NOW) + 10**9),
    wants_receipt=st.booleans(),
    markable=st.booleans(),
)
REACTIONS = st.builds(
    Reaction, to=IDS, emojis=st.frozensets(st.sampled_from("👋🐢❤☺👍"), max_size=5)
)
SIGNALS = st.one_of(
    st.builds(Delivered, id=IDS),
    st.builds(Displayed, id=IDS),
    st.builds(Typing, activity=st.sampled_from(Activity)),
)


@given(TEXTS | REACTIONS | SIGNALS, st.sampled_from([Protection.OMEMO, Protection.NONE]))
def test_what_is_said_survives_the_wire(said, protection):
    if isinstance(said, Text):
        assume(NOT_XML.search(said.body) is None and "\r" not in said.body)
    written = build_said(said, protection=protection, now=NOW)
    stanza = Element("{jabber:client}message")
    stanza.extend(written.inside or written.outside)
    there = fromstring(tostring(stanza, encoding="unicode"))
    read = sealed_payload if protection is Protection.OMEMO else clear_payload
    assert parse_said(read(there), now=NOW).said == (said,)
