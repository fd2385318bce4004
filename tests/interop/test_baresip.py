"""A phone of other people's making, baresip 1.0, behind Kamailio: it proves no identity to us.

Its DTLS-SRTP is met only where a caller asked for that by name (`danger_plain_dtls`), and is
called hop-by-hop even then; the default policy refuses it before any sound. That it shows an RSA
certificate is why the default policy already ends in DTLS, before identity is asked for. It does
not verify the server's certificate, so nothing here says anything about its TLS.
"""

from __future__ import annotations

import asyncio
import re

import pytest

import securecall as sc
from securecall.media.video.pattern import TestPattern
from tests.interop import baresip, inside_own_network, own_network, switch
from tests.interop.children import need
from tests.interop.people import hear, hear_tone, require_no_media, signed_in, sip
from tests.interop.sound import loudest, tone_seconds

BARESIP_HERTZ = 440.0  # what it plays, see its configuration
OUR_HERTZ = 620.0
CODECS = pytest.mark.parametrize(
    ("codec", "theirs", "mux"),
    [
        ("opus", "opus/48000/2", "yes"),
        ("G722", "G722/16000/1", "yes"),
        ("PCMU", "PCMU/8000/1", "yes"),
        ("opus", "opus/48000/2", "no"),
        ("PCMU", "PCMU/8000/1", "no"),
    ],
)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory, certificates):
    with switch.running(tmp_path_factory.mktemp("switch"), certificates) as running:
        yield running


@pytest.fixture
def phone(tmp_path, proxy):
    """Start Bob's phone: `phone("PCMU/8000/1")`."""
    with baresip.several(tmp_path, proxy) as start:
        yield start


def recording(phone):
    """What the phone decoded; its WAV file is complete once the call is over."""
    found = list(phone.folder.glob("dump*-dec.wav"))
    assert len(found) <= 1
    return found[0] if found else phone.folder / "nothing.wav"


def plain(codec):
    return sc.Policy(danger_plain_dtls=True, prefer_codecs=(codec,))


async def talk(call, phone, folder):
    """Hear each other, hang up, and look at both recordings."""
    state = await call.connected()
    assert state.level is sc.HOP_BY_HOP
    assert state.identity is None
    with pytest.raises(sc.UsageError):
        _ = call.sas
    await hear(call, folder / "ours.wav")
    await call.hang_up()
    await asyncio.to_thread(phone.wait_event, "CALL_CLOSED")
    assert tone_seconds(folder / "ours.wav", BARESIP_HERTZ) > 1.0
    assert tone_seconds(recording(phone), OUR_HERTZ) > 1.0
    assert "the provider can listen" in state.level.words


@CODECS
def test_we_call_baresip_and_hear_each_other(phone, proxy, tmp_path, codec, theirs, mux):
    bob = phone("bob", encryption="dtls_srtp", codecs=theirs, mux=mux)
    bob.wait_registered()

    async def main():
        async with signed_in("alice", proxy, tmp_path, policy=plain(codec)) as alice:
            async with alice.call(sip("bob"), audio=sc.ToneSource(OUR_HERTZ)) as call:
                await talk(call, bob, tmp_path)

    asyncio.run(main())


@CODECS
def test_baresip_calls_us_and_we_hear_each_other(phone, proxy, tmp_path, codec, theirs, mux):
    bob = phone("bob", encryption="dtls_srtp", codecs=theirs, mux=mux)
    bob.wait_registered()

    async def main():
        async with signed_in("alice", proxy, tmp_path, policy=plain(codec)) as alice:
            bob.command("dial", sip("alice"))
            ring = await asyncio.wait_for(alice.next_call(), 40)
            assert str(ring.caller) == sip("bob")
            async with ring.accept(audio=sc.ToneSource(OUR_HERTZ)) as call:
                await talk(call, bob, tmp_path)

    asyncio.run(main())


def test_without_bundling_a_call_with_pictures_is_one_of_sound_alone(phone, proxy, tmp_path):
    """An association of its own for pictures would be bound to nobody (decision 0117)."""
    bob = phone("bob", encryption="dtls_srtp", video=True)
    bob.wait_registered()

    async def main():
        async with signed_in("alice", proxy, tmp_path, policy=plain("opus")) as alice:
            tone, pattern = sc.ToneSource(OUR_HERTZ), TestPattern(320, 180, 15)
            async with alice.call(sip("bob"), audio=tone, video=pattern) as call:
                await hear_tone(call, tmp_path / "there.wav", BARESIP_HERTZ)
                assert (call.video.shown, call.video.statistics()) == (frozenset(), ())
            await asyncio.to_thread(bob.wait_event, "CALL_CLOSED")
            bob.command("dial", sip("alice"))
            ring = await asyncio.wait_for(alice.next_call(), 40)
            assert ring.shows
            async with ring.accept(audio=sc.ToneSource(OUR_HERTZ), video=True) as call:
                await hear_tone(call, tmp_path / "back.wav", BARESIP_HERTZ)
                assert (call.video.shown, call.video.statistics()) == (frozenset(), ())
                assert "no picture" in call.security.warnings[0]

    asyncio.run(main())


