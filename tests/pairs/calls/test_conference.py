"""Three people in two calls, mixed on the machine of the one who placed them."""

from __future__ import annotations

import asyncio

import pytest

import securecall as sc
from tests.pairs.calls.three_people import HERTZ, Ears, answer, people


@pytest.mark.parametrize("codecs", [("opus", "PCMU"), ("PCMU", "PCMU")], ids="-".join)
def test_each_of_three_hears_the_two_others_until_one_hangs_up(tmp_path, codecs):
    async def main() -> None:
        ears = {name: Ears() for name in HERTZ}
        to_ben, to_cat = (sc.Policy(prefer_codecs=(codec,)) for codec in codecs)
        async with people(tmp_path) as (ann, ben, cat), sc.Conference() as room:
            room.local(source=sc.ToneSource(HERTZ["ann"]), sink=ears["ann"])
            async with (
                ann.call("sip:ben@example.com", policy=to_ben) as first,
                await answer(ben, "ben", ears["ben"]) as bens,
                ann.call("sip:cat@example.com", policy=to_cat) as second,
                await answer(cat, "cat", ears["cat"]),
            ):
                room.add(first)
                room.add(second, gain_db=-1.0)
                await ears["ann"].until("ben", "cat")
                await ears["ben"].until("ann", "cat")
                await ears["cat"].until("ann", "ben")
                assert {call for call, level in room.levels().items() if level.speaking} == {
                    first,
                    second,
                }
                await bens.hang_up()
                await first.ended()
                await ears["cat"].until("ann")
                await ears["ann"].until("cat")
                assert room.calls == (second,)
            for call, other in ((first, "cat"), (second, "ben")):
                (party,) = [p for p in call.report.parties if p.role == "conference"]
                assert party.name == f"{other}@example.com"
            assert room.calls == ()

    asyncio.run(main())


def test_a_call_that_is_over_is_not_taken_in(tmp_path):
    async def main() -> None:
        async with people(tmp_path) as (ann, ben, _), sc.Conference() as room:
            async with ann.call("sip:ben@example.com") as call:
                await (await ben.next_call()).decline()
                with pytest.raises(sc.Declined):
                    await call.connected()
                with pytest.raises(sc.Declined):
                    room.add(call)
                assert room.calls == ()

    asyncio.run(main())


def test_a_call_may_be_taken_in_before_it_is_answered(tmp_path):
    async def main() -> None:
        ears = Ears()
        async with people(tmp_path) as (ann, ben, _), sc.Conference() as room:
            room.local(source=sc.ToneSource(HERTZ["ann"]))
            async with ann.call("sip:ben@example.com") as call:
                room.add(call)
                async with await answer(ben, "ben", ears):
                    await ears.until("ann")

    asyncio.run(main())
