"""The page on privacy names tests that exist, for every leak that it says is stopped."""

from __future__ import annotations

import re

from tests.paths import PROJECT

PAGE = (PROJECT / "docs" / "privacy.md").read_text(encoding="utf-8")
DONE = PAGE.partition("## What is done")[2].partition("## What remains")[0]
ROWS = [line for line in DONE.splitlines() if line.startswith("| ")][2:]


def test_every_leak_is_held_by_a_test_that_exists():
    assert len(ROWS) >= 10
    for row in ROWS:
        named = re.findall(r"`(tests/[^`]+)`", row)
        assert named, row
        for name in named:
            path, _, function = name.partition("::")
            text = (PROJECT / path).read_text(encoding="utf-8")
            assert not function or f"def {function}(" in text, name
