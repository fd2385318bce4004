"""Corrections, receipts, reactions and doubles change what their sender may change, and once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecall.address import parse_address
from securecall.chat.ledger import Active, Changed, Ignored, Ledger, ReadElsewhere, Received
from securecall.chat.message import (
    Activity,
    Arrival,
    Bounced,
    Delivered,
    Delivery,
    DeviceTrust,
    Displayed,
    Protection,
    Reaction,
    Text,
    Typing,
    Unreadable,
    Via,
)
from securecall.chat.receipts import Receipts
from securecall.errors import StoreCorrupt
from tests.memory_history import MemoryHistory

ALICE = parse_address("xmpp:alice@one.example")
BOB = parse_address("xmpp:bob@two.example")
ROOM = parse_address("xmpp:ward@rooms.example")


@pytest.fixture
def history():
    return MemoryHistory()


@pytest.fixture
def ledger(history):
    return Ledger(history, ALICE)


def said(what, **more):
    fields = {
        "conversation": BOB,
        "sender": BOB,
        "id": "m1",
        "sent": 100.0,
        "protection": Protection.OMEMO,
        "device": 7,
        "trust": DeviceTrust.TRUSTED,
        "said": what,
    }
    return Arrival(**{**fields, **more})


def compose(ledger, text="hello", name="a1", unix=50.0):
    return ledger.compose(
        BOB, Text(body=text), name=name, unix=unix, protection=Protection.OMEMO, device=1
    )


def test_a_marker_that_changes_nothing_reads_no_history(ledger, history, monkeypatch):
    """Else whoever repeats one has us read a thousand messages each time."""
    for number in range(300):
        ledger.enter(said(Text(body="x"), id=f"m{number}"))
    compose(ledger)
    ledger.taken(BOB, "a1")
    assert ledger.enter(said(Displayed(id="a1"), id="r1"))
    pages = []
    read = history.messages
    monkeypatch.setattr(history, "messages", lambda *a, **k: pages.append(k) or read(*a, **k))
    assert ledger.enter(said(Displayed(id="a1"), id="r2")) == ()
    assert pages == []


def texts(history, where=BOB):
    return [message.text for message in history.messages(where)]


def test_a_message_is_added_and_unread(ledger, history):
    (news,) = ledger.enter(said(Text(body="hi")))
    assert isinstance(news, Received)
    assert (news.message.text, news.message.unread, history.unread(BOB)) == ("hi", True, 1)


def test_the_same_again_is_not_added(ledger, history):
    ledger.enter(said(Text(body="hi")))
    assert ledger.enter(said(Text(body="hi"), via=Via.CARBON)) == ()
    assert texts(history) == ["hi"]


def test_two_texts_under_one_name_are_two_messages(ledger, history):
    ledger.enter(said(Text(body="one"), id="1"))
    ledger.enter(said(Text(body="two"), id="1"))
    assert texts(history) == ["one", "two"]


def test_the_archived_copy_adds_its_name_only(ledger, history):
    ledger.enter(said(Text(body="hi")))
    assert ledger.enter(said(Text(body="hi"), archive_id="9", via=Via.ARCHIVE)) == ()
    (kept,) = history.messages(BOB)
    assert kept.archive_id == "9"


def test_a_name_in_the_archive_alone_tells_a_double(ledger, history):
    ledger.enter(said(Text(body="hi"), id="", archive_id="9"))
    ledger.enter(said(Text(body="hi"), id="", archive_id="9", via=Via.ARCHIVE))
    assert texts(history) == ["hi"]


def test_what_waits_and_is_found_in_the_archive_was_sent(ledger, history):
    compose(ledger)
    copy = said(Text(body="hello"), sender=ALICE, own=True, id="a1", archive_id="3")
    (news,) = ledger.enter(copy)
    assert news.message.delivery is Delivery.SENT


class TestPlaintext:
    def test_is_ignored(self, ledger, history):
        (news,) = ledger.enter(said(Text(body="hi"), protection=Protection.NONE))
        assert isinstance(news, Ignored)
        assert texts(history) == []

    def test_is_shown_where_the_user_wished_it(self, ledger, history):
        ledger.enter(said(Text(body="hi"), protection=Protection.NONE), plaintext=True)
        (kept,) = history.messages(BOB)
        assert kept.protection is Protection.NONE


class TestCorrections:
    def test_take_the_place_of_the_text(self, ledger, history):
        ledger.enter(said(Text(body="helo")))
        (news,) = ledger.enter(said(Text(body="hello", corrects="m1"), id="m2", sent=110.0))
        assert isinstance(news, Changed)
        (kept,) = history.messages(BOB)
        assert (kept.text, kept.edited, kept.id) == ("hello", 110.0, "m1")

    def test_of_somebody_else_change_nothing(self, ledger, history):
        compose(ledger)
        ledger.enter(said(Text(body="evil", corrects="a1"), id="m2"))
        assert texts(history) == ["hello", "evil"]
        assert history.messages(BOB)[0].edited == 0

    def test_by_a_device_trusted_less_stand_beside(self, ledger, history):
        ledger.enter(said(Text(body="5 mg")))
        ledger.enter(said(Text(body="500 mg", corrects="m1"), id="m2", trust=DeviceTrust.UNDECIDED))
        assert texts(history) == ["5 mg", "500 mg"]

    def test_without_encryption_change_nothing(self, ledger, history):
        ledger.enter(said(Text(body="5 mg")))
        evil = said(Text(body="500 mg", corrects="m1"), id="m2", protection=Protection.NONE)
        (news,) = ledger.enter(evil, plaintext=True)
        assert isinstance(news, Ignored)
        assert texts(history) == ["5 mg"]

    def test_before_the_original_take_its_place(self, ledger, history):
        ledger.enter(said(Text(body="hello", corrects="m1"), id="m2", sent=110.0))
        ledger.enter(said(Text(body="helo"), sent=100.0))
        assert texts(history) == ["hello"]

    @pytest.mark.parametrize(
        "less",
        [{"trust": DeviceTrust.UNDECIDED}, {"protection": Protection.OMEMO_LEGACY}],
        ids=["trusted less", "encrypted less"],
    )
    def test_by_a_device_worth_less_do_not_keep_the_original_away(self, ledger, history, less):
        forged = said(
            Text(body="pay 1000", corrects="m1"), id="m2", archive_id="s2", sent=200.0, **less
        )
        original = said(Text(body="pay 10"), archive_id="s1")
        for one in (forged, original, forged, original):
            ledger.enter(one)
        kept = [(m.text, m.edited, m.trust) for m in history.messages(BOB)]
        assert kept == [
            ("pay 1000", 0.0, less.get("trust", DeviceTrust.TRUSTED)),
            ("pay 10", 0.0, DeviceTrust.TRUSTED),
        ]

    def test_that_are_older_than_the_last_change_nothing(self, ledger, history):
        ledger.enter(said(Text(body="1")))
        ledger.enter(said(Text(body="3", corrects="m1"), id="m3", sent=130.0))
        ledger.enter(said(Text(body="2", corrects="m1"), id="m2", sent=120.0))
        assert texts(history) == ["3"]

    def test_twice_change_once(self, ledger):
        ledger.enter(said(Text(body="helo")))
        again = said(Text(body="hello", corrects="m1"), id="m2", sent=110.0)
        assert ledger.enter(again) != ()
        assert ledger.enter(again) == ()


class TestReceipts:
    def test_move_a_message_on(self, ledger, history):
        compose(ledger)
        (news,) = ledger.enter(said(Delivered(id="a1"), id="r1"))
        assert news.message.delivery is Delivery.DELIVERED

    def test_never_move_it_back(self, ledger, history):
        compose(ledger)
        ledger.enter(said(Displayed(id="a1"), id="r1"))
        assert ledger.enter(said(Delivered(id="a1"), id="r2")) == ()
        assert ledger.taken(BOB, "a1") == ()

    def test_seen_moves_the_earlier_ones_as_well(self, ledger, history):
        for number in range(3):
            compose(ledger, name=f"a{number}")
            ledger.taken(BOB, f"a{number}")
        news = ledger.enter(said(Displayed(id="a2"), id="r1"))
        assert len(news) == 3
        assert {m.delivery for m in history.messages(BOB)} == {Delivery.DISPLAYED}

    @pytest.mark.parametrize(
        "forged",
        [
            said(Delivered(id="a1"), conversation=ROOM, sender=ROOM),
            said(Delivered(id="a1"), protection=Protection.NONE),
            said(Delivered(id="m1")),
        ],
        ids=["by somebody else", "by a server", "for their own"],
    )
    def test_of_others_change_nothing(self, ledger, history, forged):
        compose(ledger)
        ledger.enter(said(Text(body="x")))
        (news,) = ledger.enter(forged)
        assert isinstance(news, Ignored)
        assert history.messages(BOB)[0].delivery is Delivery.PENDING

    def test_of_another_device_of_ours_mark_as_read(self, ledger, history):
        ledger.enter(said(Text(body="x")))
        (news,) = ledger.enter(said(Displayed(id="m1"), sender=ALICE, own=True, id="r"))
        assert isinstance(news, ReadElsewhere)
        assert history.unread(BOB) == 0


class TestReactions:
    def test_are_kept_by_sender_and_replace_the_earlier(self, ledger, history):
        compose(ledger)
        ledger.enter(said(Reaction(to="a1", emojis=frozenset("👍")), id="r1"))
        (news,) = ledger.enter(said(Reaction(to="a1", emojis=frozenset("🎉")), id="r2"))
        assert dict(news.message.reactions) == {BOB: frozenset("🎉")}
        (news,) = ledger.enter(said(Reaction(to="a1", emojis=frozenset()), id="r3"))
        assert dict(news.message.reactions) == {}

    def test_of_ours_are_entered_when_sent(self, ledger, history):
        ledger.enter(said(Text(body="x")))
        reaction = Reaction(to="m1", emojis=frozenset("👍"))
        message = ledger.compose(
            BOB, reaction, name="a1", unix=1, protection=Protection.OMEMO, device=1
        )
        assert dict(message.reactions) == {ALICE: frozenset("👍")}

    def test_in_rooms_name_the_archive(self, ledger, history):
        ledger.enter(said(Text(body="x"), conversation=ROOM, room=True, archive_id="77"))
        reaction = said(
            Reaction(to="77", emojis=frozenset("👍")), conversation=ROOM, room=True, id="r"
        )
        (news,) = ledger.enter(reaction)
        assert dict(news.message.reactions) == {BOB: frozenset("👍")}

    def test_without_encryption_are_ignored(self, ledger):
        compose(ledger)
        forged = said(Reaction(to="a1", emojis=frozenset("👍")), protection=Protection.NONE)
        assert isinstance(ledger.enter(forged)[0], Ignored)
        assert isinstance(ledger.enter(forged, plaintext=True)[0], Ignored)


def test_a_bounce_fails_what_is_on_its_way_and_nothing_else(ledger):
    compose(ledger)
    (news,) = ledger.enter(said(Bounced(id="a1", why="gone"), protection=Protection.NONE))
    assert news.message.delivery is Delivery.FAILED
    compose(ledger, name="a2")
    ledger.enter(said(Delivered(id="a2")))
    (news,) = ledger.enter(said(Bounced(id="a2", why="gone"), protection=Protection.NONE))
    assert isinstance(news, Ignored)


def test_what_cannot_be_read_is_shown_as_such_once(ledger, history):
    ledger.enter(said(Unreadable(why="broken")))
    ledger.enter(said(Unreadable(why="broken")))
    (kept,) = history.messages(BOB)
    assert (kept.unreadable, kept.text) == ("broken", "")


def test_what_could_not_be_read_goes_where_it_comes_again_and_can_be(ledger, history):
    """An archive that failed was read later: what live messages needed came only then."""
    ledger.enter(said(Unreadable(why="broken"), archive_id="9"))
    ledger.enter(said(Text(body="before it"), id="m0"))
    (news,) = ledger.enter(said(Text(body="hi"), archive_id="9", via=Via.ARCHIVE))
    assert isinstance(news, Received)  # who follows the conversation by number gets it
    assert [(m.text, m.unreadable) for m in history.messages(BOB)] == [
        ("before it", ""),
        ("hi", ""),
    ]
    assert ledger.enter(said(Unreadable(why="broken"))) == ()


@pytest.mark.parametrize(
    "other",
    [
        {"id": "m2"},
        {"id": "m2", "archive_id": "9"},
        {"sender": ALICE, "own": True},
        {"protection": Protection.OMEMO_LEGACY},
        {"protection": Protection.NONE},
    ],
)
def test_nothing_else_takes_away_that_a_message_was_lost(ledger, history, other):
    ledger.enter(said(Unreadable(why="broken"), archive_id="9"))
    ledger.enter(said(Text(body="hi"), **other), plaintext=True)
    assert [m.unreadable for m in history.messages(BOB)] == ["broken", ""]


def test_typing_is_told_and_not_kept(ledger, history):
    (news,) = ledger.enter(said(Typing(activity=Activity.COMPOSING), protection=Protection.NONE))
    assert news == Active(BOB, BOB, Activity.COMPOSING)
    own = said(Typing(activity=Activity.COMPOSING), sender=ALICE, own=True)
    assert ledger.enter(own) == ()
    assert texts(history) == []


TYPING = Typing(activity=Activity.COMPOSING)
TOLD = (Active(BOB, BOB, Activity.COMPOSING),)


@pytest.mark.parametrize("protection", [Protection.OMEMO_LEGACY, Protection.NONE])
def test_typing_is_believed_in_the_clear_where_it_cannot_be_sealed_for_us(ledger, protection):
    """What we wrote last tells what all their devices can; what they wrote, only what one can."""
    ledger.compose(
        BOB, Text(body="a"), name="a1", unix=1.0, protection=protection, device=1
    )  # fmt: skip
    ledger.enter(said(Text(body="b"), id="b1"))
    assert ledger.enter(said(TYPING, protection=Protection.NONE)) == TOLD


def test_typing_is_sealed_by_who_sealed_what_they_wrote_before_we_answered(ledger):
    ledger.enter(said(Text(body="b"), id="b1", trust=DeviceTrust.UNDECIDED))
    assert ledger.enter(said(TYPING, protection=Protection.NONE)) == TOLD  # nobody decided
    ledger.enter(said(Text(body="c"), id="b2"))
    (ignored,) = ledger.enter(said(TYPING, protection=Protection.NONE))
    assert "server" in ignored.why
    assert ledger.enter(said(TYPING)) == TOLD


def test_typing_is_told_as_it_comes_where_our_user_wishes_to_write_in_the_clear(ledger):
    ledger.enter(said(Text(body="b"), id="b1"))
    clear = said(TYPING, protection=Protection.NONE)
    assert ledger.enter(clear, plaintext=True) == TOLD


def test_a_correction_of_our_own_is_entered_when_sent(ledger, history):
    compose(ledger, text="helo")
    said_now = Text(body="hello", corrects="a1")
    after = ledger.compose(BOB, said_now, name="a2", unix=60, protection=Protection.OMEMO, device=1)
    assert (after.text, after.edited, after.id) == ("hello", 60, "a1")
    assert replace(after) == history.messages(BOB)[0]


def test_a_receipt_is_owed_for_what_is_new_and_somebody_elses(ledger, history):
    wanted = Text(body="hi", wants_receipt=True)
    for arrival in (
        said(wanted),
        said(wanted, via=Via.CARBON),  # the same again
        said(wanted, id="m2", own=True, sender=ALICE),
        said(wanted, id="m3", conversation=ROOM, room=True),
        said(wanted, id=""),
        said(Text(body="hi"), id="m4"),
        said(Text(body="better", corrects="m1", wants_receipt=True), id="m5"),
        said(wanted, id="m6", protection=Protection.NONE),
    ):
        ledger.enter(arrival)
    assert Receipts(history, ALICE).owed(BOB) == ("m1",)
    assert Receipts(history, ALICE).creditors() == (BOB,)
    assert Receipts(history, BOB).creditors() == ()


def test_old_debts_are_forgotten_before_there_are_too_many(history, monkeypatch):
    monkeypatch.setattr("securecall.chat.receipts.MOST_OWED", 20)  # each is written with all others
    receipts = Receipts(history, ALICE)
    for number in range(20 + 2):
        receipts.owe(BOB, str(number))
    assert receipts.owed(BOB)[0] == "2"
    receipts.settle(ROOM)
    assert len(receipts.owed(BOB)) == 20
    receipts.settle(BOB)
    assert history.values("") == {}


@pytest.mark.parametrize("data", [b"", b"{}", b'{"owed":[1]}', b'{"owed":[["a"]]}'])
def test_debts_that_cannot_be_read_are_damage(history, data):
    Receipts(history, ALICE).owe(BOB, "m1")
    ((name, _),) = history.values("").items()
    history.set_value(name, data)
    with pytest.raises(StoreCorrupt):
        Receipts(history, ALICE).creditors()
