"""Calls with a browser; run by `test_browsers.py` inside a network of their own, not by itself.

The browser comes by secure WebSocket, with JsSIP, we come by TLS, both as subscribers of Kamailio.
Each end plays a tone and shows the test pattern; both tones and both patterns are looked for at the
other end. A browser proves no identity.
"""

from __future__ import annotations

import asyncio
import base64
from array import array
from contextlib import asynccontextmanager

import pytest

import securecall as sc
from tests.interop import browsers, kamailio, own_network
from tests.interop.own_network import ADDRESS
from tests.interop.people import require_no_media, sip, subscriber
from tests.interop.pictures import ALIKE, FPS, brightest, drawn, likeness, pattern, read_png
from tests.interop.sound import tone_in

OURS, THEIRS = 620.0, 440.0
PICTURES = drawn(16)
WINDOW, HEARD_SECONDS = 0.1, 0.5
BLACK = 24  # luma, of black that was encoded


@pytest.fixture(scope="module")
def network():
    with own_network.network_card():
        yield


@pytest.fixture(scope="module")
def registrar(network, tmp_path_factory, certificates):
    """Kamailio, at an address that is not loopback: browsers have no candidates there."""
    folder = tmp_path_factory.mktemp("registrar")
    with kamailio.running(folder, certificates, also=ADDRESS) as running:
        yield running


@pytest.fixture(scope="module", params=["chromium", "firefox"])
def browser(request, network, tmp_path_factory, certificates):
    folder = tmp_path_factory.mktemp(request.param)
    with getattr(browsers, request.param)(folder, certificates) as running:
        yield running


def plain(*codecs):
    return sc.Policy(danger_plain_dtls=True, prefer_video=codecs or ("VP8",))


@asynccontextmanager
async def meeting(browser, registrar, folder, policy, *, permitted=False):
    """Alice is ours, Bob is in the browser; `permitted` to see its own addresses."""
    at = f"{ADDRESS}:{registrar.tls}"
    async with (
        browser.tab() as bob,
        subscriber("alice", registrar, folder, policy=policy, server=at) as alice,
    ):
        if permitted:
            await bob.permit()
        bob.rate = await bob.do("prepare", THEIRS, PICTURES, 1000 / FPS)
        server = f"wss://localhost:{registrar.tls}/sip"
        await bob.do("register", "bob", server, registrar.domain, kamailio.PASSWORDS["bob"])
        yield alice, bob


@asynccontextmanager
async def called(alice, bob, *, video=True):
    """We call, and it takes the call."""
    picture = pattern() if video else None
    async with alice.call(sip("bob"), audio=sc.ToneSource(OURS), video=picture) as call:
        await bob.do("wait", "ringing")
        await bob.do("accept", {"video": video})
        yield call


@asynccontextmanager
async def calling(alice, bob, *, video=True):
    """It calls with a picture, and we take the call, with or without."""
    await bob.do("call", sip("alice"), {"video": True})
    ring = await asyncio.wait_for(alice.next_call(), 40)
    assert str(ring.caller) == sip("bob")
    assert ring.shows
    picture = pattern() if video else None
    async with ring.accept(audio=sc.ToneSource(OURS), video=picture) as call:
        yield call


