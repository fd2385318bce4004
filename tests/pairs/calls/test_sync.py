"""Calls from scripts that know nothing of asyncio."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, contextmanager
from itertools import islice

import pytest

import securecall as sc
from securecall import sync
from securecall.store.lock import MINIMUM_COST
from securecall.store.sqlite import Store
from securecall.testing.authority import Authority
from tests.pairs.calls.test_registered import PASSWORDS, at, lab

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


@contextmanager
def subscribers(folder):
    """A server in a thread of its own, and three people who are registered there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def there(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    opened = lab(folder)
    with ExitStack() as stack:
        stack.callback(loop.close)
        stack.callback(thread.join)
        stack.callback(loop.call_soon_threadsafe, loop.stop)
        server = there(opened.__aenter__())
        stack.callback(lambda: there(opened.__aexit__(None, None, None)))
        people = []
        for name, password in PASSWORDS.items():
            Store.create(folder / name, PASSPHRASE, device_id=name, cost=MINIMUM_COST).close()
            people.append(stack.enter_context(sync.open(folder / name, passphrase=PASSPHRASE)))
            people[-1].sign_in(
                at(name, server),
                password=sc.Secret(password),
                server=(server.host, server.port),
                authorities=server.authorities,
            )
        yield server, *people


def test_scripts_hand_each_other_over_press_keys_and_see_who_called(tmp_path):
    with subscribers(tmp_path) as (server, alice, bob, carol):
        asked, pressed, waits = bob.transfers(), [], threading.Event()

        def goes():
            with bob.answer(audio=sc.ToneSource(620)) as call:
                request = next(asked)
                assert (request.peer, request.replaces) == ("alice@" + server.domain, False)
                assert str(request.address) == request.target == at("carol", server)
                with request.accept(audio=sc.ToneSource(620)) as new:
                    new.connected()
                    assert call.ended() is sc.EndReason.HUNG_UP
                    waits.wait(30)
                    new.press("5")
            request = next(asked)
            request.decline()

        def takes():
            with carol.answer(audio=sc.ToneSource(880)) as call:
                call.connected()
                digits = call.digits()
                waits.set()
                pressed.append(next(digits))
                call.ended()

        threads = [threading.Thread(target=script) for script in (goes, takes)]
        for thread in threads:
            thread.start()
        with alice.call(at("bob", server), audio=sc.ToneSource(440)) as call:
            call.connected()
            call.transfer(at("carol", server))
        threads[1].join()
        assert pressed == ["5"]
        with bob.call(at("alice", server)) as back, alice.answer() as call:
            back.connected()
            call.connected()
            with pytest.raises(sc.NotTransferred):
                call.transfer(at("carol", server))
        threads[0].join()
        history = bob.call_history
        assert [past.peer.split("@")[0] for past in history.calls()] == ["alice", "carol", "alice"]
        history.forget([2])
        history.keep(calls=1, days=30)
        assert history.kept == (1, 30)
        assert [past.number for past in history.calls()] == [3]
        history.clear()
        assert bob.call_history.calls() == ()


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
