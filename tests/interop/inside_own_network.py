"""ICE with baresip; run by `test_baresip.py` inside a network namespace, not by itself.

baresip offers no loopback candidates, so there the loopback interface has one more address.
"""

from __future__ import annotations

import asyncio

import pytest

import securecall as sc
from tests.interop import baresip, switch
from tests.interop.own_network import ADDRESS
from tests.interop.people import hear, signed_in, sip
from tests.interop.sound import tone_seconds

OURS, THEIRS = 620.0, 440.0
PLAIN = sc.Policy(danger_plain_dtls=True)


@pytest.fixture
def setting(tmp_path, certificates):
    """A proxy, and Bob's phone on it, which speaks ICE."""
    with switch.running(tmp_path, certificates) as proxy:
        home = tmp_path / "baresip"
        home.mkdir()
        options = {"encryption": "dtls_srtp", "nat": "ice", "interface": ADDRESS}
        with baresip.running(home, "bob", proxy, **options) as bob:
            bob.wait_registered()
            yield proxy, bob


async def talk(call, bob, folder):
    assert (await call.connected()).level is sc.HOP_BY_HOP
    await hear(call, folder / "ours.wav")
    await call.hang_up()
    await asyncio.to_thread(bob.wait_event, "CALL_CLOSED")
    (recorded,) = bob.folder.glob("dump*-dec.wav")
    assert tone_seconds(folder / "ours.wav", THEIRS) > 1.0
    assert tone_seconds(recorded, OURS) > 1.0
    assert "starting connectivity checks" in bob.child.said()


def test_we_call(setting, tmp_path):
    async def main(proxy, bob):
        async with signed_in("alice", proxy, tmp_path, policy=PLAIN) as alice:
            async with alice.call(sip("bob"), audio=sc.ToneSource(OURS)) as call:
                await talk(call, bob, tmp_path)

    asyncio.run(main(*setting))


def test_baresip_calls(setting, tmp_path):
    async def main(proxy, bob):
        async with signed_in("alice", proxy, tmp_path, policy=PLAIN) as alice:
            bob.command("dial", sip("alice"))
            ring = await asyncio.wait_for(alice.next_call(), 40)
            async with ring.accept(audio=sc.ToneSource(OURS)) as call:
                await talk(call, bob, tmp_path)

    asyncio.run(main(*setting))
