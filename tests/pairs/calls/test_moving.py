"""A call whose ends move to other addresses: it goes on, under the same keys."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest

import securecall as sc
from securecall.calls.signaling import Answered, Offered
from securecall.media.description import Direction
from securecall.policy import Gate
from securecall.testing.bus import SignalBus
from tests.pairs.calls.test_client import BOB, people
from tests.pairs.transport.test_ice_restart import until


class Place:
    """Where this machine seems to be: an address of loopback."""

    def __init__(self, monkeypatch):
        self.host = "127.0.0.1"

        async def own_hosts(_towards):
            return (self.host,)

        monkeypatch.setattr("securecall.calls.way.own_hosts", own_hosts)
        # loopback is no place where "no way leads anywhere" here
        monkeypatch.setattr("securecall.calls.way.is_loopback", lambda _host: False)


@pytest.fixture
def place(monkeypatch):
    return Place(monkeypatch)


@asynccontextmanager
async def talking(folder, bus, **options):
    """Two who hear each other."""
    async with AsyncExitStack() as stack:
        alice, bob = await stack.enter_async_context(people(folder, bus))
        call = await stack.enter_async_context(alice.call(BOB, audio=sc.ToneSource(440), **options))
        ring = await bob.next_call()
        answer = await stack.enter_async_context(ring.accept(audio=sc.ToneSource(620)))
        await call.connected()
        await answer.connected()
        await heard(call)
        await heard(answer)
        yield call, answer


async def heard(call, frames=5):
    audio = call.audio
    async with asyncio.timeout(20):
        for _ in range(frames):
            await anext(audio)


def local(call):
    return call._connection.way.path.local[0]


async def moved(call, host):
    await until(lambda: local(call) == host)


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_an_end_that_moves_is_heard_from_there_under_the_same_keys(who, place, tmp_path):
    async def main():
        seen = []
        bus = SignalBus(mutate=lambda signal, sender: seen.append((signal, sender)) or signal)
        async with talking(tmp_path, bus) as (call, answer):
            end, other = (call, answer) if who == "caller" else (answer, call)
            mine = [end._connection._certificate.digest.value]
            level, link = end.security.level, end._connection._link
            place.host = "127.0.0.2"
            end.network_changed()
            await moved(end, "127.0.0.2")
            await moved(other, "127.0.0.2")
            await heard(end)
            await heard(other)
            assert end.gate is other.gate is Gate.OPEN
            assert end.security.level is level
            assert end._connection._link is link
            assert {by for s, by in seen[-2:] if isinstance(s, Offered)} == {who}
            offers = [s.description for s, by in seen if isinstance(s, Offered | Answered)]
            offers = [d for d in offers if [f.value for f in d.audio.fingerprints] == mine]
            again = offers[-1].audio
            assert again.fingerprints == offers[0].audio.fingerprints
            assert again.ice_ufrag != offers[0].audio.ice_ufrag
            assert again.ice_pwd != offers[0].audio.ice_pwd
            assert again.candidates[0].host == again.host == "127.0.0.2"
            await call.hang_up()
            await answer.ended()

    asyncio.run(main())


def test_where_no_address_changed_nothing_is_said(place, tmp_path):
    async def main():
        seen = []
        bus = SignalBus(mutate=lambda signal, sender: seen.append(signal) or signal)
        async with talking(tmp_path, bus) as (call, answer):
            before = len(seen)
            call.network_changed()
            answer.network_changed()
            await heard(call, 10)
            assert len(seen) == before
            place.host = "127.0.0.2"  # the control
            call.network_changed()
            await moved(call, "127.0.0.2")
            assert len(seen) > before

    asyncio.run(main())


def test_a_hold_asked_for_while_the_way_moves_comes_after_it(place, tmp_path):
    async def main():
        async with talking(tmp_path, SignalBus()) as (call, answer):
            place.host = "127.0.0.2"
            call.network_changed()
            while not call._moving.asks:  # noqa: ASYNC110 - for a few turns of the loop alone
                await asyncio.sleep(0)
            await call.hold()
            assert call.on_hold
            assert answer._machine._exchange.agreed.direction is Direction.RECVONLY
            await moved(call, "127.0.0.2")

    asyncio.run(main())


def test_a_call_moves_twenty_times_and_lives(place, tmp_path):
    async def main():
        async with talking(tmp_path, SignalBus()) as (call, answer):
            for number in range(20):
                end, other = (call, answer) if number % 2 else (answer, call)
                place.host = f"127.0.0.{2 + number % 3}"
                end.network_changed()
                await moved(end, place.host)
                await heard(other, 2)
            await heard(call)
            await heard(answer)

    asyncio.run(main())


def test_two_who_move_at_once_find_each_other(place, tmp_path):
    async def main():
        async with talking(tmp_path, SignalBus()) as (call, answer):
            place.host = "127.0.0.2"
            call.network_changed()
            answer.network_changed()
            await moved(call, "127.0.0.2")
            await moved(answer, "127.0.0.2")
            await heard(call)
            await heard(answer)

    asyncio.run(main())


def test_a_restart_under_other_keys_is_refused_and_the_call_goes_on(place, tmp_path):
    async def main():
        changed = []

        def forge(signal, sender):
            if changed and isinstance(signal, Offered) and sender == "caller":
                audio = signal.description.audio
                evil = tuple(replace(f, value=bytes(len(f.value))) for f in audio.fingerprints)
                audio = replace(audio, fingerprints=evil)
                changed.append(signal)
                return Offered(replace(signal.description, media=(audio,)))
            return signal

        async with talking(tmp_path, SignalBus(mutate=forge)) as (call, answer):
            changed.append("from now on")
            place.host = "127.0.0.2"
            call.network_changed()
            await until(lambda: len(changed) > 2)
            assert local(call) == local(answer) == "127.0.0.1"
            await heard(call)
            await heard(answer)

    asyncio.run(main())
