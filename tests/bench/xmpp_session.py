"""XMPP sessions over Prosody on loopback: signing in, stanzas, and what an idle one holds."""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

import psutil

from securecall.address import parse_address
from securecall.errors import LocalError
from securecall.secret import Secret
from securecall.testing.authority import Authority
from securecall.testing.daemons import Site, start_prosody
from securecall.xmpp.session import Session, XmppLogin
from tests.bench.measure import absent, answer

DOMAIN = "bench.example"
CLIENT = "{jabber:client}"
STANZAS = 2000


def resident() -> int:
    """Bytes, after what nobody needs was let go."""
    _ = gc.collect()
    return psutil.Process().memory_info().rss


async def connect_ms(login: XmppLogin) -> float:
    """From nothing to a bound session."""
    taken = []
    for _ in range(10):
        begun = time.perf_counter()
        session = await Session.open(login)
        taken.append(1e3 * (time.perf_counter() - begun))
        await session.close()
    return statistics.median(taken)


async def stanzas_a_second(login: XmppLogin) -> tuple[float, float]:
    """Messages from one session of ours to another; and CPU microseconds of both for each."""
    arrived, everything = 0, asyncio.Event()

    def count(_: Element, done: Callable[[], None]) -> None:
        nonlocal arrived
        arrived += 1
        done()
        if arrived == STANZAS:
            everything.set()

    bob = await Session.open(login, prepare=lambda session: session.on_message(count))
    alice = await Session.open(login)
    message = Element(f"{CLIENT}message", to=bob.jid, type="chat", id="1")
    SubElement(message, f"{CLIENT}body").text = "hello " * 10
    SubElement(message, "{urn:xmpp:hints}no-store")  # its archive is not what is measured
    begun, cpu = time.perf_counter(), time.process_time()
    for _ in range(STANZAS):
        alice.send(message)
    await everything.wait()
    rate = STANZAS / (time.perf_counter() - begun)
    each = 1e6 * (time.process_time() - cpu) / STANZAS
    await alice.close()
    await bob.close()
    return rate, each


async def idle_kb(login: XmppLogin) -> float:
    """What one of fifty more holds."""
    sessions = [await Session.open(login) for _ in range(10)]
    before = resident()
    sessions += [await Session.open(login) for _ in range(50)]
    each = (resident() - before) / 50 / 1024
    for session in sessions:
        await session.close()
    return each


def site_in(folder: Path) -> Site:
    """What the server serves, in a folder that its own user can enter."""
    folder.chmod(0o755)
    (folder / "server").mkdir()
    authority = Authority.make(folder / "authority")
    certificate = authority.issue(DOMAIN, "127.0.0.1")
    return Site(folder / "server", DOMAIN, {"alice": Secret("pw")}, certificate, authority.pem)


async def main() -> None:
    """Measure all three."""
    with tempfile.TemporaryDirectory() as folder:
        site = site_in(Path(folder))
        try:
            daemon = await start_prosody(site)
        except LocalError as e:
            print(e, file=sys.stderr)
            absent("prosody")
        async with daemon:
            login = XmppLogin(
                address=parse_address(f"xmpp:alice@{DOMAIN}"),
                password=Secret("pw"),
                server=("127.0.0.1", daemon.ports["xmpps"]),
                direct=True,
                authorities=site.authorities,
            )
            kb = await idle_kb(login)
            ms = await connect_ms(login)
            rate, cpu = await stanzas_a_second(login)
    answer(
        stack="securecall",
        idle_kB=round(kb, 1),
        connect_ms=round(ms, 1),
        stanzas_a_second=round(rate),
        cpu_us=round(cpu, 1),
    )


if __name__ == "__main__":
    asyncio.run(main())
