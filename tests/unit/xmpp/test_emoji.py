"""A reaction is one emoji, and nothing that can carry a text."""

from __future__ import annotations

import pytest

from securecall.errors import ProtocolError
from securecall.xmpp.emoji import parse_emoji

EMOJIS = [
    "👋",
    "❤️",
    "👍🏽",
    "👩‍👩‍👧‍👦",
    "🏳️‍🌈",
    "🇩🇪",
    "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "1️⃣",
    "#️⃣",
    "©️",
    "‼️",
    "↔️",
    "☺",
    "™",
    "〰️",
    " 🐢\n",
]
NONE = [
    "",
    " ",
    "a",
    "1",
    "ok",
    "👍 good",
    "\u200d",
    "\ufe0f",
    "$",
    "+",
    "<3",
    "\u202e👍",
    "👍" * 17,
    "é",
    "👍👍",
    "🇩🇪🇫",
    "🏽",
    "1\u20e32",
]


@pytest.mark.parametrize("text", EMOJIS)
def test_an_emoji_is_one(text):
    assert parse_emoji(text) == text.strip()


@pytest.mark.parametrize("text", NONE)
def test_what_is_none_is_refused(text):
    with pytest.raises(ProtocolError):
        parse_emoji(text)
