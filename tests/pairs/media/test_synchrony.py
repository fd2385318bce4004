"""Flash and beep: pictures and sound of one moment meet again behind paths that treat them unlike.

All times are those of the step clock and of the frames; encoders are waited for, however slow.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random

import pytest

pytest.importorskip("av", reason="the extra video")

from securecall.calls.video_lines import VIDEO_CODECS
from securecall.media.codecs import OPUS
from securecall.media.description import Direction, Gate
from securecall.media.engine import AudioSession
from securecall.media.frames import rms_dbfs
from securecall.media.video.frames import VideoFrame
from securecall.media.video.line import VideoTerms
from securecall.media.video.session import VideoSession
from tests.pairs.media.two_sessions import TICK, StepClock, srtp

VP8 = VIDEO_CODECS["vp8"]
FRAME = 1 / 30
PERIOD = 50  # ticks from flash to flash
WHITE, BLACK = bytes([235]), bytes([16])


class Beeper:
    """Loud for a tick in each period, silent else; and the picture that goes with it."""

    def __init__(self, clock):
        self.clock, self.closed = clock, False
        self.live = True
        self.read_at = -1.0

    def _on(self):
        return round(self.clock.time / TICK) % PERIOD < 2

    def discard(self):
        pass

    def close(self):
        pass


class Beeps(Beeper):
    def read(self, samples, rate):
        square = b"\x00\x60" * 24 + b"\x00\xa0" * 24
        return (square * 20)[: 2 * samples] if self._on() else bytes(2 * samples)


class Flashes(Beeper):
    """A picture in every second tick."""

    def read(self, now):
        if round(now / TICK) % 2:
            return None
        luma = (WHITE if self._on() else BLACK) * (64 * 48)
        return VideoFrame(width=64, height=48, data=luma + b"\x80" * (2 * 32 * 24))


class Way:
    """A path in the time of the clock: delays by kind, and jitter by a seed."""

    def __init__(self, clock, *, sound, pictures, jitter=0.0):
        self.clock, self.delays, self.jitter = clock, (sound, pictures), jitter
        self.chance = random.Random(7)
        self.queue, self.order = [], itertools.count()

    def put(self, datagram, deliver, *, picture):
        delay = self.delays[picture] + self.jitter * self.chance.random()
        at = self.clock.time + delay
        heapq.heappush(self.queue, (at, next(self.order), deliver, datagram))

    def run(self):
        while self.queue and self.queue[0][0] <= self.clock.time + 1e-9:
            _, _, deliver, datagram = heapq.heappop(self.queue)
            deliver(datagram)


class End:
    """Sound and pictures of one end, on one path and one association."""

    def __init__(self, clock, me, peer, *, cnames):
        self.clock, self.out = clock, None
        keys = srtp(me, peer)
        self.beeps, self.flashes = [], []  # when, and its time
        self.unplaced = []  # flashes without a time of the sound
        self.sound = AudioSession(
            clock, self._sound, keys, codec=OPUS, receive_codecs=(OPUS,), ssrc=100 + len(me),
            sequence=1, timestamp=7, cname=cnames[0], on_rtcp=lambda p: self.pictures.hear(p),
        )  # fmt: skip
        self.pictures = VideoSession(
            clock, self._picture, keys, cname=cnames[1], seal=lambda _: None, opener=None,
            failed=[].append, heard=self.sound.heard,
        )  # fmt: skip
        terms = VideoTerms(
            name="", mid="1", codec=VP8, rtx=None, receive={96: VP8}, receive_rtx={},
            ssrc=len(me), rtx_ssrc=0, peer_ssrcs=frozenset(), nack=False, pli=True, fir=True,
        )  # fmt: skip
        self.pictures.agree({"1": (terms, Direction.SENDRECV)})
        self.sound.add_sink(self)
        self.pictures.add_sink(Eyes(self))
        for part in (self.sound, self.pictures):
            part.gate = Gate.OPEN
        self.sound.start()

    def _sound(self, datagram):
        self.out(datagram, picture=False)

    def _picture(self, datagram):
        self.out(datagram, picture=True)

    def receive(self, datagram):
        (self.pictures if self.pictures.takes(datagram) else self.sound).receive(datagram)

    def write(self, frame):
        if rms_dbfs(frame.samples) > -12:
            self.beeps.append((self.clock.time, frame.timestamp / frame.sample_rate))

    def close(self):
        self.pictures.close()
        self.sound.close()

    @property
    def line(self):
        (line,) = self.pictures._lines.values()
        return line


class Eyes:
    def __init__(self, end):
        self.end = end

    def write(self, frame):
        end = self.end
        if frame.data[0] > 128:
            found = end.unplaced if frame.audio_time is None else end.flashes
            found.append((end.clock.time, frame.audio_time or end.clock.time))

    def close(self):
        pass


async def settled(holds):
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - threads tell nobody
            await asyncio.sleep(0.0005)


async def watch(*, seconds=4.0, cnames=("x", "x"), encoding=0, **way):
    """Alice flashes and beeps, her encoder takes so many ticks; returns what Bob saw and heard."""
    clock = StepClock()
    alice = End(clock, "alice", "bob", cnames=cnames)
    bob = End(clock, "bob", "alice", cnames=("y", "y"))
    path = Way(clock, **way)
    alice.out = lambda datagram, *, picture: path.put(datagram, bob.receive, picture=picture)
    bob.out = lambda datagram, *, picture: path.put(datagram, alice.receive, picture=picture)
    alice.sound.source = Beeps(clock)
    alice.pictures.show(Flashes(clock))
    cut, encoded = alice.line.sender._cut, [[] for _ in range(encoding + 1)]
    alice.line.sender._cut = lambda frame: encoded[-1].append(frame)
    for _ in range(round(seconds / TICK)):
        path.run()
        await settled(lambda: is_decoded(bob.line.receiver))
        before = alice.line.sender.frames
        clock.step()
        if not round(clock.time / TICK) % 2:  # a picture was read
            await settled(lambda before=before: alice.line.sender.frames > before)
        for frame in encoded.pop(0):
            cut(frame)
        encoded.append([])
        alice.pictures._drain()  # the pacer's timer goes by the loop's time, not by ours
    alice.close()
    bob.close()
    return bob


def is_decoded(receiver):
    """What came is shown in the time in which it came."""
    decoder = receiver._decoder
    return decoder is None or decoder.decoded + decoder.dropped >= receiver.counters.frames


def beginnings(things):
    """Of each flash, or beep, the first frame."""
    before = float("-inf")
    for at, time in things:
        if time - before > 0.5:
            yield at, time
        before = time


def skews(bob):
    """Flash against beep: by the times in their frames, and by when the sinks had them."""
    beeps, told, shown = list(beginnings(bob.beeps)), [], []
    for at, time in beginnings(bob.flashes):
        heard_at, heard = min(beeps, key=lambda beep: abs(beep[1] - time))
        told.append(time - heard)
        shown.append(at - heard_at)
    assert len(told) >= 2
    return told, shown


@pytest.mark.parametrize(
    ("way", "in_step"),
    [
        ({"sound": 0.02, "pictures": 0.02}, True),
        ({"sound": 0.15, "pictures": 0.02}, True),
        ({"sound": 0.1, "pictures": 0.02, "jitter": 0.08, "encoding": 4}, True),
        ({"sound": 0.02, "pictures": 0.15}, False),  # sound waits for no picture
        ({"sound": 0.5, "pictures": 0.02}, False),  # a picture waits for a while, not for ever
    ],
)
def test_a_flash_has_the_time_of_its_beep_and_comes_with_it_within_bounds(way, in_step):
    told, shown = skews(asyncio.run(watch(**way)))
    assert max(map(abs, told)) < FRAME
    assert (max(map(abs, shown)) < FRAME) is in_step


def test_control_without_the_peer_s_time_they_come_as_the_path_lets_them(monkeypatch):
    monkeypatch.setattr("securecall.media.synchrony.MOST_APART", -1.0)
    bob = asyncio.run(watch(sound=0.15, pictures=0.02, seconds=3.0))
    assert bob.flashes == []
    beeps = [at for at, _ in beginnings(bob.beeps)]
    for at, _ in list(beginnings(bob.unplaced))[1:]:
        assert min(beep - at for beep in beeps if beep > at) > 0.1


def test_pictures_of_another_name_have_no_time_of_this_sound():
    """Whose clock they go by nobody says (RFC 3550 6.5.1)."""
    bob = asyncio.run(watch(sound=0.02, pictures=0.02, cnames=("x", "z"), seconds=2.0))
    assert bob.flashes == []
    assert bob.unplaced != []
