"""What takes minutes in one call: two hundred moves, and consent that runs out.

Run by `test_networks.py` inside a namespace, not by itself.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.interop.inside_networks import CONE, behind, nats
from tests.interop.roaming import connect, figures_of, moves

MOVES = int(os.environ.get("MOVES", "200"))


@pytest.mark.timeout(3000)
def test_a_call_lives_through_two_hundred_changes_of_address(tmp_path, certificates):
    async def main():
        async with behind(tmp_path, certificates, *nats(CONE), stun=True) as (there, alice, bob):
            gaps = await moves(there, alice, bob, MOVES)
            print("\n" + figures_of(gaps))

    asyncio.run(main())


@pytest.mark.timeout(180)
def test_who_is_cut_off_sends_nothing_any_more_after_thirty_seconds(tmp_path, certificates):
    async def main():
        async with behind(tmp_path, certificates, *nats(CONE), stun=True) as (there, alice, bob):
            await connect(alice, bob)
            bob.site.up = False  # for good, and nobody says so
            await asyncio.sleep(31)
            await asyncio.sleep(1)
            before = there.seen.media
            await asyncio.sleep(2)
            assert there.seen.media == before, "consent is gone (RFC 7675 5.1)"
            said = await alice.ask("outcome")
            assert said["outcome"] == "PeerVanished"

    asyncio.run(main())
