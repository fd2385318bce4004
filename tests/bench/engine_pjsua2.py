"""CPU of established calls of ours with PJSIP as engine: `engine_pjsua2 CALLS SECONDS`.

As `peers.pjsua2_call`, two processes, PCMU with SDES, but through `Client`, `Call` and the rings:
what the seam costs beside a bare port. Signalling passes through the lab server, a third process.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psutil

import securecall as sc
from securecall.store.lock import Cost
from securecall.testing.sip_server import LabServer
from tests.bench.engine_cpu import Count, Loop
from tests.bench.measure import absent, answer, frames
from tests.paths import PROJECT

try:
    import pjsua2 as pj
except ImportError:
    absent("pjsua2-python")

USERS = {name: sc.Secret(f"pw-{name}") for name in ("alice", "bob")}


@asynccontextmanager
async def person(name, folder, server):
    """A client of ours with PJSIP, and PCMU alone."""
    opening = sc.open(folder / name, passphrase=sc.Secret("x"), create=True, cost=Cost(19456, 2, 1))
    async with opening as client:
        account = await client.sign_in(
            f"{name}@lab.test",
            password=USERS[name],
            server=f"localhost:{server['port']}",
            server_name="localhost",
            realm="lab.test",
            authorities=Path(server["authorities"]),
            provider_mode="gateway",
            engine="pjsua2",
        )

        def choose(_):
            endpoint = pj.Endpoint.instance()
            for codec in endpoint.codecEnum2():
                mine = codec.codecId.startswith("PCMU/")
                endpoint.codecSetPriority(codec.codecId, 255 if mine else 0)

        await asyncio.wrap_future(account.signaling.order(choose))
        yield client


async def serve(folder):
    """The lab server, until standard input closes."""
    async with LabServer(folder, USERS) as server:
        answer(port=server.port, authorities=str(server.authorities))
        await asyncio.to_thread(sys.stdin.read)


async def take_calls(folder, server):
    """The callee: takes every call until standard input closes."""
    async with person("bob", folder, server) as bob, AsyncExitStack() as talking:
        answer(ready=True)

        async def take():
            async for ring in bob.incoming():
                await talking.enter_async_context(ring.accept(audio=Loop(frames(16000), 0)))

        taking = asyncio.create_task(take())
        await asyncio.to_thread(sys.stdin.read)
        taking.cancel()


async def child(role, folder, **more):
    """Start this program in another role, and read what it says first; PJSIP says things, too."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.engine_pjsua2", role, str(folder), json.dumps(more)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=PROJECT,
    )
    while not (line := await process.stdout.readline()).startswith(b"{"):
        assert line, f"{role} ended"
    return process, json.loads(line)


async def place_calls(calls, seconds):
    """The caller: sets up the calls one by one, then measures both processes."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        serving, server = await child("server", folder / "lab")
        callee, _ = await child("callee", folder, **server)
        other, count = psutil.Process(callee.pid), Count()

        def cpu():
            used = other.cpu_times()
            return time.process_time() + used.user + used.system

        async with person("alice", folder, server) as alice, AsyncExitStack() as talking:
            for _ in range(calls):
                call = alice.call("sip:bob@lab.test", audio=Loop(frames(16000), 0))
                call.add_sink(count)
                await talking.enter_async_context(call)
                _ = await call.connected()
            await asyncio.sleep(2.0)
            heard, used, begun = count.frames, cpu(), time.perf_counter()
            await asyncio.sleep(seconds)
            used, wall = cpu() - used, time.perf_counter() - begun
            heard = count.frames - heard
        for process in (callee, serving):
            process.stdin.close()
            _ = await process.wait()
    answer(
        stack="securecall with pjsua2",
        codec="PCMU",
        calls=calls,
        cpu_pct_per_endpoint=100 * used / wall / (2 * calls),
        us_per_frame=1e6 * used / max(1, 2 * heard),
        arrived=heard / (50 * wall * calls),
    )


if sys.argv[1] == "server":
    asyncio.run(serve(Path(sys.argv[2])))
elif sys.argv[1] == "callee":
    asyncio.run(take_calls(Path(sys.argv[2]), json.loads(sys.argv[3])))
else:
    asyncio.run(place_calls(int(sys.argv[1]), float(sys.argv[2])))
