"""People of ours who chat through a real server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import securecall as sc
from securecall.store.sqlite import Store
from securecall.store.vault import Cost
from tests.interop.xmpp_servers import XmppServer, password_of

PASSPHRASE = "a passphrase of the tests"
QUICK = Cost(memory=19456, iterations=2, lanes=1)
PATIENCE = 60.0  # seconds, a hang guard


@asynccontextmanager
async def person(server: XmppServer, folder: Path, name: str, *, port: int = 0, device: str = "1"):
    """One of the server's people on one device, whose store is in `folder`; signed in."""
    home = folder / f"{name}-{device}"
    if not home.exists():
        Store.create(home, sc.Secret(PASSPHRASE), cost=QUICK).close()
    async with sc.open(home, passphrase=sc.Secret(PASSPHRASE)) as client:
        _ = await client.sign_in(
            xmpp=f"{name}@{server.domain}",
            password=sc.Secret(password_of(name)),
            server=f"127.0.0.1:{port or server.ports['xmpp']}",
            authorities=server.authorities,
        )
        yield client


async def until(condition, *, seconds: float = PATIENCE, every: float = 0.02):
    """Wait until something is so; returns what the condition returned."""
    async with asyncio.timeout(seconds):
        while not (found := condition()):  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(every)
        return found


def texts(client, server, other):
    """What is kept of a conversation, in order."""
    conversation = client.conversation(f"{other}@{server.domain}")
    return [message.text for message in conversation.messages(count=100_000)]


def address_of(client):
    """Our own bare address."""
    return client.chat_accounts[0].address.short


def own_fingerprint(client):
    """Our own device's, as others are to be shown it."""
    code = client.devices.own_code(client.chat_accounts[0].address)
    (shown,) = {part.partition("=")[2] for part in code.split("?")[1].split(";")}
    return shown
