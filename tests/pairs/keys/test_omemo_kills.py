"""kill -9 in the middle of sealing and opening: no key twice, nothing lost, nothing read twice."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import PROJECT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


def survive(folder: Path, kills: int) -> int:
    """Run it; returns how many messages were written."""
    script = Path(__file__).with_name("omemo_killed.py")
    done = subprocess.run(
        [sys.executable, script, folder, str(kills), "1"],
        cwd=PROJECT,
        env=dict(os.environ, PYTHONPATH=str(PROJECT)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    sent = 0
    for which in (0, 1):
        lines = [line.split(" ") for line in (folder / f"wire{which}").read_text().splitlines()]
        messages: dict[str, set[str]] = {}
        for key, _, message in lines:
            messages.setdefault(key, set()).add(message)
        assert all(len(made) == 1 for made in messages.values()), "one key, two ciphertexts"
        with sqlite3.connect(folder / f"{1 - which}.db") as db:
            read = [text for (text,) in db.execute("SELECT text FROM inbox")]
        assert len(read) == len(set(read))
        assert set(read) == {text for _, text, _ in lines}
        sent += len(read)
    return sent


def test_twenty_kills(tmp_path):
    assert survive(tmp_path, 20) >= 20


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_thousand_kills(tmp_path):
    assert survive(tmp_path, 1000) >= 1000
