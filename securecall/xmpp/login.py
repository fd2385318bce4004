"""Whose account is signed in to, where, and how far that got."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path

from securecall.address import Address, Scheme
from securecall.errors import UsageError
from securecall.secret import Secret


class SessionState(enum.StrEnum):
    """Where a session stands; stable names for programs."""

    CONNECTING = "connecting"  # nothing is known yet, or it was lost and is tried again
    ONLINE = "online"
    REFUSED = "refused"  # for good: a person has to act
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class XmppLogin:
    """Whose account, where, and how its server proves itself.

    Attributes:
        address: xmpp:user@domain.
        password: Leaves this machine in no form but SCRAM's.
        server: "host:port" or (host, port) in place of what DNS says of the domain.
        direct: Whether `server` speaks TLS at once; None if its port says so (5222, 5223, 443), or
            both are to be tried.
        server_name: What the certificate must prove, "" for the domain.
        authorities: A PEM file of trusted roots in place of the system's.
        resource: Names this connection to others, "" for a random one.
        least: The weakest SCRAM mechanism to take, "" for any: what `Session.mechanism` was before.
    """

    address: Address
    password: Secret = field(repr=False)
    server: str | tuple[str, int] | None = None
    direct: bool | None = None
    server_name: str = ""
    authorities: Path | None = None
    resource: str = ""
    least: str = ""

    def __post_init__(self) -> None:
        if self.address.scheme is not Scheme.XMPP:
            raise UsageError(f"{self.address} is not an XMPP address")

    @property
    def bare(self) -> str:
        """The account's JID."""
        return f"{self.address.user}@{self.address.host}"


def parse_server(server: str | tuple[str, int]) -> tuple[str, int]:
    """Host and port, 0 for none; an IPv6 address that has a port stands in brackets."""
    if not isinstance(server, str):
        return server
    host, colon, port = server.rpartition(":")
    if not colon or (":" in host.partition("]")[0].strip("[") and not host.startswith("[")):
        return server, 0
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        return server, 0
    return host.removeprefix("[").removesuffix("]"), int(port)


def prepared(jid: str) -> str:
    """A JID as two can be compared: all but the resource is the same in capitals (RFC 7622 3)."""
    bare, slash, resource = jid.partition("/")
    return bare.casefold() + slash + resource
