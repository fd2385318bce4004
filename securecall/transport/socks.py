"""What is said to a SOCKS5 proxy before it connects somewhere for us (RFC 1928), without I/O."""

from __future__ import annotations

import ipaddress
from typing import Final

from securecall.errors import ConnectFailed, ProtocolError

GREETING: Final = b"\x05\x01\x00"
"""Version 5, one way to log in: none."""

GREETED: Final = 2
"""Bytes of the answer to the greeting."""

REPLY: Final = 5
"""Bytes of the reply to `build_connect` that tell how many follow."""

_V4, _NAME, _V6 = 1, 3, 4
_FAILURES: Final = {
    1: "it failed",
    2: "its rules forbid it",
    3: "the network cannot be reached",
    4: "the host cannot be reached",
    5: "the connection was refused",
    6: "it took too long",
    7: "it does not connect to others",
    8: "it does not know such addresses",
}


def require_greeted(answer: bytes) -> None:
    """Refuse a proxy that wants a password, or is none.

    Raises:
        ConnectFailed: it wants one.
        ProtocolError: it is none.
    """
    if answer[:1] != b"\x05":
        raise ProtocolError("not a SOCKS5 proxy", rule="RFC 1928 3")
    if answer[1:] != b"\x00":
        raise ConnectFailed("the proxy asks for a login, which is not supported")


def build_connect(host: str, port: int) -> bytes:
    """Ask for a connection; the proxy looks the name up, so that nobody here hears it."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        address = bytes([_NAME, len(name)]) + name
    else:
        address = bytes([_V4 if ip.version == 4 else _V6]) + ip.packed
    return b"\x05\x01\x00" + address + port.to_bytes(2, "big")


def parse_reply(reply: bytes) -> int:
    """Return how many bytes follow these five before the connection begins.

    Raises:
        ConnectFailed: the proxy did not get there.
        ProtocolError: that is no reply.
    """
    if len(reply) != REPLY or reply[0] != 5:
        raise ProtocolError("not a reply of a SOCKS5 proxy", rule="RFC 1928 6")
    if reply[1]:
        why = _FAILURES.get(reply[1], "it does not say why")
        raise ConnectFailed(f"the proxy did not connect: {why}")
    lengths = {_V4: 4, _NAME: 1 + reply[4], _V6: 16}
    if reply[3] not in lengths:
        raise ProtocolError("a reply with an unknown address", rule="RFC 1928 6")
    return lengths[reply[3]] + 2 - 1
