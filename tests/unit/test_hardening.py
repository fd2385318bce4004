"""A process that holds keys leaves no core file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import PROJECT

SHOWN = """
import resource
from pathlib import Path
from securecall.hardening import forbid_core_dumps
{act}
print(resource.getrlimit(resource.RLIMIT_CORE)[0])

"""


def run(act: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SHOWN.format(act=act)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no /proc on this system")
def test_no_core_file_is_written_and_the_system_is_told():
    assert run("assert forbid_core_dumps() == ('no core files', 'not dumpable')")[0] == "0"
