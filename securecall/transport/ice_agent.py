"""Checks pairs of addresses by ICE (RFC 8445), the door of aioice.

aioice checks and nominates; its sockets are ours (`transport.ice_socket`).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import secrets
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aioice
from aioice import ice as aioice_ice
from aioice import stun as aioice_stun

from securecall.errors import ConnectFailed, LoginRefused, SecurecallError, UsageError
from securecall.logs import logger, quiet
from securecall.transport.candidate import (
    MAX_CANDIDATES,
    Candidate,
    CandidateKind,
    Foundations,
    candidate_priority,
    hidden_related,
    is_unicast,
)
from securecall.transport.endpoint import endpoint
from securecall.transport.ice_socket import (
    DrainedTransport,
    IceOwner,
    SocketProtocol,
    abandon,
    relay_socket,
    sender_over,
)
from securecall.transport.tls import connecting
from securecall.transport.tls_context import web_context
from securecall.transport.turn import MOST_RELAYS, TurnServer
from securecall.transport.udp import Address, bound_socket

_GATHER_SECONDS: Final = 5.0
_GRACE_SECONDS: Final = 0.2
_CLOSE_SECONDS: Final = 1.0
_REFUSED: Final = (401, 403, 441)  # RFC 8489 9.2.4, RFC 8656 7.2
_FAMILY_NOT_SUPPORTED: Final = 440  # RFC 8656 7.2

# At INFO and below aioice logs candidates, user names and every packet.
quiet("aioice", "aioice.ice", "aioice.turn", "aioice.mdns")

log = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class IceSettings:
    """What all generations of one path share.

    Attributes:
        stun_server: Where to ask for the public address.
        turn_servers: Relays, the best first.
        relay_only: Offer relayed addresses only.
        consent: Seconds between checks of the pair in use, and without an answer until it is lost.
    """

    stun_server: Address | None
    turn_servers: tuple[TurnServer, ...]
    relay_only: bool
    consent: tuple[float, float]


class IceAgent(aioice.Connection):
    """aioice's connection on our sockets, with foundations and consent of our own.

    Attributes:
        relays: Hosts of the relays that gave us a place.
        complete: Nothing more is gathered.
    """

    def __init__(self, owner: IceOwner, settings: IceSettings, *, controlling: bool) -> None:
        super().__init__(
            controlling,
            local_username=owner.ufrag,
            local_password=owner.pwd,
            stun_server=settings.stun_server,
        )
        self.relays: list[str] = []
        self.complete = False
        self._gathering: asyncio.Task[list[SecurecallError]] | None = None
        self._asked: tuple[asyncio.Task[object], ...] = ()
        self._later: Callable[[], None] | None = None
        self._some = asyncio.Event()  # something can be offered
        self._hurried: set[tuple[int, Address]] = set()
        self._path = owner
        self._settings = settings
        self._foundations = Foundations()

    async def gather(
        self, hosts: Sequence[str], *, later: Callable[[], None] | None = None
    ) -> tuple[Candidate, ...]:
        """Open our sockets, ask STUN and TURN, return what can be offered; once.

        Args:
            hosts: Our own addresses.
            later: Return as soon as anything can be offered, and go on; called whenever `found` is
                more, and once at the end (trickle ICE, RFC 8838).

        Raises:
            ConnectFailed: nothing can be.
            CertificateError, LoginRefused: the same, and that is why.
        """
        if self._local_candidates_start:
            raise UsageError("candidates were gathered already")
        self._local_candidates_start = True
        hidden = self._settings.relay_only
        for candidate in [] if hidden else self._open_hosts(hosts):
            self._add(candidate)
        jobs = {} if hidden else self._reflexive_jobs()
        asked: dict[_Job, TurnServer] = {}
        for number, server in enumerate(self._settings.turn_servers[:MOST_RELAYS]):
            asked[asyncio.create_task(self._allocate(server, number))] = server
        jobs |= asked
        if asked:
            jobs[asyncio.create_task(self._allocate_six(asked))] = None
        failures = await self._ask_all(jobs, wait=later is None) if jobs else []
        self.complete = self._gathering is None or self._gathering.done()
        self._later = later
        self._local_candidates_end = True
        if self._local_candidates:
            return self.found
        for failure in failures:
            raise failure
        raise ConnectFailed("no address to offer: no interface, and no relay that answers")

    async def _ask_all(
        self, jobs: dict[_Job, TurnServer | None], *, wait: bool
    ) -> list[SecurecallError]:
        """Wait for all, or for anything; whoever gives that up gathers nothing."""
        self._gathering = gathering = asyncio.create_task(_outcomes(jobs, self._add))
        self._asked = (gathering, *jobs)
        gathering.add_done_callback(self._gathered)
        some = asyncio.create_task(self._some.wait())
        tasks = (gathering,) if wait else (gathering, some)
        try:
            if wait or not self._local_candidates:
                _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.enough()
            raise
        finally:
            _ = some.cancel()
        ended = gathering.done() and not gathering.cancelled()
        return gathering.result() if ended else []

    @property
    def found(self) -> tuple[Candidate, ...]:
        """What can be offered, in the order in which it was found."""
        return tuple(_from_aioice(c) for c in self._local_candidates)

    def enough(self) -> None:
        """Gather no more: a way is found, and what comes later would be told for nothing."""
        if self._gathering is not None:
            _ = self._gathering.cancel()

    def _add(self, candidate: aioice.Candidate) -> None:
        """Take one of ours; a relay's is paired with what is known of the peer."""
        self._local_candidates.append(candidate)
        self._some.set()
        if candidate.type == CandidateKind.RELAYED and not self._check_list_done:
            for remote in self._remote_candidates:
                self._pair_remote_candidate(remote)
            self.sort_check_list()
        self._tell()

    def _gathered(self, task: asyncio.Task[list[SecurecallError]]) -> None:
        self.complete = True
        for job in self._asked:  # it may have been given up before it began
            _ = job.cancel()
        error = None if task.cancelled() else task.exception()
        if error is not None and self._later is not None:  # else whoever waits is told
            log.error("gathering candidates failed", exc_info=error)
        self._tell()

    def _tell(self) -> None:
        if self._later is not None and not self._closing:
            self._later()

    def take(self, candidates: Iterable[Candidate]) -> None:
        """Check these addresses of the peer's, too, now or once `check` begins."""
        if not (self._closing or self._check_list_done):
            for candidate in candidates:
                self._add_remote_candidate(_to_aioice(candidate), candidate.host)

    @property
    def relayed(self) -> bool:
        """Whether the pair in use begins at a relay of ours."""
        chosen = self._nominated.get(1)
        return chosen is not None and chosen.local_candidate.type == CandidateKind.RELAYED

    async def close(self) -> None:
        """Close all sockets, and give places at relays back, as far as those can be reached."""
        self._later = None
        self.enough()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                if self._asked:
                    _ = await asyncio.wait(self._asked)
                await super().close()
        except TimeoutError:
            for protocol in self._protocols:
                abandon(protocol)

    async def check(self, credentials: tuple[str, str], *, lite: bool, timeout: float) -> None:
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
            async with asyncio.timeout(timeout):
                await self.connect()
        except (ConnectionError, TimeoutError) as e:
            raise ConnectFailed("no pair of addresses works between us and the peer") from e

    def _open_hosts(self, hosts: Sequence[str]) -> list[aioice.Candidate]:
        candidates = []
        for number, host in enumerate(hosts):
            try:
                sock = bound_socket(host)
            except ConnectFailed as e:  # it was taken from us this moment; others may do
                log.info("%s", e)
                continue
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

    def _reflexive_jobs(self) -> dict[_Job, TurnServer | None]:
        server = self._settings.stun_server
        if server is None:
            return {}
        return {
            asyncio.create_task(self._ask(protocol, server)): None
            for protocol in self._protocols
            if ipaddress.ip_address(protocol.local_candidate.host).version == 4
        }

    async def _ask(self, protocol: aioice_ice.StunProtocol, server: Address) -> aioice.Candidate:
        candidate, _ = await aioice_ice.server_reflexive_candidate(protocol, server)
        _require_address(candidate, protocol.local_candidate.host, f"STUN server {server[0]}")
        kind = CandidateKind.SERVER_REFLEXIVE
        candidate.foundation = self._foundations.of(
            kind, protocol.local_candidate.host, str(server)
        )
        candidate.related_address, candidate.related_port = hidden_related(candidate.host)
        return candidate

    async def _allocate(self, server: TurnServer, number: int, family: int = 4) -> aioice.Candidate:
        where = f"the relay {endpoint(server.host, server.port)}"
        protocol = SocketProtocol(self, self._path)
        context = _tls(server.authorities) if server.tls else None
        try:
            with connecting(where, server.host):
                host, port = await relay_socket(protocol, server, context, family=family)
        except aioice_stun.TransactionError as e:
            raise _refusal(where, e) from e
        related, nowhere = hidden_related(host)
        protocol.local_candidate = candidate = aioice.Candidate(
            foundation=self._foundations.of(CandidateKind.RELAYED, host, f"{server.host} {number}"),
            component=1,
            transport="udp",
            priority=candidate_priority(CandidateKind.RELAYED, 65535 - number),
            host=host,
            port=port,
            type="relay",
            related_address=related,
            related_port=nowhere,
        )
        if self._closing:  # it came too late
            abandon(protocol)
            raise ConnectFailed(f"{where} came too late")
        if family == 6 and ":" not in host:  # it knows nothing of families
            abandon(protocol)
            raise _OtherFamily(f"{where} has no address of IPv6")
        self._protocols.append(protocol)
        _require_address(candidate, server.address or server.host, where)
        if server.host not in self.relays:
            self.relays.append(server.host)
        return candidate

    async def _allocate_six(self, asked: dict[_Job, TurnServer]) -> aioice.Candidate:
        """Ask the relay that answers first for an address of IPv6, too: one is enough (RFC 8656 7).

        Raises:
            ConnectionError: none has any; that is told by nobody, as it is the rule.
        """
        waiting = set(asked)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for job in done:
                error = None if job.cancelled() else job.exception()
                if job.cancelled() or not (error is None or isinstance(error, _OtherFamily)):
                    continue
                with contextlib.suppress(SecurecallError):
                    return await self._allocate(asked[job], MOST_RELAYS, family=6)
        raise ConnectionError("no relay has an address of IPv6")

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
        """Learn a peer-reflexive candidate, up to a number: even an authentic peer gets no more.

        A check of ours on the same pair that is not answered yet is made anew, once: a NAT of the
        peer's most likely dropped it, and lets it in now that the peer has sent (RFC 8445 7.3.1.4).
        So is one that aioice gave up when another pair was nominated: the peer may use this one.
        """
        known = any((c.host, c.port) == addr for c in self._remote_candidates)
        if not known and len(self._remote_candidates) >= 2 * MAX_CANDIDATES:
            return
        for pair in self._check_list:
            if pair.protocol is protocol and pair.remote_addr == addr and pair.task is not None:
                self._hurry(pair, pair.task)
        super().check_incoming(message, addr, protocol)

    def _hurry(self, pair: aioice_ice.CandidatePair, check: asyncio.Task[None]) -> None:
        state = aioice_ice.CandidatePair.State
        given_up = check.cancelling() > 0 or check.done()
        key = (pair.protocol.id, pair.remote_addr)
        if pair.state is state.IN_PROGRESS and (given_up or key not in self._hurried):
            self._hurried.add(key)
            _ = check.cancel()
            pair.task = None
            self.check_state(pair, state.WAITING)

    def data_received(self, data: bytes, component: int) -> None:
        """Count what aioice takes for data: it begins like STUN and is none."""
        self._path.counters.unclassified += 1

    def protocol_lost(self, protocol: aioice_ice.StunProtocol) -> None:
        """Tell the path where the socket in use is gone."""
        if not self._closing and any(p.protocol is protocol for p in self._nominated.values()):
            self._path.lost("socket")

    async def query_consent(self) -> None:
        """Check the nominated pair until nobody answered for as long as RFC 7675 allows."""
        interval, patience = self._settings.consent
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
                self._path.doubted()
        self._path.lost("consent")


