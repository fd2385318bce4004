"""Real-time text between two whole clients: real sockets and keys, no SIP."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

import securecall as sc
from securecall.calls.machine import State
from securecall.errors import UsageError
from tests.pairs.calls.test_client import BOB, people

HANG = 30  # seconds; nothing here takes one


@asynccontextmanager
async def call(tmp_path, *, ours=True, theirs=True, **options):
    async with asyncio.timeout(HANG), people(tmp_path) as (alice, bob):
        async with alice.call(BOB, audio=sc.ToneSource(440), text=ours, **options) as outgoing:
            ring = await bob.next_call()
            assert ring.writes is ours
            async with ring.accept(audio=sc.ToneSource(620), text=theirs) as incoming:
                await outgoing.connected()
                await incoming.connected()
                yield outgoing, incoming


async def read(text, until):
    """What comes, up to what is waited for."""
    came = ""
    async for piece in text:
        came += piece
        if until in came:
            break
    return came


def run(scenario):
    asyncio.run(scenario())


def test_each_reads_what_the_other_types_but_on_hold_and_the_report_says_so(tmp_path):
    async def main():
        async with call(tmp_path) as (a, b):
            assert a.text.agreed
            assert b.text.agreed
            await a.text.send("Gr\u00fc\u00dfe\b!\n")
            assert await read(b.text, "\u2028") == "Gr\u00fc\u00dfe\b!\u2028"
            await b.text.send("hello")
            assert await read(a.text, "hello") == "hello"
            counts = b.text.statistics()
            assert (counts.lost, counts.refused, counts.malformed, counts.gated) == (0,) * 4
            assert counts.characters_sent == 5
            assert a.statistics().forged == b.statistics().forged == 0
            stretches = [i for i in a.report.to_object()["intervals"] if i["medium"] == "text"]
            assert [(s["passed"], s["level"], s["sframe"]) for s in stretches] == [
                (True, "OPPORTUNISTIC", True)
            ]
            await a.hold()
            for side in (a, b):
                with pytest.raises(UsageError, match="hold"):
                    await side.text.send("x")
            await a.resume()
            await a.text.send("y")
            assert await read(b.text, "y") == "y"
        assert [piece async for piece in a.text] == []  # the call is over
        with pytest.raises(UsageError):
            await a.text.send("x")

    run(main)


def test_while_words_are_compared_no_text_passes_and_then_it_does(tmp_path):
    async def main():
        async with call(tmp_path, require=sc.VERIFIED) as (a, b):
            assert a.state is State.VERIFYING
            with pytest.raises(UsageError, match="in progress"):
                await a.text.send("early")
            await b.text.send("forward")  # for him the call is open
            heard = a.audio
            while a.text.statistics().gated < 1:
                await anext(heard)
            assert a.text.statistics().characters_received == 0
            await a.confirm_sas()
            await b.text.send("now")
            assert (await read(a.text, "now")).endswith("now")  # copies may bring the other, now
            await a.text.send("late")
            assert await read(b.text, "late") == "late"

    run(main)
