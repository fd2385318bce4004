"""aiortc as the far end of whole calls: ICE, DTLS-SRTP, Opus, G.722 and PCMU, each of us beginning.

It proves no identity, so nothing above hop-by-hop can come of it, and by default nothing at all.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

import securecall as sc
from securecall.calls.signaling import SignalingPath
from securecall.testing.bus import SignalBus, unchanged
from tests.interop.people import PASSPHRASE, hear_tone, require_no_media, sip
from tests.interop.sound import tone_seconds

pytest.importorskip("aiortc", reason="needs PyPI's aiortc: python3 dev.py interop installs it")

from tests.interop.aiortc_peer import AiortcPeer

ALICE, BOB = sc.parse_address(sip("alice")), sc.parse_address(sip("bob"))
OURS, THEIRS = 620.0, 440.0
CODECS = pytest.mark.parametrize("codec", ["opus", "G722", "PCMU"])
DTLS = pytest.mark.parametrize("dtls_active", [True, False], ids=["active", "passive"])
PATH = SignalingPath(
    protocol="bus",
    transport="memory",
    direct=False,
    verified_name="bus.example",
    remote="127.0.0.1:5061",
)


@pytest.fixture(autouse=True)
def loopback(monkeypatch):
    """aiortc offers no loopback address by itself, and nothing here may leave the machine."""
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda **_: ["127.0.0.1"])


@asynccontextmanager
async def meeting(folder, policy, *, dtls_active, video=False, mutate=unchanged):
    """Alice is ours, Bob is aiortc, with a picture if asked for."""
    bus = SignalBus(path=PATH, mutate=mutate)
    peer = AiortcPeer(bus, BOB, hertz=THEIRS, dtls_active=dtls_active, video=video)
    try:
        async with sc.open(folder / "a", passphrase=PASSPHRASE, create=True, policy=policy) as us:
            us.use(ALICE, bus.endpoint(ALICE), server_host="127.0.0.1")
            yield us, peer
    finally:
        await peer.hang_up()


def plain(codec):
    return sc.Policy(danger_plain_dtls=True, prefer_codecs=(codec,))


async def talk(call, peer, folder):
    """Hear each other and look at both recordings."""
    state = await call.connected()
    assert state.level is sc.HOP_BY_HOP
    assert state.identity is None
    await hear_tone(call, folder / "ours.wav", THEIRS)
    await call.hang_up()
    await asyncio.wait_for(peer.ended.wait(), 40)
    peer.record(folder / "theirs.wav")
    assert tone_seconds(folder / "theirs.wav", OURS) > 1.0


@CODECS
@DTLS
def test_we_call_aiortc_and_hear_each_other(tmp_path, codec, dtls_active):
    async def main():
        async with meeting(tmp_path, plain(codec), dtls_active=dtls_active) as (us, peer):
            async with us.call(BOB, audio=sc.ToneSource(OURS)) as call:
                await talk(call, peer, tmp_path)

    asyncio.run(main())


@CODECS
@DTLS
def test_aiortc_calls_us_and_we_hear_each_other(tmp_path, codec, dtls_active):
    async def main():
        async with meeting(tmp_path, plain(codec), dtls_active=dtls_active) as (us, peer):
            await peer.dial(ALICE)
            async with (await us.next_call()).accept(audio=sc.ToneSource(OURS)) as call:
                await talk(call, peer, tmp_path)

    asyncio.run(main())


@DTLS
def test_the_default_policy_does_not_talk_to_aiortc(tmp_path, dtls_active):
    async def main():
        async with meeting(tmp_path, None, dtls_active=dtls_active) as (us, peer):
            async with us.call(BOB, audio=sc.ToneSource(OURS)) as call:
                with pytest.raises(sc.PolicyRefused) as caught:
                    await call.connected()
            assert caught.value.reason is sc.Reason.IDENTITY_MISSING
            await asyncio.wait_for(peer.ended.wait(), 40)
            require_no_media(call)
            assert peer.frames == 0

    asyncio.run(main())


@DTLS
def test_the_default_policy_does_not_take_a_call_of_aiortc(tmp_path, dtls_active):
    async def main():
        async with meeting(tmp_path, None, dtls_active=dtls_active) as (us, peer):
            await peer.dial(ALICE)
            async with (await us.next_call()).accept(audio=sc.ToneSource(OURS)) as call:
                with pytest.raises(sc.PolicyRefused) as caught:
                    await call.connected()
            assert caught.value.reason is sc.Reason.IDENTITY_MISSING
            await asyncio.wait_for(peer.ended.wait(), 40)
            require_no_media(call)
            assert peer.frames == 0

    asyncio.run(main())
