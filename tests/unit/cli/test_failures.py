from __future__ import annotations

import pytest

from securecall import errors
from securecall.cli import failures
from securecall.errors import EndReason, Reason


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), 2),
        (errors.Unsupported("x"), 2),
        (errors.ConnectFailed("x"), 3),
        (errors.ProtocolError("x", rule="RFC 3261 8.1.1"), 4),
        (errors.ProtocolError("x", rule="ticket"), 4),
        (errors.ProtocolError("x", rule="canonical address"), 2),
        (errors.PolicyRefused("x"), 5),
        (errors.IdentityChanged("x"), 5),
        (errors.Busy(), 6),
        (errors.WrongPassphrase("x"), 7),
        (errors.DeviceError("x"), 7),
        (KeyboardInterrupt(), 130),
        (ValueError("a bug"), 1),
    ],
)
def test_the_exit_code_says_who_must_act(error, code):
    assert failures.exit_code(error) == code


@pytest.mark.parametrize(
    "error",
    [
        *(errors.SecurityError("x", reason=r) for r in Reason),
        *(errors.CallFailed(reason=r) for r in EndReason),
        errors.ConnectFailed("x\ny"),
        errors.ProtocolError("x", rule="ticket"),
        errors.LocalError("x"),
        RuntimeError(),
    ],
    ids=repr,
)
def test_every_error_has_one_line_of_what_happened_and_one_of_what_to_do(error):
    for line in (failures.what_happened(error), failures.what_to_do(error)):
        assert line
        assert "\n" not in line
        assert len(failures.what_to_do(error)) <= 100


def test_a_program_gets_the_stable_name_of_the_reason():
    fields = failures.fields(errors.IdentityChanged("x"))
    assert (fields["kind"], fields["reason"]) == ("IdentityChanged", "identity-changed")
    assert failures.fields(errors.Busy())["reason"] == "busy"
    assert failures.fields(errors.LocalError("x"))["reason"] == ""


def test_keys_that_another_command_uses_are_no_matter_of_permissions():
    assert "another --home" in failures.what_to_do(errors.StoreBusy("x"))
    assert failures.exit_code(errors.StoreBusy("x")) == 7


def test_a_name_that_does_not_exist_is_no_matter_of_firewalls():
    assert "online" in failures.what_to_do(errors.NameNotFound("x"))
