"""What elements say is read once, in bounds, or refused whole."""

from __future__ import annotations

import pytest

from securecall.chat.message import (
    Activity,
    Bounced,
    Delivered,
    Displayed,
    Reaction,
    Text,
    Typing,
    Unreadable,
)
from securecall.errors import ProtocolError
from securecall.xmpp.said import (
    clear_payload,
    legacy_payload,
    parse_bounced,
    parse_said,
    sealed_payload,
)
from tests.around import NOW, message


def heard(inside):
    return parse_said(clear_payload(message(inside)), now=NOW)


WISHES = "<request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/>"
REPLACE = "<replace xmlns='urn:xmpp:message-correct:0' id='bad1'/>"
REPLY = "<reply xmlns='urn:xmpp:reply:0' to='anna@example.com' id='r1'/>"
RECEIVED = "<received xmlns='urn:xmpp:receipts' id='m1'/>"
COMPOSING = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"


def reactions(*emojis, name="m1"):
    inside = "".join(f"<reaction>{emoji}</reaction>" for emoji in emojis)
    return f"<reactions xmlns='urn:xmpp:reactions:0' id='{name}'>{inside}</reactions>"


SAYS = {
    "<body>Hi</body>": (Text(body="Hi"),),
    f"<body>Hi</body>{WISHES}": (Text(body="Hi", wants_receipt=True, markable=True),),
    f"<body>Hi</body>{REPLACE}": (Text(body="Hi", corrects="bad1"),),
    f"<body>Hi</body>{REPLY}": (Text(body="Hi", reply_to="r1"),),
    "<body xml:lang='de'>Tag</body><body>Day</body>": (Text(body="Day"),),
    "<body xml:lang='de'>Tag</body><body xml:lang='en'>Day</body>": (Text(body="Tag"),),
    "<body/>": (),
    "": (),
    RECEIVED: (Delivered(id="m1"),),
    "<received xmlns='urn:xmpp:chat-markers:0' id='m1'/>": (Delivered(id="m1"),),
    "<displayed xmlns='urn:xmpp:chat-markers:0' id='m1'/>": (Displayed(id="m1"),),
    "<acknowledged xmlns='urn:xmpp:chat-markers:0' id='m1'/>": (Displayed(id="m1"),),
    COMPOSING: (Typing(activity=Activity.COMPOSING),),
    "<body>Hi</body><active xmlns='http://jabber.org/protocol/chatstates'/>": (
        Text(body="Hi"),
        Typing(activity=Activity.ACTIVE),
    ),
    reactions("👋", "🐢", "👋"): (Reaction(to="m1", emojis=frozenset("👋🐢")),),
    reactions(): (Reaction(to="m1", emojis=frozenset()),),
    reactions("👋", "hello"): (Reaction(to="m1", emojis=frozenset("👋")),),
    # a receipt never asks for one (XEP-0184 5.4)
    f"<body>Hi</body>{RECEIVED}<request xmlns='urn:xmpp:receipts'/>": (
        Text(body="Hi"),
        Delivered(id="m1"),
    ),
    "<body>-----BEGIN</body><x xmlns='jabber:x:encrypted'>x</x>": (
        Unreadable(why="it is encrypted with OpenPGP, which securecall does not have"),
    ),
    "<body>?OTR</body><encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:otr:0'/>": (
        Unreadable(why="it is encrypted by a method that securecall does not have"),
    ),
    # one that says it were encrypted, and is not
    "<body>Hi</body><encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:omemo:2'/>": (
        Text(body="Hi"),
    ),
    "<body>Hi</body><encrypted xmlns='urn:xmpp:omemo:2'/>": (),
}


@pytest.mark.parametrize(("inside", "said"), SAYS.items())
def test_elements_say_this(inside, said):
    assert heard(inside).said == said


REFUSED = [
    "<body>Hi</body><replace xmlns='urn:xmpp:message-correct:0'/>",  # CVE-2021-41055
    f"<body>Hi</body>{REPLACE}{REPLACE}",
    "<body>Hi</body><reply xmlns='urn:xmpp:reply:0'/>",
    f"<body>Hi</body><replace xmlns='urn:xmpp:message-correct:0' id='{'x' * 513}'/>",
    "<received xmlns='urn:xmpp:receipts'/>",
    f"{RECEIVED}<received xmlns='urn:xmpp:receipts' id='m2'/>",
    "<displayed xmlns='urn:xmpp:chat-markers:0'/>",
    f"{COMPOSING}<paused xmlns='http://jabber.org/protocol/chatstates'/>",
    reactions("👋", name=""),
    reactions("hello"),
    reactions(*["👋"] * 33),
    f"{reactions('👋')}{reactions('🐢')}",
    f"<body>{'x' * (256 * 1024 + 1)}</body>",
    "<body>Hi</body><ephemeral xmlns='urn:xmpp:ephemeral:0' timer='-1'/>",
    "<body>Hi</body><ephemeral xmlns='urn:xmpp:ephemeral:0' timer='99999999999'/>",
    "<body>Hi</body><ephemeral xmlns='urn:xmpp:ephemeral:0'/>",
    "<body>Hi</body><expiry xmlns='urn:securecall:expiry:0' at='soon'/>",
    "<a/>" * 129,
]


@pytest.mark.parametrize("inside", REFUSED)
def test_what_breaks_a_rule_is_refused_whole(inside):
    with pytest.raises(ProtocolError):
        heard(inside)


