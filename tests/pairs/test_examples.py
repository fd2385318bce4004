"""The examples run as they are printed, two of them against each other."""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import subprocess
import sys
import time
import wave
from array import array
from pathlib import Path

import pytest

import securecall as sc
from securecall.cli import sound
from securecall.cli.main import run
from securecall.events import TransferRequested
from securecall.media.frames import rms_dbfs
from securecall.store.sqlite import Store
from tests.forge_store import cheap
from tests.interop.sound import share, tone_seconds
from tests.pairs.calls.test_registered import PASSWORDS, at, lab, person
from tests.paths import PROJECT

EXAMPLES = PROJECT / "examples"
NAMES = ("bob", "carol")


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.name)
def test_an_example_is_short(example: Path):
    assert len(example.read_text().splitlines()) <= 40


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.name)
@pytest.mark.parametrize(
    "arguments", [[], ["--help"], [*"123456789"]], ids=["nothing", "--help", "too much"]
)
def test_an_example_says_how_it_is_called(example, arguments, monkeypatch, capsys):
    if example.name == "echo_bot.py" and len(arguments) > 1:
        pytest.skip("it has any number of friends")
    said = leaves(example, arguments, monkeypatch)
    printed = "".join(capsys.readouterr())
    assert f"python {example.name} " in f"{said}{printed}"


