"""SIPp as a load on the SIP agent: 50 calls or OPTIONS a second, by the connection to a server.

`p95_ms` is SIPp's own count, from each INVITE to its 200, in steps of 4 ms; `cpu_ms` is the CPU of
the agent's process for each call: INVITE, its offer answered, ACK, a second, BYE. The relay that
speaks TLS for SIPp is a process of its own. Nothing is measured if one call failed.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.measure import answer
from tests.interop import authority, sipp_load
from tests.paths import PROJECT

RATE = 50


async def main(what: str, seconds: float) -> None:
    scene = sipp_load.calls() if what == "calls" else sipp_load.questions()
    with TemporaryDirectory() as name:
        folder = Path(name)
        certificates = authority.make(folder)
        files = (certificates.authority, certificates.chain, certificates.key)
        relay = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.interop.sipp_load", *map(str, files)),
            cwd=PROJECT,
            env=os.environ | {"PYTHONPATH": str(PROJECT)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert relay.stdin is not None and relay.stdout is not None
        tls, tcp = json.loads(await relay.stdout.readline())
        async with sipp_load.account(tls, certificates):
            count = int(RATE * seconds)
            load = await sipp_load.press(scene, tcp, folder / what, rate=RATE, count=count)
        relay.stdin.close()
        await relay.wait()
    if load.code or len(load.waits) != count:
        sys.exit(f"{count - len(load.waits)} of {count} failed")
    answer(p95_ms=load.p95, cpu_ms=1e3 * load.cpu / count, count=count)


if __name__ == "__main__":
    if shutil.which("sipp") is None:
        sys.exit("sipp is not installed: apt install sip-tester")
    # five times what the other figures take, so that a table of open requests fills up
    asyncio.run(main(sys.argv[1], 5 * float(sys.argv[2])))
