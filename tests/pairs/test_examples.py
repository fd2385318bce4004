"""The examples run as they are printed, two of them against each other."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import wave
from array import array
from pathlib import Path

import pytest

import securecall as sc
from securecall.cli import sound
from tests.interop.sound import share, tone_seconds
from tests.paths import PROJECT

EXAMPLES = PROJECT / "examples"


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.name)
def test_an_example_is_short(example: Path):
    assert len(example.read_text().splitlines()) <= 40


def beginning(path, *, seconds):
    with wave.open(str(sound.sample_path())) as sample, wave.open(str(path), "wb") as file:
        file.setparams(sample.getparams())
        file.writeframes(sample.readframes(round(seconds * sample.getframerate())))
    return path


def start(name, *arguments, **env):
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(PROJECT), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(
    ("answering", "more", "alike"),
    [("answer_calls.py", ["--once"], False), ("pcm_echo.py", [], True)],
)
def test_a_call_is_placed_and_answered(tmp_path, answering, more, alike):
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse\n")
    heard, speech = tmp_path / "heard.wav", beginning(tmp_path / "speech.wav", seconds=2.5)
    callee = start(answering, tmp_path / "bob", passphrase, "127.0.0.1", *more)
    caller = None
    try:
        ticket = callee.stdout.readline().strip()
        assert ticket.startswith("securecall:1:"), callee.stdout.read()
        caller = start("place_call.py", tmp_path / "alice", passphrase, ticket, speech, heard)
        said, _ = caller.communicate()
        answered, _ = callee.communicate()
    finally:
        for process in (callee, caller):
            if process is not None:
                process.kill()
                process.wait()
                process.stdout.close()
    assert caller.returncode == 0, said
    assert callee.returncode == 0, answered
    assert "End-to-end encrypted" in said
    assert "End-to-end encrypted" in answered
    assert "Signed by both ends, before they hung up." in said
    assert sound.duration(heard) > 2
    assert (sound.likeness(speech, heard) > 0.8) is alike


def test_a_call_with_pictures_is_recorded(tmp_path):
    av = pytest.importorskip("av", reason="the extra video")
    passphrase, film = tmp_path / "passphrase", tmp_path / "call.webm"
    passphrase.write_text("correct horse\n")
    callee = start("record_call.py", tmp_path / "bob", passphrase, film, "127.0.0.1")
    caller = None
    try:
        ticket = callee.stdout.readline().strip()
        caller = start("video_call.py", tmp_path / "alice", passphrase, ticket, "test", 2)
        said, _ = caller.communicate()
        answered, _ = callee.communicate()
    finally:
        for process in (callee, caller):
            if process is not None:
                process.kill()
                process.wait()
                process.stdout.close()
    assert caller.returncode == 0, said
    assert callee.returncode == 0, answered
    assert "with pictures" in answered
    assert "This device began to record." in " ".join(answered.split())
    assert int(said.split("['")[1].split()[0]) > 5
    with av.open(str(film)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        assert sum(1 for _ in container.decode(video=0)) > 5


def test_three_people_talk_through_one_of_them(tmp_path):
    passphrase, heard = tmp_path / "passphrase", tmp_path / "heard.wav"
    passphrase.write_text("correct horse\n")
    speech = beginning(tmp_path / "speech.wav", seconds=2.5)
    friends = [
        start("answer_calls.py", tmp_path / name, passphrase, "127.0.0.1", "--once")
        for name in ("bob", "carol")
    ]
    caller = None
    try:
        tickets = [friend.stdout.readline().strip() for friend in friends]
        caller = start("three_way.py", tmp_path / "alice", passphrase, *tickets, speech, heard)
        said, _ = caller.communicate()
        answered = [friend.communicate()[0] for friend in friends]
    finally:
        for process in (*friends, caller):
            if process is not None:
                process.kill()
                process.wait()
                process.stdout.close()
    assert caller.returncode == 0, said
    assert [friend.returncode for friend in friends] == [0, 0], answered
    assert "could hear it through this device" in " ".join(said.split())
    assert said.count("dBFS") == 2
    assert all("Signed by both ends, before they hung up." in text for text in (said, *answered))
    assert tone_seconds(heard, 440.0) > 1.5


def test_two_people_call_each_other_through_the_lab(tmp_path):
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse\n")
    lab = subprocess.Popen(
        [sys.executable, "-m", "securecall.cli", "lab", "--no-prosody", "--json"],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )
    started = [lab]
    try:
        ready = json.loads(lab.stdout.readline())
        alice, bob = ready["people"]
        env = {
            "SERVER": f"{ready['host']}:{ready['port']}",
            "AUTHORITIES": ready["authorities"],
        }

        def call(person, *callee):
            arguments = person["address"], person["password_file"], *callee
            name = person["name"]
            started.append(start("server_call.py", tmp_path / name, passphrase, *arguments, **env))
            return started[-1]

        answering = call(bob)
        assert answering.stdout.readline() == "registered\n"
        calling = call(alice, bob["address"])
        said, heard = calling.communicate()[0], answering.communicate()[0]
        assert calling.returncode == 0, said
        assert answering.returncode == 0, heard
        lab.terminate()
        assert lab.wait() == 0
    finally:
        for process in started:
            process.kill()
            process.wait()
            process.stdout.close()
    words = [line for text in (said, heard) for line in text.splitlines() if "words:" in line]
    assert len(words) == 2
    assert words[0] == words[1]
    assert "Signed by both ends, before they hung up." in said


def test_a_menu_is_led_by_the_keys_of_the_telephone(tmp_path):
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse\n")
    menu = start("ivr.py", tmp_path / "menu", passphrase, "127.0.0.1")
    heard = []

    class Ears:
        def write(self, frame):
            heard.append(frame)

        def close(self):
            pass

    def is_high_tone(frames):
        samples = array("h", b"".join(frame.samples for frame in frames))
        return len(frames) == 25 and share(samples, frames[-1].sample_rate, 880) > 0.5

    async def press(ticket):
        secret = sc.Secret("battery staple")
        async with sc.open(tmp_path / "alice", passphrase=secret, create=True) as alice:
            async with alice.call(ticket) as call:
                call.add_sink(Ears())
                await call.connected()
                await call.press("1")
                del heard[:]
                while not is_high_tone(heard[-25:]):  # a busy machine may drop some of it
                    _ = await anext(call.audio)
                await call.press("#")
                await call.ended()

    try:
        ticket = menu.stdout.readline().strip()
        assert ticket.startswith("securecall:1:"), menu.stdout.read()
        asyncio.run(press(ticket))
        said, _ = menu.communicate()
    finally:
        menu.kill()
        menu.wait()
        menu.stdout.close()
    assert menu.returncode == 0, said
    assert said.split() == ["pressed", "1", "pressed", "#"]
