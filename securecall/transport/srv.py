"""Which servers a domain names, and in what order to try them (RFC 3263, RFC 2782, XEP-0368).

Only TLS is ever chosen. A domain that offers UDP or plain TCP, too, is read as if it did not: what
DNS says is not signed, so it may choose the place and never the protection. The certificate is
always for the domain that was asked for, wherever the records lead.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, zip_longest
from typing import Final

from securecall.transport.endpoint import endpoint
from securecall.transport.server_identity import is_host

TLS_PORT: Final = 5061  # RFC 3261 19.1.2
XMPP_PORT: Final = 5222  # RFC 6120 14.7
XMPP_DIRECT_PORTS: Final = frozenset({5223, 443})  # where people expect TLS at once
MOST_RECORDS: Final = 32  # SRV or NAPTR records of one answer
MOST_ADDRESSES: Final = 8  # of one host
MOST_SERVICES: Final = 4  # NAPTR records that are followed
MOST_SERVERS: Final = 8  # SRV records whose addresses are looked up
MOST_TARGETS: Final = 32  # in all
# RFC 3263 4.1 and RFC 7118 8: SIPS is TLS. SIP+D2U, SIP+D2T, SIP+D2S and SIP+D2W are not here.
_SERVICES: Final = {"SIPS+D2T": "tls", "SIPS+D2W": "wss"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One place to try.

    Attributes:
        host: An IP address.
        port: TCP port.
        transport: "tls" or "wss"; for XMPP "tls" or "starttls".
        name: The host name the address came from, "" if none did.
    """

    host: str
    port: int
    transport: str
    name: str

    def __str__(self) -> str:
        where = endpoint(self.host, self.port)
        return f"{self.name} ({where})" if self.name else where


@dataclass(frozen=True, slots=True)
class Srv:
    """An SRV record (RFC 2782).

    Attributes:
        priority: Lower is tried first.
        weight: A share of the chance among equals.
        port: TCP port.
        host: A host name in lower case, without its last dot; "" denies that there is one.
    """

    priority: int
    weight: int
    port: int
    host: str


@dataclass(frozen=True, slots=True)
class Naptr:
    """A NAPTR record (RFC 3403 4.1), as far as SIP uses it.

    Attributes:
        order: Lower comes first.
        preference: Lower comes first among equal orders.
        flags: "s" leads to an SRV record.
        service: For instance "SIPS+D2T".
        regexp: SIP has no use for one.
        replacement: A domain name in lower case, without its last dot.
    """

    order: int
    preference: int
    flags: str
    service: str
    regexp: str
    replacement: str


@dataclass(frozen=True, slots=True)
class Lookup:
    """One question to DNS, and what came of it.

    Attributes:
        name: What was asked for.
        kind: "NAPTR", "SRV", "A", "AAAA", or "address" where the system was asked for addresses.
        answers: The records as text; none where there are none.
        failure: In words, "" where an answer came.
    """

    name: str
    kind: str
    answers: tuple[str, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """Where SRV records are looked for, and what they are then for."""

    name: str
    transport: str


def select_services(records: Iterable[Naptr]) -> tuple[Service, ...]:
    """The encrypted services among NAPTR records, the domain's favourite first (RFC 3263 4.1)."""
    found: dict[Service, None] = {}
    for record in sorted(records, key=lambda r: (r.order, r.preference)):
        transport = _SERVICES.get(record.service.upper())
        usable = record.flags.lower() == "s" and not record.regexp
        if transport and usable and is_host(record.replacement):
            found.setdefault(Service(record.replacement, transport))
    return tuple(found)[:MOST_SERVICES]


def default_service(domain: str) -> Service:
    """Where to look when no NAPTR record says (RFC 3263 4.1)."""
    return Service(f"_sips._tcp.{domain}", "tls")


def xmpp_services(domain: str) -> tuple[Service, ...]:
    """Where an XMPP domain says who serves its clients, the preferred way first (XEP-0368 3)."""
    return (
        Service(f"_xmpps-client._tcp.{domain}", "tls"),
        Service(f"_xmpp-client._tcp.{domain}", "starttls"),
    )


def not_offered(records: Sequence[Srv]) -> bool:
    """Whether the records say that there is no such service: all point to the root (RFC 2782)."""
    return bool(records) and not any(r.host for r in records)


def order_servers(records: Iterable[Srv], chances: Iterable[float]) -> tuple[Srv, ...]:
    """Order by priority, and among equals by lot, heavier ones earlier more often (RFC 2782).

    Args:
        records: As they came; what names no host or no port is left out.
        chances: At least as many as records, each at least 0 and below 1.
    """
    lot = iter(chances)
    usable = [r for r in records if is_host(r.host) and 0 < r.port < 65536]
    ordered: list[Srv] = []
    for priority in sorted({r.priority for r in usable}):
        # Weightless ones first: they are drawn only by a lot of exactly nothing.
        waiting = sorted((r for r in usable if r.priority == priority), key=lambda r: r.weight > 0)
        while waiting:
            ordered.append(waiting.pop(_drawn(waiting, next(lot))))
    return tuple(ordered)


def _drawn(waiting: Sequence[Srv], chance: float) -> int:
    totals = list(accumulate(record.weight for record in waiting))
    wanted = int(chance * (totals[-1] + 1))
    return next(index for index, total in enumerate(totals) if total >= wanted)


def alternate_families(addresses: Iterable[str]) -> tuple[str, ...]:
    """At most eight addresses, IPv6 and IPv4 in turn, beginning with the first's (RFC 8305 4).

    One family that leads nowhere then costs one attempt, not all of its addresses.
    """
    unique = tuple(dict.fromkeys(addresses))
    versions = [ipaddress.ip_address(a).version for a in unique]
    first = [a for a, v in zip(unique, versions, strict=True) if v == versions[0]]
    second = [a for a, v in zip(unique, versions, strict=True) if v != versions[0]]
    turns = zip_longest(first, second)
    return tuple(a for turn in turns for a in turn if a is not None)[:MOST_ADDRESSES]


def lay_out(
    servers: Iterable[tuple[Srv, str]], addresses: dict[str, tuple[str, ...]]
) -> tuple[Target, ...]:
    """One target for each address of each server, none twice, at most 32 (RFC 7984 4).

    Addresses of two servers never mix: the order of the SRV records stands above that of families.

    Args:
        servers: Each with its transport, in the order to try.
        addresses: Of each host, in the order to try.
    """
    return tuple(_places(servers, addresses))[:MOST_TARGETS]


def _places(
    servers: Iterable[tuple[Srv, str]], addresses: dict[str, tuple[str, ...]]
) -> Iterator[Target]:
    seen: set[tuple[str, int, str]] = set()
    for server, transport in servers:
        for host in addresses.get(server.host, ()):
            place = (host, server.port, transport)
            if place not in seen:
                seen.add(place)
                yield Target(host=host, port=server.port, transport=transport, name=server.host)
