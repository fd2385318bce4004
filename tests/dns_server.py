"""A name server on loopback that says what a test tells it, lies and silence among it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

# What is said to one question: records as text ("10 5 5061 host.", "CNAME other."), an rcode, None
# for silence, or a function from the query's bytes to the answer's.
Answer: TypeAlias = "list[str] | str | Callable[[bytes], bytes | None] | None"
UDP_BYTES = 512


class NameServer(asyncio.DatagramProtocol):
    """Answers from a table; NOERROR for a name it knows of, NXDOMAIN for others.

    Attributes:
        table: (name, type) -> answer.
        ttl: Of every record.
        asked: Every question: "udp" or "tcp", name, type.
        address: Where it listens.
    """

    def __init__(self, table: dict[tuple[str, str], Answer], *, ttl: int = 60) -> None:
        self.table = table
        self.ttl = ttl
        self.asked: list[tuple[str, str, str]] = []
        self.address = ("", 0)
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self.answer(data, "udp")
        if answer is not None:
            self.transport.sendto(answer, addr)

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        answer = self.answer(await reader.readexactly(length), "tcp")
        if answer is not None:
            writer.write(struct.pack("!H", len(answer)) + answer)
        writer.close()

    def answer(self, data: bytes, how: str) -> bytes | None:
        query = dns.message.from_wire(data)
        (question,) = query.question
        name, kind = str(question.name).rstrip("."), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((how, name, kind))
        exists = [n for n, _ in self.table if n == name or n.endswith("." + name)]
        said = self.table.get((name, kind), [] if exists else "NXDOMAIN")
        if said is None:
            return None
        if callable(said):
            return said(data)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if isinstance(said, str):
            response.set_rcode(dns.rcode.from_text(said))
            return response.to_wire()
        owner = question.name
        chain = [name]
        while said and said[0].startswith("CNAME "):  # the chain, as a recursive server gives it
            target = said[0].removeprefix("CNAME ")
            response.answer.append(dns.rrset.from_text(owner, self.ttl, "IN", "CNAME", target))
            owner = dns.name.from_text(target)
            if target.rstrip(".") in chain:
                said = []
                break
            chain.append(target.rstrip("."))
            said = self.table.get((chain[-1], kind), [])
        if said:
            response.answer.append(dns.rrset.from_text_list(owner, self.ttl, "IN", kind, said))
        wire = response.to_wire()
        if how == "udp" and len(wire) > UDP_BYTES:
            response.answer.clear()
            response.flags |= dns.flags.TC
            wire = response.to_wire()
        return wire


@asynccontextmanager
async def serving(
    table: dict[tuple[str, str], Answer], *, ttl: int = 60
) -> AsyncIterator[NameServer]:
    """Run one on UDP and TCP at the same port."""
    server = NameServer(table, ttl=ttl)
    loop = asyncio.get_running_loop()
    while True:
        tcp = await asyncio.start_server(server.stream, "127.0.0.1", 0)
        server.address = tcp.sockets[0].getsockname()
        try:
            udp, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=server.address)
        except OSError:  # somebody has that UDP port
            tcp.close()
            continue
        break
    try:
        yield server
    finally:
        udp.close()
        tcp.close()
        await tcp.wait_closed()
