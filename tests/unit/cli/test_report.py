"""`securecall report`: offline, with an exit code for each outcome, whatever the file holds."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securecall.calls.report_document import build_file, parse_report
from securecall.calls.report_html import page_as_html
from securecall.calls.report_shape import MAX_SIZE
from securecall.calls.report_verify import examine
from securecall.calls.report_words import Page, page_as_text, page_of
from securecall.cli.main import run
from securecall.cli.output import PeopleOutput
from securecall.cli.report import save_report
from securecall.cli.report_screen import fitted_page
from securecall.cli.terminal import Terminal
from securecall.errors import LocalError, ProtocolError
from tests.report_world import object_of, reports
from tests.unit.cli.test_terminal import Screen


@pytest.fixture
def kept(tmp_path):
    return save_report(reports()[0], tmp_path / "call.json")


def altered(document: dict) -> dict:
    document["way"]["hops"] = ["nobody"]
    return document


def unsigned(_: dict) -> dict:
    return object_of(replace(reports()[0], record=None))


@pytest.mark.parametrize(
    ("change", "code", "verdict"),
    [(lambda d: d, 0, "proved"), (unsigned, 8, "missing"), (altered, 5, "false")],
    ids=["untouched", "signed by nobody", "altered"],
)
def test_verify_leaves_with_the_code_of_its_verdict(kept, capsys, change, code, verdict):
    document = change(json.loads(kept.read_text()))
    kept.write_text(build_file(document))
    assert run(["report", "verify", str(kept), "--json"]) == code
    told = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (told["type"], told["verdict"]) == ("verified", verdict)
    assert {"part", "verdict", "what"} == set(told["findings"][0])
    assert run(["report", "verify", str(kept)]) == code
    assert {"proved": "Both ends signed", "missing": "not everything", "false": "Believe none"}[
        verdict
    ] in capsys.readouterr().out


def test_show_prints_the_page_of_the_call(kept, capsys):
    assert run(["report", "show", str(kept)]) == 0
    assert capsys.readouterr().out.strip() == page_as_text(page_in(kept))
    assert run(["report", "show", str(kept), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["report"] == json.loads(kept.read_text())
    assert told["altered"] == []


def test_on_a_narrow_terminal_the_page_is_laid_out_for_it(kept, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    document = parse_report(kept.read_bytes())
    fields = {"report": document, "text": page_as_text(page_of(document))}
    screen = Screen()
    terminal = Terminal(screen, {})
    terminal.say(fitted_page(terminal, fields))
    assert screen.text().rstrip("\n") == page_as_text(page_of(document), 50)
    piped = Terminal(Screen(tty=False), {})
    assert fitted_page(piped, fields) == fields["text"]


def page_in(kept) -> Page:
    return page_of(parse_report(kept.read_bytes()))


def test_show_warns_above_everything_else_of_what_was_altered(kept, capsys):
    kept.write_text(build_file(altered(json.loads(kept.read_text()))))
    assert run(["report", "show", str(kept)]) == 5
    shown = capsys.readouterr().out
    warned, verdict = shown.index("Do not trust this page"), shown.index("Only the two of you")
    assert warned < verdict
    assert shown[:verdict].endswith("The file says: ")
    page = kept.with_suffix(".html")
    assert run(["report", "show", str(kept), "--html", str(page)]) == 5
    assert "Do not trust this page" in page.read_text()


def test_html_is_written_for_its_owner_alone(kept):
    page = kept.with_suffix(".html")
    assert run(["report", "show", str(kept), "--html", str(page)]) == 0
    assert page.read_text() == page_as_html(page_in(kept))
    assert page.stat().st_mode & 0o777 == 0o600
    page.chmod(0o644)
    assert run(["report", "show", str(kept), "--html", str(page)]) == 0  # over its own
    assert page.stat().st_mode & 0o777 == 0o600


def test_a_report_is_kept_for_its_owner_and_replaces_nothing(tmp_path):
    report, _ = reports()
    first, second = (save_report(report, tmp_path / "call.json") for _ in range(2))
    assert (first.name, second.name) == ("call.json", "call-2.json")
    assert first.stat().st_mode & 0o777 == 0o600
    in_folder = save_report(replace(report, peer="../../etc/pass wd"), tmp_path)
    assert in_folder.parent == tmp_path
    assert in_folder.name == "2025-11-24T160000Z-.._.._etc_pass_wd.json"
    with pytest.raises(LocalError, match="cannot write"):
        save_report(report, tmp_path / "no" / "such" / "folder.json")


@pytest.mark.parametrize(
    ("keys", "file", "said"),
    [
        (True, "calls/one.json", "The report is in calls/one.json"),
        (True, "", "The report was not kept. To keep one: --report FILE"),
        (False, "", ""),
    ],
    ids=["kept", "not kept", "nothing to keep"],
)
def test_after_a_call_it_is_plain_where_its_report_is(keys, file, said):
    out = io.StringIO()
    PeopleOutput(Terminal(out, {})).tell("report", report={}, text="PAGE", keys=keys, file=file)
    assert said in out.getvalue()
    assert ("PAGE" in out.getvalue()) is keys
    assert ("securecall report verify" in out.getvalue()) is bool(file)


def text_of(**changes: object) -> str:
    return json.dumps({**object_of(reports()[0]), **changes})


GOOD = text_of()
HOSTILE = {
    "empty": b"",
    "no JSON": b"report",
    "a list": b"[]",
    "huge": b'{"type":"' + b"a" * MAX_SIZE + b'"}',
    "deep": b'{"a":' * 50_000,
    "deep brackets": b"[" * 500_000,
    "NaN": GOOD.replace('"lasted_ms": 61200', '"lasted_ms": NaN').encode(),
    "a float": GOOD.replace('"lasted_ms": 61200', '"lasted_ms": 61200.0').encode(),
    "a huge number": GOOD.replace('"lasted_ms": 61200', '"lasted_ms": 1' + "0" * 5000).encode(),
    "below zero": GOOD.replace('"lasted_ms": 61200', '"lasted_ms": -1').encode(),
    "true for a number": GOOD.replace('"lasted_ms": 61200', '"lasted_ms": true').encode(),
    "a year beyond all": GOOD.replace('"began": 1764000000', '"began": 9007199254740991').encode(),
    "a member twice": GOOD.replace('"version": 1', '"version": 1, "version": 1').encode(),
    "another version": text_of(version=2).encode(),
    "another type": text_of(type="securecall-report").encode(),
    "an unknown member": text_of(note="signed by a notary").encode(),
    "no intervals": text_of(intervals=[]).encode(),
    "bidi in a name": GOOD.replace("bob@other", "bob\u202e@other").encode(),
    "an escaped one": GOOD.replace("bob@other", "bob\\u202e@other").encode(),
    "invisible": GOOD.replace("bob@other", "bob\\u200b@other").encode(),
    "a terminal's escape": GOOD.replace("bob@other", "bob\\u001b[2J@other").encode(),
    "a lone surrogate": GOOD.replace("bob@other", "bob\\ud800@other").encode(),
    "not UTF-8": GOOD.replace("bob@other", "bob@\x00").encode().replace(b"\x00", b"\xff"),
    "a long name": GOOD.replace("192.0.2.1", "x" * 400).replace("example.com", "x" * 400).encode(),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_report_is_refused_by_name(tmp_path, capsys, data):
    file = tmp_path / "hostile.json"
    file.write_bytes(data)
    for act in ("verify", "show"):
        assert run(["report", act, str(file), "--json"]) == 4
        told = json.loads(capsys.readouterr().out)
        assert (told["kind"], told["exit_code"]) == ("ProtocolError", 4)
        assert told["message"].isprintable()


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "nothing", "/dev/zero"):
        assert run(["report", "verify", str(path)]) == 7


DOCUMENTS = tuple(object_of(report) for report in reports())
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 2**53), st.text(max_size=8), st.just([]),
    st.just({}), st.sampled_from(["E2EE", "", "ab" * 64, "held the key", "first-call", "verified"]),
)  # fmt: skip


def places(value: object, path: tuple = ()) -> list[tuple]:
    found = [path] if path else []
    if isinstance(value, dict):
        for name, item in value.items():
            found += places(item, (*path, name))
    if isinstance(value, list):
        for number, item in enumerate(value):
            found += places(item, (*path, number))
    return found


PLACES = tuple(places(DOCUMENTS[0]))


def changed(base: dict, changes: list[tuple[tuple, object]]) -> dict:
    """A copy with other values at some places, as far as those are still there."""
    document = json.loads(json.dumps(base))
    for path, value in changes:
        place = document
        try:
            for step in path[:-1]:
                place = place[step]
            if path[-1] in place if isinstance(place, dict) else path[-1] < len(place):
                place[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue
    return document


CHANGES = st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3)


@settings(max_examples=50, deadline=None)
@given(CHANGES)
def test_any_change_is_refused_or_read_and_judged_but_never_crashes(changes):
    document = changed(DOCUMENTS[0], changes)
    try:
        read = parse_report(json.dumps(document).encode())
    except ProtocolError:
        return
    findings = examine(read)
    if read != DOCUMENTS[0]:
        assert any(f.verdict != "proved" for f in findings)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(GOOD)))
def test_bytes_from_anywhere_are_read_or_refused(data, at):
    for attempt in (
        data,
        GOOD.encode()[:at] + data,
        GOOD.encode()[:at] + data + GOOD.encode()[at:],
    ):
        try:
            document = parse_report(attempt)
        except ProtocolError:
            continue
        assert examine(document)
