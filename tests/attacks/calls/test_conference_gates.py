"""Somebody whose words are still compared wants to listen to a conference, or speak into it.

Ann talks with Ben, and Cat calls (or whoever answers in her place): until the words are confirmed
she may be anybody. The control is the bridge an application would build from sinks and sources
alone, which asks nobody's gate.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

import securecall as sc
from securecall.media.endpoints import PcmInput
from securecall.policy import Gate
from securecall.testing.attacks.stage import GUARD_SECONDS
from tests.pairs.calls.three_people import HERTZ, Ears, answer, people


class Spoken(sc.ToneSource):
    """A tone in the place of a person at a microphone: it passes while words are compared."""

    live = True


class NaiveBridge:
    """Hands on what one call hears to the other call, as live as any microphone."""

    def __init__(self) -> None:
        self.waiting: set[asyncio.Task[None]] = set()

    def connect(self, one: sc.Call, other: sc.Call) -> None:
        for call, peer in ((one, other), (other, one)):
            call.source = PcmInput(capacity=1.0)
            peer.add_sink(_Pipe(self, call.source))


class _Pipe:
    def __init__(self, bridge: NaiveBridge, into: PcmInput) -> None:
        self.bridge, self.into = bridge, into

    def write(self, frame: sc.AudioFrame) -> None:
        task = asyncio.ensure_future(self.into.write(frame))
        self.bridge.waiting.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.bridge.waiting.discard(task)
        task.exception()  # the call is over

    def close(self) -> None:
        pass


async def scene(tmp_path, stack: AsyncExitStack):
    """Ann in an open call with Ben, and in one with Cat whose words nobody confirmed."""
    ears = {name: Ears() for name in HERTZ}
    ann, ben, cat = await stack.enter_async_context(people(tmp_path))
    to_ben = await stack.enter_async_context(ann.call("sip:ben@example.com"))
    await stack.enter_async_context(await answer(ben, "ben", ears["ben"]))
    to_cat = await stack.enter_async_context(ann.call("sip:cat@example.com", require=sc.VERIFIED))
    cats = await answer(cat, "cat", ears["cat"])
    await stack.enter_async_context(cats)
    for call in (to_ben, to_cat, cats):
        await call.connected()
    assert (to_ben.gate, to_cat.gate, cats.gate) == (Gate.OPEN, Gate.VERIFYING, Gate.OPEN)
    return ears, to_ben, to_cat


def test_who_compares_words_hears_nobody_but_us_and_is_heard_by_nobody_but_us(tmp_path):
    async def main():
        async with asyncio.timeout(GUARD_SECONDS), AsyncExitStack() as stack:
            ears, to_ben, to_cat = await scene(tmp_path, stack)
            room = await stack.enter_async_context(sc.Conference())
            room.local(source=Spoken(HERTZ["ann"]), sink=ears["ann"])
            room.add(to_ben)
            room.add(to_cat)
            await ears["ann"].until("ben", "cat")
            for _ in range(3):  # for a while, not for a moment
                for name in ("ben", "cat"):
                    await ears[name].until("ann")
                    await ears[name].another(10)
                    assert ears[name].heard() == {"ann"}
            assert not [p for p in to_ben.report.parties if p.role == "conference"]
            await to_cat.confirm_sas()
            await ears["cat"].until("ann", "ben")
            await ears["ben"].until("ann", "cat")

    asyncio.run(main())


@pytest.mark.parametrize("listening", ["ben", "cat"])
def test_control_a_bridge_of_sinks_and_sources_leaks_both_ways(tmp_path, listening):
    async def main():
        async with asyncio.timeout(GUARD_SECONDS), AsyncExitStack() as stack:
            ears, to_ben, to_cat = await scene(tmp_path, stack)
            NaiveBridge().connect(to_ben, to_cat)
            await ears[listening].until("cat" if listening == "ben" else "ben")
            assert to_cat.gate is Gate.VERIFYING

    asyncio.run(main())
