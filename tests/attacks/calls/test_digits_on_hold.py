"""Digits that are on their way when a hold comes: none leaves any more, and none is heard.

A card number that is being pressed into a call goes to nobody whom one has put on hold meanwhile.
"""

from __future__ import annotations

import asyncio

import pytest

import securecall as sc
from securecall.calls import orders
from securecall.calls.signaling import DigitPressed
from securecall.calls.sound import Sound
from tests.pairs.calls.test_client import BOB, people
from tests.pairs.transport.test_ice_restart import until
from tests.unit.calls.test_holds import ask, of
from tests.unit.calls.test_restarts import talking

NUMBER = "4000123456789"


async def pressed_into_a_hold(folder):
    """Press a number, hold after its first digit; returns what was heard by then, and in all."""
    heard = []

    async def listen(call):
        async for digit in call.digits():
            heard.append(digit)

    async with people(folder) as (alice, bob):
        async with alice.call(BOB) as call, (await bob.next_call()).accept() as answer:
            await call.connected()
            await answer.connected()
            listening = asyncio.ensure_future(listen(answer))
            pressing = asyncio.ensure_future(call.press(NUMBER))
            await until(lambda: heard)
            await call.hold()
            before = len(heard)
            await asyncio.wait((pressing,), timeout=0.6)
            listening.cancel()
            return before, len(heard), pressing.exception() if pressing.done() else None


def test_no_digit_leaves_for_whom_we_put_on_hold_meanwhile(tmp_path):
    before, after, told = asyncio.run(pressed_into_a_hold(tmp_path))
    assert before == after < len(NUMBER)
    assert isinstance(told, sc.UsageError), "nothing is said to be pressed that was not"


def test_control_where_digits_are_not_forgotten_they_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(Sound, "_forget_digits", lambda _: None)
    before, after, _ = asyncio.run(pressed_into_a_hold(tmp_path))
    assert after > before


def test_nothing_is_pressed_or_heard_in_a_call_that_is_on_hold(tmp_path):
    async def main():
        async with people(tmp_path) as (alice, bob):
            async with alice.call(BOB) as call, (await bob.next_call()).accept() as answer:
                await call.connected()
                await answer.connected()
                first = asyncio.ensure_future(anext(call.digits()))
                await call.hold()
                with pytest.raises(sc.UsageError):
                    await call.press("1")
                call._connection.sound.digit("7")  # as an engine of somebody else's may tell
                await asyncio.sleep(0)
                assert not first.done()
                await call.resume()
                await answer.press("2")
                assert await asyncio.wait_for(first, 5) == "2"

    asyncio.run(main())


def test_digits_by_signalling_are_as_deaf_on_hold(monkeypatch):
    alice, bob = talking()
    monkeypatch.setattr(type(alice), "_digits_by_signalling", True)
    assert of(orders.DigitHeard, alice.receive(DigitPressed("1"), now=1.0))  # the control
    assert of(orders.Send, alice.press("1"))
    ask(alice, bob, hold=True)
    assert not of(orders.DigitHeard, alice.receive(DigitPressed("2"), now=1.0))
    with pytest.raises(sc.UsageError):
        alice.press("2")
