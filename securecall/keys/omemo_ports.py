"""What OMEMO needs from outside: a place to keep keys, and somebody to ask the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from securecall.keys.omemo_values import Bundle, Sealed

Place = tuple[str, str, int]  # namespace, bare JID, device id


class RatchetStore(Protocol):
    """Where keys and sessions are kept; secret, sealed, on this device only."""

    def load(self, key: str) -> bytes | None:
        """What is kept under a name, including what the open transaction changed."""
        ...

    def save(self, changes: Mapping[str, bytes | None]) -> None:
        """Keep all of it or, raising, nothing; None deletes.

        Inside a transaction of the caller this becomes part of it; outside one it is durable on
        return.
        """
        ...


class Directory(Protocol):
    """What the server is asked for: PEP nodes, and messages without content."""

    async def fetch_devices(self, namespace: str, jid: str) -> Mapping[int, str]:
        """Device id -> label; empty where there is no list. Raises NetworkError, ProtocolError."""
        ...

    async def fetch_bundle(self, namespace: str, jid: str, device_id: int) -> Bundle:
        """The keys of a device. Raises NetworkError, ProtocolError (also: there are none)."""
        ...

    async def publish_devices(self, namespace: str, devices: Mapping[int, str]) -> None:
        """Replace our own list. Raises NetworkError."""
        ...

    async def publish_bundle(self, bundle: Bundle) -> None:
        """Replace our own keys. Raises NetworkError."""
        ...

    async def send(self, sealed: Sealed, jid: str) -> None:
        """Send a message that carries nothing but keys, behind all that was sealed before it.

        Raises NetworkError, LocalError.
        """
        ...
