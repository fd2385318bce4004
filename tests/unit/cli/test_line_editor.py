from __future__ import annotations

import pytest
from rich.cells import cell_len

from securecall.cli.keys import Key, KeyParser
from securecall.cli.line_editor import LineEditor, View, clusters

FAMILY, FLAG, THUMB, HEART = "👨‍👩‍👧", "🇩🇪", "👍🏽", "❤️"


def typed(*keys, text=""):
    editor = LineEditor()
    for key in (text, *keys):
        editor.press(Key(key) if key in NAMES else Key("text", key))
    return editor


NAMES = {
    "left", "right", "home", "end", "word-left", "word-right", "backspace", "delete", "kill-word",
    "kill-word-right", "kill-start", "kill-end", "yank", "up", "down", "newline",
}  # fmt: skip


@pytest.mark.parametrize("one", [FAMILY, FLAG, THUMB, HEART, "é", "क्", "漢", "a"])
def test_what_people_see_as_one_character_is_deleted_by_one_key(one):
    assert clusters(f"x{one}y") == ["x", one, "y"]
    assert typed("left", "backspace", text=f"x{one}y").text == "xy"
    assert typed("home", "right", "delete", text=f"x{one}y").text == "xy"


def test_an_emoji_typed_in_parts_becomes_one():
    assert typed(*FAMILY, "backspace").text == ""
    assert typed("🇩", "🇪", "🇫", "🇷", "backspace").text == FLAG
    assert typed("e", "\u0301", "backspace").text == ""


def test_what_is_joined_to_be_wider_than_a_row_is_drawn_as_one_cell():
    editor = typed(text="a" + "\u200d".join("👍" * 6) + "b")
    assert editor.view(10, 2, len) == View(("a…b",), 0, 3)
    assert editor.text.count("👍") == 6


@pytest.mark.parametrize(
    ("keys", "left", "right"),
    [
        (["word-left"], "one two_2, ", "three"),
        (["word-left"] * 2, "one ", "two_2, three"),
        (["home", "word-right"], "one", " two_2, three"),
        (["home", "word-right", "word-right"], "one two_2", ", three"),
        (["kill-word"], "one two_2, ", ""),
        (["kill-word", "yank", "yank"], "one two_2, threethree", ""),
        (["word-left", "kill-start"], "", "three"),
        (["home", "right", "kill-end"], "o", ""),
        (["home", "kill-word-right"], "", " two_2, three"),
        (["left"] * 100, "", "one two_2, three"),
        (["right"] * 9, "one two_2, three", ""),
    ],
)
def test_words_and_lines_are_jumped_over_and_deleted(keys, left, right):
    editor = typed(*keys, text="one two_2, three")
    assert (editor.left, editor.text) == (left, left + right)


def test_what_was_entered_comes_back_and_the_draft_stays():
    editor = LineEditor()
    for text in ("first", "second", "second", " "):
        editor.press(Key("text", text))
        assert editor.take() == text
    editor.press(Key("text", "draft"))
    seen = []
    for key in ("up", "up", "up", "down", "down", "down"):
        editor.press(Key(key))
        seen.append(editor.text)
    assert seen == ["second", "first", "first", "second", "draft", "draft"]


def test_a_paste_brings_its_lines_and_no_control_character():
    editor = LineEditor()
    editor.press(Key("paste", "a\tb\nc\x1b[2J\x07\u202ed"))
    assert editor.text == "a    b\nc[2Jd"


@pytest.mark.parametrize(
    ("text", "width", "height", "view"),
    [
        ("", 4, 2, View(("",), 0, 0)),
        ("abc", 4, 2, View(("abc",), 0, 3)),
        ("abcd", 4, 2, View(("abcd", ""), 1, 0)),
        ("abcdefgh", 4, 2, View(("efgh", ""), 1, 0)),
        ("漢字漢", 5, 2, View(("漢字", "漢"), 1, 2)),
        (f"a{FAMILY}{FLAG}", 3, 2, View((f"a{FAMILY}", FLAG), 1, 2)),
        ("a\nb", 9, 3, View(("a", "b"), 1, 1)),
        ("a\nb\nc", 9, 2, View(("b", "c"), 1, 1)),
    ],
)
def test_the_view_counts_cells(text, width, height, view):
    assert typed(text=text).view(width, height, cell_len) == view if text else True
    editor = LineEditor()
    editor.set(text)
    assert editor.view(width, height, cell_len) == view


def test_of_a_long_text_the_rows_around_the_cursor_are_shown():
    editor = typed("home", text="abcdefghijkl")
    assert editor.view(4, 2, cell_len) == View(("abcd", "efgh"), 0, 0)


# -- keys -----------------------------------------------------------------------------------------


def names(data: bytes) -> list[str]:
    parser = KeyParser()
    return [key.text if key.name == "text" else key.name for key in parser.feed(data)]


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"abc", ["abc"]),
        ("é漢👍".encode(), ["é漢👍"]),
        (FAMILY.encode(), [FAMILY]),
        (b"a\r", ["a", "enter"]),
        (b"\x1b[A\x1bOB\x1b[C\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1b[1~\x1b[F\x1b[3~", ["home", "end", "delete"]),
        (b"\x1b[1;5C\x1bb\x17\x1b\x7f", ["word-right", "word-left", "kill-word", "kill-word"]),
        (b"\x1b[5~\x1b[6~\t\x03\x04", ["page-up", "page-down", "complete", "cancel", "eof"]),
        (b"\x1b[I\x1b[O\x1b\r", ["focus", "blur", "newline"]),
        (b"\x1b[99;99Zx\x00\x1cy", ["x", "y"]),
        (b"\xff\xfea", ["\ufffd\ufffda"]),
        (b"\x1b[<0;1;1Mz", ["z"]),
        (b"\x1b/q", ["/", "q"]),
    ],
)
def test_bytes_become_keys_wherever_they_are_cut(data, keys):
    assert names(data) == keys
    parser = KeyParser()
    found = [key for n in range(len(data)) for key in parser.feed(data[n : n + 1])]
    joined = "".join(f"<{key.name}>" if key.name != "text" else key.text for key in found)
    assert joined == "".join(k if k not in SPECIAL else f"<{k}>" for k in keys)


SPECIAL = {
    "enter", "up", "down", "right", "left", "home", "end", "delete", "word-right", "word-left",
    "kill-word", "page-up", "page-down", "complete", "cancel", "eof", "focus", "blur", "newline",
}  # fmt: skip


def test_a_paste_is_one_key_whatever_it_holds():
    parser = KeyParser()
    data = b"\x1b[200~one\r\ntwo\x1b[A\x1b[201~!"
    expected = [Key("paste", "one\ntwo\x1b[A"), Key("text", "!")]
    assert parser.feed(data) == expected
    assert [k for n in range(len(data)) for k in parser.feed(data[n : n + 1])] == expected


def test_an_escape_alone_is_a_key_once_nothing_follows():
    parser = KeyParser()
    assert parser.feed(b"\x1b") == []
    assert parser.undecided
    assert parser.settle() == [Key("escape")]
    assert parser.settle() == []
    assert names(b"\x1b\x1b[A") == ["up"]
