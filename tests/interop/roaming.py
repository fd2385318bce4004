"""Two people in networks of their own, with a SIP proxy and a relay on a small internet of ours.

To be used inside a network namespace (`own_network.run`): nothing can leave it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import securecall as sc
from securecall.errors import LocalError
from securecall.testing.authority import Authority
from securecall.testing.daemons import RelayOptions, relays_of, rest_user, start_coturn
from securecall.testing.kamailio import KAMAILIO_MODULES, kamailio_routes
from securecall.testing.nat import Nat, NatKind, Packet
from securecall.testing.networks import Internet, Site, host_command, receive_device
from tests.interop.authority import DOMAIN, Certificates
from tests.interop.children import free_port
from tests.interop.kamailio import PASSWORDS, started
from tests.interop.soaking import percentile
from tests.paths import PROJECT

PROXY, RELAY = "203.0.113.1", "203.0.113.2"
PROXY6 = "2001:db8:1::1"
SHARED = sc.Secret("shared with the relay")
DELAY = 0.01  # seconds a packet takes, one way


@dataclass
class Person:
    """One of them, as a process in a namespace."""

    name: str
    site: Site
    process: asyncio.subprocess.Process
    log: Path

    async def ask(self, *words: str, seconds: float = 60.0) -> dict[str, Any]:
        """Have something done; what came of it."""
        self.process.stdin.write(" ".join(words).encode() + b"\n")
        return await self.hear(" ".join(words), seconds=seconds)

    async def hear(self, what: str, *, seconds: float = 60.0) -> dict[str, Any]:
        async with asyncio.timeout(seconds):
            line = await self.process.stdout.readline()
        assert line, f"{self.name} ended before {what}: {self.log.read_text()[-3000:]}"
        said = json.loads(line)
        assert "error" not in said, f"{self.name}, {what}: {said}: {self.log.read_text()[-3000:]}"
        return said

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.stdin.write(b"quit\n")
            try:
                async with asyncio.timeout(40):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


@dataclass
class Seen:
    """What went over the internet by UDP, as anybody there sees it.

    Attributes:
        media: RTP and RTCP packets.
        repeated: Blocks of 16 bytes in media that came twice: sealed ones never do.
        other: First bytes of what is neither STUN, DTLS, media nor wrapped for a relay.
        between: Pairs of addresses that spoke.
    """

    media: int = 0
    repeated: int = 0
    other: set[int] = field(default_factory=set)
    between: set[tuple[int, int]] = field(default_factory=set)
    packets: set[bytes] = field(default_factory=set)
    blocks: set[bytes] = field(default_factory=set)

    def take(self, packet: Packet) -> None:
        data = packet.payload
        self.between.add((packet.source[0], packet.destination[0]))
        if data and 64 <= data[0] < 80:  # channel data
            data = data[4:]
        first = data[0] if data else 0
        if 128 <= first < 192:
            self.media += 1
            self._compare(data)
        elif not first < 4 and not 20 <= first < 64:
            self.other.add(first)

    def _compare(self, media: bytes) -> None:
        if media in self.packets:  # it goes by twice: to the relay, and from it
            return
        self.packets.add(media)
        for at in range(28, len(media) - 31, 16):  # behind what is no secret: header, extension
            block = media[at : at + 16]
            self.repeated += block in self.blocks
            self.blocks.add(block)


@dataclass
class World:
    """All of it."""

    internet: Internet
    folder: Path
    certificates: Certificates
    sips: int
    ways: Mapping[str, sc.TurnServer]
    seen: Seen
    stack: AsyncExitStack

    async def person(
        self,
        name: str,
        *addresses: str,
        nat: Nat | None = None,
        relays: Sequence[str] = (),
        stun: bool = False,
        proxy: str = PROXY,
        privacy: str = "open",
    ) -> Person:
        """Have somebody registered; `relays` names ways of `ways`."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        config: dict[str, Any] = {
            "folder": str(self.folder / name),
            "address": f"sip:{name}@{DOMAIN}",
            "password": PASSWORDS[name],
            "server": f"[{proxy}]:{self.sips}" if ":" in proxy else f"{proxy}:{self.sips}",
            "authorities": str(self.certificates.authority),
            "privacy": privacy,
            "relays": [relay_fields(self.ways[way]) for way in relays],
        }
        if stun:
            config["stun"] = [RELAY, self.ways["udp"].port]
        command = host_command(theirs.fileno(), *addresses)
        command += [sys.executable, "-m", "tests.interop.roamer", json.dumps(config)]
        log = self.folder / f"{name}.log"
        with log.open("wb") as output, theirs:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
                cwd=PROJECT,
                pass_fds=(theirs.fileno(),),
            )
        with ours:
            device = await asyncio.to_thread(receive_device, ours)
        where = () if nat is not None else tuple(a.split("/")[0] for a in addresses)
        site = self.internet.attach(device, *where, nat=nat)
        made = Person(name, site, process, log)
        self.stack.push_async_callback(made.end)
        await made.hear("signing in")
        return made