def leaves(example, arguments, monkeypatch):
    """What it says when it leaves; anything but leaving fails the test, as a traceback would."""
    monkeypatch.setattr(sys, "argv", [str(example), *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(example), run_name="__main__")
    return left.value.code


WITH_A_KEY = [
    ("answer_calls.py",), ("ivr.py",), ("pcm_echo.py",), ("voice_agent.py",),
    ("place_call.py", "whom", "sound", "recording"), ("record_call.py", "film.webm"),
    ("three_way.py", "one", "other", "sound.wav"), ("video_call.py", "ticket", "test"),
]  # fmt: skip
WITH_AN_ACCOUNT = [
    ("chat.py", "carol@clinic.example", "Hello"), ("echo_bot.py", "carol@clinic.example"),
    ("voice_message.py", "carol@clinic.example", "sound.wav"),
    ("phone_gateway.py",), ("server_call.py",), ("transfer.py", "carol@clinic.example"),
]  # fmt: skip
BOB = "bob@clinic.example"


@pytest.mark.parametrize("called", WITH_A_KEY + WITH_AN_ACCOUNT, ids=lambda called: called[0])
def test_an_example_without_its_passphrase_says_so(tmp_path, monkeypatch, called):
    if "video" in called[0] or "record" in called[0]:
        pytest.importorskip("av", reason="the extra video")
    name, *more = called
    account = [BOB, "password"] if called in WITH_AN_ACCOUNT else []
    monkeypatch.chdir(beginning(tmp_path / "sound.wav", seconds=0.2).parent)
    arguments = [tmp_path / "home", tmp_path / "absent", *account, *more]
    said = leaves(EXAMPLES / name, arguments, monkeypatch)
    assert said.startswith(f"LocalError: cannot read the secret file {tmp_path / 'absent'}")


@pytest.mark.parametrize("called", WITH_AN_ACCOUNT, ids=lambda called: called[0])
def test_an_example_with_a_wrong_address_or_without_a_server_says_so(tmp_path, monkeypatch, called):
    cheap(monkeypatch)
    secret, (name, *more) = tmp_path / "secret", called
    secret.write_text("correct horse")
    monkeypatch.setenv("SERVER", "127.0.0.1:1")
    monkeypatch.chdir(beginning(tmp_path / "sound.wav", seconds=0.2).parent)
    for account, says in ((BOB, "ConnectFailed: "), ("bob@@", "ProtocolError: 'bob@@' is not")):
        arguments = [tmp_path / "home", secret, account, secret, *more]
        said = leaves(EXAMPLES / name, arguments, monkeypatch)
        assert said.replace("xmpp:", "").startswith(says)


def test_an_example_without_its_extra_says_which(tmp_path):
    hidden = "import runpy, sys; sys.modules['av'] = None; "
    program = f"{hidden}runpy.run_path({str(EXAMPLES / 'record_call.py')!r}, run_name='__main__')"
    tried = subprocess.run(
        [sys.executable, "-c", program, tmp_path, tmp_path / "secret", "film.webm"],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 1
    (line,) = tried.stderr.splitlines()
    assert line.startswith("Unsupported: ")
    assert 'pip install "securecall[video]"' in line


def beginning(path, *, seconds):
    with wave.open(str(sound.sample_path())) as sample, wave.open(str(path), "wb") as file:
        file.setparams(sample.getparams())
        file.writeframes(sample.readframes(round(seconds * sample.getframerate())))
    return path


class Programs:
    """Examples as processes, each with keys of its own; all are ended with the test."""

    def __init__(self, folder):
        self.folder = folder
        self.passphrase = folder / "passphrase"
        self.passphrase.write_text("correct horse\n")
        self._started = []

    def start(self, name, person, *arguments, **env):
        """Start an example as this person, who has keys already; but for Alice, whose it makes."""
        who = home, _ = (self.folder / person, self.passphrase)
        if person != "alice" and not home.exists():
            Store.create(home, sc.Secret.from_file(self.passphrase)).close()
        return self.run([sys.executable, EXAMPLES / name, *who, *arguments], **env)

    def run(self, command, **env):
        """Start any program."""
        process = subprocess.Popen(
            [*map(str, command)],
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(process)
        return process

    def answer(self, name, person, *arguments):
        """Start an example that takes a call; returns it with the ticket it prints."""
        process = self.start(name, person, *arguments)
        ticket = process.stdout.readline().strip()
        assert ticket.startswith("securecall:1:"), ticket + process.stdout.read()
        return process, ticket

    def end(self):
        for process in self._started:
            process.kill()
            process.wait()
            process.stdout.close()


def said(*processes):
    """What each said until it ended, which it did in order."""
    texts = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), texts
    return texts


@pytest.fixture
def programs(tmp_path):
    programs = Programs(tmp_path)
    yield programs
    programs.end()


class Ears:
    """A sink that keeps what it hears, and knows for how many seconds there was sound."""

    def __init__(self):
        self.frames, self.loud = [], 0.0

    def write(self, frame):
        self.frames.append(frame)
        self.loud += frame.duration * (rms_dbfs(frame.samples) > -40)

    def close(self):
        pass

    def last(self, seconds):
        """The samples of so many seconds, and their rate."""
        samples = b"".join(frame.samples for frame in self.frames[-round(seconds * 50) :])
        return array("h", samples), self.frames[-1].sample_rate


async def calling(folder, ticket, talk, **options):
    """Call from this process; `talk` gets the call and what is heard in it."""
    secret, ears = sc.Secret("battery staple"), Ears()
    async with sc.open(folder / "alice", passphrase=secret, create=True) as alice:
        async with alice.call(ticket, **options) as call:
            call.add_sink(ears)
            await call.connected()
            await talk(call, ears)
    return ears


@pytest.mark.parametrize(
    ("answering", "more", "alike"),
    [("answer_calls.py", ["--once"], False), ("pcm_echo.py", [], True)],
)
def test_a_call_is_placed_and_answered(programs, tmp_path, answering, more, alike):
    heard, speech = tmp_path / "heard.wav", beginning(tmp_path / "speech.wav", seconds=2.5)
    callee, ticket = programs.answer(answering, "bob", "127.0.0.1", *more)
    texts = said(programs.start("place_call.py", "alice", ticket, speech, heard), callee)
    assert all("End-to-end encrypted" in text for text in texts)
    assert "Signed by both ends, before they hung up." in texts[0]
    assert sound.duration(heard) > 2
    assert (sound.likeness(speech, heard) > 0.8) is alike


def test_a_call_with_pictures_is_recorded(programs, tmp_path):
    av = pytest.importorskip("av", reason="the extra video")
    film = tmp_path / "call.webm"
    callee, ticket = programs.answer("record_call.py", "bob", film, "127.0.0.1")
    called, answered = said(programs.start("video_call.py", "alice", ticket, "test", 2), callee)
    assert "with pictures" in answered
    assert "This device began to record." in " ".join(answered.split())
    assert int(called.split("['")[1].split()[0]) > 5
    with av.open(str(film)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        assert sum(1 for _ in container.decode(video=0)) > 5


def test_three_people_talk_through_one_of_them(programs, tmp_path):
    heard, speech = tmp_path / "heard.wav", beginning(tmp_path / "speech.wav", seconds=2.5)
    friends, tickets = zip(
        *(programs.answer("answer_calls.py", name, "127.0.0.1", "--once") for name in NAMES),
        strict=True,
    )
    caller = programs.start("three_way.py", "alice", *tickets, speech, heard)
    texts = said(caller, *friends)
    assert "could hear it through this device" in " ".join(texts[0].split())
    assert texts[0].count("dBFS") == 2
    assert all("Signed by both ends, before they hung up." in text for text in texts)
    assert tone_seconds(heard, 440.0) > 1.5


def test_two_people_call_each_other_through_the_lab(programs):
    lab = programs.run([sys.executable, "-m", "securecall.cli", "lab", "--no-prosody", "--json"])
    ready = json.loads(lab.stdout.readline())
    alice, bob = ready["people"]
    env = {"SERVER": f"{ready['host']}:{ready['port']}", "AUTHORITIES": ready["authorities"]}

    def call(person, *callee):
        arguments = person["address"], person["password_file"], *callee
        return programs.start("server_call.py", person["name"], *arguments, **env)

    answering = call(bob)
    assert answering.stdout.readline() == "registered\n"
    texts = said(call(alice, bob["address"]), answering)
    lab.terminate()
    assert lab.wait() == 0
    words = [line for text in texts for line in text.splitlines() if "words:" in line]
    assert len(words) == 2
    assert words[0] == words[1]
    assert "Signed by both ends, before they hung up." in texts[0]


def test_the_phone_network_is_called_by_the_command_and_answered_by_the_example(programs):
    number, cli = "+431234567", [sys.executable, "-m", "securecall.cli"]
    lab = programs.run([*cli, "lab", "--no-prosody", "--json", "--user", number])
    ready = json.loads(lab.stdout.readline())
    people = {person["name"]: person for person in ready["people"]}
    server, authorities = f"{ready['host']}:{ready['port']}", ready["authorities"]
    env = {"SERVER": server, "AUTHORITIES": authorities}
    who = people[number]["address"], people[number]["password_file"]
    phone = programs.start("phone_gateway.py", "phone", *who, **env)
    assert phone.stdout.readline() == "registered\n"
    home = ["--home", programs.folder / "alice", "--passphrase-file", programs.passphrase]
    assert run(["init", *map(str, home)]) == 0
    call = [*cli, "call", f"tel:{number}", "--json", "--seconds", "0.5", *home, "--server", server]
    call += ["--authorities", authorities, "--account", people["alice"]["address"]]
    call += ["--password-file", people["alice"]["password_file"]]
    refused = programs.run(call)  # an ordinary account calls no number
    assert "provider_mode" in refused.communicate()[0]
    assert refused.returncode == 5
    called, heard = said(programs.run([*call, "--provider-mode", "gateway"]), phone)
    words = "Your provider and the phone network can hear this call"
    (state,) = (e for e in map(json.loads, called.splitlines()) if e["type"] == "security")
    assert (state["level"], state["keying"], state["level_words"]) == ("HOP_BY_HOP", "sdes", words)
    assert heard.count(words) >= 2  # at once, and in the report
    assert "end-to-end" not in heard.lower()


def test_a_menu_is_led_by_the_keys_of_the_telephone(programs, tmp_path):
    async def press(call, ears):
        await call.press("1")
        del ears.frames[:]
        while len(ears.frames) < 25 or share(*ears.last(0.5), 880) <= 0.5:
            _ = await anext(call.audio)  # a busy machine may drop some of it
        await call.press("#")
        await call.ended()

    menu, ticket = programs.answer("ivr.py", "menu", "127.0.0.1")
    asyncio.run(calling(tmp_path, ticket, press))
    assert said(menu)[0].split() == ["pressed", "1", "pressed", "#"]


def test_a_voice_agent_answers_the_whole_sentence_once_it_was_said(programs, tmp_path):
    """It writes at once what takes a second and a half to play: none of it is lost on the way."""

    async def ask(call, ears):
        longest, last = 0.0, time.monotonic()
        for _ in range(75):
            await call.write(sc.AudioFrame(samples=tone.read(960, 48000), sample_rate=48000))
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        if longest < 0.3:  # a busy machine makes pauses of its own
            assert ears.loud == 0.0  # it does not talk into our sentence
        async with asyncio.timeout(20):
            while ears.loud < 1.2:
                _ = await anext(call.audio)
        assert share(*ears.last(0.2), 440.0) > 0.8
        for _ in range(25):  # and goes on to its end
            _ = await anext(call.audio)

    tone = sc.ToneSource(440.0)
    agent, ticket = programs.answer("voice_agent.py", "agent", "127.0.0.1")
    ears = asyncio.run(calling(tmp_path, ticket, ask))
    assert 1.2 <= ears.loud < 2.4  # once
    assert said(agent)[0].startswith("answered ")


@pytest.mark.parametrize("there", [True, False])
def test_a_switchboard_hands_its_caller_over(programs, tmp_path, there):
    password = tmp_path / "password"
    password.write_text(PASSWORDS["carol"])

    async def main():
        async with (
            lab(tmp_path) as server,
            person("alice", server, tmp_path) as alice,
            person("bob", server, tmp_path) as bob,
        ):
            board = programs.start(
                "transfer.py",
                "board",
                f"carol@{server.domain}",
                password,
                at("bob", server),
                SERVER=f"{server.host}:{server.port}",
                AUTHORITIES=str(server.authorities),
            )
            assert await asyncio.to_thread(board.stdout.readline) == "registered\n"
            bob.do_not_disturb = not there
            events = alice.events()
            async with alice.call(at("carol", server)) as call:
                await call.connected()
                while not isinstance(asked := await anext(events), TransferRequested):
                    pass
                new = asked.accept()
                if there:
                    async with new, (await bob.next_call()).accept():
                        await new.connected()
                        await call.ended()
                else:
                    with pytest.raises(sc.Busy):
                        async with new:
                            await new.connected()
                    await call.ended()
            return await asyncio.to_thread(said, board)

    assert asyncio.run(main()) == ["handed over\n" if there else "still here: busy\n"]
