from __future__ import annotations

import json

import pytest

from securecall.cli.chat_fields import parse_json_order
from securecall.cli.orders import (
    FORMS,
    Order,
    complete,
    duration_words,
    parse_duration,
    parse_order,
)
from securecall.errors import UsageError


@pytest.mark.parametrize(
    ("line", "order"),
    [
        ("hello /there", Order("say", text="hello /there")),
        ("//etc is a folder", Order("say", text="/etc is a folder")),
        ("/reply 12 yes, I do", Order("reply", 12, "yes, I do")),
        ("/reply #12 yes", Order("reply", 12, "yes")),
        ("/REACT 3 👍 ❤️", Order("react", 3, "👍 ❤️")),
        ("/react 3", Order("react", 3)),
        ("/file ~/a b.pdf", Order("file", text="~/a b.pdf")),
        ("/save", Order("save")),
        ("/save 4 ~/Downloads", Order("save", 4, "~/Downloads")),
        ("/voice 30", Order("voice", 30)),
        ("/trust 2 verified", Order("trust", 2, "verified")),
        ("/ret 30d", Order("retention", text="30d")),
        ("/edit 12 apples", Order("edit", text="12 apples")),
        ("/quit", Order("quit")),
    ],
)
def test_a_line_is_words_or_an_order(line, order):
    assert parse_order(line) == order


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/fly", "no /fly"),
        ("/", "/help"),
        ("/re", "/help"),  # reply, react or retention
        ("/reply hello", "write: /reply N TEXT"),
        ("/reply 0 hello", "write: /reply N TEXT"),
        ("/edit", "write: /edit TEXT"),
        ("/quit now", "write: /quit"),
        ("/devices 3", "write: /devices"),
        ("/delete 99999999999999999999", "write: /delete N"),
    ],
)
def test_what_is_not_written_so_is_told_how(line, says):
    with pytest.raises(UsageError, match=says):
        parse_order(line)


@pytest.mark.parametrize(
    ("text", "seconds", "words"),
    [
        ("30d", 2_592_000, "30 days"),
        ("1D", 86_400, "1 day"),
        ("90s", 90, "90 seconds"),
        ("12 h", 43_200, "12 hours"),
        ("off", 0, "never"),
    ],
)
def test_times_are_read_and_said(text, seconds, words):
    assert parse_duration(text) == seconds
    assert duration_words(seconds) == words


@pytest.mark.parametrize("text", ["", "30", "d", "-3d", "0d", "999999w", "1d2h", "٣d"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UsageError):
        parse_duration(text)


def nothing(_begun):
    return ()


@pytest.mark.parametrize(
    ("line", "grown", "choices"),
    [
        ("hello", "hello", ()),
        ("/qu", "/quit ", ()),
        ("/re", "/re", ("/reply ", "/react ", "/retention ")),
        ("/d", "/d", ("/devices ", "/distrust ", "/delete ")),
        ("/de", "/de", ("/devices ", "/delete ")),
        ("/zz", "/zz", ()),
        ("/retention 3", "/retention 30d", ()),
        ("/trust 2 v", "/trust 2 verified", ()),
        ("//x", "//x", ()),
    ],
)
def test_orders_are_completed(line, grown, choices):
    assert complete(line, nothing) == (grown, choices)


def test_paths_are_completed_as_far_as_they_are_certain():
    names = ["~/report 1.pdf", "~/report 2.pdf"]
    assert complete("/file ~/rep", lambda begun: names if begun == "~/rep" else ()) == (
        "/file ~/report ",
        tuple(names),
    )
    assert complete("/file ~/x", lambda _: ["~/x y/"]) == ("/file ~/x y/", ())
    assert len(complete("/react 3 ", nothing)[1]) > 3


def test_json_takes_the_same_orders():
    assert parse_json_order('{"type": "say", "text": "/quit"}') == Order("say", text="/quit")
    assert parse_json_order('{"type": "reply", "number": 3, "text": "x"}') == Order("reply", 3, "x")
    assert parse_json_order('{"type": "read", "number": 3}') == Order("read", 3)


@pytest.mark.parametrize(
    "line",
    [
        "hello",
        "[]",
        "[" * 100_000,
        '{"type": "fly"}',
        '{"type": ["say"]}',
        '{"type": "say", "text": 3}',
        '{"type": "reply", "number": true, "text": "x"}',
        '{"type": "reply", "number": -1, "text": "x"}',
        '{"type": "reply", "text": "x"}',
        '{"type": "read"}',
        json.dumps({"type": "delete", "number": 1 << 60}),
    ],
)
def test_json_of_another_form_is_refused(line):
    with pytest.raises(UsageError):
        parse_json_order(line)


def test_every_order_can_be_written_and_fits_a_screen():
    for name, form in FORMS.items():
        assert len(f"   /{name} {form.usage}".ljust(25) + f" {form.does}") <= 80
