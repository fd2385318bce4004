"""Recovery words on a terminal: shown on a screen that leaves nothing behind, and asked back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TextIO

from securecall.errors import PhraseInvalid, UsageError
from securecall.keys.phrase import WORDS, parse_phrase, require_word, similar_words
from securecall.keys.wordlist import words
from securecall.secret import Secret

_ENTER: Final = "\x1b[?1049h\x1b[2J\x1b[H"  # the other screen, which has no memory
_LEAVE: Final = "\x1b[2J\x1b[?1049l"
_CLEAR: Final = "\x1b[2J\x1b[H"
_COLUMNS: Final = 4
_TRIES: Final = 5  # for one word


class PhraseScreen:
    """Shows words, and reads them; what was on the terminal before comes back at the end."""

    def __init__(self, out: TextIO, ask: Callable[[str], str]) -> None:
        """Write to `out`; `ask` reads a line there."""
        self._out = out
        self._ask = ask

    def show(self, phrase: Secret) -> None:
        """Show the words, then ask each of them back.

        Raises:
            UsageError: a word was wrong five times, or there were no more answers.
        """
        try:
            self._say(_ENTER)
            self._say("These 24 words are your identity. Write them on paper, in this order.\n")
            self._say("Whoever reads them can be you; who loses every device needs them.\n\n")
            listed = phrase.reveal().decode("ascii").split()
            rows = WORDS // _COLUMNS
            for row in range(rows):
                line = (f"{place + 1:2d} {listed[place]:12s}" for place in range(row, WORDS, rows))
                self._say("   ".join(line).rstrip() + "\n")
            _ = self._answer("\nPress Enter when they are on paper. They are asked back then. ")
            self._say(_CLEAR)
            for place in range(1, WORDS + 1):
                self._ask_back(phrase, place)
        finally:
            self._say(_LEAVE)

    def read(self) -> Secret:
        """Read 24 words, each looked at as it is typed.

        Raises:
            PhraseInvalid: they do not belong together.
            UsageError: a word was none of the list five times, or there were no more answers.
        """
        typed: list[str] = []
        try:
            self._say(_ENTER)
            self._say("Type your 24 recovery words; their first four letters are enough.\n\n")
            typed += [self._read_word(place) for place in range(1, WORDS + 1)]
        finally:
            self._say(_LEAVE)
        phrase = Secret(" ".join(typed))
        _ = parse_phrase(phrase)  # says what is wrong with all of them together
        return phrase

    def _ask_back(self, phrase: Secret, place: int) -> None:
        for _ in range(_TRIES):
            try:
                require_word(phrase, place, self._answer(f"Word {place:2d} of {WORDS}: "))
            except PhraseInvalid:
                self._say("That is another word than the one on the screen. Look at your paper.\n")
            else:
                return
        raise UsageError("the words on paper are not those of your key: begin again")

    def _read_word(self, place: int) -> str:
        for _ in range(_TRIES):
            typed = self._answer(f"Word {place:2d} of {WORDS}: ").lower()
            known = [w for w in words() if w == typed or (len(typed) == 4 and w.startswith(typed))]
            if typed in known or len(known) == 1:
                return typed
            alike = similar_words(typed)
            self._say(f"Not on the list. {'Like it: ' + ', '.join(alike) if alike else ''}\n")
        raise UsageError("this word is not on the list; look at its first four letters")

    def _answer(self, question: str) -> str:
        try:
            return self._ask(question).strip()
        except EOFError as e:
            raise UsageError("there is nobody to ask") from e

    def _say(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
