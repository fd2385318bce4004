"""From accepting a call to the first sound at both ends: `first_sound [CALLS]`, over loopback.

Two whole clients in one process, real sockets, ICE, DTLS and the identity handshake; signalling is
a bus in memory. The way takes no time here, so that of the aim (3 round trips and 100 ms at the
95th percentile) the 100 ms are left, and all of them are ours. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import securecall as sc
from tests.bench.measure import answer
from tests.pairs.calls.test_client import BOB, people

CALLS = int(sys.argv[1]) if len(sys.argv) > 1 else 20


async def first_sound(call):
    """Wait for a frame that is not silent, and return when it came."""
    async for frame in call.audio:
        if any(frame.samples):
            return time.perf_counter()
    raise RuntimeError("the call ended without a sound")


async def main():
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        async with people(Path(folder)) as (alice, bob):
            for _ in range(CALLS + 2):
                async with alice.call(BOB, audio=sc.ToneSource(440)) as call:
                    ring = await bob.next_call()
                    begun = time.perf_counter()
                    async with ring.accept(audio=sc.ToneSource(620)) as accepted:
                        ends = await asyncio.gather(first_sound(call), first_sound(accepted))
                    taken.append(1000 * (max(ends) - begun))
                    await call.hang_up()
    taken = sorted(taken[2:])  # first use loads a lot
    answer(
        calls=CALLS, p95_ms=taken[int(0.95 * (len(taken) - 1))], median_ms=taken[len(taken) // 2]
    )


asyncio.run(main())
