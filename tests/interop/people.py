"""Our own clients, signed in at the switch, and what a call of theirs has to show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import securecall as sc
from securecall.transport.tls import PemPair
from tests.interop.authority import DOMAIN
from tests.interop.switch import Switch

PASSPHRASE = sc.Secret("correct horse battery staple")
HEARD_SECONDS = 1.5


def sip(name: str) -> str:
    """The address of somebody at the switch."""
    return f"sip:{name}@{DOMAIN}"


@asynccontextmanager
async def signed_in(
    name: str, switch: Switch, folder: Path, *, policy: sc.Policy | None = None
) -> AsyncIterator[sc.Client]:
    """Open somebody's client at the place the switch knows, trusting its authority."""
    certificates = switch.certificates
    async with sc.open(folder / name, passphrase=PASSPHRASE, create=True, policy=policy) as client:
        await client.sign_in(
            sip=sip(name),
            server=("127.0.0.1", switch.tls),
            authorities=certificates.authority,
            listen=("127.0.0.1", switch.places[name]),
            certificate=PemPair(certificate=certificates.chain, key=certificates.key),
        )
        yield client


async def hear(call: sc.Call, path: Path, *, seconds: float = HEARD_SECONDS) -> None:
    """Record what the peer says until there is so much of it."""
    recorder = call.record(path)
    async with asyncio.timeout(8.0):
        async for _ in call.audio:
            if recorder.seconds >= seconds:
                return


def require_no_media(call: sc.Call) -> None:
    """No packet of sound was sent, and none that came was opened."""
    statistics = call.statistics()
    assert statistics is None or (statistics.packets_sent, statistics.received_seconds) == (0, 0.0)
    assert call.security.level <= sc.HOP_BY_HOP
    assert call.report.media_seconds == (0.0, 0.0)
