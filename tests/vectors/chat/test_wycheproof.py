"""AES-256-GCM against Project Wycheproof's collection of edge cases, piece by piece."""

from __future__ import annotations

import json

import pytest

from securecall.chat.message import SharedFile
from securecall.chat.sealing import Opener
from securecall.errors import FileNotIntact, ProtocolError
from securecall.secret import Secret
from tests.paths import vectors
from tests.unit.chat.shared_files import opened


@pytest.mark.parametrize("step", [0, 1, 13])
def test_aes_256_gcm(step):
    path = vectors("security", "wycheproof", "aes_gcm_test.json")
    counted = {"valid": 0, "invalid": 0, "refused": 0}
    for group in json.loads(path.read_text())["testGroups"]:
        if group["keySize"] != 256 or group["tagSize"] != 128:
            continue
        for test in group["tests"]:
            if test["aad"]:
                continue  # a file has none
            key, iv, plain, tag = (bytes.fromhex(test[n]) for n in ("key", "iv", "msg", "tag"))
            sealed = bytes.fromhex(test["ct"]) + tag
            shared = SharedFile(url="", key=Secret(key), iv=iv, cipher="", size=len(plain))
            if len(iv) not in (12, 16):
                with pytest.raises(ProtocolError):
                    Opener(shared)
                counted["refused"] += 1
            elif test["result"] == "valid":
                assert opened(sealed, shared, step=step) == plain
                counted["valid"] += 1
            else:
                with pytest.raises(FileNotIntact):
                    opened(sealed, shared, step=step)
                counted["invalid"] += 1
    assert counted["valid"] >= 20
    assert counted["invalid"] >= 10
    assert counted["refused"] >= 5
