"""One-time tickets: a call that is end-to-end authenticated without any account.

A ticket is "securecall:1:" and base64url of
    u8 count (1..8) | lp(uri).. | root_fp 64 | secret 32 | u64 expiry (Unix seconds)
with the URIs `tls:host:port`, `sip:` or `xmpp:`, to be tried in their order. Who holds it knows
whom it calls before it dials, and proves in the handshake that it was invited.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
import struct
from dataclasses import dataclass, field
from typing import Final, NoReturn

from securecall.address import Address, Scheme, parse_address
from securecall.errors import ProtocolError, TicketRefused, UsageError
from securecall.keys.encoding import (
    MAX_INTEGER,
    build_base64url,
    label,
    length_prefixed,
    parse_pasted,
    sha512,
)
from securecall.keys.identity import FINGERPRINT_SIZE
from securecall.secret import Secret

MAX_URIS: Final = 8
MAX_URI: Final = 512  # bytes
MAX_TEXT: Final = 8192  # characters, a link around it included
SECRET_SIZE: Final = 32
_PREFIX: Final = "securecall:1:"
_RULE: Final = "ticket"
_LABELS: Final = re.compile(
    r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class TicketTarget:
    """One way to reach the person who made the ticket.

    Attributes:
        address: The address to dial, and to hold the peer to.
        direct: Host and port of a machine to connect to, None to go through an account.
    """

    address: Address
    direct: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ticket:
    """An invitation to call one person.

    Attributes:
        uris: Where to call, in order.
        root_fp: Fingerprint of the callee's root key.
        secret: Proves the invitation, 32 bytes.
        expiry: Unix seconds of the last moment it is good.
    """

    uris: tuple[str, ...]
    root_fp: bytes = field(repr=False)
    secret: Secret = field(repr=False)
    expiry: int

    @property
    def id(self) -> str:
        """A name that is safe to log and store."""
        return ticket_id(self.secret)

    @property
    def targets(self) -> tuple[TicketTarget, ...]:
        """The ways to call, in order; a direct one is held to the callee's `key:` address."""
        return tuple(_target(uri, self.root_fp) for uri in self.uris)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError("a Ticket is never copied or serialised; build_ticket gives its text")


def generate_ticket_secret() -> Secret:
    """Draw the secret of a new ticket."""
    return Secret(os.urandom(SECRET_SIZE))


def ticket_id(secret: Secret) -> str:
    """Return the name of the ticket with this secret: 16 bytes of a hash, in hex."""
    return sha512(label("ticket-id") + secret.reveal())[:16].hex()


def require_host(host: str) -> None:
    """Refuse what no caller could connect to.

    Raises:
        UsageError: it is neither a name nor an IP address, or has a port.
    """
    try:
        _ = _host_port(f"[{host}]:1" if ":" in host else f"{host}:1")
    except ProtocolError:
        raise UsageError(
            f"{host[:80]!r} is no host to connect to: write a name or an IP address, and the port "
            "by itself"
        ) from None


def build_ticket(ticket: Ticket, *, link: str = "") -> str:
    """Return the ticket as text, or as a link whose fragment no server gets to see.

    Whoever reads the text can use it: show or send it, never log it.

    Raises:
        UsageError: the ticket breaks its own format.
    """
    if "#" in link or any(char.isspace() for char in link):
        raise UsageError("the link for a ticket must be without fragment and white space")
    if len(ticket.root_fp) != FINGERPRINT_SIZE or len(ticket.secret) != SECRET_SIZE:
        raise UsageError("a ticket holds a fingerprint of 64 and a secret of 32 bytes")
    if not 1 <= len(ticket.uris) <= MAX_URIS or not 0 <= ticket.expiry <= MAX_INTEGER:
        raise UsageError(f"a ticket holds 1 to {MAX_URIS} addresses and a time")
    try:
        for uri in ticket.uris:
            _target(uri, ticket.root_fp)
    except ProtocolError as e:
        raise UsageError(str(e)) from e
    data = b"".join(
        (
            bytes([len(ticket.uris)]),
            *(length_prefixed(uri.encode("utf-8")) for uri in ticket.uris),
            ticket.root_fp,
            ticket.secret.reveal(),
            struct.pack(">Q", ticket.expiry),
        )
    )
    text = _PREFIX + build_base64url(data)
    return f"{link}#{text}" if link else text


