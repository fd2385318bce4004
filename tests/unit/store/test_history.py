"""What a history keeps; the one in memory, which other tests go by, has to keep the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecall.chat.history import History
from securecall.chat.message import Delivery
from securecall.errors import UsageError
from securecall.store.message_rows import MessageRows
from tests.forge_history import (
    DAY,
    JULIET,
    NOW,
    NURSE,
    ROMEO,
    ROOM,
    everything,
    full_message,
    message,
    open_history,
    parcel,
)
from tests.memory_history import MemoryHistory


@pytest.fixture(params=["disk", "memory"])
def history(request, tmp_path):
    if request.param == "memory":
        yield MemoryHistory()
        return
    history = open_history(tmp_path)
    yield history
    history.close()


def test_both_fit_the_port(history):
    port: History = history
    assert port.conversations() == ()


def test_a_message_comes_back_as_it_was(history):
    kept = history.add(full_message())
    assert kept == replace(full_message(), number=1)
    assert history.messages(JULIET) == (kept,)
    assert history.find(JULIET, NURSE, "id-7") == kept
    assert history.find_archived(JULIET, "1-2-3") == kept


def test_messages_are_read_in_the_order_they_were_added(history):
    kept = [history.add(message(str(place), sent=NOW - place)) for place in range(5)]
    history.add(message("elsewhere", conversation=ROMEO))
    assert [each.number for each in kept] == [1, 2, 3, 4, 5]
    assert history.messages(JULIET) == tuple(kept)
    assert history.messages(JULIET, count=2) == tuple(kept[3:])
    assert history.messages(JULIET, count=2, before=kept[3].number) == tuple(kept[1:3])
    assert history.messages(JULIET, count=0) == ()
    assert history.messages(NURSE) == ()


def test_what_came_behind_a_number_is_found_there_and_anywhere(history):
    first, other, second = (
        history.add(message("1")),
        history.add(message("2", conversation=ROMEO)),
        history.add(message("3")),
    )
    assert history.after(first.number) == (other, second)
    assert history.after(0, conversation=JULIET) == (first, second)
    assert history.after(0, conversation=JULIET, count=1) == (first,)
    assert history.after(second.number) == ()


def test_a_message_is_found_by_who_named_it_how_and_where(history):
    kept = history.add(message("a", id="x"))
    mine = history.add(message("b", id="x", sender=ROMEO))
    assert history.find(JULIET, JULIET, "x") == kept
    assert history.find(JULIET, ROMEO, "x") == mine
    assert history.find(ROMEO, JULIET, "x") is None
    assert history.find(JULIET, JULIET, "y") is None
    newer = history.add(message("c", id="x"))
    assert history.find(JULIET, JULIET, "x") == newer


def test_what_has_no_name_is_found_by_none(history):
    history.add(message("a"))
    assert history.find(JULIET, JULIET, "") is None
    assert history.find_archived(JULIET, "") is None


def test_archives_of_two_conversations_may_use_one_name(history):
    kept = history.add(message("a", archive_id="1"))
    assert history.find_archived(JULIET, "1") == kept
    assert history.find_archived(ROMEO, "1") is None


def test_a_message_is_replaced_where_it_stands(history):
    kept = history.add(message("a", id="x", archive_id="1"))
    history.add(message("b"))
    after = replace(kept, text="c", id="y", archive_id="2", delivery=Delivery.DISPLAYED)
    history.replace(after)
    assert history.messages(JULIET)[0] == after
    assert history.find(JULIET, JULIET, "x") is None
    assert history.find(JULIET, JULIET, "y") == after
    assert history.find_archived(JULIET, "1") is None


def test_only_what_is_there_is_replaced_and_stays_in_its_conversation(history):
    kept = history.add(message("a"))
    with pytest.raises(UsageError):
        history.replace(replace(kept, number=7))
    with pytest.raises(UsageError):
        history.replace(replace(kept, conversation=ROMEO))
    assert history.messages(JULIET) == (kept,)


def test_a_removed_message_is_gone_and_its_number_is_not_given_again(history):
    kept = history.add(message("hello", id="x", archive_id="1", unread=True))
    history.remove(kept.number)
    history.remove(kept.number)
    assert history.messages(JULIET) == ()
    assert history.find(JULIET, JULIET, "x") is None
    assert history.find_archived(JULIET, "1") is None
    assert history.search("hello") == ()
    assert history.unread(JULIET) == 0
    assert history.conversations() == ()
    assert history.add(message("b")).number == kept.number + 1


def test_conversations_are_ordered_by_their_newest_message(history):
    history.add(message("a"))
    history.add(message("b", conversation=ROMEO))
    assert history.conversations() == (ROMEO, JULIET)
    history.add(message("c"))
    assert history.conversations() == (JULIET, ROMEO)
    history.retain(ROOM, 5)
    assert ROOM not in history.conversations()


def test_unread_messages_are_counted_until_they_are_marked(history):
    first, second, third = (history.add(message(str(n), unread=True)) for n in range(3))
    history.add(message("other", conversation=ROMEO, unread=True))
    assert history.unread(JULIET) == 3
    history.mark_read(JULIET, second.number)
    assert [each.unread for each in history.messages(JULIET)] == [False, False, True]
    assert (history.unread(JULIET), history.unread(ROMEO)) == (1, 1)
    history.replace(first)  # unread again
    assert history.unread(JULIET) == 2
    history.mark_read(JULIET, third.number)
    assert history.unread(JULIET) == 0


def test_who_may_stay_longer_keeps_nobody_behind_it(history):
    longer = history.add(message("a", expires=int(NOW) + 20))
    longest = history.add(message("b", expires=int(NOW) + 30))
    soon = history.add(message("c", expires=int(NOW) + 10))
    assert history.expire(NOW + 10) == (soon,)
    assert history.expire(NOW + 30) == (longer, longest)


def test_messages_expire_at_their_own_second(history):
    soon = history.add(message("a", expires=int(NOW) + 10))
    later = history.add(message("b", expires=int(NOW) + 10 * DAY))
    never = history.add(message("c"))
    assert history.expire(NOW + 9) == ()
    assert history.expire(NOW + 10) == (soon,)
    assert history.expire(NOW + 9 * DAY) == ()
    assert history.expire(NOW + 11 * DAY) == (later,)
    assert history.messages(JULIET) == (never,)
    late = history.add(message("came late", expires=int(NOW)))
    assert history.expire(NOW + 11 * DAY) == (late,)


def test_a_clock_set_back_delays_nothing_for_ever(history):
    history.add(message("a"))
    history.expire(NOW + 1000 * DAY)
    kept = history.add(message("b", expires=int(NOW) + 10))
    assert history.expire(NOW) == ()
    assert history.expire(NOW + 10) == (kept,)


def test_a_conversation_forgets_what_is_older_than_it_keeps(history):
    old = history.add(message("a", sent=NOW))
    other = history.add(message("b", sent=NOW, conversation=ROMEO))
    new = history.add(message("c", sent=NOW + 5 * DAY))
    out_of_order = history.add(message("d", sent=NOW + 1))
    history.retain(JULIET, 2 * DAY)
    assert history.retention(JULIET) == 2 * DAY
    assert history.expire(NOW + 2 * DAY - 1) == ()
    assert history.expire(NOW + 2 * DAY) == (old,)
    assert history.expire(NOW + 3 * DAY) == (out_of_order,)
    late = history.add(message("e", sent=NOW))
    assert history.expire(NOW + 3 * DAY) == (late,)
    history.retain(JULIET, DAY)
    assert history.expire(NOW + 6 * DAY) == (new,)
    assert history.messages(JULIET) == ()
    assert history.retention(JULIET) == DAY
    history.retain(JULIET, 0)
    assert history.retention(JULIET) == 0
    assert history.messages(ROMEO) == (other,)


def test_a_retention_is_no_less_than_nothing(history):
    with pytest.raises(UsageError):
        history.retain(JULIET, -1)


def test_parcels_wait_in_their_order_until_they_are_taken(history):
    first, second = history.post(parcel("a", stanza=b"\x00" * 9)), history.post(parcel("b"))
    assert history.parcels() == (first, second)
    history.taken(first.number)
    history.taken(first.number)
    third = history.post(parcel("c"))
    assert history.parcels() == (second, third)
    assert history.parcels(after=second.number) == history.parcels(after=1, most=2)[1:] == (third,)
    assert history.parcels(most=1) == (second,)
    assert history.parcels(most=0) == history.parcels(after=third.number) == ()
    assert third.number == 3


def test_values_are_kept_by_name_and_found_by_prefix(history):
    history.set_value("omemo/b", b"2")
    history.set_value("omemo/a", b"1")
    history.set_value("archive/\ud800", b"")
    history.set_value("omemo/a", b"1 again")
    assert history.value("omemo/a") == b"1 again"
    assert history.value("archive/\ud800") == b""
    assert history.value("omemo") is None
    assert list(history.values("omemo/").items()) == [("omemo/a", b"1 again"), ("omemo/b", b"2")]
    history.set_value("omemo/a", None)
    history.set_value("omemo/a", None)
    assert history.values("omemo/") == {"omemo/b": b"2"}


def fill(history) -> None:
    history.add(message("first", id="x", archive_id="1", unread=True))
    history.add(message("second", conversation=ROMEO, unread=True))
    history.post(parcel("a"))
    history.set_value("v", b"1")
    history.retain(JULIET, 50)


def change_all(history) -> None:
    history.replace(replace(history.messages(JULIET)[0], text="changed", id="y"))
    history.remove(history.messages(ROMEO)[0].number)
    history.add(message("third", conversation=ROOM, unread=True))
    history.mark_read(JULIET, 10)
    history.post(parcel("b"))
    history.taken(1)
    history.set_value("v", b"2")
    history.set_value("w", b"3")
    history.retain(JULIET, 60)


class Refused(Exception):
    pass


def test_a_transaction_that_raises_leaves_everything_as_it_was(history):
    fill(history)
    before = everything(history)
    with pytest.raises(Refused), history.transaction():
        change_all(history)
        history.expire(NOW + 1000)
        raise Refused
    assert everything(history) == before
    assert history.find(JULIET, JULIET, "y") is None
    assert history.search("changed") == ()
    change_all(history)
    assert everything(history) != before


def test_a_transaction_within_one_is_undone_alone(history):
    with history.transaction():
        history.set_value("outer", b"1")
        with pytest.raises(Refused), history.transaction():
            fill(history)
            raise Refused
        history.set_value("after", b"2")
        with history.transaction():
            history.set_value("inner", b"3")
    assert history.values("") == {"after": b"2", "inner": b"3", "outer": b"1"}
    assert history.parcels() == ()
    assert history.add(message("a")).number == 1


def test_a_value_that_was_undone_is_read_as_it_was(history):
    history.set_value("v", b"1")
    assert history.value("v") == b"1"
    assert history.value("w") is None
    with history.transaction():
        with pytest.raises(Refused), history.transaction():
            history.set_values({"v": b"2", "w": b"2"})
            assert history.value("v") == b"2"
            raise Refused
        assert (history.value("v"), history.value("w")) == (b"1", None)
    with pytest.raises(Refused), history.transaction():
        history.set_value("v", None)
        assert history.value("v") is None
        raise Refused
    assert history.value("v") == b"1"
    history.set_value("v", None)
    assert history.value("v") is None


def test_a_transaction_within_one_ends_with_it(history):
    with pytest.raises(Refused), history.transaction():
        with history.transaction():
            fill(history)
        raise Refused
    assert history.conversations() == ()


def test_search_finds_beginnings_of_all_words_newest_first(history):
    first = history.add(message("Wherefore art thou Romeo?"))
    second = history.add(message("romeo, ROMEO!", conversation=ROMEO))
    assert history.search("rom") == (second, first)
    assert history.search("Rom where") == (first,)
    assert history.search("rom", conversation=JULIET) == (first,)
    assert history.search("rom", count=1) == (second,)
    assert history.search("omeo") == ()
    assert history.search("rom nobody") == ()
    assert history.search(" ?! ") == ()
    assert history.search("rom", count=0) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Grüße aus Łódź", "grusse"),
        ("Crème brûlée", "BRULEE creme"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("İstanbul", "istanbul"),
        ("今日は世界", "世界"),
        ("สวัสดีครับ", "ครับ"),
        ("ok 👍🏽", "👍"),
        ("don't", "don't"),
        ("50% of 100€", "50 100"),
        ("naïve\u0301", "naive"),
    ],
)
def test_search_knows_the_scripts_of_the_world(history, text, words):
    kept = history.add(message(text))
    assert history.search(words) == (kept,)


def test_search_reads_the_names_of_files(history):
    kept = history.add(full_message())
    assert history.search("rose bild") == (kept,)


def test_search_follows_corrections_at_once(history):
    kept = history.add(message("wherefore"))
    assert history.search("wherefore") == (kept,)
    history.replace(replace(kept, text="therefore"))
    assert history.search("wherefore") == ()
    assert len(history.search("therefore")) == 1


def test_the_latest_stanzas_are_remembered_as_opened_and_the_oldest_forgotten(
    monkeypatch, tmp_path
):
    monkeypatch.setattr("securecall.store.history.MOST_OPENED", 20)
    monkeypatch.setattr("securecall.store.history._SWEEP", 10)
    history = open_history(tmp_path)
    try:
        marks = [bytes([number]) * 16 for number in range(50)]
        for number, mark in enumerate(marks):
            assert not history.was_opened(mark)
            history.opened(mark)
            assert history.was_opened(mark)
            assert all(history.was_opened(each) for each in marks[max(0, number - 19) : number])
        assert [history.was_opened(mark) for mark in marks] == [False] * 30 + [True] * 20
    finally:
        history.close()


def test_messages_are_put_back_in_their_order_alone(tmp_path):
    history = open_history(tmp_path)
    try:
        history.put_back(message("a", number=3))
        for number in (3, 2):
            with pytest.raises(UsageError):
                history.put_back(message("b", number=number))
        history.put_back(message("c", number=7))
        assert [(each.number, each.text) for each in history.messages(JULIET)] == [
            (3, "a"),
            (7, "c"),
        ]
        assert history.add(message("d")).number == 8
    finally:
        history.close()


def test_a_correction_of_nothing_that_search_reads_leaves_it_findable(history):
    kept = history.add(message("Hello, Juliet!"))
    history.replace(replace(kept, text="hello juliet"))
    (found,) = history.search("hello")
    assert found.text == "hello juliet"


def test_names_that_are_looked_up_alike_are_told_apart(tmp_path, monkeypatch):
    # Rows carry a short keyed hash of a name: two may share one.
    monkeypatch.setattr(MessageRows, "named", lambda *_: 7)
    monkeypatch.setattr(MessageRows, "archived", lambda *_: 7)
    history = open_history(tmp_path)
    try:
        wanted = history.add(message("a", id="x", archive_id="1"))
        newer = history.add(message("b", id="y", archive_id="2"))
        for kept in (wanted, newer):
            assert history.find(JULIET, JULIET, kept.id) == kept
            assert history.find_archived(JULIET, kept.archive_id) == kept
        assert history.find(JULIET, JULIET, "z") is None
        assert history.find(JULIET, ROMEO, "x") is None
        assert history.find_archived(JULIET, "3") is None
    finally:
        history.close()
