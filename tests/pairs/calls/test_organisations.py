"""A clinic vouches for its staff: first calls are end-to-end, and end with its word."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

import securecall as sc
from securecall.calls.report import Capability
from securecall.errors import Revoked
from securecall.keys.trust import TrustState
from securecall.store.sqlite import Store
from securecall.store.vault import MINIMUM_COST
from securecall.testing.bus import SignalBus
from securecall.vouching import VouchingKey
from tests.pairs.calls.test_client import ALICE, BOB, PASSPHRASE, people, talk


@asynccontextmanager
async def scene(folder, bus=None):
    """Alice trusts the clinic at whose domain Bob works."""
    for name in ("alice", "bob", "anew"):
        Store.create(folder / name, PASSPHRASE, cost=MINIMUM_COST).close()
    with VouchingKey.create(
        folder / "clinic", PASSPHRASE, domain=BOB.host, cost=MINIMUM_COST
    ) as clinic:
        async with people(folder, bus) as (alice, bob):
            alice.organisations.trust(clinic.code)
            yield clinic, alice, bob


def run(main):
    async def guarded():
        async with asyncio.timeout(40):
            await main()

    asyncio.run(guarded())


def test_a_first_call_to_a_member_is_end_to_end_and_the_first_after_withdrawal_refused(tmp_path):
    async def main():
        async with scene(tmp_path) as (clinic, alice, bob):
            said = clinic.vouch(BOB, bob.contacts.root_fp)
            bob.organisations.take(said)
            first, answer = await talk(alice, bob)
            identity = first.security.identity
            assert first.security.level is sc.E2EE
            assert (identity.how, identity.organisation) == ("organisation", BOB.host)
            parties = {p.role: p for p in first.report.parties}
            assert parties["organisation"].name == BOB.host
            assert parties["organisation"].capability is Capability.COULD_SUBSTITUTE
            # Bob trusts no clinic, and hears nothing of Alice's: she is a stranger to him
            assert answer.security.level is sc.OPPORTUNISTIC
            assert "organisation" not in {p.role for p in answer.report.parties}
            assert alice.contacts.find(BOB).how == "organisation"
            heard = await talk_back(alice, bob)
            assert (heard.security.level, heard.security.identity.how) == (sc.E2EE, "organisation")
            alice.organisations.take(clinic.withdraw(BOB))
            assert alice.contacts.find(BOB).state is TrustState.UNKNOWN
            async with alice.call(BOB) as call:
                async with (await bob.next_call()).accept():
                    with pytest.raises(Revoked):
                        await call.connected()

    run(main)


async def talk_back(alice, bob):
    """Bob calls Alice; returns her end."""
    async with bob.call(ALICE) as call:
        async with (await alice.next_call()).accept() as answer:
            await call.connected()
            await answer.connected()
            await call.hang_up()
            await answer.ended()
    return answer


def test_without_a_word_a_member_is_a_stranger_and_a_word_alone_never_verifies(tmp_path):
    async def main():
        async with scene(tmp_path) as (clinic, alice, bob):
            heard = await talk_back(alice, bob)
            assert heard.security.level is sc.OPPORTUNISTIC
            assert heard.security.warnings == (f"{BOB.host} does not vouch for this key.",)
            bob.organisations.take(clinic.vouch(BOB, bob.contacts.root_fp))
            async with alice.call(BOB, require=sc.VERIFIED) as call:
                async with (await bob.next_call()).accept():
                    state = await call.connected()
                    assert state.level is sc.E2EE
                    await call.confirm_sas()
                    assert call.security.level is sc.VERIFIED
            # what Alice compared is hers, whatever the clinic says from now on
            alice.organisations.take(clinic.withdraw(BOB))
            again, _ = await talk(alice, bob)
            assert again.security.level is sc.VERIFIED
            assert "organisation" not in {p.role for p in again.report.parties}

    run(main)


def test_a_lapsed_word_leaves_a_known_member_below_what_is_required(tmp_path, monkeypatch):
    async def main():
        async with scene(tmp_path) as (clinic, alice, bob):
            bob.organisations.take(clinic.vouch(BOB, bob.contacts.root_fp))
            call, _ = await talk(alice, bob)
            assert call.security.level is sc.E2EE
            later = time.time() + 15 * 86_400
            monkeypatch.setattr("securecall.organisations.unix_now", lambda: int(later))
            async with alice.call(BOB) as call:
                async with (await bob.next_call()).accept():
                    state = await call.connected()
                    # the gate waits for the words: this contact never gets less than end-to-end
                    assert state.level is sc.OPPORTUNISTIC
                    assert call.gate.value == "verifying"

    run(main)


def test_a_new_key_of_a_member_follows_on_the_old_one_where_the_clinic_says_so(tmp_path):
    async def main():
        bus = SignalBus()
        async with scene(tmp_path, bus) as (clinic, alice, bob):
            bob.organisations.take(clinic.vouch(BOB, bob.contacts.root_fp))
            await talk(alice, bob)
            async with sc.open(tmp_path / "anew", passphrase=PASSPHRASE) as anew:
                anew.use(BOB, bus.endpoint(BOB))
                async with alice.call(BOB) as call:
                    async with (await anew.next_call()).accept():
                        with pytest.raises(sc.SecurityError):
                            await call.connected()
                anew.organisations.take(clinic.vouch(BOB, anew.contacts.root_fp))
                heard = await talk_back(alice, anew)  # which changes no pin
                assert heard.security.level is sc.E2EE
                assert alice.contacts.find(BOB).root_fp == bob.contacts.root_fp
                async with alice.call(BOB, require=sc.VERIFIED) as call:
                    async with (await anew.next_call()).accept():
                        await call.connected()
                        await call.confirm_sas()
                        assert call.security.level is sc.VERIFIED
                found = alice.contacts.find(BOB)
                assert (found.root_fp, found.how) == (anew.contacts.root_fp, "sas")

    run(main)
