"""Two people, each with the command, each in a process."""

from __future__ import annotations

import json
import socket

import pytest

from securecall.cli import sound
from securecall.cli.main import run
from securecall.clock import unix_now
from securecall.keys.ticket import parse_ticket

WAIT = ("answer", "--ticket", "--host", "127.0.0.1", "--port", "0", "--once")


def test_a_ticket_a_call_the_same_words_and_a_report_both_signed(people, told, tmp_path):
    record = tmp_path / "heard.wav"
    with people("bob", *WAIT, "--auto-accept", "--text", "--record", record) as bob:
        ticket = bob.wait_for("ticket")["ticket"]
        (tmp_path / "ticket").write_text(ticket)
        bob.wait_for("ready")
        kept = tmp_path / "report.json"
        with people(
            *("alice", "call", f"@{tmp_path / 'ticket'}", "--seconds", "1.6"),
            *("--text", "--report", kept),
        ) as alice:
            words = [c.wait_for("words") for c in (alice, bob)]
            assert words[0] == words[1]
            alice.say("confirm")
            bob.say("confirm")
            alice.say("Hello\x1b[2J\t\u00e9")
            assert bob.wait_for("typed")["lines"] == ["Hello [2J \u00e9"]
            assert (alice.finish(), bob.finish()) == (0, 0)
    for command in (alice, bob):
        assert command.last("security")["level"] == "VERIFIED"
        assert command.last("security")["pq"]
        assert command.last("security")["sframe"]
        assert command.last("ended")["reason"] == "hung-up"
        signatures = command.last("report")["report"]["countersignature"]
        assert signatures["ours"]
        assert signatures["theirs"]
    assert json.loads(kept.read_text()) == alice.last("report")["report"]
    assert (alice.last("report")["file"], bob.last("report")["file"]) == (str(kept), "")
    assert run(["report", "verify", str(kept)]) == 0
    assert sound.duration(record) > 1
    assert sound.likeness(sound.sample_path(), record) > 0.8

    (of_bob,), (of_alice,) = (told(name, "contacts")[1] for name in ("alice", "bob"))
    assert of_bob["state"] == of_alice["state"] == "VERIFIED"

    code, (past,) = told("bob", "calls", "--count", "1")
    assert (code, past["outgoing"], past["missed"], past["ended"]) == (0, False, False, "hung-up")
    assert (past["level"], past["talked"] > 0) == ("VERIFIED", True)

    numbers = [
        told("alice", "verify", of_bob["root"][:16], "--confirm"),
        told("bob", "verify", of_alice["short"]),
    ]
    (done, (alices, *_)), (seen, (bobs, *_)) = numbers
    assert (done, seen) == (0, 0)
    assert alices["number"] == bobs["number"]
    assert len(alices["number"].replace(" ", "")) == 60

    code = bobs["code"]
    _, (shown, *_) = told("alice", "verify", of_bob["root"][:16], "--code", code)
    assert (shown["type"], shown["state"]) == ("number", "VERIFIED")
    left, events = told("bob", "verify", of_alice["short"], "--code", code)
    assert left == events[-1]["exit_code"] == 5  # his own code proves nothing to him


def test_different_words_end_the_call_as_a_security_failure(people, tmp_path):
    with people("bob", *WAIT, "--auto-accept", "--confirm", "never") as bob:
        ticket = bob.wait_for("ticket")["ticket"]
        bob.wait_for("ready")
        with people("carol", "call", ticket, "--seconds", "20") as alice:
            alice.wait_for("words")
            alice.say("differ")
            assert alice.finish() == 5
            assert bob.finish() == 0
    assert alice.last("error")["reason"] == "identity-mismatch"


def test_a_declined_call_leaves_with_6(people):
    with people("bob", *WAIT) as bob:
        ticket = bob.wait_for("ticket")["ticket"]
        with people("alice", "call", ticket) as alice:
            bob.wait_for("incoming")
            bob.say("decline")
            assert alice.finish() == 6
            assert bob.finish() == 0
    assert alice.last("error")["reason"] == "declined"
    assert alice.last("report")["report"]["call"]["sent_ms"] == 0


def test_a_ticket_whose_maker_is_not_there_leaves_with_3(told):
    code, events = told("bob", "ticket", "--host", "127.0.0.1", "--port", "0")
    assert code == 0
    ticket = next(event["ticket"] for event in events if event["type"] == "ticket")
    code, events = told("alice", "call", ticket)
    assert (code, events[-1]["kind"]) == (3, "ConnectFailed")


