"""What people see of a program that fails, and what a developer does."""

from __future__ import annotations

import pytest

import securecall as sc


async def fails(error):
    raise error


async def answers():
    return 42


def test_what_the_program_returns_is_returned():
    assert sc.run(answers()) == 42


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (sc.UsageError("give an address"), "UsageError: give an address"),
        (sc.LocalError("no such\n file"), "LocalError: no such file"),
        (sc.NetworkError("it said \x1b[2J"), "NetworkError: it said ?[2J"),
        (sc.UsageError(""), "UsageError: UsageError"),
    ],
)
def test_an_error_of_ours_is_one_sentence_that_cannot_act_on_a_terminal(error, says):
    with pytest.raises(SystemExit) as left:
        sc.run(fails(error))
    assert left.value.code == says  # which Python prints, and leaves with 1
    assert left.value.__cause__ is error


def test_control_c_leaves_as_shells_have_it():
    with pytest.raises(SystemExit) as left:
        sc.run(fails(KeyboardInterrupt()))
    assert left.value.code == 130


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        sc.run(fails(ZeroDivisionError()))
