from __future__ import annotations

import io
import json
import os
import stat
import sys

import pytest

from securecall.cli.main import run
from securecall.cli.phrase_screen import PhraseScreen
from securecall.errors import PhraseInvalid, UsageError
from securecall.keys.phrase import build_phrase
from securecall.secret import Secret
from tests.forge_store import cheap

PHRASE = build_phrase(Secret(bytes(range(32))))
WORDS = PHRASE.reveal().decode().split()


@pytest.fixture(autouse=True)
def _cheap_stores(monkeypatch):
    cheap(monkeypatch)


# -- the screen of words ---------------------------------------------------------------------------


def screen(*answers):
    out, waiting = io.StringIO(), iter(answers)

    def ask(question):
        out.write(question)
        try:
            return next(waiting)
        except StopIteration:
            raise EOFError from None

    return PhraseScreen(out, ask), out


@pytest.mark.reveals("the words are what is shown")
def test_words_are_shown_asked_back_and_leave_nothing_on_the_terminal():
    shown, out = screen("", *(word[:4] for word in WORDS))
    shown.show(PHRASE)
    before, _, after = out.getvalue().partition("Press Enter")
    assert all(f"{place:2d} {word}" in before for place, word in enumerate(WORDS, start=1))
    assert before.startswith("\x1b[?1049h")
    assert after.endswith("\x1b[2J\x1b[?1049l")
    asked = after.partition("\x1b[2J")[2]  # where no word is left on the screen
    assert not any(word in asked.split() for word in WORDS)


@pytest.mark.reveals("the words are what is shown")
def test_a_word_that_was_written_down_wrongly_is_found():
    shown, out = screen("", WORDS[0], "zoo", WORDS[1], *WORDS[2:])
    shown.show(PHRASE)
    assert "Look at your paper" in out.getvalue()
    for answers in (["", *["zoo"] * 5], [""], []):
        shown, out = screen(*answers)
        with pytest.raises(UsageError):
            shown.show(PHRASE)
        assert out.getvalue().endswith("\x1b[?1049l")


@pytest.mark.reveals("the words are what is typed")
def test_typed_words_are_looked_at_one_by_one():
    read, out = screen(WORDS[0], "hampster", *(word[:4].upper() for word in WORDS[1:]))
    assert read.read() is not None
    assert "hamster" in out.getvalue()
    read, _ = screen(*WORDS[:22], WORDS[23], WORDS[22])
    with pytest.raises(PhraseInvalid):
        read.read()
    read, _ = screen(*["nosuchword"] * 5)
    with pytest.raises(UsageError):
        read.read()


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path, capsys):
    """Runs `securecall keys ...` in one of several homes; returns the code and the events."""
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\n")

    def keys_of(home, *arguments, command="keys"):
        where = ["--home", str(tmp_path / home), "--passphrase-file", str(secret), "--json"]
        code = run([command, *map(str, arguments), *where])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return keys_of


@pytest.fixture
def answers(monkeypatch):
    """What a program would write to the questions of the command."""
    queue: list[bool | None] = []

    async def ask(self, question, yes, no):
        return queue.pop(0)

    monkeypatch.setattr("securecall.cli.output.JsonOutput.ask", ask)
    return queue


def test_a_device_joins_is_listed_and_is_withdrawn(keys, answers, tmp_path):
    keys("desk", command="init")
    _, (invited,) = keys("desk", "invite")
    code, (asked,) = keys("phone", "join", invited["text"], "--name", "phone")
    assert (code, asked["what"], len(asked["words"])) == (0, "request", 8)
    (tmp_path / "request").write_text(asked["text"])
    answers[:] = [False]
    code, events = keys("desk", "enrol", f"@{tmp_path / 'request'}")
    assert (code, events[-1]["kind"]) == (2, "UsageError")
    assert events[0]["words"] == asked["words"]
    answers[:] = [True]
    code, (shown, signed) = keys("desk", "enrol", asked["text"])
    assert (code, shown["device"], shown["known"]) == (0, "phone", False)
    code, (mine,) = keys("phone", "take", signed["text"])
    assert code == 0
    assert (mine["devices"][0]["id"], mine["holds_root"]) == ("phone", False)
    _, (desk,) = keys("desk", "show")
    assert len(desk["devices"]) == 2
    assert keys("phone", "revoke", "phone")[0] == 2
    code, (gone,) = keys("desk", "revoke", "phone")
    assert code == 0
    code, (told,) = keys("phone", "take", gone["text"])
    assert (told["withdrawn"], told["revoked"]) == (True, ["phone"])
    assert keys("phone", "request")[0] == 5


