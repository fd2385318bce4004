"""A relay from plain TCP to verified TLS, for peers that speak no TLS themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from securecall.transport.tls import TlsConnection, client_context, connect
from tests.interop.authority import DOMAIN, Certificates


@asynccontextmanager
async def to_tls(port: int, certificates: Certificates) -> AsyncIterator[int]:
    """Listen on loopback and carry every connection to a TLS port; yields our own."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        context = client_context(certificates.authority)
        far = await connect("127.0.0.1", port, server_name=DOMAIN, context=context)
        back = asyncio.ensure_future(_back(far, writer))
        with suppress(OSError):
            while data := await reader.read(65536):
                far.send(data)
        await far.close()
        await back

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _back(far: TlsConnection, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await far.receive():
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
