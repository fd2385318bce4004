"""A key that lost the user's trust between its judgement and the open gate opens nothing."""

from __future__ import annotations

import asyncio

import pytest

import securecall as sc
from securecall.announcing import Announcer
from securecall.calls.connection import MediaConnection
from securecall.calls.countersign import Countersigner
from securecall.calls.machine import State
from securecall.expectation import Expectation
from securecall.keys.trust import Act, How
from securecall.media.description import Gate
from securecall.testing.attacks.stage import GUARD_SECONDS
from securecall.testing.bus import SignalBus
from tests.attacks.calls.on_a_bus import ALICE, BOB, people


def distrust(client, address, root_fp):
    client.contacts.apply(client.contacts.event(Act.DISTRUST, address, root_fp, How.USER))


def pin(client, address, root_fp):
    client.contacts.apply(client.contacts.event(Act.PIN, address, root_fp, How.CONTACT))


async def refused(call):
    assert call._connection.gate is Gate.CLOSED
    with pytest.raises(sc.SecurityError):
        await call.ended()
    assert call.state is State.ENDED


@pytest.mark.parametrize("known", [False, True])
def test_words_cannot_be_confirmed_for_a_key_distrusted_while_they_were_compared(
    tmp_path, monkeypatch, known
):
    # Such a call ends at once (test_withdrawn_devices.py); this is the door behind that one.
    monkeypatch.setattr(Announcer, "_keys_changed", lambda self, event: None)

    async def main():
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, SignalBus()) as (alice, bob):
            if known:
                pin(alice, BOB, bob.contacts.root_fp)
            async with alice.call(BOB, require=sc.VERIFIED) as call:
                async with (await bob.next_call()).accept():
                    await call.connected()
                    assert call.state is State.VERIFYING
                    distrust(alice, BOB, bob.contacts.root_fp)
                    with pytest.raises(sc.SecurityError):
                        await call.confirm_sas()
                    await refused(call)

    asyncio.run(main())


@pytest.mark.parametrize("incoming", [False, True])
def test_a_key_distrusted_in_the_midst_of_the_handshake_opens_no_gate(
    tmp_path, monkeypatch, incoming
):
    async def main():
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, SignalBus()) as (alice, bob):
            for one, address, other in ((alice, BOB, bob), (bob, ALICE, alice)):
                pin(one, address, other.contacts.root_fp)
            victim, address, other = (bob, ALICE, alice) if incoming else (alice, BOB, bob)
            judge = Expectation.judge

            def judge_and_regret(self, claim):
                judge(self, claim)
                if self._contacts is victim.contacts:
                    distrust(victim, address, other.contacts.root_fp)

            monkeypatch.setattr(Expectation, "judge", judge_and_regret)
            async with alice.call(BOB) as call:
                async with (await bob.next_call()).accept() as answer:
                    await refused(answer if incoming else call)

    asyncio.run(main())


@pytest.mark.parametrize("as_it_was", [False, True], ids=["ours", "control"])
def test_words_that_are_confirmed_while_we_hang_up_open_nothing(tmp_path, monkeypatch, as_it_was):
    """The other end takes its time to sign the account of the call, and hears us meanwhile."""
    if as_it_was:
        closed = MediaConnection.gate.fset
        monkeypatch.setattr(MediaConnection, "leave", lambda self: closed(self, Gate.CLOSED))
    monkeypatch.setattr(Countersigner, "_proposed", lambda *_, **__: ())
    monkeypatch.setattr("securecall.calls.countersign.PATIENCE_SECONDS", 0.1)

    async def main():
        async with asyncio.timeout(GUARD_SECONDS), people(tmp_path, SignalBus()) as (alice, bob):
            async with alice.call(BOB, require=sc.VERIFIED) as call:
                async with (await bob.next_call()).accept():
                    await call.connected()
                    hanging_up = asyncio.ensure_future(call.hang_up())
                    await asyncio.sleep(0)
                    assert (call.state, call.gate) == (State.VERIFYING, Gate.CLOSED)
                    await call.confirm_sas()
                    assert call.gate is (Gate.OPEN if as_it_was else Gate.CLOSED)
                    await hanging_up
                    assert call.gate is Gate.CLOSED

    asyncio.run(main())
