"""A disk that refuses while we chat: told, never acknowledged, and nothing is missing later."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys

import pytest

from securecall.chat.message import Delivery
from securecall.errors import LocalError
from securecall.events import ChatStateChanged, KeepingFailed
from securecall.xmpp.session import SessionState
from tests.interop.chatting import person, texts, until
from tests.paths import PROJECT


async def refuse_and_recover(server, folder, refuse, allow, *, restart: bool) -> None:
    """Erin's disk refuses while she and Frank write.

    Args:
        server: Whose people they are.
        folder: For their stores.
        refuse: Makes Erin's disk refuse; given her client.
        allow: Ends that.
        restart: The server restarts meanwhile.
    """
    port = server.ports["xmpps"]
    async with (
        person(server, folder, "erin", port=port) as erin,
        person(server, folder, "frank", port=port) as frank,
    ):
        to_frank = erin.conversation(f"frank@{server.domain}")
        to_erin = frank.conversation(f"erin@{server.domain}")
        _ = await to_frank.send("hello")
        await until(lambda: texts(frank, server, "erin") == ["hello"])
        _ = await to_erin.send("yes?")
        await until(lambda: to_erin.messages()[-1].delivery is Delivery.DELIVERED)
        events = []

        async def watch():
            async for event in erin.events():
                events.append(event)

        watching = asyncio.create_task(watch())
        _ = await to_frank.send("taken while the disk is full")
        refuse(erin)
        with pytest.raises(LocalError):
            for _ in range(1000):  # until the last free page is used up
                _ = await to_frank.send("x" * 4000)
        wanted = []
        while not any(isinstance(event, KeepingFailed) for event in events):
            wanted.append(f"while it was full {len(wanted)} {'y' * 3000}")
            _ = await to_erin.send(wanted[-1])
            await asyncio.sleep(0.1)
        held = set(wanted) - {*texts(erin, server, "frank")}
        assert held
        if restart:
            await asyncio.to_thread(server.restart)
            await until(lambda: frank.chat_accounts[0].state is SessionState.ONLINE)
            await until(lambda: erin.chat_accounts[0].state is SessionState.ONLINE)
        else:
            assert not any(isinstance(event, ChatStateChanged) for event in events)
        assert erin.chat_accounts[0].state is SessionState.ONLINE
        there = {m.text: m.delivery for m in to_erin.messages(count=5000) if m.own}
        assert {there[text] for text in held} <= {Delivery.PENDING, Delivery.SENT}
        allow(erin)
        _ = await to_frank.send("there is room again")
        await until(lambda: texts(frank, server, "erin")[-1] == "there is room again")
        await until(lambda: {*wanted} <= {*texts(erin, server, "frank")})
        theirs = [m.text for m in to_frank.messages(count=5000) if not m.own]
        assert theirs == ["yes?", *wanted]
        ours = [m.text for m in to_frank.messages(count=5000) if m.own]
        assert [m.text for m in to_erin.messages(count=5000) if not m.own] == ours
        assert len(set(ours) & {"taken while the disk is full", "there is room again"}) == 2
        await until(
            lambda: all(m.delivery is not Delivery.PENDING for m in to_frank.messages(count=5000))
        )
        await until(
            lambda: held <= {m.text for m in to_erin.messages() if m.delivery is Delivery.DELIVERED}
        )
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


def connection_of(client):
    """The very connection to the history's file."""
    history, _ = client._open.chatting._open
    return history._file._connection


def full(client):
    connection = connection_of(client)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count={pages}")


def roomy(client):
    connection_of(client).execute("PRAGMA max_page_count=1000000")


def read_only(client):
    connection_of(client).execute("PRAGMA query_only=1")


def writable(client):
    connection_of(client).execute("PRAGMA query_only=0")


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("how", [(full, roomy), (read_only, writable)])
def test_a_disk_that_refuses_costs_nothing(prosody, tmp_path, how, restart):
    asyncio.run(refuse_and_recover(prosody, tmp_path, *how, restart=restart))


INSIDE = """
import asyncio, sys
from pathlib import Path
import securecall as sc
from securecall.store.sqlite import Store
from tests.interop.chatting import PASSPHRASE, QUICK

from tests.interop.test_chat_disks import *
from tests.interop.xmpp_servers import XmppServer
folder, domain, port, root = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
server = XmppServer("it", domain, {"xmpps": port}, root, lambda: None)
Store.create(folder / "erin-1", sc.Secret(PASSPHRASE), cost=QUICK).close()
stuffing = folder / "erin-1" / "stuffing"
def fill(_):
    with stuffing.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
asyncio.run(refuse_and_recover(
    server, folder, fill, lambda _: stuffing.unlink(), restart=False))
print("it went well")
"""


def test_a_small_disk_that_is_full_costs_nothing(ejabberd, tmp_path):
    if shutil.which("unshare") is None:
        pytest.skip("needs to mount in a namespace (root, unshare)")
    script = 'mount -t tmpfs -o size=4m tmpfs "$1/erin-1" && exec "$2" -c "$3" "$1" "$4" "$5" "$6"'
    home = tmp_path / "erin-1"
    home.mkdir()
    done = subprocess.run(
        [
            *("unshare", "-m", "sh", "-c", script, "sh", str(tmp_path), sys.executable, INSIDE),
            *(ejabberd.domain, str(ejabberd.ports["xmpps"]), str(ejabberd.authorities)),
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip("needs to mount in a namespace (root)")
    assert "it went well" in done.stdout, done.stderr
