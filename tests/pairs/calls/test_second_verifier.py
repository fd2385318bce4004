"""The second verifier, written from the specification alone, agrees with ours about every file.

Where two that share no code say the same of good, altered and hostile reports, the specification
says what the code does.
"""

from __future__ import annotations

import ast
import copy
import importlib.util
import json
import random
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securecall.calls.report import CallEvent, EventKind, Interval
from securecall.calls.report_document import build_file, parse_report
from securecall.calls.report_shape import REPORT, schema
from securecall.calls.report_verify import Verdict, examine, is_countersigned
from securecall.errors import ProtocolError
from securecall.keys.encoding import build_base64url
from securecall.keys.trust import TrustState
from securecall.media.description import Keying
from securecall.policy import UNSECURED, Facts, security_state
from tests.attacks.calls.test_altered_reports import ALTERATIONS, RECORD, put
from tests.growth import faster, linear
from tests.properties.calls.test_report_parties import WAYS, facts
from tests.report_world import ALICE, BEGAN, BOB, MALLORY, evidence, object_of, reports, resealed
from tests.unit.cli.test_report import CHANGES, HOSTILE, changed

SPEC = Path(__file__).parents[3] / "docs" / "spec"
FILE = SPEC / "verify_report.py"


def load():
    spec = importlib.util.spec_from_file_location("verify_report", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SECOND = load()
PUBLISHED = json.loads((SPEC / "listener-report.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(PUBLISHED)


def first(document: dict) -> tuple[str, set[str]]:
    findings = examine(document)
    false = {f.part for f in findings if f.verdict is Verdict.FALSE}
    return "false" if false else "proved" if is_countersigned(findings) else "missing", false


def agree(document: dict) -> str:
    """Both say the same of a document; returns what."""
    data = build_file(document).encode()
    ours, theirs = first(parse_report(data)), SECOND.verify(SECOND.read(data))
    assert ours == theirs
    return ours[0]


def good() -> dict[str, tuple[dict, str]]:
    caller, callee = reports()
    (interval,) = caller.intervals
    hop = security_state(Facts(keying=Keying.DTLS_SRTP))
    alone = {"record": None, "events": (), "refused": 0}
    late = Interval(since=30.0, security=evidence(BOB, confirmed=True), passed=True)
    found = {
        "caller": (caller, "proved"),
        "callee": (callee, "proved"),
        "still going on": (replace(caller, record=None, ended=None), "missing"),
        "not countersigned": (
            replace(caller, record=replace(caller.record, theirs=None, why="no answer")), "missing",
        ),
        "no seal": (replace(caller, signer=None), "missing"),
        "no identity": (
            replace(
                caller, **alone, statements=(), signer=None,
                intervals=(replace(interval, security=hop),),
            ), "missing",
        ),
        "no keys": (
            replace(caller, **alone, statements=(ALICE.statement,), intervals=()), "missing",
        ),
        "whose seal": (replace(caller, **alone, statements=(), intervals=()), "false"),
        "no keys and no seal": (
            replace(caller, **alone, statements=(), intervals=(), signer=None), "missing",
        ),
        "words compared later": (replace(caller, **alone, intervals=(interval, late)), "missing"),
        "flooded": (
            replace(
                caller, record=None, refused=1000, dropped=936,
                events=(CallEvent(2.0, EventKind.CHANGE_REFUSED),) * 64,
            ), "missing",
        ),
    }  # fmt: skip
    for number, way in enumerate(WAYS):
        found[f"way {number}"] = (replace(caller, record=None, way=way), "missing")
    for how in ("first-call", "directory", "organisation", "link", "bearer", "card", "qr", "new"):
        security = evidence(BOB, TrustState.PINNED, how)
        changed = replace(caller, intervals=(replace(interval, security=security),))
        found[how] = (changed, "proved")
    return {name: (object_of(report), verdict) for name, (report, verdict) in found.items()}


GOOD = good()


@pytest.mark.parametrize("name", GOOD)
def test_they_agree_on_what_nobody_altered(name):
    document, verdict = GOOD[name]
    assert agree(document) == verdict


@pytest.mark.parametrize("by", [None, ALICE, MALLORY], ids=["as sealed", "by its owner", "anew"])
@pytest.mark.parametrize("alter", [a[1] for a in ALTERATIONS], ids=[a[0] for a in ALTERATIONS])
def test_they_agree_on_what_was_altered(alter, by):
    verdicts = set()
    for name in ("caller", "callee", "not countersigned", "still going on"):
        document = copy.deepcopy(GOOD[name][0])
        try:
            alter(document)
        except (KeyError, TypeError):
            continue
        if by is not None:
            resealed(document, by)
        verdicts.add(agree(document))
    assert "false" in verdicts or by is ALICE  # the owner may well say other things alone


@pytest.mark.parametrize("end", ["caller", "callee"])
@pytest.mark.parametrize(("name", "value"), RECORD)
def test_they_agree_on_altered_records(end, name, value):
    document = copy.deepcopy(GOOD["caller"][0])
    put("countersignature", "record", end, name, value)(document)
    assert agree(document) == agree(resealed(document, ALICE)) == "false"


def swapped(which: str, data: bytes) -> dict:
    document = copy.deepcopy(GOOD["caller"][0])
    document["statements"][which] = build_base64url(data)
    return resealed(document, ALICE)


def test_they_agree_on_statements():
    broken = BOB.statement.replace(b'"payload":"', b'"payload":"A', 1)
    older = BOB.stated(seq=BEGAN * 1000 - 1)
    for data in (MALLORY.statement, older, broken, b"", b"{}", b"[" * 9999):
        for which in ("ours", "theirs"):
            assert agree(swapped(which, data)) == "false"
    lone = copy.deepcopy(GOOD["still going on"][0])
    for data in (MALLORY.statement, b""):
        lone["statements"]["theirs"] = build_base64url(data)
        assert agree(resealed(lone, ALICE)) == "false"
    loose = copy.deepcopy(GOOD["caller"][0])
    for text in (loose["statements"]["theirs"] + "A", "AB", "A"):
        loose["statements"]["theirs"] = text
        assert agree(resealed(loose, ALICE)) == "false"


@pytest.mark.parametrize("who", [ALICE, BOB], ids=["ours", "theirs"])
@pytest.mark.parametrize(
    ("iat", "exp", "verdict"),
    [
        (-1, 0, "proved"),
        (-1, 14 * 86_400 - 1, "proved"),
        (86_400, 86_401, "proved"),
        (86_401, 86_402, "false"),
        (-2, -1, "missing"),
        (-300 * 86_400, -290 * 86_400, "missing"),
    ],
)
def test_they_agree_on_when_statements_hold(who, iat, exp, verdict, monkeypatch):
    made = who.stated(seq=BEGAN * 1000, iat=BEGAN + iat, exp=BEGAN + exp)
    monkeypatch.setattr(who, "statement", made)
    for report in reports():
        assert agree(object_of(report)) == verdict
    alone = replace(reports()[0], record=None)
    assert agree(object_of(alone)) == ("false" if verdict == "false" else "missing")
    marked, _ = reports(security=evidence(stale=True))
    assert agree(object_of(marked)) == verdict  # that a report admits it proves no more


@pytest.mark.parametrize("who", [ALICE, BOB], ids=["ours", "theirs"])
@pytest.mark.parametrize(
    ("seq", "verdict"),
    [
        (0, "proved"),
        ((BEGAN + 86_400) * 1000, "proved"),
        ((BEGAN + 86_400) * 1000 + 1, "false"),
        (2**53 - 1, "false"),
    ],
)
def test_they_agree_that_no_statement_is_numbered_far_ahead(who, seq, verdict, monkeypatch):
    monkeypatch.setattr(who, "statement", who.stated(seq=seq))
    for report in reports():
        assert agree(object_of(report)) == verdict


@pytest.mark.parametrize("exp", [14 * 86_400 + 1, 300 * 86_400])
def test_they_agree_that_no_statement_is_made_for_so_long(exp, monkeypatch):
    monkeypatch.setattr("securecall.keys.statement.MAX_LIFETIME", exp)
    monkeypatch.setattr(BOB, "statement", BOB.stated(seq=1, iat=BEGAN, exp=BEGAN + exp))
    assert agree(object_of(reports()[0])) == "false"


def test_they_agree_on_who_could_have_listened():
    """Any evidence, any way, and a claim that may be too small."""
    chance = random.Random(20)
    base, _ = reports()
    base = replace(base, record=None, statements=(ALICE.statement,))
    before = replace(base.intervals[0], since=0.5)
    verdicts = []
    for way, interval in chance.sample(list(facts()), 80):
        intervals = chance.choice([(interval,), (before, replace(interval, since=1.0))])
        document = object_of(replace(base, way=way, intervals=intervals))
        parties = document["intervals"][-1]["parties"]
        party = chance.choice(parties)
        party["could"] = chance.choice([p["could"] for p in parties] + ["nothing"])
        if chance.random() < 0.2:
            parties.remove(party)
        verdicts.append(agree(resealed(document, ALICE)))
    assert min(verdicts.count(v) for v in ("false", "missing")) > 20


@settings(max_examples=25, deadline=None)
@given(CHANGES, st.sampled_from(["caller", "no keys", "still going on"]), st.booleans())
def test_they_agree_on_any_change(changes, name, sealed):
    document = changed(GOOD[name][0], changes)
    try:
        _ = parse_report(build_file(document).encode())
    except ProtocolError:
        with pytest.raises((ValueError, RecursionError)):
            SECOND.read(build_file(document).encode())
    else:
        agree(resealed(document, ALICE) if sealed else document)


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_they_agree_on_what_is_no_report(data):
    with pytest.raises(ProtocolError):
        parse_report(data)
    with pytest.raises((ValueError, RecursionError)):
        SECOND.read(data)


NEVER_ENDS = b'{"a":"' + rb"\"" * 500_000  # 1 MiB, as large as a report may be


def refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="Unterminated string"):
        SECOND.read(data)


def test_a_string_that_never_ends_is_read_once(tmp_path):
    file = tmp_path / "hostile.json"
    file.write_bytes(NEVER_ENDS)
    command = [sys.executable, "-I", str(FILE), str(file)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (run.returncode, run.stderr) == (4, "")
    assert linear(lambda size: partial(refused, NEVER_ENDS[:size]), 100_000)


def test_control_a_pattern_that_begins_anew_at_every_quote_is_quadratic():
    anew = re.compile(rb'"(?:[^"\\]|\\.)*"|[][{}]', re.DOTALL)
    assert faster(lambda size: partial(anew.findall, NEVER_ENDS[:size]), 300)


def test_the_second_verifier_is_short_and_owes_us_nothing():
    text = FILE.read_text()
    assert len(text.splitlines()) <= 200
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(str(node.module).split(".")[0])
    assert names - set(sys.stdlib_module_names) == {"cryptography"}
    assert not names & {"importlib", "socket", "subprocess", "urllib", "http"}


@pytest.mark.parametrize(
    ("name", "code"), [("caller", 0), ("no seal", 8), ("whose seal", 5), ("", 4)]
)  # fmt: skip
def test_it_runs_by_itself(tmp_path, name, code):
    file = tmp_path / "report.json"
    file.write_text(build_file(GOOD[name][0]) if name else "{}")
    command = [sys.executable, "-I", str(FILE), str(file)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert run.returncode == code, run.stderr
    assert not run.stderr


# ---------------------------------------------------------------- the published schema


def test_the_published_schema_is_that_of_the_code():
    """To write it anew: print(json.dumps(schema(), indent=1))."""
    jsonschema.Draft202012Validator.check_schema(PUBLISHED)
    assert schema() == PUBLISHED


def accepted(document: object) -> bool:
    try:
        REPORT.require(document, "report")
    except ProtocolError:
        return False
    return True


@pytest.mark.parametrize("name", GOOD)
def test_every_report_fits_the_published_schema(name):
    VALIDATOR.validate(GOOD[name][0])


WRONG = [None, True, -1, 2**53, "", "x", "x" * 3000, "a\u202eb", "line\n", [], {}, ["x"], {"x": 1}]


def places(value: object, path: tuple = ()) -> list[tuple]:
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(p for name, item in inner for p in places(item, (*path, name)))]


def test_the_schema_and_the_code_refuse_the_same():
    """At every place of a report, values that may or may not stand there; and members too many."""
    chance = random.Random(7)
    base = GOOD["caller"][0]
    answers = []
    for path in places(base)[1:]:
        for wrong in chance.sample(WRONG, 2):
            document = copy.deepcopy(base)
            place = document
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = wrong
            answers.append(accepted(document))
            assert VALIDATOR.is_valid(document) is answers[-1], (path, wrong)
            assert bool(SECOND.fits(document, PUBLISHED)) is answers[-1], (path, wrong)
        if isinstance(path[-1], str):
            del place[path[-1]]
            assert not (accepted(document) or VALIDATOR.is_valid(document))
    assert 10 < answers.count(True) < len(answers) / 2


def test_an_interval_without_anything_is_in_every_report():
    assert object_of(replace(reports()[0], record=None, intervals=()))["intervals"][0]["level"] == (
        UNSECURED.level.name
    )
