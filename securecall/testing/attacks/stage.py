"""Alice and Bob with real clients, Mallory between them, and what is asked of every attack."""

from __future__ import annotations

import asyncio
import math
import struct
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from securecall.address import Address, parse_address
from securecall.calls.call import Call
from securecall.calls.machine import State
from securecall.calls.report import Capability
from securecall.calls.report_parties import SERVERS
from securecall.client import Client
from securecall.client import open as open_client
from securecall.errors import EndReason, Reason, SecurecallError
from securecall.keys.trust import Act, How
from securecall.media.endpoints import ToneSource
from securecall.policy import Policy, SecurityLevel
from securecall.secret import Secret
from securecall.sip.connections import SipServer
from securecall.sip.signaling import SipSignaling
from securecall.store.sqlite import Store
from securecall.store.vault import MINIMUM_COST
from securecall.testing.attacks.outcome import Outcome, named
from securecall.testing.classify import Kind, classify
from securecall.testing.evil_link import Inner
from securecall.testing.evil_provider import Mallory, Mode

PROVIDER: Final = "provider.test"
ALICE_HERTZ, BOB_HERTZ = 440.0, 1000.0
GUARD_SECONDS: Final = 15.0  # no attack may hang anybody for longer

PLAIN: Final = Policy(danger_plain_dtls=True)
"""Encrypted as most of the world's calls are: whoever carries the signalling can listen."""


