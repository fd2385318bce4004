"""Pictures between two whole clients: real sockets, real keys, real codecs; no SIP."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("av", reason="the extra video")

import securecall as sc
from securecall.calls import exchange
from securecall.calls.report import EventKind
from securecall.errors import ChangeRefused, UsageError
from securecall.events import HoldChanged, PictureAsked, PicturesChanged
from securecall.media.video.codecs import FrameDecoder
from securecall.media.video.endpoints import VideoOutput
from securecall.media.video.pattern import TestPattern, read_frame_number
from tests.pairs.calls.test_client import BOB, people
from tests.pairs.calls.test_second_verifier import agree

HANG = 60  # seconds; nothing here takes one


def picture():
    return TestPattern(320, 180, 30)


class Eyes:
    """A sink that keeps the numbers of the pictures it saw; None for one without a number."""

    def __init__(self):
        self.numbers = []
        self.last = None
        self.fresh = asyncio.Event()

    def write(self, frame):
        self.numbers.append(read_frame_number(frame))
        self.last = frame
        self.fresh.set()

    def close(self):
        self.fresh.set()

    async def until(self, holds):
        """Wait until that holds of the numbers; the hang guard ends it otherwise."""
        async with asyncio.timeout(HANG):
            while not holds(self.numbers):
                self.fresh.clear()
                await self.fresh.wait()

    async def another(self, count=3):
        seen = len(self.numbers)
        await self.until(lambda numbers: len(numbers) >= seen + count)


async def silent(call):
    """Nothing is heard, once what was on its way has come."""
    quiet = 0
    async with asyncio.timeout(HANG):
        async for frame in call.audio:
            quiet = 0 if any(frame.samples) else quiet + 1
            if quiet == 10:
                return
    raise AssertionError("the call ended")


@asynccontextmanager
async def call(tmp_path, *, ours=None, theirs=None, policy=None):
    """Alice's call, Bob's, and what each sees."""
    async with people(tmp_path) as (alice, bob):
        here, there = Eyes(), Eyes()
        audio = sc.ToneSource(440)
        async with alice.call(BOB, audio=audio, video=ours, policy=policy) as outgoing:
            outgoing.video.add_sink(here)
            ring = await bob.next_call()
            assert ring.shows is (ours is not None)
            incoming = ring.accept(audio=sc.ToneSource(620), video=theirs)
            incoming.video.add_sink(there)
            async with incoming:
                await outgoing.connected()
                await incoming.connected()
                yield outgoing, incoming, here, there


def run(scenario):
    asyncio.run(scenario())


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_each_sees_the_other_in_order_without_a_freeze(tmp_path, codec):
    policy = sc.Policy(prefer_video=(codec,))

    async def main():
        seen = call(tmp_path, ours=picture(), theirs=picture(), policy=policy)
        async with seen as (a, b, here, there):
            assert a.video.shown == b.video.shown == {sc.CAMERA}
            await here.another(10)
            await there.another(10)
            for eyes, mine in ((here, a), (there, b)):
                assert None not in eyes.numbers
                assert eyes.numbers == sorted(set(eyes.numbers))
                (counts,) = mine.video.statistics()
                assert (counts.freezes, counts.lost, counts.refused, counts.malformed) == (0,) * 4
                assert counts.keyframes_sent >= 1
                assert counts.frames_shown == len(eyes.numbers)
                assert counts.codec == codec
            heard = a.audio
            for _ in range(3):
                sound = await anext(heard)
            await here.until(lambda _: here.last.audio_time is not None)
            assert abs(here.last.audio_time - sound.timestamp / sound.sample_rate) < HANG

    run(main)


@pytest.mark.parametrize(("ours", "theirs"), [(True, None), (None, True), (None, None)])
def test_who_does_not_ask_for_pictures_has_a_call_with_sound_alone(tmp_path, ours, theirs):
    async def main():
        async with call(tmp_path, ours=ours, theirs=theirs) as (a, b, _, _):
            assert a.video.shown == b.video.shown == frozenset()
            with pytest.raises(UsageError):
                (b if theirs is None else a).video.show(picture())
            await anext(a.audio)

    run(main)


def test_one_who_only_looks_sends_no_picture_before_showing_one(tmp_path):
    async def main():
        async with call(tmp_path, ours=picture(), theirs=True) as (_, b, here, there):
            await there.another(5)
            assert here.numbers == []
            assert b.video.statistics()[0].packets_sent == 0
            b.video.show(picture())
            await here.another(3)

    run(main)


def test_a_camera_that_is_switched_off_shows_black_and_then_sends_nothing(tmp_path):
    async def main():
        async with call(tmp_path, ours=picture(), theirs=True) as (a, _, _, there):
            await there.another(5)
            a.video.show(None)
            await there.until(lambda numbers: numbers[-1] is None)
            y, u, v = there.last.planes
            assert max(y) < 32
            assert all(abs(value - 128) < 16 for value in (*u, *v))
            sent = a.video.statistics()[0].packets_sent
            for _ in range(10):
                await anext(a.audio)
            assert a.video.statistics()[0].packets_sent == sent
            a.video.show(picture())
            await there.until(lambda numbers: numbers[-1] is not None)

    run(main)


def test_a_picture_and_a_screen_come_and_go_in_mid_call(tmp_path):
    async def main():
        async with call(tmp_path, ours=True, theirs=True) as (a, b, here, there):
            screen = VideoOutput()
            screen.open()
            b.video.add_sink(screen, sc.SCREEN)
            await a.video.add(picture(), sc.SCREEN)
            assert a.video.shown == b.video.shown == {sc.CAMERA, sc.SCREEN}
            async with asyncio.timeout(HANG):
                assert read_frame_number(await anext(screen)) is not None
            assert there.numbers == here.numbers == []
            with pytest.raises(UsageError):
                await a.video.add(picture(), sc.SCREEN)
            await a.video.drop(sc.SCREEN)
            assert a.video.shown == b.video.shown == {sc.CAMERA}
            await b.video.drop()
            assert a.video.shown == b.video.shown == frozenset()
            await b.video.add(picture())
            assert a.video.shown == b.video.shown == {sc.CAMERA}
            await here.another(3)

    run(main)


def test_nobody_is_shown_a_picture_who_did_not_ask_for_one_and_the_call_goes_on(tmp_path):
    async def main():
        async with people(tmp_path) as (alice, bob):
            events = bob.events()
            asked = asyncio.create_task(_first(events, PictureAsked))
            async with alice.call(BOB, audio=sc.ToneSource(440)) as outgoing:
                ring = await bob.next_call()
                async with ring.accept(audio=sc.ToneSource(620)) as incoming:
                    await outgoing.connected()
                    await incoming.connected()
                    with pytest.raises(ChangeRefused, match="no such picture"):
                        await outgoing.video.add(picture())
                    assert outgoing.video.shown == incoming.video.shown == frozenset()
                    async with asyncio.timeout(HANG):
                        assert (await asked).what == sc.CAMERA
                    await anext(outgoing.audio)
                    await incoming.video.add()  # now they do, and it is theirs to ask

    run(main)


async def _first(events, kind):
    async for event in events:
        if isinstance(event, kind):
            return event
    raise AssertionError("the events ended")


def test_on_hold_no_picture_moves_and_afterwards_it_does(tmp_path):
    async def main():
        async with call(tmp_path, ours=picture(), theirs=picture()) as (a, b, here, there):
            await here.another(3)
            await there.another(3)
            await a.hold()
            assert a.on_hold
            sent = [side.video.statistics()[0].packets_sent for side in (a, b)]
            await silent(b)
            assert [side.video.statistics()[0].packets_sent for side in (a, b)] == sent
            await a.resume()
            await here.another(3)
            await there.another(3)

    run(main)


def test_who_is_held_is_told_and_cannot_take_itself_back(tmp_path):
    async def main():
        async with people(tmp_path) as (alice, bob):
            events = bob.events()
            told = asyncio.create_task(_first(events, HoldChanged))
            tone = sc.ToneSource(440)
            async with alice.call(BOB, audio=tone, video=picture()) as a:
                ring = await bob.next_call()
                async with ring.accept(audio=sc.ToneSource(620), video=True) as b:
                    await a.connected()
                    eyes = Eyes()
                    b.video.add_sink(eyes)
                    await eyes.another(3)
                    await a.hold()
                    async with asyncio.timeout(HANG):
                        assert (await told).held
                    assert b.held
                    await b.hold()
                    assert a.held
                    await b.resume()  # its own hold, not ours
                    sent = a.video.statistics()[0].packets_sent
                    await silent(b)
                    assert a.video.statistics()[0].packets_sent == sent
                    assert b.held
                    assert not a.held
                    await a.resume()
                    assert not b.held
                    await eyes.another(3)

    run(main)


def test_a_hold_that_is_refused_stops_pictures_and_sound_nevertheless(tmp_path, monkeypatch):
    decode = FrameDecoder.decode

    def slowly(decoder, encoded):  # so that there is always one that came and is not shown yet
        frame = decode(decoder, encoded)
        time.sleep(0.05)
        return frame

    monkeypatch.setattr(FrameDecoder, "decode", slowly)

    async def main():
        async with call(tmp_path, ours=picture(), theirs=picture()) as (a, b, here, there):
            await here.another(3)
            await there.another(3)
            with monkeypatch.context() as refusing:
                refusing.setattr(exchange, "same_association", lambda *_: False)
                with pytest.raises(ChangeRefused):
                    await a.hold()
            assert a.on_hold
            assert not b.held
            counts = a.video.statistics()[0]
            await silent(b)
            after = a.video.statistics()[0]
            assert (after.packets_sent, after.frames_shown) == (
                counts.packets_sent,
                counts.frames_shown,
            )
            await a.resume()
            await here.another(3)
            await there.another(3)

    run(main)


def test_pictures_that_come_and_go_are_told_to_both(tmp_path):
    async def main():
        async with people(tmp_path) as (alice, bob):
            of_alice, of_bob = alice.events(), bob.events()
            tasks = [asyncio.create_task(_first(e, PicturesChanged)) for e in (of_alice, of_bob)]
            async with alice.call(BOB, audio=sc.ToneSource(440), video=True) as a:
                ring = await bob.next_call()
                async with ring.accept(audio=sc.ToneSource(620), video=True) as b:
                    await a.connected()
                    await b.connected()
                    await a.video.add(picture(), sc.SCREEN)
                    async with asyncio.timeout(HANG):
                        for event, call in zip(await asyncio.gather(*tasks), (a, b), strict=True):
                            both = frozenset({sc.CAMERA, sc.SCREEN})
                            assert (event.call, event.shown, event.seen) == (call, both, both)

    run(main)


def test_a_film_of_a_call_is_told_of_in_both_reports(tmp_path):
    path = tmp_path / "call.webm"

    async def main():
        async with call(tmp_path, ours=picture(), theirs=True) as (a, b, _, there):
            recorder = sc.VideoRecorder(path)
            b.add_sink(recorder.audio)
            b.video.add_sink(recorder)
            await there.another(10)
            b.video.remove_sink(recorder)  # the sound goes on
            await there.another(5)
            b.remove_sink(recorder.audio)
            b.video.remove_sink(recorder)  # it is none any more: nothing happens
            recorder.close()
            await recorder.wait_finished()
            assert recorder.seconds > 0
        return [[event.kind for event in side.report.events] for side in (a, b)]

    of_a, of_b = asyncio.run(main())
    assert path.stat().st_size > 1000
    assert of_a.count(EventKind.PEER_RECORDING) == 1
    recording = [EventKind.RECORDING_STARTED, EventKind.RECORDING_STOPPED]
    assert [kind for kind in of_b if kind in recording] == recording


def test_the_report_tells_of_pictures_and_both_verifiers_take_it(tmp_path):
    async def main():
        async with call(tmp_path, ours=True, theirs=True) as (a, b, _, _):
            await a.video.drop()
            await b.video.add(picture())
        for side in (a, b):  # whose keys are wiped by now
            document = side.report.to_object()
            assert agree(document) == "proved"
            passed = [(i["medium"], i["passed"]) for i in document["intervals"]]
            assert passed == [("audio", True), ("video", True), ("video", False), ("video", True)]

    run(main)


def test_a_hold_that_cannot_be_asked_for_silences_nobody(tmp_path):
    async def main():
        async with people(tmp_path) as (alice, bob):
            async with alice.call(BOB, audio=sc.ToneSource(440)) as outgoing:
                with pytest.raises(UsageError):
                    await outgoing.hold()  # it rings
                assert not outgoing.on_hold
                ring = await bob.next_call()
                async with ring.accept(audio=sc.ToneSource(620)) as incoming:
                    await outgoing.connected()
                    await incoming.connected()
                    heard = incoming.audio
                    async with asyncio.timeout(HANG):
                        while not any((await anext(heard)).samples):
                            pass

    run(main)
