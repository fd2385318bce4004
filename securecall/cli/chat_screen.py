"""A chat on the whole terminal: who and how safe above, messages, and the line to write in."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from securecall.chat.conversation import Recipient
from securecall.chat.message import Message
from securecall.cli import failures
from securecall.cli.chat_lines import (
    Day,
    Entry,
    Part,
    entry,
    harmless,
    lines,
    size_words,
    undecided_words,
)
from securecall.cli.chat_plain import local
from securecall.cli.chat_session import Chat, Rows, rows_of_devices
from securecall.cli.keyboard import Keyboard
from securecall.cli.keys import Key
from securecall.cli.line_editor import LineEditor, View
from securecall.cli.orders import Order, complete, parse_order
from securecall.errors import SecurecallError, UsageError

_STYLES: Final = {
    "dim": "bright_black", "good": "green", "bad": "bold red", "warn": "yellow", "seen": "cyan",
    "file": "cyan", "quote": "italic bright_black", "": "",
}  # fmt: skip
_PROMPT: Final = "> "
_MOST_INPUT_ROWS: Final = 5
_A_PAGE: Final = 60
_MOST_NOTICES: Final = 40
_NARROW: Final = 56  # columns; below that names stand above the text
_MOST_NAME: Final = 10
_SMALLEST: Final = (20, 6)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something said that is no message, in its place between them."""

    after: int
    rows: tuple[tuple[Part, ...], ...]


