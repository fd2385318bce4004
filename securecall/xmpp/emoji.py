"""What may stand as a reaction: emojis of Unicode TR 51, one at a time."""

from __future__ import annotations

import unicodedata
from typing import Final

from securecall.errors import ProtocolError

MOST_REACTIONS: Final = 32  # different emojis of one person for one message
_MOST_CODE_POINTS: Final = 16  # the longest in use, a flag of a subdivision, has 14
_SYMBOLS: Final = frozenset({"So", "Sk", "Sm"})  # pictures, skin tones, arrows
_OLD: Final = frozenset("‼⁉〰")  # emojis that are punctuation otherwise
_JOINER: Final = "\u200d"
_JOINED: Final = frozenset(f"{_JOINER}\ufe0e\ufe0f\u20e3")  # and presentation, and keycap
_REGIONS: Final = range(0x1F1E6, 0x1F200)
_SKIN: Final = range(0x1F3FB, 0x1F400)
_KEYS: Final = frozenset("0123456789#*")
_TAGS: Final = range(0xE0020, 0xE0080)


def parse_emoji(text: str) -> str:
    """Read one reaction; letters, words and invisible characters are none.

    Raises:
        ProtocolError: it cannot be displayed as one emoji.
    """
    emoji = text.strip()
    if not emoji or len(emoji) > _MOST_CODE_POINTS or _pictures(emoji) != 1:
        raise ProtocolError("a reaction is one emoji", rule="XEP-0444 5")
    return emoji


def _pictures(emoji: str) -> float:
    """How many stand side by side: joined ones and skin tones count no further, letters infinite.

    A flag is two indicators of a region, half a picture each.
    """
    pictures = 0.0
    keycap = emoji[-1] == "\u20e3"
    for before, character in zip(f" {emoji}", emoji, strict=False):
        if character in _JOINED or ord(character) in _TAGS:
            continue
        if not (_is_picture(character) or (keycap and character in _KEYS)):
            return float("inf")
        if ord(character) in _REGIONS:
            pictures += 0.5
        elif before != _JOINER and ord(character) not in _SKIN:
            pictures += 1
    return pictures


def _is_picture(character: str) -> bool:
    # nothing of Latin-1 but the two signs: the rest of its symbols is text
    if ord(character) < 0x100:
        return character in "©®"
    return character in _OLD or unicodedata.category(character) in _SYMBOLS
