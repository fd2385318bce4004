"""A STUN and TURN server of few words, for loopback: no authentication, one lifetime."""

from __future__ import annotations

import asyncio
import struct

from aioice import stun


class Server(asyncio.DatagramProtocol):
    """Answers Binding, Allocate, CreatePermission, ChannelBind and Refresh; relays channels."""

    def __init__(self, mapped=("203.0.113.7", 7777)):
        self.mapped = mapped
        self.allocations = {}
        self.relayed = 0

    @classmethod
    async def open(cls):
        loop = asyncio.get_running_loop()
        transport, server = await loop.create_datagram_endpoint(cls, local_addr=("127.0.0.1", 0))
        server.address = transport.get_extra_info("sockname")
        return server

    def connection_made(self, transport):
        self.transport = transport

    def close(self):
        self.transport.close()
        for allocation in self.allocations.values():
            allocation.transport.close()

    def datagram_received(self, data, addr):
        if 0x40 <= data[0] < 0x80:
            channel, size = struct.unpack_from("!HH", data)
            self.relayed += 1
            self.allocations[addr].send(channel, data[4 : 4 + size])
            return
        request = stun.parse_message(data)
        if request.message_method is stun.Method.ALLOCATE:
            asyncio.get_running_loop().create_task(self._allocate(request, addr))
        else:
            if request.message_method is stun.Method.CHANNEL_BIND:
                allocation = self.allocations[addr]
                peer, channel = (
                    request.attributes[n] for n in ("XOR-PEER-ADDRESS", "CHANNEL-NUMBER")
                )
                allocation.peers[channel] = peer
                allocation.channels[peer] = channel
            self._answer(request, addr)

    async def _allocate(self, request, addr):
        loop = asyncio.get_running_loop()
        transport, allocation = await loop.create_datagram_endpoint(
            lambda: Allocation(self, addr), local_addr=("127.0.0.1", 0)
        )
        self.allocations[addr] = allocation
        relayed = transport.get_extra_info("sockname")
        self._answer(request, addr, **{"XOR-RELAYED-ADDRESS": relayed})

    def _answer(self, request, addr, **attributes):
        response = stun.Message(
            message_method=request.message_method,
            message_class=stun.Class.RESPONSE,
            transaction_id=request.transaction_id,
        )
        response.attributes["XOR-MAPPED-ADDRESS"] = self.mapped
        response.attributes["LIFETIME"] = 600
        response.attributes.update(attributes)
        self.transport.sendto(bytes(response), addr)


class Allocation(asyncio.DatagramProtocol):
    """One relayed port."""

    def __init__(self, server, client):
        self.server, self.client = server, client
        self.peers, self.channels = {}, {}

    def connection_made(self, transport):
        self.transport = transport

    def send(self, channel, data):
        self.transport.sendto(data, self.peers[channel])

    def datagram_received(self, data, addr):
        channel = self.channels.get(addr)
        if channel is not None:
            head = struct.pack("!HH", channel, len(data))
            self.server.transport.sendto(head + data, self.client)


class Deaf(asyncio.DatagramProtocol):
    """A server that answers nothing, as where a firewall drops what goes there."""

    @classmethod
    async def open(cls):
        loop = asyncio.get_running_loop()
        transport, server = await loop.create_datagram_endpoint(cls, local_addr=("127.0.0.1", 0))
        server.transport, server.address = transport, transport.get_extra_info("sockname")
        return server

    def close(self):
        self.transport.close()
