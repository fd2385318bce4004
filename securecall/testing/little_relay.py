"""A TURN relay for trials in this process (RFC 8656, no authentication): UDP, IPv4 loopback."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from typing import Final, Self

from securecall.secret import Secret
from securecall.transport.turn import TurnServer

_COOKIE: Final = 0x2112A442
_HEADER: Final = struct.Struct("!HHI12s")
_ALLOCATE, _REFRESH, _BIND = 0x0003, 0x0004, 0x0009
_CHANNEL, _LIFETIME, _PEER, _RELAYED, _MAPPED = 0x000C, 0x000D, 0x0012, 0x0016, 0x0020
_ERROR_CODE, _FAMILY = 0x0009, 0x0017
_SUCCESS, _ERROR = 0x0100, 0x0110
_IPV6: Final = 2
_NO_SUCH_FAMILY: Final = struct.pack("!xxBB", 4, 40) + b"Address Family not Supported"

Address = tuple[str, int]


class LittleRelay(asyncio.DatagramProtocol):
    """Answers Allocate, Refresh and ChannelBind, and relays channels. Leave the block to end it.

    Attributes:
        server: For `Client.use_relay`.
        allocated: Where it relays for somebody.
        relayed: Datagrams that it passed on.
    """

    server: TurnServer

    def __init__(self) -> None:
        """Enter the block to start it."""
        self.allocated: list[Address] = []
        self.relayed = 0
        self._places: dict[Address, _Place] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", 0)
        )
        port = int(self._transport.get_extra_info("sockname")[1])
        self.server = TurnServer(
            host="127.0.0.1", port=port, username="anybody", password=Secret("anything")
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        """Give up all places."""
        if self._transport is not None:
            self._transport.close()
        for place in self._places.values():
            place.close()

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Take a request, or what is to be relayed."""
        if len(data) >= 4 and 64 <= data[0] < 80:
            channel, size = struct.unpack_from("!HH", data)
            place = self._places.get(addr)
            if place is not None:
                self.relayed += 1
                place.send(channel, data[4 : 4 + size])
            return
        if len(data) < _HEADER.size:
            return
        kind, _, cookie, name = _HEADER.unpack_from(data)
        if cookie != _COOKIE:
            return
        if kind == _ALLOCATE and _attributes(data).get(_FAMILY, b"")[:1] == bytes([_IPV6]):
            self._send_message(kind | _ERROR, name, addr, (_ERROR_CODE, _NO_SUCH_FAMILY))
        elif kind == _ALLOCATE:
            task = asyncio.get_running_loop().create_task(self._allocate(name, addr))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif kind in (_BIND, _REFRESH):
            given = _attributes(data)
            place = self._places.get(addr)
            if kind == _BIND and place is not None:
                (channel,) = struct.unpack_from("!H", given[_CHANNEL])
                place.bind(channel, _plain(given[_PEER]))
            self._answer(kind, name, addr)

    def send(self, data: bytes, client: Address) -> None:
        """Pass something to a client."""
        if self._transport is not None:
            self._transport.sendto(data, client)

    async def _allocate(self, name: bytes, client: Address) -> None:
        loop = asyncio.get_running_loop()
        transport, place = await loop.create_datagram_endpoint(
            lambda: _Place(self, client), local_addr=("127.0.0.1", 0)
        )
        place.use(transport)
        self._places[client] = place
        where: Address = transport.get_extra_info("sockname")[:2]
        self.allocated.append(where)
        self._answer(_ALLOCATE, name, client, (_RELAYED, _hidden(where)))

    def _answer(self, kind: int, name: bytes, client: Address, *more: tuple[int, bytes]) -> None:
        fields = (*more, (_MAPPED, _hidden(client)), (_LIFETIME, struct.pack("!I", 600)))
        self._send_message(kind | _SUCCESS, name, client, *fields)

    def _send_message(
        self, kind: int, name: bytes, client: Address, *fields: tuple[int, bytes]
    ) -> None:
        """Every value is a whole number of words long."""
        body = b"".join(struct.pack("!HH", kind, len(value)) + value for kind, value in fields)
        self.send(_HEADER.pack(kind, len(body), _COOKIE, name) + body, client)


class _Place(asyncio.DatagramProtocol):
    """One relayed port."""

    def __init__(self, relay: LittleRelay, client: Address) -> None:
        self._relay, self._client = relay, client
        self._peers: dict[int, Address] = {}
        self._transport: asyncio.DatagramTransport | None = None

    def use(self, transport: asyncio.DatagramTransport) -> None:
        self._transport = transport

    def bind(self, channel: int, peer: Address) -> None:
        self._peers[channel] = peer

    def send(self, channel: int, data: bytes) -> None:
        peer = self._peers.get(channel)
        if self._transport is not None and peer is not None:
            self._transport.sendto(data, peer)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        channel = next((c for c, peer in self._peers.items() if peer == addr[:2]), None)
        if channel is not None:  # others have no permission (RFC 8656 9)
            self._relay.send(struct.pack("!HH", channel, len(data)) + data, self._client)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _attributes(data: bytes) -> dict[int, bytes]:
    found, at = {}, _HEADER.size
    while at + 4 <= len(data):
        kind, size = struct.unpack_from("!HH", data, at)
        found[kind] = data[at + 4 : at + 4 + size]
        at += 4 + size + -size % 4
    return found


def _hidden(address: Address) -> bytes:
    """An IPv4 XOR-MAPPED-ADDRESS and its like (RFC 8489 14.2)."""
    host = int(ipaddress.IPv4Address(address[0])) ^ _COOKIE
    return struct.pack("!xBHI", 1, address[1] ^ (_COOKIE >> 16), host)


def _plain(value: bytes) -> Address:
    _, port, host = struct.unpack_from("!xBHI", value)
    return str(ipaddress.IPv4Address(host ^ _COOKIE)), port ^ (_COOKIE >> 16)
