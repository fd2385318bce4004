"""K2: someone reads or edits the file of the history, without the passphrase.

The control is a table without seals, as many messengers keep theirs: it takes every edit that is
refused here.
"""

from __future__ import annotations

import base64
import os
import sqlite3

import pytest

from securecall.chat.message import SharedFile
from securecall.errors import LocalError, StoreCorrupt
from securecall.secret import Secret
from securecall.store import pages
from securecall.store.history import FILE
from tests.forge_history import (
    DAY,
    JULIET,
    NOW,
    NURSE,
    ROMEO,
    disk_bytes,
    edit,
    everything,
    message,
    open_history,
    parcel,
    put_back,
    stored,
)

pytestmark = pytest.mark.attack


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "SIZE", 2)
    folder = tmp_path / "alice"
    folder.mkdir()
    history = open_history(folder)
    history.add(message("meet me at nine", id="1", archive_id="a1", unread=True))
    history.add(message("bring the money", id="2", archive_id="a2"))
    history.add(message("never mind", conversation=ROMEO, id="1", expires=int(NOW) + DAY))
    history.add(message("good bye", conversation=ROMEO))
    history.post(parcel("p1"))
    history.post(parcel("p2"))
    history.set_value("ratchet/1", b"first")
    history.set_value("ratchet/2", b"other")
    history.close()
    return folder


@pytest.fixture
def plain(tmp_path):
    """The control: the same messages, unsealed."""
    connection = sqlite3.connect(tmp_path / "plain", isolation_level=None)
    connection.execute("CREATE TABLE messages (number INTEGER PRIMARY KEY, conversation, value)")
    for row in [(1, 7, "meet me at nine"), (2, 7, "bring the money"), (3, 8, "never mind")]:
        connection.execute("INSERT INTO messages VALUES (?, ?, ?)", row)
    yield connection
    connection.close()


def swap(column: str) -> str:
    return (
        f"UPDATE messages SET {column} = (SELECT {column} FROM messages AS other "
        "WHERE other.number = 3 - messages.number) WHERE number IN (1, 2)"
    )


EDITS = {
    "two messages swapped": swap("value"),
    "a message moved to another number": "UPDATE messages SET number = 9 WHERE number = 1",
    "a message moved to another conversation": (
        "UPDATE messages SET conversation = "
        "(SELECT conversation FROM messages AS other WHERE other.number = 3) WHERE number = 1"
    ),
    "bytes of a message changed": (
        "UPDATE messages SET value = "
        "CAST(substr(value, 1, 20) || zeroblob(8) || substr(value, 29) AS BLOB) WHERE number = 1"
    ),
}
COLUMN_EDITS = {
    "two messages swapped with their versions": swap("(version, value)").replace(
        "SELECT (version, value)", "SELECT version, value"
    ),
    "another version said": "UPDATE messages SET version = version + 1 WHERE number = 1",
    "a name taken from another": swap("name"),
    "an archive name taken from another": swap("archive"),
    "marked as read": "UPDATE messages SET unread = 0 WHERE number = 1",
    "marked to expire": (
        "UPDATE messages SET due = (SELECT due FROM messages AS other WHERE other.number = 3) "
        "WHERE number = 1"
    ),
    "moved to another day": "UPDATE messages SET day = day + 1 WHERE number = 1",
    "a message cut off": "UPDATE messages SET value = x'0102' WHERE number = 1",
    "a message that is no blob": "UPDATE messages SET value = 'x' WHERE number = 1",
    "a message that is no text": "UPDATE messages SET value = value || x'ff' WHERE number = 1",
    "a column of another kind": "UPDATE messages SET day = 'x' WHERE number = 1",
    "a conversation of another kind": "UPDATE messages SET conversation = 'x' WHERE number = 1",
}


@pytest.mark.parametrize("name", EDITS)
def test_control_a_table_without_seals_takes_every_edit(plain, name):
    statement = EDITS[name]
    before = plain.execute("SELECT * FROM messages").fetchall()
    plain.execute(statement)
    assert plain.execute("SELECT * FROM messages").fetchall() != before


@pytest.mark.parametrize("name", EDITS | COLUMN_EDITS)
def test_an_altered_message_is_shown_as_damaged_and_hides_no_other(folder, name):
    assert edit(folder, (EDITS | COLUMN_EDITS)[name]) > 0
    history = open_history(folder)
    shown = history.after(0)
    assert len(shown) == 4
    damaged = [each for each in shown if each.unreadable]
    assert damaged
    assert all(not each.text for each in damaged)
    for each in shown:
        if not each.unreadable:
            assert each.text in ("meet me at nine", "bring the money", "never mind", "good bye")
    assert [each.text for each in history.messages(ROMEO)][-2:] == ["never mind", "good bye"]
    # It can be looked for, marked, replaced and deleted as any other.
    assert history.search("nine") == tuple(each for each in shown if "nine" in each.text)
    for where in (JULIET, ROMEO):
        history.mark_read(where, 100)
        assert history.unread(where) == 0
    if "kind" in name:
        history.close()
        return
    for each in damaged:
        history.remove(each.number)
    assert not any(each.unreadable for each in history.after(0))
    history.close()