@pytest.mark.reveals("the words are read from a file")
def test_an_identity_comes_back_from_a_file_of_words(keys, tmp_path):
    words = tmp_path / "words"
    words.write_bytes(PHRASE.reveal())
    code, events = keys("new", "from-phrase", "--phrase-file", words, "--name", "laptop")
    assert code == 0
    assert [d["id"] for d in events[0]["devices"]] == ["laptop"]
    assert events[0]["phrase_written"] > 0  # they were just read from it
    assert keys("root", "from-phrase", "--phrase-file", words, "--root-key", "x")[0] == 2
    token = keys("token", "from-phrase", "--phrase-file", words, "--token", "/no/module", "lab")
    assert token[0] != 0  # it is not passed over
    assert not (tmp_path / "token").exists()
    assert keys("new", "from-phrase", "--phrase-file", words)[0] == 7  # there is one already
    words.write_text("abandon " * 24)
    code, (error,) = keys("other", "from-phrase", "--phrase-file", words)
    assert (code, error["kind"]) == (2, "PhraseInvalid")
    assert not (tmp_path / "other").exists()


def test_json_may_be_asked_for_before_the_second_word(keys, tmp_path, capsys):
    keys("desk", command="init")
    home = ["--home", str(tmp_path / "desk"), "--passphrase-file", str(tmp_path / "passphrase")]
    for arguments in (["keys", "--json", "show", *home], ["keys", "show", "--json", *home]):
        capsys.readouterr()
        assert run(arguments) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[0])["type"] == "keys"


def test_words_go_to_a_terminal_alone(keys):
    keys("desk", command="init")
    code, (error,) = keys("desk", "phrase")
    assert (code, error["kind"]) == (2, "UsageError")
    assert keys("new", "from-phrase")[0] == 2


def test_the_root_is_replaced_only_if_meant(keys, answers):
    _, (made,) = keys("desk", command="init")
    answers[:] = [False]
    assert keys("desk", "succeed")[0] == 2
    _, (same,) = keys("desk", "show")
    assert same["root"] == made["root"]
    answers[:] = [True]
    code, events = keys("desk", "succeed")
    assert (code, events[0]["what"]) == (0, "statement")
    _, (after,) = keys("desk", "show")
    assert (after["root"] != made["root"], after["successions"]) == (True, 1)


def test_codes_are_pictures_that_only_their_owner_reads(keys, tmp_path):
    keys("desk", command="init")
    png, svg = tmp_path / "code.png", tmp_path / "code.svg"
    code, (told,) = keys("desk", "invite", "--png", png, "--svg", svg)
    assert (code, told["picture"]) == (0, "")
    assert png.read_bytes().startswith(b"\x89PNG\r\n")
    assert b"<svg" in svg.read_bytes()
    if os.name == "posix":
        assert stat.S_IMODE(png.stat().st_mode) == 0o600
    assert keys("desk", "invite", "--png", tmp_path / "code.jpeg")[0] == 2


def test_verify_needs_to_know_whose_key(keys):
    keys("desk", command="init")
    assert keys("desk", "verify")[0] == 2
    assert keys("desk", "verify", "--code", "securecall:verify:1:x:y")[0] == 4


def test_people_see_sentences(tmp_path, capsys, monkeypatch):
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\n")
    where = ["--home", str(tmp_path / "desk"), "--passphrase-file", str(secret)]
    assert run(["init", *where]) == 0
    assert run(["keys", "show", *where]) == 0
    shown = capsys.readouterr().out
    assert "The root key is on this device; its 24 words: not written down." in shown
    assert "this device" in shown
    assert run(["keys", "invite", "--qr", *where]) == 0
    assert "▀" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "segno", None)
    assert run(["keys", "invite", "--qr", *where]) == 2
    assert "securecall[qr]" in capsys.readouterr().err
