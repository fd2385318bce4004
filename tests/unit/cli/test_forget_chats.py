"""`securecall forget-chats`, where the conversations cannot be read any more."""

from __future__ import annotations

import json
import os

import pytest

from securecall.cli.main import run
from securecall.store.history import FILE
from tests.forge_store import PASSPHRASE, make_store, reopen


@pytest.fixture
def damaged(tmp_path):
    """The options of a home whose conversations cannot be read."""
    store = make_store(tmp_path / "home")
    store.open_history().set_value("a ratchet", b"7")
    store.close()
    (tmp_path / "words").write_text(PASSPHRASE)
    (tmp_path / "home" / FILE).write_bytes(b"nothing of SQLite" * 99)
    return ["--home", str(tmp_path / "home"), "--passphrase-file", str(tmp_path / "words")]


def told(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.fixture
def answer():
    """Writes a line on standard input, which then ends."""
    before = os.dup(0)

    def write(word: str) -> None:
        ours, theirs = os.pipe()
        os.dup2(ours, 0)
        os.write(theirs, f"{word}\n".encode())
        os.close(ours)
        os.close(theirs)

    yield write
    os.dup2(before, 0)
    os.close(before)


def test_what_cannot_be_read_leads_to_the_command(damaged, tmp_path, capsys, answer):
    saved = ["--backup-passphrase-file", str(tmp_path / "words")]
    backup = ["keys", "backup", str(tmp_path / "backup"), *saved, "--json"]
    assert run([*backup, *damaged]) == 7
    error = told(capsys)
    assert error["kind"] == "HistoryCorrupt"
    assert "securecall forget-chats" in error["advice"]
    answer("forget")
    assert run(["forget-chats", "--json", *damaged]) == 0
    assert told(capsys) == {"type": "forgotten", "holds_root": True}
    assert run([*backup, *damaged]) == 0
    kept = told(capsys)
    assert (kept["contacts"], kept["calls"], kept["messages"]) == (2, 1, 0)


@pytest.mark.parametrize("word", ["keep", ""])
def test_nothing_is_forgotten_without_a_yes(damaged, tmp_path, capsys, answer, word):
    answer(word)
    before = (tmp_path / "home" / FILE).read_bytes()
    assert run(["forget-chats", "--json", *damaged]) == 2
    assert told(capsys)["message"] == "nothing was forgotten"
    assert (tmp_path / "home" / FILE).read_bytes() == before


def test_people_in_a_pipe_are_asked_nothing_and_lose_nothing(damaged, tmp_path, capsys, answer):
    answer("y")
    assert run(["forget-chats", *damaged]) == 2
    assert "nothing was forgotten" in capsys.readouterr().err
    assert (tmp_path / "home" / FILE).exists()


def test_people_are_told_what_goes_and_what_stays(damaged, tmp_path, capsys, answer, monkeypatch):
    monkeypatch.setattr("securecall.cli.output.PeopleOutput.hears", True)
    answer("y")
    assert run(["forget-chats", *damaged]) == 0
    said = capsys.readouterr().out
    for words in (
        "every message",
        "has not taken",
        "new device in chat",
        "your contacts",
        "backup",
    ):
        assert words in said
    assert "forgotten" in said
    store = reopen(tmp_path / "home")
    assert len(store.book.bindings) == 2
    assert store.open_history().conversations() == ()
    store.close()
