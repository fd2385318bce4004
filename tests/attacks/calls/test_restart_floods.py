"""Whoever holds the signalling of a call asks for other ways without end."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

import pytest

from securecall.calls import moving
from securecall.calls.signaling import Answered, Offered, Refused
from securecall.calls.way import Way
from securecall.policy import Gate
from securecall.testing.bus import SignalBus
from tests.pairs.calls.test_moving import heard, place, talking
from tests.pairs.transport.test_ice_restart import until

__all__ = ["place"]
FLOOD = 20


@pytest.fixture
def gathered(monkeypatch):
    """Counts what is gathered for restarts, by way."""
    counts: dict[Way, int] = {}
    regather = Way.regather

    async def counted(way, **how):
        counts[way] = counts.get(way, 0) + 1
        return await regather(way, **how)

    monkeypatch.setattr(Way, "regather", counted)
    return counts


def restart_of(description):
    """The same with credentials that nobody had."""
    audio = replace(
        description.audio, ice_ufrag=secrets.token_hex(4), ice_pwd=secrets.token_hex(12)
    )
    return replace(description, media=(audio, *description.media[1:]))


@pytest.mark.parametrize("most", [8, 10_000], ids=["ours, of fewer", "control"])
def test_restarts_asked_for_without_end_are_refused_and_the_call_goes_on(
    most, monkeypatch, gathered, place, tmp_path
):
    assert moving.MOST_RESTARTS <= 60  # a way that changes once a second is none
    monkeypatch.setattr(moving, "MOST_RESTARTS", most)

    async def main():
        said = []

        def watch(signal, sender):
            if sender == "callee":
                said.append(signal)
            return signal

        bus = SignalBus(mutate=watch)
        async with talking(tmp_path, bus) as (call, answer):
            offer, before = call._machine._exchange.ours, len(said)
            for _ in range(FLOOD):
                bus.legs[1].inject(Offered(restart_of(offer)))
                asked = len(said)
                await until(lambda asked=asked: len(said) > asked)
            answers = [s for s in said[before:] if isinstance(s, Answered)]
            refusals = [s.status for s in said[before:] if isinstance(s, Refused)]
            taken = min(most, FLOOD)
            assert len(answers) == gathered[answer._connection.way] == taken
            assert refusals == [488] * (FLOOD - taken)
            assert call.gate is answer.gate is Gate.OPEN
            await heard(call)
            await heard(answer)

    asyncio.run(main())
