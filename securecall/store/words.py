"""What search goes by: the words of a text, folded so that case and accents make no difference."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from securecall.chat.message import Message

_ASCII_WORD: Final = re.compile(r"[a-z0-9]+")
# Scripts that put no space between words: there, each character is a word.
_UNSPACED: Final = (
    range(0x0E00, 0x1000),  # Thai, Lao, Tibetan
    range(0x1000, 0x10A0),  # Myanmar
    range(0x1780, 0x1800),  # Khmer
    range(0x3040, 0x3100),  # Kana
    range(0x3400, 0xA000),  # Han
    range(0xF900, 0xFB00),
    range(0x20000, 0x40000),
)


class _Folding(dict[int, str]):
    """What `str.translate` makes of each character, worked out when it is first met."""

    def __missing__(self, point: int) -> str:
        self[point] = folded = _fold(chr(point))
        return folded


_FOLDING: Final = _Folding()


def words(text: str) -> list[str]:
    """Return the words of a text in their order, without case, accents or punctuation."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    # Folding case can bring accents out, and taking them apart can bring capitals out.
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return apart.translate(_FOLDING).split()


def words_of(message: Message) -> list[str]:
    """Return every word a message can be found by, once each: of its text, and its file's name."""
    found = words(message.text)
    if message.file is not None:
        found += words(message.file.name)
    return list(dict.fromkeys(found))


def holds(message: Message, wanted: list[str]) -> bool:
    """Whether each of the wanted words begins a word of the message."""
    there = words_of(message)
    return all(any(word.startswith(begin) for word in there) for begin in wanted)


def _fold(character: str) -> str:
    if unicodedata.combining(character):
        return ""
    if any(ord(character) in script for script in _UNSPACED):
        return f" {character} " if unicodedata.category(character)[0] in "LMN" else " "
    kind = unicodedata.category(character)
    if kind == "So":  # emojis are looked for, too
        return f" {character} "
    return character if kind[0] in "LMN" else " "
