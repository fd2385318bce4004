"""Chat from one client of ours over a real Prosody to another, both in this process.

    python -m tests.bench.chat rate [COUNT]      messages, one after the other and many at once
    python -m tests.bench.chat split [COUNT]     where the CPU time of one message goes
    python -m tests.bench.chat idle [COUNT]      memory of a client that only waits, and signing in

A message counts once the receiver keeps it durably and the sender keeps that the server took it;
with receipts, once the sender keeps that it arrived. `us` is CPU of this process, both clients
together; `server_us` Prosody's, out of /proc. Prosody is started for each run, with an empty disk.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType

import psutil

import securecall as sc
from securecall.chat.message import Delivery
from securecall.errors import LocalError
from securecall.store.sqlite import Store
from securecall.testing.daemons import Site, start_prosody
from securecall.transport.tls import PemPair
from tests.bench.measure import absent, answer
from tests.interop import authority
from tests.interop.chatting import PASSPHRASE, QUICK, person, until
from tests.interop.xmpp_servers import XmppServer, password_of

TEXT = "The patient in bed 12 may go home tomorrow after the last blood count. "
WARM = 30
ROUNDS = 6  # the work of others on the machine only ever adds
DEFAULT = {"rate": 150, "split": 2000, "idle": 50}
FIRST = 3  # clients that pay for what all share


class Bench:
    """A server and who talks over it."""

    def __init__(self, server: XmppServer, process: psutil.Process, folder: Path) -> None:
        self.server, self.process, self.folder = server, process, folder

    def served(self) -> float:
        """CPU seconds of the server."""
        times = self.process.cpu_times()
        return times.user + times.system


@asynccontextmanager
async def serving(people: Iterable[str]) -> AsyncIterator[Bench]:
    """A Prosody that knows these people."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificates = authority.make(folder)
        (folder / "prosody").mkdir()
        site = Site(
            folder / "prosody",
            authority.DOMAIN,
            {who: sc.Secret(password_of(who)) for who in people},
            PemPair(certificate=certificates.chain, key=certificates.key),
            certificates.authority,
        )
        try:
            daemon = await start_prosody(site)
        except LocalError:
            absent("prosody prosody-modules lua-unbound (apt)")
        async with daemon:
            server = XmppServer(
                "prosody", authority.DOMAIN, daemon.ports, certificates.authority, lambda: None
            )
            yield Bench(server, psutil.Process(daemon._process.pid), folder)


class Pair:
    """Alice writes, Bob reads."""

    def __init__(self, bench: Bench, alice: sc.Client, bob: sc.Client) -> None:
        domain = bench.server.domain
        self.bench = bench
        self.to_bob = alice.conversation(f"bob@{domain}")
        self.to_alice = bob.conversation(f"alice@{domain}")
        self.sent = 0

    async def send(self, count: int, *, together: bool, fate: Delivery) -> None:
        """Send so many, and wait until each has met its fate."""
        texts = [f"{TEXT}{number}" for number in range(self.sent, self.sent + count)]
        if together:
            await asyncio.gather(*map(self.to_bob.send, texts))
        else:
            for text in texts:
                await self.to_bob.send(text)
        self.sent += count

        def arrived() -> bool:
            got = self.to_alice.messages(count=1)
            if not got or got[-1].text != texts[-1]:
                return False
            return self.to_bob.messages(count=1)[-1].delivery is fate

        # read newest first: all before it have met theirs, for the server keeps the order
        await until(arrived)


@asynccontextmanager
async def talking() -> AsyncIterator[Pair]:
    """Two that are signed in and have written to each other but once."""
    async with (
        serving(("alice", "bob")) as bench,
        person(bench.server, bench.folder, "alice") as alice,
        person(bench.server, bench.folder, "bob") as bob,
    ):
        pair = Pair(bench, alice, bob)
        await pair.send(WARM, together=False, fate=Delivery.SENT)
        gc.collect()
        gc.freeze()
        yield pair


async def begin_receipts(pair: Pair) -> None:
    """Bob writes: from now on he trusts her device, and tells her what arrived."""
    await pair.to_alice.send("Who is there?")
    await until(lambda: pair.to_bob.messages(count=1)[-1].text == "Who is there?")
    await pair.send(WARM, together=False, fate=Delivery.DELIVERED)


