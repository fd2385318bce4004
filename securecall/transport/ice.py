"""A path found by ICE (RFC 8445), the door of aioice; media goes around aioice, not through it.

aioice checks and nominates. Its sockets are ours, drained like `UdpPath`'s: STUN goes to aioice,
everything else from a validated address straight to the listeners.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import logging
import re
import secrets
import socket
import string
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import aioice
from aioice import ice as aioice_ice
from aioice import stun as aioice_stun

from securecall.errors import ConnectFailed, ProtocolError, UsageError
from securecall.secret import Secret
from securecall.transport.candidate import (
    MAX_CANDIDATES,
    Candidate,
    CandidateKind,
    CandidateLike,
    Foundations,
    candidate_priority,
    hidden_related,
    is_usable,
)
from securecall.transport.udp import (
    BURST_GAP,
    MAX_BURST,
    MAX_DATAGRAM,
    Address,
    Deliverer,
    Listener,
    PathCounters,
    bound_socket,
)

CONSENT_SECONDS: Final = 30.0
"""How long to go on sending without an answer to a check (RFC 7675 5.1)."""

CONSENT_INTERVAL: Final = 5.0
"""Seconds between checks, times 0.8 to 1.2 (RFC 7675 5.1)."""

_ICE_CHARS: Final = string.ascii_letters + string.digits + "+/"
_UFRAG: Final = re.compile(r"[A-Za-z0-9+/]{4,256}\Z")
_PWD: Final = re.compile(r"[A-Za-z0-9+/]{22,256}\Z")
_GATHER_SECONDS: Final = 5.0

# At INFO and below aioice logs candidates, user names and every packet.
if logging.getLogger("aioice").level == logging.NOTSET:
    logging.getLogger("aioice").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnServer:
    """A relay and what it asks for.

    Attributes:
        host: Name or address of the server.
        port: Its port.
        username: The user the relay knows.
        password: The user's password.
        transport: "udp" or "tcp".
        tls: Whether to speak TLS to it, with "tcp".
    """

    host: str
    port: int
    username: str
    password: Secret = field(repr=False)
    transport: str = "udp"
    tls: bool = False


class IcePath:
    """A call's path to its peer through NATs; the same face as `UdpPath` once connected.

    Attributes:
        ufrag: Own user name fragment, for the description.
        pwd: Own password, for the description.
        counters: What was lost.
    """

    def __init__(
        self,
        *,
        controlling: bool,
        stun_server: Address | None = None,
        turn_server: TurnServer | None = None,
        relay_only: bool = False,
        on_lost: Callable[[str], None] | None = None,
        consent_interval: float = CONSENT_INTERVAL,
        consent_seconds: float = CONSENT_SECONDS,
    ) -> None:
        """Prepare; nothing is opened or sent before `gather`.

        Args:
            controlling: Whether this side made the offer.
            stun_server: Where to ask for the public address.
            turn_server: A relay.
            relay_only: Offer the relayed address only, so that the peer learns no other.
            on_lost: Called once, with "consent" or "socket", when the path is gone for good.
            consent_interval: See CONSENT_INTERVAL.
            consent_seconds: See CONSENT_SECONDS.
        """
        self.ufrag = "".join(secrets.choice(_ICE_CHARS) for _ in range(8))
        self.pwd = "".join(secrets.choice(_ICE_CHARS) for _ in range(24))
        self.validated: set[Address] = set()
        self.deliverer = Deliverer()
        self.counters: PathCounters = self.deliverer.counters
        self._on_lost = on_lost
        self._local: Address | None = None
        self._transmit: Callable[[bytes], None] | None = None
        self._complete = False
        self._closed = False
        self._connection = _Connection(
            self,
            controlling=controlling,
            stun_server=stun_server,
            turn_server=turn_server,
            relay_only=relay_only,
            consent=(consent_interval, consent_seconds),
        )

    @property
    def local(self) -> Address:
        """Own address and port: of the pair in use, before that of the first candidate.

        Raises:
            UsageError: nothing was gathered.
        """
        if self._local is None:
            raise UsageError("gather candidates first")
        return self._local

    async def gather(self, hosts: Sequence[str]) -> tuple[Candidate, ...]:
        """Open a port on each of our own addresses given, ask STUN and TURN, return candidates.

        Raises:
            ConnectFailed: no candidate was found.
            UsageError: a host is no IP address, or this was called before.
        """
        candidates = await self._connection.gather(hosts)
        if not candidates:
            raise ConnectFailed("no address to offer: no interface, and no relay that answers")
        self._local = (candidates[0].host, candidates[0].port)
        return candidates

    async def connect(
        self,
        remote_ufrag: str,
        remote_pwd: str,
        candidates: Iterable[CandidateLike],
        *,
        controlling: bool | None = None,
        remote_lite: bool = False,
        timeout: float = 15.0,
    ) -> None:
        """Check all pairs until one is nominated; afterwards `send` reaches the peer.

        Unusable candidates are skipped: names (mDNS too), TCP, multicast, other components,
        loopback unless we offered it ourselves, and all beyond MAX_CANDIDATES (or four times that
        many lines).

        Args:
            remote_ufrag: The peer's user name fragment.
            remote_pwd: The peer's password.
            candidates: The peer's candidates.
            controlling: Overrides what was given at the start.
            remote_lite: Whether the peer said a=ice-lite.
            timeout: Seconds to try.

        Raises:
            ConnectFailed: no pair works.
            ProtocolError: the peer's ufrag or password breaks RFC 8839 5.4.
        """
        if not (_UFRAG.match(remote_ufrag) and _PWD.match(remote_pwd)):
            raise ProtocolError("ice-ufrag or ice-pwd malformed", rule="RFC 8839 5.4")
        connection = self._connection
        if controlling is not None:
            connection.ice_controlling = controlling
        connection.remote_is_lite = remote_lite
        connection.remote_username, connection.remote_password = remote_ufrag, remote_pwd
        loopback = ipaddress.ip_address(self.local[0]).is_loopback
        looked_at = itertools.islice(candidates, 4 * MAX_CANDIDATES)
        usable = [c for c in looked_at if is_usable(c, loopback=loopback)][:MAX_CANDIDATES]
        try:
            for candidate in usable:
                await connection.add_remote_candidate(_to_aioice(candidate))
            await connection.add_remote_candidate(None)
            async with asyncio.timeout(timeout):
                await connection.connect()
        except (ConnectionError, TimeoutError) as e:
            raise ConnectFailed("no pair of addresses works between us and the peer") from e
        self._complete = True
        self.deliverer.release(self.validated.__contains__)
        self.deliverer.forget()

    def connect_plain(self, host: str, port: int) -> None:
        """Go to a peer that does not speak ICE, from the first candidate's socket.

        Raises:
            UsageError: nothing was gathered, or `host` is no IP address.
        """
        try:
            peer = (str(ipaddress.ip_address(host)), port)
        except ValueError as e:
            raise UsageError(f"{host!r} is no IP address") from e
        self.validated.clear()
        self.validated.add(peer)
        self._transmit = self._connection.first_sender(peer)
        self._complete = True
        self.deliverer.release(self.validated.__contains__)
        self.deliverer.forget()

    def listen(self, dtls: Listener, media: Listener) -> None:
        """Deliver the peer's DTLS datagrams to one function, RTP and RTCP to the other."""
        self.deliverer.dtls, self.deliverer.media = dtls, media
        self.deliverer.release(self.validated.__contains__)

    def send(self, datagram: bytes) -> None:
        """Send to the peer now, or count the datagram as unsent; never waits, never raises."""
        transmit = self._transmit
        if transmit is None:
            self.counters.unsent += 1
        else:
            transmit(datagram)

    async def close(self) -> None:
        """Close all sockets and the relay's allocation; calling again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._transmit = None
        self._on_lost = None
        self.deliverer.dtls = self.deliverer.media = None
        await self._connection.close()

    def take(self, datagram: bytes, source: Address) -> None:
        """Judge by its source what is neither STUN nor came the fast way."""
        if source in self.validated and self.deliverer.media is not None:
            self.deliverer.deliver(datagram)
        elif self._complete and source not in self.validated:
            self.counters.foreign += 1
        else:
            self.deliverer.hold(source, datagram)

    def pair_validated(self, remote: Address) -> None:
        """Listen to an address from which a check of ours was answered."""
        self.validated.add(remote)
        if self.deliverer.media is not None:
            self.deliverer.release(self.validated.__contains__)

    def pair_selected(self, transmit: Callable[[bytes], None], local: Address) -> None:
        """Send over the nominated pair."""
        self._transmit, self._local = transmit, local

    def lost(self, reason: str) -> None:
        """Stop sending, and tell the owner once."""
        self._transmit = None
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            on_lost(reason)

    def __repr__(self) -> str:
        return f"IcePath(local={self._local}, complete={self._complete}, {self.counters!r})"


class _Connection(aioice.Connection):
    """aioice's connection on our sockets, with foundations and consent of our own."""

    def __init__(
        self,
        path: IcePath,
        *,
        controlling: bool,
        stun_server: Address | None,
        turn_server: TurnServer | None,
        relay_only: bool,
        consent: tuple[float, float],
    ) -> None:
        super().__init__(
            controlling, local_username=path.ufrag, local_password=path.pwd, stun_server=stun_server
        )
        self._path = path
        self._relay = turn_server
        self._relay_only = relay_only
        self._consent = consent
        self._foundations = Foundations()

    async def gather(self, hosts: Sequence[str]) -> tuple[Candidate, ...]:
        if self._local_candidates_start:
            raise UsageError("candidates were gathered already")
        self._local_candidates_start = True
        self._local_candidates = [] if self._relay_only else self._open_hosts(hosts)
        jobs = [] if self._relay_only else self._reflexive_jobs()
        if self._relay is not None:
            jobs.append(asyncio.create_task(self._allocate(self._relay)))
        if jobs:
            done, pending = await asyncio.wait(jobs, timeout=_GATHER_SECONDS)
            for job in pending:
                job.cancel()
            self._local_candidates += [
                job.result() for job in done if not job.cancelled() and job.exception() is None
            ]
        self._local_candidates_end = True
        return tuple(_from_aioice(c) for c in self._local_candidates)

    def _open_hosts(self, hosts: Sequence[str]) -> list[aioice.Candidate]:
        candidates = []
        for number, host in enumerate(hosts):
            sock = bound_socket(host)
            protocol = _Protocol(self, self._path)
            transport = _DrainedTransport(sock, protocol, self._path)
            protocol.connection_made(transport)
            protocol.local_candidate = aioice.Candidate(
                foundation=self._foundations.of(CandidateKind.HOST, host),
                component=1,
                transport="udp",
                priority=candidate_priority(CandidateKind.HOST, 65535 - number),
                host=sock.getsockname()[0],
                port=sock.getsockname()[1],
                type="host",
            )
            self._protocols.append(protocol)
            candidates.append(protocol.local_candidate)
        return candidates

    def _reflexive_jobs(self) -> list[asyncio.Task[aioice.Candidate]]:
        if self.stun_server is None:
            return []
        return [
            asyncio.create_task(self._ask(protocol, self.stun_server))
            for protocol in self._protocols
            if ipaddress.ip_address(protocol.local_candidate.host).version == 4
        ]

    async def _ask(self, protocol: aioice_ice.StunProtocol, server: Address) -> aioice.Candidate:
        candidate, _ = await aioice_ice.server_reflexive_candidate(protocol, server)
        kind = CandidateKind.SERVER_REFLEXIVE
        candidate.foundation = self._foundations.of(
            kind, protocol.local_candidate.host, str(server)
        )
        candidate.related_address, candidate.related_port = hidden_related(candidate.host)
        return candidate

    async def _allocate(self, server: TurnServer) -> aioice.Candidate:
        candidate, protocol = await aioice_ice.relayed_candidate(
            component=1,
            hide_related_address=True,
            protocol_factory=lambda: _Protocol(self, self._path),
            turn_server=(server.host, server.port),
            turn_username=server.username,
            turn_password=server.password.reveal().decode(),
            turn_ssl=server.tls,
            turn_transport=server.transport,
        )
        candidate.foundation = self._foundations.of(
            CandidateKind.RELAYED, candidate.host, server.host
        )
        self._protocols.append(protocol)
        return candidate

    def first_sender(self, remote: Address) -> Callable[[bytes], None]:
        if not self._protocols:
            raise UsageError("gather candidates first")
        return _sender(self._protocols[0], remote)

    def check_complete(self, pair: aioice_ice.CandidatePair) -> None:
        super().check_complete(pair)
        if pair.state is aioice_ice.CandidatePair.State.SUCCEEDED:
            self._path.pair_validated(pair.remote_addr)
            chosen = self._nominated.get(1)
            if chosen is not None:
                self._path.pair_selected(
                    _sender(chosen.protocol, chosen.remote_addr),
                    chosen.local_addr,
                )

    def check_incoming(
        self, message: aioice_stun.Message, addr: Address, protocol: aioice_ice.StunProtocol
    ) -> None:
        known = any((c.host, c.port) == addr for c in self._remote_candidates)
        if known or len(self._remote_candidates) < 2 * MAX_CANDIDATES:
            super().check_incoming(message, addr, protocol)

    def data_received(self, data: bytes, component: int) -> None:
        # What aioice takes for data begins like STUN and is none.
        self._path.counters.unclassified += 1

    def protocol_lost(self, protocol: aioice_ice.StunProtocol) -> None:
        if not self._closing and any(p.protocol is protocol for p in self._nominated.values()):
            self._path.lost("socket")

    async def query_consent(self) -> None:
        """Check the nominated pair until nobody answered for as long as RFC 7675 allows."""
        interval, patience = self._consent
        loop = asyncio.get_running_loop()
        password = (self.remote_password or "").encode()
        answered = loop.time()
        while (left := answered + patience - loop.time()) > 0:
            await asyncio.sleep(min(left, interval * (0.8 + secrets.randbelow(4001) / 10_000)))
            pair = self._nominated.get(1)
            if pair is None:
                return
            try:
                async with asyncio.timeout_at(answered + patience):
                    await pair.protocol.request(
                        self.build_request(pair, nominate=False),
                        pair.remote_addr,
                        integrity_key=password,
                        retransmissions=0,
                    )
                answered = loop.time()
            except (aioice_stun.TransactionError, TimeoutError):
                continue
        self._path.lost("consent")


