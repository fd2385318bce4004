"""A file's name as somebody else chose it, made fit to be shown; never a path."""

from __future__ import annotations

import unicodedata
from typing import Final

MOST: Final = 120
"""Characters of a name that are shown."""

_MOST_BYTES: Final = 200  # file systems take 255, and a browser of files may add to it
_KEPT_SUFFIX: Final = 16
_NAMELESS: Final = "file"
# Cs, Co, Cn are no characters; Cf holds the marks that turn the direction of text around
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_FORBIDDEN: Final = frozenset('<>:"/\\|?*')
# Windows takes these for devices, whatever follows the first dot.
_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$", "clock$"}
    | {f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"}
)


def shown_name(name: str) -> str:
    """Return a name that is safe to show, and to propose to a person who saves the file.

    Only what follows the last separator is taken; invisible characters and those that reverse the
    direction of text are left out ("exe" at the end must look like the end), as is whatever a file
    system gives a meaning. The same name may come twice: whoever saves must not overwrite.
    """
    last = name[-4 * MOST :].replace("\\", "/").rpartition("/")[2]
    composed = unicodedata.normalize("NFC", last)
    kept = (
        " " if unicodedata.category(c) == "Zs" else "_" if c in _FORBIDDEN else c
        for c in composed
        if unicodedata.category(c) not in _HIDDEN
    )
    text = " ".join("".join(kept).split()).lstrip(".~- ").rstrip(". ")
    text = _shortened(text)
    if not text.strip("._ "):
        return _NAMELESS
    if text.partition(".")[0].rstrip().casefold() in _DEVICES:
        return f"_{text}"
    return text


def _shortened(text: str) -> str:
    """Cut the middle out, so that what kind of file it is stays in sight."""
    if len(text) <= MOST and len(text.encode()) <= _MOST_BYTES:
        return text
    stem, dot, suffix = text.rpartition(".")
    if not dot or len(suffix) > _KEPT_SUFFIX:
        stem, dot, suffix = text, "", ""
    end = dot + suffix
    stem = stem[: MOST - len(end)]
    while len((stem + end).encode()) > _MOST_BYTES:
        stem = stem[:-1]
    return (stem.rstrip(". ") + end).rstrip(". ")
