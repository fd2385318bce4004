"""What a terminal sends while keys are pressed, as names of keys; text and pastes come as text."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from typing import Final

_ESCAPE: Final = "\x1b"
_PASTE, _PASTED = "\x1b[200~", "\x1b[201~"
_SEQUENCE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[@-~]|[^\x1b\[O])", re.DOTALL)
_BEGUN: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)?")
_LONGEST: Final = 32  # of a sequence; what goes on longer is none
_MOST_PASTED: Final = 1 << 20  # characters; the rest of a paste is dropped

_CONTROLS: Final = {
    "\r": "enter", "\n": "newline", "\t": "complete", "\x7f": "backspace", "\x08": "backspace",
    "\x01": "home", "\x05": "end", "\x02": "left", "\x06": "right", "\x10": "up", "\x0e": "down",
    "\x03": "cancel", "\x04": "eof", "\x0b": "kill-end", "\x15": "kill-start", "\x17": "kill-word",
    "\x0c": "redraw", "\x19": "yank",
}  # fmt: skip
_SEQUENCES: Final = {
    "[A": "up", "[B": "down", "[C": "right", "[D": "left", "[H": "home", "[F": "end",
    "OA": "up", "OB": "down", "OC": "right", "OD": "left", "OH": "home", "OF": "end", "OM": "enter",
    "[1~": "home", "[7~": "home", "[4~": "end", "[8~": "end", "[3~": "delete",
    "[5~": "page-up", "[6~": "page-down", "[I": "focus", "[O": "blur",
    "[1;5C": "word-right", "[1;5D": "word-left", "[1;3C": "word-right", "[1;3D": "word-left",
    "[5C": "word-right", "[5D": "word-left", "Oc": "word-right", "Od": "word-left",
    "[3;5~": "kill-word-right", "[1;5H": "top", "[1;5F": "bottom",
    "b": "word-left", "f": "word-right", "d": "kill-word-right", "\x7f": "kill-word",
    "\x08": "kill-word", "\r": "newline", "\n": "newline",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Key:
    """One key, or text: `name` is "text" for what was typed, "paste" for what was pasted."""

    name: str
    text: str = field(default="", repr=False)


class KeyParser:
    """Turns bytes of a terminal into keys, however they are cut."""

    def __init__(self) -> None:
        """Begin with nothing half read."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._waiting = ""
        self._pasting: str | None = None

    @property
    def undecided(self) -> bool:
        """Whether an Escape waits for what may follow; without that it was the key."""
        return self._pasting is None and self._waiting.startswith(_ESCAPE)

    def feed(self, data: bytes) -> list[Key]:
        """Take what was read; returns the keys that are whole."""
        self._waiting += self._decoder.decode(data)
        keys: list[Key] = []
        while self._waiting and self._step(keys):
            pass
        return keys

    def settle(self) -> list[Key]:
        """Nothing more follows soon: what looked like the beginning of a sequence was none."""
        if not self.undecided:
            return []
        rest, self._waiting = self._waiting[1:], ""
        return [Key("escape"), *([Key("text", rest)] if rest.isprintable() and rest else [])]

    def _step(self, keys: list[Key]) -> bool:
        """Take one key from what waits; False if it is not whole."""
        if self._pasting is not None:
            return self._paste(keys)
        if self._waiting[0] == _ESCAPE:
            return self._sequence(keys)
        end = 0
        while end < len(self._waiting) and self._waiting[end].isprintable():
            end += 1
        if end or _joins(self._waiting[0]):
            while end < len(self._waiting) and (
                self._waiting[end].isprintable() or _joins(self._waiting[end])
            ):
                end += 1
            keys.append(Key("text", self._waiting[:end]))
            self._waiting = self._waiting[end:]
            return True
        name = _CONTROLS.get(self._waiting[0])
        if name is not None:
            keys.append(Key(name))
        self._waiting = self._waiting[1:]
        return True

    def _sequence(self, keys: list[Key]) -> bool:
        if self._waiting.startswith(_PASTE):
            self._waiting = self._waiting[len(_PASTE) :]
            self._pasting = ""
            return True
        found = _SEQUENCE.match(self._waiting)
        if found is not None:
            typed = found[0][1:]
            name = _SEQUENCES.get(typed)
            if name is not None:
                keys.append(Key(name))
            elif len(typed) == 1 and typed.isprintable():  # Escape, then a letter, too fast to tell
                keys.append(Key("text", typed))
            self._waiting = self._waiting[found.end() :]
            return True
        begun = _BEGUN.match(self._waiting)
        end = begun.end() if begun else 1
        if end == len(self._waiting) and end < _LONGEST:
            return False
        self._waiting = self._waiting[end:]
        return True

    def _paste(self, keys: list[Key]) -> bool:
        pasted = self._pasting or ""
        inside, ended, rest = self._waiting.partition(_PASTED)
        if not ended:
            kept = _held_back(inside)  # which may be the beginning of the end
            inside, rest = inside[: len(inside) - kept], inside[len(inside) - kept :]
        pasted = (pasted + inside)[:_MOST_PASTED]
        self._waiting = rest
        if not ended:
            self._pasting = pasted
            return False
        self._pasting = None
        keys.append(Key("paste", pasted.replace("\r\n", "\n").replace("\r", "\n")))
        return True


def _held_back(text: str) -> int:
    return next((n for n in range(len(_PASTED) - 1, 0, -1) if text.endswith(_PASTED[:n])), 0)


def _joins(character: str) -> bool:
    """Whether this holds the characters of an emoji, or of a word, together."""
    return character in "\u200c\u200d"