class _Protocol(aioice_ice.StunProtocol):
    """aioice's protocol of one socket; only STUN goes on to it."""

    def __init__(self, connection: _Connection, path: IcePath) -> None:
        super().__init__(connection)
        self._path = path

    def datagram_received(self, data: bytes | str, addr: tuple[str | int, ...]) -> None:
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
        self._path.counters.unreachable += 1


class _DrainedTransport(asyncio.DatagramTransport):
    """A socket read by `add_reader`: STUN to the protocol, the peer's media to the listeners."""

    def __init__(self, sock: socket.socket, protocol: _Protocol, path: IcePath) -> None:
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
        return self._closing

    def close(self) -> None:
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

    def __init__(self, protocol: _Protocol) -> None:
        self._protocol = protocol

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        self._protocol.datagram_received(data, addr)

    def error_received(self, exc: Exception) -> None:
        self._protocol.error_received(exc)


def _sender(protocol: aioice_ice.StunProtocol, remote: Address) -> Callable[[bytes], None]:
    """Return what sends a datagram over this pair."""
    transport = protocol.transport
    if isinstance(transport, _DrainedTransport):
        return transport.sender(remote)
    return lambda datagram: transport.sendto(datagram, remote)


def _to_aioice(candidate: CandidateLike) -> aioice.Candidate:
    return aioice.Candidate(
        foundation=candidate.foundation,
        component=candidate.component,
        transport="udp",
        priority=candidate.priority,
        host=str(ipaddress.ip_address(candidate.host)),
        port=candidate.port,
        # aioice knows no signalled prflx; where it came from changes nothing for the checks.
        type="srflx" if candidate.type == "prflx" else candidate.type,
    )


def _from_aioice(candidate: aioice.Candidate) -> Candidate:
    return Candidate(
        candidate.foundation,
        candidate.component,
        candidate.transport,
        candidate.priority,
        candidate.host,
        candidate.port,
        candidate.type,
        candidate.related_address,
        candidate.related_port,
    )
