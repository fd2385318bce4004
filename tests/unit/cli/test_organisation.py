"""`securecall org`, both sides of it, as people type it."""

from __future__ import annotations

import json

import pytest

from securecall.cli.main import run
from securecall.secret import Secret
from securecall.store.sqlite import Store
from securecall.store.vault import MINIMUM_COST
from securecall.vouching import VouchingKey

BOB = "sip:bob@clinic.example"


@pytest.fixture
def typed(tmp_path, capsys):
    """Type a command; returns its exit code and its events."""
    for name in ("alice", "bob"):
        Store.create(tmp_path / name, Secret("correct horse"), cost=MINIMUM_COST).close()
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\n")

    def type_(*words, home="", plain=False):
        where = ["--home", str(tmp_path / home)] if home else ["--keys", str(tmp_path / "clinic")]
        more = [*where, "--passphrase-file", str(secret), *([] if plain else ["--json"])]
        code = run([*map(str, words), *more])
        out, err = capsys.readouterr()
        return code, out + err if plain else [json.loads(line) for line in out.splitlines()]

    return type_


def test_a_clinic_and_one_of_its_staff_and_somebody_who_trusts_it(tmp_path, typed):
    secret = Secret("correct horse")
    VouchingKey.create(
        tmp_path / "clinic", secret, domain="clinic.example", cost=MINIMUM_COST
    ).close()
    _, (clinic,) = typed("org", "show")
    _, (bob,) = typed("init", "--claim", BOB, home="bob")
    word = tmp_path / "bob.word"
    code, (said,) = typed("org", "vouch", "bob@clinic.example", bob["root"], "--out", word)
    assert (code, said["address"], said["word"]) == (0, BOB, "")
    code, (taken,) = typed("org", "take", word, home="bob")
    assert (code, taken["withdrawn"], taken["domain"]) == (0, False, "clinic.example")
    assert (taken["root"], taken["trusted"]) == (clinic["root"], False)

    typed("init", home="alice")
    assert typed("org", "take", word, home="alice")[0] == 2  # whose word she does not take
    code, (trusted,) = typed("org", "trust", clinic["code"], home="alice")
    assert (code, trusted["root"]) == (0, clinic["root"])
    code, (taken,) = typed("org", "take", word, home="alice")
    assert (code, taken["root"], taken["trusted"]) == (0, clinic["root"], True)
    assert "Is " not in typed("org", "take", word, home="alice", plain=True)[1]
    code, renewed = typed("org", "renew", tmp_path / "words")
    assert (code, [e["address"] for e in renewed]) == (0, [BOB])
    (file,) = (tmp_path / "words").iterdir()
    assert file.name == "sip-bob@clinic.example.word"
    code, text = typed("org", "take", file, home="bob", plain=True)
    assert (code, f"Is {taken['short']} its key?" in text) == (0, True)

    gone = tmp_path / "gone.word"
    assert typed("org", "withdraw", BOB, "--out", gone)[0] == 0
    code, (taken,) = typed("org", "take", gone, home="alice")
    assert (code, taken["withdrawn"]) == (0, True)
    assert typed("org", "take", word, home="alice")[0] == 5  # it was taken back
    assert typed("org", "vouch", BOB, bob["root"])[0] == 2  # for ever
    typed("org", "renew", tmp_path / "words")
    assert typed("org", "take", file, home="alice")[1][0]["withdrawn"]  # for who missed it
    _, (clinic_again, member) = typed("org", "show")
    assert clinic_again["code"] == clinic["code"]
    assert (member["address"], member["withdrawn"]) == (BOB, True)

    _, text = typed("org", "show", plain=True)
    assert clinic["code"] in text
    assert "withdrawn" in text
    _, text = typed("org", "list", home="alice", plain=True)
    assert "clinic.example" in text
    assert typed("org", "forget", "clinic.example", home="alice")[0] == 0
    _, text = typed("org", "list", home="alice", plain=True)
    assert "no organisation" in text


def test_what_cannot_be_is_said_and_leaves_with_a_code(tmp_path, typed):
    assert typed("org", "create", "Clinic example")[0] == 2
    assert typed("org", "show")[0] == 7
    code, (clinic,) = typed("org", "create", "clinic.example")
    assert (code, clinic["type"], clinic["domain"]) == (0, "clinic", "clinic.example")
    assert typed("org", "create", "clinic.example")[0] == 7
    assert typed("org", "vouch", "bob@other.example", "00" * 64)[0] == 2
    assert typed("org", "vouch", BOB, "key")[0] == 2
    typed("init", home="alice")
    assert typed("org", "trust", "securecall:1:x", home="alice")[0] == 4
    assert typed("org", "take", tmp_path / "nothing", home="alice")[0] == 7
    (tmp_path / "long").write_bytes(b"x" * 10_000)
    assert typed("org", "take", tmp_path / "long", home="alice")[0] == 2
    assert typed("init", home="clinic")[0] == 2  # no person's keys
