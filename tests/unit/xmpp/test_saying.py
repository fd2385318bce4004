"""What is written reads the same, and shows outside the encryption only what it must."""

from __future__ import annotations

import pytest

from securecall.chat.message import (
    Activity,
    Bounced,
    Delivered,
    Displayed,
    Protection,
    Reaction,
    Text,
    Typing,
    Unreadable,
)
from securecall.errors import Unsupported, UsageError
from securecall.xmpp.jid import parse_jid
from securecall.xmpp.said import legacy_payload, parse_said, sealed_payload
from securecall.xmpp.saying import FILE_HINT, Answered, build_said
from tests.around import NOW, message
from tests.stanzas import stanza

TEXT = Text(
    body="We should bake a cake",
    corrects="c1",
    reply_to="r1",
    expires=int(NOW) + 60,
    wants_receipt=True,
    markable=True,
)
ACTS = [
    TEXT,
    Text(body="x"),
    Reaction(to="m1", emojis=frozenset("👋🐢")),
    Reaction(to="m1", emojis=frozenset()),
    Delivered(id="m1"),
    Displayed(id="m1"),
    *(Typing(activity=activity) for activity in Activity),
]
ANNA = Answered(author=parse_jid("anna@example.com"), quote="Cake\nor bread?")


def tags(elements):
    return [element.tag for element in elements]


def in_message(elements):
    wrapped = message()
    wrapped.extend(elements)
    return wrapped


@pytest.mark.parametrize("said", ACTS)
def test_inside_an_envelope_everything_is_hidden_and_reads_the_same(said):
    written = build_said(said, protection=Protection.OMEMO, now=NOW, answered=ANNA)
    assert parse_said(sealed_payload(written.inside), now=NOW).said == (said,)
    keeps = "no-store" if isinstance(said, Typing) else "store"
    assert tags(written.outside) == ["{urn:xmpp:eme:0}encryption", f"{{urn:xmpp:hints}}{keeps}"]
    assert written.body == ""


@pytest.mark.parametrize("said", [act for act in ACTS if not isinstance(act, Reaction)])
def test_legacy_omemo_hides_the_body_and_nothing_else(said):
    written = build_said(said, protection=Protection.OMEMO_LEGACY, now=NOW, answered=ANNA)
    stanza = in_message(written.outside)
    assert written.inside == ()
    assert parse_said(legacy_payload(stanza, written.body or None), now=NOW).said == (said,)
    shown = " ".join(text or "" for element in written.outside for text in element.itertext())
    assert "cake" not in shown.lower()


def test_what_legacy_omemo_shows_is_this_list():
    written = build_said(TEXT, protection=Protection.OMEMO_LEGACY, now=NOW, answered=ANNA)
    assert tags(written.outside) == [
        "{jabber:client}body",  # what a client without OMEMO shows
        "{urn:xmpp:reply:0}reply",
        "{urn:xmpp:message-correct:0}replace",
        "{urn:securecall:expiry:0}expiry",
        "{urn:xmpp:ephemeral:0}ephemeral",
        "{urn:xmpp:receipts}request",
        "{urn:xmpp:chat-markers:0}markable",
        "{urn:xmpp:eme:0}encryption",
        "{urn:xmpp:hints}store",
    ]


def test_a_reaction_that_all_would_see_is_not_sent():
    with pytest.raises(Unsupported):
        build_said(ACTS[2], protection=Protection.OMEMO_LEGACY, now=NOW)


def test_a_quote_is_for_clients_that_show_no_answers():
    written = build_said(TEXT, protection=Protection.OMEMO, now=NOW, answered=ANNA)
    body = next(element.text for element in written.inside if element.tag.endswith("}body"))
    assert body == "> Cake\n> or bread?\nWe should bake a cake"
    reply = next(element for element in written.inside if element.tag.endswith("}reply"))
    assert reply.get("to") == "anna@example.com"


def test_the_key_of_a_file_travels_inside_an_envelope_or_not_at_all():
    attached = (stanza("<file-sharing xmlns='urn:xmpp:sfs:0'/>"),)
    written = build_said(Text(body=""), protection=Protection.OMEMO, now=NOW, attached=attached)
    assert tags(written.inside)[-1] == "{urn:xmpp:sfs:0}file-sharing"
    for protection in (Protection.OMEMO_LEGACY, Protection.NONE):
        with pytest.raises(UsageError):
            build_said(Text(body="x"), protection=protection, now=NOW, attached=attached)


def test_a_lone_file_shows_a_hint_to_clients_that_know_none_and_no_words_to_others():
    attached = (stanza("<file-sharing xmlns='urn:xmpp:sfs:0'/>"),)
    written = build_said(Text(body=""), protection=Protection.OMEMO, now=NOW, attached=attached)
    (hint,) = [element.text for element in written.inside if element.tag.endswith("}body")]
    assert hint == FILE_HINT
    assert parse_said(sealed_payload(written.inside), now=NOW).said == (Text(body=""),)
    written = build_said(Text(body="x"), protection=Protection.OMEMO, now=NOW, attached=attached)
    (hint,) = [element.text for element in written.inside if element.tag.endswith("}body")]
    assert hint == "x"


MEANINGLESS = [
    Text(body=""),
    Text(body="a\x00b"),
    Text(body="a\ud800b"),
    Text(body="x", expires=10**15),
    Reaction(to="", emojis=frozenset("👋")),
    Reaction(to="m1", emojis=frozenset(chr(0x1F600 + i) for i in range(33))),
    Reaction(to="m1", emojis=frozenset({"hello"})),
    Delivered(id=""),
    Displayed(id=""),
    Bounced(id="m1", why="x"),
    Unreadable(why="x"),
]


@pytest.mark.parametrize("said", MEANINGLESS)
def test_what_nobody_can_mean_is_refused(said):
    with pytest.raises(UsageError):
        build_said(said, protection=Protection.OMEMO, now=NOW)
