"""Digits of the telephone between two whole clients, in order, each once, as long as sound is."""

from __future__ import annotations

import asyncio

import pytest

import securecall as sc
from securecall.errors import UsageError
from securecall.events import DigitPressed
from securecall.rtp.srtp import SrtpSession
from tests.pairs.calls.test_client import BOB, people

HANG = 60


async def heard(call, count):
    digits, found = call.digits(), ""
    async with asyncio.timeout(HANG):
        async for digit in digits:
            found += digit
            if len(found) == count:
                break
    return found


@pytest.mark.parametrize("codec", ["opus", "PCMU"])
def test_what_is_pressed_is_heard_at_the_other_end_both_ways(tmp_path, codec):
    async def main():
        async with people(tmp_path) as (alice, bob):
            events = bob.events()
            policy = sc.Policy(prefer_codecs=(codec,))
            async with alice.call(BOB, audio=sc.ToneSource(440), policy=policy) as call:
                ring = await bob.next_call()
                async with ring.accept(audio=sc.ToneSource(620)) as answer:
                    await call.connected()
                    await answer.connected()
                    there = asyncio.create_task(heard(answer, 5))
                    here = asyncio.create_task(heard(call, 2))
                    await asyncio.sleep(0)
                    await asyncio.gather(call.press("911#d"), answer.press("*0"))
                    assert await there == "911#D"
                    assert await here == "*0"
                    statistics = answer.statistics()
                    assert statistics.lost <= 2
                    assert statistics.malformed == statistics.unknown == 0
                    await anext(call.audio)  # the sound goes on
                    rest = answer.digits()
                    await call.hang_up()
                    assert [digit async for digit in rest] == []
        found = []
        async with asyncio.timeout(HANG):
            async for event in events:
                if isinstance(event, DigitPressed):
                    found.append(event.digit)
                if len(found) == 5:
                    break
        assert "".join(found) == "911#D"

    asyncio.run(main())


def test_digits_are_not_pressed_before_or_after_a_call_nor_those_on_no_keypad(tmp_path):
    async def main():
        async with people(tmp_path) as (alice, bob):
            async with alice.call(BOB, audio=sc.ToneSource(440)) as call:
                with pytest.raises(UsageError):
                    await call.press("1")
                ring = await bob.next_call()
                async with ring.accept() as answer:
                    await call.connected()
                    await answer.connected()
                    with pytest.raises(UsageError, match="keypad"):
                        await call.press("1x")
            with pytest.raises(UsageError):
                await call.press("1")
            assert [digit async for digit in call.digits()] == []

    asyncio.run(main())


def test_nobody_on_the_way_sees_by_their_length_that_digits_are_pressed(tmp_path, monkeypatch):
    lengths = set()
    protect = SrtpSession.__init__

    def noting(self, *args, **more):
        protect(self, *args, **more)
        inner = self.protect

        def note(packet):
            sealed = inner(packet)
            lengths.add(len(sealed))
            return sealed

        self.protect = note

    monkeypatch.setattr(SrtpSession, "__init__", noting)

    async def main():
        async with people(tmp_path) as (alice, bob):
            async with alice.call(BOB, audio=sc.ToneSource(440)) as call:
                ring = await bob.next_call()
                async with ring.accept(audio=sc.ToneSource(620)) as answer:
                    await call.connected()
                    await answer.connected()
                    await call.press("12")
        # the counter of SFrame takes one byte more from its eighth packet on
        assert max(lengths) - min(lengths) <= 1

    asyncio.run(main())
