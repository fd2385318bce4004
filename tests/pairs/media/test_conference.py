"""A room of whole audio sessions, of every codec, in time that the test moves."""

from __future__ import annotations

import asyncio
from array import array

import pytest

from securecall.errors import DeviceError, DeviceLost, UsageError
from securecall.media import g722
from securecall.media.codecs import G722, OPUS, PCMA, PCMU
from securecall.media.conference import Conference
from securecall.media.endpoints import SilenceSource, ToneSource
from securecall.media.engine import Gate
from securecall.media.frames import rms_dbfs
from tests.interop.sound import share
from tests.pairs.media.two_sessions import Ears, Pair, StepClock

WIDE = G722 if g722.is_available() else PCMA
HERTZ = {"ann": 440.0, "ben": 620.0, "cat": 880.0}
OURS = 1250.0


class Leg:
    """What a call shows of its session: `Call` without signalling and keys."""

    def __init__(self, session):
        self.session = session
        self.company = set()
        self.add_sink, self.remove_sink = session.add_sink, session.remove_sink

    @property
    def gate(self):
        return self.session.gate

    @property
    def source(self):
        return self.session.source

    @source.setter
    def source(self, source):
        self.session.source = source

    def mixed_with(self, others):
        self.company.update(others)


class Room:
    """Ann, Ben and Cat, who call us; `pairs[name].bob` is their end, `.alice` is ours."""

    def __init__(self, codecs=(PCMU, PCMU, PCMU), wires=None):
        self.clock = StepClock()
        self.pairs = {
            name: Pair(codec, clock=self.clock, wire=(wires or {}).get(name))
            for name, codec in zip(HERTZ, codecs, strict=True)
        }
        for name, pair in self.pairs.items():
            pair.bob.source = ToneSource(HERTZ[name])
        self.legs = {name: Leg(pair.alice) for name, pair in self.pairs.items()}
        self.failures = []
        self.room = Conference(on_failure=self.failures.append, clock=self.clock)
        self.ours = Ears()

    async def begin(self):
        await self.room.__aenter__()
        for leg in self.legs.values():
            self.room.add(leg)
        self.room.local(source=ToneSource(OURS), sink=self.ours)
        self.clock.step(20)


def heard(ears, seconds=0.4):
    """Whose tones there are in what somebody heard last."""
    frames = ears.frames[-round(seconds * 50) :]
    rates = {frame.sample_rate for frame in frames}
    assert len(rates) == 1
    samples = array("h", b"".join(frame.samples for frame in frames))
    rate = rates.pop()
    tones = {**HERTZ, "us": OURS}
    return {name for name, hertz in tones.items() if share(samples, rate, hertz) > 0.02}


def everywhere(room):
    found = {name: heard(pair.bob_ears) for name, pair in room.pairs.items()}
    return {**found, "us": heard(room.ours)}


ALL_OTHERS = {
    "ann": {"ben", "cat", "us"},
    "ben": {"ann", "cat", "us"},
    "cat": {"ann", "ben", "us"},
    "us": {"ann", "ben", "cat"},
}


@pytest.mark.parametrize(
    "codecs",
    [(PCMU, PCMU, PCMU), (OPUS, OPUS, OPUS), (PCMU, WIDE, OPUS), (WIDE, WIDE, PCMA)],
    ids=lambda codecs: "-".join(codec.name for codec in codecs),
)
def test_everybody_hears_all_others_and_nobody_themselves(codecs):
    async def scenario():
        room = Room(codecs)
        await room.begin()
        room.clock.step(30)
        assert everywhere(room) == ALL_OTHERS
        for pair in room.pairs.values():
            assert pair.failures == []
            assert {f.sample_rate for f in pair.bob_ears.frames} == {
                pair.bob_ears.frames[0].sample_rate
            }

    asyncio.run(scenario())


def test_each_is_as_loud_to_the_others_as_they_spoke_times_their_gain():
    async def scenario():
        room = Room((PCMU, WIDE, OPUS))
        await room.begin()
        room.room.mute_local()
        room.room.mute(room.legs["cat"])
        room.room.set_gain(room.legs["ann"], -6.0)
        room.clock.step(30)
        levels = room.room.levels()
        assert {leg: round(level.dbfs) for leg, level in levels.items()} == dict.fromkeys(
            room.legs.values(), -20
        )
        assert room.room.local_level.speaking
        ben, cat = (room.pairs[n].bob_ears.pcm[-6400:] for n in ("ben", "cat"))
        assert rms_dbfs(ben) == pytest.approx(-26.0, abs=1.0)
        assert heard(room.pairs["cat"].bob_ears) == {"ann", "ben"}
        assert rms_dbfs(cat) == pytest.approx(-19.0, abs=1.0)

    asyncio.run(scenario())


def test_one_who_leaves_is_not_heard_and_hears_nothing():
    async def scenario():
        room = Room()
        await room.begin()
        room.room.remove(room.legs["ben"])
        room.clock.step(50)
        found = everywhere(room)
        assert found == {
            "ann": {"cat", "us"},
            "ben": set(),
            "cat": {"ann", "us"},
            "us": {"ann", "cat"},
        }
        assert room.room.calls == (room.legs["ann"], room.legs["cat"])
        with pytest.raises(UsageError):
            room.room.remove(room.legs["ben"])

    asyncio.run(scenario())


