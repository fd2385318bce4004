"""A path found by ICE (RFC 8445), through NATs or a relay; the same face as a `UdpPath`."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import itertools
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from securecall.errors import ConnectFailed, ProtocolError, UsageError
from securecall.transport.candidate import (
    MAX_CANDIDATES,
    Candidate,
    LocalIce,
    is_usable,
)
from securecall.transport.ice_agent import IceAgent, IceSettings
from securecall.transport.turn import TurnServer
from securecall.transport.udp import Address, Deliverer, Listener, PathCounters

__all__ = ["CONSENT_INTERVAL", "CONSENT_SECONDS", "IcePath", "TurnServer"]

CONSENT_SECONDS: Final = 30.0
"""How long to go on sending without an answer to a check (RFC 7675 5.1)."""

CONSENT_INTERVAL: Final = 5.0
"""Seconds between checks, times 0.8 to 1.2 (RFC 7675 5.1)."""

LINGER_SECONDS: Final = 2.0
"""How long the sockets before a restart stay open, for what is still on its way to them."""

_UFRAG: Final = re.compile(r"[A-Za-z0-9+/]{4,256}\Z")
_PWD: Final = re.compile(r"[A-Za-z0-9+/]{22,256}\Z")


class _Generation:
    """One set of credentials and sockets: the first, and one for each restart (RFC 8445 9).

    Attributes:
        validated: From where this generation takes media.
        transmit: Sends over its nominated pair, None while there is none.
        remote: The peer's credentials, None before they are known.
        taken: The peer's candidates that are checked.
    """

    def __init__(self, path: IcePath, settings: IceSettings, *, controlling: bool) -> None:
        # base64's alphabet is that of ICE (RFC 8839 5.4): 48 and 144 random bits
        self.ufrag = base64.b64encode(secrets.token_bytes(6)).decode()
        self.pwd = base64.b64encode(secrets.token_bytes(18)).decode()
        self.validated: set[Address] = set()
        self.deliverer, self.counters = path.deliverer, path.counters
        self.transmit: Callable[[bytes], None] | None = None
        self.local: Address | None = None
        self.remote: tuple[str, str] | None = None
        self.taken: set[Candidate] = set()
        self.complete = False
        self._path = path
        self.agent = IceAgent(self, settings, controlling=controlling)

    async def gather(self, hosts: Sequence[str], *, trickle: bool) -> LocalIce:
        later = partial(self._path.found, self) if trickle else None
        _ = await self.agent.gather(hosts, later=later)
        self.local = self.ours.default
        return self.ours

    @property
    def ours(self) -> LocalIce:
        """What was gathered so far."""
        agent = self.agent
        return LocalIce(
            ufrag=self.ufrag, pwd=self.pwd, candidates=agent.found, complete=agent.complete
        )

    def check_also(self, candidates: Iterable[Candidate]) -> None:
        """Check addresses of the peer's, those that may be, up to a number."""
        if self.local is None:
            raise UsageError("gather candidates first")
        loopback = ipaddress.ip_address(self.local[0]).is_loopback
        looked_at = itertools.islice(candidates, 4 * MAX_CANDIDATES)
        fresh = dict.fromkeys(
            c for c in looked_at if c not in self.taken and is_usable(c, loopback=loopback)
        )
        usable = list(fresh)[: MAX_CANDIDATES - len(self.taken)]
        self.taken.update(usable)
        self.agent.take(usable)

    def take(self, datagram: bytes, source: Address) -> None:
        """Judge by its source what is neither STUN nor came the fast way."""
        if source in self.validated and self.deliverer.media is not None:
            self.deliverer.deliver(datagram)
        elif self.complete and source not in self.validated:
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
        self.transmit, self.local = transmit, local
        self._path.selected(self)

    def lost(self, reason: str) -> None:
        """Stop sending, for good."""
        self.transmit = None
        self._path.generation_lost(self, reason)

    def doubted(self) -> None:
        """A check was not answered."""
        self._path.generation_doubted(self)

    def settle(self) -> None:
        """The way is known: what was held and came from elsewhere is foreign."""
        self.complete = True
        self.agent.enough()
        self.deliverer.release(self.validated.__contains__)
        self.deliverer.forget()


