"""DNS that leads elsewhere: the certificate is for the domain that was asked for, or it is over."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from securecall.errors import CertificateError, ConnectFailed
from securecall.testing.authority import Authority
from securecall.transport import tls
from securecall.transport.resolver import Resolver, failing_over
from securecall.transport.srv import Target
from securecall.transport.tls import TlsConnection
from tests.dns_server import serving

DOMAIN = "clinic.example"
REQUEST = b"REGISTER sip:clinic.example SIP/2.0\r\n\r\n"


class Server:
    """A SIP server of some name; keeps what it hears."""

    def __init__(self) -> None:
        self.heard = b""
        self.port = 0

    async def accept(self, connection: TlsConnection) -> None:
        while data := await connection.receive():
            self.heard += data

    @contextlib.asynccontextmanager
    async def running(self, authority: Authority, *names: str) -> AsyncIterator[Server]:
        pair = authority.issue(*names)
        listener = await tls.listen("127.0.0.1", 0, self.accept, certificate=pair)
        self.port = listener.address[1]
        try:
            yield self
        finally:
            await listener.close()


def records(*ports: int) -> dict:
    """SRV records in this order, all of hosts at 127.0.0.1."""
    servers = [f"{n} 0 {port} sip{n}.evil.example." for n, port in enumerate(ports)]
    hosts = {(f"sip{n}.evil.example", "A"): ["127.0.0.1"] for n in range(len(ports))}
    return {(f"_sips._tcp.{DOMAIN}", "SRV"): servers} | hosts


async def register(nameserver: tuple[str, int], authority: Authority, verify: str = DOMAIN) -> str:
    """Find the domain's server, connect, speak; the name that was verified."""
    context = tls.client_context(authority.pem)

    async def connect(target: Target) -> TlsConnection:
        return await tls.connect(
            target.host, target.port, server_name=verify or target.name, context=context
        )

    targets = await Resolver(nameservers=[nameserver], timeout=10).sip_targets(DOMAIN)
    connection = await failing_over(targets, connect)
    connection.send(REQUEST)
    await connection.close()
    return connection.verified_name


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def test_srv_may_lead_to_any_host_that_proves_the_domain(tmp_path):
    async def main():
        authority = Authority.make(tmp_path)
        async with Server().running(authority, DOMAIN) as good:
            async with serving(records(free_port(), good.port)) as dns:  # the first is dead
                assert await register(dns.address, authority) == DOMAIN
        assert good.heard == REQUEST

    asyncio.run(main())


def test_a_host_that_proves_only_the_name_dns_gave_it_hears_nothing(tmp_path):
    async def main():
        authority = Authority.make(tmp_path)  # it certifies evil.example honestly
        async with (
            Server().running(authority, "sip0.evil.example", "evil.example") as evil,
            Server().running(authority, DOMAIN) as good,
            serving(records(evil.port, good.port)) as dns,
        ):
            with pytest.raises(CertificateError, match=r"'clinic\.example'"):
                await register(dns.address, authority)
            # somebody stands where the first server should be: a person is to hear of it
            assert good.heard == evil.heard == b""
            # the control: who verifies the name that DNS gave, tells it everything
            assert await register(dns.address, authority, verify="") == "sip0.evil.example"
        assert evil.heard == REQUEST

    asyncio.run(main())


def test_a_domain_whose_dns_is_silenced_is_not_spoken_to_in_the_clear(tmp_path):
    async def main():
        plain: list[bytes] = []

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            plain.append(await reader.read(4096))
            writer.close()

        server = await asyncio.start_server(listen, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        udp_and_tcp = [
            '1 1 "s" "SIP+D2U" "" _sip._udp.clinic.example.',
            '1 1 "s" "SIP+D2T" "" _sip._tcp.clinic.example.',
        ]
        table = {
            (DOMAIN, "NAPTR"): udp_and_tcp,
            ("_sip._tcp.clinic.example", "SRV"): [f"0 0 {port} sip0.evil.example."],
            ("_sip._udp.clinic.example", "SRV"): [f"0 0 {port} sip0.evil.example."],
            ("sip0.evil.example", "A"): ["127.0.0.1"],
        }
        async with server, serving(table) as dns:
            with pytest.raises(ConnectFailed):
                await register(dns.address, Authority.make(tmp_path))
            assert plain == []
            # the control: the plain server is there, for whoever follows these records
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST)
            assert await reader.read() == b""
            writer.close()
        assert plain == [REQUEST]

    asyncio.run(main())
