"""Two hundred changes of address in one call; run by `test_networks.py` inside a namespace."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.interop.inside_networks import CONE, behind, nats
from tests.interop.roaming import figures_of, moves

MOVES = int(os.environ.get("MOVES", "200"))


@pytest.mark.timeout(3000)
def test_a_call_lives_through_two_hundred_changes_of_address(tmp_path, certificates):
    async def main():
        async with behind(tmp_path, certificates, *nats(CONE), stun=True) as (there, alice, bob):
            gaps = await moves(there, alice, bob, MOVES)
            print("\n" + figures_of(gaps))

    asyncio.run(main())
