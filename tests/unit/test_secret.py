"""A secret gives its bytes in one way only."""

from __future__ import annotations

import copy
import getpass
import pickle

import pytest

from securecall.errors import LocalError, UsageError
from securecall.secret import Secret

BYTES = b"a secret nobody may print"


def test_its_bytes_come_out_by_reveal_alone():
    secret = Secret(BYTES)
    assert secret.reveal() == BYTES
    shown = f"{secret} {secret!r} {secret:>20}" + "%s" % (secret,)  # noqa: UP031 - every way to print
    assert "secret nobody" not in shown


@pytest.mark.parametrize("act", [copy.copy, copy.deepcopy, pickle.dumps])
def test_it_is_not_copied_or_serialised(act):
    with pytest.raises(UsageError):
        act(Secret(BYTES))


def test_a_wiped_secret_is_gone():
    secret = Secret(BYTES)
    secret.wipe()
    with pytest.raises(UsageError):
        secret.reveal()
    assert len(secret) == 0


def test_a_secret_that_nobody_holds_any_more_is_overwritten():
    secret = Secret(BYTES)
    data = secret._data
    assert data == BYTES
    del secret
    assert data == bytes(len(BYTES))


def test_equal_secrets_are_equal_and_unhashable():
    assert Secret(BYTES) == Secret(BYTES)
    assert Secret(BYTES) != Secret(b"other")
    assert Secret(BYTES) != BYTES
    with pytest.raises(TypeError):
        hash(Secret(BYTES))


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_a_secret_file_may_end_in_a_line_break(tmp_path, ending):
    file = tmp_path / "secret"
    file.write_bytes(BYTES + ending)
    assert Secret.from_file(file).reveal() == BYTES


def test_a_missing_or_empty_secret_file_says_what_is_wrong(tmp_path):
    with pytest.raises(LocalError, match="cannot read"):
        Secret.from_file(tmp_path / "none")
    (tmp_path / "empty").write_bytes(b"\n")
    with pytest.raises(LocalError, match="empty"):
        Secret.from_file(tmp_path / "empty")


@pytest.mark.parametrize("wrong", [None, 3, [1, 2]])
def test_it_is_made_of_bytes_or_text_alone_and_ends_in_silence_otherwise(wrong):
    with pytest.raises(UsageError, match="bytes or text"):
        Secret(wrong)


def test_a_prompt_whose_input_ends_is_no_secret(monkeypatch):
    def ended(label):
        raise EOFError

    monkeypatch.setattr(getpass, "getpass", ended)
    with pytest.raises(UsageError, match="nothing was entered"):
        Secret.prompt()