def relay_fields(relay: sc.TurnServer) -> dict[str, Any]:
    return {
        "host": relay.host,
        "port": relay.port,
        "username": relay.username,
        "password": relay.password.reveal().decode(),
        "transport": relay.transport,
        "tls": relay.tls,
        "authorities": str(relay.authorities),
    }


@asynccontextmanager
async def world(folder: Path, certificates: Certificates) -> AsyncIterator[World]:
    """A proxy, a relay and nobody yet; skips where no network can be made."""
    async with AsyncExitStack() as stack:
        internet = Internet(delay=DELAY)
        stack.callback(internet.close)
        seen = Seen()
        internet.tap = seen.take
        try:
            internet.here(PROXY, RELAY, PROXY6)
            (folder / "authority").mkdir()
            authority = Authority.make(folder / "authority")
            pair = authority.issue(RELAY)
            options = RelayOptions(secret=SHARED, hosts=(RELAY,), relay=RELAY)
            coturn = await start_coturn(folder / "coturn", pair, options)
        except LocalError as e:
            pytest.skip(str(e))
        await stack.enter_async_context(coturn)
        sips = free_port()
        users = {name: sc.Secret(password) for name, password in PASSWORDS.items()}
        config = f"listen=tls:{PROXY}:{sips}\nlisten=tls:[{PROXY6}]:{sips}\n" + kamailio_routes(
            DOMAIN, users, digest="SHA-256"
        )
        (folder / "kamailio").mkdir()
        stack.enter_context(
            started(folder / "kamailio", certificates, KAMAILIO_MODULES, config, port=sips)
        )
        ways = relays_of(coturn, RELAY, *rest_user(SHARED, "a"), authority.pem)
        yield World(internet, folder, certificates, sips, ways, seen, stack)


async def connect(caller: Person, callee: Person) -> None:
    """One calls the other, and both hear each other."""
    await asyncio.gather(caller.ask("call", f"sip:{callee.name}@{DOMAIN}"), callee.ask("answer"))
    await heard(caller, callee)


async def heard(*people: Person, packets: int = 10) -> None:
    """All of them hear something new."""
    for person in people:
        wanted = await _received(person) + packets
        async with asyncio.timeout(30):
            while await _received(person) < wanted:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.05)


async def _received(person: Person) -> int:
    figures = await person.ask("figures")
    return int(figures["statistics"]["packets_received"])


async def moves(there: World, alice: Person, bob: Person, count: int) -> list[float]:
    """They call each other and change networks, or addresses within one, in turn.

    Returns:
        The longest time without a packet at either end around each change, seconds.
    """
    await connect(alice, bob)
    before, gaps = await alice.ask("figures"), []
    for number in range(1, count + 1):
        who = alice if number % 2 else bob
        for person in (alice, bob):
            await person.ask("gap")
        if number % 4 < 2 or who.site.nat is None:  # another network; else another address in it
            public = f"198.51.{100 + number // 250}.{3 + number % 250}"
            there.internet.move(who.site, Nat(public, NatKind.PORT_RESTRICTED))
        place = f"10.{1 + number % 100}.{number // 100}.2"
        await who.ask("move", f"{place}/24")
        await heard(alice, bob)
        gaps.append(max([(await person.ask("gap"))["gap"] for person in (alice, bob)]))
        assert (await who.ask("figures"))["local"] == place
    after = await alice.ask("figures")
    assert (after["level"], after["gate"]) == (before["level"], "open")
    assert there.seen.repeated == 0, "sealed blocks never come twice"
    assert not there.seen.other
    await alice.ask("hang")
    assert (await bob.ask("ended"))["ended"] == "hung-up"
    return gaps


def figures_of(gaps: list[float]) -> str:
    """In words."""
    return (
        f"{len(gaps)} changes of address, all lived through; nothing heard for "
        f"{percentile(gaps, 50):.2f} s (p50), {percentile(gaps, 95):.2f} s (p95), "
        f"{max(gaps):.2f} s (most)"
    )