_Job = asyncio.Task[aioice.Candidate]


class _OtherFamily(ConnectFailed):
    """A relay that answers, and has no address of the family it was asked for."""


async def _outcomes(
    jobs: dict[_Job, TurnServer | None], found: Callable[[aioice.Candidate], None]
) -> list[SecurecallError]:
    """Wait for candidates: for all, but once a relay is there no longer than it took again.

    Where UDP does not get through, nobody says so; the relays that are asked by it never answer.

    Returns:
        Why some were not found, what a person has to mend first.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    until, waiting = began + _GATHER_SECONDS, set(jobs)
    try:
        while waiting and (left := until - loop.time()) > 0:
            done, waiting = await asyncio.wait(
                waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
            good = [job for job in jobs if job in done and job.exception() is None]
            for job in good:
                found(job.result())
            if any(jobs[job] is not None for job in good):
                taken = loop.time() - began
                until = min(until, began + taken + max(taken, _GRACE_SECONDS))
    finally:
        for job in waiting:
            job.cancel()
        if waiting:
            _ = await asyncio.wait(waiting)
    return _failures(jobs)


def _failures(jobs: dict[_Job, TurnServer | None]) -> list[SecurecallError]:
    """Why some were not found, what a person has to mend before what may pass."""
    failures: list[SecurecallError] = []
    for job, server in jobs.items():
        error = None if job.cancelled() else job.exception()
        if not job.cancelled() and error is None:
            continue
        if isinstance(error, SecurecallError):
            log.warning("%s", error)
            failures.append(error)
        elif server is not None:
            failures.append(ConnectFailed(f"the relay {server.host} does not answer"))
        elif error is not None and not isinstance(error, OSError | aioice_stun.TransactionError):
            raise error
    return sorted(failures, key=lambda e: isinstance(e, ConnectFailed))


def _refusal(where: str, error: aioice_stun.TransactionError) -> SecurecallError:
    response = error.response
    if response is None:
        return ConnectFailed(f"{where} does not answer")
    code, reason = response.attributes.get("ERROR-CODE", (0, ""))
    if code in _REFUSED:
        return LoginRefused(f"{where} does not let us in ({code}); check user and password")
    kind = _OtherFamily if code == _FAMILY_NOT_SUPPORTED else ConnectFailed
    return kind(f"{where} has no place for us: {code} {str(reason)[:60]!r}")


def _require_address(candidate: aioice.Candidate, teller: str, who: str) -> None:
    """What a server says of us has to be an address that a machine can have.

    Raises:
        ConnectFailed: it is none, or of loopback, from a server that is elsewhere.
    """
    try:
        near = ipaddress.ip_address(teller).is_loopback
    except ValueError:
        near = teller == "localhost"
    if not is_unicast(candidate.host, loopback=near) or not 0 < candidate.port < 65536:
        raise ConnectFailed(f"the {who} told an address that we cannot have")


@functools.lru_cache(maxsize=8)
def _tls(authorities: Path | None) -> ssl.SSLContext:
    return web_context(authorities)


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