def test_one_whose_packets_stop_or_stutter_holds_up_nobody():
    def stops(sender, datagram):
        stops.count += sender == "bob"
        return [] if sender == "bob" and stops.count > 20 else [datagram]

    def stutters(sender, datagram):  # five packets at once, five ticks apart
        if sender == "alice":
            return [datagram]
        stutters.held.append(datagram)
        if len(stutters.held) < 5:
            return []
        burst, stutters.held = stutters.held, []
        return burst

    stops.count, stutters.held = 0, []

    async def scenario():
        room = Room(wires={"ann": stops, "ben": stutters})
        await room.begin()
        before = len(room.pairs["cat"].bob_ears.frames)
        room.clock.step(100)
        assert len(room.pairs["cat"].bob_ears.frames) - before == 100
        assert heard(room.pairs["cat"].bob_ears) == {"ben", "us"}
        assert heard(room.pairs["ann"].bob_ears) == {"ben", "cat", "us"}

    asyncio.run(scenario())


def test_the_detour_through_the_room_takes_one_tick():
    async def scenario():
        room = Room()
        for pair in room.pairs.values():
            pair.bob.source = SilenceSource()
        await room.begin()
        room.room.mute_local()
        room.clock.step(10)
        counts = [len(room.pairs[n].bob_ears.frames) for n in ("ben", "cat")]
        room.pairs["ann"].bob.source = ToneSource(440.0)
        room.clock.step(10)
        for name, count in zip(("ben", "cat"), counts, strict=True):
            fresh = room.pairs[name].bob_ears.frames[count:]
            first = next(
                i for i, f in enumerate(fresh) if max(map(abs, array("h", f.samples))) > 500
            )
            # Two hops of a tick each way at most, and one in the room.
            assert first <= 3

    asyncio.run(scenario())


def test_a_call_behind_a_closed_gate_is_out_and_nothing_old_is_heard_when_it_opens():
    async def scenario():
        room = Room()
        await room.begin()
        ann, theirs = room.legs["ann"].session, room.pairs["ann"]
        ann.gate = Gate.CLOSED
        before = len(theirs.bob_ears.frames)
        room.clock.step(70)
        assert heard(room.pairs["ben"].bob_ears) == {"cat", "us"}
        assert room.room.levels()[room.legs["ann"]].dbfs == -96.0
        for pair in room.pairs.values():
            pair.bob.source = SilenceSource()
        room.room.mute_local()
        room.clock.step(20)
        ann.gate = Gate.OPEN
        room.clock.step(20)
        pcm = b"".join(f.samples for f in theirs.bob_ears.frames[before + 10 :])
        assert max(map(abs, array("h", pcm)), default=0) < 300

    asyncio.run(scenario())


def test_the_room_tells_each_call_who_hears_it():
    async def scenario():
        room = Room()
        room.legs["cat"].session.gate = Gate.VERIFYING
        await room.begin()
        ann, ben, cat = room.legs.values()
        assert (ann.company, ben.company, cat.company) == ({ben}, {ann}, set())
        cat.session.gate = Gate.OPEN
        room.clock.step(2)
        assert (ann.company, ben.company, cat.company) == ({ben, cat}, {ann, cat}, {ann, ben})

    asyncio.run(scenario())


class Pulled:
    """A microphone and a speaker that break off."""

    closed = 0

    def read(self, samples, rate):
        raise DeviceError("pulled out")

    def write(self, frame):
        raise DeviceError("pulled out")

    def discard(self):
        pass

    def close(self):
        self.closed += 1


def test_a_local_device_that_breaks_is_told_and_the_room_goes_on():
    async def scenario():
        room = Room()
        await room.begin()
        room.room.local(source=Pulled(), sink=Pulled())
        room.clock.step(30)
        await asyncio.sleep(0)
        assert [type(e) for e in room.failures] == [DeviceError, DeviceError]
        assert heard(room.pairs["ann"].bob_ears) == {"ben", "cat"}

    asyncio.run(scenario())


class Headset(Pulled):
    """One that is unplugged once, and goes on with another device; it says when it is let go of."""

    def __init__(self):
        self.told, self.reads = [], 0

    def read(self, samples, rate):
        self.reads += 1
        if self.reads == 3:
            raise DeviceLost("the headset is gone", device="headset")

    def listen(self, *, on):
        self.told.append(on)


def test_a_local_device_that_is_replaced_stays_and_is_let_go_of_while_muted():
    async def scenario():
        room, headset, other = Room(), Headset(), Headset()
        await room.begin()
        room.room.local(source=headset)
        room.clock.step(30)
        await asyncio.sleep(0)
        assert [type(e) for e in room.failures] == [DeviceLost]
        assert headset.reads > 10
        assert headset.told == []
        room.room.mute_local()
        room.room.local(source=other)
        room.room.mute_local(muted=False)
        assert (headset.told, other.told) == ([False], [False, True])

    asyncio.run(scenario())


def test_leaving_the_block_ends_the_mix_and_not_the_calls():
    async def scenario():
        room, ends = Room(), Pulled()
        await room.begin()
        room.room.local(sink=ends)
        await room.room.__aexit__(None, None, None)
        room.clock.step(50)
        assert ends.closed == 1
        assert {name: heard(pair.bob_ears) for name, pair in room.pairs.items()} == {
            "ann": set(), "ben": set(), "cat": set()
        }  # fmt: skip
        assert all(pair.alice.statistics().packets_sent > 60 for pair in room.pairs.values())
        with pytest.raises(UsageError):
            room.room.add(room.legs["ann"])

    asyncio.run(scenario())


def test_what_was_replaced_as_source_is_not_taken_away_by_leaving():
    async def scenario():
        room = Room()
        await room.begin()
        own = room.legs["ann"].source = ToneSource(OURS)
        room.room.remove(room.legs["ann"])
        assert room.legs["ann"].source is own

    asyncio.run(scenario())
