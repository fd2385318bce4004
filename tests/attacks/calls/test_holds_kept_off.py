"""Whoever holds the signalling keeps a change of a call open, so that nobody is put on hold.

The control asks first and holds as it is told, which is what a hold was.
"""

from __future__ import annotations

import asyncio

import pytest

import securecall as sc
from securecall.calls.call import Call
from securecall.calls.signaling import Answered, Offered
from securecall.calls.way import Way
from securecall.testing.bus import SignalBus
from tests.attacks.calls.test_restart_floods import restart_of
from tests.pairs.calls.test_moving import heard, place, talking
from tests.pairs.transport.test_ice_restart import until

__all__ = ["place"]


async def asked_first(call):
    """Hold once the other end is asked, as it was."""
    answered = call._ask(hold=True)
    call._on_hold = True
    call._connection.hold(on=True)
    await answered


async def is_heard(other):
    """Whether anything but silence comes, what is on its way left out."""
    await heard(other, 8)
    frames = other.audio
    return any([any((await anext(frames)).samples) for _ in range(3)])


@pytest.fixture
def stalled(monkeypatch):
    """What is gathered anew waits for a relay that does not answer, until this is set."""
    answers = asyncio.Event()
    regather = Way.regather

    async def late(way, **how):
        await answers.wait()
        return await regather(way, **how)

    monkeypatch.setattr(Way, "regather", late)
    return answers


async def moved_by_the_provider(bus, call, answer):
    """It asks the caller for another way in the callee's name; the relay takes its time."""
    bus.legs[0].inject(Offered(restart_of(answer._machine._exchange.ours)))
    await until(lambda: call._machine.changing)


async def unanswered(bus, call, _answer):
    """It keeps the answer to a change of ours to itself."""
    bus.mutate = lambda signal, _: None if isinstance(signal, Answered) else signal
    _ = call._ask()
    await until(lambda: call._machine.changing)


@pytest.mark.parametrize(
    ("hold", "keep_open"),
    [
        (Call.hold, moved_by_the_provider),
        (Call.hold, unanswered),
        (asked_first, unanswered),
    ],
    ids=["a way is looked for", "no answer comes", "control"],
)
def test_who_is_put_on_hold_hears_nothing_whatever_change_is_kept_open(
    hold, keep_open, stalled, place, tmp_path
):
    async def main():
        bus = SignalBus()
        async with talking(tmp_path, bus) as (call, answer):
            await keep_open(bus, call, answer)
            holding = asyncio.ensure_future(hold(call))
            listening = await is_heard(answer)
            if hold is asked_first:
                assert listening
                with pytest.raises(sc.UsageError):
                    await holding
                return
            assert call.on_hold
            assert not listening
            assert not holding.done()
            if keep_open is moved_by_the_provider:  # the call ends, and so does what waits
                await call.hang_up()
                with pytest.raises(sc.CallFailed):
                    await holding
                return
            bus.mutate = lambda signal, _: signal
            bus.legs[0].inject(Answered(answer._machine._exchange.ours))
            await holding
            assert answer.held
            await call.resume()
            assert await is_heard(answer)

    asyncio.run(main())


def test_a_hold_while_the_last_one_is_taken_back_stays(place, tmp_path):
    """The provider lets the answer to the resumption come when we have thought better of it."""

    async def main():
        bus, kept = SignalBus(), []
        async with talking(tmp_path, bus) as (call, answer):
            await call.hold()
            bus.mutate = lambda signal, _: (
                kept.append(signal) if isinstance(signal, Answered) else signal
            )
            resuming = asyncio.ensure_future(call.resume())
            await until(lambda: kept)
            holding = asyncio.ensure_future(call.hold())
            await asyncio.sleep(0)
            bus.mutate = lambda signal, _: signal
            bus.legs[0].inject(kept[0])
            with pytest.raises(sc.ChangeRefused):
                await resuming
            assert call.on_hold
            await holding
            assert call.on_hold
            assert answer.held
            assert not await is_heard(answer)

    asyncio.run(main())
