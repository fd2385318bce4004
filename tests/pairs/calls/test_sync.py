"""Calls from scripts that know nothing of asyncio."""

from __future__ import annotations

import threading
from itertools import islice

import pytest

import securecall as sc
from securecall import sync
from securecall.testing.authority import Authority

PASSPHRASE = sc.Secret("correct horse battery staple")


def test_two_scripts_talk_and_both_reports_are_signed(tmp_path):
    taken: list[sync.Call] = []

    def answer(bob: sync.Client) -> None:
        with bob.answer(audio=sc.ToneSource(620), text=True) as call:
            taken.append(call)
            call.connected()
            call.text.send("from a script")
            call.ended()

    with (
        sync.open(tmp_path / "bob", passphrase=PASSPHRASE, create=True) as bob,
        sync.open(tmp_path / "alice", passphrase=PASSPHRASE, create=True) as alice,
    ):
        ticket = bob.ticket(host="127.0.0.1")
        answering = threading.Thread(target=answer, args=(bob,))
        answering.start()
        with alice.call(ticket, text=True) as call:
            assert call.connected().level is sc.E2EE
            assert next(iter(call.text)) == "from a script"
            assert call.text.agreed
            assert call.text.statistics().characters_received == 13
            assert call.confirm_sas().level is sc.VERIFIED
            heard = list(islice(call.audio, 5))
            assert all(frame.samples for frame in heard)
            call.write(heard[0])
        answering.join()
        assert taken[0].sas == call.sas
        assert "Signed by both ends" in str(call.report)
        assert "Signed by both ends" in str(taken[0].report)


def test_two_scripts_see_each_other_and_hold(tmp_path):
    pytest.importorskip("av", reason="the extra video")
    from securecall.media.video.pattern import read_frame_number

    path = tmp_path / "call.webm"
    ready, looked = threading.Event(), threading.Event()
    seen: list[list[int | None]] = []

    def answer(bob: sync.Client) -> None:
        with bob.answer(audio=sc.ToneSource(620), video=True) as call:
            recorder = sc.VideoRecorder(path)
            call.video.add_sink(recorder)
            seen.append([read_frame_number(f) for f in islice(call.video.frames(), 5)])
            call.video.remove_sink(recorder)
            recorder.close()
            ready.set()
            looked.wait(60)

    with (
        sync.open(tmp_path / "bob", passphrase=PASSPHRASE, create=True) as bob,
        sync.open(tmp_path / "alice", passphrase=PASSPHRASE, create=True) as alice,
    ):
        ticket = bob.ticket(host="127.0.0.1")
        answering = threading.Thread(target=answer, args=(bob,))
        answering.start()
        picture = sc.TestPattern(320, 180)
        try:
            with alice.call(ticket, audio=sc.ToneSource(440), video=picture) as call:
                call.connected()
                assert call.video.shown == {sc.CAMERA}
                assert ready.wait(60)
                call.hold()
                assert call.on_hold
                call.resume()
                assert not call.on_hold
                call.video.add(sc.TestPattern(320, 180), sc.SCREEN)
                assert call.video.shown == {sc.CAMERA, sc.SCREEN}
                call.video.drop(sc.SCREEN)
                call.video.show(None)
                with pytest.raises(sc.UsageError):
                    call.video.show(picture, sc.SCREEN)
                assert call.video.statistics()[0].frames_sent >= 5
                looked.set()
        finally:
            looked.set()
            answering.join()
    assert None not in seen[0]
    assert seen[0] == sorted(set(seen[0]))
    assert path.stat().st_size > 1000


def test_errors_come_through_as_they_are(tmp_path):
    with sync.open(tmp_path / "alice", passphrase=PASSPHRASE, create=True) as alice:
        with pytest.raises(sc.UsageError):
            alice.call("sip:bob@example.com")
        with pytest.raises(sc.ProtocolError):
            alice.contact("nonsense")
    with (
        pytest.raises(sc.WrongPassphrase),
        sync.open(tmp_path / "alice", passphrase=sc.Secret("x")),
    ):
        pass
    with pytest.raises(sc.UsageError):
        alice.ticket()


def test_a_script_may_use_a_sip_account(tmp_path):
    certificate = Authority.make(tmp_path / "authority").issue("alice.example")
    with sync.open(tmp_path / "alice", passphrase=PASSPHRASE, create=True) as alice:
        account = alice.sign_in(
            "sip:alice@example.com",
            server=("127.0.0.1", 1),
            listen=("127.0.0.1", 0),
            certificate=certificate,
        )
        assert account.listening is not None
        with pytest.raises(sc.ConnectFailed), alice.call("sip:bob@example.com"):
            pass


def test_a_script_backs_up_and_restores(tmp_path):
    with sync.open(tmp_path / "alice", passphrase=PASSPHRASE, create=True) as alice:
        address = alice.address
        made = alice.back_up(tmp_path / "saved", passphrase=PASSPHRASE)
    how = {"backup_passphrase": PASSPHRASE, "passphrase": PASSPHRASE}
    assert sc.restore(tmp_path / "saved", tmp_path / "again", **how) == made
    with sync.open(tmp_path / "again", passphrase=PASSPHRASE) as again:
        assert again.address == address
