"""A person with one engine, as a process of its own: commands in, outcomes out, JSON lines.

PJSIP allows one endpoint in a process, and its binding is under the GPL: so each person of the
engine tests is a process, and only those with PJSIP run in the environment that has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import sys
import threading
import time
from array import array
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import securecall as sc
from securecall.calls import connection
from securecall.events import CallEnded, TransferRequested
from securecall.media.frames import AudioFrame
from securecall.store.lock import Cost
from tests.interop.sound import share

PASSPHRASE = sc.Secret("correct horse battery staple")
QUICK = Cost(memory=19456, iterations=2, lanes=1)


class Ear:
    """A sink that knows for how long it heard a tone."""

    def __init__(self, hertz: float) -> None:
        self._hertz = hertz
        self._held = array("h")
        self.seconds = 0.0

    def write(self, frame: AudioFrame) -> None:
        self._held.frombytes(frame.samples)
        size = frame.sample_rate // 10
        while len(self._held) >= size:
            window, self._held = self._held[:size], self._held[size:]
            if share(window, frame.sample_rate, self._hertz) > 0.8:
                self.seconds += 0.1

    def close(self) -> None:
        pass


async def until(condition: Callable[[], object], seconds: float) -> bool:
    """Wait until something is so, or so long; tells whether it is."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:  # noqa: ASYNC110 - of many kinds
        await asyncio.sleep(0.02)
    return bool(condition())


