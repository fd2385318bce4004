"""Looking at the certificate of a server that was refused."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import pytest

from securecall.errors import CertificateError, ConnectFailed
from securecall.transport import tls
from securecall.transport.inspection import danger_certificate_of
from tests.forge_certificate import DAY, forge, server_context
from tests.registrar import silent

LEAF = forge(None, "a.example", "b.example", until=-DAY, since=-2 * DAY)
ROOT = forge(authority=True, common_name="root")


async def look(port: int) -> None:
    seen = await danger_certificate_of("127.0.0.1", port, server_name="clinic.example", seconds=9.0)
    assert seen.names == (("DNS", "a.example"), ("DNS", "b.example"))


async def talk(port: int) -> None:
    """Somebody who verifies nothing, and goes on."""
    connection = await tls.connect_direct("127.0.0.1", port)
    connection.send(b"OPTIONS")
    await connection.close()


@pytest.mark.parametrize(("how", "heard"), [(look, b""), (talk, b"OPTIONS")])
def test_a_refused_certificate_is_read_and_nothing_is_said_to_its_server(tmp_path, how, heard):
    async def main() -> bytes:
        ends: asyncio.Queue[bytes] = asyncio.Queue()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            data = bytearray()
            try:
                with contextlib.suppress(OSError):
                    while more := await reader.read(100):
                        data += more
            finally:
                writer.transport.abort()
            ends.put_nowait(bytes(data))

        context = server_context(tmp_path, LEAF)
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # the server, too, ends its handshake
        async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            await how(port)
            return await asyncio.wait_for(ends.get(), 20)

    assert asyncio.run(main()) == heard


def test_where_no_certificate_is_shown_that_is_what_is_said():
    async def main():
        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(ConnectFailed):
                await danger_certificate_of(
                    "127.0.0.1", port, server_name="clinic.example", seconds=0.2
                )

    asyncio.run(main())


@pytest.mark.parametrize(
    ("leaf", "code", "fault"),
    [
        (LEAF, 18, "signed by itself"),
        (
            forge(ROOT, "clinic.example"),
            20,
            "authority is unknown",
        ),
    ],
)
def test_a_refusal_carries_what_is_wrong_apart_from_its_message(tmp_path, leaf, code, fault):
    async def main():
        context = server_context(tmp_path, leaf)
        async with await asyncio.start_server(silent, "127.0.0.1", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(CertificateError) as caught:
                await tls.connect(
                    "127.0.0.1", port, server_name="clinic.example", context=tls.client_context()
                )
            return caught.value

    error = asyncio.run(main())
    assert error.code == code
    assert fault in error.fault
    assert error.fault in str(error)
    assert error.remedy in str(error)
