"""Errors and reasons: each ending has one name, for the other end, the report and who waits."""

from __future__ import annotations

import pytest

from securecall.calls.endings import failure, reason_of
from securecall.errors import (
    Busy,
    CallFailed,
    Cancelled,
    ConnectFailed,
    Declined,
    EndReason,
    Incompatible,
    LocalError,
    NoAnswer,
    PeerVanished,
    ProtocolError,
    Reason,
    SecurityError,
    Unreachable,
)

KINDS = {
    EndReason.BUSY: Busy,
    EndReason.DECLINED: Declined,
    EndReason.NO_ANSWER: NoAnswer,
    EndReason.CANCELLED: Cancelled,
    EndReason.NOT_FOUND: Unreachable,
    EndReason.UNREACHABLE: Unreachable,
    EndReason.PEER_VANISHED: PeerVanished,
    EndReason.INCOMPATIBLE: Incompatible,
}


def test_every_reason_is_an_error_of_its_kind_that_keeps_the_reason():
    for reason in EndReason:
        error = failure(reason, talking=False)
        if reason is EndReason.SECURITY:
            assert type(error) is SecurityError
            assert error.reason is Reason.HANDSHAKE_FAILED
        else:
            assert type(error) is KINDS.get(reason, CallFailed), reason
            assert error.reason is reason


@pytest.mark.parametrize(("talking", "words"), [(True, "refused to go on"), (False, "broke off")])
def test_a_refusal_in_a_call_is_told_from_one_before_it(talking, words):
    assert words in str(failure(EndReason.SECURITY, talking=talking))


def test_what_the_peer_said_is_quoted_and_cut():
    error = failure(EndReason.BUSY, "\n" + "x" * 300, talking=False)
    assert str(error) == f"the call ended: {EndReason.BUSY.value} ({(chr(10) + 'x' * 119)!r})"
    assert str(failure(EndReason.BUSY, talking=False)) == f"the call ended: {EndReason.BUSY.value}"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SecurityError("", reason=Reason.INTEGRITY), EndReason.SECURITY),
        (Busy("", reason=EndReason.BUSY), EndReason.BUSY),
        (ConnectFailed(""), EndReason.UNREACHABLE),
        (LocalError(""), EndReason.LOCAL),
        (ProtocolError(""), EndReason.PROTOCOL),
    ],
)
def test_an_error_of_ours_is_told_by_its_kind(error, reason):
    assert reason_of(error) is reason