def test_a_damaged_message_is_still_known_by_its_name(folder):
    edit(folder, EDITS["bytes of a message changed"])
    history = open_history(folder)
    for found in (history.find(JULIET, JULIET, "1"), history.find_archived(JULIET, "a1")):
        assert (found.number, found.conversation, found.sender) == (1, JULIET, JULIET)
        assert found.unreadable
    history.close()


def test_a_damaged_message_expires_with_its_day(folder):
    edit(
        folder,
        "UPDATE messages SET value = zeroblob(80) WHERE number = 3",
    )
    history = open_history(folder)
    assert history.expire(NOW) == ()
    history.close()
    history = open_history(folder)
    history.add(message("x", conversation=ROMEO, expires=int(NOW) + 1, sent=NOW))
    for _ in range(3):
        history.add(message("y", conversation=ROMEO, expires=int(NOW) + 5 * DAY, sent=NOW))
    assert 3 in [each.number for each in history.expire(NOW + 2 * DAY)]
    history.close()


def test_an_earlier_version_of_a_message_does_not_open_under_the_later_number(folder):
    (before,) = [row for row in stored(folder, "messages") if row[0] == 1]
    history = open_history(folder)
    history.replace(
        history.messages(JULIET, before=2)[0].__class__(
            number=1, conversation=JULIET, sender=JULIET, sent=NOW, text="meet me at ten", id="1"
        )
    )
    history.close()
    edit(folder, "UPDATE messages SET value = ? WHERE number = 1", values=(before[-1],))
    history = open_history(folder)
    assert history.messages(JULIET)[0].unreadable
    history.close()


SMALL_EDITS = {
    "a ratchet deleted": "DELETE FROM named WHERE id = (SELECT min(id) FROM named)",
    "a ratchet under another name": "UPDATE named SET id = id + 1",
    "a ratchet of another version": "UPDATE named SET version = version + 1",
    "a ratchet that is no blob": "UPDATE named SET value = 5",
    "a parcel deleted": "DELETE FROM parcels WHERE id = 1",
    "parcels in another order": "UPDATE parcels SET id = 7 WHERE id = 1",
    "a conversation deleted": "DELETE FROM people WHERE id = (SELECT min(id) FROM people)",
    "the head deleted": "DELETE FROM head",
    "the head of another time": "UPDATE head SET version = version - 1",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON named BEGIN DELETE FROM messages; END",
    "a table more": "CREATE TABLE more (x)",
    "a table less": "DROP TABLE pages",
    "no version": "PRAGMA user_version=0",
}


@pytest.mark.parametrize("name", SMALL_EDITS)
def test_what_must_be_whole_is_refused_when_it_is_not(folder, name):
    edit(folder, SMALL_EDITS[name])
    with pytest.raises(StoreCorrupt):
        open_history(folder)


def test_a_ratchet_put_back_with_its_version_is_refused(folder):
    before = stored(folder, "named")
    history = open_history(folder)
    history.set_value("ratchet/1", b"second")
    history.close()
    put_back(folder, "named", before)
    with pytest.raises(StoreCorrupt):
        open_history(folder)


def test_a_parcel_put_back_is_refused(folder):
    before = stored(folder, "parcels")
    history = open_history(folder)
    history.taken(1)
    history.close()
    put_back(folder, "parcels", before)
    with pytest.raises(StoreCorrupt):
        open_history(folder)


def test_a_ratchet_changed_in_the_middle_is_refused_when_it_is_read(folder):
    edit(folder, "UPDATE named SET value = CAST(zeroblob(13) || substr(value, 14) AS BLOB)")
    history = open_history(folder)
    for act in (lambda: history.value("ratchet/1"), lambda: history.values("")):
        with pytest.raises(StoreCorrupt):
            act()
    assert len(history.messages(JULIET)) == 2
    history.close()


def test_the_head_of_an_earlier_time_does_not_hide_what_came_since(folder):
    before = stored(folder, "head")
    history = open_history(folder)
    history.set_value("ratchet/1", b"second")
    history.close()
    put_back(folder, "head", before)
    with pytest.raises(StoreCorrupt):
        open_history(folder)


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM pages", "UPDATE pages SET value = x'00'", "UPDATE pages SET id = id+9"],
)
def test_search_does_not_trust_its_pages(folder, statement):
    assert edit(folder, statement) > 0
    history = open_history(folder)
    for text, number in (("nine", 1), ("money", 2), ("never", 3), ("bye", 4)):
        assert [each.number for each in history.search(text)] == [number]
    history.close()


