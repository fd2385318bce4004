"""Mallory as a process of her own, as the demonstration runs her."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from pathlib import Path

from securecall.transport.tls import client_context, connect


async def _start(*arguments):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "securecall.testing.mallory",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def _line(process):
    return json.loads(await process.stdout.readline())


def test_she_says_where_she_is_obeys_and_sums_up(tmp_path):
    async def run():
        process = await _start(
            *("--json", "--mode", "swap", "--inner", "impersonate", "--seconds", "30"),
            *("--folder", str(tmp_path), "--name", "provider.test"),
            *("--issue", "bob.provider.test"),
        )
        try:
            async with asyncio.timeout(30):
                ready = await _line(process)
                assert ready["type"] == "ready"
                assert (ready["mode"], ready["inner"]) == ("swap", "impersonate")
                issued = ready["certificates"]["bob.provider.test"]
                assert os.stat(issued["certificate"]).st_size
                assert os.stat(issued["key"]).st_mode & 0o077 == 0
                context = client_context(Path(ready["authority"]))
                assert context.verify_mode is ssl.CERT_REQUIRED
                connection = await connect(
                    ready["host"], ready["port"], server_name="provider.test", context=context
                )
                await connection.close()
                process.stdin.write(b'{"mode": "honest", "route": {"*": "127.0.0.1:9"}}\n')
                obeyed = await _line(process)
                assert obeyed == {"type": "obeyed", "mode": "honest", "inner": "impersonate"}
                process.stdin.write(b'nonsense\n{"mode": "kind"}\n')
                assert (await _line(process))["type"] == "error"
                assert (await _line(process))["type"] == "error"
                process.stdin.write(b'{"quit": true}\n')
                assert (await _line(process))["type"] == "obeyed"
                summary = await _line(process)
                assert summary == {
                    "type": "summary",
                    "calls": 0,
                    "bytes_decrypted": 0,
                    "bytes_decryptable": 0,
                    "datagrams_captured": 0,
                    "recordings": [],
                }
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    asyncio.run(run())
