"""Helpers of ICE that a server names: taken where they lie no nearer to us than that server does.

A server could otherwise have us knock at machines of our own network, which it cannot reach itself.
A name is looked up once, and what was checked is where we go.
"""

from __future__ import annotations

import asyncio
import enum
import ipaddress
from dataclasses import replace
from typing import Final

from securecall.errors import NetworkError
from securecall.logs import logger
from securecall.transport.https import resolved
from securecall.transport.server_identity import is_address
from securecall.transport.turn import MOST_RELAYS, IceHelpers, TurnServer
from securecall.transport.web_address import is_public

_LOOKUP_SECONDS: Final = 2.0

log = logger(__name__)


class Reach(enum.IntEnum):
    """From how far an address can be reached."""

    NOWHERE = 0
    MACHINE = 1
    LINK = 2
    PRIVATE = 3
    PUBLIC = 4


def reach(address: str) -> Reach:
    """From how far an IP address can be reached; one that holds another is judged by that."""
    if is_public(address):
        return Reach.PUBLIC
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_loopback:
        return Reach.MACHINE
    if ip.is_link_local:
        return Reach.LINK
    bad = ip.is_multicast or ip.is_unspecified or str(ip) == "255.255.255.255"
    return Reach.NOWHERE if bad else Reach.PRIVATE


async def helpers_of(helpers: IceHelpers, *, server: str) -> IceHelpers:
    """Those of a server's helpers that it may lead us to, each with the address to go to.

    Args:
        helpers: As it named them.
        server: Its own IP address; "" where that is not known, and counts as public.
    """
    least = reach(server) if server else Reach.PUBLIC
    named = helpers.turn[:MOST_RELAYS]
    hosts = {relay.host for relay in named} | ({helpers.stun[0]} if helpers.stun else set[str]())
    found = dict(await asyncio.gather(*(_found(host, least) for host in hosts)))
    stun = helpers.stun
    if stun is not None:
        address = found[stun[0]]
        stun = (address, stun[1]) if address else None
    relays = (replace(relay, address=found[relay.host]) for relay in named)
    return IceHelpers(turn=tuple(filter(_has_address, relays)), stun=stun)


def _has_address(relay: TurnServer) -> bool:
    return bool(relay.address)


async def _found(host: str, least: Reach) -> tuple[str, str]:
    """The host, and where it lies; "" where we do not go there."""
    try:
        async with asyncio.timeout(_LOOKUP_SECONDS):
            addresses = [host] if is_address(host) else await resolved(host)
    except (NetworkError, TimeoutError) as e:
        log.info("a relay that our server names is not found: %s", e)
        return host, ""
    for address in addresses:
        if reach(address) >= max(least, Reach.MACHINE):
            return host, address
    log.warning("our server names a relay in a network of ours, %s: it is not used", host)
    return host, ""
