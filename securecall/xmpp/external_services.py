"""STUN servers and relays that our server names, with passwords for an hour (XEP-0215)."""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element

from securecall.errors import ProtocolError
from securecall.secret import Secret
from securecall.transport.turn import TurnServer

EXTDISCO: Final = "urn:xmpp:extdisco:2"
SERVICES: Final = f"{{{EXTDISCO}}}services"
_SERVICE: Final = f"{{{EXTDISCO}}}service"
_RULE: Final = "XEP-0215 3"
_MAX_SERVICES: Final = 64
_MAX_TEXT: Final = 512  # characters of a user name or password
_HOST: Final = re.compile(r"(?!-)[A-Za-z0-9.-]{1,253}(?<!-)")
_PORTS: Final = {"stun": 3478, "turn": 3478, "stuns": 5349, "turns": 5349}
_MARGIN: Final = 60.0  # seconds before its end at which a password is not begun with any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One server beside our server.

    Attributes:
        type: stun, stuns, turn or turns; others are left out.
        host: Name or IP address.
        port: Its port.
        transport: "udp" or "tcp".
        username: For this service, "" where none was told.
        password: The same.
        restricted: It takes nobody without a password, which has to be asked for if it is missing.
        expires: Unix seconds until when the password holds, None where it was not said.
    """

    type: str
    host: str
    port: int
    transport: str
    username: str = ""
    password: Secret | None = field(default=None, repr=False)
    restricted: bool = False
    expires: float | None = None

    @property
    def needs_credentials(self) -> bool:
        """It is of no use without a password, and came without one."""
        wanted = self.restricted or self.type in ("turn", "turns")
        return wanted and (not self.username or self.password is None)

    def holds(self, unix: float) -> bool:
        """What was told of it can be used now."""
        return self.expires is None or self.expires - _MARGIN > unix


def build_services_request() -> Element:
    """Return the payload that asks our server for all its services."""
    return Element(SERVICES)


def parse_services(payload: Element | None) -> tuple[Service, ...]:
    """Read services; what we have no use for is left out.

    Raises:
        ProtocolError: it is no such answer, or lists more than anybody has.
    """
    if payload is None or payload.tag != SERVICES:
        raise ProtocolError("a list of external services was expected", rule=_RULE)
    children = payload.findall(_SERVICE)
    if len(children) > _MAX_SERVICES:
        raise ProtocolError(f"more than {_MAX_SERVICES} external services", rule=_RULE)
    return tuple(
        _service(child)
        for child in children
        if child.get("type") in _PORTS and child.get("action", "add") in ("add", "modify")
    )


def turn_servers(services: Iterable[Service], *, unix: float) -> tuple[TurnServer, ...]:
    """Return the relays a call can use now, those over UDP first.

    Args:
        services: As `parse_services` read them.
        unix: Unix seconds now.
    """
    found = [
        TurnServer(
            host=service.host,
            port=service.port,
            username=service.username,
            password=Secret(service.password.reveal()),
            transport=service.transport,
            tls=service.type == "turns",
        )
        for service in services
        if service.type in ("turn", "turns")
        and service.holds(unix)
        and service.username
        and service.password is not None
        # TURN over DTLS (RFC 7350) is nothing that our ICE speaks.
        and (service.type, service.transport) != ("turns", "udp")
    ]
    return tuple(sorted(found, key=lambda server: (server.transport != "udp", server.tls)))


def stun_servers(services: Iterable[Service], *, unix: float) -> tuple[tuple[str, int], ...]:
    """Return host and port of the servers that tell us our public address, over UDP."""
    return tuple(
        (service.host, service.port)
        for service in services
        if service.type == "stun"
        and service.transport == "udp"
        and service.holds(unix)
        and not service.needs_credentials
    )


def _service(child: Element) -> Service:
    kind = child.get("type", "")
    transport = child.get("transport", "tcp" if kind.endswith("s") else "udp").lower()
    username, password = child.get("username", ""), child.get("password", "")
    if transport not in ("udp", "tcp"):
        raise ProtocolError("an external service over an unknown transport", rule=_RULE)
    if len(username) > _MAX_TEXT or len(password) > _MAX_TEXT:
        raise ProtocolError("a user name or password longer than any", rule=_RULE)
    return Service(
        type=kind,
        host=_host(child.get("host", "")),
        port=_port(child.get("port"), _PORTS[kind]),
        transport=transport,
        username=username,
        password=Secret(password.encode()) if password else None,
        restricted=child.get("restricted") in ("true", "1"),
        expires=_expiry(child.get("expires")),
    )


def _host(text: str) -> str:
    bare = text.removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        if not _HOST.fullmatch(text):
            raise ProtocolError("an external service without a proper host", rule=_RULE) from None
        return text.lower()


def _port(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65536):
        raise ProtocolError("an external service at no port", rule=_RULE)
    return int(text)


def _expiry(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as e:
        raise ProtocolError("an expiry that is no date and time", rule="XEP-0082") from e
    if moment.tzinfo is None:  # XEP-0215 3: it is expressed in UTC
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.timestamp()
