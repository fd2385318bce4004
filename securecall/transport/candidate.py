"""ICE candidates (RFC 8445 5.1), and which of a peer's may be checked; no name is resolved."""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass, field
from typing import Final

MAX_CANDIDATES: Final = 64
"""Remote candidates that are looked at; further ones are ignored."""

_NOWHERE: Final = {4: "0.0.0.0", 6: "::"}  # noqa: S104 (an address that says nothing, not a bind)


class CandidateKind(enum.StrEnum):
    """How a candidate's address was found (RFC 8445 5.1.1)."""

    HOST = "host"
    SERVER_REFLEXIVE = "srflx"
    PEER_REFLEXIVE = "prflx"
    RELAYED = "relay"


_PREFERENCES: Final[dict[str, int]] = {
    CandidateKind.HOST: 126,
    CandidateKind.PEER_REFLEXIVE: 110,
    CandidateKind.SERVER_REFLEXIVE: 100,
    CandidateKind.RELAYED: 0,
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One address at which an agent may be reached.

    Attributes:
        foundation: 1 to 32 ice-chars, equal for candidates that fare alike.
        component: 1 to 256; 1 where RTP and RTCP share a port.
        transport: In lower case; only "udp" is used.
        priority: 1 to 2**31 - 1.
        host: An IPv4 or IPv6 address, or a host name, which is never resolved.
        port: 0 to 65535.
        type: How the address was found; a value of `CandidateKind`.
        related_address: The address it derives from; None on host candidates.
        related_port: The port belonging to it.
    """

    foundation: str
    component: int
    transport: str
    priority: int
    host: str
    port: int
    type: str
    related_address: str | None = None
    related_port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalIce:
    """What a description says of one generation of ours: the first, or one after a restart.

    Attributes:
        ufrag, pwd: Its credentials.
        candidates: Where we can be reached.
        complete: There will be no more.
    """

    ufrag: str
    pwd: str = field(repr=False)
    candidates: tuple[Candidate, ...]
    complete: bool = True

    @property
    def default(self) -> tuple[str, int]:
        """Where media goes without ICE; by IPv4 where there is any, as more peers have it."""
        ours = next((c for c in self.candidates if ":" not in c.host), self.candidates[0])
        return ours.host, ours.port


def is_usable(candidate: Candidate, *, loopback: bool) -> bool:
    """Tell whether checks may be sent there: numeric, UDP, component 1, a real unicast address.

    Args:
        candidate: A remote candidate; names are never usable, mDNS ones neither.
        loopback: Whether this machine's own addresses count: only where we offered one such.
    """
    if candidate.transport.lower() != "udp" or candidate.component != 1:
        return False
    if not 0 < candidate.port < 65536 or candidate.type not in _PREFERENCES:
        return False
    return is_unicast(candidate.host, loopback=loopback)


def is_unicast(host: str, *, loopback: bool) -> bool:
    """Tell whether a host is the numeric address of one machine that datagrams may be sent to."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped or address.scope_id):
        return False
    return not (
        address.is_unspecified
        or address.is_multicast
        or str(address) == "255.255.255.255"
        or (address.is_loopback and not loopback)
    )


def candidate_priority(kind: CandidateKind, preference: int) -> int:
    """Return the recommended priority for component 1 (RFC 8445 5.1.2.1).

    Args:
        kind: How the address was found.
        preference: 0 to 65535, higher is better.
    """
    return _PREFERENCES[kind] << 24 | preference << 8 | 255


class Foundations:
    """Numbers candidates' origins 1, 2, 3 in the order they are met.

    A hash of the private address, as aioice makes it, gives that address to anybody who tries all
    private addresses.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[CandidateKind, str, str], str] = {}

    def of(self, kind: CandidateKind, base: str, server: str = "") -> str:
        """Return the foundation of candidates of this kind, base address and server."""
        return self._known.setdefault((kind, base, server), str(len(self._known) + 1))


def hidden_related(host: str) -> tuple[str, int]:
    """Return the related address that says nothing (RFC 8839 5.1): ours is nobody's business."""
    return _NOWHERE[ipaddress.ip_address(host).version], 9
