"""Memory of what waits: `sip_memory registration|dialog COUNT`.

A registration is an account of its own with a TLS connection of its own, after its 200; a dialog
is an established call on one account, without media. Prints `kB` of resident memory for each.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
from pathlib import Path

import psutil

from securecall.address import parse_address
from securecall.sip.connections import SipServer
from securecall.sip.signaling import SipSignaling
from tests.bench.measure import answer
from tests.bench.serving import serving
from tests.bench.sip_ops import establish

WARM = 20  # what the first ones make for all


async def open_account(number: int, port: int, authority: Path) -> SipSignaling:
    """Sign in as somebody of that number."""
    signaling = await SipSignaling.open(
        local=parse_address(f"sip:user{number}@bench.example"),
        server=SipServer(host="127.0.0.1", port=port, name="bench.example"),
        authorities=authority,
    )
    await signaling.sign_in(instance="", watcher=lambda state, error: None)
    return signaling


def resident() -> int:
    """Bytes, after what nobody needs was let go."""
    _ = gc.collect()
    return psutil.Process().memory_info().rss


async def measure(what: str, count: int) -> None:
    """Make that many and say what one holds."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as (port, authority):
        open_ones = [await open_account(0, port, authority)]

        async def more(number: int) -> None:
            if what == "registration":
                open_ones.append(await open_account(number, port, authority))
            else:
                _ = await establish(open_ones[0])

        for number in range(WARM):
            await more(number)
        before = resident()
        for number in range(count):
            await more(number)
        each = (resident() - before) / count
        answer(stack="securecall", what=what, kB=round(each / 1024, 1))
        for signaling in open_ones:
            await signaling._connections.close()


if __name__ == "__main__":
    asyncio.run(measure(sys.argv[1], int(sys.argv[2])))
