"""Host and port as one text, an IPv6 address in brackets (RFC 3986 3.2.2)."""

from __future__ import annotations


def endpoint(host: str, port: int) -> str:
    """Write "host:port"."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_of(text: str) -> str:
    """The host of what `endpoint` wrote, "" where it is empty."""
    return text.rpartition(":")[0].strip("[]")
