"""Linphone as an ordinary subscriber; run by `test_linphone.py` in a network of its own.

It verified the registrar's certificate, which one test here shows by a phone that trusts another
authority. It proves no identity to us, so a call with it is hop-by-hop at most, and only where a
caller asked for that by name. What it plays and what its speaker gets are PulseAudio's.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

import pytest

import securecall as sc
from securecall.calls import way
from securecall.media.description import Keying
from securecall.media.video.pattern import TestPattern
from securecall.policy import GATEWAY_WORDS
from tests.interop import authority, kamailio, linphone, own_network
from tests.interop.people import hear_tone, require_no_media, sip, subscriber

OUR_HERTZ = 620.0
BOTH = pytest.mark.parametrize("bob", [True, False], indirect=True, ids=["rtcp-mux", "as it comes"])
CODECS = pytest.mark.parametrize("codec", ["opus", "PCMU"])


@pytest.fixture(scope="module")
def registrar(tmp_path_factory, certificates):
    with kamailio.running(tmp_path_factory.mktemp("registrar"), certificates) as running:
        yield running


@pytest.fixture(scope="module")
def bob(request, tmp_path_factory, registrar):
    """Bob's phone with DTLS-SRTP; each test leaves it without a call."""
    mux = getattr(request, "param", True)
    with linphone.running(tmp_path_factory.mktemp("bob"), "bob", registrar, mux=mux) as phone:
        phone.wait_registered()
        yield phone


@contextmanager
def other_phone(folder, registrar, **options):
    """Carol's phone, which is set up in another way."""
    home = folder / "carol"
    home.mkdir()
    with linphone.running(home, "carol", registrar, **options) as phone:
        yield phone


def plain(codec="opus"):
    return sc.Policy(danger_plain_dtls=True, prefer_codecs=(codec,))


async def until(phone, state):
    return await asyncio.to_thread(phone.wait_call, state)


async def talk(call, phone, folder):
    """Hear each other, the other end's tone in both recordings; the call goes on."""
    state = await call.connected()
    assert (state.level, state.identity) == (sc.HOP_BY_HOP, None)
    assert state.keying is Keying.DTLS_SRTP
    assert state.srtp_profile == "SRTP_AES128_CM_SHA1_80"  # all it takes by DTLS
    with pytest.raises(sc.UsageError):
        _ = call.sas
    await hear_each_other(call, phone, folder)


async def talk_by_sdes(call, phone, folder):
    """The same, with keys in the signalling."""
    state = await call.connected()
    assert (state.level, state.keying) == (sc.HOP_BY_HOP, Keying.SDES)
    assert state.words == GATEWAY_WORDS
    await hear_each_other(call, phone, folder)


async def hear_each_other(call, phone, folder):
    """Each other's tone, in both recordings."""
    await until(phone, "StreamsRunning")
    folder.mkdir()
    with phone.listening(folder / "theirs.pcm"):
        phone.play()
        await hear_tone(call, folder / "ours.wav", linphone.HERTZ)
        await asyncio.to_thread(linphone.wait_heard, folder / "theirs.pcm", OUR_HERTZ)


@BOTH
@CODECS
def test_we_call_linphone_hear_each_other_and_hang_up(bob, registrar, tmp_path, codec):
    async def main():
        async with subscriber("alice", registrar, tmp_path, policy=plain(codec)) as alice:
            async with alice.call(sip("bob"), audio=sc.ToneSource(OUR_HERTZ)) as call:
                await until(bob, "IncomingReceived")
                bob.command("answer")
                await talk(call, bob, tmp_path / "sound")
                await call.hang_up()
                await until(bob, "Released")

    asyncio.run(main())


@BOTH
@CODECS
def test_linphone_calls_we_hear_each_other_and_it_hangs_up(bob, registrar, tmp_path, codec):
    async def main():
        async with subscriber("alice", registrar, tmp_path, policy=plain(codec)) as alice:
            bob.command(f"call {sip('alice')}")
            ring = await asyncio.wait_for(alice.next_call(), 40)
            assert str(ring.caller) == sip("bob")
            async with ring.accept(audio=sc.ToneSource(OUR_HERTZ)) as call:
                await talk(call, bob, tmp_path / "sound")
                bob.command("terminate")
                assert await call.ended() is sc.EndReason.HUNG_UP
                await until(bob, "Released")

    asyncio.run(main())