def test_an_old_page_shows_nothing_that_was_taken_out_since(folder):
    before = stored(folder, "pages")
    history = open_history(folder)
    history.remove(1)
    history.remove(2)
    history.close()
    put_back(folder, "pages", before)
    history = open_history(folder)
    assert history.search("nine") == history.search("money") == ()
    history.close()


def test_another_key_opens_nothing(folder):
    before = disk_bytes(folder)
    with pytest.raises(StoreCorrupt, match="another key store"):
        open_history(folder, key=b"x" * 32)
    assert disk_bytes(folder) == before
    open_history(folder).close()


def test_a_foreign_file_is_refused_and_left_alone(folder):
    for data in (b"not a database " * 500, os.urandom(8192), b"SQLite format 3\0" + bytes(4080)):
        (folder / FILE).write_bytes(data)
        with pytest.raises(LocalError):
            open_history(folder)
        assert (folder / FILE).read_bytes() == data


def test_a_truncated_file_is_refused_or_says_what_is_missing(folder):
    history = open_history(folder)
    with history.transaction():
        for place in range(300):
            history.add(message(f"word{place} " * 30))
    before = everything(history)["messages"]
    history.close()
    data = (folder / FILE).read_bytes()
    refused = 0
    for end in range(0, len(data), 4096 * 7 + 1000):
        (folder / FILE).write_bytes(data[:end])
        try:
            history = open_history(folder)
        except LocalError:
            refused += 1
            continue
        try:
            if end:  # nothing at all is a new history; the key store's generation tells
                shown = everything(history)["messages"]
                assert all(each in before or each.unreadable for each in shown)
                pytest.fail("a truncated file was taken for a whole one")
        except StoreCorrupt:
            refused += 1
        finally:
            history.close()
    assert refused > 5


CANARIES = ("Zanzibar-4711-Kanarie", "zanzibär-zwei")


def test_no_text_name_or_key_lies_on_the_disk_in_any_spelling(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "SIZE", 2)
    first, second = CANARIES
    secrets = [first.encode(), second.encode(), b"zanzibar", b"kanarie", b"zwei", b"K" * 32]
    secrets += [b"juliet", b"capulet", b"romeo", b"montague", b"rose.jpg", b"files.example"]
    secrets += [str(int(NOW)).encode(), b"ratchet/", b"secret-value", b"<message", b"stanza-id"]
    written = tmp_path / "alice"
    written.mkdir()
    history = open_history(written, key=b"K" * 32)
    seen = b""
    for place in range(4):
        for text in (first, second):
            shared = SharedFile(
                url="https://files.example/x", key=Secret(b"K" * 32), iv=b"i" * 12, name="rose.jpg"
            )
            history.add(message(text, id="stanza-id", archive_id="archive-id", file=shared))
            history.add(message(text, conversation=ROMEO, expires=int(NOW)))
        history.set_value("ratchet/1", b"secret-value %d" % place)
        history.post(parcel("stanza-id"))
        history.search("zanzibar")
        seen += disk_bytes(written)
        history.expire(NOW)
        seen += disk_bytes(written)
    history.close()
    seen += disk_bytes(written)
    for secret in secrets:
        for spelling in (
            secret,
            secret.hex().encode(),
            base64.b64encode(secret)[:-4],
            secret.decode().encode("utf-16-le"),
        ):
            assert spelling.lower() not in seen.lower(), spelling
    assert {path.name for path in written.iterdir()} == {FILE}


def test_equal_things_do_not_look_equal_to_who_has_two_files(tmp_path):
    named = []
    for key in (b"a" * 32, b"b" * 32):
        folder = tmp_path / key.decode()
        folder.mkdir()
        history = open_history(folder, key=key)
        history.add(message("a", id="1", archive_id="1"))
        history.set_value("v", b"1")
        history.close()
        rows = stored(folder, "messages")[0]
        named.append({*rows[2:5], *rows[6:8], stored(folder, "named")[0][0]} - {0})
    assert not named[0] & named[1]


def test_a_damaged_message_goes_when_its_conversation_keeps_nothing_so_old(folder):
    history = open_history(folder)
    kept = history.add(message("a", conversation=NURSE))
    for place in range(1, 8):
        history.add(message("b", conversation=NURSE, sent=NOW + place * DAY))
    history.retain(NURSE, DAY)
    assert history.expire(NOW) == ()
    history.close()
    edit(
        folder,
        f"UPDATE messages SET value = zeroblob(80) WHERE number = {kept.number}",
    )
    history = open_history(folder)
    gone = [each.number for each in history.expire(NOW + 3 * DAY)]
    assert gone == [3, kept.number, kept.number + 1, kept.number + 2]  # 3 expired by itself
    assert history.messages(NURSE)[0].number == kept.number + 3
    history.close()
