"""docs/threat-model.md and docs/levels.md say what the code says and the tests show."""

from __future__ import annotations

import re

import pytest

from securecall.policy import SecurityLevel
from securecall.testing.attacks.threats import BY_ID, THREATS, Adversary
from tests.architecture.threat_model import PAGE, table
from tests.paths import PROJECT

TEXT = PAGE.read_text(encoding="utf-8")
LEVELS = (PROJECT / "docs" / "levels.md").read_text(encoding="utf-8")


def claims() -> dict[str, list[str]]:
    """Claim -> the rows that show it."""
    part = TEXT.partition("<!-- claims: begin -->")[2].partition("<!-- claims: end -->")[0]
    rows = re.findall(r"^\| (.+?) \| ([A-Z0-9 ]+) \|$", part, re.MULTILINE)
    return {claim: names.split() for claim, names in rows}


def test_the_table_of_attacks_is_the_codes():
    assert table() in TEXT, "run: python3 dev.py map"


def test_every_claim_rests_on_attacks_that_are_there():
    assert len(claims()) > 10
    for claim, names in claims().items():
        for name in names:
            assert BY_ID[name].attack or BY_ID[name].tests, (claim, name)


def test_every_threat_that_is_answered_is_claimed():
    claimed = {name for names in claims().values() for name in names}
    answered = {t.id for t in THREATS if t.attack or (t.tests and not t.lacking)}
    assert claimed == answered


@pytest.mark.parametrize("adversary", Adversary)
def test_every_adversary_has_a_line(adversary):
    known_as = {Adversary.SFU: "**Groups.**"}
    assert known_as.get(adversary, f"**{adversary.value}**") in TEXT


@pytest.mark.parametrize("level", [level for level in SecurityLevel if level])
def test_the_words_of_a_level_are_the_documents(level):
    assert f"| `{level.name}` |" in LEVELS
    assert f'"{level.words}"' in LEVELS


def test_what_the_page_links_to_is_there():
    for target in re.findall(r"\]\(([\w./-]+\.md)\)", TEXT):
        assert (PAGE.parent / target).is_file(), target
