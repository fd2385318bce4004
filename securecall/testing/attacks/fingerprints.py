"""A1, A9, A10: swapped, wrong, weak, malformed and too many certificate fingerprints."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from securecall.calls.call import Call
from securecall.calls.report import Capability
from securecall.errors import (
    CallFailed,
    DowngradeError,
    IdentityChanged,
    PolicyRefused,
    Reason,
    SecurityError,
)
from securecall.policy import SecurityLevel
from securecall.testing import edits
from securecall.testing.attacks.careless import any_certificate
from securecall.testing.attacks.outcome import Attack, Outcome, control, limit, ours
from securecall.testing.attacks.stage import PLAIN, stage
from securecall.testing.edits import SdpEdit
from securecall.testing.evil_link import Inner
from securecall.testing.evil_provider import Mode

_RELAYED: Final = (Reason.BINDING_MISMATCH, Reason.IDENTITY_MISMATCH, Reason.FINGERPRINT_MISMATCH)
_Expected = dict[Inner, tuple[type[SecurityError], tuple[Reason, ...]]]
_ACQUAINTED: Final[_Expected] = {
    Inner.RELAY: (SecurityError, _RELAYED),
    Inner.STRIP: (DowngradeError, (Reason.DOWNGRADE,)),
    Inner.IMPERSONATE: (IdentityChanged, (Reason.IDENTITY_CHANGED,)),
}
_STRANGERS: Final[_Expected] = {
    Inner.RELAY: (SecurityError, _RELAYED),
    Inner.STRIP: (PolicyRefused, (Reason.IDENTITY_MISSING,)),
}


async def swapped_unnoticed(folder: Path, inner: Inner = Inner.STRIP) -> Outcome:
    """A call that is only encrypted, with her in the middle: she hears all of it."""
    async with stage(folder, policy=PLAIN, acquainted=False, mode=Mode.SWAP, inner=inner) as s:
        _ = await s.dial()
        outcome = s.heard()
    outcome.demand(outcome.level is SecurityLevel.HOP_BY_HOP, "the level says more than is true")
    outcome.demand(outcome.verdict is Capability.COULD_SUBSTITUTE, "the report clears the server")
    return outcome


async def _swapped(inner: Inner, folder: Path, *, acquainted: bool = True) -> Outcome:
    kind, reasons = (_ACQUAINTED if acquainted else _STRANGERS)[inner]
    async with stage(folder, acquainted=acquainted, mode=Mode.SWAP, inner=inner) as s:
        _ = await s.dial()
        outcome = s.refused(*reasons)
        outcome.demand(isinstance(s.error, kind), f"the caller is told {s.error!r}")
        return outcome


_swapped_for_strangers = partial(_swapped, acquainted=False)


async def untouched(folder: Path) -> Outcome:
    """She carries the call and passes everything on: it is end to end, and the report says so."""
    async with stage(folder, mode=Mode.TAP) as s:
        _ = await s.dial(seconds=0.2)
        outcome = s.went_on()
    outcome.demand(outcome.verdict is Capability.METADATA, "the report does not clear the server")
    outcome.got = "sound went through her, and she has not one byte of it"
    return outcome


async def _first_contact(folder: Path) -> Outcome:
    async with stage(folder, acquainted=False, mode=Mode.SWAP, inner=Inner.IMPERSONATE) as s:
        words: list[object] = []

        async def compare(call: Call) -> None:
            words.extend(end.sas.words for end in (call, s.bob.calls[0]))

        _ = await s.dial(during=compare)
        outcome = s.heard()
        for end in s.ends:
            level = end.security.level
            outcome.demand(level is SecurityLevel.OPPORTUNISTIC, f"level {level.name}")
            outcome.demand(not end.security.is_e2ee, "it calls itself end to end")
            outcome.demand("listen" in level.words, "its words do not say that one could listen")
    outcome.demand(len(words) == 2 and words[0] != words[1], "the words of both ends are equal")
    outcome.demand(outcome.verdict is Capability.COULD_SUBSTITUTE, "the report clears the server")
    outcome.got += "; both ends say so, and their words differ"
    return outcome


A1: Final[Attack] = (
    *(
        control(f"only encrypted, {inner.value}", partial(swapped_unnoticed, inner=inner))
        for inner in Inner
    ),
    *(ours(f"key known, {inner.value}", partial(_swapped, inner)) for inner in Inner),
    *(
        ours(f"strangers, {inner.value}", partial(_swapped_for_strangers, inner))
        for inner in _STRANGERS
    ),
    ours("she only carries it", untouched),
    limit("first contact, impersonated", _first_contact),
)


H1: Final[Attack] = (
    control("only encrypted, its records relayed", partial(swapped_unnoticed, inner=Inner.RELAY)),
    ours("key known", partial(_swapped, Inner.RELAY)),
    ours("strangers", partial(_swapped_for_strangers, Inner.RELAY)),
)


async def _replayed(folder: Path) -> Outcome:
    """She plays Alice's earlier invitation again; Alice's DTLS key she does not have."""
    async with stage(folder, mode=Mode.TAP) as s:
        old: list[str] = []

        def keep(sdp: str, to_callee: bool) -> str:  # noqa: FBT001 - an SdpTamper
            if to_callee and not old:
                old.extend(edits.fingerprints_of(sdp))
            return edits.fingerprints(*old)(sdp) if to_callee else sdp

        s.mallory.tamper_sdp.append(keep)
        _ = await s.dial(seconds=0.2)
        outcome = s.went_on()
        s.mallory.mode = Mode.SWAP
        s.bob.calls.clear()
        _ = await s.dial()
        again = s.refused(Reason.FINGERPRINT_MISMATCH, silent=False)
    again.problems += outcome.problems
    return again


A7: Final[Attack] = (
    control("a phone that takes any certificate", any_certificate),
    ours("an earlier invitation as a new call", _replayed),
)


async def _edited(
    edit: SdpEdit, folder: Path, *, towards: tuple[bool, ...] = (True, False)
) -> Outcome:
    """A call whose descriptions are edited towards the callee (True), the caller, or both."""
    async with stage(folder, mode=Mode.TAP) as s:
        s.mallory.tamper_sdp.append(
            lambda sdp, to_callee: edit(sdp) if to_callee in towards else sdp
        )
        _ = await s.dial()
        outcome = s.refused()
        typed = isinstance(s.error, SecurityError | CallFailed)
        outcome.demand(typed, f"the error is {type(s.error).__name__}")
        return outcome


_SIDES: Final = {"offer": (True,), "answer": (False,)}
_SHA_1: Final = edits.random_fingerprint("sha-1", 20)
_WEAK: Final = {
    "sha-1 alone": edits.fingerprints(_SHA_1),
    "md5 alone": edits.fingerprints(edits.random_fingerprint("md5", 16)),
    "none": edits.strip_fingerprint,
    "wrong sha-512 beside the right sha-256": edits.add_fingerprints(
        edits.random_fingerprint("sha-512", 64)
    ),
    "malformed hex": edits.fingerprints("sha-256 " + "GG:" * 31 + "GG"),
    "cut short": edits.fingerprints(edits.random_fingerprint("sha-256", 31)),
    "no value": edits.fingerprints("sha-256"),
    "forty": edits.add_fingerprints(*(edits.random_fingerprint() for _ in range(39))),
    "ten thousand characters": edits.fingerprints("sha-256 " + "AA:" * 3333 + "AA"),
}
# RFC 8122 lets DTLS pass with these; the identity handshake compares what was sent with what came.
_ADDED: Final = {
    "session level conflicts": edits.session_fingerprint(edits.random_fingerprint()),
    "sha-1 besides": edits.add_fingerprints(_SHA_1),
    "another sha-256 besides": edits.add_fingerprints(edits.random_fingerprint()),
}

A9: Final[Attack] = (
    control("two ends that take any certificate", any_certificate),
    *(
        ours(
            f"wrong in the {name}",
            partial(_edited, edits.fingerprints(edits.random_fingerprint()), towards=towards),
        )
        for name, towards in _SIDES.items()
    ),
    ours("untouched", untouched),
)

A10: Final[Attack] = (
    control("two ends that take any certificate", any_certificate),
    *(
        ours(f"{what}, {name}", partial(_edited, edit, towards=towards))
        for what, edit in _WEAK.items()
        for name, towards in _SIDES.items()
    ),
    *(ours(what, partial(_edited, edit)) for what, edit in _ADDED.items()),
)
