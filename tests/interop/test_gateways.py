"""Telephone gateways: SDES with baresip through Kamailio, and plain phones behind rtpengine.

Each call is hop-by-hop and says who can hear it; the default account takes none of them.
"""

from __future__ import annotations

import asyncio
import re

import pytest

import securecall as sc
from securecall.calls.report_parties import Capability, Role
from securecall.media.description import Keying
from securecall.policy import GATEWAY_WORDS
from tests.interop import baresip, gateway
from tests.interop.people import hear, hear_tone, require_no_media, sip, subscriber
from tests.interop.sound import loudest, tone_seconds

BARESIP_HERTZ = 440.0  # what it plays, see its configuration
OUR_HERTZ = 620.0
TEL = f"tel:{gateway.NUMBER}"


@pytest.fixture(scope="module")
def trunk(tmp_path_factory, certificates):
    """Kamailio and rtpengine."""
    with gateway.running(tmp_path_factory.mktemp("gateway"), certificates) as running:
        yield running


@pytest.fixture
def phone(tmp_path, request):
    """Start Bob's phone at a server and wait until it is registered."""

    def begin(server, **options):
        several = baresip.several(tmp_path, server)
        start = several.__enter__()
        request.addfinalizer(lambda: several.__exit__(None, None, None))
        bob = start("bob", **options)
        bob.wait_registered()
        return bob

    return begin


def recording(phone):
    found = list(phone.folder.glob("dump*-dec.wav"))
    return found[0] if found else phone.folder / "nothing.wav"


def only(codec):
    return sc.Policy(prefer_codecs=(codec,))


async def talk(call, phone, folder, keying, profile):
    """Hear each other, hang up, look at both recordings and at what the report says."""
    state = await call.connected()
    assert (state.level, state.keying, state.identity) == (sc.HOP_BY_HOP, keying, None)
    assert state.words == GATEWAY_WORDS
    assert re.fullmatch(profile, state.srtp_profile)
    await hear(call, folder / "ours.wav")
    await call.hang_up()
    await asyncio.to_thread(phone.wait_event, "CALL_CLOSED")
    assert tone_seconds(folder / "ours.wav", BARESIP_HERTZ) > 1.0
    assert tone_seconds(recording(phone), OUR_HERTZ) > 1.0
    could = {p.role: p.capability for p in call.report.parties}
    assert could[Role.OWN_PROVIDER] is could[Role.GATEWAY] is Capability.HELD_KEY


# -- keys in the signalling, with the phone itself ------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "theirs", "outgoing"),
    [("opus", "opus/48000/2", True), ("PCMU", "PCMU/8000/1", False)],
    ids=["we call", "it calls"],
)
def test_sdes_with_baresip(phone, proxy, tmp_path, codec, theirs, outgoing):
    bob = phone(proxy, encryption="srtp-mand", codecs=theirs)

    async def main():
        options = {"policy": only(codec), "provider_mode": "gateway"}
        async with subscriber("alice", proxy, tmp_path, **options) as alice:
            if outgoing:
                call = alice.call(sip("bob"), audio=sc.ToneSource(OUR_HERTZ))
            else:
                bob.command("dial", sip("alice"))
                ring = await asyncio.wait_for(alice.next_call(), 40)
                call = ring.accept(audio=sc.ToneSource(OUR_HERTZ))
            async with call:
                await talk(call, bob, tmp_path, Keying.SDES, "SRTP_.*")

    asyncio.run(main())


def test_baresip_with_sdes_holds_the_call_and_takes_it_up_again(phone, proxy, tmp_path):
    bob = phone(proxy, encryption="srtp-mand")

    async def main():
        async with subscriber("alice", proxy, tmp_path, provider_mode="gateway") as alice:
            async with alice.call(sip("bob"), audio=sc.ToneSource(OUR_HERTZ)) as call:
                await hear(call, tmp_path / "before.wav", seconds=0.3)
                bob.command("hold")
                await asyncio.to_thread(bob.child.wait_said, "got SDP answer")
                await asyncio.sleep(0.1)  # what was on its way arrives
                held = call.statistics()
                await asyncio.sleep(0.3)
                assert call.statistics().packets_sent == held.packets_sent
                bob.command("resume")
                await hear_tone(call, tmp_path / "after.wav", BARESIP_HERTZ)
                await call.hold()
                await call.resume()
                await hear_tone(call, tmp_path / "again.wav", BARESIP_HERTZ)

    asyncio.run(main())


