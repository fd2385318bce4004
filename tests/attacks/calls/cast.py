"""Alice and Bob with real clients, Mallory between them, and what every attack test asks."""

from __future__ import annotations

import asyncio
import math
import struct
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from securecall.address import Address, parse_address
from securecall.calls.call import Call
from securecall.calls.machine import State
from securecall.client import Client
from securecall.client import open as open_client
from securecall.errors import SecurecallError
from securecall.keys.trust import Act, How
from securecall.media.endpoints import ToneSource
from securecall.policy import Policy
from securecall.secret import Secret
from securecall.sip.connections import SipServer
from securecall.sip.signaling import SipSignaling
from securecall.store.sqlite import Store
from securecall.store.vault import MINIMUM_COST
from securecall.testing.classify import Kind, classify
from securecall.testing.mallory import Mallory

PROVIDER = "provider.test"
ALICE_HERTZ, BOB_HERTZ = 440.0, 1000.0
GUARD_SECONDS = 15.0  # no attack may hang anybody for longer

PLAIN = Policy(danger_plain_dtls=True)
"""Encrypted as most of the world's calls are: whoever carries the signalling can listen."""


@dataclass
class Person:
    """One victim."""

    client: Client
    address: Address
    calls: list[Call] = field(default_factory=list)
    errors: list[SecurecallError] = field(default_factory=list)
    recording: Path | None = None

    @property
    def sip(self) -> str:
        return str(self.address)

    def knows(self, other: Person) -> None:
        """They met: the other's key is pinned, and calls never get less."""
        contacts = self.client.contacts
        contacts.apply(
            contacts.event(Act.PIN, other.address, other.client.contacts.root_fp, How.CONTACT),
            contacts.event(Act.RAISE_FLOOR, other.address, b"", How.USER),
        )

    async def answer(self) -> None:
        """Take the next call, talk until it ends, remember how it did."""
        ring = await self.client.next_call()
        call = ring.accept(audio=ToneSource(BOB_HERTZ))
        if self.recording is not None:
            call.record(self.recording)
        try:
            async with call:
                self.calls.append(call)
                await call.connected()
                await call.ended()
        except SecurecallError as e:
            self.errors.append(e)


@asynccontextmanager
async def person(
    folder: Path, name: str, mallory: Mallory, policy: Policy
) -> AsyncIterator[Person]:
    """A client signed in at the provider, reachable through it."""
    address = parse_address(f"sip:{name}@{PROVIDER}")
    async with stranger(folder, name, policy) as client:
        host = f"{name}.{PROVIDER}"
        signaling = await SipSignaling.open(
            local=address,
            server=SipServer(host=mallory.address[0], port=mallory.address[1], name=PROVIDER),
            authorities=mallory.authority.pem,
            listen=("127.0.0.1", 0),
            listen_certificate=mallory.certify(host, "127.0.0.1"),
        )
        client.use(address, signaling, server_host=mallory.address[0])
        mallory.route(str(address), *signaling.listening, name=host)
        yield Person(client, address)


@asynccontextmanager
async def stranger(folder: Path, name: str, policy: Policy | None = None) -> AsyncIterator[Client]:
    """A client without any account."""
    passphrase = Secret(f"correct horse {name} staple".encode())
    Store.create(folder / name, passphrase, device_id=name, cost=MINIMUM_COST).close()
    async with open_client(folder / name, passphrase=passphrase, policy=policy or Policy()) as it:
        yield it