def test_linphone_hears_us_and_we_see_it_where_it_bundles(registrar, tmp_path):
    """It finds the sound by the line that each packet names (RFC 9143 9.2)."""

    async def main(carol):
        async with subscriber("alice", registrar, tmp_path, policy=plain()) as alice:
            carol.command(f"call {sip('alice')}")
            ring = await asyncio.wait_for(alice.next_call(), 40)
            assert ring.shows
            audio, video = sc.ToneSource(OUR_HERTZ), TestPattern(320, 180, 15)
            async with ring.accept(audio=audio, video=video) as call:
                frames = call.video.frames()
                await talk(call, carol, tmp_path / "sound")
                async with asyncio.timeout(40):
                    seen = await anext(frames)
                assert max(seen.planes[0]) - min(seen.planes[0]) > 50, "it is not a picture"

    with other_phone(tmp_path, registrar, video=True) as carol:
        carol.wait_registered()
        asyncio.run(main(carol))


def test_ice_with_linphone_both_ways(registrar, tmp_path):
    async def main(carol):
        async with subscriber("alice", registrar, tmp_path, policy=plain()) as alice:
            async with alice.call(sip("carol"), audio=sc.ToneSource(OUR_HERTZ)) as call:
                await until(carol, "IncomingReceived")
                carol.command("answer")
                await talk(call, carol, tmp_path / "there")
                await call.hang_up()
                await until(carol, "Released")
            carol.command(f"call {sip('alice')}")
            ring = await asyncio.wait_for(alice.next_call(), 40)
            async with ring.accept(audio=sc.ToneSource(OUR_HERTZ)) as call:
                await talk(call, carol, tmp_path / "back")
                await call.hang_up()
                await until(carol, "Released")
        assert carol.said().count("ICE state is IceStateHostConnection") >= 2

    with own_network.default_route(), other_phone(tmp_path, registrar, ice=True) as carol:
        carol.wait_registered()
        asyncio.run(main(carol))


def test_ice_with_linphone_as_it_comes_both_ways(registrar, tmp_path, monkeypatch):
    """It sends as if there were no ICE, so this shows what one address at each end allows."""

    async def own_hosts(_towards):
        return (own_network.ADDRESS,)

    async def main(carol):
        async with subscriber("alice", registrar, tmp_path, policy=plain()) as alice:
            async with alice.call(sip("carol"), audio=sc.ToneSource(OUR_HERTZ)) as call:
                await until(carol, "IncomingReceived")
                carol.command("answer")
                await talk(call, carol, tmp_path / "there")
                await call.hang_up()
                await until(carol, "Released")
            await asyncio.to_thread(carol.wait_said, "ICE state is IceStateHostConnection")
            carol.command(f"call {sip('alice')}")
            ring = await asyncio.wait_for(alice.next_call(), 40)
            async with ring.accept(audio=sc.ToneSource(OUR_HERTZ)) as call:
                await talk(call, carol, tmp_path / "back")
                await call.hang_up()
                await until(carol, "Released")

    monkeypatch.setattr(way, "own_hosts", own_hosts)
    options = {"ice": True, "mux": False}
    with own_network.default_route(), other_phone(tmp_path, registrar, **options) as carol:
        carol.wait_registered()
        asyncio.run(main(carol))


@BOTH
def test_linphone_holds_the_call_and_takes_it_up_again(bob, registrar, tmp_path):
    async def main():
        async with subscriber("alice", registrar, tmp_path, policy=plain()) as alice:
            async with alice.call(sip("bob"), audio=sc.ToneSource(OUR_HERTZ)) as call:
                await until(bob, "IncomingReceived")
                bob.command("answer")
                await talk(call, bob, tmp_path / "before")
                bob.command("call-pause")
                number = await until(bob, "Paused")
                await asyncio.sleep(0.1)  # what was on its way arrives
                held = call.statistics()
                await asyncio.sleep(0.4)
                assert call.statistics().packets_sent == held.packets_sent
                bob.command(f"call-resume {number}")
                await talk(call, bob, tmp_path / "after")
                await call.hang_up()
                await until(bob, "Released")

    asyncio.run(main())


