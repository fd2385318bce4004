"""U3: a call that is led back to its caller, or to another device of the same person.

Nobody compares words with themselves, and a stolen device is one's own. The control is a client
that lets its own identity pass: it talks.
"""

from __future__ import annotations

import asyncio

import pytest

import securecall as sc
from securecall.errors import Reason, UsageError
from securecall.keys.identity_dialogue import Dialogue
from securecall.testing.bus import SignalBus
from tests.attacks.calls.test_withdrawn_devices import BOB, DESK, PHONE, alice_twice_and_bob
from tests.forge_store import cheap
from tests.pairs.calls.test_tickets import answer
from tests.talking import talking


@pytest.fixture(autouse=True)
def _cheap_stores(monkeypatch):
    cheap(monkeypatch)


async def refused(caller, address, callee, **how):
    """Both ends, and why each ended; no sound passed."""
    ended = []
    async with caller.call(address, audio=sc.ToneSource(440), **how) as outgoing:
        async with (await callee.next_call()).accept(audio=sc.ToneSource(620)) as incoming:
            for call in (outgoing, incoming):
                with pytest.raises(sc.SecurecallError) as caught:
                    await call.connected()
                ended.append(caught.value)
                assert call.security.level is sc.SecurityLevel.NONE
                assert call.statistics() is None
    return ended


def test_another_device_of_the_same_person_is_refused_by_both_and_nothing_is_learnt(tmp_path):
    async def main():
        async with alice_twice_and_bob(tmp_path) as (desk, phone, _):
            ended = await refused(phone, DESK, desk)
            assert Reason.SELF_IDENTITY in {getattr(e, "reason", None) for e in ended}
            assert any("another device of yours" in str(error) for error in ended)
            assert not desk.contacts.all()
            assert not phone.contacts.all()

    asyncio.run(main())


def test_a_server_that_leads_a_call_to_another_device_of_its_caller_is_noticed(tmp_path):
    async def main():
        async with alice_twice_and_bob(tmp_path) as (desk, phone, _):
            bus = SignalBus()  # on which Alice's desk is where Bob should be
            through = phone.use(PHONE, bus.endpoint(PHONE))
            desk.use(BOB, bus.endpoint(BOB))
            ended = await refused(phone, BOB, desk, account=through)
            assert Reason.SELF_IDENTITY in {getattr(e, "reason", None) for e in ended}

    asyncio.run(main())


def test_control_without_the_check_one_talks_to_oneself(tmp_path, monkeypatch):
    monkeypatch.setattr(Dialogue, "_require_another", lambda *_: None)

    async def main():
        async with alice_twice_and_bob(tmp_path) as (desk, phone, _):
            async with talking(phone, desk, DESK) as (outgoing, _):
                assert outgoing.security.sframe

    asyncio.run(main())


def test_a_ticket_or_key_of_ones_own_is_refused_before_dialling_and_stays_good(tmp_path):
    async def main():
        async with alice_twice_and_bob(tmp_path) as (desk, phone, bob):
            ticket = await desk.ticket(host="127.0.0.1")
            key = desk.address
            for device in (desk, phone):
                with pytest.raises(UsageError, match="this ticket is your own"):
                    device.call(ticket)
                with pytest.raises(UsageError, match="this key is your own"):
                    device.call(key, direct=("127.0.0.1", 1))
            taking = asyncio.create_task(answer(desk))
            async with bob.call(ticket) as call:  # the control
                assert (await call.connected()).level is sc.E2EE
            await taking

    asyncio.run(main())
