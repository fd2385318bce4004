"""What everybody does wrong once is told at once, and harms nothing."""

from __future__ import annotations

import asyncio
from functools import wraps

import pytest

import securecall as sc
from tests.pairs.calls.test_client import ALICE, BOB, PASSPHRASE, people

GIVEN_AS_TEXT = "a long passphrase"


def in_a_loop(test):
    @wraps(test)
    def run(**fixtures):
        asyncio.run(test(**fixtures))

    return run


@pytest.mark.parametrize("wrong", [GIVEN_AS_TEXT, GIVEN_AS_TEXT.encode()])
@in_a_loop
async def test_a_passphrase_as_text_is_refused_in_words_that_do_not_repeat_it(tmp_path, wrong):
    with pytest.raises(sc.UsageError, match="Secret") as caught:
        async with sc.open(tmp_path / "home", passphrase=wrong, create=True):
            pass
    assert GIVEN_AS_TEXT not in str(caught.value)
    async with sc.open(tmp_path / "home", passphrase=PASSPHRASE, create=True):
        pass


@in_a_loop
async def test_a_password_as_text_is_refused_before_anything_is_asked(tmp_path):
    async with sc.open(tmp_path / "home", passphrase=PASSPHRASE, create=True) as alice:
        for how in ({"sip": "alice@lab.invalid"}, {"xmpp": "alice@lab.invalid"}):
            with pytest.raises(sc.UsageError, match="Secret"):
                await alice.sign_in(**how, password=GIVEN_AS_TEXT)
    with pytest.raises(sc.UsageError, match="Secret"):
        sc.TurnServer(host="relay.example", port=3478, username="alice", password=GIVEN_AS_TEXT)


@in_a_loop
async def test_a_client_whose_opening_was_cancelled_is_closed(tmp_path):
    async with sc.open(tmp_path, passphrase=PASSPHRASE, create=True):
        pass
    opening = asyncio.create_task(sc.open(tmp_path, passphrase=PASSPHRASE).__aenter__())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with sc.open(tmp_path, passphrase=PASSPHRASE) as again:  # StoreBusy, if it was not
        assert again.address


@in_a_loop
async def test_nobody_waits_for_calls_of_a_closed_client(tmp_path):
    async with sc.open(tmp_path, passphrase=PASSPHRASE, create=True) as alice:
        pass
    with pytest.raises(sc.UsageError, match="open the client first"):
        await alice.next_call()


@in_a_loop
async def test_a_call_that_was_never_entered_does_not_let_anybody_wait(tmp_path):
    async with people(tmp_path) as (alice, bob):
        with pytest.raises(sc.UsageError, match="async with"):
            await alice.call(BOB).connected()
        async with alice.call(BOB) as call:
            taken = (await bob.next_call()).accept()
            with pytest.raises(sc.UsageError, match="async with"):
                await taken.connected()
            async with taken:
                await call.connected()


@in_a_loop
async def test_a_call_entered_twice_goes_on(tmp_path):
    async with people(tmp_path) as (alice, bob):
        async with alice.call(BOB) as call:
            ring = await bob.next_call()
            async with ring.accept() as taken:
                await call.connected()
                for side in (call, taken):
                    with pytest.raises(sc.UsageError, match="before"):
                        await side.__aenter__()
                assert call.state is taken.state
                assert call.state.value == "active"
        with pytest.raises(sc.UsageError, match="before"):
            async with call:
                pass


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"audio": "hello.wav"}, "FileSource"),
        ({"video": "film.webm"}, "VideoFile"),
        ({"require": "VERIFIED"}, "VERIFIED"),
        ({"require": 9}, "VERIFIED"),
    ],
)
@in_a_loop
async def test_what_no_call_can_be_made_with_is_refused_before_it_rings(tmp_path, options, says):
    async with people(tmp_path) as (alice, bob):
        with pytest.raises(sc.UsageError, match=says):
            alice.call(BOB, **options)
        assert not alice.calls
        async with bob.call(ALICE) as call:
            ring = await alice.next_call()
            with pytest.raises(sc.UsageError, match=says):
                ring.accept(**options)
            async with ring.accept() as taken:
                await call.connected()
                if "audio" in options:
                    with pytest.raises(sc.UsageError, match=says):
                        taken.source = options["audio"]
                    with pytest.raises(sc.UsageError, match=says):
                        await taken.play(options["audio"])
                    with pytest.raises(sc.UsageError, match="AudioFrame"):
                        await taken.write(b"\0\0" * 960)
                assert taken.state.value == "active"


def test_a_policy_takes_levels_alone():
    with pytest.raises(sc.UsageError, match="VERIFIED"):
        sc.Policy(minimum="E2EE")


@pytest.mark.parametrize(
    "wrong", ["my laptop", "bob@lab.test", "lab.test:5061", "192.0.2.999", "[::1]"]
)
@in_a_loop
async def test_a_ticket_to_no_host_is_not_made(tmp_path, wrong):
    async with sc.open(tmp_path, passphrase=PASSPHRASE, create=True) as alice:
        with pytest.raises(sc.UsageError, match="no host"):
            await alice.ticket(host=wrong)
        assert await alice.ticket(host="LOCALHOST")


@in_a_loop
async def test_a_client_is_not_used_from_another_event_loop(tmp_path):
    async with sc.open(tmp_path, passphrase=PASSPHRASE, create=True) as alice:

        async def elsewhere():
            with pytest.raises(sc.UsageError, match="another event loop"):
                alice.call(BOB)
            for what in (
                alice.next_call(),
                alice.ticket(host="127.0.0.1"),
                alice.sign_in("alice@lab.invalid", password=PASSPHRASE),
            ):
                with pytest.raises(sc.UsageError, match="another event loop"):
                    await what

        await asyncio.to_thread(asyncio.run, elsewhere())
