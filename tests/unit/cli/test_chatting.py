"""The commands that write, against a client that chats with nobody."""

from __future__ import annotations

import json
import sys
import wave
from dataclasses import replace

import pytest

from securecall.address import parse_address
from securecall.chat.message import DeviceTrust, Protection
from securecall.cli import chatting
from securecall.cli.main import run
from securecall.errors import LoginRefused, NetworkError, UntrustedDevices
from securecall.events import ContactRequested
from securecall.xmpp.presence import Ask, Show, SubscriptionAsk
from securecall.xmpp.reachability import Network, Reachability
from tests.fake_chat import BOB, FakeChat, device, shared, somebody

ACCOUNT = ("--account", "alice@clinic.example")
SIP = parse_address("sip:bob@clinic.example")


class Typed:
    """Lines of standard input, and what happens before each of them."""

    def __init__(self, *lines):
        self.lines = list(lines)

    async def next(self):
        while self.lines and callable(self.lines[0]):
            self.lines.pop(0)()
        return self.lines.pop(0) if self.lines else None


@pytest.fixture
def fake(monkeypatch, tmp_path):
    client = FakeChat()
    password = tmp_path / "password"
    password.write_text("secret\n")
    monkeypatch.setattr(chatting, "open_home", lambda args: client)
    monkeypatch.setattr(chatting, "QUIET_SECONDS", 0.0)
    client.password = password
    return client


@pytest.fixture
def command(fake, monkeypatch, capsys):
    """Runs a command; returns the exit code, lines of output, and errors."""

    def command(*arguments, typed=()):
        monkeypatch.setattr(chatting, "Lines", lambda: Typed(*typed))
        password = () if "--account" not in arguments else ("--password-file", fake.password)
        code = run([str(a) for a in (*arguments, *password)])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err

    return command


def events(lines, kind):
    return [e for e in map(json.loads, lines) if e["type"] == kind]


def test_the_account_is_signed_in_with_what_was_given(fake, command):
    authority = fake.password
    code, _, _ = command(
        "chat", "bob@clinic.example", *ACCOUNT, "--server", "127.0.0.1:5223",
        "--server-name", "xmpp.clinic.example", "--authorities", authority,
    )  # fmt: skip
    assert code == 0
    how = fake.signed_in
    assert how["xmpp"] == "xmpp:alice@clinic.example"
    assert how["password"].reveal() == b"secret"
    assert (how["server"], how["authorities"]) == ("127.0.0.1:5223", authority)


# -- lines in a pipe -------------------------------------------------------------------------------


def test_lines_of_a_pipe_are_sent_and_only_others_words_are_printed(fake, command):
    fake.say("unread", sent=fake.now())
    code, lines, err = command(
        "chat", "bob@clinic.example", *ACCOUNT, typed=["hello", "", "/reply 1 yes"]
    )
    assert (code, err) == (0, "")
    assert [line.split(": ", 1)[1] for line in lines] == ["unread"]
    assert [(s.body, s.reply_to) for s in fake.written] == [("hello", ""), ("yes", "b0")]
    assert fake.history.unread(BOB) == 0
    assert fake.seen == []  # nobody looked at it


@pytest.mark.parametrize(
    ("typed", "code", "says"),
    [
        (["/fly"], 2, "/help"),
        (["/file /nowhere/at all"], 7, "no file"),
        (["/reply 99 x"], 2, "no message 99"),
        (["/save"], 2, "nobody sent a file"),
        (["/edit x"], 2, "wrote nothing"),
        (["/trust 9"], 2, "/devices"),
        (["/verify"], 2, "/devices"),
        (["/retention soon"], 2, "30d"),
        (["x" * 70_000], 2, "64 KiB"),
    ],
)
def test_what_fails_in_a_pipe_ends_it(command, typed, code, says):
    found, _, err = command("chat", "bob@clinic.example", *ACCOUNT, typed=[*typed, "never sent"])
    assert found == code
    assert says in err
    assert len(err.splitlines()) == 2


