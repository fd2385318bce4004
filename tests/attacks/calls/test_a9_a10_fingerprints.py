"""A9, A10: wrong, weak, malformed, conflicting and too many certificate fingerprints."""

from __future__ import annotations

import asyncio

import pytest

from securecall.errors import CallFailed, SecurityError
from securecall.policy import SecurityLevel
from securecall.testing import attacks
from securecall.testing.mallory import Mode
from tests.attacks.calls.cast import stage


@pytest.mark.parametrize("towards_callee", [True, False], ids=["offer", "answer"])
def test_a_wrong_fingerprint_in_one_direction_ends_both_ends(tmp_path, towards_callee):
    wrong = attacks.random_fingerprint()

    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:
            s.mallory.tamper_sdp.append(
                lambda sdp, to_callee: (
                    attacks.fingerprints(wrong)(sdp) if to_callee == towards_callee else sdp
                )
            )
            await s.dial()
            s.assert_refused()
            s.assert_no_media_left_anybody()

    asyncio.run(run())


SHA_1 = attacks.random_fingerprint("sha-1", 20)
WEAK = {
    "sha-1 alone": attacks.fingerprints(SHA_1),
    "md5 alone": attacks.fingerprints(attacks.random_fingerprint("md5", 16)),
    "none": attacks.strip_fingerprint,
    "wrong sha-512 beside the right sha-256": attacks.add_fingerprints(
        attacks.random_fingerprint("sha-512", 64)
    ),
    "malformed hex": attacks.fingerprints("sha-256 " + "GG:" * 31 + "GG"),
    "cut short": attacks.fingerprints(attacks.random_fingerprint("sha-256", 31)),
    "no value": attacks.fingerprints("sha-256"),
    "forty": attacks.add_fingerprints(*(attacks.random_fingerprint() for _ in range(39))),
    "ten thousand characters": attacks.fingerprints("sha-256 " + "AA:" * 3333 + "AA"),
}


@pytest.mark.parametrize("towards_callee", [True, False], ids=["offer", "answer"])
@pytest.mark.parametrize("edit", WEAK.values(), ids=WEAK.keys())
def test_fingerprints_that_prove_nothing_end_the_call(tmp_path, edit, towards_callee):
    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:
            s.mallory.tamper_sdp.append(
                lambda sdp, to_callee: edit(sdp) if to_callee == towards_callee else sdp
            )
            await s.dial()
            assert isinstance(s.error, SecurityError | CallFailed)
            s.assert_refused()
            s.assert_no_media_left_anybody()

    asyncio.run(run())


@pytest.mark.parametrize(
    "edit",
    [
        attacks.session_fingerprint(attacks.random_fingerprint()),
        attacks.add_fingerprints(SHA_1),
        attacks.add_fingerprints(attacks.random_fingerprint()),
    ],
    ids=["session level conflicts", "sha-1 besides", "another sha-256 besides"],
)
def test_an_added_fingerprint_is_noticed_though_the_certificate_still_matches(tmp_path, edit):
    """RFC 8122 lets DTLS pass; the identity handshake compares what was sent with what came."""

    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:
            s.mallory.tamper_sdp.append(lambda sdp, to_callee: edit(sdp))
            await s.dial()
            s.assert_refused()
            s.assert_no_media_left_anybody()

    asyncio.run(run())


def test_control_untouched_the_call_is_end_to_end(tmp_path):
    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:
            call = await s.dial(seconds=0.2)
            assert s.error is None
            assert call.security.level is SecurityLevel.E2EE
            assert call.statistics().packets_sent > 0
            s.assert_nothing_was_heard()

    asyncio.run(run())
