"""ICE candidates and the lines that carry them (RFC 8839 5.1), without resolving any name."""

from __future__ import annotations

import enum
import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Protocol

from securecall.errors import ProtocolError, UsageError

MAX_CANDIDATES: Final = 64
"""Remote candidates that are looked at; further ones are ignored."""

MAX_LINE: Final = 512
"""Longest candidate line in characters."""

_RULE: Final = "RFC 8839 5.1"
_FOUNDATION: Final = re.compile(r"[A-Za-z0-9+/]{1,32}\Z")
_DIGITS: Final = re.compile(r"[0-9]{1,10}\Z")
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


class CandidateLike(Protocol):
    """What a candidate has to tell; the media description's own type fits."""

    @property
    def foundation(self) -> str:
        """See `Candidate`."""
        ...

    @property
    def component(self) -> int:
        """See `Candidate`."""
        ...

    @property
    def transport(self) -> str:
        """See `Candidate`."""
        ...

    @property
    def priority(self) -> int:
        """See `Candidate`."""
        ...

    @property
    def host(self) -> str:
        """See `Candidate`."""
        ...

    @property
    def port(self) -> int:
        """See `Candidate`."""
        ...

    @property
    def type(self) -> str:
        """See `Candidate`."""
        ...


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


def is_usable(candidate: CandidateLike, *, loopback: bool) -> bool:
    """Tell whether checks may be sent there: numeric, UDP, component 1, a real unicast address.

    Args:
        candidate: A remote candidate; names are never usable, mDNS ones neither.
        loopback: Whether this machine's own addresses count: only where we offered one such.
    """
    if candidate.transport.lower() != "udp" or candidate.component != 1:
        return False
    if not 0 < candidate.port < 65536 or candidate.type not in _PREFERENCES:
        return False
    try:
        address = ipaddress.ip_address(candidate.host)
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


def parse_candidate(line: str) -> Candidate:
    """Parse the value of `a=candidate:`, with or without its "candidate:".

    Extensions behind the related address are checked for their form and left out.

    Raises:
        ProtocolError: it does not follow the grammar, or a number is out of range.
    """
    if len(line) > MAX_LINE:
        raise ProtocolError("candidate line too long", rule=_RULE)
    words = line.removeprefix("candidate:").split(" ")
    if len(words) < 8 or len(words) % 2 or not all(words) or words[6] != "typ":
        raise ProtocolError("candidate line without its eight fields in pairs", rule=_RULE)
    if not _FOUNDATION.match(words[0]):
        raise ProtocolError("candidate foundation is not 1 to 32 ice-chars", rule=_RULE)
    if words[7] not in _PREFERENCES:
        raise ProtocolError("unknown candidate type", rule=_RULE)
    related_address, related_port = _related(words[8:])
    return Candidate(
        words[0],
        _number(words[1], 1, 256),
        words[2].lower(),
        _number(words[3], 1, 2**31 - 1),
        words[4],
        _number(words[5], 0, 65535),
        words[7],
        related_address,
        related_port,
    )


def build_candidate(candidate: Candidate) -> str:
    """Return the value of `a=candidate:`; the inverse of `parse_candidate`.

    Raises:
        UsageError: a field would break the line.
    """
    words = [
        candidate.foundation,
        str(candidate.component),
        candidate.transport,
        str(candidate.priority),
        candidate.host,
        str(candidate.port),
        "typ",
        candidate.type,
    ]
    if candidate.related_address is not None:
        words += ["raddr", candidate.related_address, "rport", str(candidate.related_port or 0)]
    for word in words:
        if not word or not word.isascii() or not word.isprintable() or " " in word:
            raise UsageError(f"{word!r} cannot stand in a candidate line")
    return " ".join(words)


def hidden_related(host: str) -> tuple[str, int]:
    """Return the related address that says nothing (RFC 8839 5.1): ours is nobody's business."""
    return _NOWHERE[ipaddress.ip_address(host).version], 9


def _related(words: list[str]) -> tuple[str | None, int | None]:
    """Return raddr and rport, which stand before any extension where they stand at all."""
    if not words or words[0] != "raddr":
        return None, None
    if len(words) < 4 or words[2] != "rport":
        raise ProtocolError("raddr without rport", rule=_RULE)
    return words[1], _number(words[3], 0, 65535)


def _number(word: str, low: int, high: int) -> int:
    if not _DIGITS.match(word) or not low <= int(word) <= high:
        raise ProtocolError(f"a number in a candidate line is not {low} to {high}", rule=_RULE)
    return int(word)