class ScreenFace:
    """What a chat looks like; drawn anew whenever something is different.

    Attributes:
        editor: The line being written.
    """

    def __init__(self, chat: Chat, *, colour: bool = True) -> None:
        """Take the chat it shows."""
        self.editor = LineEditor()
        self._chat = chat
        self._colour = colour
        self._loaded = _A_PAGE
        self._messages: tuple[Message, ...] = ()
        self._unread = 0
        self._protection = Part("")
        self._notices: list[Notice] = []
        self._back = 0  # rows scrolled up from the newest
        self._rows_shown, self._rows_in_all = 0, 0
        self._status: tuple[Part, ...] = ()
        self._progress: tuple[str, int, int] | None = None
        self._focused = True
        self._stale = True
        self._told_typing = False
        self._seen = 0  # number of the last message marked as read
        self.moved = asyncio.Event()

    # -- what happens -----------------------------------------------------------------------------

    def arrived(self, message: Message) -> None:
        """Show it; who reads further up stays there."""
        del message
        self._again(stale=True)

    def changed(self, message: Message | None) -> None:
        """Read the conversation again."""
        del message
        self._again(stale=True)

    def notice(self, rows: Rows) -> None:
        """Say it below the newest message."""
        self._load()
        newest = self._messages[-1].number if self._messages else 0
        kept = tuple(tuple(row) for row in rows)
        self._notices = [*self._notices, Notice(newest, kept)][-_MOST_NOTICES:]
        self._back = 0
        self._again()

    def found(self, messages: Sequence[Message]) -> None:
        """Show them as a notice."""
        rows = [
            (Part(f"#{e.number} {local(m.sent):%d %b} {e.clock} {e.who}: ", "dim"), *e.rows[0])
            for m in messages
            for e in (entry(m, local),)
            if e.rows
        ]
        self.notice(rows or ((Part("Nothing found.", "dim"),),))

    def earlier(self, count: int) -> None:
        """Load more and go up."""
        self._loaded += count
        self._again(stale=True)
        self._scroll(self._rows_shown)

    def devices(self, recipients: Sequence[Recipient]) -> None:
        """Show them as a notice."""
        self.notice(rows_of_devices(recipients))

    def progress(self, what: str, done: int, of: int) -> None:
        """Draw a bar; it goes away at the end."""
        self._progress = (what, done, of) if done < of else None
        self._again()

    def failed(self, error: SecurecallError) -> None:
        """Say it in two lines."""
        what, advice = failures.what_happened(error), failures.what_to_do(error)
        said = (Part(what, "bad"),)
        self.notice((said,) if isinstance(error, UsageError) else (said, (Part(advice, "dim"),)))

    def standing(self) -> None:
        """Draw the head again."""
        self._again(stale=True)

    def _again(self, *, stale: bool = False) -> None:
        self._stale |= stale
        self.moved.set()

    # -- keys -------------------------------------------------------------------------------------

    def press(self, key: Key) -> str | None:
        """Do what a key means; returns a line that was entered."""
        self._status = ()
        self.moved.set()
        if key.name == "enter":
            self._back = 0
            line = self.editor.take()
            self._told_typing = False
            return line
        act = _KEYS.get(key.name)
        if act is not None:
            act(self)
        elif self.editor.press(key):
            self._tell_typing()
        return None

    def _tell_typing(self) -> None:
        writing = bool(self.editor.text) and not self.editor.text.startswith("/")
        if writing != self._told_typing:
            self._told_typing = writing
            self._chat.begin(self._chat.conversation.typing(on=writing))

    def _cancel(self) -> None:
        if not self.editor.text:
            self._status = (Part("Ctrl-D or /quit leaves the chat", "dim"),)
        _ = self.editor.take()
        self._tell_typing()

    def _end_of_input(self) -> None:
        if self.editor.text:
            _ = self.editor.press(Key("delete"))
        else:
            self._chat.over.set()

    def _quit(self) -> None:
        self._chat.over.set()

    def _complete(self) -> None:
        left = self.editor.left
        grown, choices = complete(left, _paths)
        self.editor.set(grown, self.editor.text[len(left) :])
        if choices:
            self._status = (Part("  ".join(choices[:30]), "dim"),)

    def _page_up(self) -> None:
        self._scroll(max(1, self._rows_shown - 2))

    def _page_down(self) -> None:
        self._scroll(-max(1, self._rows_shown - 2))

    def _top(self) -> None:
        self._scroll(self._rows_in_all)

    def _bottom(self) -> None:
        self._back = 0

    def _scroll(self, rows: int) -> None:
        if rows > 0 and self._back + rows > self._rows_in_all - self._rows_shown:
            self._loaded += _A_PAGE
            self._stale = True
        self._back = max(0, self._back + rows)

    def _focus(self) -> None:
        self._focused = True

    def _blur(self) -> None:
        self._focused = False

    def _redraw(self) -> None:
        self._stale = True

    # -- how it looks -----------------------------------------------------------------------------

    def frame(self, width: int, height: int) -> tuple[list[str], int, int]:
        """Draw everything; returns the rows, and where the cursor is."""
        width, height = max(width, _SMALLEST[0]), max(height, _SMALLEST[1])
        self._load()
        roomy = height >= 12
        head = self._head(width)[: 3 if roomy else 1]
        written = self.editor.view(width - len(_PROMPT), _MOST_INPUT_ROWS if roomy else 1, cell_len)
        shown = height - len(head) - len(written.rows) - 1
        rows = self._log(width)
        self._rows_in_all, self._rows_shown = len(rows), shown
        self._back = min(self._back, max(0, len(rows) - shown))
        end = len(rows) - self._back
        log = rows[max(0, end - shown) : end]
        log += [""] * (shown - len(log))
        status = self._rendered(self._bottom_line(width), width)[:1]
        return (
            [*head, *log, *status, *self._written(written, width)],
            height - len(written.rows) + written.row,
            len(_PROMPT) + written.column,
        )

    def seen(self) -> Message | None:
        """The newest message that came before somebody's eyes since this was asked, if any."""
        if self._back or not self._focused:
            return None
        unread = [m for m in self._messages if m.unread and m.number > self._seen]
        if not unread:
            return None
        self._seen = unread[-1].number
        return unread[-1]

    def _load(self) -> None:
        if self._stale:
            before = len(self._messages)
            newest = self._messages[-1].number if self._messages else 0
            self._messages = self._chat.conversation.messages(count=self._loaded)
            fresh = sum(m.number > newest for m in self._messages)
            if self._back and fresh and before:  # stay where somebody reads
                self._loaded += fresh
            self._unread = self._chat.conversation.unread
            self._protection = self._chat.protection(local)
            self._stale = False

    def _log(self, width: int) -> list[str]:
        """Every row of messages and notices, oldest first."""
        notices = list(self._notices)
        rows: list[str] = []
        today = local(time.time())
        for line in lines(self._messages, local, today=today):
            if isinstance(line, Entry):
                while notices and notices[0].after < line.number:
                    rows += _drawn(notices.pop(0), width, self._colour)
            rows += _drawn(line, width, self._colour)
        for notice in notices:
            rows += _drawn(notice, width, self._colour)
        if not rows:
            hello = "Nothing was written here yet. Write a line; /help lists what else there is."
            rows += _drawn(Notice(0, ((Part(hello, "dim"),),)), width, self._colour)
        return rows

    def _head(self, width: int) -> list[str]:
        standing, address = self._chat.standing, self._chat.address
        left = Text(harmless(standing.name or address.short, limit=40, lines=1), "bold")
        if standing.name:
            left.append(f"  {harmless(address.short, limit=80, lines=1)}", "bright_black")
        right = Text(no_wrap=True)
        if standing.offline:
            right.append(f"not connected: {harmless(standing.offline, limit=40, lines=1)}", "red")
        elif standing.presence:
            here = standing.presence == "available"
            right.append("● " if here else "○ ", "green" if here else "yellow")
            words = " · ".join(filter(None, (standing.presence, standing.status)))
            right.append(harmless(words, limit=40, lines=1))
        safe = _text((self._protection,))
        count = _text((undecided_words(standing.recipients),))
        if self._unread:
            count.append(f"  {self._unread} unread", "bold cyan")
        rows = [*self._two(left, right, width), *self._two(safe, count, width)]
        return [*rows, *self._rendered(Rule(style="bright_black"), width)]

    def _two(self, left: Text, right: Text, width: int) -> list[str]:
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        grid.add_column(justify="right", no_wrap=True, overflow="ellipsis")
        grid.add_row(left, right)
        return self._rendered(Padding(grid, (0, 0, 0, 1)), width)[:1]

    def _bottom_line(self, width: int) -> RenderableType:
        """What is under way, or worth a hint: one line."""
        if self._progress is not None:
            what, done, of = self._progress
            grid = Table.grid(padding=(0, 1))
            amount = f"{size_words(done)} of {size_words(of)}"
            bar = ProgressBar(total=max(1, of), completed=done, width=max(8, width // 4))
            grid.add_row("", bar, Text(f"{harmless(what, limit=30, lines=1)}, {amount}"))
            return grid
        if self._status:
            return _text((Part(" "), *self._status))
        if self._back:
            return Text(f" ↓ {self._back} more rows below: Page Down, or Ctrl-End", "cyan")
        if self._chat.standing.typing:
            name = self._chat.standing.name or self._chat.address.user
            return Text(f" {harmless(name, limit=40, lines=1)} is writing …", "italic bright_black")
        return Rule(style="bright_black")

    def _written(self, view: View, width: int) -> list[str]:
        rows = []
        for place, row in enumerate(view.rows):
            head = Text(_PROMPT if place == 0 else "  ", "bold cyan")
            order = self.editor.text.startswith("/") and not self.editor.text.startswith("//")
            rows.append(head + Text(harmless(row, lines=1), "cyan" if order else ""))
        return [line for row in rows for line in self._rendered(row, width)[:1]]

    def _rendered(self, what: RenderableType, width: int) -> list[str]:
        return _render(what, width, self._colour)


_KEYS: Final[dict[str, Callable[[ScreenFace], None]]] = {
    "cancel": ScreenFace._cancel,  # noqa: SLF001 - the table of its own keys
    "eof": ScreenFace._end_of_input,  # noqa: SLF001
    "quit": ScreenFace._quit,  # noqa: SLF001
    "complete": ScreenFace._complete,  # noqa: SLF001
    "page-up": ScreenFace._page_up,  # noqa: SLF001
    "page-down": ScreenFace._page_down,  # noqa: SLF001
    "top": ScreenFace._top,  # noqa: SLF001
    "bottom": ScreenFace._bottom,  # noqa: SLF001
    "focus": ScreenFace._focus,  # noqa: SLF001
    "blur": ScreenFace._blur,  # noqa: SLF001
    "redraw": ScreenFace._redraw,  # noqa: SLF001
}


@lru_cache(maxsize=2048)
def _drawn(line: Day | Entry | Notice, width: int, colour: bool) -> list[str]:  # noqa: FBT001 - for the cache
    """A message, a day or a notice as rows of the terminal; most are the same as a moment ago."""
    if isinstance(line, Day):
        return _render(Rule(Text(line.text, "bright_black"), style="bright_black"), width, colour)
    if isinstance(line, Notice):
        body = Text("\n").join(_text(row) for row in line.rows)
        return _render(Padding(body, (0, 1, 0, 3)), width, colour)
    who = Text(line.who, "bold cyan" if line.own else "bold magenta", no_wrap=True)
    tick = Text(line.tick.text, _STYLES[line.tick.style], no_wrap=True)
    number = Text(f"#{line.number}", "bright_black", no_wrap=True)
    clock = Text(line.clock, "bright_black", no_wrap=True)
    body = Text("\n").join(_text(row) for row in line.rows)
    body.overflow = "fold"
    if width < _NARROW:
        head = Text(" ", no_wrap=True).join((who, clock, number, tick))
        return [*_render(head, width, colour), *_render(Padding(body, (0, 0, 0, 2)), width, colour)]
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=max(4, len(number.plain)), justify="right")
    grid.add_column(width=5)
    grid.add_column(width=_MOST_NAME, overflow="ellipsis")
    grid.add_column(ratio=1, overflow="fold")
    grid.add_column(width=3)
    grid.add_row(number, clock, who, body, tick)
    return _render(grid, width, colour)


def _render(what: RenderableType, width: int, colour: bool) -> list[str]:  # noqa: FBT001
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=True,
        color_system="standard" if colour else None,
        no_color=not colour,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
        _environ={},
    )
    with console.capture() as captured:
        console.print(what, soft_wrap=False)
    return captured.get().removesuffix("\n").split("\n")