def test_the_first_failure_of_a_pipe_keeps_later_lines_back(fake, command):
    command("chat", "bob@clinic.example", *ACCOUNT, typed=["/fly", "never sent"])
    assert fake.written == []


def test_what_the_server_did_not_take_is_an_error_and_kept(fake, command, monkeypatch):
    monkeypatch.setattr("securecall.cli.chat_plain.SETTLE_SECONDS", 0.01)
    fake.pending = True
    code, _, err = command("chat", "bob@clinic.example", *ACCOUNT, typed=["hello"])
    assert code == 3
    assert "it is kept" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [(UntrustedDevices("decide"), 5), (NetworkError("gone"), 3), (LoginRefused("no"), 5)],
)
def test_errors_have_the_exit_codes_of_the_other_commands(fake, command, error, code):
    async def write(*args, **how):
        raise error

    fake.write = write
    assert command("chat", "bob@clinic.example", *ACCOUNT, typed=["hello"])[0] == code


# -- JSON ------------------------------------------------------------------------------------------


def test_json_takes_orders_and_tells_events(fake, command):
    orders = [
        {"type": "say", "text": "hello"},
        {"type": "react", "number": 1, "text": "👍"},
        {"type": "edit", "text": "hello!"},
        {"type": "search", "text": "hel"},
        {"type": "devices"},
        {"type": "retention", "text": "7d"},
        {"type": "read", "number": 1},
        {"type": "nonsense"},
        {"type": "quit"},
        {"type": "say", "text": "never"},
    ]
    fake.say("first")
    typed = [json.dumps(order) for order in orders]
    code, lines, _ = command("chat", "bob@clinic.example", *ACCOUNT, "--json", typed=typed)
    assert code == 0
    assert json.loads(lines[0]) == {"type": "chat", "conversation": str(BOB), "unread": 1}
    assert [e["text"] for e in events(lines, "message")] == ["first"]
    assert events(lines, "changed")[-1]["text"] == "hello!"
    assert [m["text"] for m in events(lines, "found")[0]["messages"]] == ["hello!"]
    assert events(lines, "devices")[0]["devices"][0]["trust"] == "trusted"
    assert events(lines, "failed")[0]["kind"] == "UsageError"
    assert fake.history.retention(BOB) == 604_800
    assert fake.seen == ["b0"]
    assert not any("never" in line for line in lines)


def test_json_leaves_unread_what_nobody_said_was_read(fake, command):
    fake.say("first")
    command("chat", "bob@clinic.example", *ACCOUNT, "--json", typed=[])
    assert fake.history.unread(BOB) == 1
    assert fake.seen == []


def test_json_never_tells_the_key_of_a_file(fake, command):
    fake.say(file=shared(name="a.pdf", size=3))
    _, lines, _ = command("chat", "bob@clinic.example", *ACCOUNT, "--json", typed=[])
    (message,) = events(lines, "message")
    assert message["file"] == {
        "name": "a.pdf", "size": 3, "seconds": 0.0, "media_type": "application/octet-stream",
    }  # fmt: skip


# -- devices and trust -----------------------------------------------------------------------------


def test_a_number_means_the_device_that_was_shown_under_it(fake, command):
    first, second = device(1, DeviceTrust.UNDECIDED), device(2, DeviceTrust.UNDECIDED)
    fake.published = [first, second]

    def swap():
        fake.published = [device(9, DeviceTrust.UNDECIDED), second, first]

    code, _, _ = command(
        "chat", "bob@clinic.example", *ACCOUNT, typed=["/devices", swap, "/trust 1 verified"]
    )
    assert code == 0
    assert fake.acts == [("verify device", BOB, first.identity_key)]


def test_a_safety_number_counts_only_for_the_key_it_was_shown_for(fake, command):
    def pin(root):
        from dataclasses import replace

        fake.contact = replace(fake.contact, root_fp=root)

    pin(b"r" * 64)
    chat = ("chat", "bob@clinic.example", *ACCOUNT)
    command(*chat, typed=["/verify same"])
    command(*chat, typed=["/verify", lambda: pin(b"other" * 8), "/verify same"])
    assert fake.acts == []
    pin(b"r" * 64)
    command(*chat, typed=["/verify", "/verify same"])
    assert fake.acts == [("verify", BOB, b"r" * 64)]


