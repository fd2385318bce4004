"""One UDP socket of a call: drained when readable, sent to at once, deaf to strangers."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from securecall.errors import ConnectFailed, UsageError
from securecall.transport.candidate import is_unicast

MAX_HELD: Final = 20
"""Datagrams kept until the peer's address is known and somebody listens."""

MAX_DATAGRAM: Final = 2048
"""Longest datagram read, in bytes; the rest of a longer one is lost."""

MAX_BURST: Final = 64
"""Datagrams read before the other sockets of the loop get their turn."""

BURST_GAP: Final = 0.002
"""Seconds; a socket readable again this soon is in a burst and gets drained."""

RECEIVE_BUFFER: Final = 1 << 18
"""Bytes the kernel keeps for us: about a second of video."""

Address = tuple[str, int]
Listener = Callable[[bytes], None]


@dataclass(slots=True)
class PathCounters:
    """What a path lost, and why.

    Attributes:
        unsent: Datagrams the kernel did not take, or that had nowhere to go.
        unreachable: ICMP errors reported for what was sent.
        foreign: Datagrams from an address other than the peer's.
        unclassified: Datagrams that are neither DTLS nor RTP.
        unheld: Datagrams dropped because MAX_HELD were held already.
    """

    unsent: int = 0
    unreachable: int = 0
    foreign: int = 0
    unclassified: int = 0
    unheld: int = 0


class Deliverer:
    """Sorts datagrams to their listeners, and holds the first ones until there are any."""

    __slots__ = ("_held", "counters", "dtls", "media")

    def __init__(self) -> None:
        self.counters = PathCounters()
        self.dtls: Listener | None = None
        self.media: Listener | None = None
        self._held: deque[tuple[Address, bytes]] = deque()

    def deliver(self, datagram: bytes) -> None:
        """Hand a datagram of the peer to its listener."""
        first = datagram[0] if datagram else 0
        if 127 < first < 192:
            if self.media is not None:
                self.media(datagram)
        elif 19 < first < 64:
            if self.dtls is not None:
                self.dtls(datagram)
        else:
            self.counters.unclassified += 1

    def hold(self, source: Address, datagram: bytes) -> None:
        """Keep a datagram for `release`; the first MAX_HELD, not the last: a handshake begins."""
        if len(self._held) < MAX_HELD:
            self._held.append((source, datagram))
        else:
            self.counters.unheld += 1

    def release(self, accepted: Callable[[Address], bool]) -> None:
        """Deliver what was held and came from an accepted address; keep the rest.

        Of DTLS only what follows the last beginning of a handshake: some gateways begin before
        their answer leaves, and once more with it, and only the second time counts for them.
        """
        held, self._held = self._held, deque()
        begins = max((n for n, h in enumerate(held) if accepted(h[0]) and _begins(h[1])), default=0)
        for number, (source, datagram) in enumerate(held):
            if not accepted(source):
                self._held.append((source, datagram))
            elif number >= begins or not b"\x13" < datagram[:1] < b"\x40":
                self.deliver(datagram)

    def forget(self) -> None:
        """Drop what is held, counted as foreign."""
        self.counters.foreign += len(self._held)
        self._held.clear()


def _begins(datagram: bytes) -> bool:
    """Whether it is a ClientHello from its first byte on (RFC 6347 4.1, 4.2.2)."""
    return datagram[:1] == b"\x16" and datagram[3:5] + datagram[13:14] + datagram[19:22] == (
        b"\0\0\x01\0\0\0"
    )


