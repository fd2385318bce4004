"""coturn as a child process: a TURN and STUN server over UDP, TCP and TLS."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from securecall.secret import Secret
from securecall.testing.daemon import (
    Daemon,
    Launch,
    copied,
    escaped,
    free_port,
    program,
    write_private,
)
from securecall.transport.tls import PemPair
from securecall.transport.turn import TurnServer

REALM: Final = "relay.test"
_CREDENTIAL_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOptions:
    """How a coturn is set up.

    Attributes:
        secret: Shared with whoever makes credentials (the REST way); None where there are `users`.
        users: Name -> password, the long-term way.
        hosts: Addresses of this machine to listen on beside 127.0.0.1.
        relay: The address that media is relayed at.
        also: A second one, of the other family.
        peers_on_loopback: Relay to this machine, which nobody in production should.
    """

    secret: Secret | None = field(default=None, repr=False)
    users: Mapping[str, Secret] = field(default_factory=dict[str, Secret], repr=False)
    hosts: Sequence[str] = ()
    relay: str = "127.0.0.1"
    also: str = ""
    peers_on_loopback: bool = True


async def start_coturn(folder: Path, certificate: PemPair, options: RelayOptions) -> Daemon:
    """Start coturn; its ports are "turn" (UDP, TCP and STUN) and "turns" (TLS).

    Raises:
        LocalError: it is not installed, or does not start.
    """
    path = program("turnserver", "coturn")
    own = await asyncio.to_thread(_prepared, folder, certificate)
    ports = {"turn": free_port(), "turns": free_port()}
    lines = [f"listening-ip={host}" for host in dict.fromkeys(("127.0.0.1", *options.hosts))]
    lines += [
        *(f"relay-ip={host}" for host in (options.relay, options.also) if host),
        f"listening-port={ports['turn']}",
        f"tls-listening-port={ports['turns']}",
        f"realm={REALM}",
        f"cert={own.certificate}",
        f"pkey={own.key}",
        f"userdb={folder / 'turndb'}",
        f"pidfile={folder / 'coturn.pid'}",
        *_FIXED,
    ]
    if options.peers_on_loopback:
        lines.append("allow-loopback-peers")
    if options.secret is not None:
        lines += ["use-auth-secret", f"static-auth-secret={escaped(options.secret)}"]
    else:
        lines.append("lt-cred-mech")
        lines += [f"user={name}:{escaped(word)}" for name, word in options.users.items()]
    write_private(folder / "turnserver.conf", "\n".join(lines) + "\n")
    command: list[str | Path] = [path, "-c", folder / "turnserver.conf", "--relay-threads=1"]
    return await Daemon.start("coturn", Launch(command=command, folder=folder, ports=ports))


def _prepared(folder: Path, certificate: PemPair) -> PemPair:
    folder.mkdir(parents=True, exist_ok=True)
    return copied(certificate, folder)


def rest_user(secret: Secret, name: str, *, expires: float | None = None) -> tuple[str, Secret]:
    """Make user name and password of the REST way (draft-uberti-behave-turn-rest-00 2.2).

    Args:
        secret: Shared with the relay.
        name: For whom.
        expires: Unix seconds until when they hold; None for an hour.
    """
    end = time.time() + _CREDENTIAL_SECONDS if expires is None else expires
    user = f"{end:.0f}:{name}"
    digest = hmac.new(secret.reveal(), user.encode(), hashlib.sha1).digest()
    return user, Secret(base64.b64encode(digest))


def relays_of(
    daemon: Daemon, host: str, user: str, password: Secret, authorities: Path
) -> dict[str, TurnServer]:
    """Return the three ways to a running coturn: "udp", "tcp" and "tls"."""
    ways = {"udp": ("turn", "udp"), "tcp": ("turn", "tcp"), "tls": ("turns", "tcp")}
    return {
        way: TurnServer(
            host=host,
            port=daemon.ports[port],
            username=user,
            password=Secret(password.reveal()),
            transport=transport,
            tls=way == "tls",
            authorities=authorities,
        )
        for way, (port, transport) in ways.items()
    }


_FIXED: Final = (
    "fingerprint",
    "no-tlsv1",
    "no-tlsv1_1",
    "no-cli",
    "no-multicast-peers",
    "no-rfc5780",
    "no-stun-backward-compatibility",
    "no-software-attribute",
    "log-file=stdout",
    "simple-log",
    "verbose",
)