class Person:
    """What a test can have somebody do; every verb returns what came of it."""

    def __init__(self, client: sc.Client, folder: Path) -> None:
        self.client = client
        self._folder = folder
        self._calls: dict[int, sc.Call] = {}
        self._rings: dict[int, sc.IncomingCall] = {}
        self._stacks: dict[int, contextlib.AsyncExitStack] = {}
        self._digits: dict[int, str] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._targets: list[str] = []
        self._wish: TransferRequested | None = None
        self._ended = 0
        self._number = 0
        self._threads: set[int] = set()
        self._tasks.append(asyncio.create_task(self._follow()))

    async def _follow(self) -> None:
        async for event in self.client.events():
            self._threads.add(threading.get_ident())
            if isinstance(event, TransferRequested):  # the last alone is kept, and with it its call
                self._targets.append(event.target)
                self._wish = event if event.address is not None else None
            self._ended += isinstance(event, CallEnded)

    async def sign_in(self, **how) -> dict:
        password = how.pop("password", None)
        how["authorities"] = Path(how["authorities"])
        how["password"] = sc.Secret(password) if password is not None else None
        account = await self.client.sign_in(**how)
        return {"state": account.state and account.state.value}

    async def sign_out(self) -> dict:
        await self.client.sign_out(self.client.accounts[0])
        return {}

    async def call(self, who: str, hertz: float = 0.0, **options) -> dict:
        audio = sc.ToneSource(hertz) if hertz else None
        return await self._enter(self.client.call(who, audio=audio, **named(options)))

    async def _enter(self, call: sc.Call) -> dict:
        self._number += 1
        stack = contextlib.AsyncExitStack()
        call.add_sink(_Toucher(self._threads))
        await stack.enter_async_context(call)
        self._calls[self._number], self._stacks[self._number] = call, stack
        self._digits[self._number] = ""
        self._tasks.append(asyncio.create_task(self._listen(self._number, call)))
        return {"call": self._number}

    async def _listen(self, number: int, call: sc.Call) -> None:
        async for digit in call.digits():
            self._threads.add(threading.get_ident())
            self._digits[number] += digit

    async def next(self, seconds: float = 40.0) -> dict:
        ring = await asyncio.wait_for(self.client.next_call(), seconds)
        self._number += 1
        self._rings[self._number] = ring
        replaces = ring.replaces is not None
        return {"ring": self._number, "caller": str(ring.caller), "replaces": replaces}

    async def accept(self, ring: int, hertz: float = 0.0, **options) -> dict:
        audio = sc.ToneSource(hertz) if hertz else None
        return await self._enter(self._rings.pop(ring).accept(audio=audio, **named(options)))

    async def decline(self, ring: int) -> dict:
        await self._rings.pop(ring).decline()
        return {}

    async def busy(self, ring: int) -> dict:
        await self._rings.pop(ring).busy()
        return {}

    async def gone(self, ring: int, seconds: float = 40.0) -> dict:
        return {"gone": await until(lambda: self._rings[ring].over, seconds)}

    async def ringing(self, call: int) -> dict:
        await asyncio.wait_for(self._calls[call].ringing(), 40)
        return {"state": self._calls[call].state.value}

    async def connected(self, call: int, seconds: float = 40.0) -> dict:
        state = await asyncio.wait_for(self._calls[call].connected(), seconds)
        return {
            "level": state.level.name,
            "keying": state.keying.value,
            "profile": state.srtp_profile,
            "reason": state.reason,
            "warnings": list(state.warnings),
            "identity": state.identity is not None,
        }

    async def hear(self, call: int, hertz: float, seconds: float = 1.0, patience: float = 40.0):
        ear = Ear(hertz)
        self._calls[call].add_sink(ear)
        _ = await until(lambda: ear.seconds >= seconds, patience)
        self._calls[call].remove_sink(ear)
        return {"heard": ear.seconds}

    async def hear_for(self, call: int, hertz: float, seconds: float) -> dict:
        ear = Ear(hertz)
        self._calls[call].add_sink(ear)
        await asyncio.sleep(seconds)
        self._calls[call].remove_sink(ear)
        return {"heard": ear.seconds}

    async def hold(self, call: int) -> dict:
        await asyncio.wait_for(self._calls[call].hold(), 40)
        return {"held": self._calls[call].on_hold}

    async def resume(self, call: int) -> dict:
        await asyncio.wait_for(self._calls[call].resume(), 40)
        return {"held": self._calls[call].on_hold}

    async def press(self, call: int, digits: str) -> dict:
        await asyncio.wait_for(self._calls[call].press(digits), 40)
        return {}

    async def digits(self, call: int, count: int, seconds: float = 40.0) -> dict:
        _ = await until(lambda: len(self._digits[call]) >= count, seconds)
        return {"digits": self._digits[call]}

    async def hang_up(self, call: int) -> dict:
        await self._stacks.pop(call).aclose()
        return {"state": self._calls[call].state.value}

    async def ended(self, call: int, seconds: float = 40.0) -> dict:
        reason = await asyncio.wait_for(self._calls[call].ended(), seconds)
        return {"reason": reason.value}

    async def statistics(self, call: int) -> dict:
        found = self._calls[call].statistics()
        names = ("packets_sent", "packets_received", "sent_seconds", "received_seconds", "codec")
        return {name: getattr(found, name) for name in names} if found is not None else {}

    async def report(self, call: int) -> dict:
        return {"text": str(self._calls[call].report)}

    async def transfers(self, seconds: float = 40.0) -> dict:
        _ = await until(lambda: self._targets, seconds)
        return {"targets": self._targets}

    async def transfer(self, call: int, who: str = "", to: int = 0) -> dict:
        """Send the other end to somebody else, or into another call of ours; ends the call."""
        await self._calls[call].transfer(self._calls[to] if to else who)
        return {}

    async def follow(self, hertz: float = 0.0, **options) -> dict:
        """Call whom the other end named, if it named anybody."""
        wish, self._wish = self._wish, None
        if wish is None:
            return {"call": 0}
        audio = sc.ToneSource(hertz) if hertz else None
        address, waits = str(wish.address), wish.waits
        entered = await self._enter(wish.accept(audio=audio, **named(options)))
        return {**entered, "address": address, "waits": waits, "replaces": wish.replaces}

    async def silence(self, seconds: float) -> dict:
        """Give up on a silent peer after so long."""
        connection.SILENCE_SECONDS = seconds  # type: ignore[misc]  # a test is in a hurry
        return {}

    async def one_after_the_other(self, who: str, count: int) -> dict:
        """Call again and again; each call has to open its gate."""
        failed: list[str] = []
        for _ in range(count):
            try:
                async with self.client.call(who, audio=sc.ToneSource(440.0)) as call:
                    await asyncio.wait_for(call.connected(), 40)
            except (sc.SecurecallError, TimeoutError) as e:
                failed.append(f"{type(e).__name__}: {e}")
        return {"failed": failed}

    async def take_all(self) -> dict:
        """Take every call that comes in from now on."""

        async def talk(ring: sc.IncomingCall) -> None:
            with contextlib.suppress(sc.SecurecallError):
                async with ring.accept(audio=sc.ToneSource(620.0)) as call:
                    _ = await call.ended()

        async def take() -> None:
            async with asyncio.TaskGroup() as group:
                async for ring in self.client.incoming():
                    group.create_task(talk(ring))

        self._tasks.append(asyncio.create_task(take()))
        return {}

    async def measure(self) -> dict:
        """Memory in KiB, threads, and calls of ours that are still there."""
        gc.collect()
        lines = Path("/proc/self/status").read_text().splitlines()  # noqa: ASYNC240 - no disk
        status = dict(line.split(":", 1) for line in lines)
        return {
            "rss": int(status["VmRSS"].split()[0]),
            "threads": int(status["Threads"]),
            "calls": len(self.client.calls),
            "ended": self._ended,
        }

    async def foreign(self) -> dict:
        """How many threads but ours anything of the application ran on."""
        return {"threads": len(self._threads - {threading.get_ident()})}

    async def forget(self) -> dict:
        """Let go of all that is held, and collect, from another thread as well."""
        self._wish = None
        self._calls.clear()
        self._rings.clear()
        self._stacks.clear()
        await asyncio.to_thread(gc.collect)
        return {"objects": gc.collect() * 0}

    async def abandon(self) -> dict:
        """End the event loop, and the process, without closing anything."""
        asyncio.get_running_loop().call_later(0.1, asyncio.get_running_loop().stop)
        return {}

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Toucher:
    """A sink that takes down which thread it runs on."""

    def __init__(self, threads: set[int]) -> None:
        self._threads = threads

    def write(self, frame: AudioFrame) -> None:
        self._threads.add(threading.get_ident())

    def close(self) -> None:
        self._threads.add(threading.get_ident())


