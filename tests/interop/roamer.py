"""A person in a network namespace who registers, calls, answers and moves; a process of its own.

Reads commands and says what came of them, as JSON lines.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import securecall as sc
from securecall.testing.networks import set_addresses

LOOK_SECONDS = 0.01
PASSPHRASE = sc.Secret("correct horse battery staple")


class Gaps:
    """The longest time in which nothing was heard, since it was asked last."""

    def __init__(self, call: sc.Call) -> None:
        self._call = call
        self._task = asyncio.ensure_future(self._look())
        self.longest = 0.0

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        heard, at = 0, loop.time()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            statistics = self._call.statistics()
            now, count = loop.time(), statistics.packets_received if statistics else 0
            if count != heard:
                heard, at = count, now
            self.longest = max(self.longest, now - at)

    def taken(self) -> float:
        longest, self.longest = self.longest, 0.0
        return longest

    def close(self) -> None:
        self._task.cancel()


class Roamer:
    """What one person does."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.call: sc.Call | None = None
        self.gaps: Gaps | None = None
        self.calls = AsyncExitStack()

    async def run(self) -> None:
        config = self.config
        policy = sc.Policy(ip_privacy=sc.IpPrivacy(config.get("privacy", "open")))
        where = Path(config["folder"])
        async with sc.open(where, passphrase=PASSPHRASE, create=True, policy=policy) as self.client:
            relays = [
                sc.TurnServer(
                    **{
                        **relay,
                        "password": sc.Secret(relay["password"]),
                        "authorities": Path(relay["authorities"]),
                    }
                )
                for relay in config.get("relays", ())
            ]
            stun = tuple(config["stun"]) if "stun" in config else None
            self.client.use_relay(*relays, stun=stun)
            await self.client.sign_in(
                config["address"],
                password=sc.Secret(config["password"]),
                server=config["server"],
                authorities=Path(config["authorities"]),
            )
            say(signed_in=True)
            loop = asyncio.get_running_loop()
            while line := await loop.run_in_executor(None, sys.stdin.readline):
                command, *words = line.split()
                if command == "quit":
                    break
                try:
                    say(**(await getattr(self, f"do_{command}")(*words) or {"done": command}))
                except Exception as e:
                    say(error=type(e).__name__, text=str(e))
            await self.calls.aclose()

    async def do_call(self, whom: str) -> None:
        self.call = await self.calls.enter_async_context(
            self.client.call(whom, audio=sc.ToneSource(440))
        )
        await asyncio.wait_for(self.call.connected(), 45)
        self.gaps = Gaps(self.call)

    async def do_answer(self) -> None:
        ring = await asyncio.wait_for(self.client.next_call(), 40)
        self.call = await self.calls.enter_async_context(ring.accept(audio=sc.ToneSource(620)))
        await asyncio.wait_for(self.call.connected(), 45)
        self.gaps = Gaps(self.call)

    async def do_move(self, *addresses: str) -> None:
        set_addresses(addresses)

    async def do_gap(self) -> dict[str, Any]:
        return {"gap": self.gaps.taken()}

    async def do_figures(self) -> dict[str, Any]:
        """How it stands."""
        call, path = self.call, self.call._connection.way.path
        return {
            "state": call.state.value,
            "gate": call.gate.value,
            "level": call.security.level.name,
            "local": path.local[0],
            "relayed": path.relayed,
            "relays": path.relays,
            "statistics": asdict(call.statistics()),
        }

    async def do_hang(self) -> None:
        await self.call.hang_up()
        self.gaps.close()

    async def do_ended(self) -> dict[str, Any]:
        return {"ended": (await asyncio.wait_for(self.call.ended(), 60)).value}

    async def do_outcome(self) -> dict[str, Any]:
        """What the call ended with."""
        try:
            return {"outcome": (await asyncio.wait_for(self.call.ended(), 60)).value}
        except sc.SecurecallError as e:
            return {"outcome": type(e).__name__}

    async def do_report(self) -> dict[str, Any]:
        return {"report": str(self.call.report)}


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    asyncio.run(Roamer(json.loads(sys.argv[1])).run())
