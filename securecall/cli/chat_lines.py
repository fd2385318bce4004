"""A conversation as lines for a screen: days, messages, their ticks, and what goes with them."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from securecall.address import Address
from securecall.chat.message import Delivery, DeviceTrust, Message, Protection, SharedFile
from securecall.xmpp.presence import Presence, Show

if TYPE_CHECKING:
    from securecall.chat.conversation import Recipient

When = Callable[[float], datetime]
"""Unix seconds as local time."""

TICKS: Final[Mapping[Delivery, str]] = {
    Delivery.PENDING: "…",
    Delivery.SENT: "✓",
    Delivery.DELIVERED: "✓✓",
    Delivery.DISPLAYED: "✓✓",  # in another style
    Delivery.FAILED: "✗",
}
_TICK_STYLES: Final[Mapping[Delivery, str]] = {
    Delivery.DISPLAYED: "seen",
    Delivery.FAILED: "bad",
}
_MOST_MARKS: Final = 4  # accents on one letter
_MOST_QUOTED: Final = 40
_MOST_REACTIONS: Final = 12
_MOST_ROWS: Final = 200  # of one message on a screen; what is longer was meant to push others off
_JOINER, _NO_JOINER = "\u200d", "\u200c"
_JOINERS: Final = (_JOINER, _NO_JOINER)


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of text in one style: "", "dim", "good", "bad", "warn", "seen", "file", "quote"."""

    text: str = field(repr=False)
    style: str = ""


