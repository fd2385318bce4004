"""What others run to help ICE: relays (RFC 8656), and who tells our public address."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from securecall.errors import UsageError
from securecall.secret import Secret, require_secret

_URI: Final = re.compile(
    r"(turns?):(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::(\d{1,5}))?(?:\?transport=(udp|tcp))?"
)


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
        address: Where `host` was found to lie, an IP address; "" has it looked up.
    """

    host: str
    port: int
    username: str
    password: Secret = field(repr=False)
    transport: str = "udp"
    tls: bool = False
    authorities: Path | None = None
    address: str = ""

    def __post_init__(self) -> None:
        """Refuse a password that is no secret."""
        require_secret(self.password)


def parse_turn_uri(text: str) -> tuple[str, int, str, bool]:
    """Read a relay's URI (RFC 7065): host, port, "udp" or "tcp", and whether TLS is spoken.

    Raises:
        UsageError: it is none, or of TURN over DTLS, which is not spoken here.
    """
    found = _URI.fullmatch(text)
    if found is None:
        raise UsageError("write turn:HOST[:PORT][?transport=tcp] or turns:HOST[:PORT]")
    tls = found[1] == "turns"
    transport = found[4] or ("tcp" if tls else "udp")
    port = int(found[3] or (5349 if tls else 3478))
    if not 0 < port < 65536 or (tls and transport == "udp"):
        raise UsageError(f"no relay can be asked at {text[:80]!r}")
    return found[2].strip("[]"), port, transport, tls


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
