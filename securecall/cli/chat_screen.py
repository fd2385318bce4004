"""A chat on the whole terminal: who and how safe above, messages, and the line to write in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from securecall.chat.conversation import Recipient
from securecall.chat.message import Message
from securecall.cli import failures
from securecall.cli.chat_face import Rows
from securecall.cli.chat_lines import Entry, Part, device_rows, entry, lines
from securecall.cli.chat_paint import PROMPT, Notice, Painter, cells
from securecall.cli.chat_plain import local
from securecall.cli.chat_session import Chat
from securecall.cli.keyboard import Keyboard
from securecall.cli.keys import Key
from securecall.cli.line_editor import LineEditor
from securecall.cli.orders import Order, complete, parse_order
from securecall.errors import SecurecallError, UsageError

_MOST_INPUT_ROWS: Final = 5
_A_PAGE: Final = 60
_MOST_NOTICES: Final = 40
_SMALLEST: Final = (20, 6)


class ScreenFace:
    """What a chat looks like; drawn anew whenever something is different.

    Attributes:
        editor: The line being written.
    """

    def __init__(self, chat: Chat, *, colour: bool = True) -> None:
        """Take the chat it shows."""
        self.editor = LineEditor()
        self._chat = chat
        self._painter = Painter(colour=colour)
        self._loaded = _A_PAGE
        self._messages: tuple[Message, ...] = ()
        self._unread = 0
        self._protection = Part("")
        self._notices: list[Notice] = []
        self._back = 0  # rows scrolled up from the newest
        self._rows_shown, self._rows_in_all = 0, 0
        self._status = Part("")
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
        self.notice(tuple(device_rows(recipients)))

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
        self._status = Part("")
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
            self._status = Part("Ctrl-D or /quit leaves the chat", "dim")
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
            self._status = Part("  ".join(choices[:30]), "dim")

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
        head = self._painter.head(self._chat, self._protection, self._unread, width)
        head = head[: 3 if roomy else 1]
        written = self.editor.view(width - len(PROMPT), _MOST_INPUT_ROWS if roomy else 1, cells)
        shown = height - len(head) - len(written.rows) - 1
        rows = self._log(width)
        self._rows_in_all, self._rows_shown = len(rows), shown
        self._back = min(self._back, max(0, len(rows) - shown))
        end = len(rows) - self._back
        log = rows[max(0, end - shown) : end]
        log += [""] * (shown - len(log))
        status = self._painter.status(self._under_way(), width)
        return (
            [*head, *log, *status, *self._painter.written(written, self.editor.text, width)],
            height - len(written.rows) + written.row,
            len(PROMPT) + written.column,
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
                    rows += self._painter.line(notices.pop(0), width)
            rows += self._painter.line(line, width)
        for notice in notices:
            rows += self._painter.line(notice, width)
        if not rows:
            hello = "Nothing was written here yet. Write a line; /help lists what else there is."
            rows += self._painter.line(Notice(0, ((Part(hello, "dim"),),)), width)
        return rows

    def _under_way(self) -> Part | tuple[str, int, int]:
        """What is worth a hint just now, or the file that is under way."""
        if self._progress is not None:
            return self._progress
        if self._status.text:
            return self._status
        if self._back:
            return Part(f"↓ {self._back} more rows below: Page Down, or Ctrl-End", "seen")
        if self._chat.standing.typing:
            name = self._chat.standing.name or self._chat.address.user
            return Part(f"{name} is writing …", "quote")
        return Part("")


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
