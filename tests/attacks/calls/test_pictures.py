"""B1, R2 for pictures: no camera opens by another's word, and nothing foreign is shown."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

pytest.importorskip("av", reason="the extra video")

import securecall as sc
from securecall.calls.changes import propose
from securecall.calls.machine import State
from securecall.calls.pictures import STREAM_OF, Pictures
from securecall.calls.signaling import Offered
from securecall.calls.video_lines import LocalVideo
from securecall.media.description import Fingerprint, Gate
from securecall.rtp.extensions import parse_extensions
from securecall.rtp.packet import rtp_header
from securecall.rtp.sframe import SframeSender, rtp_metadata
from securecall.testing.attacks.stage import GUARD_SECONDS
from securecall.testing.bus import SignalBus
from tests.attacks.calls.on_a_bus import BOB, people
from tests.pairs.calls.test_video import Eyes, call, picture

EVES = LocalVideo(("VP8",), ssrc=666, rtx_ssrc=667)


class Watched:
    """A camera that knows whether anybody looked through it."""

    live = True

    def __init__(self):
        self.read_from = 0
        self._inner = picture()

    def read(self, now):
        self.read_from += 1
        return self._inner.read(now)

    def discard(self):
        self._inner.discard()

    def close(self):
        self._inner.close()


def run(scenario):
    asyncio.run(scenario())


async def a_while(side, frames=15):
    heard = side.audio
    for _ in range(frames):
        await anext(heard)


def test_nothing_is_captured_before_the_call_is_taken(tmp_path):
    camera, theirs = Watched(), Watched()

    async def main():
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, SignalBus()) as (alice, bob):
            async with alice.call(BOB, video=camera) as outgoing:
                ring = await bob.next_call()
                await asyncio.sleep(0.2)
                assert camera.read_from == theirs.read_from == 0
                async with ring.accept(video=theirs):
                    await outgoing.connected()
                    await a_while(outgoing)
                    assert camera.read_from  # the control
                    assert theirs.read_from

    run(main)


def test_while_words_are_compared_no_picture_passes_and_then_it_does(tmp_path):
    camera = Watched()

    async def main():
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, SignalBus()) as (alice, bob):
            seen = Eyes()
            policy = sc.Policy()
            calling = alice.call(BOB, video=camera, require=sc.VERIFIED, policy=policy)
            async with calling as outgoing:
                ring = await bob.next_call()
                async with ring.accept(audio=sc.ToneSource(300), video=picture()) as incoming:
                    incoming.video.add_sink(seen)
                    await outgoing.connected()
                    assert outgoing.state is State.VERIFYING
                    await a_while(outgoing)
                    assert camera.read_from == 0
                    (ours,) = outgoing.video.statistics()
                    assert ours.packets_sent == ours.frames_received == ours.frames_shown == 0
                    assert seen.numbers == []
                    await outgoing.confirm_sas()
                    await seen.another(3)  # the control
                    assert camera.read_from > 0

    run(main)


@pytest.mark.parametrize("content", [sc.CAMERA, sc.SCREEN])
def test_a_server_that_adds_a_picture_in_mid_call_opens_nobodys_camera(tmp_path, content):
    async def main():
        bus = SignalBus()
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, bus) as (alice, bob):
            async with alice.call(BOB, audio=sc.ToneSource(440)) as outgoing:
                ring = await bob.next_call()
                async with ring.accept(audio=sc.ToneSource(300)) as incoming:
                    await outgoing.connected()
                    await incoming.connected()
                    machine = incoming._machine
                    _, callee = bus.legs
                    ours = machine._offer  # what Alice offered, and the server saw
                    offer = propose(
                        ours, machine._exchange.agreed, add=replace(EVES, content=content)
                    )
                    callee.inject(Offered(offer))
                    await a_while(outgoing)
                    assert incoming.video.shown == frozenset()
                    assert incoming.video.statistics() == ()
                    assert incoming.state is State.ACTIVE

    run(main)


def test_a_server_that_moves_the_picture_to_its_own_keys_gets_nothing(tmp_path):
    camera = Watched()

    async def main():
        bus = SignalBus()
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, bus) as (alice, bob):
            async with alice.call(BOB, audio=sc.ToneSource(440), video=True) as outgoing:
                ring = await bob.next_call()
                accepted = ring.accept(audio=sc.ToneSource(300), video=camera)
                async with accepted as incoming:
                    await outgoing.connected()
                    await incoming.connected()
                    machine = incoming._machine
                    sound, video = propose(machine._offer, machine._exchange.agreed).media
                    evil = (Fingerprint("sha-256", b"\x66" * 32),)
                    _, callee = bus.legs
                    moved = replace(video, fingerprints=evil)
                    callee.inject(Offered(replace(machine._offer, media=(sound, moved))))
                    await a_while(outgoing)
                    # what was agreed stays as it was, under the keys that were authenticated
                    assert incoming.state is State.ACTIVE
                    agreed = machine._exchange.agreed
                    assert agreed.remote_fingerprints != evil
                    everything = replace(sound, fingerprints=evil), moved
                    callee.inject(Offered(replace(machine._offer, media=everything)))
                    await a_while(outgoing)
                    assert machine._exchange.agreed is agreed

    run(main)


def injected(side, payload, metadata, *, number, kid=None):
    """Have a packet arrive at one end as from the peer, SRTP and all; returns its statistics."""
    pictures = side._connection.pictures
    session = pictures._session
    line = next(iter(session._lines.values()))
    ssrc = next(iter(line.terms.peer_ssrcs))
    packet = rtp_header(number, 7, 9, ssrc) + payload
    line_before = line.statistics()
    session._srtp = Opened(packet)
    session.receive(packet)
    return line_before, line.statistics()


class Opened:
    """SRTP to which an attacker has the keys: it hands on what is put in."""

    def __init__(self, packet):
        self._packet = packet

    def unprotect(self, datagram):
        return self._packet

    def protect(self, packet):
        return packet

    protect_rtcp = protect


def test_what_is_sealed_for_the_sound_or_not_at_all_is_no_picture(tmp_path):
    """R2: the attacker holds the keys of SRTP, and not those of SFrame."""

    async def main():
        seen = call(tmp_path, ours=True, theirs=True)
        async with asyncio.timeout(GUARD_SECONDS), seen as (a, b, _, there):
            key = _key_of(a)
            number = 96
            sound = SframeSender(key, 5).seal_rtp(b"\x90\x80\x00 sound", rtp_metadata(111, "0"))
            other_line = SframeSender(key, 6).seal_rtp(b"x" * 20, rtp_metadata(number, "2"))
            _let_in(b, key, 5, 6, 7)
            for payload in (sound, other_line, b"\x90\x80\x00plain", b"", b"\xe0", b"\xe0" * 40):
                before, after = injected(b, payload, None, number=number)
                assert after.refused == before.refused + 1
                assert after.frames_received == before.frames_received
            right = SframeSender(key, 7).seal_rtp(b"\x90\x80\x01x" * 5, rtp_metadata(number, "1"))
            before, after = injected(b, right, None, number=number)  # the control
            assert after.refused == before.refused
            assert there.numbers == []

    run(main)


def _key_of(side):
    """A key both ends have, as an attacker would wish for; the real ones are wiped by now."""
    del side
    return sc.Secret(bytes(32))


def _let_in(side, key, *kids):
    receiver = side._connection.pictures._session._opener
    for kid in kids:
        receiver._keys.pop(kid, None)
        receiver._unused.pop(kid, None)
        receiver.add_key(kid, key)


def test_each_picture_has_a_stream_of_its_own_beside_the_sounds():
    assert sorted(STREAM_OF.values()) == [1, 2]


def test_a_gate_that_closes_stops_pictures_at_once(tmp_path):
    async def main():
        async with call(tmp_path, ours=picture(), theirs=picture()) as (a, _, here, _):
            await here.another(3)
            a._connection.gate = Gate.CLOSED
            sent = a.video.statistics()[0].packets_sent
            await asyncio.sleep(0.2)
            count = len(here.numbers)
            await asyncio.sleep(0.2)
            assert a.video.statistics()[0].packets_sent == sent
            assert len(here.numbers) == count
            assert a.video.statistics()[0].gated > 0

    run(main)


def test_pictures_carry_one_number_in_clear_and_sound_beside_them_none(tmp_path, monkeypatch):
    sound, pictures = [], []
    takes = Pictures.takes

    def look(self, datagram):
        taken = takes(self, datagram)
        (pictures if taken else sound).append(datagram)
        return taken

    monkeypatch.setattr(Pictures, "takes", look)

    async def main():
        async with call(tmp_path, ours=picture(), theirs=True) as (_, b, _, there):
            await there.another(10)
            await a_while(b)

    run(main)
    sound = [d for d in sound if d[0] >> 6 == 2 and not 64 <= d[1] & 0x7F < 96]
    ((source, _),) = Counter(d[8:12] for d in sound).most_common(1)
    sound = [d for d in sound if d[8:12] == source]
    media = [d for d in pictures if not 64 <= d[1] & 0x7F < 96]
    assert len(sound) > 10
    assert not any(parse_extensions(d) or d[0] & 0x1F for d in sound)
    assert len(media) > 10
    numbers = [parse_extensions(d) for d in media]
    assert {tuple(elements) for elements in numbers} == {(1,)}
    counted = [int.from_bytes(elements[1]) for elements in numbers]
    assert counted == sorted(set(counted))
    assert counted[0] < 100
