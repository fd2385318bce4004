"""Addresses of people as the URIs of SIP, and back."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from securecall.address import ANONYMOUS, Address, Scheme, parse_address
from securecall.errors import ProtocolError, UsageError
from securecall.sip.grammar import NameAddr, Uri

# To and Request-URI of a direct call: the connection already is the peer, so nothing is named.
DIRECT_URI: Final = "sip:key@direct.invalid"


def claimed_address(addr: NameAddr) -> Address:
    """Read From as a person's address; IP hosts, ports and other schemes make ANONYMOUS."""
    uri = addr.uri
    if is_telephone(uri):
        return _number(uri)
    if uri.scheme not in ("sip", "sips") or uri.port or not uri.user:
        return ANONYMOUS
    try:
        return parse_address(f"sip:{uri.user}@{uri.host}")
    except ProtocolError:
        return ANONYMOUS


def is_telephone(uri: Uri) -> bool:
    """Whether it is a number of the telephone network (RFC 3966, RFC 3261 19.1.6)."""
    return uri.scheme == "tel" or uri.param("user") == "phone"


def _number(uri: Uri) -> Address:
    """A global number; any other stands for nobody elsewhere."""
    text = uri.text.partition(":")[2].partition(";")[0] if uri.scheme == "tel" else uri.user
    try:
        return parse_address(f"tel:{unquote(text)}")
    except ProtocolError:
        return ANONYMOUS


def uri_of(address: Address, server: str = "") -> str:
    """Write an address as what a request names.

    Args:
        address: Somebody's, or ours.
        server: Takes calls to telephone numbers, "" for none.

    Raises:
        UsageError: SIP cannot name it.
    """
    if address.scheme is Scheme.SIP:
        return str(address)
    if address.scheme is Scheme.TEL and server:
        return f"sip:{address.user}@{server};user=phone"
    if address.scheme is Scheme.KEY:
        return DIRECT_URI
    raise UsageError(f"{address.short} cannot be called over SIP")
