"""H.264 whose parameter sets come in signalling alone, and what a server can do with those."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace

import pytest

pytest.importorskip("av", reason="the extra video")

import securecall as sc
from securecall.calls.machine import State
from securecall.calls.signaling import Answered, Offered
from securecall.media.video import payloads
from securecall.media.video.codecs import FrameEncoder
from securecall.rtp.h264 import PPS, SPS, START_CODE, H264Packetiser, split_annex_b
from securecall.testing.attacks.stage import GUARD_SECONDS
from securecall.testing.bus import SignalBus
from tests.attacks.calls.on_a_bus import BOB, people
from tests.pairs.calls.test_video import Eyes, picture

SEALED = sc.Policy(prefer_video=("H264",))
PLAIN = replace(SEALED, danger_plain_dtls=True)


def parameter_sets(width=320, height=180):
    """What our encoder begins with at that size."""
    frame = sc.VideoFrame.black(width, height)
    first = FrameEncoder("H264", bitrate=600_000).encode(frame)
    return tuple(u for u in split_annex_b(first.data) if u[0] & 0x1F in (SPS, PPS))


def saying(value, side):
    """A bus on which the H.264 of one side is described with these parameter sets."""

    def mutate(signal, sender):
        if sender != side or not isinstance(signal, (Offered, Answered)):
            return signal
        description = signal.description
        media = tuple(
            replace(line, codecs=tuple(map(described, line.codecs))) for line in description.media
        )
        return replace(signal, description=replace(description, media=media))

    def described(codec):
        if codec.name != "H264":
            return codec
        more = ("sprop-parameter-sets", value)
        return replace(codec, parameters=(*codec.parameters, more))

    return SignalBus(mutate=mutate)


def text(*units):
    return ",".join(base64.b64encode(unit).decode() for unit in units)


class Bare(H264Packetiser):
    """Sends pictures without parameter sets, as some telephones do."""

    def packetise(self, frame):
        units = (unit for unit in split_annex_b(frame) if unit[0] & 0x1F not in (SPS, PPS))
        return super().packetise(b"".join(START_CODE + unit for unit in units))


@pytest.fixture
def bare(monkeypatch):
    monkeypatch.setitem(payloads._PACKETISERS, "h264", lambda _: Bare())


def run(tmp_path, bus, scenario, *, policy=PLAIN):
    async def main():
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, bus) as (alice, bob):
            eyes = {"caller": Eyes(), "callee": Eyes()}
            sound = sc.ToneSource(440)
            alice.policy = bob.policy = policy
            async with alice.call(BOB, audio=sound, video=picture()) as outgoing:
                outgoing.video.add_sink(eyes["callee"])
                ring = await bob.next_call()
                incoming = ring.accept(audio=sc.ToneSource(300), video=picture())
                incoming.video.add_sink(eyes["caller"])
                async with incoming:
                    security = await outgoing.connected()
                    assert security.sframe is (policy is SEALED)
                    await incoming.connected()
                    await scenario({"caller": incoming, "callee": outgoing}, eyes)
                    assert outgoing.state is incoming.state is State.ACTIVE

    asyncio.run(main())


async def nothing(call):
    """Pictures come and keyframes are asked for again and again, and nobody sees anything."""
    while True:
        (counts,) = call.video.statistics()
        assert counts.frames_shown == 0
        if counts.keyframes_asked >= 2 and counts.packets_received > 20:
            break
        await anext(call.audio)


@pytest.mark.parametrize(("side", "other"), [("caller", "callee"), ("callee", "caller")])
def test_who_brings_parameter_sets_in_signalling_alone_is_seen(tmp_path, bare, side, other):
    async def main(watching, eyes):
        await eyes[side].another(5)
        assert None not in eyes[side].numbers
        await nothing(watching[other])  # the control: no word of them in signalling

    run(tmp_path, saying(text(*parameter_sets()), side), main)


def test_a_server_that_writes_nonsense_shows_nothing_and_ends_nothing(tmp_path, bare):
    nonsense = text(b"\x67" + b"\xff" * 60, b"\x68" + b"\xff" * 60)

    async def main(watching, eyes):
        await nothing(watching["callee"])

    run(tmp_path, saying(nonsense, "callee"), main)


def test_a_server_cannot_disturb_a_stream_that_brings_its_own(tmp_path):
    async def main(watching, eyes):
        await eyes["callee"].another(10)
        assert None not in eyes["callee"].numbers
        (counts,) = watching["callee"].video.statistics()
        assert counts.freezes == counts.malformed == 0

    run(tmp_path, saying(text(*parameter_sets(64, 48)), "callee"), main)


def test_where_pictures_are_sealed_nothing_of_the_signalling_reaches_the_decoder(tmp_path, bare):
    """The control is the first test: the same words, and the picture is shown."""

    async def main(watching, eyes):
        await nothing(watching["callee"])

    run(tmp_path, saying(text(*parameter_sets()), "callee"), main, policy=SEALED)


def test_without_that_seal_a_server_can_cut_what_brings_none_of_its_own(tmp_path, bare):
    """What `docs/how-to/video.md` says of it: smaller and broken, and still the peer's."""

    async def main(watching, eyes):
        await eyes["callee"].until(lambda numbers: numbers)
        assert eyes["callee"].last.size == (64, 48)

    run(tmp_path, saying(text(*parameter_sets(64, 48)), "callee"), main)
