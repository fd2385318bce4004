"""A1, A7 against PASSporTs in calls: what a server puts in, takes out, or sends again."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

import securecall as sc
from securecall.calls.signaling import Ended, Ringing
from securecall.errors import Reason
from securecall.keys import this_device
from securecall.keys.passport import parse_passport
from securecall.keys.statement import build_statement, parse_statement
from securecall.keys.trust import Act, How
from securecall.sip.identity import passports_of
from securecall.testing.attacks.borrowed import Forging
from securecall.testing.attacks.passports import PLAIN_SIGNED, SIGNED, known_to_each_other
from securecall.testing.attacks.stage import GUARD_SECONDS, PLAIN, stage, stranger
from securecall.testing.bus import SignalBus
from securecall.testing.mallory import Mode
from tests.attacks.calls.on_a_bus import ALICE, BOB, hear
from tests.sip_wire import edited


def pin(one, address, other):
    """One knows the key of the other under an address."""
    one.contacts.apply(one.contacts.event(Act.PIN, address, other.contacts.root_fp, How.CONTACT))


def test_both_ends_sign_and_the_handshake_agrees(tmp_path):
    async def run():
        async with stage(tmp_path, policy=SIGNED, mode=Mode.TAP) as s:
            call = await s.dial()
            assert s.error is None
            for end in (call, s.bob.calls[0]):
                assert end.security.level is sc.E2EE
                assert end.security.identity.passport
                assert end.security.pq
                assert '"signed_in_signalling": true' in end.report.to_json()
            told = [d.decode() for _, d in s.mallory.proxy.transcript]
            kinds = [
                parse_passport(t).kind
                for text in told
                for line in text.split("\r\n")
                if line.startswith("Identity: ")
                for t in passports_of((line.partition(": ")[2],))
            ]
            assert sorted(set(kinds)) == ["", "rsp"]

    asyncio.run(run())


def test_without_being_asked_nobody_signs(tmp_path):
    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:
            call = await s.dial(seconds=0.1)
            assert not call.security.identity.passport
            assert not any(b"Identity:" in d for _, d in s.mallory.proxy.transcript)
            for person in (s.alice, s.bob):
                statement = parse_statement(person.client.contacts.statement, unix=int(time.time()))
                assert [d.p256 for d in statement.devices] == [b""]

    asyncio.run(run())


def test_one_end_that_does_not_sign_is_reached_all_the_same(tmp_path):
    """It is evidence beside the handshake, so its absence takes nothing away."""

    async def run():
        async with stage(tmp_path, policy=SIGNED) as s:
            s.mallory.tamper.append(lambda message, *_: edited(message, Identity=None))
            call = await s.dial(seconds=0.1)
            assert s.error is None
            assert call.security.level is sc.E2EE
            assert not call.security.identity.passport

    asyncio.run(run())


@pytest.fixture
def handshake_not_required(monkeypatch):
    """People whose statements do not ask for the identity handshake, as others' might not."""

    def build(*args, **members):
        return build_statement(*args, **(members | {"require": ()}))

    monkeypatch.setattr(this_device, "build_statement", build)


def test_where_no_handshake_runs_the_signature_is_the_evidence(tmp_path, handshake_not_required):
    """The callee has no identity handshake at all; the caller demands proof of who answers."""

    async def run():
        for policy, passes in ((PLAIN_SIGNED, True), (PLAIN, False)):
            async with stage(tmp_path / str(passes), policy=SIGNED, mode=Mode.TAP) as s:
                s.bob.client.policy = policy
                s.bob.client.contacts.lift_floor(s.alice.address)
                known_to_each_other(s.alice.client, s.bob.client)
                call = await s.dial()
                if passes:
                    assert s.error is None
                    assert call.security.level is sc.E2EE
                    assert not call.security.pq
                    assert not call.security.sframe
                    with pytest.raises(sc.UsageError):  # there are no words
                        await call.confirm_sas()
                else:  # the control
                    s.require_refused(Reason.DOWNGRADE, Reason.IDENTITY_MISSING)
                s.require_nothing_was_heard()

    asyncio.run(run())


def test_a_person_whose_statement_requires_the_handshake_is_not_met_by_a_signature(tmp_path):
    async def run():
        async with stage(tmp_path, policy=SIGNED) as s:
            s.bob.client.policy = PLAIN_SIGNED
            s.bob.client.contacts.lift_floor(s.alice.address)
            known_to_each_other(s.alice.client, s.bob.client)
            await s.dial()
            s.require_refused(Reason.DOWNGRADE)

    asyncio.run(run())


@pytest.mark.parametrize("signed", [True, False])
def test_a1_swapped_certificates_contradict_the_signature(tmp_path, signed):
    """Plain calls, which any server could listen to: signed, it is found out while it rings."""
    policy = PLAIN_SIGNED if signed else PLAIN

    async def run():
        async with stage(tmp_path, policy=policy, acquainted=False, mode=Mode.SWAP) as s:
            known_to_each_other(s.alice.client, s.bob.client)
            await s.dial()
            if signed:
                s.require_refused()
                assert s.mallory.last_call.refusals == [("INVITE", 488)]
            else:  # the control: she hears everything
                assert s.mallory.bytes_decrypted > 0

    asyncio.run(run())


def test_a1_only_the_answer_is_swapped(tmp_path):
    async def run():
        async with stage(tmp_path, policy=SIGNED) as s:

            def swap(sdp, to_callee):
                return sdp if to_callee else sdp.replace("a=setup:", f"{OTHER}\r\na=setup:")

            s.mallory.tamper_sdp.append(swap)
            await s.dial()
            s.require_refused(Reason.IDENTITY_MISMATCH)

    asyncio.run(run())


OTHER = "a=fingerprint:sha-256 " + ":".join(["AB"] * 32)


def test_a7_an_invitation_that_is_sent_again_is_refused_before_it_rings(tmp_path):
    async def main():
        bus = SignalBus()
        async with (
            asyncio.timeout(GUARD_SECONDS),
            stranger(tmp_path, "bob", SIGNED) as bob,
            stranger(tmp_path, "alice", SIGNED) as alice,
        ):
            bob.use(BOB, bus.endpoint(BOB))
            kept = []
            keep = Forging(bus.endpoint(ALICE), lambda *sent: kept.append(sent) or sent[0])
            alice.use(ALICE, keep)
            known_to_each_other(alice, bob)
            pin(bob, ALICE, alice)
            async with alice.call(BOB, audio=sc.ToneSource(440)) as call:
                async with (await bob.next_call()).accept() as answer:
                    await call.connected()
                    await hear(answer)
                    assert answer.security.identity.passport
            again = bus.connect(ALICE, *kept[0])  # the same message, another Call-ID
            signals = asyncio.Queue()
            again.listen(signals.put_nowait)
            assert isinstance(await signals.get(), Ended)
            assert bob.calls == ()
            route, offer = kept[0]
            # the control: it rings
            unsigned = bus.connect(
                ALICE, replace(route, identity=""), offer
            )  # the control: it rings
            unsigned.listen(signals.put_nowait)
            ring = await bob.next_call()
            assert isinstance(await signals.get(), Ringing)
            await ring.decline()

    asyncio.run(main())