def fallback(start, end, *, of="urn:xmpp:reply:0", ns="urn:xmpp:fallback:0"):
    region = f"<body start='{start}' end='{end}'/>"
    return f"<fallback xmlns='{ns}' for='{of}'>{region}</fallback>"


def body_of(inside):
    (text,) = heard(inside).said
    return text.body


def test_what_stands_in_for_an_extension_goes_where_the_extension_is():
    quoted = "<body>&gt; 💘 cake\nGreat</body>"
    assert body_of(quoted + REPLY + fallback(0, 9)) == "Great"  # in code points, not in bytes
    old = fallback(0, 9, ns="urn:xmpp:feature-fallback:0")
    assert body_of(quoted + REPLY + old) == "Great"
    assert body_of(quoted + fallback(0, 9)) == "> 💘 cake\nGreat"  # no reply: nothing to replace
    assert body_of(quoted + REPLY + fallback(0, 9, of="urn:x")) == "> 💘 cake\nGreat"
    whole = "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reactions:0'/>"
    assert heard(f"<body>👋</body>{reactions('👋')}{whole}").said == (
        Reaction(to="m1", emojis=frozenset("👋")),
    )


def test_several_fallbacks_count_in_the_body_as_it_came():
    both = fallback(4, 6, of="urn:xmpp:reactions:0") + fallback(0, 2) + fallback(1, 3)
    said = heard(f"<body>abcdefg</body>{REPLY}{reactions('👋')}{both}").said
    assert said[0] == Text(body="dg", reply_to="r1")
    with pytest.raises(ProtocolError):
        heard(f"<body>abc</body>{REPLY}{fallback(0, 1) * 17}")


@pytest.mark.parametrize(("start", "end"), [(0, 99), (5, 2), (-1, 2), ("x", 2)])
def test_a_fallback_that_ends_outside_its_body_is_refused(start, end):
    with pytest.raises(ProtocolError):
        heard(f"<body>abc</body>{REPLY}{fallback(start, end)}")


def test_what_disappears_does_so_at_the_sooner_of_two_times():
    at = "<expiry xmlns='urn:securecall:expiry:0' at='2001-09-09T01:46:50Z'/>"  # in ten seconds
    timer = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='{}'/>"
    assert heard(f"<body>x</body>{at}").said == (Text(body="x", expires=int(NOW) + 10),)
    assert heard(f"<body>x</body>{timer.format(5)}{at}").said[0].expires == NOW + 5
    assert heard(f"<body>x</body>{timer.format(50)}{at}").said[0].expires == NOW + 10
    assert heard(f"<body>x</body>{timer.format(0)}").said[0].expires == 0


def test_what_is_for_others_to_read_is_passed_on():
    shared = "<file-sharing xmlns='urn:xmpp:sfs:0'/>"
    both = heard(f"{shared}{REPLY}<propose xmlns='urn:xmpp:jingle-message:0'/>")
    assert both.said == (Text(body="", reply_to="r1"),)  # for a file
    assert [element.tag for element in both.rest] == [
        "{urn:xmpp:sfs:0}file-sharing",
        "{urn:xmpp:jingle-message:0}propose",
    ]


def test_an_envelope_cannot_say_what_only_a_server_can():
    inside = (
        "<body>Hi</body><stanza-id xmlns='urn:xmpp:sid:0' by='x' id='1'/>"
        "<store xmlns='urn:xmpp:hints'/><delay xmlns='urn:xmpp:delay' stamp='x'/>"
        "<addresses xmlns='http://jabber.org/protocol/address'/>"
        "<encryption xmlns='urn:xmpp:eme:0' namespace='urn:x'/>"
    )
    payload = sealed_payload(message(inside))
    assert [element.tag for element in payload] == ["{jabber:client}body"]


def test_beside_legacy_omemo_only_marks_count():
    outside = (
        "<encrypted xmlns='eu.siacs.conversations.axolotl'/><body>fallback</body>"
        f"{REPLACE}{REPLY}{reactions('👋')}<x xmlns='jabber:x:oob'/>"
        "<file-sharing xmlns='urn:xmpp:sfs:0'/><request xmlns='urn:xmpp:receipts'/>"
    )
    payload = legacy_payload(message(outside), "secret")
    assert parse_said(payload, now=NOW).said == (
        Text(body="secret", corrects="bad1", reply_to="r1", wants_receipt=True),
    )
    assert parse_said(payload, now=NOW).rest == ()
    assert parse_said(legacy_payload(message(outside), None), now=NOW).said == ()


def test_a_decrypted_body_has_only_characters_that_can_be_passed_on():
    (text,) = parse_said(legacy_payload(message(), "a\x00b\x1bc\n"), now=NOW).said
    assert text.body == "a\ufffdb\ufffdc\n"


STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
ERRORS = {
    f"<error type='cancel'><service-unavailable xmlns='{STANZAS}'/></error>": "service-unavailable",
    f"<error><text xmlns='{STANZAS}'>x</text><gone xmlns='{STANZAS}'>x</gone></error>": "gone",
    f"<error><gone xmlns='{STANZAS}'/><gone xmlns='{STANZAS}'/></error>": "undefined-condition",
    "<error/>": "undefined-condition",
    "": "undefined-condition",
}


@pytest.mark.parametrize(("inside", "why"), ERRORS.items())
def test_an_error_says_which_condition(inside, why):
    assert parse_bounced(message(inside, type_="error"), "m1") == Bounced(id="m1", why=why)


def test_no_text_is_in_a_repr():
    assert "Hi" not in repr(heard("<body>Hi</body><x xmlns='y'/>"))
