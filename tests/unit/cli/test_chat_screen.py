"""The chat on the whole terminal: frames without a terminal, and the loop on a false one."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys

import pytest
from rich.cells import cell_len

from securecall.chat.message import Activity, Delivery, DeviceTrust, Typing
from securecall.cli.chat_screen import ScreenFace, chat_on_screen
from securecall.cli.chat_session import Chat
from securecall.cli.keys import Key
from securecall.cli.line_editor import clusters
from securecall.events import NewDevice, TypingChanged
from tests.fake_chat import BOB, FakeChat, device, shared

STYLE = re.compile(r"\x1b\[[0-9;]*m")
SIZES = [(80, 24), (132, 50), (44, 16), (24, 8), (20, 6), (3, 2)]


async def no_voice(seconds, stop, folder):
    raise AssertionError


def opened(fake, tmp_path, voice=no_voice):
    chat = Chat(fake, fake.conversation(BOB), voice=voice, folder=tmp_path)
    face = chat.face = ScreenFace(chat, colour=False)
    return chat, face


def seen(face, width=80, height=24):
    rows, _, _ = face.frame(width, height)
    return [STYLE.sub("", row).rstrip() for row in rows]


def typed(face, text):
    for character in text:
        face.press(Key("text", character))


@pytest.fixture
def fake():
    fake = FakeChat()
    fake.say("Hello Alice! 漢字", unread=False)
    fake.say(file=shared(name="写真.png", size=2_345_678), unread=False)
    fake.say(
        "family 👨‍👩‍👧 flag 🇩🇪 ❤️ " + "word " * 60, unread=False, reactions={BOB: frozenset("🎉")}
    )
    return fake


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_frame_fills_the_terminal_and_no_more(fake, tmp_path, width, height):
    _, face = opened(fake, tmp_path)
    face.editor.set("漢字👍🏽" * 20)
    rows, row, column = face.frame(width, height)
    assert len(rows) == max(height, 6)
    assert 0 <= row < len(rows)
    assert 0 <= column <= max(width, 20)
    for shown in rows:
        assert sum(map(cell_len, clusters(STYLE.sub("", shown)))) <= max(width, 20)


def test_the_frame_says_who_how_safe_and_what(fake, tmp_path):
    async def main():
        chat, face = opened(fake, tmp_path)
        following = asyncio.create_task(chat.follow())
        for _ in range(5):
            await asyncio.sleep(0)
        following.cancel()
        rows = seen(face)
        assert re.fullmatch(r" Bob  bob@clinic.example +● available", rows[0])
        assert rows[1] == " end-to-end encrypted, not verified: /verify"
        text = "\n".join(rows)
        assert "Tuesday 25 November 2025" in text
        assert re.search(r"#1 \d\d:\d\d bob +Hello Alice! 漢字", text)
        assert "⎘ 写真.png, 2.3 MB  /save 2" in text
        assert "🎉 bob" in text
        assert rows[-1] == ">"

    asyncio.run(main())


def test_ticks_follow_the_message(fake, tmp_path):
    async def main():
        _, face = opened(fake, tmp_path)
        fake.pending = True
        message = await fake.conversation(BOB).send("on its way")
        for delivery, tick in (("pending", "…"), ("sent", "✓"), ("delivered", "✓✓")):
            face.changed(fake.change(message, delivery=Delivery(delivery)))
            (row,) = (row for row in seen(face) if "on its way" in row)
            assert row.endswith(f" {tick}")

    asyncio.run(main())


def test_who_reads_further_up_stays_there_and_is_told(fake, tmp_path):
    for n in range(100):
        fake.say(f"number {n}", unread=False)
    _, face = opened(fake, tmp_path)
    seen(face)
    face.press(Key("page-up"))
    before = seen(face)
    assert "more rows below" in before[-2]
    face.arrived(fake.say("new"))
    assert face.seen() is None
    face.press(Key("page-down"))
    face.press(Key("page-down"))
    assert any(row.endswith(" new") for row in seen(face))
    assert face.seen().text == "new"
    assert face.seen() is None  # once
    for _ in range(10):
        face.press(Key("page-up"))
        seen(face)
    assert "Hello Alice" in "\n".join(seen(face))


def test_nothing_counts_as_seen_while_the_window_is_not_looked_at(fake, tmp_path):
    _, face = opened(fake, tmp_path)
    face.press(Key("blur"))
    face.arrived(fake.say("new"))
    seen(face)
    assert face.seen() is None
    face.press(Key("focus"))
    assert face.seen().text == "new"


def test_the_other_side_sees_us_write_but_not_give_orders(fake, tmp_path):
    async def main():
        chat, face = opened(fake, tmp_path)
        typed(face, "/help")
        face.press(Key("cancel"))
        typed(face, "hi")
        face.press(Key("cancel"))
        typed(face, "ho")
        assert face.press(Key("enter")) == "ho"
        await chat.settle(5)
        writing = [s.activity for s in fake.told if isinstance(s, Typing)]
        assert writing == [Activity.COMPOSING, Activity.PAUSED, Activity.COMPOSING]

    asyncio.run(main())


def test_tab_completes_orders_and_paths(fake, tmp_path):
    (tmp_path / "report one.pdf").touch()
    (tmp_path / "report two.pdf").touch()
    _, face = opened(fake, tmp_path)
    typed(face, "/re")
    face.press(Key("complete"))
    assert "/reply   /react" in seen(face)[-2]
    face.press(Key("cancel"))
    typed(face, "/fi")
    face.press(Key("complete"))
    typed(face, f"{tmp_path}/rep")
    face.press(Key("complete"))
    assert face.editor.text == f"/file {tmp_path}/report "
    typed(face, "t")
    face.press(Key("complete"))
    assert face.editor.text == f"/file {tmp_path}/report two.pdf"


def test_a_file_under_way_has_a_bar(fake, tmp_path):
    _, face = opened(fake, tmp_path)
    face.progress("写真.png", 500_000, 2_000_000)
    assert "写真.png, 500 kB of 2.0 MB" in seen(face)[-2]
    face.progress("写真.png", 2_000_000, 2_000_000)
    assert "写真" not in seen(face)[-2]


def test_a_new_device_is_told_and_can_be_trusted(fake, tmp_path):
    async def main():
        chat, face = opened(fake, tmp_path)
        following = asyncio.create_task(chat.follow())
        for _ in range(5):
            await asyncio.sleep(0)
        new = device(7, DeviceTrust.UNDECIDED)
        fake.published.append(new)
        fake.tell_all(NewDevice(BOB, new))
        fake.tell_all(TypingChanged(BOB, BOB, Activity.COMPOSING))
        for _ in range(5):
            await asyncio.sleep(0)
        rows = seen(face)
        assert rows[1].endswith("1 new device")
        assert rows[-2] == " Bob is writing …"
        assert "07070707 07070707 07070707 07070707" in "\n".join(rows)
        from securecall.cli.orders import parse_order

        await chat.enter(parse_order("/trust 2"))
        assert fake.acts == [("trust", BOB, new.identity_key)]
        assert "new device" not in seen(face)[1]
        following.cancel()

    asyncio.run(main())


def test_control_c_never_loses_the_chat_and_control_d_leaves_it(fake, tmp_path):
    async def main():
        chat, face = opened(fake, tmp_path)
        typed(face, "x")
        face.press(Key("eof"))
        face.press(Key("cancel"))
        face.press(Key("cancel"))
        assert "Ctrl-D" in seen(face)[-2]
        assert not chat.over.is_set()
        face.press(Key("eof"))
        assert chat.over.is_set()
        await chat.leave()

    asyncio.run(main())


def test_recording_is_ended_by_the_second_order(fake, tmp_path):
    async def record(seconds, stop, folder):
        await stop.wait()
        path = folder / "said.ogg"
        path.write_bytes(b"ogg")
        return path, 2.5

    async def main():
        from securecall.cli.orders import parse_order

        chat, face = opened(fake, tmp_path, voice=record)
        await chat.enter(parse_order("/voice"))
        assert "● recording" in "\n".join(seen(face))
        await asyncio.sleep(0)
        await chat.enter(parse_order("/voice"))
        await chat.settle(5)
        assert "▶ voice message, 0:02" in "\n".join(seen(face))
        assert list(tmp_path.iterdir()) == []

    asyncio.run(main())


class Terminal:
    """Keys from a list; what is drawn is kept."""

    size = (80, 24)

    def __init__(self, *keys):
        self.keys = list(keys)
        self.frames = []
        self.given_back = False

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        self.given_back = True

    async def next(self):
        for _ in range(10):
            await asyncio.sleep(0)  # others draw and send meanwhile
        if not self.keys:
            await asyncio.Event().wait()
        return self.keys.pop(0)

    def draw(self, rows, *, row, column):
        self.frames.append(rows)


def test_what_is_typed_is_sent_in_its_order_and_the_terminal_given_back(fake, tmp_path):
    chat, face = opened(fake, tmp_path)
    enter = Key("enter")
    terminal = Terminal(
        Key("text", "one"), enter, Key("text", "two"), enter, Key("text", "/fly"), enter, Key("eof")
    )
    fake.say("unread")
    asyncio.run(chat_on_screen(chat, face, terminal))
    assert [said.body for said in fake.written] == ["one", "two"]
    assert fake.seen == ["b3"]
    assert terminal.given_back
    assert any("no /fly" in row for row in terminal.frames[-1])


def test_a_failure_inside_gives_the_terminal_back(fake, tmp_path):
    chat, face = opened(fake, tmp_path)
    terminal = Terminal()
    fake.events = lambda: (_ for _ in ()).throw(RuntimeError("bug"))
    with pytest.raises(RuntimeError):
        asyncio.run(chat_on_screen(chat, face, terminal))
    assert terminal.given_back


# -- a real terminal ------------------------------------------------------------------------------

posix = pytest.mark.skipif(os.name != "posix", reason="pseudo terminals are POSIX")


@posix
def test_keys_come_from_a_terminal_which_is_given_back_as_it_was():
    import pty
    import termios

    from securecall.cli.keyboard import Keyboard

    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)

    async def main():
        async with Keyboard(slave, slave) as keyboard:
            assert not termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
            os.write(master, "é\x1b[A\x03".encode())
            keys = [await keyboard.next() for _ in range(3)]
            os.write(master, b"\x1b")
            keys.append(await keyboard.next())
            os.kill(os.getpid(), signal.SIGWINCH)
            keys.append(await keyboard.next())
            os.kill(os.getpid(), signal.SIGTERM)
            keys.append(await keyboard.next())
            keyboard.draw(["a", "b"], row=1, column=1)
        return keys

    keys = asyncio.run(main())
    assert keys[0] == Key("text", "é")
    assert [k.name for k in keys[1:]] == ["up", "cancel", "escape", "resize", "quit"]
    assert termios.tcgetattr(slave) == before
    out = ""
    while not out.endswith("\x1b[?25h\x1b[?1049l"):  # it comes in pieces
        out += os.read(master, 4096).decode()
    assert out.startswith("\x1b[?1049h")
    os.close(master)
    os.close(slave)


@posix
def test_a_terminal_that_goes_away_ends_the_chat():
    import pty

    from securecall.cli.keyboard import Keyboard

    master, slave = pty.openpty()

    async def main():
        async with Keyboard(slave, slave) as keyboard:
            os.close(master)
            return await keyboard.next()

    assert asyncio.run(main()) == Key("quit")
    os.close(slave)


def test_without_the_extra_one_sentence_says_so_and_lines_go_on(
    fake, tmp_path, monkeypatch, capsys
):
    from securecall.cli import chatting
    from securecall.cli.main import run
    from tests.unit.cli.test_chatting import Typed

    monkeypatch.setitem(sys.modules, "securecall.cli.chat_screen", None)
    monkeypatch.setattr(chatting, "open_home", lambda args: fake)
    monkeypatch.setattr(chatting, "Lines", lambda: Typed("/quit"))
    monkeypatch.setattr(chatting, "_has_screen", lambda args: True)
    password = tmp_path / "password"
    password.write_text("x")
    arguments = ["chat", "bob@clinic.example", "--account", "alice@clinic.example"]
    assert run([*arguments, "--password-file", str(password)]) == 0
    assert 'pip install "securecall[cli]"' in capsys.readouterr().out
