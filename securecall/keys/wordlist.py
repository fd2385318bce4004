"""The 2048 English words of BIP-39, told apart by their first four letters.

The list is loaded when first used.
"""

from __future__ import annotations

import functools
import hashlib
from importlib import resources
from typing import Final

from securecall.errors import LocalError

_SHA256: Final = "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"


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
