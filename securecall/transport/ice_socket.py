"""Sockets under ICE, drained as `UdpPath`'s is: STUN goes to aioice, media to its listener.

Everything else goes to the path, which judges it by its source.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import Final, Protocol

import aioice
from aioice import ice as aioice_ice
from aioice import stun as aioice_stun
from aioice import turn as aioice_turn

from securecall.transport.turn import TurnServer
from securecall.transport.udp import (
    BURST_GAP,
    MAX_BURST,
    MAX_DATAGRAM,
    Address,
    Deliverer,
    PathCounters,
)

_RELAY_CLIENT: Final = "_TurnTransport__inner_protocol"
_RELAY_CLOSING: Final = "_TurnTransport__close_task"
_MOST_BUFFERED: Final = 1 << 16  # bytes on the way into a relay's TCP: old sound helps nobody
_CHANNEL_DATA: Final = struct.Struct("!HH")  # channel, length (RFC 8656 12.4)


class IceOwner(Protocol):
    """The path an agent works for."""

    ufrag: str
    pwd: str
    validated: set[Address]
    deliverer: Deliverer
    counters: PathCounters

    def take(self, datagram: bytes, source: Address) -> None:
        """Judge by its source what is not STUN."""

    def pair_validated(self, remote: Address) -> None:
        """Listen to an address from which a check was answered."""

    def pair_selected(self, transmit: Callable[[bytes], None], local: Address) -> None:
        """Send over the nominated pair."""

    def lost(self, reason: str) -> None:
        """Learn that the way is gone for good."""

    def doubted(self) -> None:
        """Learn that a check of the way in use was not answered."""


class SocketProtocol(aioice_ice.StunProtocol):
    """aioice's protocol of one socket; only STUN goes on to it."""

    def __init__(self, connection: aioice.Connection, path: IceOwner) -> None:
        super().__init__(connection)
        self._path = path

    def datagram_received(self, data: bytes | str, addr: tuple[str | int, ...]) -> None:
        """Give STUN to aioice, counting what breaks it, and the rest to the path."""
        if not isinstance(data, bytes):  # invariant: datagrams are bytes
            return
        source = (str(addr[0]), int(addr[1]))
        if not data or data[0] > 3:
            self._path.take(data, source)
            return
        try:
            super().datagram_received(data, source)
        except (ValueError, LookupError, TypeError, AssertionError, struct.error):
            # Hostile STUN that passes aioice's parser and not its handlers.
            self._path.counters.unclassified += 1

    def error_received(self, exc: Exception) -> None:
        """Count an ICMP error."""
        self._path.counters.unreachable += 1


class DrainedTransport(asyncio.DatagramTransport):
    """A socket read by `add_reader`: STUN to the protocol, the peer's media to the listeners."""

    def __init__(self, sock: socket.socket, protocol: SocketProtocol, path: IceOwner) -> None:
        super().__init__({"socket": sock, "sockname": sock.getsockname()})
        self._socket = sock
        self._protocol = protocol
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._closing = False
        self._slow: asyncio.Task[object] | None = None
        self._inner: asyncio.DatagramTransport | None = None
        try:
            self._loop.add_reader(sock, self._reader())
        except NotImplementedError:  # Windows' proactor
            self._slow = self._loop.create_task(self._open_slow())

    def sendto(self, data: bytes | bytearray | memoryview, addr: object = None) -> None:
        """Send now, or count the datagram as unsent; never raises."""
        if self._closing or not isinstance(addr, tuple):
            return
        if self._slow is not None:
            if self._inner is not None:  # else not open yet: lost, as datagrams may be
                self._inner.sendto(data, addr)
            return
        try:
            self._socket.sendto(data, addr)
        except ConnectionError:
            self._path.counters.unreachable += 1
        except OSError:
            self._path.counters.unsent += 1

    def sender(self, remote: Address) -> Callable[[bytes], None]:
        """Return `sendto` for one address, without its checks."""
        if self._slow is not None:
            return lambda datagram: self.sendto(datagram, remote)
        sendto, counters = self._socket.sendto, self._path.counters

        def send(datagram: bytes) -> None:
            try:
                sendto(datagram, remote)
            except ConnectionError:
                counters.unreachable += 1
            except OSError:
                counters.unsent += 1

        return send

    def is_closing(self) -> bool:
        """Tell whether it was closed."""
        return self._closing

    def close(self) -> None:
        """Close the socket; calling again does nothing."""
        if self._closing:
            return
        self._closing = True
        if self._slow is None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
        elif self._inner is not None:
            self._inner.close()
        else:
            self._slow.cancel()
            self._socket.close()
        self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close

    async def _open_slow(self) -> None:
        self._inner, _ = await self._loop.create_datagram_endpoint(
            lambda: _Forward(self._protocol), sock=self._socket
        )

    def _reader(self) -> Callable[[], None]:
        receive, clock = self._socket.recvfrom, self._loop.time
        deliverer, protocol, counters = self._path.deliverer, self._protocol, self._path.counters
        validated = self._path.validated
        last = 0.0

        def readable() -> None:  # see `udp._reader`
            nonlocal last
            now = clock()
            budget = MAX_BURST if now - last < BURST_GAP else 1
            last = now
            try:
                while budget:
                    budget -= 1
                    datagram, source = receive(MAX_DATAGRAM)
                    media = deliverer.media
                    if (
                        media is not None
                        and source[:2] in validated
                        and datagram
                        and 127 < datagram[0] < 192
                    ):
                        media(datagram)
                    else:
                        protocol.datagram_received(datagram, source)
            except BlockingIOError:
                pass
            except ConnectionError:
                counters.unreachable += 1

        return readable


