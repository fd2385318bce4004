"""The 2048 English words of BIP-39, and 32-byte seeds spelled with them.

Words are told apart by their first four letters. The list is loaded when first used.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from importlib import resources
from typing import Final

from securecall.errors import LocalError, ProtocolError, UsageError
from securecall.secret import Secret

SEED_WORDS: Final = 24
_SEED_SIZE: Final = 32
_SHA256: Final = "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"
_RULE: Final = "BIP-39"


@functools.cache
def words() -> tuple[str, ...]:
    """Return the 2048 words in their order.

    Raises:
        LocalError: the file is missing or altered: another list would show other words than the
            peer's.
    """
    try:
        data = resources.files(__package__).joinpath("bip39_english.txt").read_bytes()
    except OSError as e:
        raise LocalError("the word list is missing from this installation") from e
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise LocalError("the word list of this installation was altered")
    return tuple(data.decode("ascii").split())


@functools.cache
def _numbers() -> dict[str, int]:
    return {word: number for number, word in enumerate(words())}


def build_seed_words(seed: Secret) -> Secret:
    """Spell a 32-byte seed as 24 words, separated by spaces, to be written on paper.

    Raises:
        UsageError: the seed is not 32 bytes.
    """
    if len(seed) != _SEED_SIZE:
        raise UsageError("only seeds of 32 bytes are spelled as words")
    data = seed.reveal()
    bits = int.from_bytes(data + hashlib.sha256(data).digest()[:1], "big")
    listed = words()
    return Secret(
        " ".join(listed[bits >> 11 * place & 2047] for place in reversed(range(SEED_WORDS)))
    )


def parse_seed_words(text: Secret) -> Secret:
    """Read a seed back from its 24 words; case and white space do not matter.

    Raises:
        ProtocolError: not 24 words of the list, or their checksum is wrong. The message names the
            place of a wrong word, never a word.
    """
    try:
        spoken = text.reveal().decode("utf-8").lower().split()
    except UnicodeDecodeError:
        # No cause attached: it would carry the bytes.
        raise ProtocolError("the words are not text", rule=_RULE) from None
    if len(spoken) != SEED_WORDS:
        raise ProtocolError(f"{len(spoken)} words instead of {SEED_WORDS}", rule=_RULE)
    numbers = _numbers()
    bits = 0
    for place, word in enumerate(spoken, start=1):
        number = numbers.get(word)
        if number is None:
            raise ProtocolError(f"word {place} is not in the list", rule=_RULE)
        bits = bits << 11 | number
    data = (bits >> 8).to_bytes(_SEED_SIZE, "big")
    if not hmac.compare_digest(hashlib.sha256(data).digest()[:1], bytes([bits & 0xFF])):
        raise ProtocolError("the words do not belong together", rule=_RULE)
    return Secret(data)
