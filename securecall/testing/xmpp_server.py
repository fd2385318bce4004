"""What the XMPP servers of tests share: what can be asked of them, and when one is ready."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from securecall.secret import Secret
from securecall.testing.daemon import free_port

_HOST: Final = "127.0.0.1"
_GREETING_SECONDS: Final = 2.0
_MAX_GREETING: Final = 65536


@dataclass(frozen=True, slots=True)
class Turn:
    """A TURN server that takes credentials made from a shared secret (XEP-0215)."""

    host: str
    port: int
    secret: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class XmppOptions:
    """How an XMPP server differs from the ordinary.

    Attributes:
        ports: By purpose: "xmpp" (STARTTLS), "xmpps" (direct TLS), "https" (files). One that is
            not named is any free port.
        scram: What is offered to prove a password by. Some clients know SHA-1 only; for "both" the
            server keeps passwords as they are.
        resumption_seconds: How long a lost stream can be resumed (XEP-0198); 0: at once no more.
        turn: Told to who asks; None for no such service.
        bytes_per_second: A client that sends faster is slowed down; 0 for no limit.
        upload_bytes: The longest file it takes.
        web_host: In the addresses of files; the certificate has to prove it.
        archive_database: Prosody keeps its archives in SQLite: its own files end at 10,000 messages
            of a person, and each further one rewrites them all.
        websocket: Prosody takes streams at /xmpp-websocket of "https", too (RFC 7395).
    """

    ports: Mapping[str, int] = field(default_factory=dict)
    scram: Literal["SHA-256", "SHA-1", "both"] = "SHA-256"
    resumption_seconds: int = 300
    turn: Turn | None = None
    bytes_per_second: int = 0
    upload_bytes: int = 10 * 1024 * 1024
    web_host: str = _HOST
    archive_database: bool = False
    websocket: bool = False

    def listening(self) -> dict[str, int]:
        """Choose the ports."""
        return {name: self.ports.get(name) or free_port() for name in ("xmpp", "xmpps", "https")}


async def greets(port: int, domain: str) -> bool:
    """Ask for a stream: does it tell its features (RFC 6120 4.3.2)?"""
    opening = (
        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
        f" to='{domain}' version='1.0'>"
    )
    heard = b""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_GREETING_SECONDS):
            reader, writer = await asyncio.open_connection(_HOST, port)
            try:
                writer.write(opening.encode())
                while b"</stream:features>" not in heard and len(heard) < _MAX_GREETING:
                    data = await reader.read(4096)
                    if not data:
                        break
                    heard += data
            finally:
                writer.close()
    return b"</stream:features>" in heard
