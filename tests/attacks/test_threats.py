"""The threat model's rows: each has trials, tests or a reason, and each trial comes out as it must.

One threat: `pytest tests/attacks/test_threats.py -k A1`; to watch it: `securecall attack run A1`.
"""

from __future__ import annotations

import asyncio
import re

import pytest

from securecall.testing.attacks.outcome import Against, AttackSucceeded, Outcome, Trial
from securecall.testing.attacks.running import run_trial
from securecall.testing.attacks.threats import BY_ID, THREATS
from tests.paths import PROJECT

TESTS = PROJECT / "tests"
ROWS = [
    "A1",
    "A2",
    "A4",
    "A5",
    "A6",
    "A7",
    "A9",
    "A10",
    "A11",
    "A13",
    "U1",
    "U3",
    "U4",
    "U5",
    "U6",
    "H1",
    "H2",
    "H3",
    "H4",
    "H5",
    "H6",
    "H7",
    "D1",
    "D2",
    "D3",
    "D4",
    "D5",
    "D6",
    "D8",
    "D9",
    "D10",
    "R1",
    "R2",
    "G1",
    "G2",
    "G3",
    "G4",
    "G5",
    "G6",
    "G7",
    "K1",
    "K2",
    "K3",
    "K4",
    "K5",
    "Q1",
    "Q2",
    "Q3",
    "M1",
    "M2",
    "P1",
    "P2",
    "S1",
    "S2",
    "F1",
    "F2",
    "F3",
]
TRIALS = [
    pytest.param(trial, id=f"{threat.id}-{trial.against}-{trial.name}")
    for threat in THREATS
    for trial in threat.attack
]
by_row = pytest.mark.parametrize("threat", THREATS, ids=lambda threat: threat.id)


@pytest.mark.parametrize("trial", TRIALS)
def test_it_comes_out_as_it_must(trial: Trial):
    asyncio.run(run_trial(trial)).outcome.require_held()


def test_no_row_is_forgotten_or_there_twice():
    assert sorted(t.id for t in THREATS) == sorted(ROWS) == sorted(BY_ID)


@by_row
def test_a_row_has_trials_or_tests_or_says_what_is_lacking(threat):
    assert threat.attack or threat.tests or threat.lacking


@by_row
def test_an_attack_has_a_control_and_fails_against_ours(threat):
    kinds = {trial.against for trial in threat.attack}
    assert not kinds or {Against.CONTROL, Against.OURS} <= kinds
    names = [trial.name for trial in threat.attack]
    assert len(names) == len(set(names))


@by_row
def test_the_tests_it_names_are_there(threat):
    for path in threat.tests:
        assert (TESTS / path).is_file(), path


def test_every_file_that_says_it_tests_a_row_is_named_by_it():
    for path in (TESTS / "attacks").rglob("test_*.py"):
        said = set(re.findall(r"\b([AUHDRGKQMPSF]\d{1,2})\b", path.read_text(encoding="utf-8")))
        for name in said & set(BY_ID) if path.name != "test_threats.py" else ():
            assert str(path.relative_to(TESTS)) in BY_ID[name].tests, (path.name, name)


def test_what_can_be_read_of_ours_is_a_failure_even_if_nobody_minded():
    async def careless(folder):
        return Outcome(readable=1)

    result = asyncio.run(run_trial(Trial("", Against.OURS, careless)))
    assert not result.held
    with pytest.raises(AttackSucceeded):
        result.outcome.require_held()
    assert asyncio.run(run_trial(Trial("", Against.CONTROL, careless))).held


@pytest.mark.parametrize("error", [ValueError("x"), TimeoutError(), AttackSucceeded("x")])
def test_an_error_that_escapes_a_trial_is_a_failure(error):
    async def broken(folder):
        raise error

    assert not asyncio.run(run_trial(Trial("", Against.CONTROL, broken))).held
