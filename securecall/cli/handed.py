"""Texts that somebody handed over in a file: read no further than they can be long."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from securecall.errors import LocalError

MOST_TEXT: Final = 1 << 20
"""Bytes of a ticket, a code or a request; those there are take some tens of thousands."""


def read_text(path: str) -> str:
    """Read a text.

    Raises:
        LocalError: it cannot be read, is too long, or is none.
    """
    try:
        with Path(path).expanduser().open("rb") as file:
            data = file.read(MOST_TEXT + 1)
    except OSError as e:
        raise LocalError(f"cannot read {path}: {e.strerror}") from e
    if len(data) > MOST_TEXT:
        raise LocalError(f"{path} is too long for what belongs there")
    try:
        return data.decode("utf-8").strip()
    except UnicodeDecodeError as e:
        raise LocalError(f"{path} holds no text") from e
