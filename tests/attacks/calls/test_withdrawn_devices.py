"""K4: a device that was stolen, in the middle of a call; its owner withdraws it from another one.

The control is a client that looks at withdrawals at the beginning of calls alone.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

import securecall as sc
from securecall.announcing import Announcer
from securecall.errors import Reason
from securecall.events import ContactKeysChanged, KeysChange
from securecall.keys.enrolment import build_invitation
from securecall.keys.trust import Act, How, TrustState
from securecall.restoring import join_identity
from securecall.testing.bus import SignalBus
from tests.forge_store import cheap
from tests.talking import talking

PASSPHRASE = sc.Secret("correct horse battery staple")
DESK, PHONE, BOB = (sc.parse_address(f"sip:{n}@x.example") for n in ("alice", "phone", "bob"))
SOON = 5.0  # seconds, row K4


@pytest.fixture(autouse=True)
def _cheap_stores(monkeypatch):
    cheap(monkeypatch)


@asynccontextmanager
async def alice_twice_and_bob(folder):
    """Alice's desk holds her root, her phone does not; Bob knows both addresses as hers."""
    bus = SignalBus()
    async with (
        sc.open(folder / "desk", passphrase=PASSPHRASE, create=True) as desk,
        sc.open(folder / "bob", passphrase=PASSPHRASE, create=True) as bob,
    ):
        desk.use(DESK, bus.endpoint(DESK))
        bob.use(BOB, bus.endpoint(BOB))
        own = desk.contacts.identity
        invitation = build_invitation(own.root_public)
        request = join_identity(
            folder / "phone", passphrase=PASSPHRASE, invitation=invitation, device_id="phone"
        )
        async with sc.open(folder / "phone", passphrase=PASSPHRASE) as phone:
            theirs = phone.contacts.identity
            theirs.take(own.enrol(request))
            phone.use(PHONE, bus.endpoint(PHONE))
            theirs.take(own.enrol(theirs.request()))
            yield desk, phone, bob


def test_both_devices_call_and_are_called_under_one_root(tmp_path):
    async def main():
        async with alice_twice_and_bob(tmp_path) as (desk, phone, bob):
            async with talking(bob, desk, DESK):
                pass
            bob.contacts.add_address(DESK, PHONE)
            assert bob.contacts.find(PHONE).state is TrustState.PINNED  # by the card
            async with talking(bob, phone, PHONE) as (call, _):
                assert call.security.level is sc.E2EE
                assert call.security.identity.device_id == "phone"
            for device in (desk, phone):
                async with talking(device, bob, BOB) as (_, taken):
                    assert taken.security.level is sc.E2EE
                    assert taken.security.identity.root_fp == desk.contacts.root_fp
            assert bob.contacts.find(PHONE).root_fp == phone.contacts.root_fp

    asyncio.run(main())


async def revoked_while_talking(desk, phone, bob):
    """Bob talks with the phone; the desk withdraws it, which Bob learns by a call of the desk."""
    async with talking(bob, desk, DESK):
        pass
    bob.contacts.add_address(DESK, PHONE)
    async with bob.call(PHONE) as call, (await phone.next_call()).accept() as stolen:
        await call.connected()
        await stolen.connected()
        desk.contacts.identity.revoke("phone")
        async with talking(desk, bob, BOB):
            async with asyncio.timeout(SOON):
                with pytest.raises(sc.Revoked) as caught:
                    await call.ended()
                assert caught.value.reason is Reason.REVOKED
                with pytest.raises(sc.SecurecallError):
                    await stolen.ended()
            assert call.gate.value == stolen.gate.value == "closed"


def test_a_call_with_a_withdrawn_device_ends_when_its_withdrawal_arrives(tmp_path):
    async def main():
        async with alice_twice_and_bob(tmp_path) as (desk, phone, bob):
            told = bob.events()
            await revoked_while_talking(desk, phone, bob)
            async for event in told:
                if isinstance(event, ContactKeysChanged) and event.change is KeysChange.REVOKED:
                    break
            assert event.revoked == ("phone",)
            assert set(event.addresses) == {DESK, PHONE}
            # and it does not get through again, in either direction
            async with bob.call(PHONE) as call:
                taking = asyncio.create_task(_take(phone))
                with pytest.raises(sc.SecurityError):
                    await call.connected()
            with pytest.raises(sc.SecurecallError):
                await taking
            ringing = asyncio.create_task(_take(bob))
            async with phone.call(BOB) as call:
                with pytest.raises(sc.SecurecallError):
                    await call.connected()
            with pytest.raises(sc.Revoked):
                await ringing

    asyncio.run(main())


async def _take(client):
    async with (await client.next_call()).accept() as call:
        await call.ended()


def test_control_a_client_that_looks_only_at_the_beginning_goes_on_talking(tmp_path, monkeypatch):
    monkeypatch.setattr(Announcer, "_keys_changed", lambda self, event: self.tell(event))

    async def main():
        async with alice_twice_and_bob(tmp_path) as (desk, phone, bob):
            with pytest.raises(TimeoutError):
                await revoked_while_talking(desk, phone, bob)

    monkeypatch.setattr("tests.attacks.calls.test_withdrawn_devices.SOON", 0.3)
    asyncio.run(main())


def test_a_device_that_has_not_heard_yet_is_not_taken_for_a_rollback(tmp_path):
    async def main():
        async with alice_twice_and_bob(tmp_path) as (desk, phone, bob):
            old = phone.contacts.statement
            desk.contacts.identity.own_address(sc.parse_address("sip:more@x.example"))
            async with talking(bob, desk, DESK):
                pass
            bob.contacts.add_address(DESK, PHONE)
            assert phone.contacts.statement == old != desk.contacts.statement
            async with talking(phone, bob, BOB) as (_, taken):
                assert taken.security.level is sc.E2EE
            known = bob.contacts.statements.known(desk.contacts.root_fp)
            assert known.raw == desk.contacts.statement

    asyncio.run(main())


def test_a_call_with_a_key_that_our_user_distrusts_ends_at_once(tmp_path):
    async def main():
        async with alice_twice_and_bob(tmp_path) as (desk, _, bob):
            async with bob.call(DESK) as call, (await desk.next_call()).accept():
                await call.connected()
                contacts = bob.contacts
                contacts.apply(contacts.event(Act.DISTRUST, DESK, desk.contacts.root_fp, How.USER))
                with pytest.raises(sc.SecurityError) as caught:
                    await call.ended()
                assert caught.value.reason is Reason.DISTRUSTED

    asyncio.run(main())
