"""The command attack: what it lists, runs and says, and the code it leaves with."""

from __future__ import annotations

import io
import json

import pytest

from securecall.cli import attack
from securecall.cli.attack_screen import AttackScreen
from securecall.cli.main import run
from securecall.cli.terminal import Terminal
from securecall.policy import SecurityLevel
from securecall.testing.attacks.outcome import Outcome, control, limit, ours
from securecall.testing.attacks.threats import THREATS, Adversary, Threat


async def heard(folder):
    return Outcome(got="heard 9 bytes", readable=9)


async def refused(folder):
    return Outcome(refusals=("DowngradeError: downgrade",), ended=True)


async def went_on(folder):
    return Outcome(got="it went on", level=SecurityLevel.E2EE)


async def failed(folder):
    return Outcome(problems=["it was heard"])


def threat(*attack, name="Z1", **more):
    return Threat(
        id=name,
        title="does as she likes",
        adversary=Adversary.RELAY,
        expected="nothing of it",
        attack=attack,
        **more,
    )


GOOD = threat(control("naive", heard), ours("ours", refused), ours("on", went_on))
TOLD = threat(control("naive", heard), ours("ours", refused), limit("told", heard), name="Z2")
BAD = threat(control("naive", failed), ours("ours", heard), name="Z3")
NOT_YET = threat(name="Z4", lacking="not built yet")
REAL = {"test_the_list_has_every_threat_of_the_model", "test_one_of_the_real_ones_runs"}
TESTED = threat(name="Z5", tests=("attacks/test_threats.py",))


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch, request):
    if request.node.originalname in REAL:
        return
    made = (GOOD, TOLD, BAD, NOT_YET, TESTED)
    monkeypatch.setattr(attack, "THREATS", made)
    monkeypatch.setattr(attack, "BY_ID", {t.id: t for t in made})


def said(capsys, *arguments, code=0):
    assert run(["attack", *arguments]) == code
    return capsys.readouterr().out


def events(capsys, *arguments, code=0):
    return [json.loads(x) for x in said(capsys, *arguments, "--json", code=code).splitlines()]


def test_a_run_tells_every_trial_and_its_account(capsys):
    told = events(capsys, "run", "z1")
    assert [e["type"] for e in told] == [
        "attack", "attacking", "trial", "attacking", "trial", "attacking", "trial", "attacked",
    ]  # fmt: skip
    trials = [e for e in told if e["type"] == "trial"]
    assert [(t["against"], t["held"], t["readable_bytes"]) for t in trials] == [
        ("control", True, 9),
        ("ours", True, 0),
        ("ours", True, 0),
    ]
    account = told[-1]
    assert account["held"]
    assert account["errors"] == ["DowngradeError"]
    assert (account["controls_succeeded"], account["protections_held"]) == (1, 2)


def test_an_attack_that_succeeded_and_a_control_that_did_not_leave_with_1(capsys):
    *_, account = events(capsys, "run", "Z3", code=1)
    assert not account["held"]
    assert account["failed"] == ["naive: it was heard", "ours: 9 bytes can be read"]
    text = said(capsys, "run", "Z3", code=1)
    assert "Not held" in text
    assert "9 bytes can be read" in text


def test_people_see_the_control_the_refusal_and_the_limit(capsys):
    text = " ".join(said(capsys, "run", "Z2").split())
    assert text.index("heard 9 bytes") < text.index("DowngradeError: downgrade, both ended")
    assert text.rindex("heard 9 bytes") > text.index("Nothing could prevent this")
    assert "0 bytes of ours can be read" in text


def test_the_table_has_a_line_for_every_threat(capsys):
    text = said(capsys, "run", "all", "--table", code=1)
    assert "2 of 3 threats held" in text
    assert "not yet: not built yet" in text
    assert "in the tests" in text
    assert "NOT HELD" in text
    assert "naive: it was heard" in text
    assert "Nothing could prevent" not in text  # only the table
    *_, table = events(capsys, "run", "Z1", "Z2")
    assert [t["threat"] for t in table["threats"]] == ["Z1", "Z2"]


@pytest.mark.parametrize(
    "names", [(), ("A0",), ("Z4",), ("Z5",), ("Z1", "all")], ids=lambda names: " ".join(names)
)
def test_what_cannot_be_run_is_a_wrong_usage(capsys, names):
    assert run(["attack", "run", *names]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_list_has_every_threat_of_the_model(capsys):
    (listed,) = events(capsys, "list")
    assert [t["threat"] for t in listed["threats"]] == [t.id for t in THREATS]
    text = said(capsys, "list")
    assert all(t.title in text for t in THREATS)


def test_one_of_the_real_ones_runs(capsys):
    *_, account = events(capsys, "run", "Q2")
    assert account["held"]


def test_a_narrow_terminal_shows_it_all(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    out = io.StringIO()
    terminal = Terminal(out, {"TERM": "dumb"})
    screen = AttackScreen(terminal)
    row = {
        "threat": "A1", "controls": 1, "protections": 1, "limits": 0, "lacking": "", "held": True,
        "control_got": "heard", "ours_got": "", "errors": ["DowngradeError"], "failed": [],
        "controls_succeeded": 1, "protections_held": 1, "tests": [],
    }  # fmt: skip
    screen.table([row])
    assert "DowngradeError" in out.getvalue()
