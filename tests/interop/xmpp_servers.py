"""XMPP servers that run beside tests which have no event loop of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from securecall.errors import LocalError
from securecall.secret import Secret
from securecall.testing.daemons import Daemon, Site, XmppOptions
from securecall.transport.tls import PemPair
from tests.interop.authority import DOMAIN, Certificates
from tests.interop.xmpp_person import XmppPerson

PEOPLE = ("alice", "bob", "carol", "dave", "erin", "frank")


_AXOLOTL = "eu.siacs.conversations.axolotl"
_PATIENCE = 50.0  # seconds, a hang guard


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


async def wait_published(server: XmppServer, jid: str) -> None:
    """Ask as a stranger until its device and what is needed to encrypt for it can be read."""
    stranger = await sign_in(server, "frank")

    async def items(node: str) -> ET.Element:
        pubsub = ET.Element("pubsub", xmlns="http://jabber.org/protocol/pubsub")
        ET.SubElement(pubsub, "items", node=f"{_AXOLOTL}.{node}")
        return await stranger.ask(pubsub, "get", jid)

    async with asyncio.timeout(_PATIENCE):
        while True:
            devices = list((await items("devicelist")).iter(f"{{{_AXOLOTL}}}device"))
            bundles = [await items(f"bundles:{device.get('id')}") for device in devices]
            if any(bundle.get("type") == "result" for bundle in bundles):
                break
            await asyncio.sleep(0.1)
    await stranger.close()


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
