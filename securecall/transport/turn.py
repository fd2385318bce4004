"""A relay for media, and what it asks for (RFC 8656)."""

from __future__ import annotations

from dataclasses import dataclass, field

from securecall.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnServer:
    """A relay and what it asks for.

    Attributes:
        host: Name or address of the server.
        port: Its port.
        username: The user the relay knows.
        password: The user's password.
        transport: "udp" or "tcp".
        tls: Whether to speak TLS to it, with "tcp".
    """

    host: str
    port: int
    username: str
    password: Secret = field(repr=False)
    transport: str = "udp"
    tls: bool = False
