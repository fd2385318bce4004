"""After a backup was restored: contacts know the same person, and the old device is no more.

The control is the old device before that: it is who it says.
"""

from __future__ import annotations

import asyncio

import pytest

import securecall as sc
from securecall.errors import SecurityError
from securecall.keys.trust import Act, How
from securecall.secret import Secret
from securecall.store.backup import restore, write_backup
from securecall.store.lock import MINIMUM_COST
from securecall.testing.attacks.stage import GUARD_SECONDS, stranger
from securecall.testing.bus import SignalBus
from tests.attacks.calls.on_a_bus import ALICE, BOB, hear

SAVED = Secret("of the backup")


def meet(client, address, root_fp) -> None:
    """They know each other's keys."""
    client.contacts.apply(client.contacts.event(Act.PIN, address, root_fp, How.CONTACT))


async def call_bob(alice, bob, *, require=None) -> sc.SecurityState:
    async with alice.call(BOB, audio=sc.ToneSource(440), require=require) as call:
        async with (await bob.next_call()).accept(audio=sc.ToneSource(620)):
            state = await call.connected()
            await hear(call)
            return state


def test_contacts_know_the_restored_device_and_refuse_the_one_before(tmp_path):
    async def main():
        bus = SignalBus()
        async with asyncio.timeout(2 * GUARD_SECONDS), stranger(tmp_path, "bob") as bob:
            bob.use(BOB, bus.endpoint(BOB))
            async with stranger(tmp_path, "alice") as alice:
                alice.use(ALICE, bus.endpoint(ALICE))
                root = alice.contacts.root_fp
                meet(bob, ALICE, root)
                meet(alice, BOB, bob.contacts.root_fp)
                await call_bob(alice, bob, require=sc.E2EE)  # the control
                store = alice.contacts.store
                old, seq = store.device.id, store.seq
                write_backup(store, tmp_path / "saved", SAVED, cost=MINIMUM_COST)
            restore(
                tmp_path / "saved",
                tmp_path / "again",
                backup_passphrase=SAVED,
                passphrase=SAVED,
                cost=MINIMUM_COST,
            )
            async with sc.open(tmp_path / "again", passphrase=SAVED) as again:
                again.use(ALICE, bus.endpoint(ALICE))
                assert again.contacts.store.seq > seq
                state = await call_bob(again, bob, require=sc.E2EE)
                assert state.level >= sc.E2EE
                assert root == again.contacts.root_fp
                assert again.contacts.store.device.id != old
            secret = Secret(b"correct horse alice staple")  # of `stranger`
            async with sc.open(tmp_path / "alice", passphrase=secret) as thief:  # the lost machine
                thief.use(ALICE, bus.endpoint(ALICE))
                assert thief.contacts.store.device.id == old
                async with thief.call(BOB) as call:
                    with pytest.raises(SecurityError, match="older than one seen before"):
                        async with (await bob.next_call()).accept() as answer:
                            await answer.connected()
                    with pytest.raises(SecurityError):
                        await call.connected()

    asyncio.run(main())
