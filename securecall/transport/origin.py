"""What one caller cannot have many of: the name under which its connections are counted."""

from __future__ import annotations

import ipaddress


def origin_of(host: str) -> str:
    """Name what one caller cannot have many of: an IPv4 address, or an IPv6 network of 64 bits.

    Loopback has no name: whoever connects from there is this machine, perhaps a proxy on it that
    speaks for many.
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)
