"""`import securecall` is light: what is heavy is loaded when it is used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"OpenSSL", "_cffi_backend", "aioice", "av", "cryptography", "dns", "numpy", "opuslib_next"}
HEAVY |= {"pylibsrtp", "segno", "sounddevice", "sqlite3", "uvloop", "websockets"}


def loaded_by(statement: str) -> set[str]:
    """Top-level names in sys.modules of a fresh interpreter after a statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import securecall") & HEAVY == set()


def test_the_look_at_loaded_modules_sees_heavy_ones():
    assert "cryptography" in loaded_by("import cryptography.x509") & HEAVY


@pytest.mark.parametrize("level", ["", "-O"])
def test_importing_the_package_warns_of_nothing(level):
    command = [
        sys.executable,
        *([level] if level else []),
        "-W",
        "error",
        "-c",
        "import securecall",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