# -- files -----------------------------------------------------------------------------------------


def test_a_file_is_sent_and_its_end_waited_for(fake, command, tmp_path):
    path = tmp_path / "röntgen.png"
    path.write_bytes(b"x" * 1000)
    code, lines, _ = command(
        "send-file", "bob@clinic.example", path, "--text", "look", "--expires", "7d", "--json",
        *ACCOUNT,
    )  # fmt: skip
    assert code == 0
    sent, text = events(lines, "sent")
    assert (sent["file"]["name"], sent["delivery"]) == ("röntgen.png", "sent")
    assert text["text"] == "look"
    assert sent["expires"] > 0
    assert events(lines, "progress")[-1]["done"] == 1000
    code, lines, _ = command("send-file", "bob@clinic.example", path, *ACCOUNT)
    assert lines == ["✓ sent to bob@clinic.example, end-to-end encrypted: röntgen.png, 1.0 kB"]


def test_files_are_sent_and_saved_in_a_chat(fake, command, tmp_path):
    path = tmp_path / "a b.txt"
    path.write_bytes(b"x" * 10)
    folder = tmp_path / "saved"
    folder.mkdir()
    chat = ("chat", "bob@clinic.example", *ACCOUNT)
    assert command(*chat, typed=[f"/file '{path}'"])[0] == 0
    assert command(*chat, typed=[f"/save 1 {folder}"])[0] == 0
    assert (folder / "a b.txt").read_bytes() == b"x" * 10


def test_a_voice_message_is_made_of_a_wav_file(fake, command, tmp_path):
    path = tmp_path / "said.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(b"\x00\x10" * 8000)
    code, lines, _ = command(
        "voice-message", "bob@clinic.example", "--file", path, "--json", *ACCOUNT
    )
    assert code == 0
    (sent,) = events(lines, "sent")
    assert 0.45 < sent["file"]["seconds"] < 0.6


# -- inbox and contacts ----------------------------------------------------------------------------


def test_the_inbox_shows_what_is_unread_once_and_saves_files(fake, command, tmp_path):
    fake.say("old", unread=False)
    fake.say("new\x1b[2J")
    fake.say(file=shared(name="a.pdf", size=3))
    assert command("inbox", "--keep-unread", *ACCOUNT)[0] == 0
    code, lines, _ = command("inbox", "--save", tmp_path, *ACCOUNT)
    text = "\n".join(lines)
    assert code == 0
    assert "new?[2J" in text
    assert "old" not in text
    assert "a.pdf, 3 bytes" in text
    assert (tmp_path / "a.pdf").exists()
    assert command("inbox", *ACCOUNT)[1] == ["Nothing unread."]
    assert fake.seen == []


def test_contacts_of_an_account_are_listed(fake, command):
    fake.everybody = [somebody(status="lunch\x1b[2J", show=Show.AWAY)]
    fake.asks["carol@x.example"] = SubscriptionAsk(
        bare="carol@x.example", ask=Ask.SUBSCRIBE, status="it is me\x1b[2J"
    )
    code, lines, _ = command("contacts", *ACCOUNT)
    assert code == 0
    assert "bob@clinic.example" in lines[0]
    assert "away · lunch?[2J" in lines[0]
    assert lines[1] == "? carol@x.example asks to be your contact: it is me?[2J"
    assert "--accept carol@x.example" in lines[2]
    lines = command("contacts", "--json", *ACCOUNT)[1]
    assert [p["subscription"] for p in events(lines, "person")] == ["both"]
    assert [(p["calls"], p["sip"]) for p in events(lines, "person")] == [("none", "")]
    assert [r["address"] for r in events(lines, "request")] == ["xmpp:carol@x.example"]