class UdpPath:
    """A call's own port, bound to one peer address by `connect`.

    Nothing is delivered before both `connect` and `listen` were called; up to MAX_HELD datagrams
    wait for that. Afterwards datagrams from elsewhere are dropped, in the kernel where it can.

    Attributes:
        local: Own address and port.
        counters: What was lost.
    """

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        """Take a bound, non-blocking socket; use `open`."""
        self.local: Address = sock.getsockname()[:2]
        self._socket = sock
        self._loop = loop
        self._deliverer = Deliverer()
        self.counters = self._deliverer.counters
        self._peer: Address | None = None
        self._open = True
        self._transport: asyncio.DatagramTransport | None = None

    @classmethod
    async def open(cls, host: str, port: int = 0) -> UdpPath:
        """Bind a port of `host`, an address of this machine.

        Raises:
            ConnectFailed: the address is not this machine's, or the port is taken.
        """
        loop = asyncio.get_running_loop()
        path = cls(bound_socket(host, port), loop)
        try:
            loop.add_reader(path._socket, path._drain)
        except NotImplementedError:  # Windows' proactor: a callback per datagram has to do
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(path), sock=path._socket
            )
            path._transport = transport
        return path

    def connect(self, host: str, port: int) -> None:
        """Send to, and listen to, this address only; may be called again when the peer moves.

        Raises:
            ConnectFailed: no way leads there, or it is not one machine's numeric address; this
                machine's own are reached from loopback only.
            UsageError: the path is closed.
        """
        self._require_open()
        own = ipaddress.ip_address(self.local[0]).is_loopback
        if not is_unicast(host, loopback=own) or not 0 < port < 65536:
            raise ConnectFailed(f"the peer cannot be at {host[:64]!r} port {port}")
        peer = (str(ipaddress.ip_address(host)), port)
        if self._transport is None:
            self._connect_socket(peer)
        self._peer = peer
        self._start()

    def connect_plain(self, host: str, port: int) -> None:
        """Do as `connect`: the name that paths with and without ICE share."""
        self.connect(host, port)

    def listen(self, dtls: Listener, media: Listener) -> None:
        """Deliver the peer's DTLS datagrams to one function, RTP and RTCP to the other."""
        self._require_open()
        self._deliverer.dtls, self._deliverer.media = dtls, media
        self._start()

    def send(self, datagram: bytes) -> None:
        """Send to the peer now, or count the datagram as unsent; never waits, never raises."""
        if self._peer is None or not self._open:
            self.counters.unsent += 1
            return
        if self._transport is not None:
            self._transport.sendto(datagram, self._peer)
            return
        try:
            self._socket.send(datagram)
        except ConnectionError:
            self.counters.unreachable += 1
        except OSError:
            self.counters.unsent += 1

    async def close(self) -> None:
        """Close the socket; calling again does nothing."""
        if not self._open:
            return
        self._open = False
        self._deliverer.dtls = self._deliverer.media = None
        if self._transport is not None:
            self._transport.close()
        else:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def __repr__(self) -> str:
        state = "open" if self._open else "closed"
        return f"UdpPath({self.local[0]}:{self.local[1]}, {state}, {self.counters!r})"

    def take(self, datagram: bytes, source: Address) -> None:
        """Judge a datagram by its source: the slow path's and the first datagrams' way in."""
        if self._peer is None or self._deliverer.media is None:
            self._deliverer.hold(source, datagram)
        elif source == self._peer:
            self._deliverer.deliver(datagram)
        else:
            self.counters.foreign += 1

    def _connect_socket(self, peer: Address) -> None:
        self._drain()
        try:
            self._socket.connect(peer)
        except OSError as e:
            raise ConnectFailed(f"no way leads to {peer[0]} port {peer[1]}: {e.strerror}") from e
        # What the kernel queued between the two calls may still be anybody's.
        self._drain()

    def _start(self) -> None:
        """Deliver what was held, and read the fast way, as soon as peer and listeners are known."""
        peer, deliverer = self._peer, self._deliverer
        if peer is None or deliverer.media is None:
            return
        if self._transport is None:
            # In place of the reader that holds; the kernel lets nobody but the peer through now.
            self._loop.add_reader(self._socket, _reader(self._socket, deliverer, self._loop))
        deliverer.release(lambda source: source == peer)
        deliverer.forget()

    def _drain(self) -> None:
        """Read with sources: before the kernel filters, and what it queued until it did."""
        for _ in range(4 * MAX_BURST):
            try:
                datagram, source = self._socket.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                self.counters.unreachable += 1
                continue
            self.take(datagram, source[:2])

    def _require_open(self) -> None:
        if not self._open:
            raise UsageError("this path is closed")


def bound_socket(host: str, port: int = 0) -> socket.socket:
    """Return a non-blocking UDP socket bound to an address of this machine.

    Raises:
        ConnectFailed: the address is not this machine's, or the port is taken.
        UsageError: `host` is no IP address.
    """
    try:
        version = ipaddress.ip_address(host).version
    except ValueError as e:
        raise UsageError(f"{host!r} is no IP address") from e
    sock = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.bind((host, port))
    except OSError as e:
        sock.close()
        raise ConnectFailed(f"cannot bind {host} port {port}: {e.strerror}") from e
    return sock


def _reader(
    sock: socket.socket, deliverer: Deliverer, loop: asyncio.AbstractEventLoop
) -> Callable[[], None]:
    """Return what to call when a connected socket is readable.

    One datagram per call, unless the socket was readable a moment ago: the failing read that ends
    a drain costs as much as a packet, and audio comes one by one.
    """
    receive, clock, counters = sock.recv, loop.time, deliverer.counters
    media = deliverer.media
    last = 0.0

    def readable() -> None:
        nonlocal last
        now = clock()
        budget = MAX_BURST if now - last < BURST_GAP else 1
        last = now
        try:
            while budget:
                budget -= 1
                datagram = receive(MAX_DATAGRAM)
                if datagram and 127 < datagram[0] < 192 and media is not None:
                    media(datagram)
                else:
                    deliverer.deliver(datagram)
        except BlockingIOError:
            pass
        except ConnectionError:
            counters.unreachable += 1

    return readable


class _Datagrams(asyncio.DatagramProtocol):
    """The slow path, where the loop has no `add_reader`."""

    def __init__(self, path: UdpPath) -> None:
        self._path = path

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        self._path.take(data, (str(addr[0]), int(addr[1])))

    def error_received(self, exc: Exception) -> None:
        self._path.counters.unreachable += 1
