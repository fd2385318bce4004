"""D1, D3, D4: signalling that asks for less, before the call."""

from __future__ import annotations

import asyncio

import pytest

from securecall.errors import CallFailed, Incompatible, Reason, SecurityError
from securecall.policy import SecurityLevel
from securecall.testing import attacks
from securecall.testing.mallory import Mode
from tests.attacks.calls.cast import PLAIN, stage

KEY = bytes(range(30))


def test_d1_without_its_hint_the_identity_handshake_runs_all_the_same(tmp_path):
    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:
            stripped = []

            def strip(sdp, to_callee):
                stripped.append("a=x-securecall-id" in sdp)
                edited = attacks.strip_hint(sdp)
                assert "securecall" not in edited
                return edited

            s.mallory.tamper_sdp.append(strip)
            call = await s.dial(seconds=0.2)
            assert stripped == [True, True]  # there was something to strip, both ways
            assert s.error is None
            for end in (call, s.bob.calls[0]):
                assert end.security.level is SecurityLevel.E2EE
                assert end.security.sframe
                assert end.security.pq
            s.assert_nothing_was_heard()

    asyncio.run(run())


EDITS = {
    "d3 sdes": attacks.sdes(KEY),
    "d3 sdes beside dtls": attacks.crypto_beside(KEY),
    "d4 plain rtp": attacks.plain_rtp,
    "d4 plain rtp, attributes kept": attacks.protocol("RTP/AVP"),
    "d4 no fingerprint": attacks.strip_fingerprint,
    "d4 no setup": attacks.without("a=setup:"),
    "d4 savp": attacks.protocol("RTP/SAVP"),
    "d4 unknown transport": attacks.protocol("TCP/MSRP"),
}
HARMLESS = {"d4 savp", "d4 no setup"}
"""These leave fingerprints standing: the call may go on, if it goes on end to end (RFC 8643)."""


@pytest.mark.parametrize("policy", [None, PLAIN], ids=["default", "danger"])
@pytest.mark.parametrize("towards_callee", [True, False], ids=["offer", "answer"])
@pytest.mark.parametrize("name", EDITS)
def test_d3_d4_a_description_that_asks_for_less_gets_nothing(
    tmp_path, name, towards_callee, policy
):
    """Even the danger mode never takes keys from signalling, nor speaks without any."""
    edit = EDITS[name]

    async def run():
        async with stage(tmp_path, policy=policy, acquainted=policy is None, mode=Mode.TAP) as s:
            s.mallory.tamper_sdp.append(
                lambda sdp, to_callee: edit(sdp) if to_callee == towards_callee else sdp
            )
            call = await s.dial(seconds=0.2)
            if s.error is None:
                assert name in HARMLESS
                assert policy is PLAIN or call.security.level is SecurityLevel.E2EE
            else:
                assert isinstance(s.error, SecurityError | CallFailed)
                s.assert_refused()
                s.assert_no_media_left_anybody()
            assert call.security.keying.value in ("none", "dtls-srtp")
            s.assert_nothing_was_heard()

    asyncio.run(run())


@pytest.mark.parametrize("towards_callee", [True, False], ids=["offer", "answer"])
@pytest.mark.parametrize("policy", [None, PLAIN], ids=["default", "danger, with a floor"])
def test_d4_a_call_that_demands_identity_cannot_be_made_one_without_multiplexing(
    tmp_path, policy, towards_callee
):
    async def run():
        async with stage(tmp_path, policy=policy, mode=Mode.TAP) as s:
            s.mallory.tamper_sdp.append(_unmultiplexed(towards_callee))
            await s.dial()
            s.assert_refused()
            assert isinstance(s.error, Incompatible)
            s.assert_no_media_left_anybody()
            refusals = [("INVITE", 488)] if towards_callee else []
            assert s.mallory.last_call.refusals == refusals

    asyncio.run(run())


@pytest.mark.parametrize("towards_callee", [True, False], ids=["offer", "answer"])
def test_d4_control_a_call_that_demands_no_identity_goes_on_without_rtcp(tmp_path, towards_callee):
    async def run():
        async with stage(tmp_path, policy=PLAIN, acquainted=False, mode=Mode.TAP) as s:
            s.mallory.tamper_sdp.append(_unmultiplexed(towards_callee))
            call = await s.dial(seconds=0.2)
            assert s.error is None
            for end in (call, s.bob.calls[0]):
                assert end.statistics().received_seconds > 0
                assert end.security.level is SecurityLevel.HOP_BY_HOP
            s.assert_nothing_was_heard()

    asyncio.run(run())


def _unmultiplexed(towards_callee: bool):
    edit = attacks.without("a=rtcp-mux")

    def strip(sdp, to_callee):
        assert "a=rtcp-mux" in sdp or to_callee != towards_callee
        return edit(sdp) if to_callee == towards_callee else sdp

    return strip


def test_d3_the_refusal_of_keys_in_signalling_is_said_and_typed(tmp_path):
    async def run():
        async with stage(tmp_path, mode=Mode.TAP) as s:
            s.mallory.tamper_sdp.append(
                lambda sdp, to_callee: attacks.sdes(KEY)(sdp) if to_callee else sdp
            )
            await s.dial()
            assert s.mallory.last_call.refusals == [("INVITE", 488)]
            assert not s.answering_began  # it never rang
            assert isinstance(s.error, SecurityError | CallFailed)
        async with stage(tmp_path / "answer", mode=Mode.TAP) as s:
            s.mallory.tamper_sdp.append(
                lambda sdp, to_callee: sdp if to_callee else attacks.sdes(KEY)(sdp)
            )
            await s.dial()
            s.assert_refused(Reason.NO_ENCRYPTION)

    asyncio.run(run())