async def lines() -> AsyncIterator[dict]:
    """Commands, one per line, until standard input ends."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


def named(options: dict) -> dict:
    """Options as they are to be given: a number is no level."""
    level = options.get("require")
    return options if level is None else {**options, "require": sc.SecurityLevel(level)}


async def main(folder: Path, options: dict) -> None:
    wished = options["policy"]
    if "minimum" in wished:
        wished["minimum"] = sc.SecurityLevel(wished["minimum"])
    policy = sc.Policy(**wished)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what PJSIP prints goes elsewhere
    async with sc.open(
        folder, passphrase=PASSPHRASE, create=True, policy=policy, cost=QUICK
    ) as client:
        person = Person(client, folder)
        running: set[asyncio.Task[None]] = set()

        async def perform(command: dict) -> None:
            number, verb = command.pop("n"), command.pop("do")
            try:
                outcome = await getattr(person, verb)(**command)
            except (sc.SecurecallError, TimeoutError) as e:
                outcome = {"error": type(e).__name__, "text": str(e)}
            print(json.dumps({"n": number, **outcome}), file=out)

        print(json.dumps({"n": 0}), file=out)
        async for command in lines():
            task = asyncio.create_task(perform(command))
            running.add(task)
            task.add_done_callback(running.discard)
        await person.close()


if __name__ == "__main__":
    event_loop = asyncio.new_event_loop()
    task = event_loop.create_task(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
    task.add_done_callback(lambda _: event_loop.stop())
    event_loop.run_forever()
    if task.done():
        task.result()
    event_loop.close()