def test_the_default_policy_does_not_talk_to_linphone(bob, registrar, tmp_path):
    async def main():
        async with subscriber("alice", registrar, tmp_path) as alice:
            with bob.listening(tmp_path / "theirs.pcm"):
                async with alice.call(sip("bob"), audio=sc.ToneSource(OUR_HERTZ)) as call:
                    await until(bob, "IncomingReceived")
                    bob.command("answer")
                    with pytest.raises(sc.SecurityError):
                        await call.connected()
                await until(bob, "Released")
            require_no_media(call)
            assert linphone.heard(tmp_path / "theirs.pcm", OUR_HERTZ) == 0

    asyncio.run(main())


def test_the_default_policy_does_not_take_a_call_of_linphone(bob, registrar, tmp_path):
    async def main():
        async with subscriber("alice", registrar, tmp_path) as alice:
            with bob.listening(tmp_path / "theirs.pcm"):
                bob.command(f"call {sip('alice')}")
                ring = await asyncio.wait_for(alice.next_call(), 40)
                async with ring.accept(audio=sc.ToneSource(OUR_HERTZ)) as call:
                    with pytest.raises(sc.SecurityError):
                        await call.connected()
                await until(bob, "Released")
            require_no_media(call)
            assert linphone.heard(tmp_path / "theirs.pcm", OUR_HERTZ) == 0

    asyncio.run(main())


@pytest.mark.parametrize(
    ("options", "offered", "missing"),
    [
        ({"encryption": "srtp"}, "a=crypto:", "a=fingerprint:"),
        ({"encryption": "zrtp"}, "a=zrtp-hash:", "a=fingerprint:"),
    ],
    ids=["keys in the signalling", "ZRTP"],
)
def test_what_we_cannot_protect_does_not_even_ring(registrar, tmp_path, options, offered, missing):
    async def main(carol):
        async with subscriber("alice", registrar, tmp_path, policy=plain()) as alice:
            carol.command(f"call {sip('alice')}")
            await until(carol, "Error")
            said = carol.said()
            assert offered in said
            assert missing not in said
            assert "SIP/2.0 488" in said
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(alice.next_call(), 0.05)

    with other_phone(tmp_path, registrar, **options) as carol:
        carol.wait_registered()
        asyncio.run(main(carol))


def test_sdes_with_linphone_on_a_gateway_account_both_ways(registrar, tmp_path):
    async def main(carol):
        options = {"policy": sc.Policy(prefer_codecs=("opus",)), "provider_mode": "gateway"}
        async with subscriber("alice", registrar, tmp_path, **options) as alice:
            async with alice.call(sip("carol"), audio=sc.ToneSource(OUR_HERTZ)) as call:
                await until(carol, "IncomingReceived")
                carol.command("answer")
                await call.connected()
                await until(carol, "StreamsRunning")
                carol.command("call-pause")
                number = await until(carol, "Paused")
                carol.command(f"call-resume {number}")
                await talk_by_sdes(call, carol, tmp_path / "there")
                await call.hang_up()
                await until(carol, "Released")
            carol.command(f"call {sip('alice')}")
            ring = await asyncio.wait_for(alice.next_call(), 40)
            async with ring.accept(audio=sc.ToneSource(OUR_HERTZ)) as call:
                await talk_by_sdes(call, carol, tmp_path / "back")
                await call.hang_up()
                await until(carol, "Released")

    with other_phone(tmp_path, registrar, encryption="srtp") as carol:
        carol.wait_registered()
        asyncio.run(main(carol))


