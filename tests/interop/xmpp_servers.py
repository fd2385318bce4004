"""XMPP servers that run beside tests which have no event loop of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from securecall.errors import LocalError
from securecall.secret import Secret
from securecall.testing.daemons import Daemon, Site, XmppOptions
from securecall.transport.tls import PemPair
from tests.interop.authority import DOMAIN, Certificates
from tests.interop.xmpp_person import XmppPerson

PEOPLE = ("alice", "bob", "carol", "dave", "erin", "frank")


def password_of(name: str) -> str:
    """The password of one of the people."""
    return f"pw-{name}"


@dataclass(frozen=True)
class XmppServer:
    """A server that is up."""

    name: str
    domain: str
    ports: Mapping[str, int]
    authorities: Path
    restart: Callable[[], None]


async def sign_in(
    server: XmppServer,
    name: str,
    password: str = "",
    *,
    resume: str = "",
    present: bool = True,
) -> XmppPerson:
    """Somebody comes online, in this process."""
    return await XmppPerson.sign_in(
        server.ports["xmpps"],
        name,
        password or password_of(name),
        domain=server.domain,
        authorities=server.authorities,
        resume=resume,
        present=present,
    )


def site(folder: Path, certificates: Certificates, people: tuple[str, ...] = PEOPLE) -> Site:
    """What such a server serves."""
    return Site(
        folder,
        DOMAIN,
        {name: Secret(password_of(name)) for name in people},
        PemPair(certificate=certificates.chain, key=certificates.key),
        certificates.authority,
    )


@contextmanager
def running(
    start: Callable[[Site, XmppOptions], Awaitable[Daemon]],
    folder: Path,
    certificates: Certificates,
    options: XmppOptions | None = None,
) -> Iterator[XmppServer]:
    """Run one, its process watched by a thread; skip naming the package it needs.

    Args:
        start: `start_prosody` or `start_ejabberd`.
        folder: Its own.
        certificates: Theirs prove `DOMAIN`.
        options: How it differs from the ordinary.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def begun() -> Daemon:
        return await start(site(folder, certificates), options or XmppOptions())

    def wait(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    try:
        try:
            daemon = wait(begun())
        except LocalError as e:
            if "is not installed" in str(e):
                pytest.skip(f"{e} (or: python3 dev.py servers)")
            raise
        try:
            yield XmppServer(
                daemon.name,
                DOMAIN,
                daemon.ports,
                certificates.authority,
                lambda: wait(daemon.restart()),
            )
        finally:
            wait(daemon.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
