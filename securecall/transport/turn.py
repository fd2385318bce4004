"""What others run to help ICE: relays (RFC 8656), and who tells our public address."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

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
        tls: Whether to speak TLS to it, with "tcp"; it has to prove `host`, name or address.
        authorities: PEM file of certificate authorities to trust instead of the system's.
    """

    host: str
    port: int
    username: str
    password: Secret = field(repr=False)
    transport: str = "udp"
    tls: bool = False
    authorities: Path | None = None


MOST_RELAYS: Final = 4
"""Relays that one call asks for a place; further ones are left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IceHelpers:
    """What a call may use to find a path.

    Attributes:
        turn: Relays, the best first. All are asked at once, since a network may let through to one
            by TLS alone, and says nothing of the others.
        stun: Host and port of who tells our public address, None for nobody.
    """

    turn: tuple[TurnServer, ...] = ()
    stun: tuple[str, int] | None = None


async def no_helpers() -> IceHelpers:
    """For whoever has none."""
    return IceHelpers()