@pytest.mark.parametrize("encryption", ["srtp", "zrtp"])
def test_linphone_refuses_our_offer_where_it_has_no_dtls(registrar, tmp_path, encryption):
    async def main():
        async with subscriber("alice", registrar, tmp_path, policy=plain()) as alice:
            async with alice.call(sip("carol"), audio=sc.ToneSource(OUR_HERTZ)) as call:
                with pytest.raises(sc.Incompatible) as caught:
                    await call.connected()
            assert caught.value.reason is sc.EndReason.INCOMPATIBLE
            require_no_media(call)

    with other_phone(tmp_path, registrar, encryption=encryption) as carol:
        carol.wait_registered()
        asyncio.run(main())


def test_the_default_policy_refuses_linphone_as_it_comes_both_ways(registrar, tmp_path):
    async def main(carol):
        async with subscriber("alice", registrar, tmp_path) as alice:
            carol.command(f"call {sip('alice')}")
            await until(carol, "Error")
            await asyncio.to_thread(carol.wait_said, "SIP/2.0 488")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(alice.next_call(), 0.05)
            async with alice.call(sip("carol"), audio=sc.ToneSource(OUR_HERTZ)) as call:
                await until(carol, "IncomingReceived")
                carol.command("answer")
                with pytest.raises(sc.Incompatible, match="rtcp-mux"):
                    await call.connected()
                await until(carol, "Released")
            require_no_media(call)

    with other_phone(tmp_path, registrar, mux=False) as carol:
        carol.wait_registered()
        asyncio.run(main(carol))


@pytest.mark.parametrize(("how", "status"), [("decline", "603"), ("busy", "486")])
def test_our_refusal_reaches_linphone_as_what_it_is(bob, registrar, tmp_path, how, status):
    async def main():
        async with subscriber("alice", registrar, tmp_path) as alice:
            before = bob.said().count(f"SIP/2.0 {status}")
            bob.command(f"call {sip('alice')}")
            await getattr(await asyncio.wait_for(alice.next_call(), 40), how)()
            await until(bob, "Released")
            assert bob.said().count(f"SIP/2.0 {status}") == before + 1

    asyncio.run(main())


def test_linphone_declines_and_we_are_told(bob, registrar, tmp_path):
    async def main():
        async with subscriber("alice", registrar, tmp_path) as alice:
            async with alice.call(sip("bob")) as call:
                await until(bob, "IncomingReceived")
                bob.command("terminate")
                with pytest.raises(sc.Declined):
                    await call.connected()
                await until(bob, "Released")
            require_no_media(call)

    asyncio.run(main())


def test_linphone_is_busy_while_it_talks_and_we_are_told(bob, registrar, tmp_path):
    async def main():
        async with (
            subscriber("alice", registrar, tmp_path, policy=plain()) as alice,
            subscriber("carol", registrar, tmp_path) as carol,
        ):
            async with alice.call(sip("bob"), audio=sc.ToneSource(OUR_HERTZ)) as call:
                await until(bob, "IncomingReceived")
                bob.command("answer")
                await call.connected()
                async with carol.call(sip("bob")) as second:
                    with pytest.raises(sc.Busy):
                        await second.connected()
                require_no_media(second)
                await call.hang_up()
                await until(bob, "Released")

    asyncio.run(main())


def test_a_caller_who_gives_up_stops_linphone_ringing(bob, registrar, tmp_path):
    async def main():
        async with subscriber("alice", registrar, tmp_path) as alice:
            async with alice.call(sip("bob")) as call:
                await call.ringing()
            await until(bob, "Released")
            require_no_media(call)

    asyncio.run(main())


@pytest.mark.parametrize(("wrong", "flag"), [("authority", "not-trusted"), ("name", "CN-mismatch")])
def test_linphone_registers_at_no_server_it_cannot_verify(registrar, tmp_path, wrong, flag):
    """The control is every other test here. An address is no name to it, though the certificate's.

    It says so in its log, which carries the flags of each certificate it looked at.
    """
    options = {"host": "127.0.0.1"}
    if wrong == "authority":
        (tmp_path / "other").mkdir()
        options = {"authority": authority.make(tmp_path / "other").authority}
    with other_phone(tmp_path, registrar, **options) as carol:
        carol.wait_said("SSL handshake failed")
        assert f"flags=[{flag}" in carol.said()
        assert carol.registration() != "LinphoneRegistrationOk"
