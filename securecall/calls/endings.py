"""How a call ends: the reason that an error comes to, and the error that a reason comes to."""

from __future__ import annotations

from typing import Final

from securecall.errors import (
    Busy,
    CallFailed,
    Cancelled,
    Declined,
    EndReason,
    Incompatible,
    LocalError,
    NetworkError,
    NoAnswer,
    PeerVanished,
    Reason,
    SecurecallError,
    SecurityError,
    Unreachable,
)

_FAILURES: Final[dict[EndReason, type[CallFailed]]] = {
    EndReason.BUSY: Busy,
    EndReason.DECLINED: Declined,
    EndReason.NO_ANSWER: NoAnswer,
    EndReason.CANCELLED: Cancelled,
    EndReason.NOT_FOUND: Unreachable,
    EndReason.UNREACHABLE: Unreachable,
    EndReason.PEER_VANISHED: PeerVanished,
    EndReason.INCOMPATIBLE: Incompatible,
}


def reason_of(error: SecurecallError) -> EndReason:
    """What the other end and the report are told of an error that ends the call."""
    match error:
        case SecurityError():
            return EndReason.SECURITY
        case CallFailed():
            return error.reason
        case NetworkError():
            return EndReason.UNREACHABLE
        case LocalError():
            return EndReason.LOCAL
        case _:
            return EndReason.PROTOCOL


def failure(reason: EndReason, text: str = "", *, talking: bool) -> SecurecallError:
    """What is raised at whoever waits when a call ends for this reason.

    Args:
        reason: As signalled.
        text: What the peer said of it, if anything.
        talking: The call was in progress.
    """
    if reason is EndReason.SECURITY:
        return SecurityError(
            "the other end refused to go on"
            if talking
            else "the other end broke off before the secure connection was complete: it may not "
            "accept who called, or somebody in between interfered",
            reason=Reason.HANDSHAKE_FAILED,
        )
    if reason is EndReason.INCOMPATIBLE:
        return Incompatible(
            "the other end refused what was offered: it has no codec in common, or the offer did "
            "not reach it as it was sent"
        )
    kind = _FAILURES.get(reason, CallFailed)
    said = f" ({text[:120]!r})" if text else ""
    return kind(f"the call ended: {reason.value}{said}", reason=reason)
