from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from securecall.address import parse_address
from securecall.chat.message import Delivery, DeviceTrust, Message, Protection
from securecall.cli.chat_lines import (
    Day,
    Entry,
    Part,
    clock_words,
    device_rows,
    entry,
    harmless,
    lines,
    new_device_rows,
    protection_words,
    size_words,
    undecided_words,
)
from tests.fake_chat import ALICE, BOB, NOON, device, shared


def when(unix):
    return datetime.fromtimestamp(unix, UTC)


def message(**fields):
    given = {"conversation": BOB, "sender": BOB, "sent": NOON, "number": 7, "id": "m"}
    return Message(**{**given, "trust": DeviceTrust.TRUSTED, **fields})


def own(**fields):
    return message(sender=ALICE, own=True, **fields)


def shown(m, **more):
    """A message as text: its rows, then the tick."""
    made = entry(m, when, **more)
    rows = ["".join(part.text for part in row) for row in made.rows]
    return "\n".join(rows) + (f" [{made.tick.text}]" if made.tick.text else "")


@pytest.mark.parametrize(
    ("what", "text"),
    [
        (message(text="hello"), "hello"),
        (message(text="one\ntwo"), "one\ntwo"),
        (own(text="hi", delivery=Delivery.PENDING), "hi […]"),
        (own(text="hi", delivery=Delivery.SENT), "hi [✓]"),
        (own(text="hi", delivery=Delivery.DELIVERED), "hi [✓✓]"),
        (own(text="hi", delivery=Delivery.FAILED), "hi\nnot delivered; nobody but you has it [✗]"),
        (message(text="new", edited=5.0), "new (edited)"),
        (message(text="x", protection=Protection.NONE), "x (not encrypted)"),
        (own(text="x", protection=Protection.NONE), "x (not encrypted) [✓]"),
        (
            message(text="x", trust=DeviceTrust.UNDECIDED),
            "x (from a device you have not decided about)",
        ),
        (message(text="x", trust=DeviceTrust.DISTRUSTED), "x (from a device you distrust)"),
        (
            own(text="x", trust=DeviceTrust.UNDECIDED),
            "x (from a device of yours you have not decided about) [✓]",
        ),
        (own(text="x", trust=DeviceTrust.DISTRUSTED), "x (from a device you distrust) [✓]"),
        (message(unreadable="not for us"), "A message that could not be read: not for us"),
        (
            message(file=shared(name="a.pdf", size=1_234_567)),
            "⎘ a.pdf, 1.2 MB  /save 7",
        ),
        (message(file=shared(name=""), text="look"), "⎘ a file without a name  /save 7\nlook"),
        (message(file=shared(seconds=62.6)), "▶ voice message, 1:03  /save 7"),
        (
            message(text="x", reactions={ALICE: frozenset("👍"), BOB: frozenset("👍🎉")}),
            "x\n👍 you, bob  🎉 bob",
        ),
        (message(text="x", reply_to="gone"), "↩ an earlier message\nx"),
    ],
)
def test_a_message_is_shown(what, text):
    assert shown(what) == text


def test_a_message_seen_looks_other_than_one_delivered():
    ticks = {d: entry(own(text="x", delivery=d), when).tick for d in Delivery}
    assert len(set(ticks.values())) == len(Delivery)


def test_a_reply_quotes_what_it_answers():
    said = own(text="a long question " * 5, id="q", number=3)
    answer = message(text="yes", reply_to="q")
    found = [
        line for line in lines([said, answer], when, today=when(NOON)) if isinstance(line, Entry)
    ]
    quote = found[1].rows[0][0]
    assert quote.text.startswith("↩ #3 a long question a long")
    assert len(quote.text) < 50


def test_a_reply_quotes_nothing_that_came_after_it_and_nobody_but_whom_it_answers():
    question = message(text="Coffee?", number=1)
    answer = own(text="yes", number=2, id="a", reply_to="m")
    later = message(text="Shall I sell?", number=3)
    found = lines([question, answer, later], today=when(NOON), when=when)
    assert [e.rows[0][0].text for e in found if isinstance(e, Entry)][1] == "↩ #1 Coffee?"
    mallory = message(text="Shall I sell?", number=3, sender=ALICE)
    named = own(text="yes", number=4, id="a", reply_to="m", reply_by=BOB)
    found = lines([question, mallory, named], today=when(NOON), when=when)
    assert [e.rows[0][0].text for e in found if isinstance(e, Entry)][2] == "↩ #1 Coffee?"


