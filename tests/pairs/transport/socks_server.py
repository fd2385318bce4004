"""A SOCKS5 proxy that keeps what it was asked, for tests."""

from __future__ import annotations

import asyncio
import contextlib


class SocksServer:
    """Connects to `target` whatever it was asked for, or answers as told."""

    def __init__(self, target, *, greeting=b"\x05\x00", reply=b"\x05\x00\x00\x01" + bytes(6)):
        self.asked = []
        self._target, self._greeting, self._reply = target, greeting, reply
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = self._server.sockets[0].getsockname()[:2]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports close in the next turn

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._speak(reader, writer)
        finally:
            writer.transport.abort()

    async def _speak(self, reader, writer):
        assert await reader.readexactly(3) == b"\x05\x01\x00"
        writer.write(self._greeting)
        kind = (await reader.readexactly(4))[3]
        size = {1: 4, 4: 16}.get(kind) or (await reader.readexactly(1))[0]
        host = await reader.readexactly(size)
        self.asked.append((kind, host, int.from_bytes(await reader.readexactly(2), "big")))
        writer.write(self._reply)
        if not self._target:
            writer.close()
            await writer.wait_closed()
            return
        there, back = await asyncio.open_connection(*self._target)
        try:
            await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            back.transport.abort()


async def pump(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