async def require_seen(call, *, pictures=5):
    """We see so many different pictures of the pattern, each as it was drawn."""
    found = {}
    async with asyncio.timeout(40):
        async for frame in call.video.frames():
            number, alike = likeness(frame)
            if number is not None:
                found[number] = alike
            if len(found) == pictures:
                break
    # the first may be of the time before the sender knew what the path takes
    assert sorted(found.values())[pictures // 2] > ALIKE, found
    return found


async def seen_by(bob):
    """The picture the browser shows now, None before there is one."""
    png = base64.b64decode((await bob.do("seen")).partition(",")[2])
    return read_png(png) if png else None


async def require_shown(bob):
    """The browser shows the pattern as we sent it, and it moves."""
    found = {}
    async with asyncio.timeout(40):
        while len(found) < 3:
            frame = await seen_by(bob)
            number, alike = likeness(frame) if frame is not None else (None, 0.0)
            if number is not None and alike > ALIKE:
                found[number] = alike
            await asyncio.sleep(0.1)
    return found


async def require_audible(call):
    """We hear its tone."""
    window, heard = array("h"), 0.0
    async with asyncio.timeout(40):
        async for frame in call.audio:
            window.frombytes(frame.samples)
            if len(window) >= WINDOW * frame.channels * frame.sample_rate:
                heard += tone_in(window[:: frame.channels], frame.sample_rate, THEIRS)
                window = array("h")
            if heard > HEARD_SECONDS:
                return
    raise AssertionError("the call ended")


async def require_heard(bob):
    """The browser hears our tone."""
    _, heard = await bob.heard(), 0.0
    async with asyncio.timeout(40):
        while heard < HEARD_SECONDS:
            await asyncio.sleep(3 * WINDOW)
            heard += tone_in(await bob.heard(), bob.rate, OURS)


async def require_on_screen(bob, folder):
    """What a person would see: the picture stands where the page has it."""
    png = await bob.screenshot()
    (folder / "screen.png").write_bytes(png)
    left, top = await bob.do("place")
    number, alike = likeness(read_png(png, (left, top, left + 320, top + 180)))
    assert number is not None
    assert alike > ALIKE


async def require_both_ways(call, bob):
    state = await call.connected()
    assert state.level is sc.HOP_BY_HOP
    assert state.identity is None
    await asyncio.gather(
        require_audible(call),
        require_heard(bob),
        require_seen(call),
        require_shown(bob),
    )
    audio, (video,) = call.statistics(), call.video.statistics()
    assert (audio.malformed, audio.forged, audio.unknown) == (0, 0, 0)
    assert (video.malformed, video.refused) == (0, 0)


async def settled(look):
    """What a look finds twice, with 0.4 s between; what was on its way has arrived then."""
    async with asyncio.timeout(40):
        found = await look()
        while True:
            await asyncio.sleep(0.4)
            before, found = found, await look()
            if found == before:
                return


async def require_held(call, bob, *, by_us):
    """No sound and no picture of ours moves; of theirs JsSIP sends black, unless we hold."""

    async def look():
        await bob.heard()
        (video,) = call.video.statistics()
        theirs = video.frames_shown if by_us else None
        return video.packets_sent, theirs, (await bob.do("statistics"))["in_video"]["frames"]

    await settled(look)
    await asyncio.sleep(0.2)
    assert tone_in(await bob.heard(), bob.rate, OURS) == 0
    if not by_us:
        assert brightest(await anext(call.video.frames())) <= BLACK


async def require_hold(call, bob):
    """Either holds the call, and takes it up again."""
    await bob.do("hold")
    await require_held(call, bob, by_us=False)
    await bob.do("resume")
    await require_both_ways(call, bob)
    await call.hold()
    await bob.do("wait", "hold by remote")
    await require_held(call, bob, by_us=True)
    await call.resume()
    await bob.do("wait", "unhold by remote")
    await require_both_ways(call, bob)


async def require_cameras(call, bob):
    """Both cameras go off, without a word in signalling, and on again."""

    async def look():
        (video,) = call.video.statistics()
        return video.frames_sent, video.frames_shown

    await bob.do("camera", False)
    call.video.show(None)
    await settled(look)
    assert brightest(await seen_by(bob)) <= BLACK
    await bob.do("camera", True)
    call.video.show(pattern())
    await require_both_ways(call, bob)


def test_we_call_a_browser_that_hides_its_addresses(browser, registrar, tmp_path):
    async def main():
        async with meeting(browser, registrar, tmp_path, plain("VP8")) as (us, bob):
            async with called(us, bob) as call:
                await require_both_ways(call, bob)
                assert call.security.srtp_profile == "SRTP_AEAD_AES_256_GCM"
                hosts = await bob.do("hosts")
                assert hosts and all(host.endswith(".local") for host in hosts)
                await require_on_screen(bob, tmp_path)
                await require_hold(call, bob)
                await call.hang_up()
                await bob.do("wait", "ended")

    asyncio.run(main())


def test_a_browser_calls_us(browser, registrar, tmp_path):
    async def main():
        may = browser.name == "chromium"  # name its addresses; and has an encoder for H.264
        codec = "H264" if may else "VP8"
        async with meeting(browser, registrar, tmp_path, plain(codec), permitted=may) as (us, bob):
            async with calling(us, bob) as call:
                await require_both_ways(call, bob)
                (video,) = call.video.statistics()
                assert (video.codec, video.codec_received) == (codec, codec)
                assert (ADDRESS in await bob.do("hosts")) is may
                await require_cameras(call, bob)
                await bob.do("hangUp")
                assert await call.ended() is sc.EndReason.HUNG_UP

    asyncio.run(main())


def test_the_default_policy_shows_and_says_nothing(browser, registrar, tmp_path):
    async def refused(way, us, bob):
        async with way(us, bob) as call:
            with pytest.raises(sc.PolicyRefused) as caught:
                await call.connected()
            assert caught.value.reason is sc.Reason.IDENTITY_MISSING
            await bob.do("wait", "ended")
            require_no_media(call)
            assert all(s.packets_sent == s.frames_shown == 0 for s in call.video.statistics())
            assert max(map(abs, await bob.heard()), default=0) == 0
            shown = await seen_by(bob)
            assert shown is None or brightest(shown) <= BLACK

    async def main():
        async with meeting(browser, registrar, tmp_path, None) as (us, bob):
            await refused(called, us, bob)
            await refused(calling, us, bob)

    asyncio.run(main())


@pytest.mark.parametrize("browser", ["chromium"], indirect=True)
def test_a_call_may_have_sound_alone_and_pictures_come_and_go(browser, registrar, tmp_path):
    async def heard(call, bob):
        await call.connected()
        await asyncio.gather(require_audible(call), require_heard(bob))
        assert not call.video.shown

    async def main():
        async with meeting(browser, registrar, tmp_path, plain()) as (us, bob):
            async with called(us, bob, video=False) as call:
                await heard(call, bob)
                await call.video.add(pattern())
                await require_shown(bob)
                await bob.do("addCamera")
                await require_both_ways(call, bob)
                await call.video.drop()
                await heard(call, bob)
                await call.hang_up()
                await bob.do("wait", "ended")
            async with calling(us, bob, video=False) as call:
                await heard(call, bob)

    asyncio.run(main())