def test_days_stand_between_the_messages_of_two_days():
    sent = [message(sent=NOON - 86_400 * n) for n in (9, 1, 1, 0)]
    found = [x.text for x in lines(sent, when, today=when(NOON)) if isinstance(x, Day)]
    assert found == [
        "Sunday 16 November 2025",
        "Yesterday, Monday 24 November 2025",
        "Today, Tuesday 25 November 2025",
    ]


def test_in_a_room_reactions_of_others_are_theirs():
    room, carol = (parse_address(f"xmpp:{a}@rooms.example") for a in ("ward", "carol"))
    said = own(
        conversation=room, text="x", reactions={carol: frozenset("👍"), ALICE: frozenset("🎉")}
    )
    assert shown(said) == "x\n👍 carol  🎉 you [✓]"


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (23_456, "23 kB"), (4 << 30, "4.3 GB")],
)
def test_sizes(size, words):
    assert size_words(size) == words


@pytest.mark.parametrize("seconds", [-1.0, 1e300, 0.4])
def test_no_length_breaks_the_clock(seconds):
    assert len(clock_words(seconds)) <= 8


# -- text of others --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("a\x1b[2Jb", "a?[2Jb"),
        ("a\x9b2Jb", "a?2Jb"),
        ("a\x07\x00\x7f", "a???"),
        ("a\rb\r\nc\u2028d", "a\nb\nc\nd"),
        ("\u202egnp.exe\u2066\u2069\u200f", "gnp.exe"),
        ("a\u200bb\ufeffc\u2060d\u00ade", "abcde"),
        ("\ue000\U000e0041\ud800", "??"),
        ("a\u0301\u0302\u0303\u0304\u0305\u0306", "a\u0301\u0302\u0303\u0304"),
        ("👨\u200d👩\u200d👧 ❤️ 👍🏽", "👨\u200d👩\u200d👧 ❤️ 👍🏽"),
        ("a\u200db\u200d", "ab"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
        ("a\tb", "a  b"),
    ],
)
def test_text_of_others_is_made_harmless(text, safe):
    assert harmless(text) == safe


def test_harmless_text_has_bounds():
    assert harmless("x" * 100, limit=10) == "x" * 9 + "…"
    assert harmless("a\nb", lines=1) == "a b"
    tall = entry(message(text="\n" * 60_000), when)
    assert len(tall.rows) == 201


# -- the other side --------------------------------------------------------------------------------

TRUSTED, VERIFIED = device(1), device(2, DeviceTrust.VERIFIED)
NEW, BAD = device(3, DeviceTrust.UNDECIDED), device(4, DeviceTrust.DISTRUSTED)


@pytest.mark.parametrize(
    ("devices", "more", "words"),
    [
        ([TRUSTED], {}, "end-to-end encrypted, not verified: /verify"),
        (
            [TRUSTED],
            {"since": when(NOON)},
            "end-to-end encrypted, not verified (same key since 25 Nov 2025)",
        ),
        ([TRUSTED], {"verified": True}, "end-to-end encrypted, verified"),
        ([VERIFIED, NEW, BAD], {}, "end-to-end encrypted, verified"),
        ([VERIFIED, TRUSTED], {}, "end-to-end encrypted, not verified: /verify"),
        ([NEW], {}, "nothing can be sent before you decide about their devices"),
        (
            [NEW],
            {"first": True},
            "end-to-end encrypted; their devices are trusted when you write",
        ),
        ([], {}, "end-to-end encrypted; their keys were not fetched yet"),
        ([VERIFIED], {"plain": True}, "NOT encrypted: every server on the way can read this"),
    ],
)
def test_how_safe_it_is_is_said_plainly(devices, more, words):
    given = {"verified": False, "since": None, "plain": False, **more}
    assert protection_words(devices, **given).text == words


def test_new_devices_are_counted():
    assert undecided_words([TRUSTED]).text == ""
    assert undecided_words([TRUSTED, NEW]).text == "1 new device"
    assert undecided_words([NEW, replace(NEW, id=9)]).text == "2 new devices"


def text_of(rows):
    return "\n".join("".join(part.text for part in row) for row in rows)


def test_devices_have_numbers_fingerprints_and_what_to_type():
    text = text_of(device_rows([TRUSTED, NEW]))
    assert "1. bob@clinic.example: trusted, not compared" in text
    assert "03030303 03030303 03030303 03030303\n" in text
    assert "/trust 2 verified" in text
    assert "/trust 1" not in text


def test_a_new_device_is_told_with_its_whole_fingerprint():
    text = text_of(new_device_rows(2, NEW))
    assert text.count("03030303") == 8
    assert text.endswith("/trust 2")


def test_no_text_is_in_a_repr():
    assert "hello" not in repr(entry(message(text="hello"), when))
    assert "hello" not in repr(Part("hello"))