def test_a_call_that_must_be_verified_waits_for_the_words(people):
    with people("bob", *WAIT, "--auto-accept") as bob:
        ticket = bob.wait_for("ticket")["ticket"]
        bob.wait_for("ready")
        more = ("--require", "VERIFIED", "--seconds", "0.3")
        with people("carol", "call", ticket, *more) as alice:
            alice.wait_for("words")
            alice.say("confirm")
            alice.finish()
            bob.finish()
    assert alice.last("security")["level"] == "VERIFIED"


def test_one_shows_the_test_picture_and_the_other_records_a_film_of_it(people, tmp_path):
    av = pytest.importorskip("av", reason="the extra video")
    from securecall.media.video.frames import VideoFrame
    from securecall.media.video.pattern import read_frame_number

    film = tmp_path / "call.webm"
    with people("bob", *WAIT, "--auto-accept", "--record", film) as bob:
        ticket = bob.wait_for("ticket")["ticket"]
        bob.wait_for("ready")
        with people("alice", "call", ticket, "--video", "test", "--seconds", "2") as alice:
            assert bob.wait_for("incoming")["shows"]
            seen = bob.wait_for("pictures")
            assert (alice.finish(), bob.finish()) == (0, 0)
    assert (seen["codec"], seen["width"] / seen["height"]) == ("VP8", 640 / 360)
    (shown,), (watched,) = (command.last("ended")["video"] for command in (alice, bob))
    assert shown["what"] == watched["what"] == "camera"
    assert shown["frames_sent"] >= watched["frames_shown"] > 5
    assert watched["frames_sent"] == shown["frames_shown"] == 0  # to look is not to show
    assert bob.last("recorded")["path"] == str(film)
    assert bob.last("recorded")["seconds"] > 1
    kinds = [event["kind"] for event in alice.last("report")["report"]["events"]["seen"]]
    assert "peer-recording" in kinds
    assert film.stat().st_mode & 0o777 == 0o600
    with av.open(str(film)) as container:
        pictures = [VideoFrame.from_picture(p) for p in container.decode(video=0)]
    numbers = [number for p in pictures if (number := read_frame_number(p)) is not None]
    assert numbers == sorted(set(numbers))
    assert len(numbers) > 5
    with av.open(str(film)) as container:
        heard = b"".join(bytes(f.planes[0]) for f in container.decode(audio=0))
    assert max(memoryview(heard).cast("f")) > 0.05


def test_who_does_not_ask_for_pictures_takes_none_and_the_caller_hears_why(people):
    pytest.importorskip("av", reason="the extra video")
    with people("bob", *WAIT, "--auto-accept") as bob:
        ticket = bob.wait_for("ticket")["ticket"]
        bob.wait_for("ready")
        with people("alice", "call", ticket, "--video", "test", "--seconds", "0.5") as alice:
            assert "takes no pictures" in alice.wait_for("note")["text"]
            assert (alice.finish(), bob.finish()) == (0, 0)
    assert alice.last("ended")["video"] == bob.last("ended")["video"] == []


def test_a_film_that_is_not_there_leaves_with_7_and_lets_nobody_ring_on(people):
    pytest.importorskip("av", reason="the extra video")
    with people("bob", *WAIT, "--auto-accept", "--video", "/nowhere/film.mkv") as bob:
        ticket = bob.wait_for("ticket")["ticket"]
        bob.wait_for("ready")
        with people("alice", "call", ticket) as alice:
            assert (alice.finish(), bob.finish()) == (6, 7)
    assert alice.last("error")["reason"] == "declined"


def test_a_port_in_use_is_one_error_and_a_ticket_says_where_it_leads(people):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with people("bob", "answer", "--host", "127.0.0.1", "--port", port) as bob:
            assert bob.wait_for("error")["kind"] == "ListenFailed"
            assert bob.finish() == 7
            assert bob.process.stderr.read() == ""
    with people("bob", "ticket", "--port", "0") as bob:
        told = bob.wait_for("ticket")
        place = parse_ticket(told["ticket"], unix=unix_now()).targets[0].direct
        assert (told["host"], told["port"]) == place
        assert place[0] != "0.0.0.0"
