"""Three people on a signalling bus, each with a tone, and ears that tell the tones apart."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import securecall as sc
from securecall.testing.bus import SignalBus
from tests.interop.sound import share

PASSPHRASE = sc.Secret("correct horse battery staple")
HERTZ = {"ann": 440.0, "ben": 620.0, "cat": 880.0}


class Ears:
    """A sink that knows whose tones it heard in its last 0.2 s."""

    def __init__(self) -> None:
        self.frames: list[sc.AudioFrame] = []
        self.fresh = asyncio.Event()

    def write(self, frame: sc.AudioFrame) -> None:
        self.frames = [*self.frames[-9:], frame]
        self.fresh.set()

    def close(self) -> None:
        pass

    def heard(self) -> set[str]:
        if not self.frames:
            return set()
        samples = array("h", b"".join(frame.samples for frame in self.frames))
        rate = self.frames[-1].sample_rate
        return {name for name, hertz in HERTZ.items() if share(samples, rate, hertz) > 0.04}

    async def until(self, *names: str) -> None:
        """Wait until those people are heard, and nobody else; the test's timeout guards it."""
        while self.heard() != set(names):
            await self.another(1)

    async def another(self, frames: int) -> None:
        """Wait for so many frames."""
        for _ in range(frames):
            self.fresh.clear()
            await self.fresh.wait()


@asynccontextmanager
async def people(folder: Path) -> AsyncIterator[list[sc.Client]]:
    bus = SignalBus()
    async with AsyncExitStack() as stack:
        found = []
        for name in HERTZ:
            address = sc.parse_address(f"sip:{name}@example.com")
            client = await stack.enter_async_context(
                sc.open(folder / name, passphrase=PASSPHRASE, create=True)
            )
            client.use(address, bus.endpoint(address))
            found.append(client)
        yield found


async def answer(client: sc.Client, name: str, ears: Ears) -> sc.Call:
    call = (await client.next_call()).accept(audio=sc.ToneSource(HERTZ[name]))
    call.add_sink(ears)
    return call
