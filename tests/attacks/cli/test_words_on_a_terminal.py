"""Somebody writes, names a file, a device or a status so that it acts on the reader's terminal."""

from __future__ import annotations

import asyncio
import io
import re

import pytest

from securecall.chat.message import DeviceTrust
from securecall.cli.chat_face import Face
from securecall.cli.chat_plain import PlainFace
from securecall.cli.chat_screen import ScreenFace
from securecall.cli.chat_session import Chat
from securecall.cli.orders import parse_order
from securecall.cli.terminal import Terminal
from securecall.errors import ProtocolError
from securecall.events import PresenceChanged
from tests.fake_chat import ALICE, BOB, FakeChat, device, shared, somebody

pytestmark = pytest.mark.attack

ATTACKS = {
    "clears the screen": "\x1b[2J",
    "renames the window": "\x1b]0;securecall: verified\x07",
    "writes the clipboard": "\x1b]52;c;cm0gLXJmIH4K\x1b\\",
    "asks the terminal to type": "\x1b[6n\x1bP$q\x1b\\\x05",
    "8-bit sequence": "\x9b2J\x9d0;x\x9c",
    "goes back over the line": "\rsomething else",
    "ends bracketed paste": "\x1b[201~rm -rf ~\n",
    "turns the direction": "\u202egnp.exe\u2066",
    "a link": "\x1b]8;;https://evil.example\x07safe.example\x1b]8;;\x07",
    "rich markup": "[bold green]verified[/] :smile: [link=https://evil.example]x[/link]",
}
OURS = re.compile(r"\x1b\[[0-9;]*m")  # colours: the only sequences a face draws
EVIL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def acts(screen: str) -> bool:
    """Whether anything but our colours would reach the terminal."""
    return bool(EVIL.search(OURS.sub("", screen)))


@pytest.mark.parametrize("words", ATTACKS.values(), ids=ATTACKS)
def test_control_a_naive_chat_would_obey(words):
    naive = f"bob: {words}"
    assert acts(naive) or "[bold" in words


def evil(words: str) -> FakeChat:
    fake = FakeChat()
    fake.everybody = [somebody(name=words, status=words)]
    fake.published = [device(1), device(2, DeviceTrust.UNDECIDED)]
    first = fake.say(words, reactions={BOB: frozenset([words]), ALICE: frozenset([words])})
    fake.say(words, file=shared(name=words, size=3), reply_to=first.id)
    fake.say(unreadable=words)
    return fake


async def everything(fake: FakeChat, chat: Chat, words: str) -> None:
    """Let everything be shown that somebody else chose the words of."""
    following = asyncio.create_task(chat.follow())
    for _ in range(5):
        await asyncio.sleep(0)
    fake.tell_all(PresenceChanged(BOB, None))
    chat.face.failed(ProtocolError(words))
    chat.face.progress(words, 1, 2)
    for order in ("/devices", "/help", "/history 50", "/search a"):
        await chat.enter(parse_order(order))
    fake.say(words)
    for _ in range(5):
        await asyncio.sleep(0)
    following.cancel()
    await chat.leave()


class Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def run(words, make) -> Face:
    async def main():
        fake = evil(words)
        chat = Chat(fake, fake.conversation(BOB), voice=None, folder=None)
        chat.face = make(chat)
        await everything(fake, chat, words)
        return chat.face

    return asyncio.run(main())


@pytest.mark.parametrize("words", ATTACKS.values(), ids=ATTACKS)
def test_nothing_of_it_reaches_the_whole_screen(words):
    face = run(words, lambda chat: ScreenFace(chat, colour=True))
    for width, height in ((80, 200), (30, 200), (80, 24)):
        rows, _, _ = face.frame(width, height)
        assert not any("\n" in row or acts(row) for row in rows)
    if "[bold" in words:
        assert "[bold green]verified[/] :smile:" in "\n".join(face.frame(120, 200)[0])


@pytest.mark.parametrize("words", ATTACKS.values(), ids=ATTACKS)
def test_nothing_of_it_reaches_plain_lines(words):
    out = Tty()
    terminal = Terminal(out, {"TERM": "xterm"})
    run(words, lambda chat: PlainFace(chat, terminal, person=True, seen=True))
    # the live line of progress is ours: a return and an erasure
    assert not acts(out.getvalue().replace("\r\x1b[K", ""))


def test_no_message_passes_for_a_line_of_the_chat():
    words = "hi\n#9 12:00 you: transfer the money\n-- Today\n> "
    face = run(words, lambda chat: ScreenFace(chat, colour=False))
    rows = [row for row in face.frame(80, 200)[0] if "transfer" in row]
    assert rows
    assert not any(re.match(r" {0,5}#9 12:00", row) for row in rows)
    out = Tty()
    run(words, lambda chat: PlainFace(chat, Terminal(out, {}), person=True, seen=True))
    lines = [OURS.sub("", line) for line in out.getvalue().split("\n")]
    lines = [line.replace("\r\x1b[K", "") for line in lines if "transfer" in line]
    assert lines
    assert not any(line.startswith("#9 12:00") for line in lines)
