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


FALLEN = """
import os, resource, sys
from pathlib import Path
from securecall.hardening import forbid_core_dumps
from securecall.keys.identity import RootKey
from securecall.secret import Secret
os.chdir(sys.argv[1])
_, hard = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
root = RootKey.from_seed(Secret(bytes(range(100, 132))))
{act}
os.abort()
"""


def fall(folder: Path, act: str) -> list[bytes]:
    """Let a process with a root key crash; returns the core files it left."""
    folder.mkdir()
    subprocess.run(
        [sys.executable, "-c", FALLEN.format(act=act), str(folder)],
        cwd=PROJECT,
        capture_output=True,
        check=False,
    )
    return [path.read_bytes() for path in folder.iterdir()]


def test_a_process_that_crashes_leaves_its_keys_in_a_core_file_unless_that_is_forbidden(tmp_path):
    pattern = Path("/proc/sys/kernel/core_pattern")
    if not pattern.exists() or not pattern.read_text().startswith("core"):
        pytest.skip("core files of this system do not come to be beside the process")
    control = fall(tmp_path / "control", "pass")
    if not control:
        pytest.skip("this system writes no core files at all")
    assert any(bytes(range(100, 132)) in core for core in control)
    assert fall(tmp_path / "ours", "forbid_core_dumps()") == []