async def rate(count: int) -> dict[str, float]:
    """Messages a second, and CPU for each, four ways; the fastest of the rounds."""
    figures: dict[str, float] = {}
    async with talking() as pair:
        for receipts in (False, True):
            if receipts:
                await begin_receipts(pair)
            fate = Delivery.DELIVERED if receipts else Delivery.SENT
            for together in (False, True):
                name = ("gather" if together else "one") + ("_receipts" if receipts else "")
                rounds = [await measured(pair, count, together, fate) for _ in range(ROUNDS)]
                wall, cpu, server = map(min, zip(*rounds, strict=True))
                figures |= {
                    f"{name}_per_s": 1 / wall,
                    f"{name}_us": 1e6 * cpu,
                    f"{name}_server_us": 1e6 * server,
                }
    return figures


async def measured(
    pair: Pair, count: int, together: bool, fate: Delivery
) -> tuple[float, float, float]:
    """Seconds for each message: by the clock, of CPU here, of CPU in the server."""
    begun = time.perf_counter(), time.process_time(), pair.bench.served()
    await pair.send(count, together=together, fate=fate)
    ended = time.perf_counter(), time.process_time(), pair.bench.served()
    wall, cpu, server = (
        (after - before) / count for before, after in zip(begun, ended, strict=True)
    )
    return wall, cpu, server


# The innermost of our modules, or of a library, says what the processor worked for.
PARTS = (
    ("crypto", ("/securecall/keys/", "/doubleratchet/", "/twomemo/", "/x3dh/", "/xeddsa/")),
    ("history", ("/securecall/store/",)),
    ("xml", ("/securecall/xmpp/",)),
    ("session", tuple(f"/securecall/xmpp/{m}.py" for m in ("session", "stream", "management"))),
    ("rules", ("/securecall/chat/", "/securecall/")),
    ("loop and TLS", ("/asyncio/",)),
)


def part_of(frame: FrameType | None) -> str:
    """Which part a frame belongs to."""
    while frame is not None:
        path = frame.f_code.co_filename
        if any(path.endswith(place) for place in dict(PARTS)["session"]):
            return "session"
        for part, places in PARTS:
            if any(place in path for place in places):
                return part
        frame = frame.f_back
    return "other"


@contextmanager
def sampled() -> Iterator[Counter[str]]:
    """Look every millisecond of CPU time what runs."""
    seen: Counter[str] = Counter()
    signal.signal(signal.SIGPROF, lambda _, frame: seen.update([part_of(frame)]))
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
    try:
        yield seen
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


async def split(count: int) -> dict[str, float]:
    """Microseconds of each part in one message, both ends, many sent at once."""
    async with talking() as pair:
        begun = time.process_time()
        with sampled() as seen:
            await pair.send(count, together=True, fate=Delivery.SENT)
        each = (time.process_time() - begun) / count * 1e6
    return {part: each * ticks / seen.total() for part, ticks in seen.most_common()}


def resident() -> int:
    """Bytes, after what nobody needs was let go."""
    _ = gc.collect()
    return psutil.Process().memory_info().rss


async def idle(count: int) -> dict[str, float]:
    """What each further client that only waits holds, and what signing in costs."""
    names = [f"user{number}" for number in range(FIRST + count)]
    cpu: list[float] = []
    async with serving(names) as bench, AsyncExitStack() as clients:

        async def come(name: str) -> None:
            home, passphrase = bench.folder / name, sc.Secret(PASSPHRASE)
            Store.create(home, sc.Secret(PASSPHRASE), cost=QUICK).close()
            client = await clients.enter_async_context(sc.open(home, passphrase=passphrase))
            begun = time.process_time()
            _ = await client.sign_in(
                xmpp=f"{name}@{bench.server.domain}",
                password=sc.Secret(password_of(name)),
                server=f"127.0.0.1:{bench.server.ports['xmpp']}",
                authorities=bench.server.authorities,
            )
            await until(lambda: client.chat_accounts[0]._dispatch.ready)
            cpu.append(1e3 * (time.process_time() - begun))

        for name in names[:FIRST]:
            await come(name)
        before = resident()
        for name in names[FIRST:]:
            await come(name)
        each = (resident() - before) / count
        begun = time.process_time()
        await asyncio.sleep(5)
        waiting = (time.process_time() - begun) / 5 / len(names)
    return {
        "idle_kB": each / 1024,
        "first_ms": cpu[0],
        "sign_in_ms": statistics.median(cpu[FIRST:]),
        "idle_ppm": 1e6 * waiting,
    }


if __name__ == "__main__":
    what, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    figures = asyncio.run(
        {"rate": rate, "split": split, "idle": idle}[what](count or DEFAULT[what])
    )
    answer(stack="securecall", **{k: round(v, 1) for k, v in figures.items()})
