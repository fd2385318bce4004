"""A13: a contact signs as another contact, with a key that is good for herself alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from securecall.address import Address
from securecall.calls.call import Call
from securecall.calls.machine import State
from securecall.calls.signaling import IncomingLeg, Route
from securecall.client import Client
from securecall.errors import AddressNotOwned, IdentityChanged, SecurecallError, SecurityError
from securecall.keys.device import DeviceKey
from securecall.keys.identity import RootKey
from securecall.keys.passport import REQUEST, PassportKey, build_passport
from securecall.keys.statement import build_statement
from securecall.keys.trust import Act, How
from securecall.media.description import Description
from securecall.media.endpoints import ToneSource
from securecall.policy import Policy
from securecall.sip.identity import build_identity
from securecall.testing.attacks.outcome import Attack, Outcome, control, named, ours
from securecall.testing.attacks.passports import (
    ALICE,
    BOB,
    MALLORY,
    ONE,
    PLAIN_SIGNED,
    SIGNED,
    TWO,
    credulous,
    forged,
    saw,
)
from securecall.testing.attacks.stage import (
    ALICE_HERTZ,
    BOB_HERTZ,
    GUARD_SECONDS,
    PLAIN,
    received_seconds,
    stranger,
)
from securecall.testing.bus import BusLeg, BusSignaling, SignalBus

Rewrite = Callable[[Route, Description], Route]


class Forging:
    """Signalling whose user writes the invitation as she likes."""

    server = None
    listening = None

    def __init__(self, endpoint: BusSignaling, rewrite: Rewrite) -> None:
        """Dial through this endpoint what `rewrite` makes of a route."""
        self._endpoint, self._rewrite = endpoint, rewrite

    async def dial(self, route: Route, offer: Description) -> BusLeg:
        """Call another address of the bus."""
        return await self._endpoint.dial(self._rewrite(route, offer), offer)

    def on_incoming(self, sink: Callable[[IncomingLeg], None]) -> None:
        """Deliver calls to `sink`."""
        self._endpoint.on_incoming(sink)

    async def close(self) -> None:
        """Nothing to close."""


def _pinned(client: Client, address: Address, raw: bytes) -> None:
    """A contact whose statement was seen."""
    root_fp = saw(client, raw)
    client.contacts.apply(client.contacts.event(Act.PIN, address, root_fp, How.CONTACT))


def _alices(key: PassportKey) -> bytes:
    """Of somebody whose statement does not ask for the identity handshake, as others' might not."""
    now = int(time.time())
    return build_statement(
        RootKey.generate(),
        seq=now * 1000,
        iat=now,
        exp=now + 86_400,
        addresses=[ALICE],
        devices=[DeviceKey.generate("phone")],
        passports={"phone": key},
    )


async def _any_contacts_key(folder: Path) -> Outcome:  # noqa: ARG001
    """A verifier that knows whose keys are good, and not for whom."""
    alices, hers = PassportKey.generate(), PassportKey.generate()
    token, outcome = forged(hers), Outcome(got="Mallory's signature is good for Alice's name")
    outcome.demand(
        credulous(token, [alices.public, hers.public], (ONE, TWO)), "her key is not taken"
    )
    return outcome


async def _call_as_alice(folder: Path, policy: Policy, hers: Policy) -> tuple[Outcome, float]:
    """Mallory, whom Bob knows, calls him as Alice, whom he knows, too; seconds he heard of her."""
    bus, outcome, heard = SignalBus(), Outcome(), 0.0
    errors: list[SecurecallError] = []
    async with (
        asyncio.timeout(GUARD_SECONDS),
        stranger(folder, "bob", policy) as bob,
        stranger(folder, "mallory", hers) as mallory,
    ):
        signer = mallory.contacts.passport_key()

        def borrow(route: Route, offer: Description) -> Route:
            token = build_passport(
                signer,
                kind=REQUEST,
                orig=ALICE,
                dest=BOB,
                digests=[(f.algorithm, f.value) for f in offer.all_fingerprints],
                unix=int(time.time()),
            )
            return replace(route, identity=build_identity(token))

        bob.use(BOB, bus.endpoint(BOB))
        _pinned(bob, MALLORY, mallory.contacts.statement)
        _pinned(bob, ALICE, _alices(PassportKey.generate()))
        before = bob.contacts.book
        mallory.use(ALICE, Forging(bus.endpoint(ALICE), borrow))

        async def take() -> Call:
            nonlocal heard
            answer = (await bob.next_call()).accept(audio=ToneSource(BOB_HERTZ))
            try:
                async with answer:
                    _ = await answer.connected()
                    _ = await anext(answer.audio)
                    heard = received_seconds(answer)
            except SecurecallError as e:
                errors.append(e)
            return answer

        taking = asyncio.create_task(take())
        call = mallory.call(BOB, audio=ToneSource(ALICE_HERTZ))
        try:
            async with call:
                _ = await call.connected()
                _ = await call.ended()
        except SecurecallError as e:
            outcome.demand(errors or not heard, f"her own end failed: {named(e)}")
        answer = await taking
        outcome.demand(bob.contacts.book == before, "what Bob knows of people changed")
        outcome.ended = call.state is State.ENDED and answer.state is State.ENDED
        outcome.demand(outcome.ended, "an end of the call goes on")
    outcome.refusals = tuple(dict.fromkeys(map(named, errors)))
    return outcome, heard


async def _nothing_asked(folder: Path) -> Outcome:
    outcome, heard = await _call_as_alice(folder, PLAIN, PLAIN)
    outcome.demand(heard > 0, f"she was refused: {outcome.refusals}")
    outcome.got = f"Bob hears Mallory for Alice ({heard:.2f} s)"
    return outcome


async def _borrowed(
    folder: Path, *, policy: Policy, hers: Policy, refusal: type[SecurityError]
) -> Outcome:
    outcome, heard = await _call_as_alice(folder, policy, hers)
    outcome.demand(heard == 0, "Bob heard her")
    kinds = {name.partition(":")[0] for name in outcome.refusals}
    outcome.demand(kinds == {refusal.__name__}, f"another refusal: {outcome.refusals}")
    outcome.got = "refused; what Bob knows of Alice and of Mallory stays"
    return outcome


A13: Final[Attack] = (
    control("a verifier that takes any contact's key", _any_contacts_key),
    control("a callee that asks for no signature", _nothing_asked),
    ours(
        "plain DTLS",
        partial(_borrowed, policy=PLAIN_SIGNED, hers=PLAIN, refusal=AddressNotOwned),
    ),
    ours(  # which shows whose key it is
        "with the identity handshake",
        partial(_borrowed, policy=SIGNED, hers=SIGNED, refusal=IdentityChanged),
    ),
)
