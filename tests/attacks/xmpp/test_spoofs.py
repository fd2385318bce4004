"""Stanzas that claim what is not so bring nothing about; their genuine twins do."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import pytest

from tests.attacks.xmpp.credulous import believes
from tests.attacks.xmpp.judges import JUDGES
from tests.stanzas import stanza

pytestmark = pytest.mark.attack

ROWS = tomllib.loads(Path(__file__).with_name("spoofs.toml").read_text(encoding="utf-8"))["row"]


def name(row):
    return f"{row['kind']}: {row['name']}"


def judged(row):
    return JUDGES[row.get("judge", "message")](stanza(row["stanza"]))


SPOOFS = [row for row in ROWS if row["spoof"]]
TWINS = [row for row in ROWS if not row["spoof"]]


@pytest.mark.parametrize("row", SPOOFS, ids=name)
def test_a_spoof_brings_nothing_about(row):
    effects, why = judged(row)
    assert row["claim"] not in effects
    if "why" in row:
        assert (why, effects) == (row["why"], set())


@pytest.mark.parametrize("row", TWINS, ids=name)
def test_its_genuine_twin_does(row):
    effects, _ = judged(row)
    assert row["claim"] in effects


@pytest.mark.parametrize("row", SPOOFS, ids=name)
def test_control_a_credulous_client_believes_them_all(row):
    assert row["claim"] in believes(stanza(row["stanza"]))


def test_every_kind_has_spoofs_and_a_twin():
    spoofs = Counter(row["kind"] for row in SPOOFS)
    twins = Counter(row["kind"] for row in TWINS)
    assert set(spoofs) == set(twins)
    assert spoofs.total() >= 60
    assert len({name(row) for row in ROWS}) == len(ROWS)