@dataclass(frozen=True, slots=True)
class Day:
    """A line between two days."""

    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One message.

    Attributes:
        number: To name it in an order.
        clock: When.
        who: A short name.
        own: Ours.
        rows: What stands below each other.
        tick: How far it got, "" for other people's.
    """

    number: int
    clock: str
    who: str
    own: bool
    rows: tuple[tuple[Part, ...], ...]
    tick: Part


Line = Day | Entry


def lines(messages: Sequence[Message], when: When, *, today: datetime) -> Iterator[Line]:
    """The messages with a line before each day; replies quote what is among them."""
    by_id: dict[str, Message] = {}  # of what stood before: later ones can take a name again
    by_writer: dict[tuple[Address | None, str], Message] = {}
    day = None
    for message in messages:
        sent = when(message.sent)
        if sent.date() != day:
            day = sent.date()
            yield Day(day_words(sent, today))
        named = message.reply_by, message.reply_to
        answered = by_writer.get(named) if message.reply_by else by_id.get(message.reply_to)
        yield entry(message, when, answered=answered)
        if message.id:
            by_id[message.id] = by_writer[message.sender, message.id] = message


def day_words(day: datetime, today: datetime) -> str:
    """A day as people say it."""
    past = (today.date() - day.date()).days
    name = f"{day:%A} {day.day} {day:%B} {day.year}"
    return {0: f"Today, {name}", 1: f"Yesterday, {name}"}.get(past, name)


def entry(message: Message, when: When, *, answered: Message | None = None) -> Entry:
    """One message as it is shown.

    Args:
        message: Which.
        when: For its time.
        answered: What it is a reply to, if that is known.
    """
    return Entry(
        number=message.number,
        clock=f"{when(message.sent):%H:%M}",
        who=_who(message),
        own=message.own,
        rows=_bounded(tuple(_rows(message, answered))),
        tick=_tick(message),
    )


def _bounded(rows: tuple[tuple[Part, ...], ...]) -> tuple[tuple[Part, ...], ...]:
    left_out = len(rows) - _MOST_ROWS
    if left_out <= 0:
        return rows
    return (*rows[:_MOST_ROWS], (Part(f"… and {left_out} more lines", "dim"),))


def _who(message: Message) -> str:
    """Who wrote it; in a room the whole address, for two people there may share its first part."""
    if message.own:
        return "you"
    if message.sender != message.conversation:
        return harmless(message.sender.short, limit=80, lines=1)
    return name_of(message.sender)


def name_of(address: Address) -> str:
    """The part of an address that people say."""
    return harmless(address.user or address.host, limit=24, lines=1) or "?"


def _rows(message: Message, answered: Message | None) -> Iterator[tuple[Part, ...]]:
    if message.reply_to:
        yield (Part(_quote(answered), "quote"),)
    if message.unreadable:
        why = harmless(message.unreadable, limit=200, lines=1)
        yield (Part(f"A message that could not be read: {why}", "bad"),)
    if message.file is not None:
        yield (Part(file_words(message.file), "file"), Part(f"  /save {message.number}", "dim"))
    text = harmless(message.text)
    *rows, last = text.split("\n")
    for row in rows:
        yield (Part(row),)
    marks = tuple(_marks(message))
    if last or (marks and text):
        yield (Part(last), *marks)
    elif marks:
        yield marks
    if message.reactions:
        yield (Part(_reactions(message), "dim"),)
    if message.delivery is Delivery.FAILED:
        yield (Part("not delivered; nobody but you has it", "bad"),)


def _marks(message: Message) -> Iterator[Part]:
    """What has to be said about a message beside its text."""
    if message.edited:
        yield Part(" (edited)", "dim")
    if message.unreadable:
        return
    if message.protection is Protection.NONE:
        yield Part(" (not encrypted)", "bad")
    # of our own, too: our server can list a device among ours, and have it write in our name
    elif message.trust is DeviceTrust.UNDECIDED:
        whose = "a device of yours" if message.own else "a device"
        yield Part(f" (from {whose} you have not decided about)", "warn")
    elif message.trust is DeviceTrust.DISTRUSTED:
        yield Part(" (from a device you distrust)", "bad")


def _tick(message: Message) -> Part:
    if not message.own:
        return Part("")
    return Part(TICKS[message.delivery], _TICK_STYLES.get(message.delivery, "dim"))


def _quote(answered: Message | None) -> str:
    if answered is None:
        return "↩ an earlier message"
    text = harmless(answered.text, limit=_MOST_QUOTED, lines=1)
    if not text and answered.file is not None:
        text = file_words(answered.file)
    return f"↩ #{answered.number} {text}"


def _reactions(message: Message) -> str:
    given: dict[str, list[str]] = {}
    for sender, emojis in message.reactions.items():
        own = sender != message.conversation and (not message.own or sender == message.sender)
        for emoji in sorted(emojis):
            given.setdefault(emoji, []).append("you" if own else name_of(sender))
    shown = list(given.items())[:_MOST_REACTIONS]
    return "  ".join(
        f"{harmless(emoji, limit=12, lines=1)} {', '.join(who)}" for emoji, who in shown
    )


def file_words(file: SharedFile) -> str:
    """What a file is, in a few words."""
    if file.seconds:
        return f"▶ voice message, {clock_words(file.seconds)}"
    name = harmless(file.name, limit=60, lines=1) or "a file without a name"
    return f"⎘ {name}" + (f", {size_words(file.size)}" if file.size is not None else "")


def clock_words(seconds: float) -> str:
    """Minutes and seconds."""
    whole = max(0, min(round(seconds), 359_999))
    return f"{whole // 60}:{whole % 60:02d}"


def size_words(size: int) -> str:
    """Bytes as people say them."""
    amount = float(size)
    units = ["bytes", "kB", "MB", "GB"]
    while amount >= 1000 and len(units) > 1:
        amount /= 1000
        del units[0]
    exact = units[0] == "bytes" or amount >= 10
    return f"{amount:.0f} {units[0]}" if exact else f"{amount:.1f} {units[0]}"


def harmless(text: str, *, limit: int = 65_536, lines: int = 0) -> str:
    """Text of somebody else that cannot act on a terminal, or pass for something it is not.

    Control characters become "?", what turns the direction of writing or is not seen at all
    goes away, and no letter carries a tower of accents.

    Args:
        text: As it came.
        limit: Characters kept.
        lines: 1 makes one line of it.
    """
    kept: list[str] = []
    marks = 0
    cut = len(text) > limit
    text = text[: limit - 1] if cut else text
    for character in text.replace("\r\n", "\n").replace("\t", "  "):
        category = unicodedata.category(character)
        marks = marks + 1 if category[0] == "M" else 0
        if character in "\n\r\x0b\x0c\x85\u2028\u2029":
            kept.append(" " if lines == 1 else "\n")
        elif category in ("Cc", "Cs", "Co", "Cn"):
            kept.append("?")
        elif character in _JOINERS:
            kept.append(character)
        elif category == "Cf" or marks > _MOST_MARKS:
            continue
        else:
            kept.append(character)
    return "".join(_without_stray_joiners(kept)) + ("…" if cut else "")


def _without_stray_joiners(text: list[str]) -> Iterator[str]:
    """Leave joiners between two pictures alone; elsewhere terminals disagree on their width."""
    for place, character in enumerate(text):
        if character != _JOINER or (
            0 < place < len(text) - 1
            and _is_picture(text[place - 1])
            and _is_picture(text[place + 1])
        ):
            yield character


def _is_picture(character: str) -> bool:
    return unicodedata.category(character) in ("So", "Sk") or character == "\ufe0f"


# -- the other side -------------------------------------------------------------------------------


def protection_words(
    recipients: Sequence[Recipient],
    *,
    verified: bool,
    since: datetime | None,
    plain: bool,
    first: bool = False,
) -> Part:
    """How what is written here is encrypted and how well the other side is known, plainly.

    Args:
        recipients: The devices of the other side.
        verified: The person's own key was compared.
        since: Since when the person's key is the same, None where it is not known.
        plain: It was opened for plaintext.
        first: We never wrote to them.
    """
    if plain:
        return Part("NOT encrypted: every server on the way can read this", "bad")
    reached = [r for r in recipients if r.trust in (DeviceTrust.TRUSTED, DeviceTrust.VERIFIED)]
    if not reached:
        if first and recipients:
            return Part("end-to-end encrypted; their devices are trusted when you write", "warn")
        if undecided_words(recipients).text:
            return Part("nothing can be sent before you decide about their devices", "warn")
        return Part("end-to-end encrypted; their keys were not fetched yet", "dim")
    if verified or all(r.trust is DeviceTrust.VERIFIED for r in reached):
        return Part("end-to-end encrypted, verified", "good")
    if since is not None:
        day = f"{since.day} {since:%b} {since.year}"
        return Part(f"end-to-end encrypted, not verified (same key since {day})", "warn")
    return Part("end-to-end encrypted, not verified: /verify", "warn")


def undecided_words(recipients: Sequence[Recipient]) -> Part:
    """That devices wait for a decision, "" where none does."""
    count = sum(r.trust is DeviceTrust.UNDECIDED for r in recipients)
    words = "1 new device" if count == 1 else f"{count} new devices"
    return Part(words if count else "", "warn")


_PRESENCE_WORDS: Final[Mapping[Show, str]] = {
    Show.AVAILABLE: "available",
    Show.CHAT: "free to chat",
    Show.AWAY: "away",
    Show.EXTENDED_AWAY: "away for long",
    Show.DO_NOT_DISTURB: "do not disturb",
}


def presence_words(presence: Presence | None) -> str:
    """Where somebody is."""
    return _PRESENCE_WORDS[presence.show] if presence is not None else "offline"


_TRUST_WORDS: Final[Mapping[DeviceTrust, Part]] = {
    DeviceTrust.UNDECIDED: Part("new, receives nothing", "warn"),
    DeviceTrust.TRUSTED: Part("trusted, not compared", ""),
    DeviceTrust.VERIFIED: Part("verified", "good"),
    DeviceTrust.DISTRUSTED: Part("distrusted, receives nothing", "bad"),
}


def device_rows(recipients: Sequence[Recipient]) -> Iterator[tuple[Part, ...]]:
    """The devices with their fingerprints, and what to type about those that wait."""
    if not recipients:
        yield (Part("Their server lists no device that can read encrypted messages.", "warn"),)
    for place, each in enumerate(recipients, start=1):
        trust = _TRUST_WORDS[each.trust]
        yield (Part(f"{place}. "), Part(f"{harmless(each.address.short, limit=60)}: "), trust)
        for row in fingerprint_rows(each.fingerprint):
            yield (Part(f"   {row}", "dim"),)
        if each.trust is DeviceTrust.UNDECIDED:
            yield (
                Part(
                    f"   is it theirs? /trust {place}    compared? /trust {place} verified", "dim"
                ),
            )


def fingerprint_rows(fingerprint: str) -> Iterator[str]:
    """A fingerprint in groups of eight digits, four of them in a row: to be read aloud."""
    digits = "".join(fingerprint.split())
    groups = [digits[n : n + 8] for n in range(0, len(digits), 8)]
    for row in range(0, len(groups), 4):
        yield " ".join(groups[row : row + 4])


def new_device_rows(place: int, device: Recipient) -> Iterator[tuple[Part, ...]]:
    """A notice that somebody has a new device."""
    yield (Part(f"{harmless(device.address.short, limit=60)} has a new device.", "warn"),)
    yield from list(device_rows([device]))[1:-1]
    yield (Part(f"It gets nothing before you decide. Ask them, another way, then: /trust {place}"),)
