"""How much is read for a search or a page of messages, counted; and the words search goes by."""

from __future__ import annotations

import sqlite3

import pytest

from securecall.store.history import FILE
from securecall.store.pages import SIZE
from securecall.store.words import words
from tests.forge_history import JULIET, NOW, ROMEO, message, open_history, stored


class Reading:
    """Counts the rows a history unseals."""

    def __init__(self, monkeypatch):
        from securecall.store.sealing import Keys

        self.rows = 0
        unseal = Keys.unseal

        def counted(keys, *arguments):
            self.rows += 1
            return unseal(keys, *arguments)

        monkeypatch.setattr(Keys, "unseal", counted)

    def of(self, act) -> int:
        self.rows = 0
        act()
        return self.rows


def filled(folder, count: int):
    history = open_history(folder)
    with history.transaction():
        for place in range(count):
            where = ROMEO if place % 9 == 0 else JULIET
            history.add(message(f"word{place} common", conversation=where, sent=NOW + place))
    return history


def test_pages_are_made_as_messages_come(tmp_path):
    history = filled(tmp_path, 2 * SIZE + 5)
    history.close()
    assert [row[0] for row in stored(tmp_path, "pages")] == [0, 1]


@pytest.mark.parametrize("text", ["word3 common", "nowhere"])
def test_a_search_unseals_a_page_for_hundreds_of_messages(tmp_path, monkeypatch, text):
    history = filled(tmp_path, 4 * SIZE)
    reading = Reading(monkeypatch)
    found = len(history.search(text, count=10))
    assert reading.of(lambda: history.search(text, count=10)) <= 4 + 1 + found
    history.close()


def test_the_newest_are_found_without_reading_the_oldest(tmp_path, monkeypatch):
    history = filled(tmp_path, 4 * SIZE)
    reading = Reading(monkeypatch)
    assert reading.of(lambda: history.search("common", count=10)) <= 1 + 1 + 10
    history.close()


def test_the_last_messages_are_read_alone(tmp_path, monkeypatch):
    history = filled(tmp_path, 2 * SIZE)
    reading = Reading(monkeypatch)
    assert reading.of(lambda: history.messages(JULIET)) == 50
    assert reading.of(lambda: history.messages(JULIET, before=30)) <= 30
    assert reading.of(lambda: history.unread(JULIET)) == 0
    assert reading.of(history.conversations) == 2
    assert reading.of(lambda: history.find(JULIET, JULIET, "x")) == 0
    history.close()


def test_opening_reads_no_message(tmp_path, monkeypatch):
    filled(tmp_path, SIZE).close()
    reading = Reading(monkeypatch)
    assert reading.of(lambda: open_history(tmp_path).close()) == 1


def test_expiry_reads_what_may_expire_and_no_more(tmp_path, monkeypatch):
    history = filled(tmp_path, 2 * SIZE)
    history.add(message("a", expires=int(NOW) + 5))
    history.add(message("b", expires=int(NOW) + 10**7))
    history.expire(NOW)
    reading = Reading(monkeypatch)
    assert reading.of(lambda: history.expire(NOW + 1)) <= 2 + 1  # conversations, and one message
    history.close()


def test_pages_lost_are_made_again_by_the_next_search(tmp_path, monkeypatch):
    history = filled(tmp_path, 3 * SIZE)
    history.close()
    connection = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    connection.execute("DELETE FROM pages")
    connection.close()
    history = open_history(tmp_path)
    assert [each.text for each in history.search("word5", count=2000)][-1] == "word5 common"
    reading = Reading(monkeypatch)
    assert reading.of(lambda: history.search("nowhere")) <= 3 + 1
    history.close()


def test_messages_that_come_while_pages_are_made_are_found(tmp_path):
    history = filled(tmp_path, SIZE - 3)
    for place in range(8):
        history.add(message(f"late{place}"))
        assert len(history.search("late")) == place + 1
    history.close()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("  --  ", []),
        ("One, TWO", ["one", "two"]),
        ("Straße", ["strasse"]),
        ("ÀÉÎ", ["aei"]),
        ("ﬁne", ["fine"]),
        ("世界!", ["世", "界"]),
        ("かな", ["か", "な"]),
        ("हिन्दी", ["हिनदी"]),
        ("a👍b", ["a", "👍", "b"]),
        ("x_y", ["x", "y"]),
        ("ü_y", ["u", "y"]),
        ("\ud800", []),
    ],
)
def test_words(text, found):
    assert words(text) == found