def test_an_ordinary_account_has_no_sdes_with_baresip_either_way(phone, proxy, tmp_path):
    bob = phone(proxy, encryption="srtp-mand")

    async def main():
        policy = sc.Policy(danger_plain_dtls=True)
        async with subscriber("alice", proxy, tmp_path, policy=policy) as alice:
            bob.command("dial", sip("alice"))
            assert "488" in str(await asyncio.to_thread(bob.wait_event, "CALL_CLOSED"))
            async with alice.call(sip("bob"), audio=sc.ToneSource(OUR_HERTZ)) as call:
                with pytest.raises(sc.SecurecallError):
                    await call.connected()
            require_no_media(call)
            assert loudest(recording(bob)) == 0

    asyncio.run(main())


# -- through Kamailio and rtpengine, to a phone that encrypts nothing -----------------------------

WAYS = pytest.mark.parametrize(
    ("name", "mode", "keying"),
    [("alice", "gateway", Keying.SDES), (gateway.DTLS, "gateway-dtls", Keying.DTLS_SRTP)],
    ids=["SDES", "DTLS"],
)


@WAYS
def test_we_call_a_number_and_hear_each_other(phone, trunk, tmp_path, name, mode, keying):
    bob = phone(trunk, encryption="", codecs="PCMU/8000/1")

    async def main():
        options = {"policy": only("PCMU"), "provider_mode": mode}
        async with subscriber(name, trunk, tmp_path, **options) as us:
            async with us.call(TEL, audio=sc.ToneSource(OUR_HERTZ)) as call:
                await talk(call, bob, tmp_path, keying, "SRTP_.*")
            assert call.peer == gateway.NUMBER

    asyncio.run(main())


@WAYS
def test_a_plain_phone_calls_us_and_we_hear_each_other(phone, trunk, tmp_path, name, mode, keying):
    bob = phone(trunk, encryption="", codecs="PCMU/8000/1")

    async def main():
        options = {"policy": only("PCMU"), "provider_mode": mode}
        async with subscriber(name, trunk, tmp_path, **options) as us:
            bob.command("dial", sip(name))
            ring = await asyncio.wait_for(us.next_call(), 40)
            async with ring.accept(audio=sc.ToneSource(OUR_HERTZ)) as call:
                await talk(call, bob, tmp_path, keying, "SRTP_.*")

    asyncio.run(main())


def test_the_default_account_calls_no_number_and_takes_no_call_of_the_gateway(
    phone, trunk, tmp_path
):
    bob = phone(trunk, encryption="", codecs="PCMU/8000/1")

    async def main():
        async with (
            subscriber("alice", trunk, tmp_path) as alice,
            subscriber("carol", trunk, tmp_path) as carol,
        ):
            with pytest.raises(sc.PolicyRefused):
                alice.call(TEL)
            bob.command("dial", sip("alice"))  # SDES: it does not even ring
            assert "488" in str(await asyncio.to_thread(bob.wait_event, "CALL_CLOSED"))
            bob.command("dial", sip("carol"))  # DTLS: nobody proves who it is
            ring = await asyncio.wait_for(carol.next_call(), 40)
            async with ring.accept(audio=sc.ToneSource(OUR_HERTZ)) as call:
                with pytest.raises(sc.SecurityError):
                    await call.connected()
            require_no_media(call)
            await asyncio.to_thread(bob.wait_event, "CALL_CLOSED")
            assert loudest(recording(bob)) == 0

    asyncio.run(main())
