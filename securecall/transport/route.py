"""Which addresses of this machine face others, by the routing table; nothing is sent."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

ELSEWHERE = "192.0.2.1"
"""An address of nobody (RFC 5737): asking for the way to it gives the default way out."""

ELSEWHERE_6 = "2001:db8::1"
"""The same of IPv6 (RFC 3849)."""


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine itself, for certain."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"  # any other name leads where its owner likes


async def own_host_towards(remote: str) -> str:
    """Return our own address on the way to a remote host; loopback where no way leads there.

    Args:
        remote: A name or an address, "" for anywhere.
    """
    host = remote or ELSEWHERE
    try:
        try:  # an address needs no resolver, and so no thread
            found = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"


def is_ours(address: str) -> bool:
    """Tell whether this machine has an address at this moment."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except (OSError, ValueError):
        return False
    return True


async def own_hosts(remote: str) -> tuple[str, ...]:
    """Return our own addresses for a call: on the ways to a host, and out by IPv6 and by IPv4.

    No others, so that nobody learns of a virtual private network beside them (RFC 8828 5.2, mode
    2). IPv6 comes first (RFC 8421 4). Loopback alone where the host is this machine, or where no
    way leads anywhere.

    Args:
        remote: A name or an address, "" for anywhere.
    """
    if is_loopback(remote):
        return (await own_host_towards(remote),)
    found = [await own_host_towards(place) for place in (ELSEWHERE_6, remote, ELSEWHERE)]
    away = tuple(dict.fromkeys(host for host in found if not is_loopback(host)))
    return away or ("127.0.0.1",)
