"""M1: what lies on the upload server was changed, or what a message says of it is hostile."""

from __future__ import annotations

import dataclasses
import hashlib
import os

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from securecall.chat.attachments import Opening
from securecall.chat.sealing import GCM_256, Opener
from securecall.errors import FileNotIntact, ProtocolError, Reason, SecurityError
from securecall.secret import Secret
from securecall.xmpp.files import parse_link
from tests.unit.chat.shared_files import cbc, describe, open_file, seal

PLAIN = b"Dosage: 10 mg a day. " * 5000


def flipped(data, at):
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


OTHER = seal(b"another file of the same length".ljust(len(PLAIN)))[1]
DAMAGE = {
    "first bit": lambda d: flipped(d, 0),
    "in the middle": lambda d: flipped(d, len(d) // 2),
    "in the padding": lambda d: flipped(d, len(PLAIN) + 1),
    "tag": lambda d: flipped(d, -1),
    "tag cut by one": lambda d: d[:-1],
    "tag gone": lambda d: d[:-16],
    "cut to half": lambda d: d[: len(d) // 2],
    "cut to the tag": lambda d: d[-16:],
    "cut to 15": lambda d: d[:15],
    "empty": lambda d: b"",
    "one byte more": lambda d: d + b"\0",
    "a tag more": lambda d: d + d[-16:],
    "twice": lambda d: d + d,
    "blocks swapped": lambda d: d[16:32] + d[:16] + d[32:],
    "another file": lambda d: OTHER,
    "random": lambda d: os.urandom(len(d)),
}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "private"
    path.mkdir()
    return path


def refused(folder, sealed, shared):
    """Nothing is released, nothing remains, and a person is told."""
    source = folder.parent / "sealed"
    source.write_bytes(sealed)
    with pytest.raises(FileNotIntact) as caught:
        open_file(source, shared, folder / "got")
    assert isinstance(caught.value, SecurityError)
    assert caught.value.reason is Reason.INTEGRITY
    assert os.listdir(folder) == []
    assert "Dosage" not in str(caught.value)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("hashes", [True, False], ids=["with hashes", "tag alone"])
def test_a_file_that_was_changed_is_not_released(folder, damage, hashes):
    sealer, sealed = seal(PLAIN)
    unsaid = {} if hashes else {"sha256": b"", "cipher_sha256": b""}
    refused(folder, damage(sealed), describe(sealer, **unsaid))


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_nor_one_that_came_by_a_bare_link(folder, damage):
    sealer, sealed = seal(PLAIN, pad=False)
    secret = (sealer.iv + sealer.key.reveal()).hex()
    refused(folder, damage(sealed), parse_link(f"aesgcm://u.example/1#{secret}"))


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("hashed", ["sha256", "cipher_sha256"])
def test_nor_one_in_cbc_which_has_no_tag(folder, damage, hashed):
    sealed, shared = cbc(PLAIN)
    if hashed == "cipher_sha256":
        sealed, shared = cbc(PLAIN, sha256=b"", cipher_sha256=hashlib.sha256(sealed).digest())
    elif damage is DAMAGE["twice"]:
        # what is beyond the size is cut off (XEP-0448 4.2), and the rest has the right hash
        shared = dataclasses.replace(shared, size=None)
    refused(folder, damage(sealed), shared)


LIES = {
    "wrong hash": {"sha256": bytes(32)},
    "wrong hash of the ciphertext": {"cipher_sha256": bytes(32)},
    "one byte less": {"size": len(PLAIN) - 1},
    "more than there is": {"size": 2 * len(PLAIN)},
    "4 GiB": {"size": 4 << 30},
    "wrong key": {"key": Secret(bytes(32))},
    "wrong IV": {"iv": bytes(12)},
    "IV of 16": {"iv": bytes(16)},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_message_that_lies_about_a_file_opens_nothing(folder, lie):
    sealer, sealed = seal(PLAIN)
    refused(folder, sealed, describe(sealer, **lie))


def test_a_size_that_cuts_is_refused_by_the_hash_and_obeyed_without_one(folder):
    sealer, sealed = seal(PLAIN)
    source = folder.parent / "sealed"
    source.write_bytes(sealed)
    shared = describe(sealer, size=20, sha256=b"")
    # the tag holds, and where to cut came encrypted from the sender: XEP-0448 4.2
    assert open_file(source, shared, folder / "got").read_bytes() == PLAIN[:20]


@pytest.mark.parametrize("size", [(4 << 30) + 1, 1 << 62, -1])
def test_an_impossible_size_is_refused_before_anything_is_opened(folder, size):
    sealer, _ = seal(b"x")
    with pytest.raises(ProtocolError):
        Opening(describe(sealer, size=size), folder / "got")
    assert os.listdir(folder) == []


def test_a_name_from_a_peer_is_no_path(folder):
    sealer, sealed = seal(PLAIN)
    source = folder.parent / "sealed"
    source.write_bytes(sealed)
    shared = describe(sealer, name="../../../../outside")
    assert open_file(source, shared, folder / "got") == folder / "got"
    assert os.listdir(folder) == ["got"]
    assert not (folder.parent / "outside").exists()


def test_what_is_given_before_the_end_stays_within_the_private_file(folder):
    """Every piece is decrypted as it comes; none of it can be seen under the chosen name."""
    sealer, sealed = seal(PLAIN)
    with pytest.raises(FileNotIntact):
        with Opening(describe(sealer), folder / "got") as opening:
            for i in range(0, len(sealed), 1000):
                opening.write(sealed[i : i + 1000])
                assert not (folder / "got").exists()
            opening.write(b"extra")
            opening.release()
    assert os.listdir(folder) == []


def test_control_without_a_tag_a_changed_dosage_is_released():
    """What a reader without authentication would hand out: 10 mg become 90 mg."""
    sealer, sealed = seal(PLAIN, pad=False)
    at = PLAIN.index(b"1")
    changed = bytearray(sealed)
    changed[at] ^= ord("1") ^ ord("9")
    counter = Cipher(AES(sealer.key.reveal()), CTR(sealer.iv + b"\0\0\0\2")).decryptor()
    assert counter.update(bytes(changed[:-16])).startswith(b"Dosage: 90 mg")
    opener = Opener(describe(sealer, cipher=GCM_256))
    assert opener.update(bytes(changed)).startswith(b"Dosage: 90 mg")  # why nothing is released yet
    with pytest.raises(FileNotIntact):
        opener.finish()
