"""Two clients on a signalling bus whose operator may withhold, change and invent signals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import securecall as sc
from securecall.testing.attacks.stage import stranger
from securecall.testing.bus import SignalBus

ALICE = sc.parse_address("sip:alice@example.com")
BOB = sc.parse_address("sip:bob@example.com")


@asynccontextmanager
async def people(
    folder: Path, bus: SignalBus, *, policy: sc.Policy | None = None
) -> AsyncIterator[tuple[sc.Client, sc.Client]]:
    """Alice with this policy, and Bob."""
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(stranger(folder, "alice", policy))
        bob = await stack.enter_async_context(stranger(folder, "bob"))
        alice.use(ALICE, bus.endpoint(ALICE))
        bob.use(BOB, bus.endpoint(BOB))
        yield alice, bob


async def hear(call: sc.Call, frames: int = 3) -> None:
    """Wait until that much of the peer's sound has come."""
    heard = call.audio
    for _ in range(frames):
        await anext(heard)
