"""The first code a newcomer sees runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tests.paths import PROJECT


def test_the_readmes_code_runs_without_an_account(tmp_path):
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    code, *_ = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    run = subprocess.run(
        [sys.executable, "-c", code.replace("sleep(3)", "sleep(0.5)")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    first, *page = run.stdout.splitlines()
    assert re.fullmatch(r"E2EE( [a-z]+){3}", first)
    assert page[0] == "WHO COULD HAVE LISTENED"
    assert "Signed by both ends, before they hung up." in page