@pytest.mark.parametrize(
    ("reached", "words"),
    [
        (Reachability(network=Network.SIP, sip=SIP), "call sip:bob@clinic.example"),
        (Reachability(network=Network.XMPP, sip=SIP), "call sip:bob@clinic.example"),
        (Reachability(network=Network.XMPP), "calls over XMPP only"),
    ],
)
def test_contacts_show_how_somebody_can_be_called(fake, command, reached, words):
    fake.everybody = [replace(somebody(), reachability=reached)]
    assert words in command("contacts", *ACCOUNT)[1][0]


@pytest.mark.parametrize(
    ("option", "act"),
    [("invite", "add"), *((n, n) for n in ("accept", "decline", "remove", "block", "unblock"))],
)
def test_one_thing_is_done_with_one_contact(fake, command, option, act):
    assert command("contacts", f"--{option}", "bob@clinic.example", *ACCOUNT)[0] == 0
    assert fake.acts[0][:2] == (act, str(BOB))


def test_a_chat_asks_to_be_contacts_and_takes_their_asking_as_a_yes(fake, command):
    chat = ("chat", "bob@clinic.example", *ACCOUNT)
    asks = lambda: fake.tell_all(ContactRequested(BOB, ""))  # noqa: E731
    assert command(*chat, typed=["/contact", asks, "/help"])[0] == 0
    assert fake.acts == [("add", str(BOB), ""), ("accept", str(BOB))]
    fake.acts.clear()
    fake.asks[BOB.short] = SubscriptionAsk(bare=BOB.short, ask=Ask.SUBSCRIBE)
    assert command(*chat, typed=["/contact"])[0] == 0
    assert fake.acts == [("accept", str(BOB))]


def test_nobody_is_let_see_us_who_asks_unasked(fake, command):
    asks = lambda: fake.tell_all(ContactRequested(BOB, "hi\x1b[2J"))  # noqa: E731
    _, _, err = command("chat", "bob@clinic.example", *ACCOUNT, typed=["/help", asks, "/help"])
    assert fake.acts == []
    assert "asks to be your contact (hi?[2J); /contact says yes" in err


def test_devices_are_trusted_by_the_digits_of_their_fingerprints(fake, command):
    fake.published = [device(1), device(2, DeviceTrust.UNDECIDED)]
    code, lines, _ = command("contacts", "--devices", "bob@clinic.example", *ACCOUNT)
    assert code == 0
    assert "new, receives nothing" in "\n".join(lines)
    trust = ("contacts", "--trust", "bob@clinic.example")
    assert command(*trust, "02020202 02", "--compared", *ACCOUNT)[0] == 0
    assert fake.acts == [("verify device", BOB, bytes([2]) * 32)]
    assert command(*trust, "0202", *ACCOUNT)[0] == 2
    assert command(*trust, "ffffffff", *ACCOUNT)[0] == 2
    assert len(fake.acts) == 1


def test_contacts_without_an_account_say_so(command):
    code, _, err = command("contacts", "--invite", "bob@clinic.example")
    assert code == 2
    assert "--account" in err


@pytest.mark.parametrize("what", [["send-file"], ["voice-message", "--file"]])
def test_a_file_that_is_not_there_is_said_before_anybody_signs_in(fake, command, tmp_path, what):
    name, *option = what
    code, _, err = command(name, "bob@clinic.example", *option, tmp_path / "none", *ACCOUNT)
    assert code == 7
    assert "there is no file" in err
    assert not fake.signed_in


@pytest.mark.parametrize("target", ["sip:bob@clinic.example", "bob", "bob@192.0.2.1"])
def test_an_address_of_another_kind_is_refused(command, target):
    assert command("chat", target, *ACCOUNT)[0] == 2


def test_a_person_at_a_terminal_reads_day_state_and_what_fails(fake, command, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    fake.say("hello\nbob: not me", protection=Protection.NONE)
    code, lines, _ = command("chat", "bob@clinic.example", *ACCOUNT, typed=["/fly", "/help"])
    assert code == 0
    assert lines[1].startswith("-- Tuesday 25 November 2025")
    assert lines[3] == "    bob: not me (not encrypted)"
    assert any("/help lists" in line for line in lines[4:])
    assert any("/retention" in line for line in lines)
