"""A path found by ICE (RFC 8445), through NATs or a relay; the same face as a `UdpPath`."""

from __future__ import annotations

import base64
import ipaddress
import itertools
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from securecall.errors import ConnectFailed, ProtocolError, UsageError
from securecall.transport.candidate import (
    MAX_CANDIDATES,
    Candidate,
    is_usable,
)
from securecall.transport.ice_agent import IceAgent
from securecall.transport.turn import TurnServer
from securecall.transport.udp import Address, Deliverer, Listener, PathCounters

__all__ = ["CONSENT_INTERVAL", "CONSENT_SECONDS", "IcePath", "TurnServer"]

CONSENT_SECONDS: Final = 30.0
"""How long to go on sending without an answer to a check (RFC 7675 5.1)."""

CONSENT_INTERVAL: Final = 5.0
"""Seconds between checks, times 0.8 to 1.2 (RFC 7675 5.1)."""

_UFRAG: Final = re.compile(r"[A-Za-z0-9+/]{4,256}\Z")
_PWD: Final = re.compile(r"[A-Za-z0-9+/]{22,256}\Z")


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
        # base64's alphabet is that of ICE (RFC 8839 5.4): 48 and 144 random bits
        self.ufrag = base64.b64encode(secrets.token_bytes(6)).decode()
        self.pwd = base64.b64encode(secrets.token_bytes(18)).decode()
        self.validated: set[Address] = set()
        self.deliverer = Deliverer()
        self.counters: PathCounters = self.deliverer.counters
        self._on_lost = on_lost
        self._local: Address | None = None
        self._transmit: Callable[[bytes], None] | None = None
        self._complete = False
        self._closed = False
        self._agent = IceAgent(
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
        candidates = await self._agent.gather(hosts)
        if not candidates:
            raise ConnectFailed("no address to offer: no interface, and no relay that answers")
        self._local = (candidates[0].host, candidates[0].port)
        return candidates

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
        if not (_UFRAG.match(remote_ufrag) and _PWD.match(remote_pwd)):
            raise ProtocolError("ice-ufrag or ice-pwd malformed", rule="RFC 8839 5.4")
        loopback = ipaddress.ip_address(self.local[0]).is_loopback
        looked_at = itertools.islice(candidates, 4 * MAX_CANDIDATES)
        usable = [c for c in looked_at if is_usable(c, loopback=loopback)][:MAX_CANDIDATES]
        credentials = (remote_ufrag, remote_pwd)
        await self._agent.check(usable, credentials, lite=remote_lite, timeout=timeout)
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
        self._transmit = self._agent.first_sender(peer)
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
        await self._agent.close()

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
