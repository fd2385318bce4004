"""A call in progress between two clients."""

from __future__ import annotations

from contextlib import asynccontextmanager


@asynccontextmanager
async def talking(caller, callee, address, **how):
    """Both ends of it, connected."""
    async with caller.call(address, **how) as out:
        async with (await callee.next_call()).accept() as taken:
            await out.connected()
            await taken.connected()
            yield out, taken