class IcePath:
    """A call's path to its peer through NATs; the same face as `UdpPath` once connected.

    After a network change `regather` and `reconnect` find another way, under new credentials and
    on new sockets, while what works of the old one goes on (RFC 8445 9). What is carried learns
    nothing of it: no DTLS association and no key changes.

    Attributes:
        counters: What was lost.
    """

    def __init__(
        self,
        *,
        controlling: bool,
        stun_server: Address | None = None,
        turn_servers: Sequence[TurnServer] = (),
        relay_only: bool = False,
        on_lost: Callable[[str], None] | None = None,
        on_doubt: Callable[[], None] | None = None,
        on_gathered: Callable[[LocalIce], None] | None = None,
        consent_interval: float = CONSENT_INTERVAL,
        consent_seconds: float = CONSENT_SECONDS,
    ) -> None:
        """Prepare; nothing is opened or sent before `gather`.

        Args:
            controlling: Whether this side made the first offer.
            stun_server: Where to ask for the public address.
            turn_servers: Relays.
            relay_only: Offer relayed addresses only, so that the peer learns no other.
            on_lost: Called with "consent" or "socket" when the way in use is gone; nothing is sent
                until a `reconnect`.
            on_doubt: Called whenever a check of the way in use was not answered in time.
            on_gathered: Called with all that was found so far, whenever that is more than what
                `gather` or `regather` returned under `trickle`, and with the last of it.
            consent_interval: See CONSENT_INTERVAL.
            consent_seconds: See CONSENT_SECONDS.
        """
        self.deliverer = Deliverer()
        self.counters: PathCounters = self.deliverer.counters
        self._settings = IceSettings(
            stun_server=stun_server,
            turn_servers=tuple(turn_servers),
            relay_only=relay_only,
            consent=(consent_interval, consent_seconds),
        )
        self._on_lost, self._on_doubt, self._on_gathered = on_lost, on_doubt, on_gathered
        self._early: tuple[tuple[str, str], tuple[Candidate, ...]] | None = None
        self._closed = False
        self._hurry = asyncio.Event()  # nothing lingers any more
        self._gathered = False
        self._closing: set[asyncio.Task[None]] = set()
        self._used = _Generation(self, self._settings, controlling=controlling)
        self._next: _Generation | None = None

    @property
    def ufrag(self) -> str:
        """Own user name fragment, of the latest generation."""
        return (self._next or self._used).ufrag

    @property
    def pwd(self) -> str:
        """Own password, of the latest generation."""
        return (self._next or self._used).pwd

    @property
    def local(self) -> Address:
        """Own address and port: of the pair in use, before that of the first candidate.

        Raises:
            UsageError: nothing was gathered.
        """
        if self._used.local is None:
            raise UsageError("gather candidates first")
        return self._used.local

    @property
    def relays(self) -> tuple[str, ...]:
        """Hosts of the relays that have a place for us."""
        generations = (self._used, self._next)
        return tuple(dict.fromkeys(h for g in generations if g is not None for h in g.agent.relays))

    @property
    def relayed(self) -> bool:
        """Whether what is sent goes to a relay of ours first."""
        return self._used.agent.relayed

    async def gather(self, hosts: Sequence[str], *, trickle: bool = False) -> tuple[Candidate, ...]:
        """Open a port on each of our own addresses given, ask STUN and TURN, return candidates.

        With `trickle` it returns as soon as there is one that may be shown; `on_gathered` tells the
        rest.

        Raises:
            ConnectFailed: no candidate was found.
            CertificateError: the only relay could not prove its name.
            LoginRefused: the only relay does not let us in.
            UsageError: a host is no IP address, or this was called before.
        """
        if self._gathered:
            raise UsageError("candidates were gathered already")
        self._gathered = True
        return (await self._used.gather(hosts, trickle=trickle)).candidates

    @property
    def gathered(self) -> LocalIce:
        """What was gathered so far, of the latest generation."""
        return (self._next or self._used).ours

    def found(self, generation: _Generation) -> None:
        """Tell the owner of what was found later, if it is of the latest generation."""
        if generation is (self._next or self._used) and self._on_gathered is not None:
            self._on_gathered(generation.ours)

    def trickled(self, remote_ufrag: str, remote_pwd: str, candidates: Iterable[Candidate]) -> None:
        """Check further candidates of the peer's, of the generation with these credentials.

        They may come before `connect` or `reconnect`; those of any other generation are dropped.
        """
        remote = (remote_ufrag, remote_pwd)
        for generation in (self._used, self._next):
            if generation is not None and generation.remote == remote:
                generation.check_also(candidates)
                return
        self._early = remote, tuple(itertools.islice(candidates, 4 * MAX_CANDIDATES))

    async def regather(
        self,
        hosts: Sequence[str],
        *,
        turn_servers: Sequence[TurnServer] | None = None,
        trickle: bool = False,
    ) -> LocalIce:
        """Gather anew, for a restart; what works goes on. The latest of several counts.

        Args:
            hosts: As of `gather`.
            turn_servers: Relays from now on, None for those there were.
            trickle: As of `gather`.

        Raises:
            As `gather`.
            UsageError: the path is closed.
        """
        if self._closed:
            raise UsageError("this path is closed")
        self.give_up_restart()
        if turn_servers is not None:
            self._settings = replace(self._settings, turn_servers=tuple(turn_servers))
        # the controlling side stays that (RFC 8445 6.1.1), as an old role conflict was settled
        controlling = self._used.agent.ice_controlling
        fresh = _Generation(self, self._settings, controlling=controlling)
        self._next = fresh
        try:
            gathered = await fresh.gather(hosts, trickle=trickle)
        except BaseException:
            await fresh.agent.close()
            if self._next is fresh:
                self._next = None
            raise
        if self._closed or self._next is not fresh:
            await fresh.agent.close()
            raise ConnectFailed("the way is not looked for any more")
        return gathered

    def give_up_restart(self) -> None:
        """Stay with what is in use."""
        unused, self._next = self._next, None
        if unused is not None:
            self._retire(unused, 0.0)

    async def connect(
        self,
        remote_ufrag: str,
        remote_pwd: str,
        candidates: Iterable[Candidate],
        *,
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
            remote_lite: Whether the peer said a=ice-lite.
            timeout: Seconds to try.

        Raises:
            ConnectFailed: no pair works.
            ProtocolError: the peer's ufrag or password breaks RFC 8839 5.4.
        """
        remote = (remote_ufrag, remote_pwd)
        await self._check(self._used, remote, candidates, lite=remote_lite, timeout=timeout)
        self._used.settle()

    async def reconnect(
        self,
        remote_ufrag: str,
        remote_pwd: str,
        candidates: Iterable[Candidate],
        *,
        remote_lite: bool = False,
        timeout: float = 15.0,
    ) -> None:
        """Do as `connect` for what `regather` found; from then on that way is used.

        Raises:
            ConnectFailed: no pair works; what worked before still does.
            ProtocolError: as `connect`.
            UsageError: nothing was gathered anew.
        """
        fresh = self._next
        if fresh is None:
            raise UsageError("gather candidates anew first")
        remote = (remote_ufrag, remote_pwd)
        try:
            await self._check(fresh, remote, candidates, lite=remote_lite, timeout=timeout)
        except BaseException:
            if self._next is fresh:
                self.give_up_restart()
            raise
        if self._next is fresh:
            self.selected(fresh)
        fresh.settle()

    async def _check(
        self,
        generation: _Generation,
        remote: tuple[str, str],
        candidates: Iterable[Candidate],
        *,
        lite: bool,
        timeout: float,
    ) -> None:
        if not (_UFRAG.match(remote[0]) and _PWD.match(remote[1])):
            raise ProtocolError("ice-ufrag or ice-pwd malformed", rule="RFC 8839 5.4")
        generation.remote = remote
        generation.check_also(candidates)
        if self._early is not None and self._early[0] == remote:
            generation.check_also(self._early[1])
        self._early = None
        await generation.agent.check(remote, lite=lite, timeout=timeout)

    def connect_plain(self, host: str, port: int) -> None:
        """Go to a peer that does not speak ICE, from the first candidate's socket.

        Raises:
            UsageError: nothing was gathered, or `host` is no IP address.
        """
        try:
            peer = (str(ipaddress.ip_address(host)), port)
        except ValueError as e:
            raise UsageError(f"{host!r} is no IP address") from e
        used = self._used
        used.validated.clear()
        used.validated.add(peer)
        used.transmit = used.agent.first_sender(peer)
        used.settle()

    def listen(self, dtls: Listener, media: Listener) -> None:
        """Deliver the peer's DTLS datagrams to one function, RTP and RTCP to the other."""
        self.deliverer.dtls, self.deliverer.media = dtls, media
        self.deliverer.release(self._used.validated.__contains__)

    def send(self, datagram: bytes) -> None:
        """Send to the peer now, or count the datagram as unsent; never waits, never raises."""
        transmit = self._used.transmit
        if transmit is None:
            self.counters.unsent += 1
        else:
            transmit(datagram)

    async def close(self) -> None:
        """Close all sockets and the relays' allocations; calling again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._on_lost = self._on_doubt = self._on_gathered = None
        self._used.transmit = None
        self.deliverer.dtls = self.deliverer.media = None
        self.give_up_restart()
        self._hurry.set()
        await self._used.agent.close()
        if self._closing:
            _ = await asyncio.wait(self._closing)

    def selected(self, generation: _Generation) -> None:
        """A generation has a way: if it is the one that a restart made, it is used from now on."""
        if generation is self._next and not self._closed:
            old, self._used, self._next = self._used, generation, None
            self._retire(old, LINGER_SECONDS)

    def _retire(self, generation: _Generation, seconds: float) -> None:
        """Close one, aside: a relay that cannot be reached any more takes its time."""
        task = asyncio.get_running_loop().create_task(self._close_later(generation, seconds))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_later(self, generation: _Generation, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                _ = await self._hurry.wait()
        await generation.agent.close()

    def generation_lost(self, generation: _Generation, reason: str) -> None:
        """Tell the owner, if it is the one in use."""
        if generation is self._used and self._on_lost is not None:
            self._on_lost(reason)

    def generation_doubted(self, generation: _Generation) -> None:
        """Tell the owner, if it is the one in use."""
        if generation is self._used and self._on_doubt is not None:
            self._on_doubt()

    def __repr__(self) -> str:
        used = self._used
        return f"IcePath(local={used.local}, complete={used.complete}, {self.counters!r})"
