"""What stands at the top of a module is named somewhere else, too: in package, examples or docs.

Where tests alone name it, it goes, and they with it.
"""

from __future__ import annotations

import re
from collections import Counter

from tests.paths import PROJECT

DEFINED = re.compile(r"^(?:(?:async )?def|class) (\w+)|^(\w+)(?:: [^=\n]+)? = ", re.MULTILINE)
KIT = PROJECT / "securecall" / "testing"  # for applications, and for the tests here
FOR_APPLICATIONS = {"VoiceSource"}  # plays a voice message that came
FOR_TESTS = {"FIXED"}  # sentences whose reading ease is measured


def test_nothing_is_there_for_its_tests_alone():
    found = [p for place in ("securecall", "examples") for p in (PROJECT / place).rglob("*.py")]
    sources = {path: path.read_text(encoding="utf-8") for path in found}
    pages = [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")]
    named: Counter[str] = Counter()
    for text in (*sources.values(), *(page.read_text(encoding="utf-8") for page in pages)):
        named.update(re.findall(r"\w+", text))
    alone = {
        match[1] or match[2]
        for path, text in sources.items()
        if KIT not in path.parents
        for match in DEFINED.finditer(text)
        if named[match[1] or match[2]] == 1
    }
    assert alone - {"__dir__"} == FOR_APPLICATIONS | FOR_TESTS
