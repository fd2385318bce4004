"""Which address of this machine faces another, by the routing table; nothing is sent."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

ELSEWHERE = "192.0.2.1"
"""An address of nobody (RFC 5737): asking for the way to it gives the default way out."""


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