def _text(row: Sequence[Part]) -> Text:
    """A row in its styles; the one door to the screen, so nothing passes it unchecked."""
    text = Text(overflow="fold")
    for part in row:
        text.append(harmless(part.text, lines=1), _STYLES[part.style])
    return text


def _paths(begun: str) -> Sequence[str]:
    """Files and folders whose path begins so."""
    typed = Path(begun).expanduser()
    folder = typed if begun.endswith("/") or not begun else typed.parent
    head = begun if begun.endswith("/") or not begun else begun[: begun.rfind("/") + 1]
    start = "" if begun.endswith("/") else begun[begun.rfind("/") + 1 :]
    try:
        found = sorted(p for p in folder.iterdir() if p.name.startswith(start))
        visible = [p for p in found if start.startswith(".") or not p.name.startswith(".")]
        return [f"{head}{p.name}{'/' if p.is_dir() else ''}" for p in visible[:200]]
    except OSError:
        return ()


async def chat_on_screen(chat: Chat, face: ScreenFace, keyboard: Keyboard) -> None:
    """Lead the chat until it is left; the terminal is given back as it was."""
    orders: asyncio.Queue[Order] = asyncio.Queue()
    async with keyboard:
        tasks = [
            asyncio.create_task(chat.follow()),
            asyncio.create_task(_draw(chat, face, keyboard)),
            asyncio.create_task(_type(face, keyboard, orders)),
            asyncio.create_task(_work(chat, orders)),
            asyncio.create_task(chat.over.wait()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                _ = task.result()
        finally:
            for task in tasks:
                _ = task.cancel()
            await chat.leave()


async def _draw(chat: Chat, face: ScreenFace, keyboard: Keyboard) -> None:
    while True:
        face.moved.clear()
        rows, row, column = face.frame(*keyboard.size)
        keyboard.draw(rows, row=row, column=column)
        read = face.seen()
        if read is not None:
            chat.begin(_mark(chat, face, read))
        _ = await face.moved.wait()


async def _mark(chat: Chat, face: ScreenFace, read: Message) -> None:
    await chat.conversation.mark_read(read)
    face.changed(None)


async def _type(face: ScreenFace, keyboard: Keyboard, orders: asyncio.Queue[Order]) -> None:
    while True:
        line = face.press(await keyboard.next())
        if line is None:
            continue
        try:
            orders.put_nowait(parse_order(line))
        except UsageError as e:
            face.failed(e)


async def _work(chat: Chat, orders: asyncio.Queue[Order]) -> None:
    """Do what was entered in its order, while more is typed."""
    while True:
        await chat.enter(await orders.get())