@pytest.mark.parametrize("mux", ["yes", "no"])
def test_baresip_holds_the_call_and_takes_it_up_again(phone, proxy, tmp_path, mux):
    bob = phone("bob", encryption="dtls_srtp", mux=mux)
    bob.wait_registered()

    async def main():
        async with signed_in("alice", proxy, tmp_path, policy=plain("opus")) as alice:
            async with alice.call(sip("bob"), audio=sc.ToneSource(OUR_HERTZ)) as call:
                await hear(call, tmp_path / "before.wav", seconds=0.3)
                assert call.security.srtp_profile == "SRTP_AEAD_AES_256_GCM"
                bob.command("hold")
                await asyncio.to_thread(bob.child.wait_said, "got SDP answer")
                await asyncio.sleep(0.1)  # what was on its way arrives
                held = call.statistics()
                await asyncio.sleep(0.4)
                assert call.statistics().packets_sent == held.packets_sent
                assert call.statistics().packets_received == held.packets_received
                bob.command("resume")
                await hear(call, tmp_path / "after.wav")
                await call.hang_up()
                await asyncio.to_thread(bob.wait_event, "CALL_CLOSED")
            assert tone_seconds(tmp_path / "after.wav", BARESIP_HERTZ) > 1.0
            # it never records after a hold, whoever is at the other end: its count has to do
            counted = re.search(r"packets: +[0-9]+ +([0-9]+)", bob.child.said())
            assert counted is not None
            assert int(counted[1]) > held.packets_sent + 50

    asyncio.run(main())


def test_the_default_policy_does_not_talk_to_baresip(phone, proxy, tmp_path):
    bob = phone("bob", encryption="dtls_srtp")
    bob.wait_registered()

    async def main():
        async with signed_in("alice", proxy, tmp_path) as alice:
            async with alice.call(sip("bob"), audio=sc.ToneSource(OUR_HERTZ)) as call:
                with pytest.raises(sc.SecurityError):
                    await call.connected()
            await asyncio.to_thread(bob.wait_event, "CALL_CLOSED")
            require_no_media(call)
            assert loudest(recording(bob)) == 0

    asyncio.run(main())


def test_the_default_policy_does_not_take_a_call_of_baresip(phone, proxy, tmp_path):
    bob = phone("bob", encryption="dtls_srtp")
    bob.wait_registered()

    async def main():
        async with signed_in("alice", proxy, tmp_path) as alice:
            bob.command("dial", sip("alice"))
            ring = await asyncio.wait_for(alice.next_call(), 40)
            async with ring.accept(audio=sc.ToneSource(OUR_HERTZ)) as call:
                with pytest.raises(sc.SecurityError):
                    await call.connected()
            await asyncio.to_thread(bob.wait_event, "CALL_CLOSED")
            require_no_media(call)
            assert loudest(recording(bob)) == 0

    asyncio.run(main())


def test_the_default_policy_does_not_even_ring_for_baresip_without_multiplexing(
    phone, proxy, tmp_path
):
    bob = phone("bob", encryption="dtls_srtp", mux="no")
    bob.wait_registered()

    async def main():
        async with signed_in("alice", proxy, tmp_path) as alice:
            bob.command("dial", sip("alice"))
            assert "488" in str(await asyncio.to_thread(bob.wait_event, "CALL_CLOSED"))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(alice.next_call(), 0.05)

    asyncio.run(main())


@pytest.mark.parametrize("encryption", ["srtp-mand", ""])
def test_keys_in_the_signalling_and_no_keys_do_not_even_ring(phone, proxy, tmp_path, encryption):
    bob = phone("bob", encryption=encryption)
    bob.wait_registered()

    async def main():
        async with signed_in("alice", proxy, tmp_path, policy=plain("opus")) as alice:
            bob.command("dial", sip("alice"))
            closed = await asyncio.to_thread(bob.wait_event, "CALL_CLOSED")
            assert "488" in str(closed)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(alice.next_call(), 0.05)
            assert loudest(recording(bob)) == 0

    asyncio.run(main())


def test_ice_with_baresip(tmp_path):
    need("baresip", "baresip-core")
    need("kamailio", "kamailio kamailio-tls-modules")
    own_network.run(inside_own_network.__file__, tmp_path, seconds=40)
