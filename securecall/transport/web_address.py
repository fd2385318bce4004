"""An https address (RFC 9110 4.2.2) as somebody else may have chosen it, in one strict form."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from securecall.errors import NameNotFound, ProtocolError
from securecall.transport.server_identity import canonical_host, is_address

MOST: Final = 2048
"""Characters of a whole address."""

PORT: Final = 443
_RULE: Final = "RFC 9110 4.2.2"
_SHAPE: Final = re.compile(r"https://([^/?#]+)([^#]*)", re.IGNORECASE)
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@]+)(?::([0-9]{1,5}))?")
# RFC 3986 3.3 and 3.4; "%" only as the beginning of an encoded octet
_TARGET: Final = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?")
_NUMBER: Final = re.compile("[0-9]+|0x[0-9a-f]*")
_ASCII: Final = "".join(map(chr, range(128)))
_UNICAST: Final = ipaddress.ip_network("2000::/3")  # RFC 4291 2.4
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebAddress:
    """Where something lies on the web, behind TLS.

    Attributes:
        host: A name in A-labels, or an IP address without brackets.
        port: TCP port.
        target: Path and query, as the request has them; never in a log: it is what keeps others
            from fetching the file.
    """

    host: str
    port: int = PORT
    target: str = field(default="/", repr=False)

    def __str__(self) -> str:
        return f"https://{self.authority}{self.target}"

    @property
    def authority(self) -> str:
        """Host and port, as the Host field has them (RFC 9110 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORT else f"{host}:{self.port}"


def parse_web_address(text: str) -> WebAddress:
    """Read an https address.

    Characters beyond ASCII in path and query are percent-encoded.

    Raises:
        ProtocolError: another scheme, a user, a fragment, or nothing that is an address.
    """
    if len(text) > MOST:
        raise ProtocolError("an address of more than 2048 characters", rule=_RULE)
    found = _SHAPE.fullmatch(text)
    if found is None:
        raise ProtocolError("not an https address without a fragment", rule=_RULE)
    authority = _AUTHORITY.fullmatch(found[1])
    if authority is None:
        raise ProtocolError("an address whose server is not host or host:port", rule=_RULE)
    port = int(authority[2] or PORT)
    if not 0 < port < 65536:
        raise ProtocolError("an address with an impossible port", rule=_RULE)
    target = found[2]
    if not target.startswith("/"):
        target = f"/{target}"
    try:
        target = quote(target, safe=_ASCII)
    except UnicodeError as e:
        raise ProtocolError("an address that is not text", rule=_RULE) from e
    if not _TARGET.fullmatch(target):
        raise ProtocolError("an address with characters that have no place there", rule=_RULE)
    return WebAddress(host=_host(authority[1]), port=port, target=target)


def _host(text: str) -> str:
    try:
        host = canonical_host(text)
    except NameNotFound as e:
        raise ProtocolError("an address whose server has no host name", rule=_RULE) from e
    if "%" in host or (not is_address(host) and _NUMBER.fullmatch(host.rpartition(".")[2])):
        # "127.1", "2130706433" and "0x7f000001" are read as IPv4 addresses by some resolvers
        raise ProtocolError("an address whose server is a number", rule="RFC 3986 7.4")
    return host


def is_public(address: str) -> bool:
    """Whether an IP address can be one of the public Internet, and no machine of a private network.

    Addresses that hold an IPv4 address are judged by that.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False  # one with a zone: link-local
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip.teredo is not None:
            return False
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip not in _UNICAST:
            return False  # outside, there are older ways to hold an IPv4 address
    return ip.is_global and not ip.is_multicast
