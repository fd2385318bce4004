"""Somebody hands over a file for a ticket, a code or a request that has no end, or is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from securecall.cli import keys_command
from securecall.cli.calling import _target
from securecall.errors import LocalError

READERS = pytest.mark.parametrize("read", [_target, keys_command._text], ids=["call", "keys"])


@pytest.fixture
def endless(tmp_path):
    """A file of eight terabytes, which takes no room on the disk it came on."""
    path = tmp_path / "ticket.txt"
    path.touch()
    try:
        os.truncate(path, 1 << 43)
    except OSError:
        pytest.skip("no such file can be made here")
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="files with holes")
@READERS
def test_a_file_without_end_is_refused(read, endless):
    with pytest.raises(LocalError, match="too long"):
        read(f"@{endless}")


@pytest.mark.skipif(sys.platform != "linux", reason="files with holes")
def test_control_read_to_its_end_it_takes_all_memory(endless):
    with pytest.raises((MemoryError, OverflowError)):
        Path(endless).read_text(encoding="utf-8")


@READERS
def test_a_file_that_holds_no_text_or_is_not_there_is_refused(read, tmp_path):
    path = tmp_path / "ticket.txt"
    with pytest.raises(LocalError):
        read(f"@{path}")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(LocalError):
        read(f"@{path}")


@READERS
def test_a_text_is_read_without_what_is_around_it(read, tmp_path):
    path = tmp_path / "ticket.txt"
    path.write_text(" securecall:1:abc\n")
    assert read(f"@{path}") == "securecall:1:abc"


@pytest.mark.skipif(sys.platform != "linux", reason="files with holes")
def test_the_verifier_of_the_specification_reads_no_report_without_end(endless):
    script = Path(__file__).parents[3] / "docs" / "spec" / "verify_report.py"
    ran = subprocess.run(
        [sys.executable, script, endless], check=False, capture_output=True, timeout=60
    )
    assert (ran.returncode, ran.stdout) == (4, b"no report: too large\n"), ran.stderr
