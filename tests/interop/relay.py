"""Relays between plain TCP and verified TLS, for peers that speak no TLS themselves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from securecall.transport.tls import PemPair, TlsConnection, client_context, connect, listen
from tests.interop.authority import DOMAIN, Certificates


@asynccontextmanager
async def to_tls(port: int, certificates: Certificates) -> AsyncIterator[int]:
    """Listen on loopback and carry every connection to a TLS port; yields our own."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        context = client_context(certificates.authority)
        far = await connect("127.0.0.1", port, server_name=DOMAIN, context=context)
        await _both_ways(far, reader, writer)

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def from_tls(port: int, certificates: Certificates) -> AsyncIterator[int]:
    """Listen on loopback as a TLS server and carry every connection to a plain port."""

    async def carry(near: TlsConnection) -> None:
        with suppress(OSError):  # it ended before: so does the connection
            await _both_ways(near, *await asyncio.open_connection("127.0.0.1", port))

    pair = PemPair(certificate=certificates.chain, key=certificates.key)
    listener = await listen("127.0.0.1", 0, carry, certificate=pair)
    try:
        yield listener.address[1]
    finally:
        await listener.close()


@asynccontextmanager
async def meeting(certificates: Certificates) -> AsyncIterator[tuple[int, int]]:
    """Join who comes by TLS first with who comes plainly next; yields both ports, TLS first.

    So a load reaches an account by the connection to its server, over which all its calls come.
    """
    first: asyncio.Queue[TlsConnection] = asyncio.Queue()

    async def secure(near: TlsConnection) -> None:
        first.put_nowait(near)
        _ = await asyncio.Event().wait()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _both_ways(await first.get(), reader, writer)

    pair = PemPair(certificate=certificates.chain, key=certificates.key)
    listener = await listen("127.0.0.1", 0, secure, certificate=pair)
    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    try:
        async with server:
            yield listener.address[1], server.sockets[0].getsockname()[1]
    finally:
        await listener.close()


async def _both_ways(
    secure: TlsConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    back = asyncio.ensure_future(_back(secure, writer))
    with suppress(OSError):
        _hurry(writer)
        while data := await reader.read(65536):
            _hurry(writer)
            secure.send(data)
    await secure.close()
    await back


def _hurry(writer: asyncio.StreamWriter) -> None:
    """Acknowledge at once: SIPp holds what it has to say until its last words are acknowledged."""
    if hasattr(socket, "TCP_QUICKACK"):  # Linux; it wears off
        plain = writer.get_extra_info("socket")
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


async def _back(secure: TlsConnection, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await secure.receive():
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
