"""A chat without a screen: lines in and out for people and pipes, JSON lines for programs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from datetime import datetime

from securecall.chat.conversation import Recipient
from securecall.chat.message import Delivery, Message
from securecall.cli import failures
from securecall.cli.chat_face import Rows
from securecall.cli.chat_fields import device_fields, message_fields
from securecall.cli.chat_lines import (
    Entry,
    Part,
    day_words,
    device_rows,
    entry,
    harmless,
    size_words,
)
from securecall.cli.chat_session import Chat
from securecall.cli.lines import Lines
from securecall.cli.orders import Order
from securecall.cli.output import Output
from securecall.cli.terminal import Terminal
from securecall.errors import SecurecallError, UsageError

SETTLE_SECONDS = 30.0
_SHOWN_AT_FIRST = 10
_STYLES = {
    "dim": ("dim",), "good": ("green",), "bad": ("red",), "warn": ("yellow",), "seen": ("cyan",),
    "file": ("cyan",), "quote": ("dim",),
}  # fmt: skip


def local(unix: float) -> datetime:
    """Unix seconds as local time."""
    return datetime.fromtimestamp(unix).astimezone()


class PlainFace:
    """Lines on standard output, one for each message.

    Attributes:
        error: The first thing that failed, where nobody is there to read about it.
    """

    def __init__(self, chat: Chat, terminal: Terminal, *, person: bool, seen: bool) -> None:
        """Take the chat it shows.

        Args:
            chat: Which.
            terminal: Where to.
            person: Somebody types; otherwise a failure ends the chat.
            seen: Somebody reads; otherwise the other side is not told that a message was seen.
        """
        self._chat = chat
        self._terminal = terminal
        # in a pipe, standard output is for messages alone
        self._notes = terminal if person else Terminal(sys.stderr)
        self._person = person
        self._seen = seen
        self._day = ""
        self._standing = ""
        self.error: SecurecallError | None = None

    async def begin(self) -> None:
        """Say who it is with, and what was not read yet."""
        conversation = self._chat.conversation
        last = conversation.messages(count=max(_SHOWN_AT_FIRST, conversation.unread))
        if self._person:
            self._say(f"{conversation.address.short}: write lines; /help lists what else there is.")
        for message in last:
            if self._person or message.unread:
                self._show(message)
        if last and any(m.unread for m in last):
            await conversation.mark_read(last[-1], tell=self._seen)

    def arrived(self, message: Message) -> None:
        """Print it; it counts as seen where somebody reads."""
        if message.own:
            return
        self._show(message)
        marking = self._chat.conversation.mark_read(message, tell=self._seen)
        self._chat.begin(marking)

    def changed(self, message: Message | None) -> None:
        """Say what is worth a line: what failed, and what others changed."""
        if message is None or (message.own and message.delivery is not Delivery.FAILED):
            return
        self._show(message)

    def notice(self, rows: Rows) -> None:
        """Print them."""
        for row in rows:
            self._notes.say(self._painted(row))

    def found(self, messages: Sequence[Message]) -> None:
        """Print them, or that there are none."""
        for message in messages:
            self._show(message)
        if not messages:
            self._say("Nothing found.")

    def earlier(self, count: int) -> None:
        """Print the last so many."""
        for message in self._chat.conversation.messages(count=min(count, 1000)):
            self._show(message)

    def devices(self, recipients: Sequence[Recipient]) -> None:
        """Print them."""
        self.notice(tuple(device_rows(recipients)))

    def progress(self, what: str, done: int, of: int) -> None:
        """Draw a bar in the live line; a pipe sees nothing of it."""
        show_progress(self._terminal, what, done, of)

    def failed(self, error: SecurecallError) -> None:
        """Say it in two lines, or keep it to be raised."""
        if not self._person:
            self.error = self.error or error
            return
        self._say(failures.what_happened(error), "red")
        if not isinstance(error, UsageError):  # whose text says how it is written
            self._say(failures.what_to_do(error), "dim")

    def standing(self) -> None:
        """Say that they came or went, or that our connection did."""
        standing = self._chat.standing
        now = f"not connected: {standing.offline}" if standing.offline else standing.presence
        if now != self._standing and self._person:
            self._say(
                f"({self._chat.address.short}: {now})" if not standing.offline else f"({now})"
            )
        self._standing = now

    def _show(self, message: Message) -> None:
        day = day_words(local(message.sent), local(message.sent))
        if day != self._day and self._person:
            self._say(f"-- {day.removeprefix('Today, ')}")
        self._day = day
        answered = next(
            (
                m
                for m in reversed(self._chat.conversation.messages(before=message.number))
                if message.reply_to == m.id != "" and message.reply_by in (None, m.sender)
            ),
            None,
        )
        for line in self._lines(entry(message, local, answered=answered)):
            self._terminal.say(line)

    def _lines(self, shown: Entry) -> Sequence[str]:
        head = f"#{shown.number} {shown.clock} {shown.who}: "
        first, *more = shown.rows or ((Part(""),),)
        tick = f" {self._painted((shown.tick,))}" if shown.tick.text else ""
        # what stands below is indented, so that no message can pass for somebody else's
        return [
            self._terminal.paint(head, "bold") + self._painted(first) + ("" if more else tick),
            *(f"    {self._painted(row)}" for row in more[:-1]),
            *(f"    {self._painted(row)}{tick}" for row in more[-1:]),
        ]

    def _painted(self, row: Sequence[Part]) -> str:
        paint = self._terminal.paint
        return "".join(paint(harmless(p.text, lines=1), *_STYLES.get(p.style, ())) for p in row)

    def _say(self, text: str, *styles: str) -> None:
        self._notes.say(self._notes.paint(harmless(text, lines=1), *(styles or ("dim",))))


class JsonFace:
    """Every happening is one JSON object; fields are listed in docs/cli.md."""

    error: SecurecallError | None = None

    def __init__(self, chat: Chat, output: Output) -> None:
        """Take the chat it shows, and where to tell of it."""
        self._chat = chat
        self._output = output

    async def begin(self) -> None:
        """Tell that it takes orders from now on, and what was not read yet."""
        conversation = self._chat.conversation
        unread = conversation.unread
        self._output.tell("chat", conversation=str(conversation.address), unread=unread)
        for message in conversation.messages(count=unread) if unread else ():
            self.arrived(message)

    def arrived(self, message: Message) -> None:
        """Tell it; it is read once the program says so."""
        self._output.tell("message", **message_fields(message))

    def changed(self, message: Message | None) -> None:
        """Tell how it is now."""
        if message is not None:
            self._output.tell("changed", **message_fields(message))

    def notice(self, rows: Rows) -> None:
        """Tell the words."""
        self._output.tell("note", text="\n".join("".join(p.text for p in row) for row in rows))

    def found(self, messages: Sequence[Message]) -> None:
        """Tell them all in one."""
        self._output.tell("found", messages=[message_fields(m) for m in messages])

    def earlier(self, count: int) -> None:
        """The same for the last so many."""
        self.found(self._chat.conversation.messages(count=min(count, 1000)))

    def devices(self, recipients: Sequence[Recipient]) -> None:
        """Tell them."""
        self._output.tell("devices", devices=device_fields(recipients))

    def progress(self, what: str, done: int, of: int) -> None:
        """Tell how far it is."""
        self._output.tell("progress", what=what, done=done, of=of)

    def failed(self, error: SecurecallError) -> None:
        """Tell; the chat goes on."""
        self._output.tell("failed", **failures.fields(error))

    def standing(self) -> None:
        """Tell what is known of the other side."""
        standing = self._chat.standing
        self._output.tell(
            "standing",
            presence=standing.presence,
            status=standing.status,
            typing=standing.typing,
            offline=standing.offline,
            protection=self._chat.protection(local).text,
        )


def show_progress(terminal: Terminal, what: str, done: int, of: int) -> None:
    """Draw how far a file is in the live line, and take it away at the end."""
    if done >= of:
        terminal.clear()
        return
    filled = 20 * done // of
    bar = terminal.paint("█" * filled, "green") + terminal.paint("░" * (20 - filled), "dim")
    amount = f"{size_words(done)} of {size_words(of)}"
    terminal.show(f"{bar} {100 * done // of:3d}% {harmless(what, limit=30, lines=1)}, {amount}")


async def chat_in_lines(
    chat: Chat, face: PlainFace | JsonFace, lines: Lines, parse: Callable[[str], Order]
) -> None:
    """Do what each line says until there are no more, then wait until it is done.

    Raises:
        SecurecallError: something failed that nobody was there to read about.
        NetworkError: the server did not take everything in time.
    """
    following = asyncio.create_task(chat.follow())
    try:
        await face.begin()
        while not chat.over.is_set():
            line = await _next(lines, following)
            if line is None:
                break
            await _enter(chat, face, line, parse)
            if face.error is not None:
                raise face.error
        await chat.settle(SETTLE_SECONDS)
        if face.error is not None:
            raise face.error
    finally:
        _ = following.cancel()
        await chat.leave()


async def _next(lines: Lines, following: asyncio.Task[None]) -> str | None:
    reading = asyncio.create_task(lines.next())
    _ = await asyncio.wait({reading, following}, return_when=asyncio.FIRST_COMPLETED)
    if following.done():
        _ = reading.cancel()
        following.result()
    return await reading


async def _enter(
    chat: Chat, face: PlainFace | JsonFace, line: str, parse: Callable[[str], Order]
) -> None:
    try:
        order = parse(line)
    except UsageError as e:
        face.failed(e)
    else:
        await chat.enter(order)
