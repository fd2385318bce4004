"""D4: signalling that takes multiplexing away, on which the identity handshake rests."""

from __future__ import annotations

import asyncio

import pytest

from securecall.errors import Incompatible
from securecall.policy import SecurityLevel
from securecall.testing import edits
from securecall.testing.attacks.stage import PLAIN, stage
from securecall.testing.evil_provider import Mode


@pytest.mark.parametrize("towards_callee", [True, False], ids=["offer", "answer"])
@pytest.mark.parametrize("policy", [None, PLAIN], ids=["default", "danger, with a floor"])
def test_a_call_that_demands_identity_cannot_be_made_one_without_multiplexing(
    tmp_path, policy, towards_callee
):
    async def run():
        async with stage(tmp_path, policy=policy, mode=Mode.TAP) as s:
            s.mallory.tamper_sdp.append(_unmultiplexed(towards_callee))
            await s.dial()
            s.refused().require_held()
            assert isinstance(s.error, Incompatible)
            refusals = [("INVITE", 488)] if towards_callee else []
            assert s.mallory.last_call.refusals == refusals

    asyncio.run(run())


@pytest.mark.parametrize("towards_callee", [True, False], ids=["offer", "answer"])
def test_control_a_call_that_demands_no_identity_goes_on_without_rtcp(tmp_path, towards_callee):
    async def run():
        async with stage(tmp_path, policy=PLAIN, acquainted=False, mode=Mode.TAP) as s:
            s.mallory.tamper_sdp.append(_unmultiplexed(towards_callee))
            await s.dial(seconds=0.2)
            s.went_on(SecurityLevel.HOP_BY_HOP).require_held()
            for end in s.ends:
                assert end.statistics().received_seconds > 0

    asyncio.run(run())


def _unmultiplexed(towards_callee: bool):
    edit = edits.without("a=rtcp-mux")

    def strip(sdp, to_callee):
        assert "a=rtcp-mux" in sdp or to_callee != towards_callee
        return edit(sdp) if to_callee == towards_callee else sdp

    return strip