@dataclass
class Stage:
    """Everybody in their places."""

    mallory: Mallory
    alice: Person
    bob: Person
    call: Call | None = None
    error: SecurecallError | None = None
    answering: asyncio.Task[None] | None = None

    async def dial(self, *, seconds: float = 0.4, to: str = "", during=None) -> Call:
        """Alice calls; talks for a while where it connects; both hang up. Nobody hangs."""
        async with asyncio.timeout(GUARD_SECONDS):
            self.answering = asyncio.create_task(self.bob.answer())
            call = self.alice.client.call(to or self.bob.address, audio=ToneSource(ALICE_HERTZ))
            self.call = call
            try:
                async with call:
                    await call.connected()
                    if during is not None:
                        await during(call)
                    await _listen(call, seconds)
            except SecurecallError as e:
                self.error = e
            if self.answering_began:
                await self.answering
            else:
                self.answering.cancel()
        return call

    @property
    def answering_began(self) -> bool:
        return bool(self.bob.calls or self.bob.errors)

    async def hear_more(self, call: Call, seconds: float = 0.2) -> None:
        """Wait until that much more sound has come; the guard of `dial` ends it otherwise."""
        target = received_seconds(call) + seconds
        await _listen(call, target)
        assert received_seconds(call) >= target

    def assert_nothing_was_heard(self) -> None:
        """Not one octet of sound, by any key she ever held; nor any sound without a key."""
        assert self.mallory.bytes_decrypted == 0
        assert self.mallory.decryptable == 0
        assert self.mallory.recordings == ()

    def assert_refused(self, *reasons) -> None:
        """Both ends are over, the caller with one of these reasons; the gate never opened."""
        assert self.call is not None
        for call in (self.call, *self.bob.calls):
            assert call.state is State.ENDED
            assert not sent_anything(call)
        assert self.error is not None
        if reasons:
            found = {getattr(e, "reason", None) for e in (self.error, *self.bob.errors)}
            assert found & set(reasons), (self.error, self.bob.errors)
        self.assert_nothing_was_heard()

    def assert_no_media_left_anybody(self) -> None:
        """Not one RTP datagram, encrypted or not, reached her sockets."""
        kinds = {classify(c.datagram) for m in self.mallory.media.values() for c in m.captured}
        assert not kinds & {Kind.RTP, Kind.RTCP}


def sent_anything(call: Call) -> bool:
    statistics = call.statistics()
    return statistics is not None and statistics.packets_sent > 0


def received_seconds(call: Call) -> float:
    statistics = call.statistics()
    return 0.0 if statistics is None else statistics.received_seconds


async def _listen(call: Call, seconds: float) -> None:
    """Wait until that much sound has come in all, or the call is over."""
    while received_seconds(call) < seconds:
        if await anext(call.audio, None) is None:
            return


@asynccontextmanager
async def stage(
    folder: Path, *, policy: Policy | None = None, acquainted: bool = True, **mallory
) -> AsyncIterator[Stage]:
    """Mallory between Alice and Bob, who know each other's keys unless said otherwise."""
    policy = policy or Policy()
    async with (
        Mallory(folder / "mallory", name=PROVIDER, **mallory) as she,
        person(folder, "alice", she, policy) as alice,
        person(folder, "bob", she, policy) as bob,
    ):
        if acquainted:
            alice.knows(bob)
            bob.knows(alice)
        yield Stage(she, alice, bob)


def loudness(path: Path, channel: int, hertz: float, *, at: float = 0.1) -> float:
    """Share of a WAV channel's energy at one frequency, 0..1 (0.2 s from `at` on, Goertzel)."""
    with wave.open(str(path), "rb") as file:
        channels, rate = file.getnchannels(), file.getframerate()
        samples = struct.unpack(f"<{file.getnframes() * channels}h", file.readframes(10**9))
    samples = samples[channel::channels]
    skip = int(at * rate)
    samples = samples[skip : skip + rate // 5]
    if not samples:
        return 0.0
    total = sum(x * x for x in samples)
    step = 2 * math.pi * hertz / rate
    real = sum(x * math.cos(step * i) for i, x in enumerate(samples))
    imaginary = sum(x * math.sin(step * i) for i, x in enumerate(samples))
    return 2 * (real**2 + imaginary**2) / (len(samples) * total) if total else 0.0
