"""Two clients call each other; each end's report tells what happened and proves itself."""

from __future__ import annotations

import asyncio

import pytest

import securecall as sc
from securecall.calls.report import Consent, EventKind
from securecall.calls.report_document import parse_report
from securecall.calls.report_verify import examine, is_countersigned, require_unaltered
from securecall.calls.signaling import Offered
from securecall.keys.trust import TrustState
from tests.pairs.calls.test_client import ALICE, BOB, people, talk

pytestmark = pytest.mark.usefixtures("time_to_sign")


def proved(call: sc.Call) -> dict:
    """The report as a file, checked by nothing but itself."""
    document = parse_report(call.report.to_json().encode())
    findings = examine(document)
    require_unaltered(findings)
    assert is_countersigned(findings), findings
    return document


def kinds(call: sc.Call) -> list[EventKind]:
    return [event.kind for event in call.report.events]


def test_both_reports_prove_themselves_bear_the_same_record_and_tell_of_pins(tmp_path):
    async def main() -> None:
        async with people(tmp_path) as (alice, bob):
            for known in (False, True):
                call, answer = await talk(alice, bob)
                assert (EventKind.KEY_PINNED in kinds(call)) is not known
                assert alice.contacts.find(BOB).state is TrustState.PINNED
                assert EventKind.KEY_PINNED not in kinds(answer)  # it did not call
                assert bob.contacts.find(ALICE).state is TrustState.UNKNOWN
                ours, theirs = proved(call), proved(answer)
                signed = ours["countersignature"], theirs["countersignature"]
                assert signed[0]["record"] == signed[1]["record"]
                assert (signed[0]["ours"], signed[0]["theirs"]) == (
                    signed[1]["theirs"], signed[1]["ours"],
                )  # fmt: skip
                said = signed[0]["record"]["caller"]["said"]
                assert said["level"] == call.security.level.name
            assert said["level"] == "E2EE"
            assert signed[0]["record"]["callee"]["said"]["level"] == "OPPORTUNISTIC"

    asyncio.run(main())


def test_words_recording_and_consent_are_told_and_the_other_end_signs_them(tmp_path):
    async def main() -> None:
        async with people(tmp_path) as (alice, bob):
            async with alice.call(BOB, audio=sc.ToneSource(440)) as call:
                async with (await bob.next_call()).accept(audio=sc.ToneSource(620)) as answer:
                    await call.connected()
                    await answer.connected()
                    call.note_consent(Consent.ASKED)
                    call.note_consent(Consent.GIVEN, by="Bob")
                    recorder = call.record(tmp_path / "heard.wav")
                    await call.confirm_sas()
                    call.remove_sink(recorder)
                    recorder.close()
                    await call.hang_up()
                    await answer.ended()
            document = proved(call)
            assert kinds(call) == [
                EventKind.KEYS_AGREED,
                EventKind.KEY_PINNED,
                EventKind.CONSENT_ASKED,
                EventKind.CONSENT_GIVEN,
                EventKind.RECORDING_STARTED,
                EventKind.LEVEL_CHANGED,
                EventKind.WORDS_SAME,
                EventKind.KEY_VERIFIED,
                EventKind.RECORDING_STOPPED,
            ]
            assert alice.contacts.find(BOB).state is TrustState.VERIFIED
            said = document["countersignature"]["record"]["caller"]["said"]
            assert said == {"level": "VERIFIED", "compared": True, "recorded": True, "refused": 0}
            assert "The other end says that it recorded you." in str(answer.report)
            assert "Only the two of you could have listened." in str(call.report)
            proved(answer)

    asyncio.run(main())


def test_a_refused_change_is_told_and_signed_and_a_flood_of_them_is_counted(tmp_path):
    async def main() -> None:
        async with people(tmp_path) as (alice, bob):
            async with alice.call(BOB) as call:
                async with (await bob.next_call()).accept() as answer:
                    await call.connected()
                    await answer.connected()
                    for _ in range(1000):
                        call._on_signal(Offered(answer._offer))
                    await call.hang_up()
                    await answer.ended()
            refused = [e for e in call.report.events if e.kind is EventKind.CHANGE_REFUSED]
            assert (call.report.refused, len(refused), call.report.dropped) == (1000, 64, 936)
            record = proved(call)["countersignature"]["record"]
            assert record["caller"]["said"]["refused"] == 1000
            proved(answer)

    asyncio.run(main())


def test_words_that_differ_leave_a_report_that_nobody_signed_and_says_why(tmp_path):
    async def main() -> None:
        async with people(tmp_path) as (alice, bob):
            async with alice.call(BOB, audio=sc.ToneSource(440)) as call:
                async with (await bob.next_call()).accept(audio=sc.ToneSource(620)) as answer:
                    await call.connected()
                    await answer.connected()
                    await call.deny_sas()
                    with pytest.raises(sc.SecurityError):
                        await answer.ended()
            assert EventKind.WORDS_DIFFER in kinds(call)
            findings = examine(parse_report(call.report.to_json().encode()))
            require_unaltered(findings)
            assert not is_countersigned(findings)
            assert "the words were not the same" in str(call.report)
            assert "Somebody in the middle could have listened" in str(call.report)

    asyncio.run(main())
