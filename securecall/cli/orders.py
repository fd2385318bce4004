"""What somebody enters: words for the other side, or an order beginning with a slash."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from securecall.errors import UsageError

_UNITS: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"([0-9]{1,6})\s*([smhdw])", re.IGNORECASE | re.ASCII)
_MOST_SECONDS: Final = 10 * 366 * 86_400
_EMOJIS: Final = ("👍", "❤️", "😂", "😮", "😢", "🙏", "🎉", "👎")


@dataclass(frozen=True, slots=True)
class Order:
    """One entered line, understood.

    Attributes:
        name: Without the slash; "say" for plain words.
        number: Of a message or a device, 0 where none was given.
        text: The rest.
    """

    name: str
    number: int = 0
    text: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Form:
    """How an order is written.

    Attributes:
        usage: Behind its name.
        does: In a few words.
        number: "must", "may" or "": whether a number comes first.
        text: The same of the rest.
    """

    usage: str
    does: str
    number: str = ""
    text: str = ""


FORMS: Final[Mapping[str, Form]] = {
    "help": Form("", "show this"),
    "file": Form("PATH", "send a file, encrypted", text="must"),
    "voice": Form("[SECONDS]", "record and send a voice message, at most that long", number="may"),
    "save": Form("[N] [FOLDER]", "save the file of message N, or the last one", "may", "may"),
    "reply": Form("N TEXT", "answer message N", "must", "must"),
    "edit": Form("TEXT", "put this in the place of your last message", text="must"),
    "react": Form("N EMOJI", "react to message N; without an emoji take it back", "must", "may"),
    "search": Form("WORDS", "find messages here", text="must"),
    "devices": Form("", "list the devices messages are encrypted for"),
    "trust": Form("N [verified]", "trust device N; say so if you compared its key", "must", "may"),
    "distrust": Form("N", "send nothing to device N any more", "must"),
    "verify": Form("[same]", "show the safety number; once compared: /verify same", text="may"),
    "contact": Form("", "see each other come and go: ask for it, or say yes"),
    "retention": Form("TIME", "delete messages here after 30d, 12h, …; or: off", text="may"),
    "delete": Form("N", "delete message N on this device", "must"),
    "history": Form("[N]", "show earlier messages", "may"),
    "quit": Form("", "leave"),
}  # fmt: skip


def parse_order(line: str, forms: Mapping[str, Form] = FORMS) -> Order:
    """Understand an entered line; `//` at its beginning stands for a slash that is meant.

    Raises:
        UsageError: no such order, or it is not written so; says how it is.
    """
    if not line.startswith("/"):
        return Order("say", text=line)
    if line.startswith("//"):
        return Order("say", text=line[1:])
    name, _, rest = line[1:].partition(" ")
    name = name.strip().lower()
    form = forms.get(name)
    if form is None:
        near = [each for each in forms if name and each.startswith(name)]
        if len(near) != 1:
            raise UsageError(f"there is no /{name[:20]}; /help lists what there is")
        name, form = near[0], forms[near[0]]
    return _require(name, form, *_number(rest.strip(), form))


def require_form(name: str, number: int, text: str) -> Order:
    """An order with what it needs and no more.

    Raises:
        UsageError: it is not written so.
    """
    return _require(name, FORMS[name], number, text)


def _require(name: str, form: Form, number: int, text: str) -> Order:
    wrong = (
        (form.number == "must" and number < 1)
        or (not form.number and number)
        or (form.text == "must" and not text)
        or (not form.text and text)
    )
    if wrong:
        raise UsageError(f"write: /{name} {form.usage}".rstrip())
    return Order(name, number, text)


def _number(rest: str, form: Form) -> tuple[int, str]:
    first, _, more = rest.partition(" ")
    digits = first.removeprefix("#")
    if form.number and digits.isascii() and digits.isdecimal() and len(digits) < 16:
        return int(digits), more.strip()
    return 0, rest


def parse_duration(text: str) -> int:
    """Read `30d`, `12h`, `off` as seconds, 0 for never.

    Raises:
        UsageError: it is no such time.
    """
    if text.lower() in ("off", "never", "0"):
        return 0
    found = _DURATION.fullmatch(text.strip())
    seconds = int(found[1]) * _UNITS[found[2].lower()] if found else 0
    if not 0 < seconds <= _MOST_SECONDS:
        raise UsageError(f"{text[:20]!r} is no time; write 90s, 45m, 12h, 30d or 4w")
    return seconds


def duration_words(seconds: int) -> str:
    """A time in words, in the largest unit that fits."""
    for unit, name in ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds and seconds % unit == 0:
            count = seconds // unit
            return f"{count} {name}{'' if count == 1 else 's'}"
    return "never"


def complete(line: str, paths: Callable[[str], Sequence[str]]) -> tuple[str, tuple[str, ...]]:
    """Complete what was typed.

    Args:
        line: Left of the cursor.
        paths: Names of files that begin so, folders with a slash at their end.

    Returns:
        The line as far as it is certain, and what it could become if that is more than one.
    """
    if not line.startswith("/") or line.startswith("//"):
        return line, ()
    name, space, rest = line[1:].partition(" ")
    if not space:
        found = [f"/{each} " for each in FORMS if each.startswith(name)]
        return _grown(line, found, found)
    head = f"/{name} "
    if name == "file":
        names = list(paths(rest))
        return _grown(line, [head + each for each in names], names)
    choices: tuple[str, ...] = ()
    if name == "retention":
        choices = ("off", "1d", "7d", "30d")
    elif name == "verify":
        choices = ("same",)
    elif name == "react" and " " in rest:
        number, _, rest = rest.partition(" ")
        head, choices = f"{head}{number} ", _EMOJIS
    elif name == "trust" and " " in rest:
        number, _, rest = rest.partition(" ")
        head, choices = f"{head}{number} ", ("verified",)
    names = [each for each in choices if each.startswith(rest)]
    return _grown(line, [head + each for each in names], names)


def _grown(line: str, found: Sequence[str], names: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    if not found:
        return line, ()
    if len(found) == 1:
        return found[0], ()
    common = found[0]
    for each in found[1:]:
        while not each.startswith(common):
            common = common[:-1]
    return (common if len(common) > len(line) else line), tuple(names)
