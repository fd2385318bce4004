"""Other projects' SIPp scenarios against our SIP agent, those of PJSIP's and of Asterisk's tests.

`python -m tests.interop.test_sipp_scenarios` prints each with what is expected of it and what came.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.interop import authority, sipp_cases
from tests.interop.children import need
from tests.interop.sipp_cases import Case
from tests.interop.sipp_run import play_all
from tests.interop.sipp_scenarios import read
from tests.paths import vectors


def pjsip() -> list[Case]:
    archive = vectors("sipp_pjsip", "pjsip_sipp_scenarios.zip")
    return [sipp_cases.pjsip(scenario) for scenario in read(archive)]


def asterisk() -> tuple[list[Case], dict[str, str]]:
    """Those that say something of a user agent, and why the others do not."""
    archive = vectors("sipp_asterisk", "asterisk_sipp_scenarios.zip")
    judged = [(scenario, sipp_cases.why_not(scenario)) for scenario in read(archive)]
    cases = [sipp_cases.asterisk(scenario) for scenario, why in judged if not why]
    return cases, {scenario.name: why for scenario, why in judged if why}


def play_twice(
    cases: Sequence[Case], folder: Path, certificates: authority.Certificates
) -> dict[str, str]:
    """What went otherwise than expected, also when it was played again with nothing beside it."""
    need("sipp", "sip-tester")
    for name in ("together", "alone"):
        (folder / name).mkdir()
    failed = asyncio.run(play_all(cases, folder / "together", certificates))
    again = [case for case in cases if case.scenario.name in failed]
    return asyncio.run(play_all(again, folder / "alone", certificates, at_once=1))


def test_every_scenario_of_pjsip_goes_as_expected(tmp_path, certificates):
    cases = pjsip()
    assert len(cases) >= 44
    assert play_twice(cases, tmp_path, certificates) == {}


def test_every_scenario_of_asterisk_about_a_user_agent_goes_as_expected(tmp_path, certificates):
    cases, others = asterisk()
    assert len(cases) >= 142
    assert len(others) < len(cases)
    assert play_twice(cases, tmp_path, certificates) == {}


def test_every_difference_belongs_to_a_scenario_and_changes_it():
    plain = {s.name: s.prepared() for s in read(vectors("sipp_pjsip", "pjsip_sipp_scenarios.zip"))}
    plain |= {
        s.name: s.prepared() for s in read(vectors("sipp_asterisk", "asterisk_sipp_scenarios.zip"))
    }
    played = [*pjsip(), *asterisk()[0]]
    assert {*sipp_cases.PJSIP, *sipp_cases.ASTERISK} <= {c.scenario.name for c in played}
    for case in played:
        same = case.scenario == plain[case.scenario.name]
        assert same is not bool(case.difference), case.scenario.name


def test_without_keys_for_its_sound_no_scenario_of_pjsip_gets_a_call(tmp_path, certificates):
    need("sipp", "sip-tester")
    calls = [
        s
        for s in read(vectors("sipp_pjsip", "pjsip_sipp_scenarios.zip"))
        if s.first is not None and s.first.invites and "multiple-require" not in s.name
    ]
    refused = sipp_cases.refused_after(lambda step: step.invites, 488)
    plain = [refused(s.prepared(keyed=False)) for s in calls]
    # the control of the rewriting; one brings a fingerprint, but not rtcp-mux
    cases = [Case(s, "no keys", sipp_cases.plan(s)) for s in plain]
    assert len(cases) == 12
    assert asyncio.run(play_all(cases, tmp_path, certificates)) == {}


def test_a_scenario_that_goes_otherwise_is_told(tmp_path, certificates):
    need("sipp", "sip-tester")
    scenarios = {s.name: s for s in read(vectors("sipp_pjsip", "pjsip_sipp_scenarios.zip"))}
    plain = scenarios["uac-message-no-body.xml"].prepared()  # as it stands, it waits for a 200
    busy = sipp_cases.refused(486)(scenarios["uac-ticket-1148.xml"].prepared())
    taken = sipp_cases.pjsip(scenarios["uac-ticket-1148.xml"]).plan
    cases = [Case(plain, "", sipp_cases.plan(plain)), Case(busy, "", taken)]
    found = asyncio.run(play_all(cases, tmp_path, certificates))
    assert "405 Method Not Allowed" in found["uac-message-no-body.xml"]
    assert "200 OK" in found["uac-ticket-1148.xml"]


def _table(cases: Sequence[Case], failed: dict[str, str]) -> None:
    for case in cases:
        verdict = failed.get(case.scenario.name) or "as expected"
        print(f"| {case.scenario.name} | {case.difference or 'as it says'} | {verdict} |")


def main() -> None:
    """Print the tables."""
    cases, others = asterisk()
    with TemporaryDirectory() as folder:
        certificates = authority.make(Path(folder))
        for title, played in (("PJSIP", pjsip()), ("Asterisk", cases)):
            place = Path(folder) / title
            place.mkdir()
            begun = time.monotonic()
            failed = play_twice(played, place, certificates)
            taken = time.monotonic() - begun
            good, said = len(played) - len(failed), sum(not case.difference for case in played)
            print(f"\n{title}: {good} of {len(played)} as expected, {said} of them as they say,")
            print(f"the others with a named difference; {taken:.0f} s\n")
            print("| scenario | expected | came |\n| --- | --- | --- |")
            _table(played, failed)
    print("\nNot played:\n")
    for why, count in Counter(others.values()).most_common():
        print(f"* {count}: {why}")


if __name__ == "__main__":
    try:
        main()
    except pytest.skip.Exception as e:
        print(e)
