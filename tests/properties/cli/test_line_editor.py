"""A line and its keys, whatever is typed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from securecall.cli.keys import Key, KeyParser
from securecall.cli.line_editor import LineEditor, clusters

NAMES = [
    "left", "right", "home", "end", "word-left", "word-right", "backspace", "delete", "kill-word",
    "kill-word-right", "kill-start", "kill-end", "yank", "up", "down", "newline",
]  # fmt: skip
TEXTS = st.text(st.sampled_from("ab _,漢é\u0301👍🏽👨‍👩👧🇩🇪❤\ufe0f\n\x1b\x07\u202e"), max_size=12)
PRESSES = st.lists(
    st.sampled_from(NAMES).map(Key) | st.builds(Key, st.just("text"), TEXTS), max_size=30
)


def columns(row):
    return sum(map(cell_len, clusters(row)))


@given(PRESSES, st.integers(2, 12), st.integers(1, 4))
def test_every_row_fits_and_the_cursor_stays_inside(keys, width, height):
    editor = LineEditor()
    for key in keys:
        assert editor.press(key)
        view = editor.view(width, height, cell_len)
        assert 1 <= len(view.rows) <= height
        assert all(columns(row) <= width for row in view.rows)
        assert 0 <= view.row < len(view.rows)
        assert 0 <= view.column <= min(width, columns(view.rows[view.row]))
        assert "\x1b" not in editor.text
        assert "\u202e" not in editor.text
        assert editor.text.startswith(editor.left)


@given(TEXTS, TEXTS)
def test_typing_and_deleting_again_changes_nothing(text, more):
    editor = LineEditor()
    editor.press(Key("text", text))
    before = clusters(editor.text)
    editor.press(Key("text", more))
    while len(clusters(editor.text)) > len(before):
        editor.press(Key("backspace"))
    kept = clusters(editor.text)
    assert kept[:-1] == before[:-1]  # the last may have been joined by an accent


@given(TEXTS)
def test_clusters_are_the_text(text):
    assert "".join(clusters(text)) == text
    assert all(clusters(cluster) == [cluster] for cluster in clusters(text))


@given(st.lists(st.binary(max_size=12) | st.sampled_from([b"\x1b[", b"\x1b[200~", b"\x1b[201~"])))
def test_any_bytes_become_keys_that_hold_no_control_character_but_in_a_paste(pieces):
    whole, cut = KeyParser(), KeyParser()
    data = b"".join(pieces)
    keys = [key for piece in pieces for key in cut.feed(piece)]
    for key in keys:
        if key.name == "text":
            assert key.text
            assert all(c.isprintable() or c in "\u200c\u200d" for c in key.text)
    texts = "".join(key.text or f"<{key.name}>" for key in keys)
    assert texts == "".join(key.text or f"<{key.name}>" for key in whole.feed(data))
