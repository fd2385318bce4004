"""The recovery phrase: a 32-byte root seed as 24 English words, of which the last holds a checksum.

BIP-39 for 256 bits of entropy, without its passphrase and its stretching: the words *are* the seed.
What is read or written here is a secret; no error says any word of it.
"""

from __future__ import annotations

import difflib
import hashlib
from typing import Final

from securecall.errors import PhraseInvalid, UsageError
from securecall.keys.wordlist import words
from securecall.secret import Secret

WORDS: Final = 24
SEED_SIZE: Final = 32
_BITS: Final = 11  # of one word
_UNIQUE: Final = 4  # letters that tell any two words apart
_MOST: Final = 1024  # characters of a phrase that are looked at


def build_phrase(seed: Secret) -> Secret:
    """Return the 24 words of a seed, joined by single spaces.

    Raises:
        UsageError: the seed is not 32 bytes.
    """
    data = seed.reveal()
    if len(data) != SEED_SIZE:
        raise UsageError("a recovery phrase is made of 32 bytes")
    x = int.from_bytes(data + _checksum(data), "big")
    listed = words()
    numbers = (x >> _BITS * (WORDS - 1 - place) & 2047 for place in range(WORDS))
    return Secret(" ".join(listed[number] for number in numbers))


def parse_phrase(text: Secret) -> Secret:
    """Return the 32-byte seed of 24 words.

    Case and white space do not matter; the first four letters of a word are enough.

    Raises:
        PhraseInvalid: words are missing or unknown, or do not belong together.
    """
    raw = text.reveal()
    if len(raw) > _MOST:
        raise PhraseInvalid(f"a recovery phrase has {WORDS} words")
    found = raw.decode("utf-8", "replace").split()
    unknown = tuple(place for place, word in enumerate(found, start=1) if _number(word) is None)
    if unknown:
        places = ", ".join(map(str, unknown[:WORDS]))
        raise PhraseInvalid(
            f"not a word of the list: number {places}; look at its first four letters",
            places=unknown,
        )
    if len(found) != WORDS:
        raise PhraseInvalid(f"a recovery phrase has {WORDS} words, not {len(found)}")
    x = 0
    for word in found:
        x = x << _BITS | (_number(word) or 0)
    data = x.to_bytes(SEED_SIZE + 1, "big")
    if data[SEED_SIZE:] != _checksum(data[:SEED_SIZE]):
        raise PhraseInvalid(
            "every word is on the list, but they do not belong together: a word was replaced by "
            "another one, or two stand in the wrong order"
        )
    return Secret(data[:SEED_SIZE])


def require_word(text: Secret, place: int, typed: str) -> None:
    """Refuse what a person typed for the word at a place (1 to 24) of a phrase.

    Raises:
        PhraseInvalid: it is another word.
    """
    expected = text.reveal().decode("ascii").split()[place - 1]
    if _number(typed) != words().index(expected):
        raise PhraseInvalid(f"word number {place} is another one", places=(place,))


def similar_words(typed: str) -> tuple[str, ...]:
    """Return words of the list that look like what was typed; for the person who typed it alone."""
    return tuple(difflib.get_close_matches(typed.lower(), words(), n=3))


def _number(word: str) -> int | None:
    """The place of a word, or of the one that its first four letters stand for."""
    typed, listed = word.lower(), words()
    if typed in listed:
        return listed.index(typed)
    if len(typed) == _UNIQUE:
        found = [number for number, known in enumerate(listed) if known.startswith(typed)]
        if len(found) == 1:
            return found[0]
    return None


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:1]  # one bit for each 32 of the entropy
