"""Our own clients, at the switch or as subscribers, and what a call of theirs has to show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import securecall as sc
from securecall.events import CallEnded
from securecall.transport.tls import PemPair
from tests.interop.authority import DOMAIN
from tests.interop.kamailio import PASSWORDS, Kamailio
from tests.interop.sound import tone_seconds
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


@asynccontextmanager
async def subscriber(
    name: str,
    registrar: Kamailio,
    folder: Path,
    *,
    password: str | None = None,
    policy: sc.Policy | None = None,
    server: str = "127.0.0.1:{port}",
    provider_mode: str = "proxy",
) -> AsyncIterator[sc.Client]:
    """Open somebody's client and register it by its password, or by a wrong one."""
    async with sc.open(folder / name, passphrase=PASSPHRASE, create=True, policy=policy) as client:
        await client.sign_in(
            sip(name),
            password=sc.Secret(password or PASSWORDS[name]),
            server=server.format(port=registrar.tls),
            authorities=registrar.certificates.authority,
            provider_mode=provider_mode,
        )
        yield client


async def require_refused(
    alice: sc.Client, bob: sc.Client, how: str, error: type[sc.CallFailed]
) -> None:
    """Bob says no in one of his ways, and Alice hears which."""
    async with alice.call(sip("bob")) as call:
        await getattr(await bob.next_call(), how)()
        with pytest.raises(error):
            await call.connected()
    require_no_media(call)


async def require_given_up(alice: sc.Client, bob: sc.Client) -> None:
    """Alice hangs up while it rings, and Bob's ringing ends."""
    ended = asyncio.ensure_future(anext(e async for e in bob.events() if isinstance(e, CallEnded)))
    async with alice.call(sip("bob")) as call:
        ring = await bob.next_call()
        await call.ringing()
    assert (await asyncio.wait_for(ended, 40)).reason is sc.EndReason.CANCELLED
    assert ring.over
    require_no_media(call)


async def hear(call: sc.Call, path: Path, *, seconds: float = HEARD_SECONDS) -> None:
    """Record what the peer says until there is so much of it, and of ours on the way to it."""
    recorder = call.record(path)
    async with asyncio.timeout(40):
        async for _ in call.audio:
            if recorder.seconds >= seconds and said_seconds(call) >= seconds:
                return


async def hear_tone(call: sc.Call, path: Path, hertz: float, *, seconds: float = 1.0) -> None:
    """Record until a tone of that pitch was heard for so long in all, and as much was said."""
    recorder = call.record(path)
    looked_at = 0.0
    async with asyncio.timeout(40):  # on a busy machine sound comes in pieces
        async for _ in call.audio:
            if recorder.seconds > looked_at + 1.0:  # its file is valid after every second
                looked_at = recorder.seconds
                if tone_seconds(path, hertz) > seconds and said_seconds(call) > seconds:
                    return
    raise AssertionError("the call ended before the tone was heard")


def said_seconds(call: sc.Call) -> float:
    """How much sound was sent, silence included, in packets of 20 ms."""
    statistics = call.statistics()
    return 0.0 if statistics is None else statistics.packets_sent / 50


def require_no_media(call: sc.Call) -> None:
    """No packet of sound was sent, and none that came was opened."""
    statistics = call.statistics()
    assert statistics is None or (statistics.packets_sent, statistics.received_seconds) == (0, 0.0)
    assert call.security.level <= sc.HOP_BY_HOP
    assert call.report.media_seconds == (0.0, 0.0)
