"""baresip 1.0 and our client as subscribers of one registrar, both by password.

What baresip does is no evidence about TLS: it registers at whatever server answers, without a look
at its certificate. That our own client does look is shown elsewhere. Everything of DTLS-SRTP that
does not depend on who registers is in `test_baresip.py`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

import securecall as sc
from tests.interop import authority, baresip
from tests.interop.people import hear_tone, require_no_media, sip, subscriber
from tests.interop.sound import loudest, tone_seconds

BARESIP_HERTZ = 440.0  # what it plays, see its configuration
OUR_HERTZ = 620.0
CODECS = pytest.mark.parametrize(
    ("codec", "theirs"), [("opus", "opus/48000/2"), ("PCMU", "PCMU/8000/1")]
)


@pytest.fixture
def phone(tmp_path, proxy):
    """Start Bob's phone and wait until it is registered."""
    with baresip.several(tmp_path, proxy) as start:

        def begin(**options):
            bob = start("bob", encryption="dtls_srtp", **options)
            bob.wait_registered()
            return bob

        yield begin


def plain(codec):
    return sc.Policy(danger_plain_dtls=True, prefer_codecs=(codec,))


async def talk(call, path):
    """Hear each other; the call goes on."""
    state = await call.connected()
    assert (state.level, state.identity) == (sc.HOP_BY_HOP, None)
    await hear_tone(call, path, BARESIP_HERTZ)


async def require_heard(phone):
    """The phone heard our tone; its recording is complete once the call is over."""
    await asyncio.to_thread(phone.wait_event, "CALL_CLOSED")
    (recorded,) = phone.folder.glob("dump*-dec.wav")
    assert tone_seconds(recorded, OUR_HERTZ) > 1.0


@CODECS
def test_we_call_baresip_hear_each_other_and_it_hangs_up(phone, proxy, tmp_path, codec, theirs):
    bob = phone(codecs=theirs)

    async def main():
        async with subscriber("alice", proxy, tmp_path, policy=plain(codec)) as alice:
            async with alice.call(sip("bob"), audio=sc.ToneSource(OUR_HERTZ)) as call:
                await talk(call, tmp_path / "ours.wav")
                bob.command("hangup")
                assert await call.ended() is sc.EndReason.HUNG_UP
            await require_heard(bob)

    asyncio.run(main())


@CODECS
def test_baresip_calls_we_hear_each_other_and_hang_up(phone, proxy, tmp_path, codec, theirs):
    bob = phone(codecs=theirs)

    async def main():
        async with subscriber("alice", proxy, tmp_path, policy=plain(codec)) as alice:
            bob.command("dial", sip("alice"))
            ring = await asyncio.wait_for(alice.next_call(), 40)
            assert str(ring.caller) == sip("bob")
            async with ring.accept(audio=sc.ToneSource(OUR_HERTZ)) as call:
                await talk(call, tmp_path / "ours.wav")
                await call.hang_up()
            await require_heard(bob)

    asyncio.run(main())


def test_the_default_policy_talks_to_baresip_neither_way(phone, proxy, tmp_path):
    bob = phone()

    async def main():
        async with subscriber("alice", proxy, tmp_path) as alice:
            async with alice.call(sip("bob"), audio=sc.ToneSource(OUR_HERTZ)) as call:
                with pytest.raises(sc.SecurityError):
                    await call.connected()
            require_no_media(call)
            await asyncio.to_thread(bob.wait_event, "CALL_CLOSED")
            bob.command("dial", sip("alice"))
            ring = await asyncio.wait_for(alice.next_call(), 40)
            async with ring.accept(audio=sc.ToneSource(OUR_HERTZ)) as call:
                with pytest.raises(sc.SecurityError):
                    await call.connected()
            require_no_media(call)
            await asyncio.to_thread(bob.wait_event, "CALL_CLOSED")
        assert not any(map(loudest, bob.folder.glob("dump*-dec.wav")))

    asyncio.run(main())


@pytest.mark.parametrize(("how", "said"), [("decline", "603"), ("busy", "486")])
def test_our_refusal_reaches_baresip_as_what_it_is(phone, proxy, tmp_path, how, said):
    bob = phone()

    async def main():
        async with subscriber("alice", proxy, tmp_path) as alice:
            bob.command("dial", sip("alice"))
            await getattr(await asyncio.wait_for(alice.next_call(), 40), how)()
            closed = await asyncio.to_thread(bob.wait_event, "CALL_CLOSED")
            assert said in str(closed)

    asyncio.run(main())


def test_baresip_registers_whoever_vouches_for_the_server(proxy, tmp_path):
    """Why nothing that baresip does is evidence about TLS; linphone, asked the same, refuses."""
    (tmp_path / "other").mkdir()
    trusted = replace(proxy.certificates, authority=authority.make(tmp_path / "other").authority)
    with baresip.several(tmp_path, replace(proxy, certificates=trusted)) as start:
        start("bob", encryption="dtls_srtp").wait_registered()
