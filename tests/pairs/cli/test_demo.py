from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from securecall.cli import sound
from securecall.cli.demo_chat import can_chat
from tests.paths import PROJECT


@pytest.mark.timeout(100)
def test_the_demo_measures_what_it_says_in_an_empty_home(tmp_path):
    keep = tmp_path / "keep"
    done = subprocess.run(
        [sys.executable, "-m", "securecall.cli", "demo", "--fast", "--json", "--keep", str(keep)],
        cwd=PROJECT,
        env={"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 1
    shown = json.loads(done.stdout)
    if can_chat():
        assert shown["chat"]["protection"] == "urn:xmpp:omemo:2"
        assert shown["chat"]["server_files"] > 3
        assert shown["chat"]["server_found"] == 0
    assert (shown["level"], shown["pq"], shown["sframe"]) == ("VERIFIED", True, True)
    assert shown["srtp_profile"] == "SRTP_AEAD_AES_256_GCM"
    assert len(shown["sas_words"]) == 3
    assert shown["audio"]["sent_seconds"] > 2
    assert shown["audio"]["received_seconds"] > 2
    assert shown["setup_ms"] > 0
    assert sound.likeness(sound.sample_path(), Path(shown["recording"])) > 0.8
    attack = shown["attack"]
    assert attack["control_bytes"] > 5000  # the attack works where nobody proves who they are
    assert sound.likeness(sound.sample_path(), Path(attack["recording"])) > 0.8
    assert attack["our_bytes"] == 0
    assert attack["reasons"] == {
        "strip": "downgrade",
        "relay-inner": "binding-mismatch",
        "impersonate": "identity-changed",
    }
    assert shown["report"]["countersignature"]["theirs"]
    assert not (tmp_path / "home").exists()
    assert sorted(p.name for p in keep.iterdir()) == ["bob-heard.wav", "mallory-heard.wav"]
