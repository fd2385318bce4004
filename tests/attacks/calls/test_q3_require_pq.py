"""Q3: where post-quantum keys are required, no other peer gets a word, nor does one say any."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

import securecall as sc
from securecall.fips import Approval
from securecall.store.sqlite import Store
from securecall.store.vault import MINIMUM_COST
from securecall.testing.attacks.stage import GUARD_SECONDS, PLAIN, sent_anything, stranger
from securecall.testing.bus import SignalBus
from securecall.transport.suite import ORDINARY
from tests.attacks.calls.on_a_bus import ALICE, BOB, hear, people

CLASSICAL = replace(ORDINARY, inner_group="x25519")
"""What a peer would run that leaves ML-KEM out but keeps every other rule."""


async def dial(alice, callee, **options):
    """Returns how the call ended, None where both heard each other; and whether a frame went."""
    async with asyncio.timeout(GUARD_SECONDS):
        call = alice.call(BOB, audio=sc.ToneSource(440), **options)
        answer = None
        try:
            async with call, (await callee.next_call()).accept(audio=sc.ToneSource(620)) as answer:
                await call.connected()
                await hear(call)
                await hear(answer)
        except sc.SecurecallError as e:
            return e, sent_anything(call) or (answer is not None and sent_anything(answer))
        return None, True


def test_a_peer_without_the_handshake(tmp_path):
    async def main():
        bus = SignalBus()
        async with people(tmp_path, bus) as (alice, _), stranger(tmp_path, "eve", PLAIN) as eve:
            eve.use(BOB, bus.endpoint(BOB))
            error, sent = await dial(alice, eve, policy=PLAIN)
            assert (error, sent) == (None, True)  # the control
            error, sent = await dial(alice, eve, policy=PLAIN, require_pq=True)
            assert isinstance(error, sc.SecurityError)
            assert not sent

    asyncio.run(main())


@asynccontextmanager
async def of_suite(folder, bus, address, suite):
    """A client under a suite, reachable at an address of the bus."""
    passphrase = sc.Secret(b"correct horse battery staple")
    Store.create(folder, passphrase, cost=MINIMUM_COST).close()
    approval = Approval(suite=suite)
    async with sc.Client(
        folder, passphrase, create=False, policy=sc.Policy(), approval=approval
    ) as it:
        it.use(address, bus.endpoint(address))
        yield it


def test_a_peer_with_another_group(tmp_path):
    """Both ends run X25519 alone, so that nothing but what is required stands in between."""

    async def main():
        bus = SignalBus()
        async with (
            of_suite(tmp_path / "alice", bus, ALICE, CLASSICAL) as alice,
            of_suite(tmp_path / "bob", bus, BOB, CLASSICAL) as bob,
        ):
            error, sent = await dial(alice, bob)
            assert (error, sent) == (None, True)  # the control
            error, sent = await dial(alice, bob, require_pq=True)
            assert isinstance(error, sc.PolicyRefused)
            assert "post-quantum" in str(error)
            assert not sent

    asyncio.run(main())


def test_only_one_end_has_another_group(tmp_path):
    """Then the inner TLS finds nothing in common, whatever is required."""

    async def main():
        bus = SignalBus()
        async with (
            of_suite(tmp_path / "alice", bus, ALICE, ORDINARY) as alice,
            of_suite(tmp_path / "bob", bus, BOB, CLASSICAL) as bob,
        ):
            error, sent = await dial(alice, bob)
            assert isinstance(error, sc.SecurityError)
            assert not sent

    asyncio.run(main())


def test_control_two_of_the_ordinary_suite_meet_what_is_required(tmp_path):
    async def main():
        async with people(tmp_path, SignalBus()) as (alice, bob):
            assert await dial(alice, bob, require_pq=True) == (None, True)

    asyncio.run(main())


def test_what_contradicts_itself_is_not_taken():
    with pytest.raises(sc.UsageError):
        sc.Policy(require_pq=True, danger_plain_dtls=True)
