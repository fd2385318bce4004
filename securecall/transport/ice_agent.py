"""Checks pairs of addresses by ICE (RFC 8445), the door of aioice.

aioice checks and nominates; its sockets are ours (`transport.ice_socket`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import aioice
from aioice import ice as aioice_ice
from aioice import stun as aioice_stun

from securecall.errors import ConnectFailed, UsageError
from securecall.logs import quiet
from securecall.transport.candidate import (
    MAX_CANDIDATES,
    Candidate,
    CandidateKind,
    Foundations,
    candidate_priority,
    hidden_related,
)
from securecall.transport.ice_socket import DrainedTransport, IceOwner, SocketProtocol, sender_over
from securecall.transport.turn import TurnServer
from securecall.transport.udp import Address, bound_socket

_GATHER_SECONDS: Final = 5.0

# At INFO and below aioice logs candidates, user names and every packet.
quiet("aioice", "aioice.ice", "aioice.turn", "aioice.mdns")


class IceAgent(aioice.Connection):
    """aioice's connection on our sockets, with foundations and consent of our own."""

    def __init__(
        self,
        path: IceOwner,
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
        """Open our sockets, ask STUN and TURN, return what can be offered; once."""
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

    async def check(
        self,
        candidates: Iterable[Candidate],
        credentials: tuple[str, str],
        *,
        lite: bool,
        timeout: float,
    ) -> None:
        """Check all pairs until one is nominated.

        The peer is never said to have no more candidates: aioice would give up when its checks have
        failed, or at once where there is none to make. But a peer refuses checks before it has our
        answer, and one whose candidates are names comes by itself (RFC 8863 4).

        Raises:
            ConnectFailed: none is, or not in time.
        """
        self.remote_is_lite = lite
        self.remote_username, self.remote_password = credentials
        try:
            for candidate in candidates:
                await self.add_remote_candidate(_to_aioice(candidate))
            async with asyncio.timeout(timeout):
                await self.connect()
        except (ConnectionError, TimeoutError) as e:
            raise ConnectFailed("no pair of addresses works between us and the peer") from e

    def _open_hosts(self, hosts: Sequence[str]) -> list[aioice.Candidate]:
        candidates = []
        for number, host in enumerate(hosts):
            sock = bound_socket(host)
            protocol = SocketProtocol(self, self._path)
            transport = DrainedTransport(sock, protocol, self._path)
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
            protocol_factory=lambda: SocketProtocol(self, self._path),
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
        """Return what sends from the first candidate's socket, without any check."""
        if not self._protocols:
            raise UsageError("gather candidates first")
        return sender_over(self._protocols[0], remote, self._path.counters)

    def check_complete(self, pair: aioice_ice.CandidatePair) -> None:
        """Tell the path of a pair that works, and of the one to use."""
        super().check_complete(pair)
        if pair.state is aioice_ice.CandidatePair.State.SUCCEEDED:
            self._path.pair_validated(pair.remote_addr)
            chosen = self._nominated.get(1)
            if chosen is not None:
                self._path.pair_selected(
                    sender_over(chosen.protocol, chosen.remote_addr, self._path.counters),
                    chosen.local_addr,
                )

    def check_incoming(
        self, message: aioice_stun.Message, addr: Address, protocol: aioice_ice.StunProtocol
    ) -> None:
        """Learn a peer-reflexive candidate, up to a number: even an authentic peer gets no more."""
        known = any((c.host, c.port) == addr for c in self._remote_candidates)
        if known or len(self._remote_candidates) < 2 * MAX_CANDIDATES:
            super().check_incoming(message, addr, protocol)

    def data_received(self, data: bytes, component: int) -> None:
        """Count what aioice takes for data: it begins like STUN and is none."""
        self._path.counters.unclassified += 1

    def protocol_lost(self, protocol: aioice_ice.StunProtocol) -> None:
        """Tell the path where the socket in use is gone."""
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


def _to_aioice(candidate: Candidate) -> aioice.Candidate:
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
