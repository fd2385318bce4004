"""aiortc as the far end of calls with pictures: VP8 and H.264, each of us beginning."""

from __future__ import annotations

import asyncio

import pytest

import securecall as sc
from securecall.media.video.frames import VideoFrame

pytest.importorskip("aiortc", reason="needs PyPI's aiortc: python3 dev.py interop installs it")

from aiortc.codecs.h264 import H264Encoder

from securecall.rtp.h264 import PPS, SPS
from tests.interop import test_aiortc_media as sound
from tests.interop.people import hear_tone, require_no_media
from tests.interop.pictures import ALIKE, likeness, pattern
from tests.interop.sound import tone_seconds
from tests.pairs.calls.test_parameter_sets import nothing, saying, text

loopback = sound.loopback
CODECS = pytest.mark.parametrize("codec", ["VP8", "H264"])


def plain(codec):
    return sc.Policy(danger_plain_dtls=True, prefer_video=(codec,))


async def require_seen(frames):
    """Five different pictures of the pattern, as they were drawn."""
    found = {}
    async with asyncio.timeout(40):
        async for frame in frames:
            number, alike = likeness(frame)
            if number is not None and alike > ALIKE:
                found[number] = alike
            if len(found) == 5:
                return


async def watched(peer):
    """What aiortc decodes, as frames of ours."""
    while True:
        seen, peer.seen = peer.seen, []
        for picture in seen:
            yield VideoFrame.from_picture(picture)
        await asyncio.sleep(0.05)


async def require_heard(peer, path):
    """aiortc records our tone."""
    async with asyncio.timeout(40):
        while True:
            await asyncio.sleep(0.5)
            if peer.frames:
                peer.record(path)
                if tone_seconds(path, sound.OURS) > 0.5:
                    return


async def talk(call, peer, folder, codec):
    """Hear and see each other."""
    assert (await call.connected()).level is sc.HOP_BY_HOP
    await asyncio.gather(
        hear_tone(call, folder / "ours.wav", sound.THEIRS, seconds=0.5),
        require_heard(peer, folder / "theirs.wav"),
        require_seen(call.video.frames()),
        require_seen(watched(peer)),
    )
    (video,) = call.video.statistics()
    assert (video.codec, video.codec_received) == (codec, codec)
    assert (video.malformed, video.refused) == (0, 0)
    assert call.statistics().malformed == 0
    await call.hang_up()
    await asyncio.wait_for(peer.ended.wait(), 40)


@CODECS
def test_we_call_aiortc_and_see_each_other(tmp_path, codec):
    async def main():
        async with sound.meeting(tmp_path, plain(codec), dtls_active=True, video=True) as met:
            us, peer = met
            tone = sc.ToneSource(sound.OURS)
            async with us.call(sound.BOB, audio=tone, video=pattern()) as call:
                await talk(call, peer, tmp_path, codec)

    asyncio.run(main())


@CODECS
def test_aiortc_calls_us_and_we_see_each_other(tmp_path, codec):
    async def main():
        async with sound.meeting(tmp_path, plain(codec), dtls_active=True, video=True) as met:
            us, peer = met
            await peer.dial(sound.ALICE)
            ring = await us.next_call()
            async with ring.accept(audio=sc.ToneSource(sound.OURS), video=pattern()) as call:
                await talk(call, peer, tmp_path, codec)

    asyncio.run(main())


def test_the_default_policy_shows_aiortc_nothing(tmp_path):
    async def main():
        async with sound.meeting(tmp_path, None, dtls_active=True, video=True) as (us, peer):
            tone = sc.ToneSource(sound.OURS)
            async with us.call(sound.BOB, audio=tone, video=pattern()) as call:
                with pytest.raises(sc.PolicyRefused) as caught:
                    await call.connected()
            assert caught.value.reason is sc.Reason.IDENTITY_MISSING
            await asyncio.wait_for(peer.ended.wait(), 40)
            require_no_media(call)
            assert (peer.frames, peer.seen) == (0, [])
            assert all(s.packets_sent == s.frames_shown == 0 for s in call.video.statistics())

    asyncio.run(main())


@pytest.mark.parametrize("said", [True, False], ids=["in signalling alone", "nowhere"])
def test_aiortc_without_parameter_sets_in_its_stream_is_seen_by_those_of_its_answer(
    tmp_path, monkeypatch, said
):
    """As telephones do it that bring them in signalling alone; aiortc itself does both."""

    def is_set(unit):
        return unit[0] & 0x1F in (SPS, PPS)

    packetize = H264Encoder._packetize
    sets = text(*filter(is_set, H264Encoder()._encode_frame(pattern().frame(0).picture(), True)))
    monkeypatch.setattr(
        H264Encoder, "_packetize", lambda _, units: packetize(u for u in units if not is_set(u))
    )
    server = saying(sets, "callee" if said else "nobody")

    async def main():
        meeting = sound.meeting(
            tmp_path, plain("H264"), dtls_active=True, video=True, mutate=server.mutate
        )
        async with meeting as (us, _):
            tone = sc.ToneSource(sound.OURS)
            async with us.call(sound.BOB, audio=tone, video=pattern()) as call:
                await call.connected()
                seen = call.video.frames()  # somebody looks, in either case
                await (require_seen(seen) if said else nothing(call))

    asyncio.run(main())