class _Forward(asyncio.DatagramProtocol):
    """Hands on what the slow path receives; aioice's protocol has its transport already."""

    def __init__(self, protocol: SocketProtocol) -> None:
        self._protocol = protocol

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        self._protocol.datagram_received(data, addr)

    def error_received(self, exc: Exception) -> None:
        self._protocol.error_received(exc)


# aioice knows no families: an attribute more in its tables (RFC 8656 18.7)
_FAMILY: Final = "REQUESTED-ADDRESS-FAMILY"
_FAMILIES: Final = {4: 0x01 << 24, 6: 0x02 << 24}
_ENTRY: Final = (0x0017, _FAMILY, aioice_stun.pack_unsigned, aioice_stun.unpack_unsigned)
aioice_stun.ATTRIBUTES_BY_TYPE[_ENTRY[0]] = aioice_stun.ATTRIBUTES_BY_NAME[_FAMILY] = _ENTRY


class _OfFamily(aioice_turn.TurnClientMixin):
    """A relay's client that asks for an address of a family; IPv4 is what it gets unasked."""

    family = 4

    async def request_with_retry(
        self, request: aioice_stun.Message
    ) -> tuple[aioice_stun.Message, tuple[str, int]]:
        if request.message_method is aioice_stun.Method.ALLOCATE and self.family != 4:
            request.attributes[_FAMILY] = _FAMILIES[self.family]
        return await super().request_with_retry(request)


class _Datagrams(_OfFamily, aioice_turn.TurnClientUdpProtocol):
    pass


class _Stream(_OfFamily, aioice_turn.TurnClientTcpProtocol):
    pass


async def relay_socket(
    protocol: SocketProtocol, server: TurnServer, context: ssl.SSLContext | None, *, family: int
) -> Address:
    """Give a protocol a place at a relay, as `aioice.turn.create_turn_endpoint` would.

    Args:
        protocol: To be connected to it.
        server: The relay.
        context: For TLS, None without.
        family: 4 or 6: of the address that is relayed, whatever leads to the relay.

    Returns:
        The relayed address and port.

    Raises:
        OSError: it cannot be reached.
        aioice.stun.TransactionError: it does not answer, or refuses.
    """
    loop = asyncio.get_running_loop()
    address = (server.address or server.host, server.port)
    kind = _Stream if server.tls or server.transport == "tcp" else _Datagrams

    inner: asyncio.BaseTransport

    def client() -> _Stream | _Datagrams:
        made = kind(
            address,
            username=server.username,
            password=server.password.reveal().decode(),
            lifetime=aioice_turn.DEFAULT_ALLOCATION_LIFETIME,
            channel_refresh_time=aioice_turn.DEFAULT_CHANNEL_REFRESH_TIME,
        )
        made.family = family
        return made

    if kind is _Stream:
        name = server.host if context is not None else None  # proved, wherever it lies
        inner, turn = await loop.create_connection(
            client, *address, ssl=context, server_hostname=name
        )
    else:
        inner, turn = await loop.create_datagram_endpoint(client, remote_addr=address)
        buffer = aioice_turn.UDP_SOCKET_BUFFER_SIZE
        inner.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    transport = aioice_turn.TurnTransport(turn)
    try:
        await transport._connect(protocol)  # noqa: SLF001 - see above: it does so, too
    except BaseException:
        inner.close()
        raise
    host, port = transport.get_extra_info("sockname")
    return host, port


def sender_over(
    protocol: aioice_ice.StunProtocol, remote: Address, counters: PathCounters
) -> Callable[[bytes], None]:
    """Return what sends a datagram over this pair."""
    transport = protocol.transport
    if isinstance(transport, DrainedTransport):
        return transport.sender(remote)
    # The relay's client: its own `sendto` makes a task for each datagram.
    client: aioice_turn.TurnClientProtocol = getattr(transport, _RELAY_CLIENT)
    stream = client.transport if isinstance(client.transport, asyncio.Transport) else None

    def send(datagram: bytes) -> None:
        full = stream is not None and stream.get_write_buffer_size() > _MOST_BUFFERED
        if full or client.transport.is_closing():
            counters.unsent += 1
            return
        channel = client.peer_to_channel.get(remote)
        if channel is None or time.time() > client.channel_refresh_at[channel]:
            transport.sendto(datagram, remote)  # binds a channel first
        else:
            client._send(_CHANNEL_DATA.pack(channel, len(datagram)) + datagram)  # noqa: SLF001

    return send


def abandon(protocol: aioice_ice.StunProtocol) -> None:
    """Close a socket at once; a place at a relay that does not answer expires there by itself."""
    transport = protocol.transport
    if isinstance(transport, DrainedTransport):
        transport.close()
        return
    client: aioice_turn.TurnClientProtocol = getattr(transport, _RELAY_CLIENT)
    closing: asyncio.Task[None] | None = getattr(transport, _RELAY_CLOSING)
    if closing is not None:
        closing.cancel()
    if client.refresh_task is not None:
        client.refresh_task.cancel()
    client.transport.abort()