@dataclass
class Person:
    """One victim.

    Attributes:
        calls: The calls answered.
        errors: What they ended with, where not in order.
        recording: Where to record the next call, if anywhere.
    """

    client: Client
    address: Address
    calls: list[Call] = field(default_factory=list)
    errors: list[SecurecallError] = field(default_factory=list)
    recording: Path | None = None

    @property
    def sip(self) -> str:
        """The address as text."""
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
                _ = await call.connected()
                _ = await call.ended()
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
        listening = signaling.listening
        if listening is not None:
            mallory.route(str(address), *listening, name=host)
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
    """Everybody in their places.

    Attributes:
        call: The caller's call, once dialled.
        error: What it ended with, where not in order.
    """

    mallory: Mallory
    alice: Person
    bob: Person
    call: Call | None = None
    error: SecurecallError | None = None

    async def dial(
        self,
        *,
        seconds: float = 0.4,
        to: str = "",
        during: Callable[[Call], Awaitable[None]] | None = None,
    ) -> Call:
        """Alice calls; talks for a while where it connects; both hang up. Nobody hangs."""
        async with asyncio.timeout(GUARD_SECONDS):
            answering = asyncio.create_task(self.bob.answer())
            call = self.alice.client.call(to or self.bob.address, audio=ToneSource(ALICE_HERTZ))
            self.call = call
            try:
                async with call:
                    _ = await call.connected()
                    if during is not None:
                        await during(call)
                    await _listen(call, seconds)
            except SecurecallError as e:
                self.error = e
            if self.answering_began:
                await answering
            else:
                _ = answering.cancel()
        return call

    @property
    def answering_began(self) -> bool:
        """It rang."""
        return bool(self.bob.calls or self.bob.errors)

    @property
    def ends(self) -> tuple[Call, ...]:
        """The calls of both ends, the caller's first."""
        return (*(() if self.call is None else (self.call,)), *self.bob.calls)

    async def hear_more(self, call: Call, seconds: float = 0.2) -> None:
        """Wait until that much more sound has come; the guard of `dial` ends it otherwise.

        Raises:
            TimeoutError: the call ended before.
        """
        target = received_seconds(call) + seconds
        await _listen(call, target)
        if received_seconds(call) < target:
            raise TimeoutError("the call ended, and no more sound came")

    # -- what came of it -------------------------------------------------------------------------

    def refused(self, *reasons: Reason | EndReason, silent: bool = True) -> Outcome:
        """Both ends are over, by a typed error (one of these); no gate opened, nothing was heard.

        Args:
            reasons: Any will do where none is named.
            silent: Not one RTP or RTCP datagram reached her, encrypted or not.
        """
        outcome = self._outcome()
        outcome.demand(outcome.ended, "an end of the call goes on")
        outcome.demand(not any(map(sent_anything, self.ends)), "sound was sent")
        outcome.demand(self.error is not None, "the caller was told nothing")
        if reasons:
            found = {getattr(e, "reason", None) for e in (self.error, *self.bob.errors)}
            outcome.demand(found & set(reasons), f"other reasons: {', '.join(outcome.refusals)}")
        outcome.demand(not silent or not self._media_reached_her(), "media reached her sockets")
        self._demand_deafness(outcome)
        return outcome

    def went_on(self, level: SecurityLevel = SecurityLevel.E2EE) -> Outcome:
        """The call was what it would be without her, and she heard nothing of it."""
        outcome = self._outcome()
        outcome.demand(self.error is None, f"the caller's call failed: {self.error}")
        outcome.demand(not self.bob.errors, "the callee's call failed")
        for call in self.ends:
            outcome.demand(call.security.level is level, f"level {call.security.level.name}")
        self._demand_deafness(outcome)
        return outcome

    def heard(self) -> Outcome:
        """She heard both of them, and can play it: the tones are in her recording."""
        outcome = self._outcome()
        outcome.demand(self.error is None, f"the call did not even connect: {self.error}")
        outcome.demand(outcome.readable > 0, "she heard nothing")
        outcome.demand(
            self.mallory.decryptable == self.mallory.bytes_decrypted, "she has no key for it all"
        )
        found = self.mallory.recordings
        outcome.demand(len(found) == 1, f"{len(found)} recordings")
        for path in found:
            for channel, hertz, other in (
                (0, ALICE_HERTZ, BOB_HERTZ),
                (1, BOB_HERTZ, ALICE_HERTZ),
            ):
                outcome.demand(loudness(path, channel, hertz) > 0.5, f"no tone of {hertz:.0f} Hz")
                outcome.demand(loudness(path, channel, other) < 0.1, "voices got mixed up")
        outcome.got = (
            f"heard {outcome.readable:,} bytes: Alice's tone ({ALICE_HERTZ:.0f} Hz) and "
            f"Bob's ({BOB_HERTZ:.0f} Hz)"
        )
        return outcome

    def ended(self) -> Outcome:
        """Both ends are over; nothing else is asked."""
        outcome = self._outcome()
        outcome.demand(outcome.ended, "an end of the call goes on")
        return outcome

    def require_refused(self, *reasons: Reason | EndReason, silent: bool = False) -> None:
        """As `refused`.

        Raises:
            AttackSucceeded: it was not.
        """
        self.refused(*reasons, silent=silent).require_held()

    def require_nothing_was_heard(self) -> None:
        """Not one octet of sound, by any key she ever held; nor any sound without a key.

        Raises:
            AttackSucceeded: some was.
        """
        outcome = Outcome()
        self._demand_deafness(outcome)
        outcome.require_held()

    def _outcome(self) -> Outcome:
        errors = [e for e in (self.error, *self.bob.errors) if e is not None]
        return Outcome(
            readable=max(self.mallory.bytes_decrypted, self.mallory.decryptable),
            refusals=tuple(dict.fromkeys(map(named, errors))),
            level=self.call.security.level if self.call and self.error is None else None,
            ended=bool(self.ends) and all(call.state is State.ENDED for call in self.ends),
            verdict=_verdict(self.call),
        )

    def _demand_deafness(self, outcome: Outcome) -> None:
        outcome.demand(self.mallory.bytes_decrypted == 0, "she decrypted sound")
        outcome.demand(self.mallory.decryptable == 0, "she holds keys for the sound")
        outcome.demand(not self.mallory.recordings, "she has a recording")

    def _media_reached_her(self) -> bool:
        kinds = {classify(c.datagram) for m in self.mallory.media.values() for c in m.captured}
        return bool(kinds & {Kind.RTP, Kind.RTCP})


def received_seconds(call: Call) -> float:
    """How much sound has come so far."""
    statistics = call.statistics()
    return 0.0 if statistics is None else statistics.received_seconds


@asynccontextmanager
async def stage(
    folder: Path,
    *,
    policy: Policy | None = None,
    acquainted: bool = True,
    mode: Mode = Mode.HONEST,
    inner: Inner = Inner.STRIP,
) -> AsyncIterator[Stage]:
    """Mallory between Alice and Bob, who know each other's keys unless said otherwise."""
    policy = policy or Policy()
    async with (
        Mallory(folder / "mallory", name=PROVIDER, mode=mode, inner=inner) as she,
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


def sent_anything(call: Call) -> bool:
    """Whether a datagram of sound left this end."""
    statistics = call.statistics()
    return statistics is not None and statistics.packets_sent > 0


async def _listen(call: Call, seconds: float) -> None:
    """Wait until that much sound has come in all, or the call is over."""
    while received_seconds(call) < seconds:
        if await anext(call.audio, None) is None:
            return


def _verdict(call: Call | None) -> Capability | None:
    """What the report says the server could have done."""
    if call is None:
        return None
    servers = [p.capability for p in call.report.parties if p.role in SERVERS]
    return servers[0] if servers else None