def parse_ticket(text: str, *, unix: int) -> Ticket:
    """Read a ticket, bare or as the fragment of a link.

    Args:
        text: From a QR code, a message, the command line.
        unix: Unix seconds now.

    Raises:
        ProtocolError: it is no ticket. The message never repeats the text.
        TicketRefused: its time is over.
    """
    if len(text) > MAX_TEXT:
        raise _refused("too long")
    text = text.strip()
    bare = text if text.startswith(_PREFIX) else text.partition("#")[2]
    if not bare.startswith(_PREFIX):
        raise _refused("it does not begin with securecall:1:")
    data = parse_pasted(bare.removeprefix(_PREFIX), rule=_RULE)
    uris, rest = _split_uris(data)
    if len(rest) != FINGERPRINT_SIZE + SECRET_SIZE + 8:
        raise _refused("wrong length")
    root_fp = rest[:FINGERPRINT_SIZE]
    for uri in uris:
        _target(uri, root_fp)
    expiry = int.from_bytes(rest[-8:], "big")
    if expiry > MAX_INTEGER:
        raise _refused("a time out of all bounds")
    if unix > expiry:
        raise TicketRefused("the time of this ticket is over; ask for a new one")
    secret = Secret(rest[FINGERPRINT_SIZE:-8])
    return Ticket(uris=uris, root_fp=root_fp, secret=secret, expiry=expiry)


def proof(secret: Secret, bind: bytes, role: int) -> bytes:
    """Return HMAC-SHA-512(secret, L("ticket") || bind || u8 role), 64 bytes.

    Args:
        secret: The ticket's.
        bind: Names the DTLS association, so that a proof is worth nothing on another one.
        role: Call role of the one who proves; only 1, the caller, ever does.
    """
    data = label("ticket") + bind + bytes([role])
    return hmac.new(secret.reveal(), data, hashlib.sha512).digest()


def _split_uris(data: bytes) -> tuple[tuple[str, ...], bytes]:
    if not data or not 1 <= data[0] <= MAX_URIS:
        raise _refused(f"it must hold 1 to {MAX_URIS} addresses")
    at = 1
    uris: list[str] = []
    for _ in range(data[0]):
        size = int.from_bytes(data[at : at + 4], "big")
        raw = data[at + 4 : at + 4 + size]
        if at + 4 > len(data) or len(raw) != size or not 0 < size <= MAX_URI:
            raise _refused("an address is cut off or too long")
        try:
            uris.append(raw.decode("utf-8"))
        except UnicodeDecodeError as e:
            raise _refused("an address that is not text") from e
        at += 4 + size
    if len(set(uris)) != len(uris):
        raise _refused("an address stands twice")
    return tuple(uris), data[at:]


def _target(uri: str, root_fp: bytes) -> TicketTarget:
    if uri.startswith("tls:"):
        return TicketTarget(Address(Scheme.KEY, root_fp.hex()), _host_port(uri[4:]))
    try:
        address = parse_address(uri)
    except ProtocolError as e:
        raise _refused("an address that is none") from e
    if address.scheme not in (Scheme.SIP, Scheme.XMPP) or str(address) != uri:
        raise _refused("an address that is not canonical sip: or xmpp:")
    return TicketTarget(address)


def _host_port(text: str) -> tuple[str, int]:
    host, colon, digits = text.rpartition(":")
    if not colon or not _PORT.fullmatch(digits) or int(digits) > 65535:
        raise _refused("a tls: address without port")
    try:
        if host.startswith("[") and host.endswith("]"):
            host = str(ipaddress.IPv6Address(host[1:-1]))
        elif host.replace(".", "").isdigit():
            host = str(ipaddress.IPv4Address(host))
        elif not _LABELS.fullmatch(host) or len(host) > 253:
            raise _refused("a tls: address without host")
    except ValueError as e:
        raise _refused("a tls: address without host") from e
    return host, int(digits)


def _refused(why: str) -> ProtocolError:
    return ProtocolError(f"this is not a ticket: {why}", rule=_RULE)
